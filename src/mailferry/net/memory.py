"""One mailbox that lives in this process, as a server would hold it: what `sources/memory` and `targets/memory` open.

A real store, not a mock: it numbers messages, counts modseqs, remembers what vanished. It keeps nothing on disk and
authenticates nobody. Everything that is not a session's business is a method here, for tests and demos to change the
mailbox behind a session's back.

Invariant: within one (folder, uidvalidity) a uid is given once, ascending, and never again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from mailferry.errors import ItemError
from mailferry.model.folder import INBOX, Folder, FolderStatus, Path, SpecialUse
from mailferry.model.message import Date, Failed, Headers, Listed, Listing, MemoryBody, Message, Reason

Refuse = Callable[[bytes], tuple[Reason, str] | None]
"""Looks at a message's bytes and says why the store will not have it, or None."""


@dataclass(frozen=True, slots=True)
class MemoryOptions:
    """What kind of server this is. `keywords`: those it can hold, None for any; `max_keywords`: how many at most in
    one folder. `keeps_uids`: takes over the source's uids and uidvalidity, as a store that we write ourselves."""

    modseq: bool = True
    uidplus: bool = True
    keeps_uids: bool = False
    keywords: frozenset[str] | None = None
    max_keywords: int | None = None
    acl: bool = True
    metadata: bool = True
    separator: str = "/"
    forbidden: frozenset[str] = frozenset("/\0")
    max_name: int = 255
    lanes: int = 4
    refuse: Refuse | None = None


@dataclass(slots=True)
class Kept:
    """One message in the store. `unreadable`: why the store cannot give its bytes, or None."""

    uid: int
    data: bytes
    flags: int
    keywords: tuple[str, ...]
    internal_date: Date
    modseq: int
    unreadable: tuple[Reason, str] | None = None


@dataclass(slots=True)
class MemoryFolder:
    """One folder in the store. `vanished`: modseq at which each removed uid went."""

    path: Path
    uidvalidity: int
    uidnext: int = 1
    special_use: SpecialUse | None = None
    selectable: bool = True
    subscribed: bool = False
    highestmodseq: int = 1
    messages: dict[int, Kept] = field(default_factory=dict)
    vanished: dict[int, int] = field(default_factory=dict)
    acl: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, bytes] = field(default_factory=dict)


class MemoryStore:
    """One mailbox. `name` makes its account key, `memory:NAME`."""

    def __init__(self, name: str = "memory", options: MemoryOptions | None = None) -> None:
        self.key = f"memory:{name}"
        self.options = options or MemoryOptions()
        self._folders: dict[Path, MemoryFolder] = {}
        self._next_uidvalidity = 1000
        self.add_folder(INBOX, special_use=SpecialUse.INBOX)

    # Folders

    def add_folder(
        self,
        path: Path,
        *,
        special_use: SpecialUse | None = None,
        selectable: bool = True,
        uidvalidity: int | None = None,
        uidnext: int | None = None,
    ) -> MemoryFolder:
        """The folder at `path`, made with its parents if it is not there."""
        if path in self._folders:
            return self._folders[path]
        if len(path) > 1:
            self.add_folder(path[:-1])
        folder = MemoryFolder(path, uidvalidity or self._new_uidvalidity(), uidnext or 1, special_use, selectable)
        self._folders[path] = folder
        return folder

    def folder(self, path: Path) -> MemoryFolder:
        """The folder at `path`; `ItemError` if there is none or it cannot be opened."""
        found = self._folders.get(path)
        if found is None or not found.selectable:
            raise ItemError("no such folder" if found is None else "not a folder for messages", about="/".join(path))
        return found

    def paths(self) -> list[Path]:
        """All paths, INBOX first, parents before children."""
        return sorted(self._folders, key=lambda path: (path[:1] != INBOX, path))

    def remove_folder(self, path: Path) -> None:
        """Remove a folder and what is below it."""
        for other in [p for p in self._folders if p[: len(path)] == path]:
            del self._folders[other]

    def rename(self, old: Path, new: Path) -> None:
        """Rename a folder with what is below it; uids and uidvalidity stay."""
        for path in [p for p in self._folders if p[: len(old)] == old]:
            folder = self._folders.pop(path)
            folder.path = new + path[len(old) :]
            self._folders[folder.path] = folder

    def reset_uidvalidity(self, path: Path) -> int:
        """Give the folder a new uidvalidity and number its messages afresh from 1; returns the new uidvalidity."""
        folder = self.folder(path)
        folder.uidvalidity = self._new_uidvalidity()
        folder.highestmodseq += 1
        folder.vanished.clear()
        folder.messages = {
            uid: replace(kept, uid=uid, modseq=folder.highestmodseq)
            for uid, kept in enumerate(folder.messages.values(), start=1)
        }
        folder.uidnext = len(folder.messages) + 1
        return folder.uidvalidity

    # Messages

    def add(
        self,
        path: Path,
        data: bytes,
        *,
        flags: int = 0,
        keywords: Iterable[str] = (),
        date: Date | None = None,
        uid: int | None = None,
    ) -> int:
        """Put a message in; returns its uid. A wanted `uid` is given only if no uid from it on was ever given."""
        folder = self.folder(path)
        given = uid if uid is not None and uid >= folder.uidnext else folder.uidnext
        folder.highestmodseq += 1
        folder.messages[given] = Kept(
            given, data, flags, self._holdable(folder, keywords), date or Date(1_600_000_000), folder.highestmodseq
        )
        folder.uidnext = given + 1
        return given

    def set_flags(self, path: Path, uid: int, flags: int, keywords: Iterable[str] = ()) -> None:
        """Make flags and keywords of one message exactly so; nothing if it has gone."""
        folder = self.folder(path)
        kept = folder.messages.get(uid)
        if kept is None:
            return
        wanted = self._holdable(folder, keywords)
        if (kept.flags, kept.keywords) != (flags, wanted):
            folder.highestmodseq += 1
            kept.flags, kept.keywords, kept.modseq = flags, wanted, folder.highestmodseq

    def remove(self, path: Path, uid: int) -> None:
        """Remove one message; nothing if it has gone."""
        folder = self.folder(path)
        if folder.messages.pop(uid, None) is not None:
            folder.highestmodseq += 1
            folder.vanished[uid] = folder.highestmodseq

    def move(self, path: Path, uid: int, to: Path) -> int:
        """Move one message as a client would; returns its new uid."""
        kept = self.folder(path).messages[uid]
        new = self.add(to, kept.data, flags=kept.flags, keywords=kept.keywords, date=kept.internal_date)
        self.remove(path, uid)
        return new

    def spoil(self, path: Path, uid: int, reason: Reason = Reason.UNREADABLE, text: str = "unreadable") -> None:
        """From now on the store cannot give this message's bytes."""
        self.folder(path).messages[uid].unreadable = (reason, text)

    # What sessions show of it

    def described(self, folder: MemoryFolder) -> Folder:
        """The folder as a session lists it."""
        return Folder(
            folder.path,
            self.options.separator.join(folder.path),
            folder.special_use,
            folder.selectable,
            folder.subscribed,
            self.status(folder) if folder.selectable else None,
        )

    def status(self, folder: MemoryFolder) -> FolderStatus:
        modseq = folder.highestmodseq if self.options.modseq else None
        return FolderStatus(folder.uidvalidity, folder.uidnext, len(folder.messages), modseq)

    def folders(self) -> list[Folder]:
        return [self.described(self._folders[path]) for path in self.paths()]

    def _new_uidvalidity(self) -> int:
        self._next_uidvalidity += 1
        return self._next_uidvalidity

    def _holdable(self, folder: MemoryFolder, keywords: Iterable[str]) -> tuple[str, ...]:
        held = known_keywords(folder)
        kept: list[str] = []
        for keyword in sorted(set(keywords)):
            allowed = self.options.keywords is None or keyword in self.options.keywords
            full = self.options.max_keywords is not None and len(held) >= self.options.max_keywords
            if allowed and (keyword in held or not full):
                held.add(keyword)
                kept.append(keyword)
        return tuple(kept)


def known_keywords(folder: MemoryFolder) -> set[str]:
    """Every keyword that a message in the folder has."""
    return {keyword for kept in folder.messages.values() for keyword in kept.keywords}


def listing(folder: MemoryFolder, since: int | None) -> Listing:
    """The folder's messages, or with `since` (a modseq) what changed after it."""
    kept = [m for _, m in sorted(folder.messages.items()) if since is None or m.modseq > since]
    listed = [Listed(m.uid, m.flags, m.keywords) for m in kept]
    if since is None:
        return Listing(listed)
    return Listing(listed, False, tuple(sorted(uid for uid, at in folder.vanished.items() if at > since)))


async def fetch(folder: MemoryFolder, uids: Sequence[int]) -> AsyncIterator[Message | Failed]:
    """As `SourceSession.fetch`."""
    for uid in sorted(set(uids)):
        kept = folder.messages.get(uid)
        if kept is None:
            continue
        if kept.unreadable:
            yield Failed(uid, *kept.unreadable)
        else:
            yield Message(uid, kept.flags, kept.keywords, kept.internal_date, MemoryBody(kept.data))


async def headers(folder: MemoryFolder, uids: Sequence[int]) -> AsyncIterator[Headers]:
    """As `SourceSession.headers`."""
    for uid in sorted(set(uids)):
        kept = folder.messages.get(uid)
        if kept is not None and not kept.unreadable:
            yield Headers(uid, kept.internal_date, len(kept.data), _header_block(kept.data))


def _header_block(data: bytes) -> bytes:
    if data.startswith(b"\r\n"):
        return b""
    block, found, _ = data.partition(b"\r\n\r\n")
    return block + b"\r\n" if found else block
