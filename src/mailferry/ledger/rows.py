"""What the ledger's rows look like outside it. Pure data; no SQL. Times are seconds since the epoch (UTC)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple, TypedDict

from mailferry.model.folder import Path, SpecialUse
from mailferry.model.message import Reason
from mailferry.model.state import State


class Kind(Enum):
    """What a row of failures is: something that did not come, that came with a difference, or that a rule left out."""

    FAILED = "failed"
    DIFFERENCE = "difference"
    EXCLUDED = "excluded"


class Control(Enum):
    """What another terminal asks of a run."""

    RUN = "run"
    PAUSE = "pause"
    STOP = "stop"


STOPPED: Mapping[str, Any] = MappingProxyType(
    {
        "type": "Stopped",
        "message": "stopped before it was done",
        "about": "",
        "advice": "run the same command again: it continues where it stopped",
        "exit_code": 130,
    }
)
"""The error of what was to stop."""


class MessageRow(NamedTuple):
    """One message of one folder. `state` is a `State` as a plain int. `internal_date` epoch seconds, `size` bytes as
    the source gave it, `digest` 20 bytes, `fingerprint` signed 64 bit, `attempts` how often it was
    sent, `pass_id` the pass that brought it."""

    source_uid: int
    target_uid: int | None
    state: int
    flags: int
    keywords: tuple[str, ...]
    internal_date: int | None
    size: int | None
    digest: bytes | None
    fingerprint: int | None
    attempts: int
    pass_id: int


class Intent(NamedTuple):
    """A message that is about to be sent."""

    source_uid: int
    flags: int
    keywords: tuple[str, ...]
    internal_date: int
    size: int
    digest: bytes
    fingerprint: int | None = None


class Adopted(NamedTuple):
    """A message that the target held already. `state`: ADOPTED or PROVEN (or COPIED: recovered by its digest).
    `target_uid` None: it stands in another folder, or at a uid that is not known."""

    source_uid: int
    target_uid: int | None
    state: State
    flags: int
    keywords: tuple[str, ...]
    internal_date: int | None
    size: int | None
    digest: bytes | None = None
    fingerprint: int | None = None


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One source mailbox bound to one target mailbox."""

    id: int
    source_key: str
    target_key: str
    identity: str | None
    state: str
    lease_owner: str | None
    lease_epoch: int
    lease_since: float | None
    lease_until: float | None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a mailbox until `ttl` seconds after the last renewal; void once the epoch has moved on."""

    mailbox_id: int
    epoch: int
    owner: str
    ttl: float


@dataclass(frozen=True, slots=True)
class FolderRow:
    """One folder of a mailbox. `id` 0: not in the ledger yet.

    The source's counters are those of the last complete pass. `pending_base`: the target's uidnext before the first
    unconfirmed chunk. `excluded`: the rule that keeps this folder out. `watch_until`, `watch_base`: until when, and
    from which target uid on, late twins are looked for. `adopted`: what the target held before is matched.
    `cursor_pass`: the last pass that completed this folder.
    """

    source_path: Path
    source_name: str
    id: int = 0
    mailbox_id: int = 0
    target_path: Path | None = None
    target_name: str | None = None
    special_use: SpecialUse | None = None
    source_uidvalidity: int | None = None
    target_uidvalidity: int | None = None
    source_uidnext: int | None = None
    source_messages: int | None = None
    source_modseq: int | None = None
    source_token: str | None = None
    pending_base: int | None = None
    listed: int = 0
    excluded: str | None = None
    watch_until: float | None = None
    watch_base: int | None = None
    adopted: bool = False
    cursor_pass: int | None = None


class FolderChanges(TypedDict, total=False):
    """The columns of a folder that `update_folder` sets."""

    source_path: Path
    source_name: str
    target_path: Path | None
    target_name: str | None
    special_use: SpecialUse | None
    source_uidvalidity: int | None
    target_uidvalidity: int | None
    source_uidnext: int | None
    source_messages: int | None
    source_modseq: int | None
    source_token: str | None
    pending_base: int | None
    listed: int
    excluded: str | None
    watch_until: float | None
    watch_base: int | None
    adopted: bool
    cursor_pass: int | None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an item did not come, or what is different about it. `folder_id`, `source_uid` None: the whole mailbox or
    folder. `resolved`: a later pass brought it."""

    id: int
    mailbox_id: int
    folder_id: int | None
    source_uid: int | None
    kind: Kind
    reason: Reason
    text: str
    first_pass: int
    last_pass: int
    resolved: bool


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over one mailbox. `outcome` None: under way, or killed. `counts` by name, `bytes` sent."""

    id: int
    mailbox_id: int
    run_id: int | None
    kind: str
    started: float
    ended: float | None
    outcome: str | None
    counts: Mapping[str, int]
    bytes: int


@dataclass(frozen=True, slots=True)
class Run:
    """One command at work. `owner` names the process (see `owner.dead`)."""

    id: int
    command: str
    host: str
    pid: int
    owner: str
    started: float
    ended: float | None
    control: Control
    heartbeat: float
    summary: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the audit: who did what, when."""

    id: int
    at: float
    who: str
    what: str
    mailbox_id: int | None
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of comparing a mailbox (`folder_id` None) or one folder of it."""

    id: int
    mailbox_id: int
    pass_id: int | None
    folder_id: int | None
    at: float
    score: str
    result: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Directory:
    """One source directory bound to one target directory. `cookie`: where the source's changes were read up to.
    `reconciled`: when everything was last compared. `mark`: both sides at that moment (`directory/mark.py`)."""

    id: int
    source_key: str
    target_key: str
    cookie: bytes | None
    cookie_at: float | None
    reconciled: float | None
    mark: Mapping[str, Any] | None
    lease_owner: str | None
    lease_until: float | None


class DirectoryAccount(NamedTuple):
    """Which entry stands for whom. `source_id`: the `Recipient.id`; `kind` its kind's value; `account` its log-in name
    at the source; `uid`, `dn`: what it got in the target; `gone`: since when the source no longer has it."""

    source_id: str
    kind: str
    account: str | None
    mailbox_guid: str | None
    uid: str
    dn: str
    gone: float | None = None


class ChangeState(Enum):
    """How far a change of a directory entry is. A killed run leaves INTENDED: it may or may not have happened, which
    the next run finds out."""

    INTENDED = "intended"
    DONE = "done"
    FAILED = "failed"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class DirectoryChange:
    """One change of one entry. `before`, `after`: attribute → values as JSON (see `directory/entries.py`)."""

    id: int
    run_id: int
    directory_id: int
    at: float
    state: ChangeState
    operation: str
    source_id: str
    dn: str
    new_dn: str | None
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    error: str | None
