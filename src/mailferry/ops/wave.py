"""The use cases behind `mailferry wave`: many moves at once as a fleet, and what the ledger says of them.

Shows nothing. Invariant: a supervisor has closed the ledger and opened no connection before it forks.
"""

from __future__ import annotations

import shlex
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mailferry.coexist.probe import Probe
from mailferry.coexist.queues import Place, queue_of
from mailferry.config.accounts import parse_address
from mailferry.config.coexist import Coexist, Store
from mailferry.config.settings import Settings, read_settings
from mailferry.config.sieve import PORT as SIEVE_PORT
from mailferry.config.sieve import parse_sieve
from mailferry.copy.fleet import Caps, Fleet, Job, Run
from mailferry.copy.followed import Followed
from mailferry.copy.lease import leased
from mailferry.copy.mailbox import Progress
from mailferry.copy.policy import CopyPolicy
from mailferry.copy.progress import Counts
from mailferry.copy.work import Engine
from mailferry.copy.worker import Worker
from mailferry.errors import ConfigError, Fenced, SafetyStop, UserError
from mailferry.ledger import open_ledger
from mailferry.ledger import waves as ledger_waves
from mailferry.ledger.store import Ledger
from mailferry.model.account import Account, ImapAccount, Tls
from mailferry.model.wave import ON_EXCHANGE, WAITING_FOR_MAIL, Move, MoveState, Wave, WaveState
from mailferry.net import ldap
from mailferry.ops import exchange_side, queues, wave_groupware, wave_rules, wave_sharing
from mailferry.ops.copying import Limits
from mailferry.ops.route_store import RouteStore, route_store, second_side
from mailferry.ops.stores import server_of, source_of, target_of
from mailferry.plan.waves import seed_from, times
from mailferry.secret import Secret
from mailferry.waves.advance import CUTOVER, REHEARSE, SEED, SWEEP, Goal, advance
from mailferry.waves.context import Context, Directory, LedgerDoor
from mailferry.waves.rollback import ROLLBACK

_ANEW = "plan these people anew: mailferry wave plan"
GOALS = {"seed": SEED, "rehearse": REHEARSE, "cutover": CUTOVER, "sweep": SWEEP, "rollback": ROLLBACK}


@dataclass(frozen=True, slots=True)
class Site:
    """What a wave needs to know of the organisation; nothing in it is connected."""

    settings: Settings
    coexist: Coexist
    ledger: str
    routes: RouteStore
    mtas: tuple[Place, ...]
    probe: Probe | None
    fresh_hours: float
    passwords: dict[str, Secret]

    @property
    def directory(self) -> ldap.Server:
        """Where routes are read and written."""
        return self.routes.server

    @property
    def suffix(self) -> str:
        return self.routes.suffix

    @property
    def open_domain(self) -> str:
        return self.routes.open_domain

    def source(self, move: Move) -> Account:
        """The mailbox on Exchange."""
        secret = self.passwords.get("")
        return parse_address(self.coexist.source, user=move.source_user, secret=secret)

    def target(self, move: Move) -> Account:
        """The one on the open side. ConfigError: its store is not in the settings."""
        return self.on_store(move.store, move.target_user, move.mail)

    def servers(self, move: Move) -> tuple[str, ...]:
        """Those whose connections are counted."""
        return tuple({server_of(self.source(move)), server_of(self.target(move))} - {""})

    def on_store(self, name: str, user: str, mail: str) -> Account:
        """The mailbox of `user` on a store. ConfigError: that is not in the settings."""
        return parse_address(self._store(name, mail).url, user=user, secret=self.passwords.get(name.lower()))

    def scripts(self, move: Move) -> ImapAccount | None:
        """The ManageSieve log-in of its open mailbox; None: its store has none. ConfigError: nobody knows, or the store
        is not in the settings."""
        address = self._store(move.store, move.mail).sieve
        if address == "none":
            return None
        if address is not None:
            return parse_sieve(address, user=move.target_user, secret=self.passwords.get(move.store.lower()))
        account = self.target(move)
        if not isinstance(account, ImapAccount):
            about = f'[coexist.stores."{move.store}"] sieve'
            raise ConfigError("it has no ManageSieve address", about=about, advice='give it, or sieve = "none"')
        return replace(account, port=SIEVE_PORT, tls=Tls.NONE if account.tls is Tls.NONE else Tls.STARTTLS)

    def _store(self, name: str, mail: str) -> Store:
        store = self.coexist.stores.get(name.lower())
        if store is None:
            known = ", ".join(sorted(self.coexist.stores))
            raise ConfigError(f"{name} is none of the stores: {known}", about=f"[coexist.stores] for {mail}")
        return store


def site_of(config: Path, ledger: str | None, default_ledger: Callable[[], str]) -> Site:
    """Read the settings, and the passwords that they refer to. ConfigError: sections are missing."""
    whole = read_settings(config)
    coexist, directory = whole.coexist, whole.directory
    if coexist is None or directory is None:
        advice = "docs/waves.md has an example"
        raise ConfigError("it needs [directory] and [coexist]", about=str(config), advice=advice)
    references = {"": coexist.source_password} | {name: one.password for name, one in coexist.stores.items()}
    return Site(
        whole,
        coexist,
        ledger or whole.ledger or default_ledger(),
        route_store(whole),
        queues.places(whole),
        _probe(whole, coexist),
        queues.fresh_hours(whole),
        {name: Secret.from_reference(one) for name, one in references.items() if one},
    )


def _probe(whole: Settings, coexist: Coexist) -> Probe | None:
    if not coexist.probe:
        return None
    domains = whole.directory.mapping.domains if whole.directory else ()
    if "{domain}" in coexist.probe_from and not domains:
        raise ConfigError("{domain} is not known", about="coexist.probe_from", advice="give directory.mapping.domains")
    sender = coexist.probe_from.replace("{domain}", domains[0] if domains else "")
    return Probe(sender, queues.smtp_of(coexist.exchange_smtp), coexist.probe_seconds)


@contextmanager
def opened(site: Site) -> Iterator[Ledger]:
    """The ledger, for what needs no fleet."""
    with closing(open_ledger(site.ledger)) as ledger:
        yield ledger


def fleet(
    site: Site, verb: str, name: str, only: Sequence[str], argv: Sequence[str], observe: Callable[[Run], None]
) -> Run:
    """What takes a wave's people to the goal of a verb (`GOALS`): a fleet of this machine, or the workers where
    `[workers]` is set; `run()` it. Those who are waiting for mail come first. UserError: nobody of that name;
    SafetyStop: the wave is paused or cancelled."""
    goal = GOALS[verb]
    with opened(site) as ledger:
        wave = ledger_waves.named(ledger, name)
        everybody = ledger_waves.moves(ledger)
        moves = _theirs(ledger, everybody, chosen(ledger_waves.moves(ledger, wave.id), only, name), only)
    start = seed_from(time.time(), times(wave.settings))
    if goal in (SEED, REHEARSE) and start > time.time():
        raise SafetyStop(
            f"it is not to be seeded before {time.ctime(start)}", about=name, advice="wait, or plan it anew"
        )
    moves = [move for move in moves if due(site.coexist, move, goal)]
    if wave.state is not WaveState.OPEN and goal not in (SWEEP, ROLLBACK):
        moves = [move for move in moves if move.state in WAITING_FOR_MAIL]
        if not moves:
            advice = f"mailferry wave resume {name}" if wave.state is WaveState.PAUSED else _ANEW
            raise SafetyStop(f"it is {wave.state.value}", about=name, advice=advice)
    moves.sort(key=lambda move: move.state not in WAITING_FOR_MAIL)
    limits = Limits(**({} if site.coexist.workers is None else {"workers": site.coexist.workers}))
    jobs = [Job(move.mail, site.servers(move), site.coexist.lanes) for move in moves]
    if site.settings.workers is not None:
        return Followed(
            jobs=jobs,
            ledger=site.ledger,
            verb=verb,
            moves=[move.id for move in moves],
            priorities=[2 if move.state in WAITING_FOR_MAIL else int(goal in (CUTOVER, ROLLBACK)) for move in moves],
            command=shlex.join(argv),
            observe=observe,
        )
    people = {move.source_user: move.target_user for move in everybody}
    return Fleet(
        jobs=jobs,
        ledger=site.ledger,
        policy=CopyPolicy(people=people),
        task=_Task(site, [move.id for move in moves], goal),
        caps=Caps(site.coexist.connections, at_once(site.coexist, wave), limits.workers),
        command=shlex.join(argv),
        observe=observe,
    )


def _theirs(ledger: Ledger, everybody: Sequence[Move], moves: Sequence[Move], only: Sequence[str]) -> list[Move]:
    """Those who have not gone on into a later wave, which alone may do anything with them then. SafetyStop: one who was
    asked for by name has."""
    latest = {one.source_id: one for one in everybody if one.state is not MoveState.CANCELLED}
    gone = [one for one in moves if latest.get(one.source_id, one).id > one.id]
    if only and gone:
        wave = ledger_waves.wave_of(ledger, latest[gone[0].source_id]).name
        raise SafetyStop(f"is in the wave {wave} since", about=gone[0].mail, advice=f"mailferry wave status {wave}")
    return [one for one in moves if one not in gone]


def at_once(coexist: Coexist, wave: Wave) -> int:
    """How many of a wave are at work at the same time, by its own cap and the organisation's."""
    return min(coexist.together, int(wave.settings.get("together", coexist.together)))


def chosen(moves: Sequence[Move], only: Sequence[str], name: str) -> list[Move]:
    """Those of these addresses; all if none is given. UserError: one is not in the wave."""
    if not only:
        return list(moves)
    by_mail = {move.mail.lower(): move for move in moves}
    for address in only:
        if address.lower() not in by_mail:
            raise UserError("is not in this wave", about=address, advice=f"mailferry wave status {name}")
    return [by_mail[address.lower()] for address in dict.fromkeys(only)]


def due(coexist: Coexist, move: Move, goal: Goal) -> bool:
    """Whether there is something to do for it."""
    if goal is SWEEP and move.state is MoveState.SWEPT:
        return time.time() < (move.released or 0) + coexist.sweep_hours * 3600
    return move.state in goal.steps or (goal is CUTOVER and move.state is MoveState.UNPARKING)


class _Task:
    """What each worker of a fleet does for one move; its `Context` is made by the first."""

    def __init__(self, site: Site, moves: Sequence[int], goal: Goal) -> None:
        self._site, self._moves, self._goal = site, moves, goal
        self._ctx: Context | None = None

    async def __call__(self, worker: Worker, number: int, lanes: int) -> Counts:
        if self._ctx is None:
            self._ctx = context_of(self._site, worker.engine)
        ctx = replace(self._ctx, run_id=await worker.run_id)
        return await move_on(self._site, ctx, self._moves[number], self._goal, lanes, worker.progress(number))


async def move_on(site: Site, ctx: Context, number: int, goal: Goal, lanes: int, progress: Progress) -> Counts:
    """One move to a goal, under the lease of its mailbox: the job of a fleet's worker, and of a worker of many hosts.
    The counts of its latest pass. Raises what stopped it, and Busy."""
    ledger, told = ctx.ledger, _Told(progress)
    ctx = replace(
        ctx,
        progress=told.progress,
        say=told.say,
        source=lambda move: source_of(site.source(move), lanes),
        target=lambda move: target_of(site.target(move), lanes),
        exchange_mailbox=lambda move: target_of(site.source(move), lanes),
        store_mailbox=lambda move: source_of(site.target(move), lanes),
    )
    move = await ledger.call(lambda db: ledger_waves.move_of(db, number))
    keys = ctx.source(move).key, ctx.target(move).key
    if goal is ROLLBACK:
        ctx.exchange_mailbox(move)  # UserError before anybody is parked, where Exchange is reached to read only
    async with leased(ledger, *keys, ctx.engine.policy.lease_seconds) as lease:
        move = await ctx.read(move)
        await advance(ctx, move, lease, goal)
    return told.counts


class _Told:
    """What a job tells: the counts of its latest pass, and what it is doing."""

    def __init__(self, tell: Progress) -> None:
        self._tell = tell
        self.counts, self._expected, self._doing = Counts(), 0, ""

    def progress(self, counts: Counts, expected: int, waits: str) -> None:
        self.counts, self._expected = counts, expected
        self._tell(counts, expected, waits or self._doing)

    def say(self, move: Move, text: str) -> None:
        self._doing = text
        self._tell(self.counts, self._expected, text)


def context_of(site: Site, engine: Engine) -> Context:
    """What one process shares among its moves."""
    door = LedgerDoor(engine.ledger)
    directory = Directory(site.directory, site.routes.people, door)
    return Context(
        engine,
        directory,
        [queue_of(mta) for mta in site.mtas],
        site.coexist,
        source=lambda move: source_of(site.source(move), 1),
        target=lambda move: target_of(site.target(move), 1),
        exchange_mailbox=lambda move: target_of(site.source(move), 1),
        store_mailbox=lambda move: source_of(site.target(move), 1),
        open_domain=site.open_domain,
        probe=site.probe,
        exchange=exchange_side.writer(site.settings, door),
        companions=[
            *wave_groupware.companions(site, engine.ledger),
            *wave_rules.companions(site, engine.ledger, directory),
            wave_sharing.companion(site, engine.ledger, directory),
            *second_side(site.settings, door),
        ],
        fresh_seconds=site.fresh_hours * 3600,
    )


def done(site: Site, name: str, only: Sequence[str], *, early: bool, dry_run: bool) -> list[Move]:
    """Those who are swept are done: no sweep and no way back any more. UserError: nobody is, or one of `only` is not;
    SafetyStop: late mail may still come."""
    with opened(site) as ledger:
        wave = ledger_waves.named(ledger, name)
        asked = chosen(ledger_waves.moves(ledger, wave.id), only, name)
        moves = [one for one in asked if one.state is MoveState.SWEPT]
        if not moves or (only and len(moves) < len(asked)):
            others = ", ".join(f"{one.mail} is {one.state.value}" for one in asked if one not in moves)
            advice = f"mailferry wave sweep {name} comes before; mailferry wave status {name}"
            raise UserError(f"only who is swept can be done: {others or 'nobody is in it'}", about=name, advice=advice)
        since = time.time() - site.coexist.sweep_hours * 3600
        young = [one for one in moves if (one.released or 0) > since]
        if young and not early:
            raise SafetyStop(
                f"{len(young)} were switched less than {site.coexist.sweep_hours:g} hours ago (coexist.sweep_hours)",
                about=name,
                advice="wait, and sweep once more; or say --early",
            )
        if dry_run:
            return moves
        return [ledger_waves.enter(ledger, one, MoveState.DONE) for one in moves]


def steer(site: Site, name: str, wanted: WaveState, *, dry_run: bool) -> list[Move]:
    """Pause, resume or cancel a wave; whose moves a cancelling ended. SafetyStop: somebody is parked."""
    with opened(site) as ledger:
        wave = ledger_waves.named(ledger, name)
        if wave.state is WaveState.CANCELLED and wanted is not WaveState.CANCELLED:
            raise UserError("it is cancelled", about=name, advice=_ANEW)
        moves = ledger_waves.moves(ledger, wave.id)
        ended: list[Move] = []
        if wanted is WaveState.CANCELLED:
            ended = [one for one in moves if one.state in ON_EXCHANGE and one.state is not MoveState.CANCELLED]
            if parked := [one.mail for one in moves if one.state in WAITING_FOR_MAIL]:
                raise SafetyStop(
                    f"{len(parked)} are being moved now: {', '.join(parked[:5])}",
                    about=name,
                    advice=f"mailferry wave cutover {name} finishes them; or stop the run that is at work",
                )
        if dry_run:
            return ended
        ledger_waves.change(ledger, wave.id, state=wanted)  # first: nobody new is parked from here on
        cancelled = []
        for one in ended:
            try:
                cancelled.append(ledger_waves.enter(ledger, one, MoveState.CANCELLED))
            except Fenced:  # it was parked this instant: it is finished, and moved
                continue
        return cancelled


@dataclass(frozen=True, slots=True)
class Status:
    """A wave and its people. `parked_seconds`: of those who came through, median and longest; None: nobody yet.
    `eta_seconds`: what the forecasts say is left; None without forecasts."""

    wave: Wave
    moves: tuple[Move, ...]
    parked_seconds: tuple[float, float] | None
    eta_seconds: float | None

    @property
    def states(self) -> dict[str, int]:
        """How many are in each state that somebody is in, in the order of the states."""
        return {
            state.value: number
            for state in MoveState
            if (number := sum(1 for move in self.moves if move.state is state))
        }


def status(ledger: Ledger, name: str | None, together: int = 1) -> list[Status]:
    """Of one wave or all."""
    found = [ledger_waves.named(ledger, name)] if name else ledger_waves.waves(ledger)
    return [_status(one, ledger_waves.moves(ledger, one.id), together) for one in found]


def _status(wave: Wave, moves: Sequence[Move], together: int) -> Status:
    parked = [one.released - one.parked for one in moves if one.released and one.parked and one.released > one.parked]
    left = [float(one.forecast["seconds"]) for one in moves if one.state in ON_EXCHANGE and "seconds" in one.forecast]
    return Status(
        wave,
        tuple(moves),
        (statistics.median(parked), max(parked)) if parked else None,
        sum(left) / together if left else None,
    )


def next_step(wave: Wave, move: Move) -> str:
    """The command that takes somebody on, for people; empty: nothing is to be done."""
    if move.state is MoveState.RETURNING:
        return f"mailferry wave rollback {wave.name} --only {move.mail}"
    if move.state in WAITING_FOR_MAIL:
        return f"mailferry wave cutover {wave.name} --only {move.mail}"
    if "approve" in move.error:
        return f"mailferry wave approve {wave.name} {move.mail}"
    if move.state in (MoveState.PLANNED, MoveState.SEEDING, MoveState.ROLLED_BACK):
        return f"mailferry wave seed {wave.name}"
    if move.state is MoveState.SEEDED:
        return f"mailferry wave cutover {wave.name}"
    if move.state is MoveState.RELEASED and move.error:
        return f"mailferry trace {move.mail}"
    if move.state is MoveState.RELEASED:
        return f"mailferry wave sweep {wave.name}"
    return f"mailferry wave done {wave.name}" if move.state is MoveState.SWEPT else ""


def document(one: Status) -> dict[str, Any]:
    """As JSON values (docs/json.md)."""
    now = time.time()
    return {
        "name": one.wave.name,
        "state": one.wave.state.value,
        "states": one.states,
        "parked_seconds_median": one.parked_seconds and round(one.parked_seconds[0], 3),
        "parked_seconds_longest": one.parked_seconds and round(one.parked_seconds[1], 3),
        "eta_seconds": one.eta_seconds,
        "people": [
            {
                "mail": move.mail,
                "state": move.state.value,
                "entered": move.entered,
                "parked_for": round(now - move.parked, 3) if move.parked and move.state in WAITING_FOR_MAIL else None,
                "parked_seconds": round(move.released - move.parked, 3)
                if move.released and move.parked and move.released > move.parked
                else None,
                "store": move.store,
                "error": move.error,
                "next": next_step(one.wave, move),
            }
            for move in one.moves
        ],
    }
