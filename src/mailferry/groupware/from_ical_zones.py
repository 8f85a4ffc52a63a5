"""VTIMEZONE components as zones with rules, for time zones that only the calendar itself knows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from mailferry.groupware import zones
from mailferry.model.groupware import Turn, Zone, ZoneRules

_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def read_zones(calendar: Any) -> dict[str, Zone]:
    """The zones by TZID. The last rule of each kind counts; those that follow no yearly rule have a name only."""
    found = {}
    for one in calendar.subcomponents:
        tzid = str(one.get("TZID", "")) if one.name == "VTIMEZONE" else ""
        if not tzid:
            continue
        place = str(one.get("X-LIC-LOCATION", ""))
        name = tzid if zones.named(tzid) or not zones.named(place) else place
        found[tzid] = Zone(name, None if zones.named(name) else _rules(one))
    return found


def _rules(zone: Any) -> ZoneRules | None:
    """The latest observances as rules; None where they say none."""
    latest: dict[str, Any] = {}
    for one in zone.subcomponents:
        if one.name in ("STANDARD", "DAYLIGHT") and one.get("DTSTART") is not None:
            known = latest.get(one.name)
            if known is None or str(known["DTSTART"].dt) < str(one["DTSTART"].dt):
                latest[one.name] = one
    standard, daylight = latest.get("STANDARD"), latest.get("DAYLIGHT")
    if standard is None or standard.get("TZOFFSETTO") is None:
        return None
    offset = _minutes(standard["TZOFFSETTO"].td)
    if daylight is None or daylight.get("TZOFFSETTO") is None:
        return ZoneRules(offset)
    to_daylight, to_standard = _turn(daylight), _turn(standard)
    if to_daylight is None or to_standard is None:
        return ZoneRules(offset)
    return ZoneRules(offset, _minutes(daylight["TZOFFSETTO"].td), to_daylight, to_standard)


def _minutes(offset: timedelta) -> int:
    return round(offset.total_seconds() / 60)


def _turn(one: Any) -> Turn | None:
    rule: Any = one.get("RRULE")
    if rule is None or isinstance(rule, list) or rule.get("UNTIL"):
        return None
    begin = one["DTSTART"].dt
    minute = begin.hour * 60 + begin.minute
    month = int(rule["BYMONTH"][0]) if rule.get("BYMONTH") else begin.month
    if rule.get("BYMONTHDAY"):
        return Turn(month, 1, 0, minute, day=int(rule["BYMONTHDAY"][0]))
    day = str(rule["BYDAY"][0]) if rule.get("BYDAY") else ""
    if day[-2:] not in _DAYS or not day[:-2].lstrip("+-").isdigit():
        return None
    nth = int(day[:-2])
    return Turn(month, 5 if nth == -1 else min(abs(nth), 5), _DAYS.index(day[-2:]), minute)
