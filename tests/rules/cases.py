"""What every condition is given in tests, in the model and in three spellings, with a message that fits and one that
does not. Data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mailferry.model.rule import Action as A
from mailferry.model.rule import Condition as C

ME, BOSS = "ann@acme.example", "boss@acme.example"
PLAIN = {"From": "Zoe <zoe@outside.example>", "To": f"Ann <{ME}>", "Subject": "Nothing special"}


@dataclass(frozen=True, slots=True)
class Case:
    """`values`: of the model. `fits`, `not`: headers beside PLAIN's; "body" is the text. `powershell`: properties,
    `graph`: the value of the field, `ews`: the inner XML; None: that spelling does not have it."""

    what: C
    values: tuple[str, ...]
    fits: dict[str, str]
    other: dict[str, str]
    powershell: dict[str, Any] | None
    graph: Any
    ews: str


def _strings(*texts: str) -> str:
    return "".join(f"<t:String>{text}</t:String>" for text in texts)


def _people(*addresses: str) -> str:
    inner = "<t:Name>x</t:Name><t:EmailAddress>{}</t:EmailAddress><t:RoutingType>SMTP</t:RoutingType>"
    return "".join(f"<t:Address>{inner.format(one)}</t:Address>" for one in addresses)


def _graph_people(*addresses: str) -> list[dict[str, Any]]:
    return [{"emailAddress": {"name": "x", "address": one}} for one in addresses]


def _mime(kind: str) -> dict[str, str]:
    return {"Content-Type": kind, "body": "--b\n\nx\n--b--\n" if "boundary" in kind else "x"}


def yes(what: C, fits: dict[str, str], other: dict[str, str], powershell: dict[str, Any] | None, graph: bool) -> Case:
    return Case(what, (), fits, other, powershell, True if graph else None, "true")


CASES = [
    Case(
        C.SUBJECT,
        ("invoice", 'say "hi"\\'),
        {"Subject": "An INVOICE for you"},
        {"Subject": "Voice of"},
        {"SubjectContainsWords": ["invoice", 'say "hi"\\']},
        ["invoice", 'say "hi"\\'],
        _strings("invoice", 'say "hi"\\'),
    ),
    Case(
        C.BODY,
        ("urgent", "eilig"),
        {"body": "This is Urgent!"},
        {"body": "No hurry", "Subject": "urgent"},
        {"BodyContainsWords": ["urgent", "eilig"]},
        ["urgent", "eilig"],
        _strings("urgent", "eilig"),
    ),
    Case(
        C.SUBJECT_OR_BODY,
        ("plan",),
        {"Subject": "The plan"},
        {"Subject": "Other", "body": "other"},
        {"SubjectOrBodyContainsWords": ["plan"]},
        ["plan"],
        _strings("plan"),
    ),
    Case(
        C.HEADER,
        ("X-List: ferry",),
        {"X-List": "the ferry list"},
        {"X-Other": "the ferry list"},
        {"HeaderContainsWords": ["X-List: ferry"]},
        ["X-List: ferry"],
        _strings("X-List: ferry"),
    ),
    Case(
        C.SENDER,
        ("@outside", "boss"),
        {"From": "who@outside.example"},
        {"From": "who@inside.example"},
        {"FromAddressContainsWords": ["@outside", "boss"]},
        ["@outside", "boss"],
        _strings("@outside", "boss"),
    ),
    Case(
        C.RECIPIENT,
        ("sales",),
        {"Cc": "Sales <sales@acme.example>"},
        {"Cc": "hr@acme.example"},
        {"RecipientAddressContainsWords": ["sales"]},
        ["sales"],
        _strings("sales"),
    ),
    Case(
        C.FROM,
        (BOSS, "x@y.example"),
        {"From": f'"The Boss" <{BOSS.upper()}>'},
        {"From": f"{BOSS}.au"},
        {"From": [f'"The Boss" [SMTP:{BOSS}]', "x@y.example"]},
        _graph_people(BOSS, "x@y.example"),
        _people(BOSS, "x@y.example"),
    ),
    Case(
        C.SENT_TO,
        ("list@acme.example",),
        {"Cc": "list@acme.example"},
        {"Cc": "other@acme.example"},
        {"SentTo": ['"L" [SMTP:list@acme.example]']},
        _graph_people("list@acme.example"),
        _people("list@acme.example"),
    ),
    yes(C.TO_ME, {"To": ME}, {"To": BOSS, "Cc": ME}, {"MyNameInToBox": True}, True),
    yes(C.CC_ME, {"To": BOSS, "Cc": ME}, {"To": ME}, {"MyNameInCcBox": True}, True),
    yes(C.TO_OR_CC_ME, {"To": BOSS, "Cc": ME}, {"To": BOSS}, {"MyNameInToOrCcBox": True}, True),
    yes(C.NOT_TO_ME, {"To": BOSS, "Cc": ME}, {"To": ME}, {"MyNameNotInToBox": True}, True),
    yes(C.ONLY_TO_ME, {"To": ME}, {"To": f"{ME}, {BOSS}"}, {"SentOnlyToMe": True}, True),
    yes(
        C.ATTACHMENTS,
        {
            "Content-Type": 'multipart/mixed; boundary="b"',
            "body": "--b\nContent-Type: text/plain\n\ntext\n--b\nContent-Type: application/pdf\n"
            'Content-Disposition: attachment; filename="a"\n\nx\n--b--\n',
        },
        {"Content-Type": 'multipart/mixed; boundary="b"', "body": "--b\nContent-Type: text/plain\n\ntext\n--b--\n"},
        {"HasAttachment": True},
        True,
    ),
    Case(
        C.IMPORTANCE,
        ("High",),
        {"X-Priority": "1 (Highest)"},
        {"Importance": "low"},
        {"WithImportance": "High"},
        "High",
        "High",
    ),
    Case(
        C.IMPORTANCE,
        ("Low",),
        {"Importance": "Low"},
        {"Importance": "high"},
        {"WithImportance": 0},
        "Low",
        "Low",
    ),
    Case(
        C.IMPORTANCE,
        ("Normal",),
        {"Importance": "normal"},
        {"X-Priority": "5"},
        {"WithImportance": "Normal"},
        "Normal",
        "Normal",
    ),
    Case(
        C.SENSITIVITY,
        ("CompanyConfidential",),
        {"Sensitivity": "Company-Confidential"},
        {"Sensitivity": "Private"},
        {"WithSensitivity": 3},
        "CompanyConfidential",
        "CompanyConfidential",
    ),
    Case(
        C.SENSITIVITY,
        ("Normal",),
        {},
        {"Sensitivity": "Personal"},
        {"WithSensitivity": "Normal"},
        "Normal",
        "Normal",
    ),
    Case(
        C.FLAGGED,
        ("Any",),
        {"X-Message-Flag": "Follow up"},
        {"X-Flag": "x"},
        {"FlaggedForAction": "Any"},
        "Any",
        "Any",
    ),
    yes(
        C.MEETING_REQUEST,
        _mime("text/calendar; method=REQUEST"),
        _mime("text/calendar; method=REPLY"),
        {"MessageTypeMatches": "Calendaring"},
        True,
    ),
    yes(
        C.MEETING_RESPONSE,
        _mime("text/calendar; method=REPLY"),
        _mime("text/calendar; method=REQUEST"),
        {"MessageTypeMatches": "CalendaringResponse"},
        True,
    ),
    yes(
        C.NDR,
        _mime('multipart/report; report-type=delivery-status; boundary="b"'),
        _mime('multipart/report; report-type=disposition-notification; boundary="b"'),
        {"MessageTypeMatches": "NonDeliveryReport"},
        True,
    ),
    yes(
        C.READ_RECEIPT,
        _mime('multipart/report; report-type=disposition-notification; boundary="b"'),
        _mime('multipart/report; report-type=delivery-status; boundary="b"'),
        {"MessageTypeMatches": "ReadReceipt"},
        True,
    ),
    yes(
        C.SIGNED,
        _mime("application/pkcs7-mime; smime-type=signed-data"),
        _mime("text/plain"),
        {"MessageTypeMatches": "Signed"},
        True,
    ),
    yes(
        C.ENCRYPTED,
        _mime("application/pkcs7-mime; smime-type=enveloped-data"),
        _mime("application/pkcs7-mime; smime-type=signed-data"),
        {"MessageTypeMatches": "Encrypted"},
        True,
    ),
    yes(
        C.AUTOMATIC_REPLY,
        {"Auto-Submitted": "auto-replied (vacation)"},
        {"Auto-Submitted": "no"},
        {"MessageTypeMatches": "AutomaticReply"},
        True,
    ),
    yes(
        C.AUTOMATIC_FORWARD,
        {"X-MS-Exchange-Inbox-Rules-Loop": "a@b"},
        {},
        {"MessageTypeMatches": "AutomaticForward"},
        True,
    ),
    yes(
        C.VOICEMAIL,
        {"Content-Class": "Voice-CA"},
        {"Content-Class": "urn:content-classes:message"},
        {"MessageTypeMatches": "Voicemail"},
        True,
    ),
    yes(
        C.PERMISSION_CONTROLLED,
        {"Content-Class": "rpmsg.message"},
        {"Content-Class": "x"},
        {"MessageTypeMatches": "PermissionControlled"},
        True,
    ),
    Case(
        C.ITEM_CLASSES,
        ("IPM.Schedule.Meeting.Canceled", "IPM.Note.Microsoft.Voicemail.UM"),
        _mime("text/calendar; method=CANCEL"),
        _mime("text/calendar; method=REQUEST"),
        None,
        None,
        _strings("IPM.Schedule.Meeting.Canceled", "IPM.Note.Microsoft.Voicemail.UM"),
    ),
    Case(
        C.SIZES,
        ("2048", "10240"),
        {"body": "x" * 4000},
        {"body": "x" * 20000},
        {"WithinSizeRangeMinimum": "2 KB (2,048 bytes)", "WithinSizeRangeMaximum": "10 KB (10,240 bytes)"},
        {"minimumSize": 2, "maximumSize": 10},
        "<t:MinimumSize>2</t:MinimumSize><t:MaximumSize>10</t:MaximumSize>",
    ),
]
"""Every condition that can be said; `DATES` has its own test, as all messages come now."""
MANUAL = {
    C.CATEGORIES: (None, ["Red"], _strings("Red")),
    C.APPROVAL_REQUEST: ({"MessageTypeMatches": "ApprovalRequest"}, True, "true"),
    C.FROM_ACCOUNT: ({"FromSubscription": ["x"]}, None, _strings("x")),
    C.CLASSIFICATIONS: ({"HasClassification": ["x"]}, None, _strings("x")),
}


@dataclass(frozen=True, slots=True)
class Act:
    """An action in the model and in three spellings, and what sieve-test says that it does; none: it is left to a
    human. None: that spelling does not have it."""

    what: A
    values: tuple[str, ...]
    powershell: dict[str, Any] | None
    graph: Any
    ews: str
    done: tuple[str, ...]


INBOX, HIT = "store message in folder: INBOX", "store message in folder: INBOX/Hit"
_HERE, _FOLDER = f"{ME}:\\Inbox\\Hit", '<t:FolderId Id="Inbox\\Hit"/>'
_FLAG = "+ add IMAP flags: {}"
ACTS = [
    Act(A.MOVE, ("Inbox\\Hit",), {"MoveToFolder": _HERE}, "Inbox\\Hit", _FOLDER, (HIT,)),
    Act(A.COPY, ("Inbox\\Hit",), {"CopyToFolder": _HERE}, "Inbox\\Hit", _FOLDER, (HIT, INBOX)),
    Act(A.MARK_READ, (), {"MarkAsRead": True}, True, "true", (INBOX, _FLAG.format("\\seen"))),
    Act(A.PIN, (), {"PinMessage": True}, None, "", (INBOX, _FLAG.format("\\flagged"))),
    Act(
        A.CATEGORIES,
        ("Red", "Big Deal"),
        {"ApplyCategory": ["Red", "Big Deal"]},
        ["Red", "Big Deal"],
        _strings("Red", "Big Deal"),
        (INBOX, _FLAG.format("red big_deal")),
    ),
    Act(A.DELETE, (), {"DeleteMessage": True}, True, "true", ("store message in folder: Trash",)),
    Act(A.DELETE, (), {"SoftDeleteMessage": "True"}, None, "", ("store message in folder: Trash",)),
    Act(A.PERMANENT_DELETE, (), None, True, "true", ("discard",)),
    Act(A.STOP, (), {"StopProcessingRules": True}, True, "true", (INBOX,)),
    Act(
        A.REDIRECT,
        ("x@y.example",),
        {"RedirectTo": ['"X" [SMTP:x@y.example]']},
        _graph_people("x@y.example"),
        _people("x@y.example"),
        ("redirect message to: <x@y.example>", INBOX),
    ),
    Act(
        A.FORWARD,
        (BOSS, "z@y.example"),
        {"ForwardTo": [f'"B" [SMTP:{BOSS}]', "z@y.example"]},
        _graph_people(BOSS, "z@y.example"),
        _people(BOSS, "z@y.example"),
        (f"redirect message to: <{BOSS}>", "redirect message to: <z@y.example>", INBOX),
    ),
    Act(A.FORWARD_ATTACHED, (BOSS,), {"ForwardAsAttachmentTo": [BOSS]}, _graph_people(BOSS), _people(BOSS), ()),
    Act(A.IMPORTANCE, ("High",), {"MarkImportance": 2}, "High", "High", (INBOX,)),
    Act(A.REPLY, (), None, None, '<t:x Id="AAA"/>', ()),  # EWS names a message, not its text
    Act(A.SMS, ("1@s.example",), {"SendTextMessageNotificationTo": ["1@s.example"]}, None, _people("1@s.example"), ()),
]
"""Every action; what `REPLY` says is known where a text is, which the model has from LDAP alone."""
