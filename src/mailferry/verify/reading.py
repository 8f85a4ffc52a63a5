"""Reads of one folder what its comparison needs: dates, sizes, digests. Memory is flat: bodies are digested and closed.

Does not compare. Reads the source's bodies only of messages that have no recorded digest (adopted by headers).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from mailferry.ledger.rows import MessageRow
from mailferry.model.message import Date, Failed, Listed, digest, digest_of
from mailferry.model.state import HELD, State
from mailferry.sources.base import SourceSession
from mailferry.targets.lane import Lane
from mailferry.verify.alter import alteration
from mailferry.verify.compare import Read, keeps_zones, unclaimed, unplaced

STRANGERS = 500
"""Messages that the ledger does not know are looked at for date and size up to so many per folder."""


CLOSE = 1000
CLOSE_BYTES = 16 << 20
"""How many messages of a folder, and of what size at most, are looked at closer where their bytes differ."""


class Content(Enum):
    """How much of the content is compared by digest."""

    FULL = "full"
    SAMPLE = "sample"
    NONE = "none"


def sampled(folder_id: int, uids: Iterable[int], share: float) -> list[int]:
    """The uids to look into: about `share` of them and at least one, the same ones each time."""
    every = list(uids)
    chosen = [uid for uid in every if zlib.crc32(b"%d:%d" % (folder_id, uid)) < share * 2**32]
    return chosen or every[:1]


async def _one(session: SourceSession, uid: int) -> bytes | None:
    """The bytes of one message, or None if it cannot be had."""
    data = None
    async for one in session.fetch([uid]):
        if not isinstance(one, Failed):
            try:
                data = b"".join(one.body.chunks())
            finally:
                one.body.close()
    return data


@dataclass(slots=True)
class Reading:
    """Reads of one folder what the comparison needs; both sides are selected."""

    sides: Lane
    folder_id: int
    content: Content
    share: float
    seen: Callable[[int], None]
    rows: Sequence[MessageRow]
    source: Sequence[Listed]
    target: Sequence[Listed]
    found: dict[int, Read] = field(default_factory=dict)
    asked: set[int] = field(default_factory=set)
    source_digests: dict[int, bytes] = field(default_factory=dict)
    source_dates: dict[int, Date] = field(default_factory=dict)
    source_heads: dict[int, Read] = field(default_factory=dict)
    altered: dict[int, str] = field(default_factory=dict)

    async def read(self) -> None:
        listed = {item.uid for item in self.source}
        there = [item.uid for item in self.target]
        held = {row.target_uid: row for row in self.rows if row.state in HELD and row.source_uid in listed}
        ours = [uid for uid in there if uid in held]
        extra = unclaimed(self.rows, self.target)
        others = set(extra)
        bodies = self._bodies(ours)
        if self.content is Content.FULL:
            bodies |= others
        heads = [uid for uid in there if (uid in held or uid in others) and uid not in bodies]
        await self._headers(heads)
        bodies |= self._doubtful(held, extra)
        self.asked = set(ours) | bodies
        await self._fetch(sorted(bodies))
        await self._source_again([held[uid] for uid in ours if uid in bodies])
        await self._alterations([held[uid] for uid in ours if uid in bodies])
        if keeps_zones(read.date for read in self.found.values() if read.date is not None):
            async for one in self.sides.source.headers([held[uid].source_uid for uid in ours]):
                self.source_dates[one.uid] = one.internal_date

        known = {row.source_uid for row in self.rows}
        await self._strangers([item.uid for item in self.source if item.uid not in known][:STRANGERS])

    async def _alterations(self, rows: Sequence[MessageRow]) -> None:
        """Look closer at bytes that differ, one message at a time: a known alteration by the target may explain it."""
        differing = []
        for row in rows:
            read = self.found.get(row.target_uid or 0)
            reference = row.digest or self.source_digests.get(row.source_uid)
            if read is not None and read.digest is not None and reference is not None and read.digest != reference:
                differing.append((row, reference))
        for row, reference in [one for one in differing if (one[0].size or 0) <= CLOSE_BYTES][:CLOSE]:
            source = await _one(self.sides.source, row.source_uid)
            target = await _one(self.sides.target, row.target_uid or 0)
            if source is None or target is None or digest_of([source]) != reference:
                continue  # what left the source cannot be had again
            text = alteration(source, target)
            if text is not None:
                self.altered[row.source_uid] = text

    async def _strangers(self, uids: Sequence[int]) -> None:
        if uids:
            async for one in self.sides.source.headers(uids):
                self.source_heads[one.uid] = Read(one.internal_date, one.size)

    def _bodies(self, ours: Sequence[int]) -> set[int]:
        if self.content is Content.FULL:
            return set(ours)
        if self.content is Content.SAMPLE and ours:
            return set(sampled(self.folder_id, ours, self.share))
        return set()

    def _doubtful(self, held: dict[int | None, MessageRow], extra: Sequence[int]) -> set[int]:
        """What must be read though it was not chosen: what may be a double of ours, or a message of ours under another
        uid (it has the date of one that we sent); with SAMPLE, also what has another size than was sent."""
        if self.content is Content.FULL:
            return set()
        sent = {row.internal_date for row in self.rows if row.attempts and row.state in HELD | {State.GONE}}
        sent |= {row.internal_date for row in unplaced(self.rows, self.target)}
        doubtful = set()
        for uid in extra:
            read = self.found.get(uid)
            if read is not None and read.date is not None and read.date.epoch in sent:
                doubtful.add(uid)
        if self.content is Content.SAMPLE:
            for uid, read in self.found.items():
                row = held.get(uid)
                if row is not None and row.size is not None and read.size != row.size:
                    doubtful.add(uid)
        return doubtful

    async def _headers(self, uids: Sequence[int]) -> None:
        if uids:
            async for one in self.sides.target.headers(uids):
                self.found[one.uid] = Read(one.internal_date, one.size)
                self.seen(0)

    async def _fetch(self, uids: Sequence[int]) -> None:
        if not uids:
            return
        async for one in self.sides.target.fetch(uids):
            if isinstance(one, Failed):
                self.found[one.uid] = Read(None, None, failed=one.text)
                self.seen(0)
                continue
            try:
                self.found[one.uid] = Read(one.internal_date, one.body.size, digest(one.body))
                self.seen(one.body.size)
            finally:
                one.body.close()

    async def _source_again(self, rows: Sequence[MessageRow]) -> None:
        """Digests of what was adopted by headers, from the source; also of those whose place is unknown."""
        uids = [row.source_uid for row in rows if row.digest is None]
        if self.content is Content.FULL:
            uids += [row.source_uid for row in unplaced(self.rows, self.target) if row.digest is None]
        if uids:
            async for one in self.sides.source.fetch(sorted(uids)):
                if not isinstance(one, Failed):
                    try:
                        self.source_digests[one.uid] = digest(one.body)
                    finally:
                        one.body.close()
