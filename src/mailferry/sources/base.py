"""The contract of a source: one mailbox that can be read. Says nothing about how.

Vocabulary. A *store* is one mailbox at one server or place, known by an account; `session()` opens one connection to
it. The engine opens several sessions of one store at once (one per lane) and uses each from one task at a time,
except where stated.

Errors, for every method: `Temporary` (connection lost, throttled: the session is dead, a new one may work),
`AuthError`, `Permanent`,
`RemoteProtocolError` (session is dead), `ItemError` (this folder cannot be opened; the session lives). A session that
raised anything but `ItemError` is closed by the caller and never used again. Nothing here changes the source (law 1):
opening is EXAMINE, reading is PEEK.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from mailferry.model.folder import Folder, Selected
from mailferry.model.message import Failed, Headers, Listing, Message, Uidl


class SourceSession(Protocol):
    """One open connection to a mailbox, for reading."""

    async def folders(self) -> list[Folder]:
        """Every folder, with counters where the store tells them (`Folder.status`), parents before children, INBOX
        first."""

    async def select(self, folder: Folder) -> Selected:
        """Open a folder for the calls below. `ItemError` if it cannot be opened."""

    async def listing(self, changed_since: int | None = None) -> Listing:
        """Uids, flags and keywords of the selected folder, uids ascending.

        With `changed_since` (a modseq that `select` or a `FolderStatus` gave earlier) the store may answer with
        changes only; it may also answer completely, as a store without modseq always does.
        """

    def fetch(self, uids: Sequence[int]) -> AsyncIterator[Message | Failed]:
        """The messages with these uids, in ascending order, read ahead of the consumer.

        One item per uid, except for uids that have gone from the folder, which are left out. One unreadable message
        is a `Failed` and does not end the iteration. The consumer closes each body. Flags in the message are those at
        the time of reading.
        """

    def headers(self, uids: Sequence[int]) -> AsyncIterator[Headers]:
        """Header blocks of these messages; uids that have gone or cannot be read are left out."""

    # `acl` and `metadata` may be called for many folders at once, and beside the calls above.

    async def acl(self, folder: Folder) -> Mapping[str, str] | None:
        """Rights of others than the owner, by identifier (RFC 4314 letters), or None where the store has no ACL or does
        not let us see it."""

    async def metadata(self, folder: Folder) -> Mapping[str, bytes] | None:
        """Annotations of the folder (RFC 5464 entry names, `/private/…` and `/shared/…`), or None where there are
        none to be had."""

    async def close(self) -> None:
        """End the connection; never raises, may be called twice."""


@runtime_checkable
class SelectsListed(Protocol):
    """A session that opens a folder and lists it in one round trip."""

    async def select_listed(self, folder: Folder, changed_since: int | None) -> tuple[Selected, Listing]: ...


@runtime_checkable
class ListsByToken(Protocol):
    """A session whose store says what changed since a token of its own, not since a modseq."""

    async def select_changes(self, folder: Folder, token: str | None) -> tuple[Selected, Listing]:
        """Open and list. Changes only, where the store still knows the token (an earlier `Listing.token`)."""


async def select_listed(
    session: SourceSession, folder: Folder, changed_since: int | None = None, token: str | None = None
) -> tuple[Selected, Listing]:
    """`select` and `listing`, at once where the session can."""
    if isinstance(session, ListsByToken):
        return await session.select_changes(folder, token)
    if isinstance(session, SelectsListed):
        return await session.select_listed(folder, changed_since)
    return await session.select(folder), await session.listing(changed_since)


@runtime_checkable
class HasUidls(Protocol):
    """A source session that can tell the POP3 UIDLs of its INBOX."""

    async def uidls(self, latest: int) -> list[Uidl]:
        """Those of the last `latest` messages; none where the mailbox is not shown over POP3."""


@runtime_checkable
class HasIdentity(Protocol):
    """A source session that knows what tells this mailbox from all others, the same for ever; "" where it cannot."""

    @property
    def identity(self) -> str: ...


class Source(Protocol):
    """One mailbox at a source.

    `key`: stable text that names server and user (`imap://user@host:port`), without secrets; the ledger's name for it.
    `lanes`: how many sessions may be open at once.
    """

    key: str
    lanes: int

    async def session(self) -> SourceSession:
        """Connect and authenticate."""
