"""A PST or OST file as a source of events, contacts, tasks and notes. All work is done by one thread, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from mailferry.model.account import PstAccount
from mailferry.model.groupware import Collection, Contents, Item, NotCarried
from mailferry.net import pst_items
from mailferry.net.pst import PstMailbox
from mailferry.wire.mapi.fields import Resolve

T = TypeVar("T")


class PstItemSession:
    """One open file."""

    def __init__(self, mailbox: PstMailbox, thread: ThreadPoolExecutor) -> None:
        self._mailbox = mailbox
        self._thread = thread
        self._closed = False

    @property
    def identity(self) -> str:
        """As `HasIdentity`."""
        return self._mailbox.identity

    async def collections(self) -> list[Collection]:
        return await self._run(partial(pst_items.collections, self._mailbox))

    async def contents(self, collection: Collection) -> Contents:
        return await self._run(partial(pst_items.contents, self._mailbox, collection))

    async def items(self, collection: Collection, ids: Sequence[str]) -> AsyncIterator[tuple[str, Item | NotCarried]]:
        folder = await self._run(partial(self._mailbox.open, collection.id))
        there = {f"{nid:x}": nid for nid in folder.items}
        for one in ids:
            if one in there:
                yield one, await self._run(partial(pst_items.read, self._mailbox, collection.kind, there[one]))

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._run(self._mailbox.close)
            self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._thread.submit(work))


class PstItemSource:
    """An `ItemSource` over one file."""

    def __init__(self, account: PstAccount, resolve: Resolve = lambda name: None) -> None:
        self.account = account
        self._resolve = resolve
        self.key = account.key

    async def items_session(self) -> PstItemSession:
        thread = ThreadPoolExecutor(1, thread_name_prefix="pst")
        try:
            mailbox = await asyncio.wrap_future(thread.submit(PstMailbox, self.account, self._resolve))
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return PstItemSession(mailbox, thread)
