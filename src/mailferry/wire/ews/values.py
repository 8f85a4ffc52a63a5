"""Small values that EWS items have in common: people, texts, dates, recurrences, attachments' names. Pure.

Source: [MS-OXWSCDATA], [MS-OXWSCORE], recurrences of [MS-OXWSMTGS] §2.2.4 and [MS-OXWSTASK] §2.2.4.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from mailferry.model.groupware import Frequency, Importance, Party, Recurrence, Sensitivity, Text
from mailferry.wire.ews.answers import Element, T, text
from mailferry.wire.ews.mail import instant
from mailferry.wire.ews.zones import DAYS

X500 = "an address is Exchange's own (X.500), and no SMTP address is known for it"
_WEEKS = {"First": 1, "Second": 2, "Third": 3, "Fourth": 4, "Last": 5}
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_SETS = {"Day": tuple(range(7)), "Weekday": tuple(range(5)), "WeekendDay": (5, 6)}
_PATTERNS = {
    "Daily": Frequency.DAILY,
    "Weekly": Frequency.WEEKLY,
    "Monthly": Frequency.MONTHLY,
    "Yearly": Frequency.YEARLY,
}


def party(mailbox: Element | None, losses: list[str]) -> Party | None:
    """Somebody in a Mailbox element; None where there is nobody."""
    if mailbox is None:
        return None
    name, address = text(mailbox, "Name"), text(mailbox, "EmailAddress")
    if not name and not address:
        return None
    return Party(name, smtp(address, text(mailbox, "RoutingType"), losses))


def smtp(address: str, routing: str, losses: list[str]) -> str:
    """The address if it is an SMTP one, else "" with a loss."""
    address = address.removeprefix("smtp:").removeprefix("SMTP:")
    if routing.upper() in ("", "SMTP") and "@" in address and not address.startswith("/"):
        return address
    if address and X500 not in losses:
        losses.append(X500)
    return ""


def body(item: Element) -> Text:
    """Of an item asked for with Body (Best) and TextBody."""
    found = item.find(f"{T}Body")
    shown = "" if found is None else found.text or ""
    plain = text(item, "TextBody")
    if found is not None and found.get("BodyType") == "HTML":
        return Text(plain, shown)
    return Text(plain or shown)


def categories(item: Element) -> tuple[str, ...]:
    return tuple(one.text for one in item.iterfind(f"{T}Categories/{T}String") if one.text)


def sensitivity(item: Element) -> Sensitivity:
    value = text(item, "Sensitivity").lower()
    return Sensitivity(value) if value in {one.value for one in Sensitivity} else Sensitivity.NORMAL


def importance(item: Element) -> Importance:
    value = text(item, "Importance").lower()
    return Importance(value) if value in {one.value for one in Importance} else Importance.NORMAL


def octets(item: Element, name: str) -> Iterator[bytes]:
    """The values of an array of binaries; what is no base64 is left out."""
    for one in item.iterfind(f"{T}{name}/{T}Base64Binary"):
        try:
            yield base64.b64decode(one.text or "", validate=True)
        except binascii.Error:
            continue


def day(value: str) -> date | None:
    """A day that EWS gives as the midnight of some zone, in UTC: the nearest midnight is meant."""
    found = instant(value)
    return None if found is None else (found + timedelta(hours=12)).date()


def wall(value: str) -> datetime | None:
    """A wall-clock time, its offset dropped."""
    try:
        return datetime.fromisoformat(value).replace(tzinfo=None)
    except ValueError:
        return None


def recurrence(element: Element | None) -> Recurrence | None:
    """None where there is none, or one that EWS has no pattern for."""
    if element is None:
        return None
    found = None
    for one in element:
        name = str(one.tag).removeprefix(T)
        for prefix, frequency in _PATTERNS.items():
            kind = name.removeprefix("Absolute").removeprefix("Relative")
            if kind == f"{prefix}Recurrence":
                found = _pattern(one, frequency)
            elif kind == f"{prefix}Regeneration":
                found = Recurrence(frequency, _number(one, "Interval"), regenerates=True)
    if found is None:
        return None
    until = element.find(f"{T}EndDateRecurrence")
    count = element.find(f"{T}NumberedRecurrence")
    return Recurrence(
        found.frequency,
        found.interval,
        found.weekdays,
        found.week,
        found.day,
        found.month,
        found.first_weekday,
        _date(text(until, "EndDate")) if until is not None else None,
        _number(count, "NumberOfOccurrences") if count is not None else None,
        regenerates=found.regenerates,
    )


def _pattern(one: Element, frequency: Frequency) -> Recurrence:
    month = text(one, "Month")
    first = text(one, "FirstDayOfWeek")
    return Recurrence(
        frequency,
        interval=_number(one, "Interval"),
        weekdays=_weekdays(text(one, "DaysOfWeek").split()),
        week=_WEEKS.get(text(one, "DayOfWeekIndex"), 0),
        day=int(text(one, "DayOfMonth") or 0),
        month=_MONTHS.index(month) + 1 if month in _MONTHS else 0,
        first_weekday=DAYS.index(first) if first in DAYS else 6,
    )


def _weekdays(names: Sequence[str]) -> tuple[int, ...]:
    found: set[int] = set()
    for name in names:
        found.update(_SETS.get(name, (DAYS.index(name),) if name in DAYS else ()))
    return tuple(sorted(found))


def _number(element: Element, name: str) -> int:
    value = text(element, name)
    return max(1, int(value)) if value.isdigit() else 1


def _date(value: str) -> date | None:
    try:
        return date.fromisoformat(value[:10])
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Named:
    """What is attached, without content. `size`: as Exchange tells it."""

    id: str
    name: str
    content_type: str
    size: int
    photo: bool = False
    reference: str = ""
    item: bool = False


def attachments(item: Element) -> tuple[Named, ...]:
    found = []
    for one in item.iterfind(f"{T}Attachments/*"):
        named = one.find(f"{T}AttachmentId")
        size = text(one, "Size")
        found.append(
            Named(
                id="" if named is None else named.get("Id", ""),
                name=text(one, "Name"),
                content_type=text(one, "ContentType"),
                size=int(size) if size.isdigit() else 0,
                photo=text(one, "IsContactPhoto") == "true",
                reference=text(one, "AttachLongPathName"),
                item=one.tag == f"{T}ItemAttachment",
            )
        )
    return tuple(found)
