"""Every kind of fault at every point of a move: no message is lost or doubled, and nobody is left parked."""

from __future__ import annotations

from pathlib import Path

import pytest

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
