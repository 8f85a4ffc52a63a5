"""A Maildir++ tree as a source: a backup of a Dovecot or Courier server, or a qmail user's own. Never writes.

Uids and uidvalidity are the server's own where the tree has its side files, so that a first copy from a backup goes on
with deltas from the live server (see `net/maildir`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from mailferry.model.account import MaildirAccount
from mailferry.model.folder import Folder, Selected
from mailferry.model.message import ALL_FLAGS, Failed, Headers, Listing, Message, Uidl
from mailferry.net.maildir import Tree
from mailferry.net.maildir_read import Reader


class MaildirSourceSession:
    """One session, for reading."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def folders(self) -> list[Folder]:
        return await self._reader.run(self._reader.tree.folders)

    async def select(self, folder: Folder) -> Selected:
        opened = await self._reader.select(folder.name)
        return Selected(opened.status(), ALL_FLAGS, False, opened.all_keywords(), read_only=True)

    async def listing(self, changed_since: int | None = None) -> Listing:
        return await self._reader.listing()

    def fetch(self, uids: Sequence[int]) -> AsyncIterator[Message | Failed]:
        return self._reader.fetch(uids)

    def headers(self, uids: Sequence[int]) -> AsyncIterator[Headers]:
        return self._reader.headers(uids)

    async def acl(self, folder: Folder) -> Mapping[str, str] | None:
        return await self._reader.acl(folder)

    async def metadata(self, folder: Folder) -> Mapping[str, bytes] | None:
        return None

    async def uidls(self, latest: int) -> list[Uidl]:
        """As `HasUidls`: those that the tree's side files hold."""
        return await self._reader.run(lambda: self._reader.tree.uidls(latest))

    async def close(self) -> None:
        await self._reader.close()


class MaildirSource:
    """A `Source` over one tree."""

    lanes = 4

    def __init__(self, account: MaildirAccount) -> None:
        self.account = account
        self.key = account.key

    async def session(self) -> MaildirSourceSession:
        return MaildirSourceSession(Reader(await asyncio.to_thread(Tree, self.account)))
