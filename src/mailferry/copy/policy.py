"""What the administrator wants of a copy: options that hold for a whole run. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import Enum

from mailferry.plan.folders import FolderPolicy
from mailferry.plan.messages import Deletions


class Accept(Enum):
    """The answers to safety stops: what a human has looked at and accepted."""

    IDENTITY = "identity"  # the source mailbox shows another identity than at the first copy
    UIDVALIDITY = "uidvalidity"  # a folder was renumbered: match its messages by their headers again
    EMPTIED = "emptied"  # a folder that was full is empty
    DELETIONS = "deletions"  # more deletions to mirror than the brake allows
    SAME = "same"  # source and target look like the same mailbox


@dataclass(frozen=True, slots=True)
class CopyPolicy:
    """`source_wins`: flags, moves and deletions of the source are carried (before cutover); else only new messages.
    `backwards`: people lived at the source (a rollback): changed flags come too, and a folder, but for INBOX, that they
    removed and made anew is no safety stop: what it held has vanished.

    `chunk_messages`, `chunk_bytes`: how much is sent together. `chunks_in_flight`: sent and not confirmed, per lane, as
    far as `budget_bytes` (bodies in memory per process) allows. `patience`: attempts without any progress before a
    mailbox is given up. `late_commit_wait`: seconds that a resumed mailbox waits before it looks for the last time
    whether a killed run's bytes arrived after all. `repair`: bring messages that the target refuses as they are in a
    form it takes, each listed.
    """

    people: Mapping[str, str] = field(default_factory=dict)
    """Source user to target user: who may be given rights on folders. `same_names`: others too, by the same name."""
    same_names: bool = False
    folders: FolderPolicy = field(default_factory=FolderPolicy)
    deletions: Deletions = Deletions.KEEP
    source_wins: bool = True
    backwards: bool = False
    adopt: bool = True
    repair: bool = False
    attached_since: date | None = None
    """Attachments of events that ended before are left out."""
    accept: frozenset[Accept] = frozenset()
    chunk_messages: int = 100
    chunk_bytes: int = 4 << 20
    chunks_in_flight: int = 8
    budget_bytes: int = 24 << 20
    patience: int = 6
    backoff: float = 1.0
    backoff_most: float = 300.0
    late_commit_wait: float = 5.0
    lease_seconds: float = 60.0
