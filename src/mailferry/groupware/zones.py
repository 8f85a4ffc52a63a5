"""Which IANA zone a source's time zone is: by name, by Windows' id or shown name, else by its rules.

Windows' ids are those of CLDR (`icalendar` brings them); those that Windows gave up, and names without a city, stand
here. Invariant: a zone whose rules are known never moves a time: if none of IANA's has them, they are written as they
are.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from mailferry.model.groupware import Moment, Zone, ZoneRules
from mailferry.wire.mapi.zone_blobs import offset_of, turned, wall_clock

FLOATING = ""
UTC_NAME = "UTC"

_GIVEN_UP = {
    "kamchatka standard time": "Asia/Kamchatka",
    "mid-atlantic standard time": "Atlantic/South_Georgia",
    "armenian standard time": "Asia/Yerevan",
    "mexico standard time": "America/Mexico_City",
    "mexico standard time 2": "America/Chihuahua",
    "e. europe daylight time": "Europe/Chisinau",
    "gmt standard time": "Europe/London",
    "greenwich standard time": "Atlantic/Reykjavik",
}
"""Ids that are in old items, and no longer in CLDR's table or in Windows."""

_UTC_NAMES = {"utc", "gmt", "z", "etc/utc", "etc/gmt", "coordinated universal time", "tzone://microsoft/utc", "(utc)"}
_WITHOUT_CITY = {
    "eastern time": "America/New_York",
    "central time": "America/Chicago",
    "mountain time": "America/Denver",
    "pacific time": "America/Los_Angeles",
    "atlantic time": "America/Halifax",
    "indiana": "America/Indianapolis",
    "arizona": "America/Phoenix",
    "alaska": "America/Anchorage",
    "hawaii": "Pacific/Honolulu",
    "newfoundland": "America/St_Johns",
    "saskatchewan": "America/Regina",
    "baja california": "America/Tijuana",
    "central america": "America/Guatemala",
    "greenland": "America/Godthab",
    "mid-atlantic": "Atlantic/South_Georgia",
    "azores": "Atlantic/Azores",
    "cape verde is.": "Atlantic/Cape_Verde",
    "greenwich mean time : dublin": "Europe/London",
    "west central africa": "Africa/Lagos",
    "e. europe": "Europe/Chisinau",
    "abu dhabi": "Asia/Dubai",
    "islamabad": "Asia/Karachi",
    "chennai": "Asia/Calcutta",
    "astana": "Asia/Almaty",
    "beijing": "Asia/Shanghai",
    "osaka": "Asia/Tokyo",
    "canberra": "Australia/Sydney",
    "solomon is.": "Pacific/Guadalcanal",
    "marshall is.": "Etc/GMT-12",
    "nuku'alofa": "Pacific/Tongatapu",
    "petropavlovsk-kamchatsky": "Asia/Kamchatka",
    "international date line west": "Etc/GMT+12",
    "midway island": "Pacific/Pago_Pago",
    "st. petersburg": "Europe/Moscow",
    "volgograd": "Europe/Volgograd",
    "bern": "Europe/Berlin",
    "kyiv": "Europe/Kiev",
    "harare": "Africa/Johannesburg",
    "pretoria": "Africa/Johannesburg",
}
"""Names as Windows shows them ("(UTC-05:00) Eastern Time (US & Canada)"), which name no city of IANA's."""

_LIKELY = ("Europe/Berlin", "Europe/London", "America/New_York", "America/Chicago", "America/Denver", "Asia/Shanghai")
"""Of the zones that share their rules, those where most people live."""

_OFFSET = re.compile(r"^\s*\((?:utc|gmt)[^)]*\)\s*", re.IGNORECASE)
_BARE_OFFSET = re.compile(r"(?:utc|gmt)\s*([+-])(\d{1,2})(?::?00)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A zone as iCalendar names it. `tzid`: "" floating, "UTC", an IANA name, or our own for `rules` that none of
    IANA's has. `loss`: a sentence, "" where nothing was lost."""

    tzid: str
    rules: ZoneRules | None = None
    loss: str = ""


def choose(zone: Zone, year: int) -> Chosen:
    """The zone for times of that year and later ones."""
    name = named(zone.name)
    if name:
        return Chosen(name)
    if zone.rules is not None:
        matching = by_rules(zone.rules, min(max(year, 1971), 2100))
        return Chosen(matching) if matching else Chosen(_own_name(zone), zone.rules)
    if zone.name:
        return Chosen(
            FLOATING, loss=f"its time zone {zone.name!r} is not known; its times are kept, without a time zone"
        )
    return Chosen(FLOATING)


@cache
def named(name: str) -> str:
    """The IANA zone of an IANA name, Windows' id, or the name that Windows shows; "" for what is none of them."""
    text = name.strip().strip('"')
    low = text.casefold()
    if low in _UTC_NAMES or _OFFSET.sub("", low).startswith("coordinated universal time"):
        return UTC_NAME
    if not text:
        return ""
    if known := _GIVEN_UP.get(low) or _windows().get(low.replace("daylight time", "standard time")):
        return UTC_NAME if known == "Etc/UTC" else known
    if low in _iana():
        return _iana()[low]
    # Lotus, Google and libical put a path before the name: /freeassociation.sourceforge.net/Europe/Berlin
    if low.startswith("/") and (place := "/".join(low.split("/")[-2:])) in _iana():
        return _iana()[place]
    if bare := _BARE_OFFSET.fullmatch(low):
        hours = int(bare[2])
        return _iana().get(f"etc/gmt{'-' if bare[1] == '+' else '+'}{hours}", "") if hours else UTC_NAME
    return _by_city(_OFFSET.sub("", low))


def _by_city(shown: str) -> str:
    for start, place in _WITHOUT_CITY.items():
        if shown.startswith(start):
            return place
    cities = [one.strip().replace(" ", "_") for one in re.split(r"[,;:]", shown)]
    found = [zone for one in cities if (zone := _cities().get(one))]
    preferred = set(WINDOWS_TO_OLSON.values())
    return next((zone for zone in found if zone in preferred), found[0] if found else "")


@cache
def _windows() -> dict[str, str]:
    return {name.casefold(): zone for name, zone in WINDOWS_TO_OLSON.items()}


@cache
def _iana() -> dict[str, str]:
    return {name.casefold(): name for name in available_timezones()}


@cache
def _cities() -> dict[str, str]:
    places = (zone for zone in sorted(available_timezones()) if "/" in zone and not zone.startswith("Etc/"))
    return {zone.rpartition("/")[2].casefold(): zone for zone in places}


@cache
def by_rules(rules: ZoneRules, year: int) -> str:
    """An IANA zone that has exactly these rules in that year and the next, Windows' own choices first; "" for none."""
    if rules.to_daylight is None and rules.to_standard is None and rules.standard == 0:
        return UTC_NAME
    first = dict.fromkeys([*_LIKELY, *WINDOWS_TO_OLSON.values()])
    everywhere = [*first, *sorted(zone for zone in available_timezones() if "/" in zone and zone not in first)]
    return next((zone for zone in everywhere if _has(zone, rules, year) and _has(zone, rules, year + 1)), "")


def _has(zone: str, rules: ZoneRules, year: int) -> bool:
    """Whether the zone's offsets are those of the rules, in the middle of each month and around each turn."""
    try:
        info = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        return False
    moments = [datetime(year, month, 15, 12) for month in range(1, 13)]
    for turn in (rules.to_daylight, rules.to_standard):
        if turn is not None:
            at = turned(turn, year)
            moments += [at - timedelta(hours=3), at + timedelta(hours=3)]
    for moment in moments:
        offset = moment.replace(tzinfo=info).utcoffset()
        if offset is None or offset != timedelta(minutes=offset_of(rules, moment)):
            return False
    return True


def _own_name(zone: Zone) -> str:
    """A name for rules that IANA does not have: the same for the same rules."""
    mark = hashlib.sha256(repr(zone.rules).encode()).hexdigest()[:8]
    shown = re.sub(r"[^A-Za-z0-9 +.-]", "", zone.name).strip() or "Customized Time Zone"
    return f"{shown[:60]} {mark}"


def offset(moment: Moment) -> timedelta:
    """East of UTC at that moment; of a floating time: none."""
    chosen = choose(moment.zone, moment.local.year)
    if chosen.rules is not None:
        return timedelta(minutes=offset_of(chosen.rules, moment.local))
    if chosen.tzid in (FLOATING, UTC_NAME):
        return timedelta()
    return moment.local.replace(tzinfo=ZoneInfo(chosen.tzid)).utcoffset() or timedelta()


def utc(moment: Moment) -> datetime:
    """The instant as a naive time of UTC."""
    try:
        return moment.local - offset(moment)
    except OverflowError:
        return moment.local


def local(instant: datetime, zone: Zone) -> datetime:
    """The wall-clock time (naive) of an instant (naive, UTC) in a zone."""
    chosen = choose(zone, instant.year)
    if chosen.rules is not None:
        return wall_clock(instant, chosen.rules)
    if chosen.tzid in (FLOATING, UTC_NAME):
        return instant
    return instant.replace(tzinfo=ZoneInfo("UTC")).astimezone(ZoneInfo(chosen.tzid)).replace(tzinfo=None)
