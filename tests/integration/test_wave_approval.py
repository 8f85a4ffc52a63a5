"""A second person between what cannot be proven and the switch, with real servers and a real cutover."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailferry.model.wave import MoveState
from tests.e2e.moves import mailbox
from tests.mail_flow import Sides, sides
from tests.waves import WaveLab


@pytest.fixture(scope="module")
def both() -> Iterator[Sides]:
    with sides() as running:
        yield running


def differs(both: Sides, address: str, number: int) -> None:
    """Somebody has changed the new copy of a message: both sides differ, and no pass of the copy knows why."""
    with mailbox(both.store.port, address) as session:
        session.select("INBOX")
        session.store(str(number), "+FLAGS", "\\Flagged")


def test_investigate_waits_for_a_second_person_and_counts_for_what_was_seen(both: Sides, tmp_path: Path) -> None:
    lab = WaveLab(both, tmp_path)
    address = lab.person("ida")
    lab.wave("i", [address])
    assert lab.run("seed", "i").code == 0
    differs(both, address, 1)
    done = lab.run("cutover", "i")
    assert done.code == 65 and "nobody has approved: 1 differences to look at: flags" in done.err, done
    assert lab.route(address)[0] == "exchange" and lab.move(address).state is MoveState.SEEDED
    (waiting,) = json.loads(lab.run("approve", "i", "--json").out)["waiting"]
    assert (waiting["mail"], waiting["what"]) == (address, "verification")
    assert lab.run("approve", "i", address, "--as", "planner", "--why", "mine").code == 64  # who planned it
    assert lab.run("approve", "i", address, "--as", "carol", "--why", "that is my mark").code == 0
    assert lab.run("approve", "i").code == 0

    differs(both, address, 2)  # now it is not what carol has seen
    done = lab.run("cutover", "i")
    assert done.code == 65 and "2 differences to look at" in done.err, done
    assert lab.run("approve", "i", address, "--as", "carol", "--why", "another one").code == 0
    done = lab.run("cutover", "i")
    assert done.code == 0, done
    assert lab.route(address) == ("local", "store1")


def test_who_starts_the_cutover_cannot_have_approved(both: Sides, tmp_path: Path) -> None:
    lab = WaveLab(both, tmp_path)
    address = both.add("nora")  # nobody knows her: no Sent folder
    lab.wave("n", [address])
    assert lab.run("seed", "n").code == 0
    assert lab.run("approve", "n", address, "--why", "I know her").code == 0  # as the user of this process
    done = lab.run("cutover", "n")
    assert done.code == 65 and "nobody has approved" in done.err, done
    assert lab.run("approve", "n", address, "--why", "again").code == 64
    assert lab.run("approve", "n", address, "--why", "I know her", "--as", "carol").code == 0
    assert lab.run("cutover", "n").code == 0
