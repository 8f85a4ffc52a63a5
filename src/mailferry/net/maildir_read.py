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
from mailferry.net.ahead import read_ahead
from mailferry.net.maildir import OpenFolder, Tree

_BATCH_MESSAGES = 64

T = TypeVar("T")


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

    def fetch(self, uids: Sequence[int]) -> AsyncIterator[Message | Failed]:
        folder = self.selected()
        return read_ahead(self.start, lambda uid: self.tree.message(folder, uid), sorted(set(uids)))

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
