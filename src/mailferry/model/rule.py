"""Rules of a mailbox, out-of-office and junk lists, whatever said them: EWS, PowerShell, Graph or LDAP. Plain data.

Invariant: nothing is dropped by reading: what a reader does not know stands in `unknown` under its own name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Condition(Enum):
    """What a rule looks at. The value is EWS's name of it ([MS-OXWSRULES] §2.2.4.13), which reports show."""

    CATEGORIES = "Categories"
    BODY = "ContainsBodyStrings"
    HEADER = "ContainsHeaderStrings"
    RECIPIENT = "ContainsRecipientStrings"
    SENDER = "ContainsSenderStrings"
    SUBJECT_OR_BODY = "ContainsSubjectOrBodyStrings"
    SUBJECT = "ContainsSubjectStrings"
    FLAGGED = "FlaggedForAction"
    FROM = "FromAddresses"
    FROM_ACCOUNT = "FromConnectedAccounts"
    ATTACHMENTS = "HasAttachments"
    IMPORTANCE = "Importance"
    APPROVAL_REQUEST = "IsApprovalRequest"
    AUTOMATIC_FORWARD = "IsAutomaticForward"
    AUTOMATIC_REPLY = "IsAutomaticReply"
    ENCRYPTED = "IsEncrypted"
    MEETING_REQUEST = "IsMeetingRequest"
    MEETING_RESPONSE = "IsMeetingResponse"
    NDR = "IsNDR"
    PERMISSION_CONTROLLED = "IsPermissionControlled"
    READ_RECEIPT = "IsReadReceipt"
    SIGNED = "IsSigned"
    VOICEMAIL = "IsVoicemail"
    ITEM_CLASSES = "ItemClasses"
    CLASSIFICATIONS = "MessageClassifications"
    NOT_TO_ME = "NotSentToMe"
    CC_ME = "SentCcMe"
    ONLY_TO_ME = "SentOnlyToMe"
    SENT_TO = "SentToAddresses"
    TO_ME = "SentToMe"
    TO_OR_CC_ME = "SentToOrCcMe"
    SENSITIVITY = "Sensitivity"
    DATES = "WithinDateRange"  # values: from, until (ISO 8601 with zone; "" where open)
    SIZES = "WithinSizeRange"  # values: least, most (bytes; "" where open)


class Action(Enum):
    """What a rule does. The value is EWS's name ([MS-OXWSRULES] §2.2.4.11), PowerShell's where EWS has none."""

    CATEGORIES = "AssignCategories"
    COPY = "CopyToFolder"
    DELETE = "Delete"
    FORWARD_ATTACHED = "ForwardAsAttachmentToRecipients"
    FORWARD = "ForwardToRecipients"
    IMPORTANCE = "MarkImportance"
    MARK_READ = "MarkAsRead"
    MOVE = "MoveToFolder"
    PERMANENT_DELETE = "PermanentDelete"
    PIN = "PinMessage"
    REDIRECT = "RedirectToRecipients"
    SMS = "SendSMSAlertToRecipients"
    REPLY = "ServerReplyWithMessage"  # value: the text, where it is known
    STOP = "StopProcessingRules"


@dataclass(frozen=True, slots=True)
class Predicate:
    """One condition or exception; any of its `values` fits. A yes-or-no condition has none."""

    what: Condition
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deed:
    """One action with what it is done with: addresses, categories, or one folder (its path, parts joined by `\\`)."""

    what: Action
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. It fits when all `conditions` and none of the `exceptions` do. `order`: small ones run first. `origin`:
    where it was read (`FILE:NUMBER`). `error`: why Exchange itself does not run it. `unknown`: parts under their own
    names that the reader knows nothing of."""

    name: str
    order: int
    origin: str
    conditions: tuple[Predicate, ...] = ()
    exceptions: tuple[Predicate, ...] = ()
    actions: tuple[Deed, ...] = ()
    enabled: bool = True
    error: str = ""
    unknown: tuple[str, ...] = ()


class Audience(Enum):
    """Who outside gets an out-of-office reply."""

    NONE = "none"
    KNOWN = "known"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class OutOfOffice:
    """Automatic replies. `start`, `end`: ISO 8601, with its zone where one is told, "" for open. `internal`,
    `external`: plain texts. `declines`: invitations are declined meanwhile. `origin` as for rules."""

    enabled: bool
    origin: str
    start: str = ""
    end: str = ""
    internal: str = ""
    external: str = ""
    audience: Audience = Audience.ALL
    declines: bool = False


@dataclass(frozen=True, slots=True)
class Junk:
    """Addresses and domains whose mail is never, or always, junk. `only_safe`: all other mail is. `contacts`: who is
    among the owner's contacts is safe, too."""

    safe: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    enabled: bool = True
    only_safe: bool = False
    contacts: bool = False


@dataclass(frozen=True, slots=True)
class Forwarding:
    """All mail goes on to others, before any rule. `keep_copy`: the mailbox gets it, too. `origin` as for rules."""

    to: tuple[str, ...]
    keep_copy: bool
    origin: str


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What one mailbox does by itself. `owner`: its address, or how the export calls it."""

    owner: str
    rules: tuple[Rule, ...] = ()
    out_of_office: OutOfOffice | None = None
    junk: Junk = Junk()
    forwarding: Forwarding | None = None


class UploadState(Enum):
    """Where a person's converted rules stand on the open side."""

    UPLOADED = "uploaded"  # there, and not in force
    ACTIVE = "active"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Upload:
    """What was uploaded to somebody's scripts, and what was there before.

    `key`: server and user. `before`: the person's own script that was active, "" if none was. `ours`: name → digests
    (SHA-256) of all that was ever put under it; what has another is the person's by now. `parts`: what became of each
    rule (name, origin, rating, active, notes). `put_off`: why it is not in force though it should be, or the other way
    round; "" if all is as it should be. `at`: seconds since the epoch.
    """

    key: str
    mail: str
    state: UploadState = UploadState.UPLOADED
    before: str = ""
    ours: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parts: tuple[Mapping[str, Any], ...] = ()
    put_off: str = ""
    at: float = 0.0
