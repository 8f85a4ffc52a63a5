"""A PST or OST file as a source. Never writes; reads ahead of the consumer in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from mailferry.errors import LocalProtocolError
from mailferry.groupware.invitation import invitation
from mailferry.model.account import PstAccount
from mailferry.model.folder import Folder, Selected
from mailferry.model.message import ALL_FLAGS, Failed, Headers, Listing, Message
from mailferry.net.ahead import read_ahead
from mailferry.net.pst import OpenFolder, PstMailbox
from mailferry.wire.mapi.fields import Resolve

T = TypeVar("T")


class PstSourceSession:
    """One session. `thread`: does all work, in order."""

    def __init__(self, mailbox: PstMailbox, thread: ThreadPoolExecutor) -> None:
        self._mailbox = mailbox
        self._thread = thread
        self._folder: OpenFolder | None = None
        self._closed = False

    @property
    def identity(self) -> str:
        """As `HasIdentity`."""
        return self._mailbox.identity

    async def folders(self) -> list[Folder]:
        return await self._run(self._mailbox.folders)

    async def select(self, folder: Folder) -> Selected:
        self._folder = await self._run(partial(self._mailbox.open, folder.name))
        return Selected(self._folder.status, ALL_FLAGS, False, read_only=True)

    async def listing(self, changed_since: int | None = None) -> Listing:
        return await self._run(partial(self._mailbox.listing, self._selected()))

    def fetch(self, uids: Sequence[int]) -> AsyncIterator[Message | Failed]:
        wanted = sorted(set(self._selected().items).intersection(uids))
        return read_ahead(self._thread.submit, self._mailbox.message, wanted)

    async def headers(self, uids: Sequence[int]) -> AsyncIterator[Headers]:
        there = set(self._selected().items)
        for uid in sorted(there.intersection(uids)):
            found = await self._run(partial(self._mailbox.headers, uid))
            if found is not None:
                yield found

    async def acl(self, folder: Folder) -> Mapping[str, str] | None:
        return None

    async def metadata(self, folder: Folder) -> Mapping[str, bytes] | None:
        return None

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._run(self._mailbox.close)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._thread.submit(work))

    def _selected(self) -> OpenFolder:
        if self._folder is None:
            raise LocalProtocolError("no folder is selected")
        return self._folder


class PstSource:
    """A `Source` over one file."""

    lanes = 2

    def __init__(self, account: PstAccount, resolve: Resolve = lambda name: None) -> None:
        self.account = account
        self._resolve = resolve
        self.key = account.key
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pst")
        """Shared by all sessions: reading keeps a core busy, so that two threads would only wait for each other."""

    async def session(self) -> PstSourceSession:
        opened = self._thread.submit(PstMailbox, self.account, self._resolve, invitation)
        return PstSourceSession(await asyncio.wrap_future(opened), self._thread)
