"""Graph's messageRules and mailboxSettings (JSON) → a mailbox's behaviour. Pure.

Source: Graph v1.0, messageRule, mailboxSettings. Invariant: a key that is set and not known stands in `unknown`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from mailferry.groupware import zones
from mailferry.model.rule import Audience, Behaviour, Deed, OutOfOffice, Predicate, Rule
from mailferry.rules import values
from mailferry.rules.names import ACTIONS, CONDITIONS, Row, Shape
from mailferry.wire.html import plain

_CONDITIONS = {row.graph: what for what, row in CONDITIONS.items() if row.graph}
_ACTIONS = {row.graph: what for what, row in ACTIONS.items() if row.graph}
_AUDIENCE = {"none": Audience.NONE, "contactsonly": Audience.KNOWN, "all": Audience.ALL}
Value = Mapping[str, Any]
T = TypeVar("T")


def is_rule(value: Value) -> bool:
    return "displayName" in value and "sequence" in value


def is_settings(value: Value) -> bool:
    return "automaticRepliesSetting" in value


def behaviour(owner: str, found: Iterable[tuple[str, Value]]) -> Behaviour:
    """(origin, object) of one mailbox: its rules and settings."""
    rules = []
    away = None
    for origin, value in found:
        if is_settings(value):
            away = _out_of_office(origin, value["automaticRepliesSetting"] or {})
        else:
            rules.append(_rule(origin, value))
    return Behaviour(owner, tuple(rules), away)


def _rule(origin: str, value: Value) -> Rule:
    unknown: list[str] = []
    conditions = _parts(value.get("conditions"), _CONDITIONS, CONDITIONS, unknown)
    exceptions = _parts(value.get("exceptions"), _CONDITIONS, CONDITIONS, unknown)
    actions = _parts(value.get("actions"), _ACTIONS, ACTIONS, unknown)
    order = value.get("sequence")
    return Rule(
        name=str(value.get("displayName") or "without a name"),
        order=order if isinstance(order, int) else 0,
        origin=origin,
        conditions=tuple(Predicate(*one) for one in conditions),
        exceptions=tuple(Predicate(*one) for one in exceptions),
        actions=tuple(Deed(*one) for one in actions),
        enabled=value.get("isEnabled") is not False,
        error="it is in error" if value.get("hasError") is True else "",
        unknown=tuple(unknown),
    )


def _parts(
    given: Value | None, known: Mapping[str, T], rows: Mapping[T, Row], unknown: list[str]
) -> list[tuple[T, tuple[str, ...]]]:
    """What is set of conditions, exceptions or actions, with its values."""
    parts = []
    for name, value in (given or {}).items():
        if not _is_set(value) or name.startswith("@"):
            continue
        what = known.get(name)
        found = None if what is None else _values(rows[what], value)
        if what is None or found is None:
            unknown.append(name)
        else:
            parts.append((what, found))
    return parts


def _values(row: Row, value: Any) -> tuple[str, ...] | None:
    if row.shape is Shape.YES:
        return () if value is True else None
    if row.shape is Shape.RANGE:
        if not isinstance(value, Mapping):
            return None
        sizes = [value.get(name) for name in ("minimumSize", "maximumSize")]
        # in kilobytes (Graph v1.0, sizeRange)
        return tuple(str(one * 1024) if isinstance(one, int) and one > 0 else "" for one in sizes)
    many = value if isinstance(value, list) else [value]
    if row.shape is Shape.PEOPLE:
        return tuple(_person(one) for one in many)
    return tuple(values.folder(str(one)) if row.shape is Shape.FOLDER else str(one) for one in many)


def _person(value: Any) -> str:
    address = value.get("emailAddress", {}) if isinstance(value, Mapping) else {}
    return values.person(str(address.get("address") or address.get("name") or value))


def _is_set(value: Any) -> bool:
    return value not in (None, False, "", [], {}) and value != "none"


def _out_of_office(origin: str, given: Value) -> OutOfOffice:
    status = str(given.get("status") or "disabled").lower()
    start, end = ("", "")
    if status == "scheduled":
        start, end = _moment(given.get("scheduledStartDateTime")), _moment(given.get("scheduledEndDateTime"))
    return OutOfOffice(
        enabled=status != "disabled",
        origin=origin,
        start=start,
        end=end,
        internal=plain(str(given.get("internalReplyMessage") or "")),
        external=plain(str(given.get("externalReplyMessage") or "")),
        audience=_AUDIENCE.get(str(given.get("externalAudience") or "all").lower(), Audience.ALL),
    )


def _moment(given: Any) -> str:
    """Graph's dateTimeTimeZone, its zone by IANA's name or by Windows'. One that nobody knows is told as it is, and is
    then no time."""
    if not isinstance(given, Mapping) or not given.get("dateTime"):
        return ""
    text, shown = str(given["dateTime"]), str(given.get("timeZone") or "UTC")
    when, zone = values.naive(text), zones.named(shown)
    if when is None:
        return text
    return when.replace(tzinfo=ZoneInfo(zone)).isoformat() if zone else f"{text} {shown}"
