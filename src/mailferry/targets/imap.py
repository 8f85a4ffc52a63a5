"""An IMAP mailbox as a target. The protocol work is `net/imap`, which the source shares.

Bodies go out byte for byte: line endings are the source's matter. Invariant: a folder's name on the wire is made here
only, from a path and the server's own prefix and separator.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from mailferry.errors import ItemError, LocalProtocolError
from mailferry.model.account import ImapAccount
from mailferry.model.folder import Folder, FolderLimits, Path, Selected, SpecialUse
from mailferry.model.message import Failed, Headers, Listed, Listing, Message
from mailferry.net.imap import folders, login, reading, storing
from mailferry.net.imap.connection import Connection
from mailferry.net.imap.folders import Names
from mailferry.targets.base import Stored

MAX_NAME = 200
"""Bytes of one level in modified UTF-7. Servers keep a level as (part of) a file name, of at most 255."""

MAX_PATH = 230
"""The same for all levels together, where the separator hints at Maildir++."""

_FORBIDDEN = frozenset(map(chr, range(32))) | {"\x7f", "/"}


class ImapTarget:
    """See `targets/base.py`. `compress` as for `net.imap.login.connect`.

    Names and special folders are asked for once and shared by all sessions.
    """

    def __init__(self, account: ImapAccount, lanes: int = 2, *, compress: bool | None = None) -> None:
        self.account = account
        self.key = account.key
        self.lanes = lanes
        self._compress = compress
        self._names: Names | None = None
        self._special_uses: Mapping[SpecialUse, Path] | None = None

    async def session(self) -> ImapTargetSession:
        connection = await login.connect(self.account, compress=self._compress)
        session = ImapTargetSession(connection, self)
        if self._names is None:
            session._first_listing = await session.folders()
        return session


class ImapTargetSession:
    """One connection, writing and reading."""

    def __init__(self, connection: Connection, target: ImapTarget) -> None:
        self.connection = connection
        self._target = target
        self._folder: Folder | None = None
        self._selected: Selected | None = None
        self._stored = False
        self._first_listing: list[Folder] | None = None

    async def folders(self) -> list[Folder]:
        """The listing that `session` needed for the names is given out if it is the first that is asked, which saves a
        round trip."""
        if self._first_listing is not None:
            first, self._first_listing = self._first_listing, None
            return first
        names, found = await folders.list_folders(self.connection)
        self._target._names = names
        self._target._special_uses = {
            folder.special_use: folder.path for folder in reversed(found) if folder.special_use is not None
        }
        return found

    def limits(self) -> FolderLimits:
        separator = self._known_names().separator
        quirks = self.connection.quirks
        return FolderLimits(
            separator,
            _FORBIDDEN | frozenset(separator or "") | frozenset(quirks.forbidden),
            MAX_NAME,
            special_uses=self._target._special_uses,
            max_path=MAX_PATH if separator == "." else None,
            bmp_only=quirks.bmp_names,
        )

    def _known_names(self) -> Names:
        if self._target._names is None:
            raise LocalProtocolError("the folders were not listed yet")
        return self._target._names

    async def create(
        self, path: Path, special_use: SpecialUse | None, uidvalidity: int | None, uidnext: int | None
    ) -> Folder:
        self._first_listing = None
        return await storing.create(self.connection, self._known_names(), path, special_use)

    async def subscribe(self, folder: Folder) -> None:
        self._first_listing = None
        await storing.subscribe(self.connection, folder)

    async def follow(self, owner: str, folder: Folder, *, yes: bool) -> None:
        names = self._known_names()
        if not names.others:
            raise ItemError("the server shows nobody the mailboxes of others", about=folder.label)
        await storing.follow(self.connection, names.of_others(owner, folder.path), folder.label, yes=yes)

    async def select(self, folder: Folder) -> Selected:
        self._folder = self._selected = self._first_listing = None
        self._stored = False
        self._selected = await reading.select(self.connection, folder, write=True)
        self._folder = folder
        return self._selected

    async def append(self, messages: Sequence[Message]) -> list[Stored | Failed]:
        if self._folder is None:
            raise LocalProtocolError("no folder is open")
        self._stored = True
        results = await storing.append(self.connection, self._folder, messages)
        return [result if isinstance(result, Failed) else Stored(result) for result in results]

    async def listing(self, changed_since: int | None = None) -> Listing:
        if self._selected is None:
            raise LocalProtocolError("no folder is open")
        if self._stored:
            await self.connection.run(b"NOOP", "NOOP")  # Courier tells only then what came since SELECT
        return await reading.listing(self.connection, self._selected.status, changed_since)

    def fetch(self, uids: Sequence[int]) -> AsyncIterator[Message | Failed]:
        return reading.fetch(self.connection, uids)

    def headers(self, uids: Sequence[int]) -> AsyncIterator[Headers]:
        return reading.headers(self.connection, uids)

    async def set_flags(self, changes: Sequence[Listed]) -> None:
        await storing.set_flags(self.connection, changes)

    async def remove(self, uids: Sequence[int]) -> list[int]:
        return await storing.remove(self.connection, uids)

    async def acl(self, folder: Folder) -> Mapping[str, str] | None:
        return await reading.acl(self.connection, folder, self._target.account.user)

    async def set_acl(self, folder: Folder, rights: Mapping[str, str]) -> None:
        await storing.set_acl(self.connection, folder, rights)

    async def metadata(self, folder: Folder) -> Mapping[str, bytes] | None:
        return await reading.metadata(self.connection, folder)

    async def set_metadata(self, folder: Folder, entries: Mapping[str, bytes]) -> None:
        await storing.set_metadata(self.connection, folder, entries)

    async def finish(self) -> None:
        """Nothing to do: the server keeps its own side files."""

    async def close(self) -> None:
        await self.connection.close()
