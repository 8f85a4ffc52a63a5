"""EWS's answers to GetInboxRules and GetUserOofSettings (XML) → a mailbox's behaviour. Pure.

Source: [MS-OXWSRULES] §2.2.4, [MS-OXWOOF]. Invariant: an element that is not known stands in `unknown`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar
from xml.etree import ElementTree

from mailferry.model.rule import Action, Audience, Behaviour, Condition, Deed, OutOfOffice, Predicate, Rule
from mailferry.rules import values
from mailferry.rules.names import ACTIONS, CONDITIONS, Row, Shape
from mailferry.wire.html import plain

_CONDITIONS = {what.value: what for what in Condition}
_ACTIONS = {what.value: what for what in Action}
_AUDIENCE = {"none": Audience.NONE, "known": Audience.KNOWN, "all": Audience.ALL}
Element = ElementTree.Element
T = TypeVar("T")


def is_answer(root: Element) -> bool:
    return next(_found(root, "InboxRules"), None) is not None or next(_found(root, "OofSettings"), None) is not None


def behaviour(owner: str, origin: str, root: Element) -> Behaviour:
    """The rules and the out-of-office of one answer. `owner`: whose it is, which the answer does not say."""
    rules = [_rule(f"{origin}:{number}", one) for number, one in enumerate(_found(root, "Rule"), start=1)]
    away = next(_found(root, "OofSettings"), None)
    return Behaviour(owner, tuple(rules), None if away is None else _out_of_office(origin, away))


def _rule(origin: str, element: Element) -> Rule:
    parts = {_name(one): one for one in element}
    unknown = [name for name in parts if name not in _PARTS]
    order = _text(parts.get("Priority"))
    return Rule(
        name=_text(parts.get("DisplayName")) or "without a name",
        order=int(order) if order.isdigit() else 0,
        origin=origin,
        conditions=tuple(
            Predicate(*one) for one in _found_in(parts.get("Conditions"), _CONDITIONS, CONDITIONS, unknown)
        ),
        exceptions=tuple(
            Predicate(*one) for one in _found_in(parts.get("Exceptions"), _CONDITIONS, CONDITIONS, unknown)
        ),
        actions=tuple(Deed(*one) for one in _found_in(parts.get("Actions"), _ACTIONS, ACTIONS, unknown)),
        enabled=_text(parts.get("IsEnabled")).lower() != "false",
        error=_error(parts),
        unknown=tuple(unknown),
    )


def _error(parts: Mapping[str, Element]) -> str:
    if _text(parts.get("IsNotSupported")).lower() == "true":
        return "EWS cannot show all of it"
    return "it is in error" if _text(parts.get("IsInError")).lower() == "true" else ""


_PARTS = frozenset(
    (
        *("RuleId", "DisplayName", "Priority", "IsEnabled", "IsNotSupported", "IsInError"),
        *("Conditions", "Exceptions", "Actions"),
    )
)


def _found_in(
    element: Element | None, known: Mapping[str, T], rows: Mapping[T, Row], unknown: list[str]
) -> Iterator[tuple[T, tuple[str, ...]]]:
    """What is set of conditions, exceptions or actions, with its values."""
    for one in element if element is not None else ():
        what = known.get(_name(one))
        found = None if what is None else _values(rows[what], one)
        if what is Action.REPLY:
            found = ()  # the answer names a message, not its text
        if what is not None and found is not None:
            yield what, found
        elif _text(one).lower() != "false":
            unknown.append(_name(one))


def _values(row: Row, element: Element) -> tuple[str, ...] | None:
    if row.shape is Shape.YES:
        return () if _text(element).lower() == "true" else None
    if row.shape is Shape.RANGE:
        dates = [_text(next(_found(element, name), None)) for name in ("StartDateTime", "EndDateTime")]
        if any(dates):
            return tuple(values.time(one) or one if one else "" for one in dates)
        sizes = [_text(next(_found(element, name), None)) for name in ("MinimumSize", "MaximumSize")]
        return tuple(str(int(one) * 1024) if one.isdigit() and int(one) else "" for one in sizes)  # in kilobytes
    if row.shape is Shape.PEOPLE:
        return tuple(_person(one) for one in element)
    if row.shape is Shape.FOLDER:
        ids = [one.get("Id", "") for name in ("FolderId", "DistinguishedFolderId") for one in _found(element, name)]
        return tuple(ids[:1]) or None
    texts = [_text(one) for one in _found(element, "String")]
    return tuple(texts) or ((_text(element),) if _text(element) else None)


def _person(element: Element) -> str:
    parts = {_name(one): _text(one) for one in element}
    return values.person(parts.get("EmailAddress") or parts.get("Name") or _text(element))


def _out_of_office(origin: str, element: Element) -> OutOfOffice:
    state = _text(next(_found(element, "OofState"), None)).lower()
    start, end = "", ""
    if state == "scheduled":
        texts = [_text(next(_found(element, name), None)) for name in ("StartTime", "EndTime")]
        start, end = (values.time(one) or one if one else "" for one in texts)
    replies = [next(_found(element, name), None) for name in ("InternalReply", "ExternalReply")]
    inside, outside = (plain(_text(next(_found(one, "Message"), None)) if one is not None else "") for one in replies)
    audience = _AUDIENCE.get(_text(next(_found(element, "ExternalAudience"), None)).lower(), Audience.ALL)
    return OutOfOffice(state in ("enabled", "scheduled"), origin, start, end, inside, outside, audience)


def _found(element: Element, name: str) -> Iterator[Element]:
    """All of this local name, below and in any namespace."""
    return (one for one in element.iter() if _name(one) == name)


def _name(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _text(element: Element | None) -> str:
    return (element.text or "").strip() if element is not None else ""
