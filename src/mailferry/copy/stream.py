"""Moves the messages of one folder: fetch → digest → intent in the ledger → append → confirmed in the ledger.

The stages run at once, so that the source is read while the target writes and the ledger syncs. Does not decide which
messages. Invariant (crash table, design §5): nothing is sent before the ledger durably holds its digest and the
target's uidnext; nothing counts as copied before the target has confirmed it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

from mailferry.copy.work import FolderWork
from mailferry.errors import RemoteProtocolError, Temporary
from mailferry.ledger.rows import Intent
from mailferry.model.message import NO_DATE, Body, Failed, MemoryBody, Message, Reason, digest
from mailferry.plan.fingerprint import fingerprint, header_block
from mailferry.plan.repair import repaired
from mailferry.targets.base import Stored
from mailferry.tasks import together

REPAIRABLE = (Reason.NUL, Reason.BARE_NEWLINE)


@dataclass(slots=True)
class Chunk:
    """Messages that are sent together, with what the ledger is told of each."""

    messages: list[Message] = field(default_factory=list)
    rows: list[Intent] = field(default_factory=list)
    size: int = 0
    append: asyncio.Task[list[Stored | Failed]] | None = None


def outgoing(message: Message) -> Intent:
    """What the ledger keeps of a message: never its content."""
    return Intent(
        source_uid=message.uid,
        flags=message.flags,
        keywords=message.keywords,
        internal_date=message.internal_date.epoch,
        size=message.body.size,
        digest=digest(message.body),
        fingerprint=strong_fingerprint(message.body),
    )


def strong_fingerprint(body: Body) -> int | None:
    """The fingerprint that stands for Message-ID and Date; None without a Message-ID, since the rest is too weak."""
    found = fingerprint(header_block(next(iter(body.chunks()), b"")))
    return found.value if found.by_id else None


async def stream(work: FolderWork, uids: Sequence[int]) -> None:
    """Bring these source uids (ascending) of the selected folder; returns when each is recorded as done or failed."""
    await _Stream(work).run(uids)


class _Stream:
    def __init__(self, work: FolderWork) -> None:
        self.work = work
        self.read: asyncio.Queue[Chunk | None] = asyncio.Queue(1)
        self.sent: asyncio.Queue[Chunk | None] = asyncio.Queue()
        self.depth = asyncio.Semaphore(1 if work.careful else work.policy.chunks_in_flight)
        self.held: dict[int, tuple[Message, int]] = {}
        self.unconfirmed = 0

    async def run(self, uids: Sequence[int]) -> None:
        appends: list[asyncio.Task[list[Stored | Failed]]] = []
        try:
            await together(self._read(uids), self._send(appends), self._confirm())
        finally:
            for append in appends:
                append.cancel()
            await asyncio.gather(*appends, return_exceptions=True)
            self.work.mailbox.engine.in_flight -= self.unconfirmed
            for uid in list(self.held):
                self._release(uid)

    def _release(self, uid: int) -> None:
        message, held = self.held.pop(uid)
        message.body.close()
        self.work.budget.give(held)

    async def _read(self, uids: Sequence[int]) -> None:
        work, policy = self.work, self.work.policy
        most = 1 if work.careful else policy.chunk_messages
        chunk = Chunk()
        async for item in self._items(uids):
            if isinstance(item, Failed):
                await work.fail(item)
                continue
            if item.internal_date == NO_DATE:
                await work.different(
                    item.uid, Reason.DATE, "the source gives no date that can be read: 1970 stands there"
                )
            for loss in item.losses:
                await work.different(item.uid, Reason.PART, loss)
            held = min(item.body.size, policy.chunk_bytes)
            if not work.budget.try_take(held):
                try:
                    if chunk.rows:
                        await self.read.put(chunk)
                        chunk = Chunk()
                    await work.budget.take(held)
                except BaseException:
                    item.body.close()
                    raise
            self.held[item.uid] = (item, held)
            chunk.messages.append(item)
            chunk.rows.append(outgoing(item))
            chunk.size += item.body.size
            if len(chunk.rows) >= most or chunk.size >= policy.chunk_bytes:
                await self.read.put(chunk)
                chunk = Chunk()
        if chunk.rows:
            await self.read.put(chunk)
        await self.read.put(None)

    async def _items(self, uids: Sequence[int]) -> AsyncIterator[Message | Failed]:
        """What the source gives. A connection that breaks while one message is awaited is blamed on that message."""
        work = self.work
        seen = 0
        try:
            async for item in work.source.fetch(uids):
                while seen < len(uids) and uids[seen] < item.uid:
                    work.gone_meanwhile(uids[seen])
                    seen += 1
                seen += 1
                yield item
        except (Temporary, RemoteProtocolError) as error:
            if seen < len(uids):
                work.blame(uids[seen], error)
            raise
        for uid in uids[seen:]:
            work.gone_meanwhile(uid)

    async def _send(self, appends: list[asyncio.Task[list[Stored | Failed]]]) -> None:
        engine = self.work.mailbox.engine
        while (chunk := await self.read.get()) is not None:
            await self.depth.acquire()
            await engine.gate.wait()
            await self.work.intend(chunk.rows)
            chunk.append = asyncio.ensure_future(self.work.target.append(chunk.messages))
            engine.in_flight += 1
            self.unconfirmed += 1
            appends.append(chunk.append)
            self.sent.put_nowait(chunk)
        self.sent.put_nowait(None)

    async def _confirm(self) -> None:
        work = self.work
        while (chunk := await self.sent.get()) is not None:
            assert chunk.append is not None
            try:
                results = await chunk.append
            except (Temporary, RemoteProtocolError) as error:
                if work.careful:  # one message at a time: this one
                    work.blame(chunk.rows[0].source_uid, error)
                raise
            if work.policy.repair:
                results = await self._repair(chunk, results)
            await work.confirm(chunk.rows, results)
            self.unconfirmed -= 1
            work.mailbox.engine.in_flight -= 1
            self.depth.release()
            for row in chunk.rows:
                self._release(row.source_uid)

    async def _repair(self, chunk: Chunk, results: list[Stored | Failed]) -> list[Stored | Failed]:
        """Send what the target refused for its bytes once more in a form it takes (`--repair`); each is listed."""
        settled = list(results)
        for index, (message, result) in enumerate(zip(chunk.messages, results, strict=True)):
            if isinstance(result, Stored) or result.reason not in REPAIRABLE:
                continue
            body = MemoryBody(repaired(b"".join(message.body.chunks())))
            await self.work.unsent([message.uid])
            chunk.rows[index] = chunk.rows[index]._replace(size=body.size, digest=digest(body))
            await self.work.intend([chunk.rows[index]])
            (settled[index],) = await self.work.target.append([replace(message, body=body)])
            if isinstance(settled[index], Stored):
                await self.work.different(
                    message.uid, result.reason, f"repaired, since the target refused it: {result.text}"
                )
        return settled
