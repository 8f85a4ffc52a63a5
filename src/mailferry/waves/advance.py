"""Takes one move along its arrows to a goal, and decides what a failure on the way means.

Does no step itself. Invariants: whoever is parked when something fails, or when the run is to stop, is not left so: the
way back is gone before the switch, the way forward after it; a worker whose mailbox was taken over does neither.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from mailferry.errors import (
    Busy,
    ConfigError,
    Fenced,
    IntegrityError,
    MailferryError,
    Permanent,
    RemoteProtocolError,
    SafetyStop,
    Temporary,
    UserError,
)
from mailferry.ledger.rows import Lease
from mailferry.model.wave import Move, MoveState
from mailferry.waves import steps
from mailferry.waves.back import unpark
from mailferry.waves.context import Context
from mailferry.waves.steps import PAUSE_MOST, PAUSE_SECONDS, Step

log = logging.getLogger("mailferry.waves")

PARKED = frozenset({MoveState.PARKED, MoveState.SETTLED, MoveState.CAUGHT_UP, MoveState.VERIFIED, MoveState.UNPARKING})
"""From here a failure leads back."""
STOP_SECONDS = 60.0
"""How long a run that is to stop tries to bring those who are parked to an end, while directory or queue do not
answer; the ledger knows who is left, and the next `wave cutover` begins with them."""
NOTE_SECONDS = 5.0
"""The ledger learns no more often why a step is tried again."""
LAST_SECONDS = 3600.0
"""The same for a run that is not to stop."""
LIMIT: Mapping[MoveState, float] = {
    MoveState.PARKED: 0.0,
    MoveState.SETTLED: 0.0,
    MoveState.CAUGHT_UP: 0.0,
    MoveState.VERIFIED: 30.0,
    MoveState.SWITCHED: LAST_SECONDS,
}
"""What may not last longer than `longest_park`, all together; but so many seconds each may last in any case."""


@dataclass(frozen=True, slots=True)
class Goal:
    """Which arrows to go, and where to stop."""

    steps: Mapping[MoveState, Step]
    ends: frozenset[MoveState]


_ = MoveState
_SEED = {_.PLANNED: steps.begin, _.ROLLED_BACK: steps.begin, _.SEEDING: steps.seed}
SEED = Goal({**_SEED, _.SEEDED: steps.begin}, frozenset({_.SEEDED}))
REHEARSE = Goal({**_SEED, _.SEEDING: steps.rehearse, _.SEEDED: steps.begin}, frozenset({_.SEEDED}))
CUTOVER = Goal(
    {
        **_SEED,
        _.SEEDED: steps.ready,
        _.PARKED: steps.settle,
        _.SETTLED: steps.catch_up,
        _.CAUGHT_UP: steps.verify,
        _.VERIFIED: steps.switch,
        _.SWITCHED: steps.release,
    },
    frozenset({_.RELEASED}),
)
SWEEP = Goal({_.RELEASED: steps.sweep, _.SWEPT: steps.sweep}, frozenset({_.SWEPT}))


async def advance(ctx: Context, move: Move, lease: Lease, goal: Goal) -> Move:
    """Go on from where the move is until the goal; the move as it is then. A move in a state that the goal has no arrow
    from stays there. Raises what stopped it, after the way back."""
    while True:
        try:
            if move.state is MoveState.UNPARKING and goal is CUTOVER:  # a run was killed on the way back
                raise Temporary(move.error, about=move.mail)
            step = goal.steps.get(move.state)
            if step is None:
                return move
            move = await _limited(ctx, move, lease, step)
        except (Fenced, Busy):
            raise
        except BaseException as error:
            if (now := await _after(ctx, move, lease, error)) is None:
                raise
            move = now
        if move.state in goal.ends:
            return move


async def _limited(ctx: Context, move: Move, lease: Lease, step: Step) -> Move:
    """The step; of who is parked, again and again in the time that is left, and the move tells why as its error. What
    is refused is tried again only where there is no way back."""
    if move.state not in LIMIT:
        return await step(ctx, move, lease)
    most, least = ctx.settings.longest_park, LIMIT[move.state]
    left = max(least, (move.parked or move.entered) + most - time.time())
    last = ""
    noted = -math.inf
    pause = PAUSE_SECONDS
    try:
        async with asyncio.timeout(left):
            while True:
                try:
                    if last:
                        now = await ctx.read(move)
                        if now.state is not move.state:
                            return now  # what failed was only to hear of it
                        if now.error != last and time.monotonic() - noted >= NOTE_SECONDS:
                            noted = time.monotonic()
                            move = await ctx.note(now, lease, error=last)
                    return await step(ctx, move, lease)
                except (Temporary, RemoteProtocolError, Permanent) as error:
                    if isinstance(error, Permanent) and move.state in PARKED:
                        raise
                    last = ": ".join(filter(None, (error.about, error.message)))
                    ctx.say(move, f"{last}; next attempt in {pause:.1f} s")
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, PAUSE_MOST)
    except TimeoutError:
        text = f"it was still {move.state.value} after {max(most, least):g} seconds (longest_park)"
        raise Temporary(f"{text}: {last}" if last else text, about=move.mail) from None


async def _after(ctx: Context, move: Move, lease: Lease, error: BaseException) -> Move | None:
    """What is to be done when a step has failed or is to stop. The move, where it goes on all the same."""
    stopping = isinstance(error, asyncio.CancelledError)
    if not isinstance(error, MailferryError) and not stopping:
        log.error("%s: %s", move.mail, move.state.value, exc_info=error)
    why = "the run was stopped" if stopping else _text(error)
    try:
        async with asyncio.timeout(STOP_SECONDS if stopping else LAST_SECONDS):
            return await _until_done(ctx, move, lease, why, stopping)
    except TimeoutError:
        log.error("%s is not at rest: `mailferry wave cutover` goes on with it", move.mail)
        return None


async def _until_done(ctx: Context, move: Move, lease: Lease, why: str, stopping: bool) -> Move | None:
    """The way back, or the way forward for who is switched, again and again."""
    pause = PAUSE_SECONDS
    while True:
        try:
            move = await ctx.read(move)  # the failed step may have entered another state
            if move.state in PARKED:
                move = await unpark(ctx, move, lease, why)
                if move.state is MoveState.SWITCHED and not stopping:
                    return move
            if move.state is MoveState.SWITCHED and stopping:
                await steps.release(ctx, move, lease)
            elif not stopping and move.error != why:
                await ctx.note(move, lease, error=why)
        except (Fenced, SafetyStop, UserError, ConfigError, IntegrityError) as second:
            if isinstance(second, Fenced):
                raise
            log.error("%s is still %s: %s", move.mail, move.state.value, _text(second))
            return None
        except MailferryError as second:
            ctx.say(move, f"still {move.state.value}: {second.message}; next attempt in {pause:.0f} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSE_MOST)
        else:
            return None


def _text(error: BaseException) -> str:
    """Why, for people and the ledger."""
    if not isinstance(error, MailferryError):
        return f"{type(error).__name__}: {error}"
    return f"{error.message} → {error.advice}" if error.advice else error.message
