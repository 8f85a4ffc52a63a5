"""The contract of a target: one mailbox that can be written, and read again. Says nothing about what to write.

A target session can do everything a source session can (recovery, adoption and verification read the target; a
rollback reads it as a source). `select` opens for writing here. Errors are those of `sources/base.py`; in addition
`Permanent` when the whole target is full or refuses everything. The target may be live: people read, move and delete
while we write, so a uid that has gone is never an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mailferry.model.folder import Folder, Path, SpecialUse
from mailferry.model.folder import FolderLimits as FolderLimits
from mailferry.model.message import Failed, Listed, Message
from mailferry.sources.base import SourceSession


@dataclass(frozen=True, slots=True)
class Stored:
    """A message is durably in the target. `uid` is None where the server does not tell (no UIDPLUS)."""

    uid: int | None


class TargetSession(SourceSession, Protocol):
    """One open connection to a mailbox, for writing and reading."""

    def limits(self) -> FolderLimits: ...

    # `create` (parents first), `subscribe`, `set_acl` and `set_metadata` may be called for many folders at once.

    async def create(
        self, path: Path, special_use: SpecialUse | None, uidvalidity: int | None, uidnext: int | None
    ) -> Folder:
        """Make a folder (and its parents), or return the one that is there. `ItemError` if the target refuses the name.

        A store that assigns its own uids ignores `uidvalidity`; one that we write ourselves takes it over for a new
        folder.
        """

    async def subscribe(self, folder: Folder) -> None:
        """By one session of a mailbox at a time: Courier rewrites its list without a lock, and loses the other's."""
        ...

    async def append(self, messages: Sequence[Message]) -> list[Stored | Failed]:
        """Store one chunk in the selected folder, in order; one result per message; returns when they are durable.

        Calls may overlap: they are written in the order of the calls, and a later one may be on the wire before an
        earlier one is confirmed. A refused message is a `Failed` and does not keep the others out. `message.uid` is
        the source's uid: a store that we write ourselves keeps it where it can. On an exception any part of the chunk
        may or may not have been stored; the engine settles that.
        """

    async def set_flags(self, changes: Sequence[Listed]) -> None:
        """Make flags and keywords of these (target) uids exactly so. Uids that have gone are ignored."""

    async def remove(self, uids: Sequence[int]) -> list[int]:
        """Remove exactly these messages (never others that happen to be flagged \\Deleted); returns those it could
        *not* remove."""

    async def set_acl(self, folder: Folder, rights: Mapping[str, str]) -> None:
        """Set the rights of these identifiers; no letters: all are taken away. Of others nothing changes. `ItemError`
        where the target cannot."""

    async def set_metadata(self, folder: Folder, entries: Mapping[str, bytes]) -> None:
        """Set these annotations. `ItemError` where the target cannot."""

    async def finish(self) -> None:
        """The mailbox pass is over: bring side files up to date (uidlist, maildirsize, …). Does not close."""


@runtime_checkable
class KeepsUidls(Protocol):
    """A target session over a store whose POP3 UIDLs we write."""

    async def keep_uidls(self, folder: Folder, uidls: Mapping[int, str]) -> list[int]:
        """Give messages (by target uid) these UIDLs; returns the uids where that is not possible."""


@runtime_checkable
class OpensOthers(Protocol):
    """A target session over a server that shows people each other's mailboxes (RFC 2342 §5)."""

    async def follow(self, owner: str, folder: Folder, *, yes: bool) -> None:
        """Subscribe a folder of the mailbox of `owner` (as the server knows them) for whose session this is, or no
        longer. `ItemError` where the server shows no others, or refuses."""


class Target(Protocol):
    """One mailbox at a target. `key` and `lanes` as for `Source`."""

    key: str
    lanes: int

    async def session(self) -> TargetSession:
        """Connect and authenticate."""
