"""A mailbox in this process, written and read as a target. Does not hold the mailbox: that is
`net/memory.MemoryStore`, whose options say what kind of server it plays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from mailferry.errors import ItemError, LocalProtocolError
from mailferry.model.folder import Folder, Path, Selected, SpecialUse
from mailferry.model.message import ALL_FLAGS, Failed, Headers, Listed, Listing, Message
from mailferry.net import memory
from mailferry.net.memory import MemoryFolder, MemoryStore
from mailferry.targets.base import FolderLimits, Stored


class MemoryTargetSession:
    """One session, for reading and writing."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._path: Path | None = None

    async def folders(self) -> list[Folder]:
        return self._store.folders()

    async def select(self, folder: Folder) -> Selected:
        found = self._store.folder(folder.path)
        self._path = folder.path
        options = self._store.options
        keywords = frozenset(memory.known_keywords(found)) | (options.keywords or frozenset())
        new_keywords = options.keywords is None and (
            options.max_keywords is None or len(keywords) < options.max_keywords
        )
        return Selected(self._store.status(found), ALL_FLAGS, new_keywords, keywords)

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

    def limits(self) -> FolderLimits:
        options = self._store.options
        special = {f.special_use: f.path for f in self._store.folders() if f.special_use}
        return FolderLimits(options.separator, options.forbidden, options.max_name, special_uses=special)

    async def create(
        self, path: Path, special_use: SpecialUse | None, uidvalidity: int | None, uidnext: int | None
    ) -> Folder:
        options = self._store.options
        for level in path:
            if not level or len(level.encode(errors="surrogatepass")) > options.max_name:
                raise ItemError("the name is empty or too long", about="/".join(path))
            if bad := options.forbidden.intersection(level):
                raise ItemError(f"the name holds {min(bad)!r}", about="/".join(path))
        if options.keeps_uids:
            made = self._store.add_folder(path, special_use=special_use, uidvalidity=uidvalidity, uidnext=uidnext)
        else:
            made = self._store.add_folder(path, special_use=special_use)
        return self._store.described(made)

    async def subscribe(self, folder: Folder) -> None:
        self._store.folder(folder.path).subscribed = True

    async def append(self, messages: Sequence[Message]) -> list[Stored | Failed]:
        folder = self._selected()
        options = self._store.options
        results: list[Stored | Failed] = []
        for message in messages:
            data = b"".join(message.body.chunks())
            if options.refuse and (refused := options.refuse(data)):
                results.append(Failed(message.uid, *refused))
                continue
            uid = self._store.add(
                folder.path,
                data,
                flags=message.flags,
                keywords=message.keywords,
                date=message.internal_date,
                uid=message.uid if options.keeps_uids else None,
            )
            results.append(Stored(uid if options.uidplus else None))
        await asyncio.sleep(0)
        return results

    async def set_flags(self, changes: Sequence[Listed]) -> None:
        folder = self._selected()
        for change in changes:
            self._store.set_flags(folder.path, change.uid, change.flags, change.keywords)

    async def remove(self, uids: Sequence[int]) -> list[int]:
        folder = self._selected()
        there = [uid for uid in uids if uid in folder.messages]
        if not self._store.options.uidplus:
            return there
        for uid in there:
            self._store.remove(folder.path, uid)
        return []

    async def set_acl(self, folder: Folder, rights: Mapping[str, str]) -> None:
        if not self._store.options.acl:
            raise ItemError("the store has no ACL", about=folder.label)
        acl = self._store.folder(folder.path).acl
        acl.update(rights)
        for who in [who for who in rights if not rights[who]]:
            del acl[who]

    async def set_metadata(self, folder: Folder, entries: Mapping[str, bytes]) -> None:
        if not self._store.options.metadata:
            raise ItemError("the store has no metadata", about=folder.label)
        self._store.folder(folder.path).metadata.update(entries)

    async def finish(self) -> None:
        """Nothing is kept beside the mailbox."""

    async def close(self) -> None:
        self._path = None

    def _selected(self) -> MemoryFolder:
        if self._path is None:
            raise LocalProtocolError("no folder is selected")
        return self._store.folder(self._path)


class MemoryTarget:
    """A `Target` over one `MemoryStore`."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.key = store.key
        self.lanes = store.options.lanes

    async def session(self) -> MemoryTargetSession:
        return MemoryTargetSession(self.store)
