"""One reading session of a Maildir++ tree: the blocking calls of `net/maildir` in threads, with reading ahead.

Knows nothing of sources and targets, which both use it. Invariant: nothing is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from mailferry.errors import LocalProtocolError
from mailferry.model.folder import Folder
from mailferry.model.message import Failed, Headers, Listing, Message
from mailferry.net.maildir import OpenFolder, Tree

_BATCH_MESSAGES = 64
_BATCH_BYTES = 2 * 1024 * 1024

T = TypeVar("T")
_Batch = tuple[list[Message | Failed], list[int]]
"""Messages read, and uids still to read."""


class Reader:
    """What a session of a source and one of a target have in common. All work is done by one thread, in order."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.folder: OpenFolder | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="maildir")
        self._closed = False

    async def run(self, work: Callable[[], T]) -> T:
        """Do blocking work in the session's thread, after all that was asked before."""
        return await asyncio.wrap_future(self.start(work))

    def start(self, work: Callable[[], T]) -> Future[T]:
        return self._thread.submit(work)

    def selected(self) -> OpenFolder:
        if self.folder is None:
            raise LocalProtocolError("no folder is selected")
        return self.folder

    async def select(self, name: str) -> OpenFolder:
        """Open a folder for the calls below."""
        return await self.run(lambda: self.take(self.tree.open(name)))

    def take(self, opened: OpenFolder) -> OpenFolder:
        """In the thread: the open folder that the calls below are for."""
        if self.folder:
            self.folder.close()
        self.folder = opened
        return opened

    async def listing(self) -> Listing:
        def work() -> Listing:
            folder = self.selected()
            self.tree.scan(folder)
            return Listing(self.tree.listing(folder))

        return await self.run(work)

    async def fetch(self, uids: Sequence[int]) -> AsyncIterator[Message | Failed]:
        folder = self.selected()
        ahead: Future[_Batch] | None = self.start(partial(self._batch, folder, sorted(set(uids))))
        items: list[Message | Failed] = []
        try:
            while ahead:
                items, rest = await asyncio.wrap_future(ahead)
                ahead = self.start(partial(self._batch, folder, rest)) if rest else None
                while items:
                    yield items.pop(0)
        finally:
            _close_bodies(items)
            if ahead:
                ahead.add_done_callback(_close_batch)

    def _batch(self, folder: OpenFolder, uids: list[int]) -> _Batch:
        items: list[Message | Failed] = []
        size = 0
        for index, uid in enumerate(uids):
            if len(items) >= _BATCH_MESSAGES or size >= _BATCH_BYTES:
                return items, uids[index:]
            item = self.tree.message(folder, uid)
            if item is not None:
                items.append(item)
            if isinstance(item, Message):
                size += item.body.size
        return items, []

    async def headers(self, uids: Sequence[int]) -> AsyncIterator[Headers]:
        folder = self.selected()
        wanted = sorted(set(uids))
        for start in range(0, len(wanted), _BATCH_MESSAGES):
            part = wanted[start : start + _BATCH_MESSAGES]
            for found in await self.run(partial(self._headers, folder, part)):
                yield found

    def _headers(self, folder: OpenFolder, uids: Sequence[int]) -> list[Headers]:
        found = (self.tree.headers(folder, uid) for uid in uids)
        return [headers for headers in found if headers is not None]

    async def acl(self, folder: Folder) -> Mapping[str, str] | None:
        return await self.run(lambda: self.tree.acl(folder.name))

    async def close(self) -> None:
        """Ends the thread when what it was asked for is done; may be called twice."""
        if not self._closed:
            self._closed = True
            await self.run(self._close)
            self._thread.shutdown(wait=False)

    def _close(self) -> None:
        if self.folder:
            self.folder.close()
            self.folder = None
        self.tree.close()


def _close_bodies(items: Sequence[Message | Failed]) -> None:
    for item in items:
        if isinstance(item, Message):
            item.body.close()


def _close_batch(batch: Future[_Batch]) -> None:
    """Nobody will take these messages any more."""
    if not batch.cancelled() and batch.exception() is None:
        _close_bodies(batch.result()[0])
