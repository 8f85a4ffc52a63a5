"""What sessions share whose store lists by tokens of its own: EWS, Graph. Asks for nothing itself.

The folders are read when a session opens. What has been listed of the selected folder is kept by uid, since the store
knows messages by long ids. Invariant: a uid that an earlier session listed is found again by listing the folder whole.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from mailferry.errors import ItemError, LocalProtocolError
from mailferry.model.folder import Folder, FolderStatus, Path, Selected, SpecialUse
from mailferry.model.message import ALL_FLAGS, Listing
from mailferry.wire.ews.ids import validity


class Shown(Protocol):
    """A folder as the store shows it. `id` is "" for the top of a further tree, which holds nothing itself."""

    @property
    def id(self) -> str: ...
    @property
    def path(self) -> Path: ...
    @property
    def use(self) -> SpecialUse | None: ...
    @property
    def messages(self) -> int: ...
    @property
    def hidden(self) -> bool: ...


F = TypeVar("F", bound=Shown)
K = TypeVar("K")


@dataclass(slots=True)
class Opened(Generic[F, K]):
    """The selected folder. `known`: what has been listed in this session, by uid; `whole`: that is all of it."""

    folder: F
    known: dict[int, K] = field(default_factory=dict)
    whole: bool = False


class TokenSession(ABC, Generic[F, K]):
    """A `SourceSession` but for `fetch`, `headers` and `close`. `guid`: the mailbox's own, "" where it cannot be told;
    `key`: of its account."""

    def __init__(self, guid: str, key: str, folders: Sequence[F]) -> None:
        self._guid = guid
        self._folders = folders
        self._open: Opened[F, K] | None = None
        self._validity = validity(guid or key)

    @abstractmethod
    async def everything(self, opened: Opened[F, K]) -> Listing:
        """All that the folder holds, with the token for the next time; fills `known`."""

    @abstractmethod
    async def changes(self, opened: Opened[F, K], token: str) -> Listing | None:
        """What changed since the token; None where only a whole listing can tell."""

    @property
    def identity(self) -> str:
        """As `HasIdentity`."""
        return self._guid

    async def folders(self) -> list[Folder]:
        return [
            Folder(
                one.path,
                one.id,
                one.use,
                selectable=bool(one.id),
                subscribed=bool(one.id) and not one.hidden,
                status=FolderStatus(self._validity, 1, one.messages) if one.id else None,
            )
            for one in self._folders
        ]

    async def select(self, folder: Folder) -> Selected:
        selected, _ = await self.select_changes(folder, None)
        return selected

    async def listing(self, changed_since: int | None = None) -> Listing:
        """Always complete."""
        return await self.everything(self.selected())

    async def select_changes(self, folder: Folder, token: str | None) -> tuple[Selected, Listing]:
        """As `ListsByToken`."""
        wanted = (folder.name, folder.path)
        found = next((one for one in self._folders if one.id and (one.id, one.path) == wanted), None)
        if found is None:
            raise ItemError("there is no such folder in the mailbox", about=folder.label)
        opened = self._open = Opened[F, K](found)
        listing = await self.changes(opened, token) if token else None
        if listing is None:
            listing = await self.everything(opened)
        messages = len(listing.messages) + len(listing.left_out) if listing.complete else found.messages
        status = FolderStatus(self._validity, max(opened.known, default=0) + 1, messages)
        return Selected(status, ALL_FLAGS, True, read_only=True), listing

    async def known(self, uids: Sequence[int]) -> list[tuple[int, K]]:
        """What is there of these, ascending."""
        opened = self.selected()
        if not opened.whole and not all(number in opened.known for number in uids):
            await self.everything(opened)
        return [(number, opened.known[number]) for number in sorted(set(uids)) if number in opened.known]

    async def acl(self, folder: Folder) -> Mapping[str, str] | None:
        return None

    async def metadata(self, folder: Folder) -> Mapping[str, bytes] | None:
        return None

    def selected(self) -> Opened[F, K]:
        if self._open is None:
            raise LocalProtocolError("no folder is selected")
        return self._open
