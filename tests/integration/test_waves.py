"""People move between real servers while mail keeps coming: nothing is lost or comes twice, nobody stays parked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mail_flow import Sides, sides
from tests.waves import WaveLab


@pytest.fixture(scope="module")
def both() -> Iterator[Sides]:
    with sides() as running:
        yield running


@pytest.fixture
def lab(both: Sides, tmp_path: Path) -> WaveLab:
    return WaveLab(both, tmp_path)


def test_a_wave_from_the_first_copy_to_done(both: Sides, lab: WaveLab, new_user: Callable[[], str]) -> None:
    alice, bob = (lab.person(new_user()) for _ in range(2))
    lab.wave("w1", [alice, bob])
    done = lab.run("seed", "w1")
    assert done.code == 0, done
    both.postfix.send(alice, "after the seed")
    both.drain()
    done = lab.run("cutover", "w1", "--json")
    assert done.code == 0, done
    both.postfix.send(alice, "after the switch")
    both.drain()
    old = [f"old {number}" for number in range(5)]
    assert lab.inbox(both.store, alice) == ["after the seed", "after the switch", *old]
    assert lab.inbox(both.store, bob) == old
    assert both.postfix.queue() == []
