"""Compares the events, contacts, tasks and notes of both sides by their content, and scores. Changes neither.

Both sides are read again: the source's items are written as resources once more, and compared with what the target
gives. Invariant: whatever is missing or differs at the target without a note of the ledger that says why is Poor.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from mailferry.errors import ItemError
from mailferry.groupware.resource import same, write
from mailferry.ledger import items as rows
from mailferry.ledger.items import CollectionRow, ItemRow, ItemState
from mailferry.ledger.rows import Kind as NoteKind
from mailferry.ledger.rows import Lease
from mailferry.ledger.writer import LedgerThread
from mailferry.model.groupware import Collection, NotCarried, Party
from mailferry.plan.items import ItemPolicy
from mailferry.sources.items import ItemSession, ItemSource
from mailferry.targets.items import ItemTarget, ItemTargetSession, Place
from mailferry.verify.score import Score

WEIGHT: Mapping[str, Score] = {
    "missing": Score.POOR,
    "content": Score.POOR,
    "collection-missing": Score.POOR,
    "failed": Score.INVESTIGATE,
    "collection-failed": Score.INVESTIGATE,
    "changed-since": Score.INVESTIGATE,
    "arrived-since": Score.INVESTIGATE,
    "changed-at-target": Score.GOOD,
    "loss": Score.GOOD,
    "excluded": Score.GOOD,
    "kept": Score.PERFECT,
    "extra": Score.PERFECT,
}
"""What each kind of finding leaves at best (docs/verify.md). PERFECT: for information."""
AT_ONCE = 200


@dataclass(slots=True)
class CollectionVerified:
    """One collection: how many items were listed and compared by content, and how many of each finding there are."""

    path: tuple[str, ...]
    kind: str
    listed: int = 0
    compared: int = 0
    findings: Counter[str] = field(default_factory=Counter)

    @property
    def score(self) -> Score:
        return max((WEIGHT[one] for one, number in self.findings.items() if number), default=Score.PERFECT)


async def verify_items(
    ledger: LedgerThread,
    source: ItemSource,
    targets: Sequence[ItemTarget],
    lease: Lease,
    policy: ItemPolicy,
    *,
    owner: Party | None = None,
    share: float = 1.0,
) -> list[CollectionVerified]:
    """Every collection. `policy`, `owner`: as it was copied; `share`: how much of it is compared by content. The result
    is in the ledger, too."""
    done = []
    async with AsyncExitStack() as stack:
        reading = await source.items_session()
        stack.push_async_callback(reading.close)
        opened = []
        for target in targets:
            session = await target.items_session()
            stack.push_async_callback(session.close)
            opened.append((target, session, {place.id: place for place in await session.places()}))
        known = {
            (row.target_key, row.source_id, row.kind): row
            for row in await ledger.call(rows.collections, lease.mailbox_id)
        }
        for collection in await reading.collections():
            one = CollectionVerified(collection.path, collection.kind.value)
            done.append(one)
            found = next((each for each in opened if collection.kind in each[0].kinds), None)
            row = known.get((found[0].key if found else "", collection.id, collection.kind))
            if found is None or row is None:
                await _apart(reading, collection, one, "excluded" if found is None else "arrived-since")
                continue
            _, session, places = found
            place = places.get(row.place or "")
            work = _Comparing(ledger, reading, session, collection, row, place, policy, owner, share, one)
            await work.run()
            await ledger.write(rows.update_collection, lease, row.id, score=one.score.word, findings=dict(one.findings))
    return done


async def _apart(reading: ItemSession, collection: Collection, one: CollectionVerified, finding: str) -> None:
    contents = await reading.contents(collection)
    one.listed = len(contents.items) + len(contents.not_carried)
    if one.listed:
        one.findings[finding] += one.listed


@dataclass(slots=True)
class _Comparing:
    ledger: LedgerThread
    source: ItemSession
    target: ItemTargetSession
    collection: Collection
    row: CollectionRow
    place: Place | None
    policy: ItemPolicy
    owner: Party | None
    share: float
    done: CollectionVerified

    async def run(self) -> None:
        found = self.done.findings
        for note in await self.ledger.call(rows.notes, self.row.id):
            if note.kind is NoteKind.DIFFERENCE and note.reason in WEIGHT:
                found[note.reason] += 1
            elif note.kind is NoteKind.FAILED and note.reason in ("folder", "safety-stop"):
                found["collection-failed"] += 1
        try:
            contents = await self.source.contents(self.collection)
        except ItemError:
            found["collection-failed"] += 1
            return
        self.done.listed = len(contents.items) + len(contents.not_carried)
        found["excluded"] += len(contents.not_carried)
        if self.place is None:
            if contents.items:
                found["collection-missing"] += 1
            return
        known = await self.ledger.call(rows.items, self.row.id)
        listing = await self.target.listing(self.place)
        ours = {row.href for row in known.values() if row.href}
        found["extra"] += len(set(listing) - ours)
        found["kept"] += sum(row.state is ItemState.KEPT for row in known.values())
        compare: dict[str, str] = {}
        for ref in contents.items:
            row = known.get(ref.id)
            if row is None or row.state is ItemState.INTENDED:
                found["arrived-since"] += 1
            elif row.state is ItemState.FAILED:
                found["failed"] += 1
            elif row.state is ItemState.LEFT:
                pass  # its note has been counted
            elif row.version != ref.version:
                found["changed-since"] += 1
            elif row.href not in listing:
                found["missing"] += 1
            elif self._chosen(row):
                compare[ref.id] = row.href
        await self._compare(compare)

    def _chosen(self, row: ItemRow) -> bool:
        """The same items each time."""
        number = int.from_bytes(hashlib.sha256(row.href.encode()).digest()[:4], "big")
        return number < self.share * (1 << 32)

    async def _compare(self, hrefs: Mapping[str, str]) -> None:
        ids = list(hrefs)
        for start in range(0, len(ids), AT_ONCE):
            some = ids[start : start + AT_ONCE]
            assert self.place is not None
            there = {one.href: one.data async for one in self.target.read(self.place, [hrefs[id] for id in some])}
            async for id, item in self.source.items(self.collection, some):
                self.done.compared += 1
                if isinstance(item, NotCarried):
                    self.done.findings["failed"] += 1
                    continue
                try:
                    policy = self.policy
                    made = write(item, owner=self.owner, most=policy.most_attached, since=policy.attached_since)
                except ItemError:
                    self.done.findings["failed"] += 1
                    continue
                data = there.get(hrefs[id])
                if data is None:
                    self.done.findings["missing"] += 1
                elif not same(made.data, data, self.collection.kind):
                    self.done.findings["content"] += 1
