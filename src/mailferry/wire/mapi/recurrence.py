"""Recurrence as Outlook stores it: AppointmentRecurrencePattern and RecurrencePattern ([MS-OXOCAL] §2.2.1.44), for
appointments and tasks.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from mailferry.errors import ItemError
from mailferry.model.groupware import Frequency, Recurrence
from mailferry.wire.mapi.values import text_of

_DAY, _WEEK, _MONTH, _NTH, _END = 0, 1, 2, 3, 4
_HIJRI = 0xA
_YEARLY = 0x200D
_UNTIL, _COUNT = 0x2021, 0x2022
_EPOCH = datetime(1601, 1, 1)
_MOST = 20_000
"""Deleted or changed occurrences of a series: a daily one of 50 years has 18,000."""

_CALENDARS = {6: "Hijri", 8: "Hebrew", 10: "Hijri", 11: "Hijri", 12: "Hijri", 0x0E: "Japanese lunar"}
_CALENDARS |= {0x0F: "Chinese lunar", 0x10: "Saka", 0x11: "Chinese lunar", 0x12: "Korean lunar", 0x13: "Japanese lunar"}
_CALENDARS |= {0x14: "Korean lunar", 0x17: "Hijri"}
"""CalendarTypes that do not count months as the Gregorian calendar does; the others differ in their years only."""

_SUBJECT, _MEETING, _DELTA, _REMINDER, _LOCATION, _BUSY, _ATTACHMENT, _ALL_DAY, _COLOUR = (1 << n for n in range(9))


@dataclass(frozen=True, slots=True)
class Changed:
    """A changed occurrence: by the clock of the series. None: as the series has it. `reminder`: minutes; `remind`:
    whether there is one."""

    start: datetime
    end: datetime
    original: datetime
    subject: str | None = None
    location: str | None = None
    reminder: int | None = None
    remind: bool | None = None
    busy: int | None = None
    all_day: bool | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A series. `start`, `end`: of its first occurrence, by its own clock (dates for tasks). `deleted`: original
    starts."""

    recurrence: Recurrence
    start: datetime
    end: datetime
    deleted: tuple[datetime, ...]
    changed: tuple[Changed, ...]


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, form: str) -> tuple[int, ...]:
        found = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return found

    def number(self, form: str = "I") -> int:
        return self.take(form)[0]

    def bytes(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise ItemError("its recurrence breaks off")
        self.at += size
        return self.data[self.at - size : self.at]

    def moment(self) -> datetime:
        return _time(self.number())

    def times(self) -> list[datetime]:
        count = self.number()
        if count > _MOST:
            raise ItemError("its recurrence has more exceptions than can be")
        return [_time(one) for one in self.take(f"{count}I")]


def _time(minutes: int) -> datetime:
    return _EPOCH + timedelta(minutes=minutes)


def stored(data: bytes, *, appointment: bool = True, codepage: int | None = None) -> Stored:
    """The series that a blob says. `appointment`: with times of the day and changed occurrences, which tasks lack.
    ItemError for what is none."""
    try:
        return _stored(_Reader(data), appointment, codepage)
    except (struct.error, OverflowError, ValueError):
        raise ItemError("its recurrence breaks off, or makes no sense") from None


def _stored(of: _Reader, appointment: bool, codepage: int | None) -> Stored:
    _, _, frequency, kind, calendar, _, period, sliding = of.take("5HIII")
    mask, day, nth = 0, 0, 0
    base = kind - _HIJRI + _MONTH if kind >= _HIJRI else kind
    if base == _WEEK:
        mask = of.number()
    elif base in (_MONTH, _END):
        day = of.number()
    elif base == _NTH:
        mask, nth = of.take("II")
    elif base != _DAY:
        raise ItemError(f"it recurs by a pattern of the unknown kind {kind:#x}")
    end, count, first = of.take("III")
    gone, changed = of.times(), of.times()
    begin, last = of.take("II")
    start = _time(begin)
    pattern = Recurrence(
        *_interval(base, frequency, period),
        weekdays=tuple(sorted((bit - 1) % 7 for bit in range(7) if mask >> bit & 1)),
        week=min(nth, 5),
        day=31 if base == _END else min(day, 31),
        month=start.month if frequency == _YEARLY else 0,
        first_weekday=(first - 1) % 7,
        until=_time(last).date() if end == _UNTIL else None,
        count=max(count, 1) if end == _COUNT else None,
        calendar="Hijri" if kind >= _HIJRI else _CALENDARS.get(calendar, ""),
        regenerates=bool(sliding),
    )
    if not appointment:
        return Stored(pattern, start, start, tuple(gone), ())
    _, writer, from_start, from_end = of.take("4I")
    exceptions = list(_changed(of, writer, codepage))
    known = {one.original.date() for one in exceptions}
    offset = timedelta(minutes=from_start)
    deleted = tuple(day + offset for day in gone if day.date() not in known)
    if len(exceptions) != len(changed):
        raise ItemError("its recurrence contradicts itself")
    return Stored(pattern, start + offset, start + timedelta(minutes=from_end), deleted, tuple(exceptions))


def _interval(base: int, frequency: int, period: int) -> tuple[Frequency, int]:
    if base == _DAY:
        return Frequency.DAILY, max(period // 1440, 1)
    if base == _WEEK:
        return Frequency.WEEKLY, max(period, 1)
    if frequency == _YEARLY:
        return Frequency.YEARLY, max(period // 12, 1)
    return Frequency.MONTHLY, max(period, 1)


def _changed(of: _Reader, writer: int, codepage: int | None) -> Iterator[Changed]:
    """ExceptionInfo and ExtendedException; the latter repeats texts in Unicode."""
    found = [_info(of, codepage) for _ in range(of.number("H"))]
    if of.at >= len(of.data):
        yield from (one for one, _ in found)
        return
    of.bytes(of.number())
    for one, flags in found:
        if writer >= 0x3009:
            of.bytes(of.number())
        of.bytes(of.number())
        subject, location = one.subject, one.location
        if flags & (_SUBJECT | _LOCATION):
            of.take("3I")
            if flags & _SUBJECT:
                subject = of.bytes(2 * of.number("H")).decode("utf-16-le", "replace")
            if flags & _LOCATION:
                location = of.bytes(2 * of.number("H")).decode("utf-16-le", "replace")
            of.bytes(of.number())
        yield Changed(
            one.start, one.end, one.original, subject, location, one.reminder, one.remind, one.busy, one.all_day
        )


def _info(of: _Reader, codepage: int | None) -> tuple[Changed, int]:
    start, end, original = of.moment(), of.moment(), of.moment()
    flags = of.number("H")
    values: dict[int, int] = {}
    texts: dict[int, str] = {}
    for flag in (_SUBJECT, _MEETING, _DELTA, _REMINDER, _LOCATION, _BUSY, _ATTACHMENT, _ALL_DAY, _COLOUR):
        if not flags & flag:
            continue
        if flag in (_SUBJECT, _LOCATION):
            _, size = of.take("HH")
            texts[flag] = text_of(of.bytes(size), codepage)
        else:
            values[flag] = of.number()
    return (
        Changed(
            start,
            end,
            original,
            texts.get(_SUBJECT),
            texts.get(_LOCATION),
            values.get(_DELTA),
            bool(values[_REMINDER]) if _REMINDER in values else None,
            values.get(_BUSY),
            bool(values[_ALL_DAY]) if _ALL_DAY in values else None,
        ),
        flags,
    )
