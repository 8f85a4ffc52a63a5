"""Keeps the target in step from the source's changes, until told to stop: `sync`'s step for the few that changed.

Invariants: the cookie in the ledger never runs ahead of the target; a server that goes away is waited for; once a day,
and whenever the source cannot tell its changes, everything is compared. A delta judges recipients by themselves and by
those who share an address with them, and writes groups in circles as a full comparison does; other matters of the whole
are left to that.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from mailferry.directory import diff as comparing
from mailferry.directory import mapping, writer
from mailferry.directory.circles import flattened
from mailferry.directory.clean import clean
from mailferry.directory.readers import ChangeReader, Changes
from mailferry.directory.sync import (
    MANY,
    Planned,
    Progress,
    Stepped,
    Wanted,
    World,
    compare,
    full_step,
    place,
    without_references,
    write,
)
from mailferry.errors import Temporary, explain
from mailferry.ledger import directory as records
from mailferry.ledger.rows import Control, Directory
from mailferry.ledger.store import Ledger
from mailferry.model.recipient import Finding, Recipient, Severity
from mailferry.net import ldap

log = logging.getLogger("mailferry.directory")

WINDOW = 600.0
"""Seconds over which the brake adds up small steps."""

_BEAT = 5.0
_LONGEST_WAIT = 60.0
_WHOLE = frozenset(("group-empty",))
"""Findings that a recipient without its references has for no reason of its own."""


@dataclass(slots=True)
class _Index:
    """Who has which address: folded value → ids."""

    by_value: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def put(self, recipient: Recipient) -> None:
        for value in _values(recipient):
            have = self.by_value.get(value, ())
            if recipient.id not in have:
                self.by_value[value] = (*have, recipient.id)

    def drop(self, recipient: Recipient) -> None:
        for value in _values(recipient):
            self.by_value[value] = tuple(one for one in self.by_value.get(value, ()) if one != recipient.id)

    def with_same(self, recipient: Recipient) -> set[str]:
        return {one for value in _values(recipient) for one in self.by_value.get(value, ())}


def _values(recipient: Recipient) -> Iterator[str]:
    own = (recipient.mail, *recipient.aliases, *recipient.x500, recipient.mailbox_guid)
    return (value.strip().casefold() for value in own if value)


@dataclass(slots=True)
class Follower:
    """The loop and what it holds between steps. `on_step` is told of each step that found something, with the seconds
    it took; `connect` opens the target."""

    world: World
    ledger: Ledger
    directory: Directory
    run_id: int
    reader: ChangeReader
    connect: Callable[[], ldap.Connection]
    progress: Progress
    on_step: Callable[[Stepped, float], None]
    allowed: int | None = None
    bulk: writer.Bulk | None = None
    index: _Index = field(default_factory=_Index)
    cookie: bytes = b""
    connection: ldap.Connection | None = None
    steps: int = 0
    waits: int = 0
    trouble: str = ""
    _lately: deque[tuple[float, str]] = field(default_factory=deque)
    _beaten: float = 0.0
    _dirty: bool = False  # a step began and was not seen through

    def run(self) -> None:
        """Until `mailferry stop`. SafetyStop, AuthError and Permanent end it; Temporary never does."""
        full, reconcile_at = True, self._next_reconciliation()
        while self._beat() is not Control.STOP:
            try:
                if full or time.time() >= reconcile_at:
                    self.full()
                    full, reconcile_at = False, self._next_reconciliation()
                else:
                    full = self.delta()
                self.waits, self.trouble = 0, ""
            except Temporary as error:
                full = full or self._dirty
                self._wait(error)
                continue
            if not full:
                time.sleep(self.world.settings.follow.poll_seconds)
        self.close()

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def target(self) -> ldap.Connection:
        if self.connection is None:
            self.connection = self.connect()
        return self.connection

    def full(self) -> None:
        """Everything compared; the cookie then stands for the moment before."""
        began = time.monotonic()
        step = full_step(
            self.world,
            self.ledger,
            self.directory,
            self.run_id,
            self.reader,
            self.target(),
            self.progress,
            allowed=self.allowed,
            remember=True,
            bulk=self.bulk,
            told=self.reader,
        )
        if step.loaded:
            self.close()
        self.allowed, self._dirty = None, False
        row = records.bind(self.ledger, self.directory.source_key, self.directory.target_key)
        self.cookie = row.cookie or b""
        self.index = _Index()
        for one in self.world.raw.values():
            self.index.put(one)
        self.on_step(step, time.monotonic() - began)

    def delta(self) -> bool:
        """What changed since the cookie; whether a full reading is needed instead."""
        changes = self.reader.changes(self.cookie)
        if changes.full_read:
            log.warning("the source cannot tell its changes (%s); everything is read again", changes.full_read)
            return True
        if changes.changed or changes.gone:
            self._step(changes)
        self.cookie = changes.cookie
        return False

    def _step(self, changes: Changes) -> None:
        began = time.monotonic()
        self._dirty = True
        planned, ids = plan_changes(self.world, self.index, changes)
        step = Stepped(planned, self._compare(planned, ids))
        self._brake(step)
        if step.diff.changes or self.world.unsaved:
            write(self.world, self.ledger, self.directory.id, self.run_id, self.target(), step, self.progress)
            self.steps += 1
            records.set_cookie(self.ledger, self.directory.id, changes.cookie)
        self._dirty = False
        if step.diff.changes or planned.cleaned.open:
            self.on_step(step, time.monotonic() - began)

    def _compare(self, planned: Planned, ids: Sequence[str]) -> comparing.Diff:
        suffix = self.world.settings.target.suffix
        return compare(self.world, planned, writer.read_some(self.target(), suffix, ids), partial=True)

    def _brake(self, step: Stepped) -> None:
        """The brake over this step and those of the last minutes."""
        now = time.monotonic()
        while self._lately and self._lately[0][0] < now - WINDOW:
            self._lately.popleft()
        ids = {one.source_id for one in step.diff.changes if one.operation != comparing.Operation.ADD}
        before = {one for _, one in self._lately} - ids
        comparing.brake(step.diff, self.world.settings.brake, total=len(self.world.placed), before=len(before))
        self._lately.extend((now, one) for one in ids)

    def _beat(self) -> Control:
        """Tell the ledger that we live, and what it wants of us; waits here while paused."""
        while True:
            now = time.monotonic()
            if now - self._beaten < _BEAT:
                return Control.RUN
            self._beaten = now
            if self.cookie and not self._dirty:
                records.set_cookie(self.ledger, self.directory.id, self.cookie)
            else:
                records.renew(self.ledger, self.directory.id)
            wish = self.ledger.heartbeat(self.run_id, self.summary())
            if wish is not Control.PAUSE:
                return wish
            self._beaten = 0.0
            time.sleep(1)

    def summary(self) -> dict[str, object]:
        return {
            "directory": "follow",
            "steps": self.steps,
            "entries": len(self.world.placed),
            "trouble": self.trouble,
        }

    def _wait(self, error: Temporary) -> None:
        """After trouble: at once the first time, then longer and longer, up to a minute."""
        self.close()
        seconds = error.retry_after or (0.0 if not self.waits else min(_LONGEST_WAIT, 2.0 ** (self.waits - 1)))
        self.waits += 1
        self.trouble = explain(error).partition("\n")[0]
        if seconds:
            log.warning("%s; trying again in %.0f s", self.trouble, seconds)
        until = time.monotonic() + seconds
        while time.monotonic() < until and self._beat() is not Control.STOP:
            time.sleep(min(1.0, max(0.0, until - time.monotonic())))

    def _next_reconciliation(self) -> float:
        hour, minute = map(int, self.world.settings.follow.reconcile_at.split(":"))
        now = datetime.now()
        at = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
        return (at if at > now else at + timedelta(days=1)).timestamp()


def plan_changes(world: World, index: _Index, changes: Changes) -> tuple[Planned, list[str]]:
    """The plan for a few, and the ids that it is about. `world` and `index` then hold the changes; doing it twice for
    the same changes gives the same plan."""
    found = [one for one in changes.changed if isinstance(one, Finding)]
    touched: set[str] = set()
    for source_id in changes.gone:
        old = world.raw.pop(source_id, None)
        touched.add(source_id)
        if old is not None:
            touched |= index.with_same(old)
            index.drop(old)
    for new in changes.changed:
        if isinstance(new, Recipient):
            old = world.raw.get(new.id)
            if old is not None:
                touched |= index.with_same(old)
                index.drop(old)
            world.raw[new.id] = new
            index.put(new)
            touched |= index.with_same(new) | {new.id}
    before = {one: world.placed[one].dn for one in touched if one in world.placed}
    alone = [without_references(world.raw[one]) for one in sorted(touched) if one in world.raw]
    cleaned = clean([*found, *alone], world.policy, world.decisions)
    groups = any(world.known[one].members for one in touched if one in world.known)
    for source_id in touched:
        world.known.pop(source_id, None)
    coming = {one.id: _with_references(world, index, one) for one in cleaned.recipients}
    placing = place(world, coming.values())
    world.known.update(coming)
    errors = (*cleaned.open, *placing.findings)
    keep = {one.about for one in errors if one.severity is Severity.ERROR and one.about not in placing.placed}
    for source_id in touched - keep:
        world.placed.pop(source_id, None)
    world.placed.update(placing.placed)
    moved = {one for one in touched if before.get(one) != (world.placed[one].dn if one in world.placed else None)}
    circles = world.circles
    groups = groups or any(one.members for one in coming.values())
    if groups:
        world.circles = flattened(world.known)
    referring = [*_referring(world, moved), *_turned(world, circles, moved), *(_naming_groups(world) if groups else ())]
    around = {one.id: _with_references(world, index, one) for one in referring if one.id not in touched}
    for source_id, recipient in around.items():
        world.known[source_id] = recipient
        world.placed[source_id] = dataclasses.replace(world.placed[source_id], recipient=recipient)
    missing = [one for one in touched if one not in world.placed and one not in keep]
    world.save_later((*placing.rows, *mapping.gone(world.register, missing, time.time())))
    some = {one: world.placed[one] for one in sorted(touched | set(around)) if one in world.placed and one not in keep}
    findings = [one for one in placing.findings if one.code not in _WHOLE]
    planned = Planned(Wanted(some, world.around, findings), keep, cleaned, findings, len(placing.excluded))
    return planned, sorted(touched | set(around))


def _referring(world: World, ids: Iterable[str]) -> Iterator[Recipient]:
    """Who is in the target and refers to one of these."""
    wanted = frozenset(ids)
    if not wanted:
        return
    for source_id in list(world.placed):
        one = world.raw.get(source_id)
        if one is not None and not wanted.isdisjoint(_references(one)):
            yield world.known.get(source_id, one)


def _turned(world: World, before: Mapping[str, tuple[str, ...]], moved: Set[str]) -> Iterator[Recipient]:
    """Groups that are now in another circle, or in none, or in one with a member that has moved."""
    now = world.circles
    for source_id in {*before, *now} & world.placed.keys() & world.known.keys():
        members = now.get(source_id, ())
        if before.get(source_id, ()) != members or not moved.isdisjoint(members):
            yield world.known[source_id]


def _naming_groups(world: World) -> Iterator[Recipient]:
    """Who says who may send for them or to them: perhaps members of a group that has changed."""
    for source_id in world.placed:
        one = world.known.get(source_id)
        if one is not None and (one.send_on_behalf or one.accept_from or one.reject_from):
            yield one


def _references(recipient: Recipient) -> Iterator[str]:
    for name in MANY:
        yield from getattr(recipient, name)
    if recipient.manager:
        yield recipient.manager
    if recipient.forwarding is not None:
        yield recipient.forwarding.to


def _with_references(world: World, index: _Index, cleaned: Recipient) -> Recipient:
    """A cleaned recipient with the references that it has at the source, addresses of people we know as their ids."""
    raw = world.raw[cleaned.id]

    def resolve(reference: str) -> str:
        if reference.startswith("smtp:"):
            owners = index.by_value.get(reference.removeprefix("smtp:").strip().casefold(), ())
            return owners[0] if len(owners) == 1 else reference
        return reference

    forwarding = raw.forwarding
    many: dict[str, Any] = {name: tuple(dict.fromkeys(map(resolve, getattr(raw, name)))) for name in MANY}
    return dataclasses.replace(
        cleaned,
        **many,
        manager=resolve(raw.manager) if raw.manager else None,
        forwarding=dataclasses.replace(forwarding, to=resolve(forwarding.to)) if forwarding is not None else None,
    )
