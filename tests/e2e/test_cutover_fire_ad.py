"""The cutover under fire where Active Directory is the only directory: routes in its attributes, Postfix and Dovecot
asking it for everything. As test_cutover_fire.py, smaller."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

import pytest

from mailferry.model.wave import MoveState
from tests.e2e.fire import Fire, fire, kill

pytestmark = [pytest.mark.xdist_group("fire"), pytest.mark.timeout(300)]
Record = Callable[[str, object], None]

PEOPLE = 12


@pytest.fixture
def burning() -> Iterator[Fire]:
    with fire(staying=30, messages=10, only_ad=True) as running:
        yield running


def test_twelve_people_in_two_waves(burning: Fire, record_property: Record) -> None:
    """The first wave is killed while somebody is parked, and goes on; half of the second goes back."""
    plain = [one for one in burning.moving if one.plain][:PEOPLE]
    assert len(plain) == PEOPLE
    first, second = plain[: PEOPLE // 2], plain[PEOPLE // 2 :]
    for name, people in (("first", first), ("second", second)):
        burning.plan(name, people)
        burning.wave("seed", name)
    running = burning.start("cutover", "first")
    burning.until("first", MoveState.PARKED, running)
    kill(running)
    burning.wave("cutover", "first")
    burning.wave("cutover", "second")
    back = [one.mail for one in second[::2]]
    burning.wave("rollback", "second", *(option for mail in back for option in ("--only", mail)))
    burning.wave("sweep", "first")
    assert set(burning.states("first").values()) == {MoveState.SWEPT}
    states = burning.states("second")
    assert {states.pop(mail) for mail in back} == {MoveState.ROLLED_BACK}
    assert set(states.values()) == {MoveState.RELEASED}
    verdict = burning.judged()
    record_property("verdict", str(verdict))
    record_property("parked, median", statistics.median(burning.parked_seconds().values()))
    assert not verdict.wrong, verdict
    assert all(burning.load.doors().values()), burning.load.doors()
    gone_back = {one.uid for one in second[::2]}
    placed = burning.acme.placed()
    assert {placed[uid] for uid in gone_back} == {("exchange", "")}, "nothing of ours is left but the mark"
