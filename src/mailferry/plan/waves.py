"""Waves on paper: when somebody may be seeded and parked, who goes with whom, and how long it takes. Pure.

Invariants: a cluster of people who share is never divided by `packed`; a forecast says whether its rates were measured.
Times are seconds since the epoch; blackout hours are wall-clock hours of the time zone given (None: this machine's), in
which nobody new is parked, while whoever is parked goes on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from mailferry.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
"""A wave's name: it becomes part of file names and commands."""
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_BLACKOUT = re.compile(
    r"(?:(\S+)\s+)?(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})|(\d{4}-\d\d-\d\d)(?:\.\.(\d{4}-\d\d-\d\d))?"
)
_EXAMPLE = '"Mon-Fri 08:00-18:00", "22:00-06:00", "2026-12-24..2027-01-02"'
_DAY_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Blackout:
    """Hours in which nobody is parked. `days`: 0 is Monday; `begin`, `end`: minutes after midnight, `end` beyond 1440
    where it is on the next day. Or whole `dates`, the first and the last."""

    days: frozenset[int] = frozenset(range(7))
    begin: int = 0
    end: int = _DAY_MINUTES
    dates: tuple[date, date] | None = None


@dataclass(frozen=True, slots=True)
class Times:
    """When a wave may do what. `start`: not seeded before; `complete`: not parked before."""

    start: float | None = None
    complete: float | None = None
    blackout: tuple[Blackout, ...] = ()


def times(settings: Mapping[str, Any], blackout: Iterable[str] = ()) -> Times:
    """Those of a wave. `settings`: `Wave.settings`; `blackout`: the organisation's, which hold as well. ConfigError."""
    texts = [*blackout, *settings.get("blackout", ())]
    return Times(settings.get("start"), settings.get("complete"), tuple(map(parse_blackout, texts)))


def seed_from(now: float, when: Times) -> float:
    """The first moment from `now` on in which people may be seeded: `now` itself if they may."""
    return max(now, when.start or now)


def park_from(now: float, when: Times, zone: tzinfo | None = None) -> float:
    """The first moment from `now` on in which somebody may be parked: `now` itself if they may, infinity if never."""
    moment = max(now, when.start or now, when.complete or now)
    for _ in range(1000):  # one window ends in the next at most so often in a year
        until = max((_until(moment, one, zone) for one in when.blackout), default=moment)
        if until <= moment:
            return moment
        moment = until
    return math.inf


def _until(moment: float, one: Blackout, zone: tzinfo | None) -> float:
    """The end of the window that `moment` is in; `moment` if it is in none."""
    local = datetime.fromtimestamp(moment, zone)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if one.dates is not None:
        first, last = one.dates
        return _at(midnight, last - midnight.date(), 0, 1) if first <= midnight.date() <= last else moment
    for ago in (0, 1):
        day = midnight - timedelta(days=ago)
        begin, end = _at(day, timedelta(), one.begin), _at(day, timedelta(), one.end)
        if day.weekday() in one.days and begin <= moment < end:
            return end
    return moment


def _at(midnight: datetime, on: timedelta, minutes: int, days: int = 0) -> float:
    """Wall-clock time `minutes` after midnight, `on` and `days` later: an hour that the clocks skip or repeat is the
    wall's."""
    more, minute = divmod(minutes, _DAY_MINUTES)
    wall = midnight + on + timedelta(days=days + more)
    return wall.replace(hour=minute // 60, minute=minute % 60).timestamp()


def parse_blackout(text: str) -> Blackout:
    """`[DAYS ]HH:MM-HH:MM` (DAYS: `Mon-Fri`, `Sat,Sun`), `DATE` or `DATE..DATE`. ConfigError: none of these."""
    match = _BLACKOUT.fullmatch(text.strip())
    if match is None:
        raise ConfigError("not blackout hours", about=text, advice=f"for example {_EXAMPLE}")
    try:
        if match[6]:
            first = date.fromisoformat(match[6])
            last = date.fromisoformat(match[7] or match[6])
            if last < first:
                raise ValueError("it ends before it begins")
            return Blackout(dates=(first, last))
        begin, end = _minutes(match[2], match[3]), _minutes(match[4], match[5])
        if begin >= _DAY_MINUTES or begin == end:
            raise ValueError("it ends where it begins; for a whole day, 00:00-24:00")
        days = _days(match[1]) if match[1] else frozenset(range(7))
        return Blackout(days, begin, end if end > begin else end + _DAY_MINUTES)
    except ValueError as error:
        raise ConfigError(f"not blackout hours: {error}", about=text, advice=f"for example {_EXAMPLE}") from None


def _minutes(hours: str, minutes: str) -> int:
    found = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or found > _DAY_MINUTES:
        raise ValueError(f"{hours}:{minutes} is no time of day")
    return found


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.lower().split(","):
        first, sign, last = part.partition("-")
        for name in (first, last) if sign else (first,):
            if name not in DAYS:
                raise ValueError(f"{name!r} is no day ({', '.join(DAYS)})")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        found |= {number % 7 for number in range(begin, end + 1 if end >= begin else end + 8)}
    return frozenset(found)
