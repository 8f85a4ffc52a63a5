"""The arrows from planned to swept: each one function, which does what its arrow needs and enters the next state.

    planned ─begin→ seeding ─seed→ seeded ─ready→ parked ─settle→ settled ─catch_up→ caught up ─verify→ verified
    ─switch→ switched ─release→ released ─sweep→ swept

Retries nothing and handles no failure: advance.py does. Invariants: each may be done again at any time,
whatever part of it was done before; what it changes outside, the ledger has said before; `parked` is entered before the
route says so, `switched` after, so that the ledger never believes somebody's mail to flow who is parked.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from mailferry.coexist import probe, routes
from mailferry.coexist.parking import Released, is_parked
from mailferry.copy.mailbox import copy_mailbox
from mailferry.copy.work import Engine
from mailferry.errors import ConfigError, RemoteProtocolError, SafetyStop, Temporary
from mailferry.ledger.directory import accounts_of
from mailferry.ledger.rows import Lease
from mailferry.model.wave import Move, MoveState, WaveState
from mailferry.plan.waves import park_from, times
from mailferry.stack.postfix.settings import Route
from mailferry.tasks import finished
from mailferry.verify.mailbox import verify_mailbox
from mailferry.verify.reading import Content
from mailferry.verify.score import Score
from mailferry.waves import approval
from mailferry.waves.context import Context, T
from mailferry.waves.evidence import Verdict, as_data, from_data, gather
from mailferry.waves.people import check_move, read_one, tied_addresses

Step = Callable[[Context, Move, Lease], Awaitable[Move]]

FRESH_SEED_SECONDS = 600.0
"""A pass that ended longer ago is followed by another before anybody is parked, so that little is left to copy then."""
VERIFY_ROUNDS = 3
"""The owner still reads, flags and deletes in the old mailbox: what differs for that reason is gone after a pass."""
PAUSE_SECONDS, PAUSE_MOST = 0.5, 5.0


async def begin(ctx: Context, move: Move, lease: Lease) -> Move:
    """A pass begins. SafetyStop: who is who has changed since it was planned."""
    await _same_person(ctx, move)
    return await ctx.enter(move, lease, MoveState.SEEDING, mailbox_id=lease.mailbox_id)


async def seed(ctx: Context, move: Move, lease: Lease) -> Move:
    """A whole pass, and the right-person check."""
    await _copy(ctx, ctx.engine, move, lease)
    for one in ctx.companions:
        ctx.say(move, one.name)
        await one.seed(move, lease)
    evidence = move.evidence
    found = from_data(evidence)
    if found is None or found.verdict is not Verdict.CONFIRMED:
        addresses = await ctx.directory.call(lambda people, _: routes.addresses(people, move.source_id))
        tied = await ctx.directory.call(lambda people, _: tied_addresses(people, move.source_id))
        evidence = as_data(await gather(ctx.source(move), addresses, tied))
    return await ctx.enter(move, lease, MoveState.SEEDED, error="", evidence=evidence)


async def rehearse(ctx: Context, move: Move, lease: Lease) -> Move:
    """As `seed`, and both sides are compared, which changes nothing."""
    move = await seed(ctx, move, lease)
    ctx.say(move, "verifying")
    await _score(ctx, move, lease)
    return move


async def ready(ctx: Context, move: Move, lease: Lease) -> Move:
    """Park. Another pass first, where the last is too old, or nobody looked whose mailbox it is. SafetyStop: not this
    person, not now."""
    if time.time() - move.entered > FRESH_SEED_SECONDS or not move.evidence:
        return await begin(ctx, move, lease)
    await ctx.engine.gate.wait()
    await _now(ctx, move)
    await ctx.directory.call(lambda people, _: people.check_writable())
    await _same_person(ctx, move)
    await _right_person(ctx, move)
    found = await ctx.directory.call(lambda people, _: routes.find_id(people, move.source_id))
    if found.route not in (Route.EXCHANGE.value, Route.PARKED.value):
        advice = f"mailferry route show {found.mail}"
        raise SafetyStop(f"its route is {found.route or 'missing'}, not exchange", about=found.dn, advice=advice)
    await asyncio.gather(*(queue.check() for queue in ctx.queues))  # nobody is parked at a queue out of reach
    await ctx.intend(move, lease, MoveState.PARKED)
    ctx.say(move, "parking")
    now = time.time()
    return await ctx.enter(move, lease, MoveState.PARKED, durable=True, mail=found.mail, parked=now, error="")


async def settle(ctx: Context, move: Move, lease: Lease) -> Move:
    """The route says `parked`, on both sides, and is seen to be so."""
    await ctx.intend(move, lease, MoveState.SETTLED)
    await divert(ctx, move)
    await forget(ctx, move)
    await prove(ctx, move)
    return await ctx.enter(move, lease, MoveState.SETTLED, error="")


async def catch_up(ctx: Context, move: Move, lease: Lease) -> Move:
    """The last pass before the switch."""
    await ctx.intend(move, lease, MoveState.CAUGHT_UP)
    ctx.say(move, "catching up")
    await _catch_up(ctx, move, lease)
    return await ctx.enter(move, lease, MoveState.CAUGHT_UP, error="")


async def verify(ctx: Context, move: Move, lease: Lease) -> Move:
    """Both sides are compared; SafetyStop where the score or the right-person check does not allow the switch."""
    await ctx.intend(move, lease, MoveState.VERIFIED)
    ctx.say(move, "verifying")
    score = await _score(ctx, move, lease)
    for _ in range(VERIFY_ROUNDS - 1):
        if score <= Score.GOOD:
            break
        await _catch_up(ctx, move, lease)
        score = await _score(ctx, move, lease)
    if score is Score.POOR:
        raise SafetyStop(
            "the verification's score is Poor", about=move.mail, advice="mailferry report; then seed again"
        )
    move = await ctx.read(move)  # approvals may have come since
    verified = await ctx.ledger.call(lambda db: db.verifications(lease.mailbox_id))
    await _approved(ctx, move, approval.lacking(move, verified, approval.parties(await ctx.wave(move), ctx.started_by)))
    return await ctx.enter(move, lease, MoveState.VERIFIED, error="")


async def switch(ctx: Context, move: Move, lease: Lease) -> Move:
    """The route says `local`: from now on the open mailbox is the one."""
    ctx.say(move, "switching")
    await ctx.intend(move, lease, MoveState.SWITCHED)
    for one in ctx.companions:
        await one.activate(move, lease)
    await set_route(ctx, move, Route.LOCAL, Route.PARKED)
    return await ctx.enter(move, lease, MoveState.SWITCHED, durable=True, error="")


async def release(ctx: Context, move: Move, lease: Lease) -> Move:
    """What is parked goes to the store."""
    await ctx.intend(move, lease, MoveState.RELEASED)
    left = await let_go(ctx, move)
    error = "; ".join(filter(None, (left, *[await one.complete(move, lease) for one in ctx.companions])))
    return await ctx.enter(move, lease, MoveState.RELEASED, released=time.time(), error=error)


async def sweep(ctx: Context, move: Move, lease: Lease) -> Move:
    """What came into the old mailbox after the last pass comes over; nothing else is touched."""
    engine = replace(ctx.engine, policy=replace(ctx.engine.policy, source_wins=False))
    await _copy(ctx, engine, move, lease)
    left = "; ".join(filter(None, [await one.complete(move, lease) for one in ctx.companions]))
    return await ctx.enter(move, lease, MoveState.SWEPT, error=left)


async def set_route(ctx: Context, move: Move, route: Route, only_from: Route) -> routes.Changed:
    """Its route, by its id. `mailHost` goes with `local` alone. SafetyStop: it is neither of the two."""
    store = move.store if route is Route.LOCAL else None

    def change(people: routes.People, audit: routes.Audit) -> routes.Changed:
        before = routes.find_id(people, move.source_id)
        return routes.change(
            people, audit, before, route, store, only_from=(only_from,), fresh_seconds=ctx.fresh_seconds
        )

    return await ctx.directory.call(change)


async def divert(ctx: Context, move: Move) -> None:
    """Mail for it waits from now on, on Exchange's side, too. That comes last: what Exchange hands over then has to
    meet a route that takes it."""
    await set_route(ctx, move, Route.PARKED, Route.EXCHANGE)
    await asyncio.gather(*(queue.follow(move.mail) for queue in ctx.queues))
    if ctx.exchange is not None:
        address = f"{move.uid}@{ctx.open_domain}"
        await finished(asyncio.ensure_future(asyncio.to_thread(ctx.exchange.park, move.source_id, address)))


async def forget(ctx: Context, move: Move) -> None:
    """Return when every MTA has forgotten the old route, and nothing is on its way there any more."""
    ctx.say(move, "waiting until every MTA has forgotten its route")
    await asyncio.gather(*(queue.forget(move.mail) for queue in ctx.queues))
    await asyncio.gather(*(queue.quiet(move.mail) for queue in ctx.queues))


async def prove(ctx: Context, move: Move) -> None:
    """A probe message has to wait; none is sent to whoever forwards without a copy, for others would get it."""
    if ctx.probe is None:
        return
    found = await ctx.directory.call(lambda people, _: routes.find_id(people, move.source_id))
    if not found.forward_to or found.keep_copy:
        ctx.say(move, "a probe message has to wait")
        await probe.prove(ctx.queues, ctx.probe, move.mail)


async def let_go(ctx: Context, move: Move) -> str:
    """Release what waits in every queue, by the route of now. Returns what still waits for a server, for people;
    Temporary while something still waits for the route: from here no way leads back, so that a command that is wrong
    is tried again until somebody has corrected it, and waited for where that will do."""
    ctx.say(move, "releasing")
    await asyncio.gather(*(queue.forget_or_wait(move.mail) for queue in ctx.queues))
    kept = ""
    if ctx.probe is not None:
        try:
            await probe.clear(ctx.queues, ctx.probe, move.mail)
        except ConfigError as error:  # a probe that is delivered is better than mail that is not
            kept = f"a probe message may have been delivered: {error.message}"
    found = await ctx.directory.call(lambda people, _: routes.find_id(people, move.source_id))
    releases = (queue.release(move.mail, anew=found.forwards_copies) for queue in ctx.queues)
    try:
        released: list[Released] = await asyncio.gather(*releases)
    except ConfigError as error:
        raise Temporary(error.message, about=move.mail, advice=error.advice) from error
    left = [one for each in released for one in each.left]
    if any(is_parked(one) for one in left):
        raise Temporary(f"{len(left)} messages are still parked after a release", about=move.mail)
    waits = f"{len(left)} messages wait for the store: {left[0].why or 'being delivered'}" if left else ""
    return "; ".join(filter(None, (kept, waits)))


async def patiently(ctx: Context, move: Move, work: Callable[[], Awaitable[T]]) -> T:
    """Until it succeeds: what is away may come back. The caller sets the limit (`asyncio.timeout`)."""
    pause = PAUSE_SECONDS
    while True:
        try:
            return await work()
        except (Temporary, RemoteProtocolError) as error:
            ctx.say(move, f"{error.message}; next attempt in {pause:.0f} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSE_MOST)


async def _copy(ctx: Context, engine: Engine, move: Move, lease: Lease) -> None:
    await copy_mailbox(engine, ctx.source(move), ctx.target(move), lease, run_id=ctx.run_id, progress=ctx.progress)


async def _catch_up(ctx: Context, move: Move, lease: Lease) -> None:
    await _copy(ctx, ctx.parked_engine(), move, lease)
    for one in ctx.companions:
        await one.catch_up(move, lease)


async def _score(ctx: Context, move: Move, lease: Lease) -> Score:
    settings = ctx.settings
    scores = [await one.verify(move, lease) for one in ctx.companions]  # first: their rows belong to the mailbox's
    done = await verify_mailbox(
        ctx.ledger,
        ctx.source(move),
        ctx.target(move),
        lease.mailbox_id,
        content=Content(settings.content),
        share=settings.share,
    )
    return max([done.score, *scores])


async def _now(ctx: Context, move: Move) -> None:
    """SafetyStop where the wave, or the hour, does not allow that somebody is parked."""
    wave = await ctx.wave(move)
    if wave.state is not WaveState.OPEN:
        advice = f"mailferry wave resume {wave.name}, then run the same command again"
        raise SafetyStop(f"the wave is {wave.state.value}: nobody new is parked", about=move.mail, advice=advice)
    moment = park_from(time.time(), times(wave.settings, ctx.settings.blackout))
    if moment > time.time():
        text = (
            "ever again" if math.isinf(moment) else f"before {time.strftime('%a %d %b %H:%M', time.localtime(moment))}"
        )
        raise SafetyStop(f"nobody is parked {text}", about=move.mail, advice="run the same command again then")


async def _same_person(ctx: Context, move: Move) -> None:
    """SafetyStop unless directory and ledger still say who it is, as when it was planned."""
    rows = await ctx.ledger.call(lambda db: accounts_of(db, [move.source_id]))
    one = await ctx.directory.call(lambda people, _: read_one(people, move.source_id))
    check_move(ctx.settings, move, one, rows.get(move.source_id))


async def _right_person(ctx: Context, move: Move) -> None:
    """SafetyStop unless Sent is the owner's, or a second person has said so."""
    found = from_data(move.evidence)
    if found is not None and found.verdict is Verdict.CONTRADICTED:
        raise SafetyStop(
            f"this seems to be another person's mailbox: {found.how} ({', '.join(found.others)})",
            about=move.mail,
            advice="check source_user and target_user: mailferry wave show",
        )
    await _approved(ctx, move, approval.lacking(move, (), approval.parties(await ctx.wave(move), ctx.started_by)))


async def _approved(ctx: Context, move: Move, doubts: list[approval.Doubt]) -> None:
    if doubts:
        wave = await ctx.wave(move)
        raise SafetyStop(
            "nobody has approved: " + "; ".join(one.text for one in doubts),
            about=move.mail,
            advice=f"a second person (not {ctx.started_by}, who starts this) looks at it, then: "
            f"mailferry wave approve {wave.name} {move.mail}",
        )
