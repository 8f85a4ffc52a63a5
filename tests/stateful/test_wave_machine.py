"""Every kind of fault at every point of a move: no message is lost or doubled, and nobody is left parked."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailferry.errors import ConfigError, Temporary
from mailferry.model.wave import WAITING_FOR_MAIL, MoveState
from mailferry.waves import advance, steps
from mailferry.waves.advance import CUTOVER, SEED
from tests.stateful.wave_world import Fault, World, copied

POINTS = 80
"""More than a cutover has."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (advance, steps):
        monkeypatch.setattr(module, "PAUSE_SECONDS", 0.001)


def at_rest(world: World, error: BaseException | None, what: str) -> None:
    """Whatever happened: the mailbox that counts has everything once, and mail goes there."""
    move = world.move()
    assert move.state not in WAITING_FOR_MAIL, (what, move, error)
    assert world.queue == [], (what, move)
    if move.state is MoveState.RELEASED:
        assert world.route == "local" and world.inbox(world.b) == world.everything(), what
    else:
        assert move.state is MoveState.SEEDED and world.route == "exchange", (what, move)
        assert world.inbox(world.a) == world.everything(), what


@pytest.mark.parametrize("fault", [Fault.AWAY, Fault.UNHEARD, Fault.REFUSED, Fault.STOP, Fault.KILL])
def test_a_fault_at_every_point(tmp_path: Path, fault: Fault) -> None:
    first = World(tmp_path / "0.db")
    assert first.run(SEED) is None
    number = 0
    while True:
        number += 1
        world = copied(first, tmp_path / f"{number}.db")
        error = world.run(CUTOVER, number, fault)
        if world.points < number:
            assert error is None and number < POINTS
            break
        what = f"{fault.value} at {number}: {world.log[-world.points :][number - 1]}"
        if fault is Fault.KILL:
            assert error is not None, what
        else:
            at_rest(world, error, what)
        if world.move().state is not MoveState.RELEASED:
            at_rest(world, world.run(CUTOVER), f"{what}, then again")
        if world.move().state is MoveState.SEEDED:  # a run that was killed on its way back ended there
            assert world.run(CUTOVER) is None, what
            at_rest(world, None, what)
        assert world.move().state is MoveState.RELEASED, what


def test_commands_that_do_not_exist_lead_back_and_strand_nobody(tmp_path: Path) -> None:
    """The reload, and what removes the probe: seen only when somebody is parked already."""
    world = World(tmp_path / "0.db")
    wrong = ConfigError("the command `ssh mx1 postfx reload` cannot work", about="mx", advice="correct it")
    world.fails = {"forget": [wrong], "reload": [wrong], "release": [wrong]}
    error = world.run(CUTOVER)
    assert error is wrong
    at_rest(world, error, "no such program")
    assert world.move().state is MoveState.SEEDED and "postfx" in world.move().error
    assert not any(world.fails.values()), "the way back met it, too"
    assert world.run(CUTOVER) is None
    at_rest(world, None, "corrected")


@pytest.mark.parametrize(("seconds", "last"), [(0.0, "mx: b"), (60.0, "mx: a")])
def test_who_is_parked_has_the_reason_of_the_retries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, last: str
) -> None:
    monkeypatch.setattr(advance, "NOTE_SECONDS", seconds)
    world = World(tmp_path / "0.db")
    world.fails = {"forget": [Temporary(one, about="mx") for one in "aabb"]}
    assert world.run(CUTOVER) is None
    assert world.told == ["", "mx: a", "mx: a", last]
    assert world.move().state is MoveState.RELEASED and world.move().error == ""
