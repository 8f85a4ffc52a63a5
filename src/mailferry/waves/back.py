"""The way back before the switch: somebody who is parked goes back to Exchange, with all mail that waits.

Retries nothing: advance.py calls it until it is done. Invariant: a route that is `local` already is never taken
back here, because mail may be in the open mailbox: then the move goes on instead.
"""

from __future__ import annotations

import asyncio

from mailferry.coexist import routes
from mailferry.errors import SafetyStop
from mailferry.ledger.rows import Lease
from mailferry.model.wave import Move, MoveState
from mailferry.stack.postfix.settings import Route
from mailferry.tasks import finished
from mailferry.waves.context import Context
from mailferry.waves.steps import let_go, set_route


async def unpark(ctx: Context, move: Move, lease: Lease, why: str) -> Move:
    """From any state between parked and verified, or un-parking, to seeded with `why` as its error; to switched where
    the route says that this has happened. SafetyStop: somebody else has made the route local."""
    if move.state is not MoveState.UNPARKING:
        ctx.say(move, f"going back: {why}")
        found = await ctx.directory.call(lambda people, _: routes.find_id(people, move.source_id))
        if found.route == Route.LOCAL.value:
            if move.state is MoveState.VERIFIED and found.store == move.store:
                return await ctx.enter(move, lease, MoveState.SWITCHED, durable=True)
            advice = f"mailferry route show {found.mail}; park it again, or send it back: mailferry route set"
            raise SafetyStop("its route is local: somebody else has changed it", about=found.dn, advice=advice)
        await ctx.intend(move, lease, MoveState.UNPARKING)
        move = await ctx.enter(move, lease, MoveState.UNPARKING, error=why)
    await ctx.intend(move, lease, MoveState.SEEDED)
    for one in ctx.companions:
        await one.withdraw(move, lease)
    kept = await to_exchange(ctx, move)
    left = await let_go(ctx, move)
    error = "; ".join(filter(None, (move.error, kept, left)))
    return await ctx.enter(move, lease, MoveState.SEEDED, error=error)


async def to_exchange(ctx: Context, move: Move) -> str:
    """Both sides send mail to the mailbox on Exchange from now on. Returns why Exchange's was left alone, "" if not.

    Exchange's side first: what it still hands over meets a route that takes it. Its controllers being away keeps nobody
    from the rest."""
    try:
        if ctx.exchange is None:
            return ""
        done = await finished(asyncio.ensure_future(asyncio.to_thread(ctx.exchange.restore, move.source_id)))
        return done.note
    finally:
        await set_route(ctx, move, Route.EXCHANGE, Route.PARKED)
