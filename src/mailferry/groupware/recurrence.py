"""Exchange's patterns as RFC 5545's RRULE, and back.

Exchange's rules that RFC 5545 does not share are said by its means: day 31 is a shorter month's last day, a start need
not fit its own pattern. Invariant: what a rule cannot say is a loss with a name, never another rule.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta

from dateutil.rrule import rrulestr

from mailferry.groupware import zones
from mailferry.model.groupware import Frequency, Moment, Recurrence, Zone

ENDLESS = 4500
"""An end in this year or later is none ([MS-OXOCAL] §2.2.1.44.1 EndDate says 31 August 4500 or later)."""

_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_FREQUENCIES = {one.value.upper(): one for one in Frequency}
_NTH = re.compile(r"([+-]?\d+)?(MO|TU|WE|TH|FR|SA|SU)")


@dataclass(frozen=True, slots=True)
class Rule:
    """`text`: RRULE's value, "" where the series cannot be said; then `loss` tells why."""

    text: str
    loss: str = ""


def rule(recurrence: Recurrence, start: Moment, *, dates: bool) -> Rule:
    """The rule of a series. `start`: its first occurrence; `dates`: it has dates only."""
    if recurrence.calendar:
        return Rule("", f"it repeats by the {recurrence.calendar} calendar, which iCalendar cannot say; only once kept")
    if recurrence.regenerates:
        return Rule("", "its next one begins when the last was done, which iCalendar cannot say; only this one is kept")
    if recurrence.rule:
        return Rule(recurrence.rule)
    parts = [f"FREQ={recurrence.frequency.value.upper()}"]
    if recurrence.interval > 1:
        parts.append(f"INTERVAL={recurrence.interval}")
    parts += _which(recurrence, start.local.date())
    if recurrence.until is not None and recurrence.until.year < ENDLESS:
        parts.append(f"UNTIL={_until(max(recurrence.until, start.local.date()), start.zone, dates)}")
    elif recurrence.count is not None:
        parts.append(f"COUNT={max(recurrence.count, 1)}")
    return Rule(";".join(parts))


def _which(recurrence: Recurrence, start: date) -> list[str]:
    """The BY… parts."""
    days = sorted(set(recurrence.weekdays))
    named = ",".join(_DAYS[day] for day in days)
    match recurrence.frequency:
        case Frequency.DAILY:
            return []
        case Frequency.WEEKLY:
            return [f"BYDAY={named or _DAYS[start.weekday()]}", f"WKST={_DAYS[recurrence.first_weekday]}"]
        case Frequency.YEARLY:
            parts = [f"BYMONTH={recurrence.month or start.month}"]
        case Frequency.MONTHLY:
            parts = []
    if not recurrence.week:
        return parts + _day(recurrence.day or start.day)
    nth = -1 if recurrence.week == 5 else recurrence.week
    if len(days) == 1:
        return [*parts, f"BYDAY={nth}{named}"]
    return [*parts, f"BYDAY={named or ','.join(_DAYS)}", f"BYSETPOS={nth}"]


def _day(day: int) -> list[str]:
    """A day of the month; one that some months do not have falls on their last."""
    if day <= 28:
        return [f"BYMONTHDAY={day}"]
    return [f"BYMONTHDAY={','.join(str(one) for one in range(28, min(day, 31) + 1))}", "BYSETPOS=-1"]


def _until(last: date, zone: Zone, dates: bool) -> str:
    """The last date, or the end of its day in UTC, as RFC 5545 §3.3.10 wants it beside a start with a zone."""
    if dates:
        return f"{last:%Y%m%d}"
    end = Moment(datetime.combine(last, time(23, 59, 59)), zone)
    chosen = zones.choose(zone, last.year)
    floating = chosen.tzid == zones.FLOATING
    return f"{zones.utc(end):%Y%m%dT%H%M%S}{'' if floating else 'Z'}"


def first(text: str, start: datetime) -> datetime:
    """The first occurrence at or after a start (wall-clock): RFC 5545 wants the start to be one. The start itself
    where the rule gives none."""
    local = re.sub(r"UNTIL=(\d{8})(?:T\d{6}Z?)?", r"UNTIL=\1T235959", text)
    try:
        found = rrulestr(local, dtstart=start, cache=False).after(start - timedelta(seconds=1), inc=True)
    except (ValueError, TypeError, OverflowError):
        return start
    return found if isinstance(found, datetime) else start


def parsed(text: str, start: Moment, *, dates: bool) -> Recurrence | None:
    """The pattern that a rule says; one that no pattern of Exchange says keeps its text (`Recurrence.rule`). None
    where it makes no sense."""
    parts: dict[str, str] = {}
    for part in text.strip().upper().rstrip(";").split(";"):
        key, equals, value = part.partition("=")
        if not equals or key in parts:
            return None
        parts[key] = value
    try:
        found = _pattern(parts, start)
        if found is None:
            rrulestr(re.sub(r";?UNTIL=[^;]*", "", text), dtstart=start.local)
            frequency = _FREQUENCIES.get(parts.get("FREQ", ""), Frequency.DAILY)
            return Recurrence(frequency, rule=text.strip())
        if "COUNT" in parts:
            return replace(found, count=int(parts["COUNT"]))
        return replace(found, until=_last(parts["UNTIL"], start, dates)) if "UNTIL" in parts else found
    except (ValueError, TypeError, OverflowError):
        return None


def _pattern(parts: dict[str, str], start: Moment) -> Recurrence | None:
    known = {"FREQ", "INTERVAL", "UNTIL", "COUNT", "WKST", "BYDAY", "BYMONTH", "BYMONTHDAY", "BYSETPOS"}
    frequency = _FREQUENCIES.get(parts.get("FREQ", ""))
    if frequency is None or not parts.keys() <= known:
        return None
    found = Recurrence(
        frequency,
        interval=int(parts.get("INTERVAL", "1")),
    )
    days = [_NTH.fullmatch(one) for one in parts["BYDAY"].split(",")] if "BYDAY" in parts else []
    if None in days or found.interval < 1:
        return None
    weekdays = tuple(sorted(_DAYS.index(one[2]) for one in days if one))
    numbers = {int(one[1] or 0) for one in days if one}
    on = [int(one) for one in parts["BYMONTHDAY"].split(",")] if "BYMONTHDAY" in parts else []
    position = int(parts.get("BYSETPOS", "0"))
    months = parts.get("BYMONTH", "")
    if frequency in (Frequency.DAILY, Frequency.WEEKLY):
        if on or position or months or numbers - {0}:
            return None
        if frequency is Frequency.DAILY and (not weekdays or found.interval > 1):
            return found if not weekdays else None
        return replace(
            found,
            frequency=Frequency.WEEKLY,
            weekdays=weekdays or (start.local.weekday(),),
            first_weekday=_DAYS.index(parts.get("WKST", "MO")),
        )
    if frequency is Frequency.YEARLY:
        if (months and not months.isdigit()) or (not months and (on or weekdays)):
            return None
        found = replace(found, month=int(months) if months else start.local.month)
    elif months:
        return None
    if weekdays:
        return _nth(found, weekdays, numbers, position) if not on else None
    return _monthday(found, on, position, start.local.day)


def _nth(found: Recurrence, weekdays: tuple[int, ...], numbers: set[int], position: int) -> Recurrence | None:
    alone = len(weekdays) == len(numbers) == 1 and not position
    number = position if numbers == {0} else next(iter(numbers)) if alone else 0
    if number not in (-1, 1, 2, 3, 4):
        return None
    return replace(found, weekdays=weekdays, week=5 if number == -1 else number)


def _monthday(found: Recurrence, on: list[int], position: int, start: int) -> Recurrence | None:
    if not on and not position and start <= 28:
        return replace(found, day=start)
    if len(on) == 1 and not position:
        if on == [-1]:
            return replace(found, day=31)
        return replace(found, day=on[0]) if 1 <= on[0] <= 28 else None
    if position == -1 and on == list(range(28, on[-1] + 1)) and len(on) > 1:
        return replace(found, day=on[-1])
    return None


def _last(text: str, start: Moment, dates: bool) -> date:
    """The last date, by the clock of the series."""
    if len(text) == 8 or dates:
        return datetime.strptime(text[:8], "%Y%m%d").date()
    instant = datetime.strptime(text.rstrip("Z"), "%Y%m%dT%H%M%S")
    there = zones.local(instant, start.zone) if text.endswith("Z") else instant
    return there.date() - timedelta(days=1 if there.time() < start.local.time() else 0)
