"""Reads items, makes resources of them and stores those: the inner loop of `items`. Decides nothing about collections.

Invariant: a resource is intended in the ledger before it is sent; what the ledger says to be there, the target has
confirmed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mailferry.copy.progress import Counts
from mailferry.errors import ItemError
from mailferry.groupware.resource import digest, write
from mailferry.ledger import items as rows
from mailferry.ledger.items import ItemRow, ItemState, Note
from mailferry.ledger.rows import Kind as NoteKind
from mailferry.ledger.rows import Lease
from mailferry.ledger.writer import LedgerThread
from mailferry.model.groupware import Collection, Item, Kind, NotCarried, Party
from mailferry.plan.items import CLASSES, ItemPolicy, happens
from mailferry.sources.items import ItemSession
from mailferry.targets.items import ItemTargetSession, NotStored, Place, Stored, Why

BATCH, BATCH_BYTES = 64, 8 << 20
"""What is held at once, and intended together."""
READ_AT_ONCE = 500
PUTS = 4
"""Requests to one target at the same time."""


@dataclass(slots=True)
class _Ready:
    """A resource on its way. `etag`: the version that it replaces; None: it is new."""

    row: ItemRow
    data: bytes
    etag: str | None
    losses: tuple[str, ...]
    item_class: str
    happens: str

    def note(self, kind: NoteKind, reason: str, text: str) -> Note:
        return Note(self.row.source_id, kind, reason, text, self.item_class, self.happens)


@dataclass(slots=True)
class Bringing:
    """What is known of a collection while items come. `known`: the ledger's rows; `versions`: of the source's listing;
    `listing`: the target's."""

    ledger: LedgerThread
    lease: Lease
    collection_id: int
    policy: ItemPolicy
    target: ItemTargetSession
    place: Place
    kind: Kind
    known: Mapping[str, ItemRow]
    versions: Mapping[str, str]
    listing: Mapping[str, str]
    owner: Party | None
    counts: Counts
    gate: asyncio.Event | None
    taken: dict[str, str] = field(default_factory=dict)
    """href → the item that is there, or on its way."""

    def hrefs(self) -> set[str]:
        """Where an item of the source's present listing is."""
        return set(self.taken)


async def bring(work: Bringing, source: ItemSession, collection: Collection, ids: Sequence[str]) -> bool:
    """Bring these items. Whether the listing was still true: False if one had gone meanwhile."""
    wanted = set(ids)
    for id, row in work.known.items():
        if id in work.versions and id not in wanted and row.href:
            work.taken[row.href] = id
    seen: set[str] = set()
    batch: list[_Ready] = []
    size = 0
    for start in range(0, len(ids), READ_AT_ONCE):
        async for id, item in source.items(collection, ids[start : start + READ_AT_ONCE]):
            seen.add(id)
            ready = await _prepare(work, id, item)
            if ready is not None:
                batch.append(ready)
                size += len(ready.data)
            if len(batch) >= BATCH or size >= BATCH_BYTES:
                await _store(work, batch)
                batch, size = [], 0
    await _store(work, batch)
    gone = wanted - seen
    work.counts.listed -= len(gone)
    return not gone


async def _prepare(work: Bringing, id: str, item: Item | NotCarried) -> _Ready | None:
    """The item as it is to be stored; None where nothing is to be sent."""
    version, before = work.versions[id], work.known.get(id)
    if isinstance(item, NotCarried):
        when = str(item.when)[:10] if item.when else ""
        await _refuse(work, id, Note(id, NoteKind.FAILED, "unreadable", item.reason, item.item_class, when))
        return None
    item_class, day = CLASSES[type(item)], happens(item)
    try:
        policy = work.policy
        made = write(item, owner=work.owner, most=policy.most_attached, since=policy.attached_since)
    except ItemError as error:
        await _refuse(work, id, Note(id, NoteKind.FAILED, "unreadable", error.message, item_class, day))
        return None
    href = work.target.href(work.place, made.uid, work.kind)
    if work.taken.setdefault(href, id) != id:
        text = "another item of this folder has the same UID; a collection can hold one of them"
        await _refuse(work, id, Note(id, NoteKind.FAILED, Why.UID.value, text, item_class, day))
        return None
    row = ItemRow(id, ItemState.INTENDED, version, made.uid, href, before.etag if before else "", digest(made.data))
    ready = _Ready(row, made.data, work.listing.get(href), made.losses, item_class, day)
    if ready.etag is None:
        return ready
    if before is not None and before.state is ItemState.THERE and _same(before, ready):
        await _settle(work, row._replace(state=ItemState.THERE, etag=ready.etag))
        return None
    if not work.policy.source_wins and ready.etag != row.etag:
        work.counts.adopted += 1
        await _settle(work, row._replace(state=ItemState.LEFT, etag=ready.etag, digest=None))
        await work.ledger.write(rows.put_notes, work.lease, work.collection_id, [id], [])
        return None
    return ready


def _same(before: ItemRow, ready: _Ready) -> bool:
    """Whether what is there is what would be sent."""
    return (before.digest, before.href, before.etag) == (ready.row.digest, ready.row.href, ready.etag)


async def _settle(work: Bringing, row: ItemRow) -> None:
    """It is there already: nothing is sent."""
    work.counts.there += 1
    await work.ledger.write(rows.put_items, work.lease, work.collection_id, [row])


async def _refuse(work: Bringing, id: str, note: Note) -> None:
    """It does not come. What the target holds of it stays."""
    work.counts.failed += 1
    before = work.known.get(id)
    row = before or ItemRow(id, ItemState.FAILED, "")
    await work.ledger.write(
        rows.put_items,
        work.lease,
        work.collection_id,
        [row._replace(state=ItemState.FAILED, version=work.versions[id])],
    )
    await work.ledger.write(rows.put_notes, work.lease, work.collection_id, [id], [note])


async def _store(work: Bringing, batch: Sequence[_Ready]) -> None:
    """Intend, send, record."""
    if not batch:
        return
    if work.gate is not None:
        await work.gate.wait()
    await work.ledger.write(
        rows.put_items, work.lease, work.collection_id, [one.row for one in batch], "items intended"
    )
    limit = asyncio.Semaphore(PUTS)
    results: list[tuple[_Ready, Stored | NotStored]] = []

    async def put(one: _Ready) -> None:
        async with limit:
            results.append((one, await _put(work, one)))

    outcome = await asyncio.gather(*map(put, batch), return_exceptions=True)
    await _record(work, results)
    for error in outcome:
        if isinstance(error, BaseException):
            raise error


async def _put(work: Bringing, one: _Ready) -> Stored | NotStored:
    done = await work.target.put(work.place, one.row.href, one.data, one.etag)
    if isinstance(done, NotStored) and done.why is Why.CHANGED and work.policy.source_wins:
        now = {found.href: found.etag async for found in work.target.read(work.place, [one.row.href])}
        done = await work.target.put(work.place, one.row.href, one.data, now.get(one.row.href))
    return done


async def _record(work: Bringing, results: Sequence[tuple[_Ready, Stored | NotStored]]) -> None:
    states, notes = [], []
    for one, done in results:
        if isinstance(done, Stored):
            work.counts.copied += 1
            work.counts.bytes += len(one.data)
            states.append(one.row._replace(state=ItemState.THERE, href=done.href, etag=done.etag))
            if one.losses:
                work.counts.different += 1
                notes.append(one.note(NoteKind.DIFFERENCE, "loss", "; ".join(one.losses)))
        elif done.why is Why.CHANGED:
            work.counts.there += 1
            work.counts.different += 1
            states.append(one.row._replace(state=ItemState.LEFT, digest=None))
            notes.append(one.note(NoteKind.DIFFERENCE, done.why.value, done.text))
        else:
            work.counts.failed += 1
            states.append(one.row._replace(state=ItemState.FAILED))
            notes.append(one.note(NoteKind.FAILED, done.why.value, done.text))
    ids = [one.row.source_id for one, _ in results]
    await work.ledger.write(rows.put_items, work.lease, work.collection_id, states, "items recorded")
    await work.ledger.write(rows.put_notes, work.lease, work.collection_id, ids, notes)
