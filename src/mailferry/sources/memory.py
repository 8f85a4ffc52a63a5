"""A mailbox in this process, read as a source. Does not hold the mailbox: that is `net/memory.MemoryStore`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from mailferry.errors import LocalProtocolError
from mailferry.model.folder import Folder, Path, Selected
from mailferry.model.message import ALL_FLAGS, Failed, Headers, Listing, Message
from mailferry.net import memory
from mailferry.net.memory import MemoryFolder, MemoryStore


class MemorySourceSession:
    """One session, for reading."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._path: Path | None = None

    async def folders(self) -> list[Folder]:
        return self._store.folders()

    async def select(self, folder: Folder) -> Selected:
        found = self._store.folder(folder.path)
        self._path = folder.path
        keywords = frozenset(memory.known_keywords(found))
        return Selected(self._store.status(found), ALL_FLAGS, False, keywords, read_only=True)

    async def listing(self, changed_since: int | None = None) -> Listing:
        return memory.listing(self._selected(), changed_since if self._store.options.modseq else None)

    def fetch(self, uids: Sequence[int]) -> AsyncIterator[Message | Failed]:
        return memory.fetch(self._selected(), uids)

    def headers(self, uids: Sequence[int]) -> AsyncIterator[Headers]:
        return memory.headers(self._selected(), uids)

    async def acl(self, folder: Folder) -> Mapping[str, str] | None:
        return dict(self._store.folder(folder.path).acl) if self._store.options.acl else None

    async def metadata(self, folder: Folder) -> Mapping[str, bytes] | None:
        return dict(self._store.folder(folder.path).metadata) if self._store.options.metadata else None

    async def close(self) -> None:
        self._path = None

    def _selected(self) -> MemoryFolder:
        if self._path is None:
            raise LocalProtocolError("no folder is selected")
        return self._store.folder(self._path)


class MemorySource:
    """A `Source` over one `MemoryStore`."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.key = store.key
        self.lanes = store.options.lanes

    async def session(self) -> MemorySourceSession:
        return MemorySourceSession(self.store)
