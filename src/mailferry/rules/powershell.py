"""What Get-InboxRule and its like export (rows of properties) → behaviours of mailboxes. Pure.

Cmdlets: Get-InboxRule, Get-MailboxAutoReplyConfiguration, Get-MailboxJunkEmailConfiguration, Get-Mailbox (for where all
mail is forwarded to); a row's properties tell which. Invariant: a property that is set and not known stands in the
rule's `unknown`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mailferry.model.rule import Audience, Behaviour, Condition, Deed, Forwarding, Junk, OutOfOffice, Predicate, Rule
from mailferry.rules import values
from mailferry.rules.names import ACTIONS, CONDITIONS, MESSAGE_TYPE, Shape
from mailferry.wire.html import plain

Row = Mapping[str, Any]
EXCEPT = "ExceptIf"

_ABOUT = frozenset(
    name.lower()
    for name in (
        *("Description", "DescriptionTimeFormat", "DescriptionTimeZone", "Enabled", "Identity", "InError", "Name"),
        *(
            "ErrorType",
            "Priority",
            "RuleIdentity",
            "SupportedByTask",
            "Legacy",
            "IsValid",
            "ObjectState",
            "PSSourceJobInstanceId",
        ),
        *("MailboxOwnerId", "PSComputerName", "RunspaceId", "PSShowComputerName", "Warnings", "DistinguishedName"),
    )
)
_IMPORTANCE = ("Low", "Normal", "High")
_SENSITIVITY = ("Normal", "Personal", "Private", "CompanyConfidential")
_AUDIENCE = {"none": Audience.NONE, "known": Audience.KNOWN, "all": Audience.ALL, "0": Audience.NONE}
_AUDIENCE |= {"1": Audience.KNOWN, "2": Audience.ALL}
_STATES = {"disabled": "off", "enabled": "on", "scheduled": "timed", "0": "off", "1": "on", "2": "timed"}
_BY_PROPERTY = {name.lower(): what for what, row in CONDITIONS.items() for name in row.powershell}
_ACTION_BY_PROPERTY = {name.lower(): what for what, row in ACTIONS.items() for name in row.powershell}
OTHERS = frozenset(
    ("autoreplystate", "trustedsendersanddomains", "blockedsendersanddomains", "delivertomailboxandforward")
)
"""What a row that is no rule is known by."""
_DECLINES = ("autodeclinefuturerequestswhenoof", "declinealleventsforscheduledoof", "declineeventsforscheduledoof")
_RANGES = frozenset({Condition.DATES, Condition.SIZES})


def behaviours(rows: Iterable[tuple[str, Row]]) -> list[Behaviour]:
    """(origin, row) → a behaviour for each mailbox, in the order in which they appear."""
    rules: dict[str, list[Rule]] = {}
    away: dict[str, OutOfOffice] = {}
    junk: dict[str, Junk] = {}
    forwarding: dict[str, Forwarding | None] = {}
    for number, (origin, row) in enumerate(rows):
        given = {name.lower(): value for name, value in row.items()}
        owner = _owner(given)
        rules.setdefault(owner, [])
        if "autoreplystate" in given:
            away[owner] = _out_of_office(origin, given)
        elif "trustedsendersanddomains" in given or "blockedsendersanddomains" in given:
            junk[owner] = _junk(given)
        elif "delivertomailboxandforward" in given:
            forwarding[owner] = _forwarding(origin, given)
        else:
            rules[owner].append(_rule(origin, row, given, number))
    return [
        Behaviour(one, tuple(rules[one]), away.get(one), junk.get(one, Junk()), forwarding.get(one)) for one in rules
    ]


def is_row(row: Row) -> bool:
    """Whether it looks like an object of one of these cmdlets."""
    names = {name.lower() for name in row}
    return bool(names & OTHERS) or (
        "name" in names and bool(names & {"ruleidentity", "stopprocessingrules", "movetofolder"})
    )


def _owner(given: Row) -> str:
    for name in ("mailboxownerid", "primarysmtpaddress", "identity"):
        text = _text(given.get(name))
        if text:
            return text.rpartition("\\")[0] or text if name == "identity" else text
    return "the mailbox"


def _rule(origin: str, row: Row, given: Row, number: int) -> Rule:
    conditions: list[Predicate] = []
    exceptions: list[Predicate] = []
    actions: list[Deed] = []
    unknown: list[str] = []
    for name, value in row.items():
        key = name.lower()
        if key in _ABOUT or not _is_set(value):
            continue
        out = key.startswith(EXCEPT.lower())
        made = _condition(key.removeprefix(EXCEPT.lower()), value, given, EXCEPT.lower() if out else "")
        if made is not None:
            tests = exceptions if out else conditions
            if made not in tests:
                tests.append(made)
        elif not out and (deed := _action(key, value)) is not None:
            if deed not in actions:
                actions.append(deed)
        else:
            unknown.append(name)
    if _is_no(given.get("supportedbytask")):
        unknown.append("what Exchange shows in Outlook alone (SupportedByTask: False)")
    order = _text(given.get("priority"))
    return Rule(
        name=_text(given.get("name")) or "without a name",
        order=int(order) if order.isdigit() else number,
        origin=origin,
        conditions=tuple(conditions),
        exceptions=tuple(exceptions),
        actions=tuple(actions),
        enabled=_yes(given.get("enabled", True)),
        error=_text(given.get("errortype")) or "it is in error" if _yes(given.get("inerror")) else "",
        unknown=tuple(unknown),
    )


def _condition(key: str, value: Any, given: Row, prefix: str) -> Predicate | None:
    """The condition that a property says; a range from both of its properties. None: not one, or not readable."""
    if key == MESSAGE_TYPE.lower():
        what = _BY_PROPERTY.get(f"{key}={_text(value).lower()}")
        return None if what is None else Predicate(what)
    what = _BY_PROPERTY.get(key)
    if what is None:
        return None
    if what in _RANGES:
        read = values.size if what is Condition.SIZES else lambda one: values.time(_text(one))
        parts = []
        for name in CONDITIONS[what].powershell:
            there = given.get(prefix + name.lower())
            parts.append(read(there) if _is_set(there) else "")
        first, last = parts
        return None if first is None or last is None else Predicate(what, (first, last))
    found = _values(CONDITIONS[what].shape, value, _SENSITIVITY if what is Condition.SENSITIVITY else _IMPORTANCE)
    return None if found is None else Predicate(what, found)


def _action(key: str, value: Any) -> Deed | None:
    what = _ACTION_BY_PROPERTY.get(key)
    if what is None:
        return None
    found = _values(ACTIONS[what].shape, value, _IMPORTANCE)
    return None if found is None else Deed(what, found)


def _values(shape: Shape, value: Any, words: tuple[str, ...]) -> tuple[str, ...] | None:
    if shape is Shape.YES:
        return ()
    texts = _texts(value)
    if texts is None:
        return None
    if shape is Shape.PEOPLE:
        return tuple(values.person(one) for one in texts)
    if shape is Shape.FOLDER:
        return tuple(values.folder(one) for one in texts[:1]) if len(texts) == 1 else None
    if shape is Shape.WORD:
        return tuple(words[int(one)] if one.isdigit() and int(one) < len(words) else one for one in texts)
    return texts


def _is_set(value: Any) -> bool:
    if value is None or value is False:
        return False
    if isinstance(value, list | tuple):
        return any(_is_set(one) for one in value)
    return not isinstance(value, str) or value.strip().lower() not in ("", "false", "{}")


def _yes(value: Any) -> bool:
    return value is True or (isinstance(value, str) and value.strip().lower() in ("true", "$true", "1"))


def _is_no(value: Any) -> bool:
    return value is False or (isinstance(value, str) and value.strip().lower() in ("false", "$false", "0"))


def _texts(value: Any) -> tuple[str, ...] | None:
    """The texts of a value that may be one or many. None: an export that names the type instead (Export-Csv)."""
    if value is None:
        return ()
    many = value if isinstance(value, list | tuple) else [value]
    found = []
    for one in many:
        text = _text(one)
        if text.startswith(("System.", "Microsoft.Exchange.")):
            return None
        if text:
            found.append(text)
    return tuple(found)


def _text(value: Any) -> str:
    """A value's text; of an object the parts that say who or what it is."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        parts = {str(name).lower(): part for name, part in value.items()}
        for name in ("address", "smtpaddress", "primarysmtpaddress", "emailaddress", "value", "folderpath", "name"):
            if isinstance(parts.get(name), str) and parts[name]:
                return str(parts[name])
        return ""
    return str(value).strip()


def _out_of_office(origin: str, given: Row) -> OutOfOffice:
    state = _STATES.get(_text(given["autoreplystate"]).lower(), "off")
    start, end = (_text(given.get(name)) if state == "timed" else "" for name in ("starttime", "endtime"))
    return OutOfOffice(
        enabled=state != "off",
        origin=origin,
        start=values.time(start) or start if start else "",
        end=values.time(end) or end if end else "",
        internal=plain(_text(given.get("internalmessage"))),
        external=plain(_text(given.get("externalmessage"))),
        audience=_AUDIENCE.get(_text(given.get("externalaudience")).lower(), Audience.ALL),
        declines=any(_yes(given.get(name)) for name in _DECLINES),
    )


def _junk(given: Row) -> Junk:
    return Junk(
        safe=_texts(given.get("trustedsendersanddomains")) or (),
        blocked=_texts(given.get("blockedsendersanddomains")) or (),
        enabled=_yes(given.get("enabled", True)),
        only_safe=_yes(given.get("trustedlistsonly")),
        contacts=_yes(given.get("contactstrusted")),
    )


def _forwarding(origin: str, given: Row) -> Forwarding | None:
    """ForwardingAddress goes before ForwardingSmtpAddress, as in Exchange."""
    for name in ("forwardingaddress", "forwardingsmtpaddress"):
        if _is_set(given.get(name)):
            to = tuple(values.person(one) for one in _texts(given[name]) or ())
            return Forwarding(to, _yes(given["delivertomailboxandforward"]), origin)
    return None
