"""One step of keeping the target in step: what was read → clean → placed → compared, and, past the brake, written.

Knows no kind of source and opens nothing. Invariants: nothing is written to the target before the whole comparison is
done and the brake has passed it; whose entry is whose is in the ledger before the entry is; who has an open error keeps
the entry they have.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from mailferry.config.settings import DirectorySettings
from mailferry.directory import diff as comparing
from mailferry.directory import mapping, writer
from mailferry.directory import mark as marks
from mailferry.directory.circles import flattened
from mailferry.directory.clean import Cleaned, Policy, clean
from mailferry.directory.decisions import Decisions
from mailferry.directory.entries import OWNED, Around, Entry, make_entry
from mailferry.directory.exceptions import Exceptions
from mailferry.directory.mapping import GROUPS, Placed, Register
from mailferry.directory.readers import ChangeReader, Reader
from mailferry.directory.undo import settle_unknown
from mailferry.errors import Permanent, explain
from mailferry.ledger import directory as records
from mailferry.ledger.rows import Directory, DirectoryAccount
from mailferry.ledger.store import Ledger
from mailferry.model.recipient import Finding, Recipient, Severity
from mailferry.net import ldap

log = logging.getLogger("mailferry.directory")

BULK_FROM = 200
"""So many entries are worth stopping the server for."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many of it are behind, and how many there are (0: not known)."""


@dataclass(slots=True)
class World:
    """What one process knows of a directory between two steps. `known`: everybody's cleaned self; `raw`: as read, only
    where changes are followed; `placed`: who has a place in the target; `circles`: what is written of groups that
    contain each other; `unsaved`: rows that the ledger lacks."""

    settings: DirectorySettings
    exceptions: Exceptions
    decisions: Decisions
    register: Register
    raw: dict[str, Recipient] = field(default_factory=dict)
    known: dict[str, Recipient] = field(default_factory=dict)
    placed: dict[str, Placed] = field(default_factory=dict)
    circles: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unsaved: dict[str, DirectoryAccount] = field(default_factory=dict)

    def save_later(self, rows: Iterable[DirectoryAccount]) -> None:
        self.unsaved.update((row.source_id, row) for row in rows)

    @property
    def policy(self) -> Policy:
        return Policy(time.time(), frozenset(self.settings.mapping.domains))

    @property
    def around(self) -> Around:
        domains = self.settings.mapping.domains
        return Around(
            dn_of=self._dn_of,
            mail_of=self._mail_of,
            nobody=f"cn=nobody,ou=services,{self.settings.target.suffix}",
            qmail=self.settings.schema_ == "qmail",
            main_domain=domains[0] if domains else "",
            open_domain=self.settings.exchange.routing_domain or "",
            circles=self.circles,
            uids_of=self._uids_of,
        )

    def _dn_of(self, reference: str) -> str | None:
        found = self.placed.get(reference)
        return None if found is None else found.dn

    def _uids_of(self, references: Sequence[str]) -> tuple[str, ...]:
        uids: dict[str, None] = {}
        waiting, seen = list(references), set[str]()
        while waiting:
            reference = waiting.pop()
            if reference in seen:
                continue
            seen.add(reference)
            if reference in self.known and self.known[reference].kind in GROUPS:
                waiting += self.known[reference].members
            elif reference in self.placed:
                uids[self.placed[reference].uid] = None
        return tuple(sorted(uids))

    def _mail_of(self, reference: str) -> str | None:
        found = self.known.get(reference)
        return None if found is None else found.mail or found.external_address


@dataclass(slots=True)
class Planned:
    """What is to be. `wanted`: entries, made on demand; `keep`: ids whose entries stay as they are; `cleaned`: the
    report; `findings`: those of mapping and of making the entries."""

    wanted: Mapping[str, Entry]
    keep: Set[str]
    cleaned: Cleaned
    findings: list[Finding]
    excluded: int = 0


@dataclass(slots=True)
class Stepped:
    """What one step did. `written` None: a dry run. `loaded`: in bulk; the connection to the target is then void.
    `same`: nothing has changed since an earlier run, which told these figures; plan and diff are then empty."""

    planned: Planned
    diff: comparing.Diff
    written: writer.Written | None = None
    loaded: bool = False
    same: Mapping[str, Any] | None = None


class Wanted(Mapping[str, Entry]):
    """Entries by source id, made when asked for, since all at once would need too much memory; only the last is held.
    What an entry cannot hold goes into `findings` the first time that it is made."""

    def __init__(self, placed: Mapping[str, Placed], around: Around, findings: list[Finding]) -> None:
        self._placed, self._around, self._findings = placed, around, findings
        self._told: set[str] = set()
        self._last: tuple[str, Entry] | None = None

    def __getitem__(self, source_id: str) -> Entry:
        if self._last is None or self._last[0] != source_id:
            entry, findings = make_entry(self._placed[source_id], self._around)
            if findings and source_id not in self._told:
                self._told.add(source_id)
                self._findings += findings
            self._last = source_id, entry
        return self._last[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._placed)

    def __len__(self) -> int:
        return len(self._placed)

    def __contains__(self, source_id: object) -> bool:
        return source_id in self._placed


def plan_all(world: World, read: Iterable[Recipient | Finding], *, remember: bool = False) -> Planned:
    """The plan for a full reading. `remember`: changes will be followed. SafetyStop, ConfigError as `mapping.place`."""
    if remember:
        world.raw.clear()
    cleaned = clean(_remembered(world, read) if remember else read, world.policy, world.decisions)
    placing = place(world, cleaned.recipients)
    keep = {found.about for found in (*cleaned.open, *placing.findings) if found.severity is Severity.ERROR}
    world.known = {one.id: one for one in cleaned.recipients}
    world.circles = flattened(world.known)
    people_first = sorted(placing.placed.items(), key=lambda one: one[1].recipient.kind in GROUPS)
    world.placed = dict(people_first)
    missing = [one for one in world.register.by_id if one not in placing.placed and one not in keep]
    world.save_later((*placing.rows, *mapping.gone(world.register, missing, time.time())))
    findings = [*placing.findings, *world.exceptions.stale(cleaned.recipients)]
    wanted = Wanted(world.placed, world.around, findings)
    return Planned(wanted, keep, cleaned, findings, len(placing.excluded))


def place(world: World, recipients: Iterable[Recipient]) -> mapping.Placing:
    one = world.settings
    return mapping.place(
        recipients, world.register, one.mapping, one.target.suffix, one.target.branches, world.exceptions
    )


def _remembered(world: World, read: Iterable[Recipient | Finding]) -> Iterator[Recipient | Finding]:
    for one in read:
        if isinstance(one, Recipient):
            world.raw[one.id] = one
        yield one


def compare_all(world: World, planned: Planned, connection: ldap.Connection) -> comparing.Diff:
    """Against everything that the target holds."""
    foreign: set[str] = set()
    present = writer.read_present(connection, world.settings.target.suffix, foreign)
    return compare(world, planned, present, foreign)


def compare(
    world: World,
    planned: Planned,
    present: Iterable[tuple[str, Entry]],
    foreign: Set[str] = frozenset(),
    *,
    partial: bool = False,
) -> comparing.Diff:
    found = comparing.compare(
        planned.wanted,
        present,
        foreign=foreign,
        owned=(*OWNED, *world.settings.authority.target),
        keep=planned.keep,
        partial=partial,
        dn_of=lambda source_id: world.placed[source_id].dn,
    )
    for source_id, dn in found.foreign:
        message = f"an entry of somebody else has this name in the target: {dn}; it stays as it is"
        where = world.known[source_id].where if source_id in world.known else dn
        planned.findings.append(Finding("target-taken", Severity.ERROR, source_id, where, message, dn))
    return found


def write(
    world: World,
    ledger: Ledger,
    directory_id: int,
    run_id: int,
    connection: ldap.Connection,
    step: Stepped,
    progress: Progress,
    bulk: writer.Bulk | None = None,
) -> None:
    """Put new places into the ledger and its changes into the target; `step.written` tells what came of it."""
    records.put_accounts(ledger, directory_id, list(world.unsaved.values()))
    world.unsaved.clear()
    target, changes = world.settings.target, step.diff.changes
    if any(one.operation in (comparing.Operation.ADD, comparing.Operation.RENAME) for one in changes):
        branches = [f"{branch},{target.suffix}" for branch in target.branches.model_dump().values()]
        for dn in writer.make_branches(connection, branches):
            ledger.audit("directory branch added", dn=dn, run=run_id)

    def behind(done: int, of: int) -> None:
        progress("writing", done, of)

    if bulk is not None and not step.diff.present and len(changes) >= BULK_FROM:
        step.loaded = True
        try:
            step.written = writer.load(bulk, ledger, directory_id, run_id, changes, behind)
        except Permanent as error:
            log.warning("%s; the entries are written over LDAP instead", explain(error))
            with bulk.connect() as anew:
                step.written = writer.apply(anew, ledger, directory_id, run_id, changes, behind)
        return
    step.written = writer.apply(connection, ledger, directory_id, run_id, changes, behind)


def full_step(
    world: World,
    ledger: Ledger,
    directory: Directory,
    run_id: int | None,
    reader: Reader,
    connection: ldap.Connection,
    progress: Progress,
    *,
    allowed: int | None = None,
    remember: bool = False,
    bulk: writer.Bulk | None = None,
    told: ChangeReader | None = None,
) -> Stepped:
    """Read everything, compare everything, write what differs. `run_id` None: a dry run, without the brake.

    SafetyStop: the brake, an identity that changed, a source that gives nobody; nothing is then written. `told`: the
    reader, where it can tell changes: the cookie that the ledger then holds stands for the moment before the reading.
    """
    if run_id is not None:
        settle_unknown(connection, ledger, directory.id)
    cookie = told.cookie() if told is not None and run_id is not None else None
    may_stand_still = run_id is not None and not remember and bool(world.register.by_id)  # a first load does not
    ids = marks.digest(told.ids()) if told is not None and may_stand_still else ""
    written_at = marks.target(connection, world.settings.target.suffix) if ids else ()
    planned = plan_all(world, _counted(reader.read(), progress), remember=remember)
    progress("comparing", 0, len(planned.wanted))
    step = Stepped(planned, compare_all(world, planned, connection))
    if run_id is None:
        return step
    comparing.brake(step.diff, world.settings.brake, allowed)
    write(world, ledger, directory.id, run_id, connection, step, progress, bulk)
    mark = None
    if written_at and not step.diff.changes:
        mark = marks.make(world.settings, ids, written_at, figures(step))
    records.set_reconciled(ledger, directory.id, cookie, mark)
    return step


def same_as_before(directory: Directory) -> Stepped:
    """The step that a mark stands for."""
    known = dict((directory.mark or {})["figures"])
    nobody = Planned({}, frozenset(), Cleaned((), (), {}, ()), [])
    return Stepped(nobody, comparing.Diff((), known["recipients"], known["recipients"]), writer.Written(), same=known)


def figures(step: Stepped) -> dict[str, Any]:
    """What a step amounts to, as JSON. `wrong`: whether anybody is left out for an error."""
    errors = [one for one in step.planned.findings if one.severity is Severity.ERROR]
    found: dict[str, Any] = {operation.value: 0 for operation in comparing.Operation}
    for change in step.diff.changes:
        found[change.operation.value] += 1
    return {
        **found,
        "recipients": step.diff.wanted,
        "present": step.diff.present,
        "left_out": len(step.planned.cleaned.left_out),
        "excluded": step.planned.excluded,
        "failed": len(step.written.failed) if step.written else 0,
        "wrong": bool(errors or step.planned.cleaned.open),
        **({name: step.same[name] for name in ("left_out", "excluded", "wrong")} if step.same else {}),
    }


def _counted(read: Iterable[Recipient | Finding], progress: Progress) -> Iterator[Recipient | Finding]:
    for number, one in enumerate(read, 1):
        if number % 500 == 0:
            progress("reading", number, 0)
        yield one


def without_references(recipient: Recipient) -> Recipient:
    """The recipient alone, for cleaning it without all others."""
    return dataclasses.replace(recipient, **dict.fromkeys(MANY, ()), manager=None, forwarding=None)  # type: ignore[arg-type]


MANY: Sequence[str] = ("members", "owners", "accept_from", "reject_from", "send_on_behalf", "full_access")
"""The fields of a recipient that hold references."""
