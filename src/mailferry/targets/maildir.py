"""A Maildir++ tree as a target: we write the files ourselves, durably, with uids and uidvalidity kept.

For mailboxes that are not yet open to their owners (later sweeps go through IMAP), but safe beside a live server.
Chunks that wait at the same time are made durable together. See `net/maildir_write` for what is on disk when.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Future

from mailferry.errors import ItemError, Temporary
from mailferry.model.account import MaildirAccount, MaildirFlavour
from mailferry.model.folder import Folder, FolderLimits, Path, Selected, SpecialUse
from mailferry.model.message import ALL_FLAGS, Failed, Headers, Listed, Listing, Message
from mailferry.net.maildir_read import Reader
from mailferry.net.maildir_write import WritableTree
from mailferry.targets.base import Stored
from mailferry.wire import maildir as wire

_GROUP_BYTES = 32 * 1024 * 1024
"""At most so much is made durable in one go."""

_Results = list[Stored | Failed]


class _Chunk:
    """An append call under way."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self.sizes = [message.body.size for message in messages]
        self.results: Future[_Results] = Future()


class MaildirTargetSession:
    """One session, for reading and writing."""

    def __init__(self, tree: WritableTree) -> None:
        self._tree = tree
        self._reader = Reader(tree)
        self._chunks: deque[_Chunk] = deque()
        self._failed = False
        self._uidnext: dict[str, int] = {}

    async def folders(self) -> list[Folder]:
        """Every folder. One that nobody has ever seen through IMAP (no message, no numbering) is given as a container
        that cannot be selected yet: `create` makes a folder of it, with the source's uidvalidity."""
        return await self._reader.run(self._tree.folders)

    async def select(self, folder: Folder) -> Selected:
        await self._reader.run(lambda: self._reader.take(self._tree.open_for_writing(folder.name)))
        opened = self._reader.selected()
        match self._tree.account.flavour:
            case MaildirFlavour.DOVECOT:
                new_keywords = len(opened.keywords) < wire.MAX_KEYWORDS
            case MaildirFlavour.COURIER:
                new_keywords = True
            case MaildirFlavour.QMAIL:
                new_keywords = False
        return Selected(opened.status(), ALL_FLAGS, new_keywords, opened.all_keywords())

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

    def limits(self) -> FolderLimits:
        courier = self._tree.account.flavour is MaildirFlavour.COURIER
        return FolderLimits(".", wire.FORBIDDEN, 254, max_path=254, bmp_only=courier)

    async def create(
        self, path: Path, special_use: SpecialUse | None, uidvalidity: int | None, uidnext: int | None
    ) -> Folder:
        folder = await self._reader.run(lambda: self._tree.create(path, uidvalidity))
        if uidnext is not None and folder.status and folder.status.uidvalidity == uidvalidity:
            self._uidnext[folder.name] = uidnext
        return folder

    async def subscribe(self, folder: Folder) -> None:
        await self._reader.run(lambda: self._tree.subscribe(folder))

    async def append(self, messages: Sequence[Message]) -> _Results:
        chunk = _Chunk(messages)
        self._chunks.append(chunk)
        self._reader.start(self._store)
        waiter = asyncio.wrap_future(chunk.results)
        try:
            return await asyncio.shield(waiter)
        except asyncio.CancelledError:
            await asyncio.wait([waiter])  # the thread still reads the bodies, which the caller is about to close
            raise

    def _store(self) -> None:
        """In the thread: store all that waits, as one group."""
        group: list[_Chunk] = []
        size = 0
        while self._chunks and size < _GROUP_BYTES:
            group.append(self._chunks.popleft())
            size += sum(group[-1].sizes)
        if not group:
            return  # an earlier call took the chunk along
        try:
            if self._failed:
                raise Temporary("an earlier chunk failed")
            messages = [message for chunk in group for message in chunk.messages]
            sizes = [size for chunk in group for size in chunk.sizes]
            outcomes = iter(self._tree.append(self._reader.selected(), messages, sizes))
        except BaseException as error:  # noqa: BLE001 - given to those who wait
            self._failed = True  # later chunks must not overtake this one
            for chunk in group:
                chunk.results.set_exception(error)
            return
        for chunk in group:
            found = [next(outcomes) for _ in chunk.messages]
            chunk.results.set_result([Stored(uid) if isinstance(uid, int) else uid for uid in found])

    async def set_flags(self, changes: Sequence[Listed]) -> None:
        await self._reader.run(lambda: self._tree.set_flags(self._reader.selected(), changes))

    async def remove(self, uids: Sequence[int]) -> list[int]:
        return await self._reader.run(lambda: self._tree.remove(self._reader.selected(), uids))

    async def set_acl(self, folder: Folder, rights: Mapping[str, str]) -> None:
        await self._reader.run(lambda: self._tree.set_acl(folder.name, rights))

    async def set_metadata(self, folder: Folder, entries: Mapping[str, bytes]) -> None:
        raise ItemError("a Maildir holds no metadata", about=folder.label)

    async def keep_uidls(self, folder: Folder, uidls: Mapping[int, str]) -> list[int]:
        """Give messages (by uid) the POP3 UIDLs that they had at the source; returns the uids where that is not
        possible."""
        return await self._reader.run(lambda: self._tree.keep_uidls(folder.name, uidls))

    async def finish(self) -> None:
        wanted, self._uidnext = self._uidnext, {}

        def work() -> None:
            for name, uidnext in wanted.items():
                self._tree.finish(name, uidnext)

        await self._reader.run(work)

    async def close(self) -> None:
        await self._reader.close()


class MaildirTarget:
    """A `Target` over one tree."""

    lanes = 4

    def __init__(self, account: MaildirAccount) -> None:
        self.account = account
        self.key = account.key
        self._side_files = threading.Lock()

    async def session(self) -> MaildirTargetSession:
        return MaildirTargetSession(await asyncio.to_thread(WritableTree, self.account, self._side_files))
