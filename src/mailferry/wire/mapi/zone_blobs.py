"""Windows' time zones as Outlook stores them: TimeZoneDefinition and TimeZoneStruct ([MS-OXOCAL] §2.2.1.39, §2.2.1.41),
and how Windows' rules turn the clock.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from mailferry.errors import ItemError
from mailferry.model.groupware import Turn, Zone, ZoneRules

_RULE = 66
_MOST_RULES = 1024


@dataclass(frozen=True, slots=True)
class Definition:
    """A zone's Windows id with its rules by the year from which they hold; ascending."""

    name: str
    rules: tuple[tuple[int, ZoneRules], ...]

    def zone(self, year: int) -> Zone:
        """The zone with the rules of that year."""
        fitting = [rules for begin, rules in self.rules if begin <= year]
        return Zone(self.name, fitting[-1] if fitting else self.rules[0][1] if self.rules else None)


def definition(data: bytes) -> Definition:
    """A TimeZoneDefinition. ItemError for what is none."""
    try:
        major, _, _, _, length = struct.unpack_from("<BBHHH", data)
        start = 8 + 2 * length
        name = data[8:start].decode("utf-16-le", "replace").rstrip("\0")
        (count,) = struct.unpack_from("<H", data, start)
        if major != 2 or count > _MOST_RULES:
            raise ItemError("its time zone is not what it should be")
        return Definition(name, tuple(sorted(_rules(data, start + 2, count), key=lambda one: one[0])))
    except struct.error:
        raise ItemError("its time zone breaks off") from None


def _rules(data: bytes, at: int, count: int) -> Iterator[tuple[int, ZoneRules]]:
    for _ in range(count):
        (year,) = struct.unpack_from("<H", data, at + 6)
        bias, standard, daylight = struct.unpack_from("<iii", data, at + 22)
        yield year, _of(bias, standard, daylight, data[at + 34 : at + 50], data[at + 50 : at + 66])
        at += _RULE


def structure(data: bytes, name: str = "") -> Zone:
    """A TimeZoneStruct, which has no name of its own. ItemError for what is none."""
    if len(data) < 48:
        raise ItemError("its time zone breaks off")
    bias, standard, daylight = struct.unpack_from("<iii", data)
    return Zone(name, _of(bias, standard, daylight, data[14:30], data[32:48]))


def _of(bias: int, standard: int, daylight: int, to_standard: bytes, to_daylight: bytes) -> ZoneRules:
    offsets = -(bias + standard), -(bias + daylight)
    if any(abs(offset) > 18 * 60 for offset in offsets):
        raise ItemError("its time zone has impossible offsets")
    begins, ends = _turn(to_daylight), _turn(to_standard)
    if begins is None or ends is None or offsets[0] == offsets[1]:
        return ZoneRules(offsets[0])
    return ZoneRules(offsets[0], offsets[1], begins, ends)


def _turn(data: bytes) -> Turn | None:
    """A SYSTEMTIME as rule: with a year it is a date, without one the n-th weekday of the month."""
    year, month, weekday, day, hour, minute, _, _ = struct.unpack("<8H", data)
    if not 1 <= month <= 12 or hour > 24 or minute > 59 or weekday > 6:
        return None
    week = min(max(day, 1), 5)
    return Turn(month, week, (weekday - 1) % 7, hour * 60 + minute, day=min(day, 31) if year else 0)


def turned(turn: Turn, year: int) -> datetime:
    """When the clock is turned that year, by the clock that ends then."""
    last = (date(year + turn.month // 12, turn.month % 12 + 1, 1) - timedelta(days=1)).day
    if turn.day:
        day = min(turn.day, last)
    else:
        first = date(year, turn.month, 1).weekday()
        day = 1 + (turn.weekday - first) % 7 + 7 * (turn.week - 1)
        while day > last:
            day -= 7
    return datetime(year, turn.month, day) + timedelta(minutes=turn.minute)


def offset_of(rules: ZoneRules, local: datetime) -> int:
    """Minutes east of UTC at a wall-clock time."""
    if rules.to_daylight is None or rules.to_standard is None:
        return rules.standard
    begin, end = turned(rules.to_daylight, local.year), turned(rules.to_standard, local.year)
    summer = begin <= local < end if begin < end else not end <= local < begin
    return rules.daylight if summer else rules.standard


def wall_clock(instant: datetime, rules: ZoneRules) -> datetime:
    """The wall-clock time (naive) of an instant (naive, UTC)."""
    standard = instant + timedelta(minutes=rules.standard)
    daylight = instant + timedelta(minutes=rules.daylight)
    if rules.to_daylight is not None and offset_of(rules, daylight) == rules.daylight:
        # the hour that comes twice is daylight's first
        return daylight
    return standard
