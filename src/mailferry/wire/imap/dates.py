"""INTERNALDATE both ways (RFC 3501 §9 date-time): `"17-Jul-1996 02:44:25 -0700"`. Knows no other date format.

Invariant: instant and zone both survive a round trip; what is not a date is None, never an exception, because a wrong
date must not cost a message.
"""

from __future__ import annotations

import datetime
import re
import time

from mailferry.model.message import Date

_DATE = re.compile(rb"[ 0-3]?\d-[A-Za-z]{3}-\d{4} \d\d:\d\d:\d\d [+-]\d{4}")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_NUMBERS = {name.upper().encode(): number for number, name in enumerate(_MONTHS, 1)}
_EPOCH = datetime.date(1970, 1, 1).toordinal()
_CACHE_SIZE = 10_000
_days: dict[bytes, int] = {}
_zones: dict[bytes, int] = {}


def parse(text: bytes) -> Date | None:
    """The date in the quotes, or None. Days and zones are remembered, since a folder holds few different ones."""
    if not _DATE.fullmatch(text):
        return None
    day_text, zone_text = text[:-15], text[-5:]
    day = _days.get(day_text)
    if day is None:
        try:
            number, month, year = day_text.strip().split(b"-")
            day = datetime.date(int(year), _MONTH_NUMBERS[month.upper()], int(number)).toordinal() - _EPOCH
        except (KeyError, ValueError):
            return None
        if len(_days) > _CACHE_SIZE:
            _days.clear()
        _days[day_text] = day
    zone = _zones.get(zone_text)
    if zone is None:
        zone = (int(zone_text[1:3]) * 60 + int(zone_text[3:])) * (-1 if zone_text[:1] == b"-" else 1)
        if len(_zones) > _CACHE_SIZE:
            _zones.clear()
        _zones[zone_text] = zone
    seconds = int(text[-14:-12]) * 3600 + int(text[-11:-9]) * 60 + int(text[-8:-6])
    return Date(day * 86400 + seconds - zone * 60, zone)


def format(date: Date) -> bytes:
    """The date as it stands between the quotes. A zone of a day or more, or a year outside 1..9999, becomes UTC, or
    the nearest year."""
    epoch, zone = date
    if abs(zone) >= 1440:
        zone = 0
    local = time.gmtime(min(max(epoch + zone * 60, -62135596800), 253402300799))
    sign, minutes = ("-", -zone) if zone < 0 else ("+", zone)
    return (
        f"{local.tm_mday:02d}-{_MONTHS[local.tm_mon - 1]}-{local.tm_year:04d} "
        f"{local.tm_hour:02d}:{local.tm_min:02d}:{local.tm_sec:02d} {sign}{minutes // 60:02d}{minutes % 60:02d}"
    ).encode()
