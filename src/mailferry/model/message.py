"""A message as it travels: flags, keywords, dates, bytes. Does not parse MIME and does no I/O of its own.

Invariant: a `Message` holds the source's bytes unchanged; what identifies them is `digest(body)`, which ignores how
lines end.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, IntFlag
from typing import NamedTuple, Protocol

DIGEST_SIZE = 20


class Flag(IntFlag):
    """The system flags of RFC 3501 §2.3.2 (`\\Recent` is the session's, not the message's, and never carried)."""

    SEEN = 1
    ANSWERED = 2
    FLAGGED = 4
    DRAFT = 8
    DELETED = 16


ALL_FLAGS = 31


class Date(NamedTuple):
    """An instant with the zone it was written in. `epoch`: seconds, UTC. `zone`: minutes east of UTC."""

    epoch: int
    zone: int = 0


NO_DATE = Date(0)
"""For a message whose internal date the store does not give, or nobody can read."""


class Body(Protocol):
    """The bytes of one message, in memory or spooled; readable any number of times until `close()`."""

    @property
    def size(self) -> int:
        """Bytes."""

    def chunks(self) -> Iterator[bytes]:
        """The bytes in order, in pieces of at most a few hundred kB (an in-memory body is one piece)."""

    def close(self) -> None:
        """Give the memory or file back. May be called twice."""


@dataclass(slots=True)
class MemoryBody:
    """A body held in memory."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def chunks(self) -> Iterator[bytes]:
        yield self.data

    def close(self) -> None:
        self.data = b""


@dataclass(slots=True, frozen=True)
class Listed:
    """One line of a listing. `keywords` sorted, as the store spells them."""

    uid: int
    flags: int
    keywords: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class LeftOut:
    """An item that is not a message. `rule` names the rule (`class:appointment`), `text` says it to people."""

    uid: int
    rule: str
    text: str


@dataclass(slots=True, frozen=True)
class Listing:
    """What a folder holds, or what changed in it.

    `complete`: `messages` is every message (`vanished` is then empty: what is missing has gone); else only what
    changed since the modseq asked for, and `vanished` names the uids that went. `left_out`: what the folder holds and
    counts beside messages, each with the rule that keeps it out. `lost`: why the folder may hold less than it should,
    as sentences; none where nothing is known to be wrong. `token`: from where the next listing may tell changes only,
    of a store that gives such.
    """

    messages: list[Listed]
    complete: bool = True
    vanished: tuple[int, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    lost: tuple[str, ...] = ()
    token: str | None = None


@dataclass(slots=True, frozen=True)
class Message:
    """One whole message from a source, or on its way into a target. `losses`: what of it the source could not give, as
    sentences without content of the message."""

    uid: int
    flags: int
    keywords: tuple[str, ...]
    internal_date: Date
    body: Body
    losses: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class Headers:
    """The header block of one message (raw bytes up to the empty line; may be empty), enough to recognise it."""

    uid: int
    internal_date: Date
    size: int
    block: bytes


@dataclass(slots=True, frozen=True)
class Uidl:
    """The POP3 unique id of one message, with the header block that tells which message it is."""

    text: str
    block: bytes


class Reason(Enum):
    """Why an item was not carried, or carried with a difference. The value is what ledger, JSON and reports show."""

    UNREADABLE = "unreadable"  # the source refused to give it
    FAKE = "rendering-failed"  # Exchange gave its "Retrieval using the IMAP4 protocol failed" stand-in
    BREAKS_CONNECTION = "breaks-connection"  # every attempt to read it ended the connection
    REFUSED = "refused"  # the target refused it, for a reason it did not name in a way we know
    TOO_LARGE = "too-large"
    QUOTA = "quota"
    NUL = "nul-bytes"
    BARE_NEWLINE = "bare-newline"
    KEYWORDS = "keywords"  # keywords that the target cannot hold
    FLAGS = "flags"
    DATE = "internal-date"  # the source gives none that can be read
    FOLDER = "folder"  # a folder that could not be read or made
    PART = "part"  # a part of the message could not be read or made
    DAMAGE = "damage"  # what a folder held may be lost where it is kept
    ITEM_CLASS = "item-class"  # an appointment, a contact, …: no message
    DUPLICATE = "duplicate"  # a twin that could not be removed
    ACL = "acl"
    METADATA = "metadata"
    SUBSCRIPTION = "subscription"
    UIDL = "pop3-uidl"
    SAFETY = "safety-stop"


@dataclass(slots=True, frozen=True)
class Failed:
    """In place of a message: why this one could not be had or stored. `text` never holds content of the message."""

    uid: int
    reason: Reason
    text: str


_BARE_LF = re.compile(rb"\n(?<!\r\n)")
"""Found twice as fast as by counting both kinds of line ends."""


def digest(body: Body) -> bytes:
    """SHA-256 cut to 20 bytes over the body with every line ending as CRLF (law 5: equal bytes, line endings aside)."""
    return digest_of(body.chunks())


def digest_of(chunks: Iterable[bytes]) -> bytes:
    state = hashlib.sha256()
    held = b""
    for chunk in chunks:
        data = held + chunk if held else chunk
        held = b"\r" if data.endswith(b"\r") else b""
        if held:
            data = data[:-1]
        if _BARE_LF.search(data):  # looking is far cheaper than rewriting what is right already
            data = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        state.update(data)
    state.update(held)
    return state.digest()[:DIGEST_SIZE]
