"""What a server said, as typed events. Data only: `parser.py` makes them, `net/imap` acts on them.

Mailbox names are bytes as on the wire (modified UTF-7 or UTF-8). Attributes, capabilities and status items are upper
case. Sources: RFC 3501/9051 §7, and the RFC named at each extension.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mailferry.model.message import Date
from mailferry.wire.imap.sets import Ranges


@dataclass(frozen=True, slots=True)
class Code:
    """A response code, `[NAME …]`.

    `number`: UIDVALIDITY, UIDNEXT, UNSEEN, HIGHESTMODSEQ, and the uidvalidity of APPENDUID and COPYUID (RFC 4315).
    `uids`: stored uids of APPENDUID and COPYUID, or the set of MODIFIED. `source_uids`: COPYUID's first set.
    `atoms`: everything else in the brackets, split at blanks and parentheses (CAPABILITY, PERMANENTFLAGS, BADCHARSET,
    …).
    """

    name: str
    number: int | None = None
    uids: Ranges = ()
    source_uids: Ranges = ()
    atoms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Greeting:
    """The first line: `status` is OK, PREAUTH or BYE."""

    status: str
    code: Code | None
    text: str


@dataclass(frozen=True, slots=True)
class Tagged:
    """The end of a command: `status` is OK, NO or BAD."""

    tag: bytes
    status: str
    code: Code | None
    text: str


@dataclass(frozen=True, slots=True)
class Notice:
    """An untagged OK, NO, BAD or PREAUTH."""

    status: str
    code: Code | None
    text: str


@dataclass(frozen=True, slots=True)
class Bye:
    code: Code | None
    text: str


@dataclass(frozen=True, slots=True)
class Continuation:
    """`+ text`: go on with the literal or the SASL exchange."""

    text: bytes


class Streamed(NamedTuple):
    """Stands for a literal that came as events of its own: the `number`-th such literal of this response, from 0."""

    number: int
    size: int


class Fetch(NamedTuple):
    """What one FETCH answer tells; None: it does not say. A tuple, because it is made once per message.

    `body`: BODY[], RFC822 or BINARY[]. `header`: BODY[HEADER], BODY[HEADER.FIELDS …] or RFC822.HEADER.
    """

    seq: int
    uid: int | None = None
    flags: int | None = None
    keywords: tuple[str, ...] = ()
    internal_date: Date | None = None
    size: int | None = None
    modseq: int | None = None
    body: bytes | Streamed | None = None
    header: bytes | Streamed | None = None


@dataclass(frozen=True, slots=True)
class LiteralStart:
    """A literal too large to be kept follows as chunks; the response it belongs to comes after them."""

    size: int


@dataclass(frozen=True, slots=True)
class LiteralChunk:
    data: bytes


@dataclass(frozen=True, slots=True)
class LiteralEnd:
    pass


@dataclass(frozen=True, slots=True)
class Listed:
    """A LIST or LSUB line. `separator` None: flat. `childinfo`: RFC 5258's CHILDINFO values."""

    name: bytes
    separator: str | None
    attributes: frozenset[str]
    lsub: bool = False
    childinfo: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Status:
    """STATUS: items by name, e.g. MESSAGES, UIDNEXT, UIDVALIDITY, HIGHESTMODSEQ."""

    name: bytes
    values: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Search:
    """SEARCH or ESEARCH (RFC 4731). `tag`: the command that ESEARCH answers."""

    ranges: Ranges
    tag: bytes | None = None
    count: int | None = None
    modseq: int | None = None


@dataclass(frozen=True, slots=True)
class Capability:
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Enabled:
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Namespaces:
    """RFC 2342: (prefix, separator) pairs."""

    personal: tuple[tuple[bytes, str | None], ...]
    others: tuple[tuple[bytes, str | None], ...]
    shared: tuple[tuple[bytes, str | None], ...]


@dataclass(frozen=True, slots=True)
class Vanished:
    """RFC 7162 §3.2.10."""

    ranges: Ranges
    earlier: bool


@dataclass(frozen=True, slots=True)
class Exists:
    count: int


@dataclass(frozen=True, slots=True)
class Recent:
    count: int


@dataclass(frozen=True, slots=True)
class Expunge:
    seq: int


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags that are in use in the folder."""

    flags: int
    keywords: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Acl:
    """RFC 4314: rights by identifier."""

    name: bytes
    rights: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class MyRights:
    name: bytes
    rights: str


@dataclass(frozen=True, slots=True)
class Quota:
    """RFC 9208: (used, limit) by resource; STORAGE counts units of 1024 bytes."""

    root: bytes
    resources: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class QuotaRoot:
    name: bytes
    roots: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Metadata:
    """RFC 5464 METADATA, and ANNOTATION of its drafts under the same entry names. A value of None: not set."""

    name: bytes
    entries: Mapping[str, bytes | None]


@dataclass(frozen=True, slots=True)
class Id:
    """RFC 2971: what the server says about itself, keys in lower case."""

    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unknown:
    """A well-formed response that we have no use for."""

    name: str


Event = (
    Fetch
    | Greeting
    | Tagged
    | Notice
    | Bye
    | Continuation
    | LiteralStart
    | LiteralChunk
    | LiteralEnd
    | Listed
    | Status
    | Search
    | Capability
    | Enabled
    | Namespaces
    | Vanished
    | Exists
    | Recent
    | Expunge
    | Flags
    | Acl
    | MyRights
    | Quota
    | QuotaRoot
    | Metadata
    | Id
    | Unknown
)
