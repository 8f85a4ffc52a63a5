"""The public mapping: every condition and action in its three spellings, with what Sieve can say of it. Data only.

docs/rules.md is made from these tables (`python -m lab.rules_page`), readers and converter look things up in them.
Sources: [MS-OXWSRULES], Get-InboxRule (ExchangePowerShell), Graph v1.0 messageRulePredicates and messageRuleActions.
Invariant: every `Condition` and every `Action` has exactly one row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from mailferry.model.rule import Action, Condition


class Rating(Enum):
    """How well something is carried over; in this order, the worst part of a rule counts."""

    EXACT = "exact"
    APPROXIMATE = "approximate"  # the difference is told in one sentence
    MANUAL = "manual"  # the person has to do something


class Shape(Enum):
    """What a condition or action is given."""

    YES = "yes or no"
    TEXTS = "texts"
    PEOPLE = "addresses"
    FOLDER = "a folder"
    WORD = "one of a few words"
    RANGE = "a range"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `powershell`: the properties that say it, "" where Get-InboxRule has none; `graph`
    likewise; `rating` and `note`: the best that can be; `sieve`: how it looks there."""

    powershell: tuple[str, ...]
    graph: str
    shape: Shape
    rating: Rating
    sieve: str
    note: str = ""


_E, _A, _M = Rating.EXACT, Rating.APPROXIMATE, Rating.MANUAL
_YES, _TEXTS, _PEOPLE, _FOLDER, _WORD, _RANGE = Shape
_C, _D = Condition, Action
MESSAGE_TYPE = "MessageTypeMatches"


def _type(word: str) -> str:
    """A condition that PowerShell tells as one word of a property."""
    return f"{MESSAGE_TYPE}={word}"


CONDITIONS: Mapping[Condition, Row] = MappingProxyType(
    {
        _C.SUBJECT: Row(("SubjectContainsWords",), "subjectContains", _TEXTS, _E, 'header :contains "subject"'),
        _C.BODY: Row(
            *(("BodyContainsWords",), "bodyContains", _TEXTS, _A, "body :text :contains"),
            "a word that has HTML tags inside it is not found",
        ),
        _C.SUBJECT_OR_BODY: Row(
            *(("SubjectOrBodyContainsWords",), "bodyOrSubjectContains", _TEXTS, _A, "anyof (header …, body :text …)"),
            "a word that has HTML tags inside it is not found",
        ),
        _C.HEADER: Row(
            *(("HeaderContainsWords",), "headerContains", _TEXTS, _A, 'header :contains "NAME"'),
            "only texts of the form `Name: words` say which header is meant",
        ),
        _C.SENDER: Row(("FromAddressContainsWords",), "senderContains", _TEXTS, _E, 'header :contains "from"'),
        _C.RECIPIENT: Row(
            *(("RecipientAddressContainsWords",), "recipientContains", _TEXTS, _E, 'header :contains ["to", "cc"]'),
        ),
        _C.FROM: Row(
            *(("From",), "fromAddresses", _PEOPLE, _E, 'address "from"'),
            "a group stands for its members of today",
        ),
        _C.SENT_TO: Row(
            *(("SentTo",), "sentToAddresses", _PEOPLE, _E, 'address ["to", "cc"]'),
        ),
        _C.TO_ME: Row(("MyNameInToBox",), "sentToMe", _YES, _E, 'address "to"'),
        _C.CC_ME: Row(("MyNameInCcBox",), "sentCcMe", _YES, _E, 'address "cc"'),
        _C.TO_OR_CC_ME: Row(("MyNameInToOrCcBox",), "sentToOrCcMe", _YES, _E, 'address ["to", "cc"]'),
        _C.NOT_TO_ME: Row(("MyNameNotInToBox",), "notSentToMe", _YES, _E, 'not address "to"'),
        _C.ONLY_TO_ME: Row(("SentOnlyToMe",), "sentOnlyToMe", _YES, _E, 'address :count "eq" ["to", "cc"] "1"'),
        _C.ATTACHMENTS: Row(
            *(("HasAttachment",), "hasAttachments", _YES, _A, "header :mime :anychild"),
            "an attachment is a part that its sender marked as one",
        ),
        _C.IMPORTANCE: Row(("WithImportance",), "importance", _WORD, _E, 'header "importance", "x-priority"'),
        _C.SENSITIVITY: Row(("WithSensitivity",), "sensitivity", _WORD, _E, 'header "sensitivity"'),
        _C.FLAGGED: Row(
            *(("FlaggedForAction",), "messageActionFlag", _WORD, _A, 'exists "x-message-flag"'),
            "any flag counts, whatever it says",
        ),
        _C.MEETING_REQUEST: Row(
            (_type("Calendaring"),), "isMeetingRequest", _YES, _E, 'header :mime :anychild :param "method"'
        ),
        _C.MEETING_RESPONSE: Row(
            (_type("CalendaringResponse"),), "isMeetingResponse", _YES, _E, 'header :mime :anychild :param "method"'
        ),
        _C.NDR: Row(
            (_type("NonDeliveryReport"),),
            "isNonDeliveryReport",
            _YES,
            _E,
            'header :mime :param "report-type" "delivery-status"',
        ),
        _C.READ_RECEIPT: Row(
            *(
                (_type("ReadReceipt"),),
                "isReadReceipt",
                _YES,
                _E,
                'header :mime :param "report-type" "disposition-notification"',
            ),
        ),
        _C.SIGNED: Row((_type("Signed"),), "isSigned", _YES, _E, "header :mime :contenttype"),
        _C.ENCRYPTED: Row((_type("Encrypted"),), "isEncrypted", _YES, _E, "header :mime :contenttype"),
        _C.AUTOMATIC_REPLY: Row(
            *((_type("AutomaticReply"),), "isAutomaticReply", _YES, _A, 'header "auto-submitted"'),
            "it is known by its header Auto-Submitted",
        ),
        _C.AUTOMATIC_FORWARD: Row(
            *((_type("AutomaticForward"),), "isAutomaticForward", _YES, _A, 'exists "x-ms-exchange-inbox-rules-loop"'),
            "it is known by the headers that Exchange puts in",
        ),
        _C.VOICEMAIL: Row(
            *((_type("Voicemail"),), "isVoicemail", _YES, _A, 'header "content-class"'),
            "it is known by its header Content-Class",
        ),
        _C.PERMISSION_CONTROLLED: Row(
            *(
                (_type("PermissionControlled"),),
                "isPermissionControlled",
                _YES,
                _A,
                'header "content-class" "rpmsg.message"',
            ),
            "it is known by its header Content-Class",
        ),
        _C.ITEM_CLASSES: Row(
            *((), "", _TEXTS, _A, "as the conditions of the same name"),
            "the classes that mail can have are looked at; a custom class cannot be known from a message",
        ),
        _C.DATES: Row(
            *(("ReceivedAfterDate", "ReceivedBeforeDate"), "", _RANGE, _E, 'currentdate :value "ge" "iso8601"'),
        ),
        _C.SIZES: Row(
            *(("WithinSizeRangeMinimum", "WithinSizeRangeMaximum"), "withinSizeRange", _RANGE, _A),
            *("size :over", "the size is the message's as it travels, a third more than its attachments"),
        ),
        _C.CATEGORIES: Row(
            *((), "categories", _TEXTS, _M, ""), "a message that arrives has no categories that can be trusted"
        ),
        _C.APPROVAL_REQUEST: Row(
            *((_type("ApprovalRequest"),), "isApprovalRequest", _YES, _M, ""), "approvals are Exchange's own"
        ),
        _C.FROM_ACCOUNT: Row(*(("FromSubscription",), "", _TEXTS, _M, ""), "connected accounts do not come over"),
        _C.CLASSIFICATIONS: Row(*(("HasClassification",), "", _TEXTS, _M, ""), "classifications are Exchange's own"),
    }
)

ACTIONS: Mapping[Action, Row] = MappingProxyType(
    {
        _D.MOVE: Row(("MoveToFolder",), "moveToFolder", _FOLDER, _E, "fileinto"),
        _D.COPY: Row(("CopyToFolder",), "copyToFolder", _FOLDER, _E, "fileinto :copy"),
        _D.MARK_READ: Row(("MarkAsRead",), "markAsRead", _YES, _E, 'addflag "\\Seen"'),
        _D.STOP: Row(("StopProcessingRules",), "stopProcessingRules", _YES, _E, "stop"),
        _D.DELETE: Row(("DeleteMessage", "SoftDeleteMessage"), "delete", _YES, _E, "fileinto, into the Trash"),
        _D.PERMANENT_DELETE: Row(
            *((), "permanentDelete", _YES, _E, "discard"),
        ),
        _D.REDIRECT: Row(
            *(("RedirectTo",), "redirectTo", _PEOPLE, _E, "redirect :copy"), "the server limits how many there may be"
        ),
        _D.FORWARD: Row(
            *(("ForwardTo",), "forwardTo", _PEOPLE, _A, "redirect :copy"),
            "it is passed on as it came: from its first sender, without FW:",
        ),
        _D.FORWARD_ATTACHED: Row(
            *(("ForwardAsAttachmentTo",), "forwardAsAttachmentTo", _PEOPLE, _M, ""),
            "Sieve cannot put a message into another",
        ),
        _D.CATEGORIES: Row(
            *(("ApplyCategory",), "assignCategories", _TEXTS, _A, "addflag"),
            "a category becomes a keyword, without its colour",
        ),
        _D.IMPORTANCE: Row(
            *(("MarkImportance",), "markImportance", _WORD, _A, "deleteheader, addheader"),
            "the message's header is changed, which breaks its signatures",
        ),
        _D.PIN: Row(*(("PinMessage",), "", _YES, _A, 'addflag "\\Flagged"'), "a pinned message is flagged instead"),
        _D.REPLY: Row(*((), "", _TEXTS, _A, "vacation"), "one reply to a sender each day, not one to each message"),
        _D.SMS: Row(*(("SendTextMessageNotificationTo",), "", _PEOPLE, _M, ""), "no text messages are sent from here"),
    }
)
