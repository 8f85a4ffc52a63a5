"""An IMAP mailbox as a source: EXAMINE and PEEK only. The reading itself is `net/imap`, which the target shares."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from mailferry.errors import LocalProtocolError
from mailferry.model.account import ImapAccount
from mailferry.model.folder import Folder, Selected
from mailferry.model.message import Failed, Headers, Listing, Message, Uidl
from mailferry.net import pop3
from mailferry.net.imap import folders, login, reading
from mailferry.net.imap.connection import Connection
from mailferry.tasks import both


class ImapSource:
    """See `sources/base.py`. `compress` as for `net.imap.login.connect`."""

    def __init__(self, account: ImapAccount, lanes: int = 2, *, compress: bool | None = None) -> None:
        self.account = account
        self.key = account.key
        self.lanes = lanes
        self._compress = compress

    async def session(self) -> ImapSourceSession:
        return ImapSourceSession(await login.connect(self.account, compress=self._compress), self.account.user)


class ImapSourceSession:
    """One connection, reading."""

    def __init__(self, connection: Connection, owner: str) -> None:
        self.connection = connection
        self._owner = owner
        self._selected: Selected | None = None

    async def folders(self) -> list[Folder]:
        return (await folders.list_folders(self.connection))[1]

    async def select(self, folder: Folder) -> Selected:
        self._selected = None
        self._selected = await reading.select(self.connection, folder, write=False)
        return self._selected

    async def listing(self, changed_since: int | None = None) -> Listing:
        if self._selected is None:
            raise LocalProtocolError("no folder is open")
        return await reading.listing(self.connection, self._selected.status, changed_since)

    async def select_listed(self, folder: Folder, changed_since: int | None) -> tuple[Selected, Listing]:
        """As `SelectsListed`."""
        if folder.status is None or not folder.status.messages:  # some servers refuse 1:* in an empty folder
            return await self.select(folder), await self.listing(changed_since)
        self._selected = None
        selected, listing = await both(
            reading.select(self.connection, folder, write=False),
            reading.listing(self.connection, folder.status, changed_since),
        )
        self._selected = selected
        return selected, listing

    def fetch(self, uids: Sequence[int]) -> AsyncIterator[Message | Failed]:
        return reading.fetch(self.connection, uids)

    def headers(self, uids: Sequence[int]) -> AsyncIterator[Headers]:
        return reading.headers(self.connection, uids)

    async def acl(self, folder: Folder) -> Mapping[str, str] | None:
        return await reading.acl(self.connection, folder, self._owner)

    async def metadata(self, folder: Folder) -> Mapping[str, bytes] | None:
        return await reading.metadata(self.connection, folder)

    async def uidls(self, latest: int) -> list[Uidl]:
        account = self.connection.account
        return await pop3.read_uidls(account, latest) if account.pop3_port is not None else []

    async def close(self) -> None:
        await self.connection.close()
