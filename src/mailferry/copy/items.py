"""Events, contacts, tasks and notes of one mailbox, brought to where they belong: every collection, then every item.

Knows nothing of messages. Invariants: before an item is sent the ledger says so, and where it goes (its UID says where,
so that sending it again makes no second one); nothing that somebody changed at the target is overwritten unless the
source wins; one bad item never stops a collection, one bad collection never a mailbox; each item that did not come, or
came with a loss, is a note in the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mailferry.copy.items_put import Bringing, bring
from mailferry.copy.progress import Counts
from mailferry.errors import Fenced, ItemError, MailferryError, RemoteProtocolError, SafetyStop, Temporary
from mailferry.ledger import items as rows
from mailferry.ledger.items import CollectionRow, ItemRow, ItemState, Note
from mailferry.ledger.rows import Kind as NoteKind
from mailferry.ledger.rows import Lease
from mailferry.ledger.writer import LedgerThread
from mailferry.model.groupware import Collection, Contents, Kind, Party
from mailferry.plan.items import ItemPolicy, Known, compare, display_name, place_name, suddenly_empty
from mailferry.plan.messages import Deletions, beyond_brake
from mailferry.sources.items import ItemSession, ItemSource
from mailferry.targets.items import ItemTarget, ItemTargetSession, Place

log = logging.getLogger("mailferry.copy")

PATIENCE, PAUSE, PAUSE_MOST = 6, 1.0, 300.0
Progress = Callable[[Counts, str], None]
"""Told the counts so far, and what is waited for ("": nothing)."""


@dataclass(slots=True)
class CollectionDone:
    """What a pass did with one collection. `note`: why it could not be brought; "" if it was."""

    path: tuple[str, ...]
    kind: Kind
    counts: Counts = field(default_factory=Counts)
    note: str = ""


@dataclass(slots=True)
class ItemsDone:
    """What a pass did."""

    collections: list[CollectionDone] = field(default_factory=list)

    def total(self) -> Counts:
        total = Counts()
        for one in self.collections:
            total.add(one.counts)
        return total


async def copy_items(
    ledger: LedgerThread,
    source: ItemSource,
    targets: Sequence[ItemTarget],
    lease: Lease,
    policy: ItemPolicy,
    *,
    owner: Party | None = None,
    patience: int = PATIENCE,
    run_id: int | None = None,
    gate: asyncio.Event | None = None,
    progress: Progress = lambda counts, waits: None,
) -> ItemsDone:
    """Bring the targets in step with the source, whatever was done before. Of each kind, the first target that holds it
    is the one. `owner`: whose mailbox it is, where the source does not say who organizes. `gate`: nothing is sent while
    it is closed.

    Raises the error that ended it after every sensible attempt; all that was done until then is recorded.
    """
    pass_id = await ledger.write(lambda db: db.begin_pass(lease, "items", run_id))
    done, outcome = ItemsDone(), "stopped"
    job = _Job(ledger, lease, policy, owner, gate)

    def tell(waits: str) -> None:
        progress(done.total(), waits)

    try:
        await _attempts(job, source, targets, patience, done, tell)
        outcome = "done"
        return done
    except MailferryError as error:
        outcome = f"{type(error).__name__}: {error.message}"
        raise
    finally:
        counts = done.total()
        with contextlib.suppress(Fenced):
            await ledger.write(lambda db: db.end_pass(lease, pass_id, outcome, counts.as_dict(), counts.bytes))


@dataclass(frozen=True, slots=True)
class _Job:
    """What holds for all collections."""

    ledger: LedgerThread
    lease: Lease
    policy: ItemPolicy
    owner: Party | None
    gate: asyncio.Event | None


async def _attempts(
    job: _Job,
    source: ItemSource,
    targets: Sequence[ItemTarget],
    patience: int,
    done: ItemsDone,
    tell: Callable[[str], None],
) -> None:
    fruitless, most = 0, -1
    while True:
        done.collections.clear()  # an attempt goes through all of them
        try:
            async with _opened(source, targets) as (session, open_targets):
                await _attempt(job, session, open_targets, done, tell)
            return
        except (Temporary, RemoteProtocolError) as error:
            reached = done.total().done
            fruitless = 0 if reached > most else fruitless + 1
            most = max(most, reached)
            if fruitless >= patience:
                raise
            after = error.retry_after if isinstance(error, Temporary) else None
            pause = after if after is not None else min(PAUSE * 2 ** max(0, fruitless - 1), PAUSE_MOST)
            waits = f"{error.message}; next attempt in {pause:.0f} s"
            log.warning("%s: %s", source.key, waits)
            tell(waits)
            await asyncio.sleep(pause)


@dataclass(frozen=True, slots=True)
class _Open:
    """A target that is open, with what it holds."""

    key: str
    kinds: frozenset[Kind]
    session: ItemTargetSession
    places: list[Place]


@contextlib.asynccontextmanager
async def _opened(
    source: ItemSource, targets: Sequence[ItemTarget]
) -> AsyncIterator[tuple[ItemSession, Sequence[_Open]]]:
    async with contextlib.AsyncExitStack() as stack:
        session = await source.items_session()
        stack.push_async_callback(session.close)
        opened = []
        for target in targets:
            writing = await target.items_session()
            stack.push_async_callback(writing.close)
            opened.append(_Open(target.key, target.kinds, writing, await writing.places()))
        yield session, opened


async def _attempt(
    job: _Job, source: ItemSession, targets: Sequence[_Open], done: ItemsDone, tell: Callable[[str], None]
) -> None:
    collections = await source.collections()
    for collection in collections:
        one = CollectionDone(collection.path, collection.kind)
        done.collections.append(one)
        target = next((each for each in targets if collection.kind in each.kinds), None)
        key = target.key if target else ""
        row = await job.ledger.write(
            rows.put_collection, job.lease, key, collection.id, collection.kind, collection.path
        )
        work = _Collection(job, source, collection, row, one.counts)
        try:
            if target is None:
                await work.leave_out()
            else:
                await work.copy(target)
        except (ItemError, SafetyStop) as error:
            one.note = f"{error.message}; {error.advice}" if error.advice else error.message
            await work.failed(error, one.note)
        tell("")
    await _missing(job.ledger, job.lease, targets, collections, done)


async def _missing(
    ledger: LedgerThread, lease: Lease, targets: Sequence[_Open], collections: Sequence[Collection], done: ItemsDone
) -> None:
    """Collections that the source no longer has: they stay, and are listed."""
    listed = {(one.id, one.kind) for one in collections}
    for row in await ledger.call(rows.collections, lease.mailbox_id, [target.key for target in targets]):
        if (row.source_id, row.kind) not in listed and row.place is not None:
            text = "the source no longer has this collection; what was brought stays"
            note = Note("", NoteKind.DIFFERENCE, "gone-at-source", text)
            await ledger.write(rows.put_notes, lease, row.id, [""], [note])
            done.collections.append(CollectionDone(row.path, row.kind, Counts(gone=1), text))


@dataclass(slots=True)
class _Collection:
    """The work on one collection."""

    job: _Job
    source: ItemSession
    collection: Collection
    row: CollectionRow
    counts: Counts

    @property
    def ledger(self) -> LedgerThread:
        return self.job.ledger

    @property
    def lease(self) -> Lease:
        return self.job.lease

    @property
    def policy(self) -> ItemPolicy:
        return self.job.policy

    async def leave_out(self) -> None:
        """No target holds its kind."""
        contents = await self.source.contents(self.collection)
        number = len(contents.items) + len(contents.not_carried)
        self.counts.add(Counts(folders=1, listed=number, excluded=number))
        text = f"no target for its kind ({self.collection.kind.value}) was given: {number} items"
        note = [Note("", NoteKind.EXCLUDED, "no-target", text)] if number else []
        await self.ledger.write(rows.put_notes, self.lease, self.row.id, [""], note)

    async def failed(self, error: MailferryError, text: str) -> None:
        """It could not be brought: the others go on."""
        stopped = isinstance(error, SafetyStop)
        self.counts.folders = 1
        self.counts.add(Counts(stops=int(stopped), broken=int(not stopped)))
        note = Note("", NoteKind.FAILED, "safety-stop" if stopped else "folder", text)
        await self.ledger.write(rows.put_notes, self.lease, self.row.id, [""], [note])
        log.warning("%s: %s", "/".join(self.collection.path), text)

    async def copy(self, target: _Open) -> None:
        place, known = await self._place(target), await self.ledger.call(rows.items, self.row.id)
        settled = all(one.state not in (ItemState.INTENDED, ItemState.FAILED) for one in known.values())
        if settled and self._unchanged(place):
            held = sum(one.state is not ItemState.KEPT for one in known.values())
            out = sum(one.kind is NoteKind.EXCLUDED for one in await self.ledger.call(rows.notes, self.row.id))
            self.counts.add(Counts(folders=1, listed=held + out, there=held, excluded=out))
            return
        contents = await self.source.contents(self.collection)
        listing = await target.session.listing(place)
        plan_known = as_known(known)
        if suddenly_empty(contents, plan_known) and self.policy.source_wins and not self.policy.emptied:
            raise SafetyStop(
                f"it held {len(known)} items, and holds none now",
                about="/".join(self.collection.path),
                advice="if that is right, run again with --accept emptied",
            )
        actions = compare(contents, plan_known, listing, self.policy.source_wins)
        self.counts.add(Counts(folders=1, listed=len(actions.bring) + len(actions.there) + len(actions.theirs)))
        self.counts.there += len(actions.there) + len(actions.theirs)
        await self._left_out(contents)
        await self._theirs(actions.theirs, known, contents)
        versions = {ref.id: ref.version for ref in contents.items}
        work = Bringing(
            self.ledger,
            self.lease,
            self.row.id,
            self.policy,
            target.session,
            place,
            self.collection.kind,
            known,
            versions,
            listing,
            self.job.owner,
            self.counts,
            self.job.gate,
        )
        whole = await bring(work, self.source, self.collection, actions.bring)
        written = self.counts.copied > 0
        if self.policy.source_wins and actions.gone:
            written |= await self._gone(actions.gone, known, work.hrefs(), target.session, place)
        tokens = {
            "source_token": self.collection.token if whole else "",
            "target_token": "" if written else place.token,  # after what was written, it is another
        }
        await self.ledger.write(rows.update_collection, self.lease, self.row.id, completed=time.time(), **tokens)
        await self.ledger.write(rows.put_notes, self.lease, self.row.id, [""], [])
        told = [*versions, *(one.id for one in contents.not_carried), *actions.gone]
        await self.ledger.write(rows.keep_notes, self.lease, self.row.id, told)

    async def _place(self, target: _Open) -> Place:
        """Where it goes: as before, else the person's default one, else one that is made."""
        there = {place.id: place for place in target.places}
        if self.row.place is not None and self.row.place in there:
            return there[self.row.place]
        kind = self.collection.kind
        place = next((one for one in target.places if one.default and kind in one.kinds), None)
        if place is None or not self.collection.default:
            name = place_name(self.collection)
            place = await target.session.create(name, display_name(self.collection), kind)
            target.places.append(place)
        await self.ledger.write(rows.update_collection, self.lease, self.row.id, place=place.id)
        return place

    def _unchanged(self, place: Place) -> bool:
        """Whether the tokens alone prove that nothing is to be done."""
        mine, row = self.collection, self.row
        return bool(mine.token and place.token and (mine.token, place.token) == (row.source_token, row.target_token))

    async def _left_out(self, contents: Contents) -> None:
        """What the source itself says will not come."""
        left = contents.not_carried
        self.counts.add(Counts(listed=len(left), excluded=len(left)))
        notes = [
            Note(one.id, NoteKind.EXCLUDED, "not-carried", one.reason, one.item_class, _day(one.when)) for one in left
        ]
        await self.ledger.write(rows.put_notes, self.lease, self.row.id, [one.id for one in left], notes)

    async def _theirs(self, ids: Sequence[str], known: Mapping[str, ItemRow], contents: Contents) -> None:
        """Changed at the source after people had changed them at the target."""
        if not ids:
            return
        versions = {ref.id: ref.version for ref in contents.items}
        left = [known[id]._replace(state=ItemState.LEFT, version=versions[id]) for id in ids]
        text = "it changed at the source after somebody had changed or removed it at the target, and was left alone"
        notes = [Note(id, NoteKind.DIFFERENCE, "changed-at-target", text) for id in ids]
        self.counts.different += len(ids)
        await self.ledger.write(rows.put_items, self.lease, self.row.id, left)
        await self.ledger.write(rows.put_notes, self.lease, self.row.id, ids, notes)

    async def _gone(
        self,
        ids: Sequence[str],
        known: Mapping[str, ItemRow],
        in_use: set[str],
        target: ItemTargetSession,
        place: Place,
    ) -> bool:
        """What vanished at the source. Whether anything was removed."""
        self.counts.gone += len(ids)
        if self.policy.deletions is Deletions.KEEP:
            kept = [known[id]._replace(state=ItemState.KEPT) for id in ids]
            text = "it has gone from the source, and stays at the target"
            notes = [Note(id, NoteKind.DIFFERENCE, "gone-at-source", text) for id in ids]
            await self.ledger.write(rows.put_items, self.lease, self.row.id, kept)
            await self.ledger.write(rows.put_notes, self.lease, self.row.id, ids, notes)
            return False
        if beyond_brake(len(ids), len(known)) and not self.policy.many_deletions:
            raise SafetyStop(
                f"{len(ids)} of {len(known)} items have gone from the source",
                about="/".join(self.collection.path),
                advice="if they are to be removed from the target, too, run again with --accept deletions",
            )
        removed = []
        for id in ids:
            row = known[id]
            if row.href in in_use or await target.delete(place, row.href, row.etag):
                removed.append(id)
                continue
            text = "it has gone from the source, but somebody changed it at the target: it stays"
            note = Note(id, NoteKind.DIFFERENCE, "changed-at-target", text)
            await self.ledger.write(rows.put_items, self.lease, self.row.id, [row._replace(state=ItemState.KEPT)])
            await self.ledger.write(rows.put_notes, self.lease, self.row.id, [id], [note])
        self.counts.removed += len(removed)
        await self.ledger.write(rows.forget_items, self.lease, self.row.id, removed)
        return bool(removed)


def as_known(known: Mapping[str, ItemRow]) -> dict[str, Known]:
    """The ledger's rows, as the plan wants them."""
    return {
        id: Known(row.version, row.href, row.etag, row.state is ItemState.THERE, row.state is ItemState.LEFT)
        for id, row in known.items()
    }


def _day(when: object) -> str:
    return str(when)[:10] if when is not None else ""
