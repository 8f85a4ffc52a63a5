"""A folder as a store shows it: its place in the tree, its special use, its counters. Does not map or create
folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

Path = tuple[str, ...]
"""A folder's place: one decoded name per level, from the root. Never holds a separator's meaning: `("a/b",)` is one
level."""

INBOX: Path = ("INBOX",)


class SpecialUse(Enum):
    """RFC 6154 attributes and Exchange's well-known folders, as one enum.

    The value is the RFC attribute where there is one, else Exchange's distinguished folder id ([MS-OXWSFOLD]).
    """

    INBOX = "inbox"
    ALL = "\\All"
    ARCHIVE = "\\Archive"
    DRAFTS = "\\Drafts"
    FLAGGED = "\\Flagged"
    IMPORTANT = "\\Important"
    JUNK = "\\Junk"
    SENT = "\\Sent"
    TRASH = "\\Trash"
    OUTBOX = "outbox"
    CALENDAR = "calendar"
    CONTACTS = "contacts"
    TASKS = "tasks"
    NOTES = "notes"
    JOURNAL = "journal"
    SYNC_ISSUES = "syncissues"
    CONFLICTS = "conflicts"
    LOCAL_FAILURES = "localfailures"
    SERVER_FAILURES = "serverfailures"
    RSS = "rssfeeds"
    CONVERSATION_HISTORY = "conversationhistory"
    CLUTTER = "clutter"
    FILES = "files"


@dataclass(frozen=True, slots=True)
class FolderStatus:
    """The counters of one folder (RFC 3501 §6.3.10, RFC 7162). `None`: the store does not tell."""

    uidvalidity: int
    uidnext: int
    messages: int
    highestmodseq: int | None = None


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of one store.

    `name` is the store's own name for it (IMAP: the mailbox name as on the wire, undecoded), given back verbatim.
    `status` is None where the listing did not include counters. `selectable` is False for `\\Noselect` containers.
    """

    path: Path
    name: str
    special_use: SpecialUse | None = None
    selectable: bool = True
    subscribed: bool = False
    status: FolderStatus | None = None

    @property
    def label(self) -> str:
        """The path for people: levels joined by `/`."""
        return "/".join(self.path)


@dataclass(frozen=True, slots=True)
class Selected:
    """What opening a folder told: counters, and what can be stored there.

    `permanent_flags`: bit mask of the system flags that last (`Flag`). `new_keywords`: any keyword may be made up.
    `keywords`: those that exist already. `read_only`: the store opened it so.
    """

    status: FolderStatus
    permanent_flags: int
    new_keywords: bool
    keywords: frozenset[str] = frozenset()
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class FolderLimits:
    """What names a target can hold. `separator` is its hierarchy separator or None for none. `max_name`: bytes of one
    level as stored. `max_path`: bytes of all levels and their separators as stored (Maildir++ keeps a whole path in
    one directory name).

    `forbidden`: characters no level may hold; ASCII letters, digits, space and `=~-` must be allowed.
    """

    separator: str | None
    forbidden: frozenset[str]
    max_name: int
    max_depth: int | None = None
    case_insensitive: bool = False
    special_uses: Mapping[SpecialUse, Path] | None = None
    """Where the target has or wants its special folders (from its own folders' attributes)."""
    max_path: int | None = None
    bmp_only: bool = False
    """No character above U+FFFF (Courier ends the session at such a name, whoever made it)."""
