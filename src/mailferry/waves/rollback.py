"""The way back after the switch: what somebody received, sent and drafted on the open side goes to Exchange, and then
their mail does.

    switched, released, swept ─leave→ returning ─come_back→ rolled back ─follow→ (what they left behind since)

Invariants: nobody is parked before everything that was there has been copied once, nor while either side is out of
reach: then the route is the open side's again, whose mailbox is still whole, and the next run begins anew. A route that
says `exchange` is never taken back. Nothing is removed from the open side.
"""

from __future__ import annotations

import asyncio
import logging
import time

from mailferry.coexist import routes
from mailferry.copy.backwards import copy_back
from mailferry.copy.progress import Counts
from mailferry.copy.work import Engine
from mailferry.errors import Fenced, MailferryError, SafetyStop, Temporary
from mailferry.ledger.rows import Lease
from mailferry.model.wave import Move, MoveState
from mailferry.stack.postfix.settings import Route
from mailferry.waves.advance import LAST_SECONDS, Goal
from mailferry.waves.back import to_exchange
from mailferry.waves.context import Context
from mailferry.waves.steps import forget, let_go, patiently, prove, set_route

log = logging.getLogger("mailferry.waves")

FRESH_SECONDS = 60.0
"""A first pass that ended longer ago is followed by another before anybody is parked."""
REOPEN_SECONDS = 60.0
"""How long a way back that failed, or is to stop, tries to let the mail flow again."""


async def leave(ctx: Context, move: Move, lease: Lease) -> Move:
    """A first pass back, while mail flows; a failure leaves everything as it was. Then the way back is entered."""
    await _pass(ctx, ctx.engine, move, lease)
    await asyncio.gather(*(queue.check() for queue in ctx.queues))  # nobody is parked at a queue out of reach
    await ctx.intend(move, lease, MoveState.RETURNING)
    return await ctx.enter(move, lease, MoveState.RETURNING, durable=True, parked=None, error="")


async def come_back(ctx: Context, move: Move, lease: Lease) -> Move:
    """Park, copy what is left, and give the mail to Exchange. Temporary: it took longer than `longest_park`, and mail
    goes to the open side again."""
    await ctx.intend(move, lease, MoveState.ROLLED_BACK)
    left = 0
    now = await _route(ctx, move)
    if now != Route.EXCHANGE.value:
        most = ctx.settings.longest_park
        try:
            if now == Route.LOCAL.value:
                if time.time() - move.entered > FRESH_SECONDS:
                    await _pass(ctx, ctx.engine, move, lease)
                move = await ctx.note(move, lease, parked=time.time())
            async with asyncio.timeout(most):
                left = await _parked(ctx, move, lease)
        except Fenced:
            raise
        except TimeoutError:
            late = Temporary(f"its mail was parked for {most:.0f} s (longest_park)", about=move.mail)
            raise await _reopened(ctx, move, lease, late) from None
        except (MailferryError, asyncio.CancelledError) as error:
            raise await _reopened(ctx, move, lease, error) from None
    try:
        async with asyncio.timeout(LAST_SECONDS):
            return await _arrive(ctx, move, lease, left)
    except TimeoutError:
        advice = "run it again: only the release is left"
        raise Temporary("its mail could not be released yet", about=move.mail, advice=advice) from None
    except asyncio.CancelledError as stopped:
        raise await _reopened(ctx, move, lease, stopped) from None


async def follow(ctx: Context, move: Move, lease: Lease) -> Move:
    """Once more, after the way back: what was drafted or sent in the open mailbox since, from a client that nobody has
    changed."""
    await _pass(ctx, ctx.engine, move, lease)
    return await ctx.note(move, lease, error="")


_ = MoveState
ROLLBACK = Goal(
    {_.SWITCHED: leave, _.RELEASED: leave, _.SWEPT: leave, _.RETURNING: come_back, _.ROLLED_BACK: follow},
    frozenset({_.ROLLED_BACK}),
)


async def _parked(ctx: Context, move: Move, lease: Lease) -> int:
    """From a route that is local or parked already to one that says `exchange`; how many messages could not go."""
    await patiently(ctx, move, lambda: set_route(ctx, move, Route.PARKED, Route.LOCAL))
    await forget(ctx, move)
    await prove(ctx, move)
    counts = await _pass(ctx, ctx.parked_engine(), move, lease)
    await patiently(ctx, move, lambda: set_route(ctx, move, Route.EXCHANGE, Route.PARKED))
    return counts.failed


async def _pass(ctx: Context, engine: Engine, move: Move, lease: Lease) -> Counts:
    """One pass back. SafetyStop: a whole folder cannot be brought."""
    ctx.say(move, "copying back")
    counts = await copy_back(
        engine,
        ctx.exchange_mailbox(move),
        ctx.store_mailbox(move),
        lease,
        run_id=ctx.run_id,
        progress=ctx.progress,
    )
    if counts.stops or counts.broken:
        raise SafetyStop(
            f"{counts.stops + counts.broken} folders cannot go back to Exchange",
            about=move.mail,
            advice="mailferry report names them and why; run it again when that is mended",
        )
    for one in ctx.companions:
        await one.bring_back(move, lease)
    return counts


async def _route(ctx: Context, move: Move) -> str:
    found = await patiently(
        ctx, move, lambda: ctx.directory.call(lambda people, _: routes.find_id(people, move.source_id))
    )
    return found.route


async def _arrive(ctx: Context, move: Move, lease: Lease, left: int) -> Move:
    """The route says `exchange`: release. `left`: messages that could not go back."""
    kept = await patiently(ctx, move, lambda: to_exchange(ctx, move))
    waits = await patiently(ctx, move, lambda: let_go(ctx, move))
    for one in ctx.companions:
        await one.withdraw(move, lease)
    told = [f"{left} messages could not go back: mailferry report"] if left else []
    text = "; ".join(filter(None, (*told, kept, waits)))
    return await ctx.enter(move, lease, MoveState.ROLLED_BACK, durable=True, released=time.time(), error=text)


async def _reopened(ctx: Context, move: Move, lease: Lease, error: BaseException) -> BaseException:
    """The mail flows again: to the open side, or to Exchange where the route says so already. What is to be raised."""
    try:
        async with asyncio.timeout(REOPEN_SECONDS):
            now = await _route(ctx, move)
            if now == Route.EXCHANGE.value:
                await _arrive(ctx, move, lease, 0)
                return error
            if now == Route.PARKED.value:
                ctx.say(move, "mail goes to the open side again")
                await patiently(ctx, move, lambda: set_route(ctx, move, Route.LOCAL, Route.PARKED))
                await patiently(ctx, move, lambda: let_go(ctx, move))
            await ctx.note(move, lease, parked=None)
    except (MailferryError, TimeoutError) as second:
        if isinstance(second, Fenced):
            return second
        log.error("%s is still parked: %s", move.mail, getattr(second, "message", "it did not answer in time"))
    return error
