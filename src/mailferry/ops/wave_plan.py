"""Plan waves: the use case behind `mailferry wave plan`. Opens mailboxes only to ask how large they are.

Invariants: nothing is written unless everything about everybody named was right; people who share a mailbox are kept
together unless somebody said otherwise; what was planned, by whom, stands in the ledger's audit.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mailferry.config.settings import Source, directory_settings
from mailferry.directory.moving import Size, suggest
from mailferry.directory.sharing import MOVERS, Cluster, Edge, Sharing, clusters, ties
from mailferry.directory.sync import Progress
from mailferry.errors import Fenced, LocalProtocolError, SafetyStop, UserError
from mailferry.ledger import directory as accounts
from mailferry.ledger import waves as ledger_waves
from mailferry.ledger.owner import person
from mailferry.ledger.rows import DirectoryAccount
from mailferry.ledger.store import Ledger
from mailferry.model.wave import Move, MoveState, Wave
from mailferry.net import ldap
from mailferry.ops.directory import source_key
from mailferry.ops.stores import server_of
from mailferry.ops.wave import Site, opened
from mailferry.ops.wave_forecast import Sizes, forecast, parked_of, rates_of, sizes_of
from mailferry.ops.wave_people import Chosen, Wanted, choose, in_waves, why_not
from mailferry.plan.forecast import ROOM, Budget, Load, Rates, packed, seconds_of_all, spread
from mailferry.plan.waves import NAME, park_from, times
from mailferry.stack.postfix.settings import Route
from mailferry.waves.approval import PLANNED_BY
from mailferry.waves.people import Everybody, Known, check_mapping, read_everybody, users_of

NO_BUDGET = Budget()


@dataclass(frozen=True, slots=True)
class Options:
    """How to plan. `store`: None spreads over all. `split`: people who share may be separated; `bring`: whoever shares
    with them comes along. `measure`: ask the source how large mailboxes are that no pass has seen. `settings`: what
    `Wave.settings` gets besides."""

    budget: Budget = NO_BUDGET
    store: str | None = None
    split: bool = False
    bring: bool = False
    measure: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Tied:
    """Two who share, on different sides of the move, and why. `where`: where the other one is."""

    one: str
    other: str
    why: str
    where: str


@dataclass(frozen=True, slots=True)
class PlannedWave:
    """`seconds`: the first copy of all of them. `over`: larger than the budget, since they share."""

    name: str
    moves: tuple[Move, ...]
    seconds: float
    over: bool = False


@dataclass(frozen=True, slots=True)
class Planned:
    """`rates`: where the forecast comes from. `unknown`: (address, why) of mailboxes whose size nobody knows."""

    waves: tuple[PlannedWave, ...]
    passed_over: tuple[tuple[str, str], ...]
    separated: tuple[Tied, ...]
    rates: Rates
    unknown: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _World:
    """Everything known before anybody is chosen."""

    site: Site
    source: Source
    ledger: Ledger
    everybody: Everybody
    sharing: Sharing
    clusters: list[Cluster]
    moves: list[Move]
    waves: list[Wave]

    @property
    def planned(self) -> dict[str, str]:
        """Source id → wave."""
        return in_waves(self.moves, {one.id: one.name for one in self.waves})

    @property
    def cluster_of(self) -> dict[str, Cluster]:
        return {who: one for one in self.clusters for who in one.members}


def plan(config: Path, site: Site, name: str, wanted: Wanted, options: Options, progress: Progress) -> Planned:
    """Put people into a new wave, or several within the budget: NAME-1, NAME-2 and so on. UserError, SafetyStop: see
    `choose`, `check_mapping` and `separated`; nothing is then planned."""
    check_name(name)
    _check(site, options.store, options.settings)
    with opened(site) as ledger:
        world = _world(config, site, ledger, progress)
        chosen = choose(wanted, world.everybody, world.source, world.planned)
        found = _found(world, chosen, options, set(), progress)
        several = packed(found.groups, found.sizes.loads, found.rate, options.budget, split=options.split)
        named = [name] if len(several) == 1 else [f"{name}-{number}" for number in range(1, len(several) + 1)]
        if taken := {one.name for one in world.waves} & set(named):
            advice = f"mailferry wave plan {min(taken)} --add ADDRESS puts more people into it"
            raise UserError("there is a wave of this name", about=min(taken), advice=advice)
        waves = [found.wave(one, who, options.budget) for one, who in zip(named, several, strict=True)]
        if not options.dry_run:
            settings = {**options.settings, PLANNED_BY: [person()]}
            _bind(world, chosen)
            with ledger.transaction():
                for one in waves:
                    ledger_waves.add(ledger, ledger_waves.create(ledger, one.name, settings).id, one.moves)
    return Planned(tuple(waves), tuple(chosen.passed_over), found.apart, found.rate, found.sizes.unknown)


def add(config: Path, site: Site, name: str, wanted: Wanted, options: Options, progress: Progress) -> Planned:
    """Put more people into a wave. Raises as `plan`."""
    _check(site, options.store, options.settings)
    with opened(site) as ledger:
        wave = ledger_waves.named(ledger, name)
        world = _world(config, site, ledger, progress)
        inside = [one for one in world.moves if one.wave_id == wave.id]
        chosen = choose(wanted, world.everybody, world.source, world.planned)
        found = _found(world, chosen, options, {one.source_id for one in inside}, progress)
        planned = found.wave(name, [who for group in found.groups for who in group], options.budget)
        if not options.dry_run:
            old = {one.source_id: one for one in inside}
            planners = sorted({*wave.settings.get(PLANNED_BY, ()), person()})
            _bind(world, chosen)
            with ledger.transaction():
                for one in planned.moves:
                    if one.source_id in old:
                        _again(ledger, old[one.source_id], one)
                ledger_waves.add(ledger, wave.id, [one for one in planned.moves if one.source_id not in old])
                settings = {**wave.settings, **options.settings, PLANNED_BY: planners}
                ledger_waves.change(ledger, wave.id, settings=settings)
    return Planned((planned,), tuple(chosen.passed_over), found.apart, found.rate, found.sizes.unknown)


def retime(site: Site, name: str, settings: Mapping[str, Any], *, dry_run: bool) -> Wave:
    """Change a wave's times, blackout hours or caps; as it is then. UserError: no such wave."""
    with opened(site) as ledger:
        wave = ledger_waves.named(ledger, name)
        changed = replace(wave, settings={**wave.settings, **settings})
        _check(site, None, changed.settings)
        if not dry_run:
            ledger_waves.change(ledger, wave.id, settings=changed.settings)
        return changed


def remove(site: Site, name: str, people: Sequence[str], *, dry_run: bool) -> list[Move]:
    """Take people out of a wave with whom nothing was done yet. UserError otherwise."""
    with opened(site) as ledger:
        wave = ledger_waves.named(ledger, name)
        by_mail = {one.mail.casefold(): one for one in ledger_waves.moves(ledger, wave.id)}
        gone = []
        for address in dict.fromkeys(one.casefold() for one in people):
            move = by_mail.get(address)
            if move is None:
                raise UserError("is not in this wave", about=address, advice=f"mailferry wave show {name}")
            if move.state is not MoveState.PLANNED:
                raise UserError(
                    f"is {move.state.value} already", about=move.mail, advice="`mailferry wave rollback` brings back"
                )
            gone.append(move)
        if not dry_run:
            with ledger.transaction():
                for move in gone:
                    try:
                        ledger_waves.remove(ledger, move.id)
                    except LocalProtocolError as error:
                        raise Fenced("somebody has just begun with it", about=move.mail) from error
    return gone


def check_name(name: str) -> None:
    """UserError for a name that could not stand in a command or a file's name."""
    if NAME.fullmatch(name) is None:
        advice = "letters, digits, - and _, at most 63, the first one a letter or digit"
        raise UserError("not a name for a wave", about=repr(name), advice=advice)


def _check(site: Site, store: str | None, settings: Mapping[str, Any]) -> None:
    """UserError: no such store, or times in which nobody could ever be parked. ConfigError: no blackout hours."""
    if store is not None and store.lower() not in site.coexist.stores:
        known = ", ".join(sorted(site.coexist.stores))
        raise UserError("there is no such store", about=store, advice=f"[coexist.stores] has {known}")
    if (settings.get("complete") or math.inf) < settings.get("start", 0.0):
        raise UserError("it would be completed before it is started", about="--complete", advice="swap the times")
    if math.isinf(park_from(time.time(), times(settings, site.coexist.blackout))):
        advice = "leave some hours of the week, for example --blackout 'Mon-Fri 08:00-18:00'"
        raise UserError("nobody could ever be parked: the blackout hours have no end", about="blackout", advice=advice)


def _world(config: Path, site: Site, ledger: Ledger, progress: Progress) -> _World:
    progress("reading the directory", 0, 0)
    with ldap.Connection(site.directory) as connection:
        everybody = read_everybody(site.routes.people(connection))
    recipients = everybody.recipients
    sharing = ties(recipients)
    parts = clusters((who for who, one in recipients.items() if one.kind in MOVERS), sharing.strong)
    moves, waves = ledger_waves.moves(ledger), ledger_waves.waves(ledger)
    return _World(site, directory_settings(config)[1].source, ledger, everybody, sharing, parts, moves, waves)


@dataclass(frozen=True, slots=True)
class _Found:
    """What is known of the people chosen. `groups`: in the order of moving, those who share together."""

    moves: Mapping[str, Move]
    groups: Sequence[Sequence[str]]
    apart: tuple[Tied, ...]
    sizes: Sizes
    rate: Rates

    def wave(self, name: str, members: Sequence[str], budget: Budget) -> PlannedWave:
        loads = [self.sizes.loads[who] for who in members]
        seconds, weight = seconds_of_all(loads, self.rate), sum(load.weight for load in loads)
        over = (
            (budget.people is not None and len(members) > budget.people)
            or (budget.bytes is not None and weight > budget.bytes)
            or (budget.seconds is not None and seconds > budget.seconds)
        )
        return PlannedWave(name, tuple(self.moves[who] for who in members), seconds, over)


def _found(world: _World, chosen: Chosen, options: Options, inside: set[str], progress: Progress) -> _Found:
    """Everything about the people chosen. SafetyStop: who shares would be separated, who is who is in doubt."""
    apart = _together(world, chosen, options, inside)
    bare = {who: _move(world, one) for who, one in _mapped(world, chosen).items()}
    _check_users(world, bare.values())
    sizes = sizes_of(world.ledger, world.site, list(bare.values()), options.measure, progress)
    rate = rates_of(world.ledger, server_of(world.site.source(next(iter(bare.values())))))
    parked = parked_of(world.site, rate, world.moves)
    groups = _ordered(world, chosen, sizes.loads)
    stores = _stores(world, groups, sizes.loads, options.store)
    moves = {
        who: replace(move, store=stores[who], forecast=forecast(sizes.loads[who], rate, parked))
        for who, move in bare.items()
    }
    return _Found(moves, groups, tuple(apart), sizes, rate)


def _mapped(world: _World, chosen: Chosen) -> dict[str, tuple[Known, str]]:
    """Source id → person and log-in name at the source. SafetyStop: directory and ledger disagree, or one is silent."""
    rows = accounts.accounts_of(world.ledger, list(chosen.people))
    found = {}
    for who, one in chosen.people.items():
        row = rows.get(who)
        check_mapping(one, row)
        if row is None and world.site.routes.words.ad:  # nobody has synced: who is who is bound now
            found[who] = (one, one.recipient.account or "")
            continue
        if row is None:
            raise SafetyStop(
                "this ledger does not know whose account it is",
                about=one.recipient.mail or one.recipient.where,
                advice="run `mailferry directory sync` with the same ledger first",
            )
        found[who] = (one, row.account or "")
    return found


def _bind(world: _World, chosen: Chosen) -> None:
    """Where nobody syncs, the ledger learns here which account is whose, as a sync would have told it."""
    if not world.site.routes.words.ad:
        return
    ledger, known = world.ledger, accounts.accounts_of(world.ledger, list(chosen.people))
    new = [
        DirectoryAccount(
            who,
            one.recipient.kind.value,
            one.recipient.account,
            one.recipient.mailbox_guid,
            one.uid,
            one.recipient.where,
        )
        for who, one in chosen.people.items()
        if who not in known
    ]
    here = accounts.bind(ledger, source_key(world.source), world.source.url)
    with accounts.held(ledger, here.id):
        accounts.put_accounts(ledger, here.id, new)


def _move(world: _World, mapped: tuple[Known, str]) -> Move:
    """The move, yet without store and forecast."""
    one, account = mapped
    mail = one.recipient.mail or ""
    source, target = users_of(world.site.coexist, one.uid, mail, account)
    return Move(0, 0, one.recipient.id, mail, one.uid, one.recipient.kind.value, source, target, "")


def _together(world: _World, chosen: Chosen, options: Options, inside: set[str]) -> list[Tied]:
    """The ties that the move would cut. Brings those who share, if told; else SafetyStop, unless told to cut."""
    planned, cluster_of = world.planned, world.cluster_of
    if options.bring:
        touched = {cluster_of[who].number: cluster_of[who] for who in chosen.people}
        for cluster in touched.values():
            for who in cluster.members:
                one = world.everybody.by_id[who]
                if not why_not(one, planned):
                    chosen.people.setdefault(who, one)
    apart = list(separated(world.everybody, world.sharing.strong, {*chosen.people, *inside}, planned))
    if apart and not options.split:
        some = "; ".join(f"{one.one} and {one.other} ({one.why}; {one.where})" for one in apart[:5])
        more = f"; and {len(apart) - 5} more" if len(apart) > 5 else ""
        raise SafetyStop(
            f"people who share a mailbox would be separated: {some}{more}",
            about=f"{len(apart)} ties",
            advice="--bring takes them along, --split moves without them",
        )
    return apart


def separated(
    everybody: Everybody, strong: Iterable[Edge], moving: set[str], planned: Mapping[str, str]
) -> Iterable[Tied]:
    """Each tie of somebody who moves to somebody who stays on Exchange meanwhile."""
    for edge in sorted(set(strong), key=lambda one: (one.one, one.other, one.tie.value)):
        for one, other in ((edge.one, edge.other), (edge.other, edge.one)):
            if one in moving and other not in moving:
                found = everybody.by_id[other]
                if found.route == Route.LOCAL.value:
                    continue  # moved already: together again
                where = f"in the wave {planned[other]}" if other in planned else "stays on Exchange"
                mail = everybody.by_id[one].recipient.mail or one
                yield Tied(mail, found.recipient.mail or found.recipient.name, edge.tie.value, where)


def _ordered(world: _World, chosen: Chosen, loads: Mapping[str, Load]) -> list[list[str]]:
    """The people chosen, those who share beside each other, in the order in which `survey` would have them move."""
    parts = []
    for cluster in world.clusters:
        members = tuple(who for who in cluster.members if who in chosen.people)
        if members:
            parts.append(replace(cluster, members=members))
    sizes = {who: Size(load.bytes, load.messages) for who, load in loads.items()}
    loose = [edge for edge in world.sharing.loose if edge.one in chosen.people]
    suggestion = suggest(world.everybody.recipients, parts, loose, sizes, time.time(), len(chosen.people))
    number = {who: part.number for part in parts for who in part.members}
    groups: dict[int, list[str]] = {}
    for wave in suggestion.waves:
        for who in wave.members:
            groups.setdefault(number[who], []).append(who)
    for part in parts:  # whom a survey would leave to a human's decision; this is one
        groups.setdefault(part.number, list(part.members))
    return list(groups.values())


def _stores(
    world: _World, groups: Sequence[Sequence[str]], loads: Mapping[str, Load], store: str | None
) -> dict[str, str]:
    if store is not None:
        return {who: store.lower() for group in groups for who in group}
    filled = dict.fromkeys(world.site.coexist.stores, 0)
    for move in world.moves:
        if move.store in filled and move.state is not MoveState.CANCELLED:
            filled[move.store] += ROOM + int(move.forecast.get("bytes") or 0)
    bound = {move.source_id: move.store for move in world.moves if move.state is not MoveState.CANCELLED}
    bound |= {who: one.store.lower() for who, one in world.everybody.by_id.items() if one.route == Route.LOCAL.value}
    cluster_of = world.cluster_of
    whole = [list(dict.fromkeys([*group, *cluster_of[group[0]].members])) for group in groups]
    return spread(whole, loads, filled, bound)


def _check_users(world: _World, new: Iterable[Move]) -> None:
    """SafetyStop: two people would be one to Exchange, or to their store."""
    moves = {one.source_id: one for one in world.moves if one.state is not MoveState.CANCELLED}
    moves |= {one.source_id: one for one in new}
    for side in ("source_user", "target_user"):
        users = {who: getattr(move, side).casefold() for who, move in moves.items()}
        twice = next((user for user, count in Counter(users.values()).items() if count > 1), None)
        if twice is not None:
            both = " and ".join(moves[who].mail for who, user in users.items() if user == twice)
            raise SafetyStop(f"{both} would be one and the same", about=twice, advice=f"check coexist.{side}")


def _again(ledger: Ledger, old: Move, new: Move) -> None:
    """Somebody who was cancelled in this wave is planned again."""
    if old.state is not MoveState.CANCELLED:
        advice = "`mailferry wave seed` begins again with who was rolled back"
        raise UserError(f"is in this wave, {old.state.value}", about=old.mail, advice=advice)
    kept = ("mail", "uid", "kind", "source_user", "target_user", "store", "forecast")
    values = {name: getattr(new, name) for name in kept}
    ledger_waves.enter(ledger, old, MoveState.PLANNED, **values, error="", evidence={}, approvals=[])
