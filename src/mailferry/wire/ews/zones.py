"""Time zones as EWS defines them: their rules, and wall-clock times from UTC by them. Pure.

Source: [MS-OXWSGTZ] §2.2.4 (TimeZoneDefinitionType): periods with a bias, groups of yearly transitions between them,
and which group is in force from when on. EWS gives some times in UTC only (starts of deleted and of moved occurrences),
where iCalendar wants the series' own clock.
"""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mailferry.model.groupware import Turn, Zone, ZoneRules
from mailferry.wire.ews.answers import Element, T, text

_DURATION = re.compile(r"(-?)P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:[\d.]+S)?)?")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_ALWAYS = datetime(1, 1, 1)


@dataclass(frozen=True, slots=True)
class Definition:
    """A zone. `eras`: from when on (UTC, naive) which rules are in force, ascending; the first from ever on."""

    name: str
    eras: tuple[tuple[datetime, ZoneRules], ...]

    def zone(self, at: datetime) -> Zone:
        """With the rules of a wall-clock time."""
        return Zone(self.name, self._rules(at))

    def _rules(self, at: datetime) -> ZoneRules:
        return next((rules for since, rules in reversed(self.eras) if since <= at), self.eras[0][1])

    def wall(self, at: datetime) -> datetime:
        """The wall-clock time (naive) of an instant."""
        instant = at.astimezone(UTC).replace(tzinfo=None)
        return instant + timedelta(minutes=_offset(self._rules(instant), instant))


def definition(element: Element) -> Definition | None:
    """From a TimeZoneDefinition, StartTimeZone, …; None where it has a name at most, or cannot be understood."""
    periods = {one.get("Id", ""): -_minutes(one.get("Bias", "")) for one in element.iterfind(f"{T}Periods/{T}Period")}
    groups = {}
    for group in element.iterfind(f"{T}TransitionsGroups/{T}TransitionsGroup"):
        rules = _group(group, periods)
        if rules is None:
            return None
        groups[group.get("Id", "")] = rules
    eras = []
    for one in element.iterfind(f"{T}Transitions/*"):
        found = groups.get(text(one, "To"))
        since = text(one, "DateTime")
        if found is not None:
            eras.append((_naive(since) if since else _ALWAYS, found))
    eras.sort(key=lambda one: one[0])
    return Definition(element.get("Id") or element.get("Name") or "", tuple(eras)) if eras else None


def _group(group: Element, periods: dict[str, int]) -> ZoneRules | None:
    """The rules of a year; None for more than two transitions (Windows knows no such zone)."""
    turns: list[tuple[str, Turn]] = []
    steady = ""
    for one in group:
        if one.tag == f"{T}Transition":
            steady = text(one, "To")
            continue
        week = int(text(one, "Occurrence") or 0)
        weekday = text(one, "DayOfWeek")
        turn = Turn(
            month=int(text(one, "Month") or 1),
            week=5 if week < 0 else week,
            weekday=DAYS.index(weekday) if weekday in DAYS else 0,
            minute=_minutes(text(one, "TimeOffset")),
            day=int(text(one, "Day") or 0),
        )
        turns.append((text(one, "To"), turn))
    if len(turns) == 2 and all(to in periods for to, _ in turns):
        (one_to, _), (other_to, _) = turns
        by_offset = sorted(turns, key=lambda turn: periods[turn[0]])
        standard, daylight = by_offset
        if one_to != other_to:
            return ZoneRules(periods[standard[0]], periods[daylight[0]], daylight[1], standard[1])
    only = steady or (turns[0][0] if turns else next(iter(periods), ""))
    return ZoneRules(periods[only]) if only in periods and len(turns) < 2 else None


def _offset(rules: ZoneRules, instant: datetime) -> int:
    """Minutes east of UTC at an instant (UTC, naive)."""
    if rules.to_daylight is None or rules.to_standard is None:
        return rules.standard
    begins = _turned(rules.to_daylight, instant.year) - timedelta(minutes=rules.standard)
    ends = _turned(rules.to_standard, instant.year) - timedelta(minutes=rules.daylight)
    summer = begins <= instant < ends if begins < ends else not ends <= instant < begins
    return rules.daylight if summer else rules.standard


def _turned(turn: Turn, year: int) -> datetime:
    """When a turn happens in a year, by the clock that ends then."""
    first, length = monthrange(year, turn.month)
    if turn.day:
        day = min(turn.day, length)
    else:
        day = 1 + (turn.weekday - first) % 7 + 7 * (turn.week - 1)
        while day > length:
            day -= 7
    return datetime(year, turn.month, day) + timedelta(minutes=turn.minute)


def _minutes(duration: str) -> int:
    found = _DURATION.fullmatch(duration)
    if found is None:
        return 0
    days, hours, minutes = (int(one or 0) for one in found.groups()[1:])
    return (-1 if found[1] else 1) * (days * 1440 + hours * 60 + minutes)


def _naive(value: str) -> datetime:
    try:
        return datetime.fromisoformat(value).replace(tzinfo=None)
    except ValueError:
        return _ALWAYS
