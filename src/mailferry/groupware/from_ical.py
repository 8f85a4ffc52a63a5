"""iCalendar as events, tasks and notes. Reads what `to_ical` writes, and what calendars export.

Items are grouped by UID: a series and its changed occurrences are one event. Invariant: every component becomes an
item, part of one, or is not carried with a reason; properties that the model has no place for are losses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC as UTC_CLOCK
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import unquote

import icalendar

from mailferry.groupware import recurrence, zones
from mailferry.groupware.from_ical_zones import read_zones
from mailferry.groupware.to_ical_parts import BUSY
from mailferry.model.groupware import (
    UTC,
    Attached,
    Attendee,
    Busy,
    Event,
    Frequency,
    Importance,
    Moment,
    NotCarried,
    Note,
    Party,
    Recurrence,
    Response,
    Role,
    Sensitivity,
    Task,
    Text,
    Zone,
)
from mailferry.model.message import MemoryBody
from mailferry.wire.vcard import unescape

_RESPONSES = {"TENTATIVE": Response.TENTATIVE, "ACCEPTED": Response.ACCEPTED, "DECLINED": Response.DECLINED}
_BUSY = {name: busy for busy, name in BUSY.items()}
_CLASSES = {"PRIVATE": Sensitivity.PRIVATE, "CONFIDENTIAL": Sensitivity.CONFIDENTIAL}
_LINKS = ("CONFERENCE", "X-GOOGLE-CONFERENCE", "X-MICROSOFT-SKYPETEAMSMEETINGURL", "X-MICROSOFT-ONLINEMEETINGCONFLINK")
_NOT_KEPT = (
    ("GEO", "its place on the globe is left out"),
    ("EXRULE", "a rule of exceptions (EXRULE) is left out: its occurrences are there"),
    ("URL", "its URL is left out"),
    ("CONTACT", "its contact is left out"),
    ("RELATED-TO", "its relation to another item is left out"),
    ("RESOURCES", "its list of resources is left out"),
    ("COMMENT", "its comment is left out"),
)


def items(data: bytes, *, owner: Party | None = None) -> list[Event | Task | Note | NotCarried]:
    """Every item of an iCalendar file, in the order of its UIDs' first appearance. `owner`: whose calendar it is."""
    found: dict[tuple[str, str], list[_Component]] = {}
    left: list[Event | Task | Note | NotCarried] = []
    for one in _components(data):
        if isinstance(one, NotCarried):
            left.append(one)
        else:
            found.setdefault((one.body.name, one.uid), []).append(one)
    return [*(_item(group, owner) for group in found.values()), *left]


class _Component:
    """One VEVENT, VTODO or VJOURNAL with the zones of its calendar."""

    def __init__(self, body: Any, zones_of: dict[str, Zone]) -> None:
        self.body = body
        self._zones = zones_of
        uid = body.get("UID")
        digest = hashlib.sha256(body.to_ical()).hexdigest()[:32] if uid is None or not str(uid).strip() else ""
        self.uid = f"mailferry-{digest}" if digest else str(uid).strip()
        self.losses = [text for name, text in _NOT_KEPT if body.get(name) is not None]
        self.losses += [f"{name or 'a line'} could not be read" for name, _ in body.errors]

    def all(self, name: str) -> list[Any]:
        value = self.body.get(name)
        return [] if value is None else value if isinstance(value, list) else [value]

    def text(self, name: str) -> str:
        return next((_plain(one) for one in self.all(name)), "")

    def number(self, name: str) -> int:
        text = self.text(name).strip()
        return int(text[:6]) if text.isascii() and text.isdigit() else 0

    def moment(self, name: str) -> tuple[Moment, bool] | None:
        """A time with its zone, and whether it is a date only."""
        return next((self.of(one) for one in self.all(name) if isinstance(getattr(one, "dt", None), date)), None)

    def of(self, value: Any) -> tuple[Moment, bool]:
        when = value.dt
        if not isinstance(when, datetime):
            return Moment(datetime.combine(when, time()), Zone()), True
        tzid = str(value.params.get("TZID", "")) if hasattr(value, "params") else ""
        if when.tzinfo is None or tzid:
            zone = self._zone(tzid)
        elif when.utcoffset() == timedelta():
            zone = UTC
        else:
            zone = Zone(getattr(when.tzinfo, "key", "") or str(when.tzinfo))
        return Moment(when.replace(tzinfo=None), zone), False

    def _zone(self, tzid: str) -> Zone:
        return self._zones.get(tzid) or Zone(tzid)

    def stamp(self, name: str) -> datetime | None:
        """A time of UTC, naive."""
        found = self.moment(name)
        return None if found is None else zones.utc(found[0])


def _plain(value: Any) -> str:
    """A text; those of properties that no RFC names come with their escapes."""
    return unescape(str(value)) if isinstance(value, icalendar.vUnknown) else str(value)


def _components(data: bytes) -> Iterator[_Component | NotCarried]:
    """The components of all calendars; where a file as a whole makes no sense, each by itself."""
    try:
        calendars: list[Any] = icalendar.Calendar.from_ical(data, multiple=True)
    except (ValueError, IndexError, KeyError, AttributeError, TypeError):
        calendars = []
    if not calendars:
        yield from _apart(data)
        return
    for calendar in calendars:
        zones_of = read_zones(calendar)
        parts = [calendar] if calendar.name in ("VEVENT", "VTODO", "VJOURNAL") else calendar.subcomponents
        for body in parts:
            if body.name in ("VEVENT", "VTODO", "VJOURNAL"):
                yield _Component(body, zones_of)
            elif body.name != "VTIMEZONE":
                yield NotCarried("", body.name or "?", f"a component of the kind {body.name} is no item")


def _apart(data: bytes) -> Iterator[_Component | NotCarried]:
    """Each component of a broken file in a calendar of its own, with the zones that can be read."""
    lines = data.replace(b"\r\n", b"\n").split(b"\n")
    zones_read: list[bytes] = []
    depth, block, kind = 0, list[bytes](), b""
    for number, line in enumerate(lines, 1):
        upper = line.strip().upper()
        if depth == 0 and upper in (b"BEGIN:VEVENT", b"BEGIN:VTODO", b"BEGIN:VJOURNAL", b"BEGIN:VTIMEZONE"):
            block, kind = [], upper.partition(b":")[2]
        if block or (kind and not depth):
            block.append(line)
        if kind and upper.startswith(b"BEGIN:"):
            depth += 1
        if kind and upper.startswith(b"END:"):
            depth -= 1
            if depth == 0:
                text = b"\r\n".join([b"BEGIN:VCALENDAR", *zones_read, *block, b"END:VCALENDAR", b""])
                try:
                    (calendar,) = icalendar.Calendar.from_ical(text, multiple=True)
                except (ValueError, IndexError, KeyError, AttributeError, TypeError) as error:
                    yield NotCarried(f"line {number}", kind.decode(), f"it cannot be read: {type(error).__name__}")
                else:
                    if kind == b"VTIMEZONE":
                        zones_read += block
                    else:
                        yield _Component(calendar.subcomponents[-1], read_zones(calendar))
                block, kind = [], b""
    if block or b"BEGIN:VCALENDAR" not in data.upper():
        why = "it breaks off" if block else "it is no iCalendar file"
        yield NotCarried(f"line {len(lines)}", kind.decode() or "VCALENDAR", why)


def _item(group: list[_Component], owner: Party | None) -> Event | Task | Note | NotCarried:
    name = group[0].body.name
    try:
        if name == "VTODO":
            return _task(group)
        if name == "VJOURNAL":
            return _note(group[0])
        return _series(group, owner)
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        return NotCarried(group[0].uid, str(name), f"it cannot be read: {type(error).__name__}")


def _series(group: list[_Component], owner: Party | None) -> Event | NotCarried:
    masters = [one for one in group if one.body.get("RECURRENCE-ID") is None]
    master = masters[-1] if masters else group[0]
    event = _event(master, owner)
    if isinstance(event, NotCarried):
        return event
    if len(masters) > 1:
        event = replace(event, losses=(*event.losses, f"{len(masters) - 1} older versions of it are left out"))
    exceptions: dict[datetime, Event] = {}
    for one in group:
        if one is master or one in masters:
            continue
        changed = _event(one, owner)
        if isinstance(changed, NotCarried):
            event = replace(event, losses=(*event.losses, f"a changed occurrence is left out: {changed.reason}"))
        elif changed.original is not None:
            exceptions[zones.utc(changed.original)] = changed
    return replace(event, exceptions=tuple(exceptions[when] for when in sorted(exceptions)))


def _event(one: _Component, owner: Party | None) -> Event | NotCarried:
    found = one.moment("DTSTART")
    if found is None:
        return NotCarried(one.uid, "VEVENT", "it has no start", one.text("SUMMARY"))
    start, all_day = found
    original = one.moment("RECURRENCE-ID")
    organizer = next((_party(value) for value in one.all("ORGANIZER")), None)
    attendees = tuple(_attendee(value, organizer) for value in one.all("ATTENDEE"))
    mine = organizer is None or owner is None or _same(organizer, owner)
    status = one.text("STATUS").upper()
    online = next((text for name in _LINKS if (text := one.text(name))), "")
    losses = one.losses
    pattern = _recurrence(one, start, all_day, losses)
    return Event(
        one.uid,
        one.text("SUMMARY"),
        start,
        _end(one, start, all_day),
        all_day,
        _text(one, online),
        location=one.text("LOCATION"),
        busy=_busy(one, status),
        sensitivity=_sensitivity(one),
        importance=_importance(one),
        categories=_categories(one),
        reminder=_reminder(one, start, losses),
        organizer=organizer,
        mine=mine,
        meeting=bool(attendees),
        cancelled=status == "CANCELLED",
        attendees=attendees,
        my_response=next(
            (a.response for a in attendees if owner and not mine and _same(a.party, owner)), Response.NONE
        ),
        online=online,
        recurrence=pattern,
        deleted=tuple(_several(one, "EXDATE")),
        further=tuple(_several(one, "RDATE")),
        original=original[0] if original else None,
        attached=tuple(_attached(one)),
        sequence=one.number("SEQUENCE"),
        created=one.stamp("CREATED"),
        modified=one.stamp("LAST-MODIFIED"),
        losses=tuple(losses),
    )


def _answer(attendees: tuple[Attendee, ...], owner: Party) -> Response:
    return next((one.response for one in attendees if _same(one.party, owner)), Response.NONE)


def _end(one: _Component, start: Moment, all_day: bool) -> Moment:
    found = one.moment("DTEND")
    if found is not None:
        return found[0]
    duration = next((value.dt for value in one.all("DURATION") if isinstance(value.dt, timedelta)), None)
    if duration is None:
        duration = timedelta(days=1) if all_day else timedelta()
    return replace(start, local=start.local + duration)


def _recurrence(one: _Component, start: Moment, all_day: bool, losses: list[str]) -> Recurrence | None:
    rules = one.all("RRULE")
    if not rules:
        if one.all("RDATE"):
            return Recurrence(Frequency.DAILY, count=1)
        return None
    if len(rules) > 1:
        losses.append("more than one rule of repetition: only the first is kept")
    found = recurrence.parsed(rules[0].to_ical().decode(), start, dates=all_day)
    if found is None:
        losses.append("its rule of repetition makes no sense; it is kept once")
    return found


def _several(one: _Component, name: str) -> Iterator[Moment]:
    """EXDATE and RDATE: lists of times, which may stand in several properties; of periods, their beginnings."""
    for values in one.all(name):
        for value in getattr(values, "dts", [values]):
            when = value.dt[0] if isinstance(value.dt, tuple) else value.dt
            if isinstance(when, date):
                single = icalendar.vDDDTypes(when)
                if "TZID" in values.params:
                    single.params["TZID"] = values.params["TZID"]
                yield one.of(single)[0]


def _text(one: _Component, online: str) -> Text:
    plain = one.text("DESCRIPTION")
    if online and plain.endswith(online):
        plain = plain.removesuffix(online).removesuffix("\n\n")
    html = next((_plain(v) for v in one.all("X-ALT-DESC") if v.params.get("FMTTYPE", "").lower() == "text/html"), "")
    return Text(plain, html)


def _busy(one: _Component, status: str) -> Busy:
    named = one.text("X-MICROSOFT-CDO-BUSYSTATUS").upper()
    if named in _BUSY:
        return _BUSY[named]
    if one.text("TRANSP").upper() == "TRANSPARENT":
        return Busy.FREE
    return Busy.TENTATIVE if status == "TENTATIVE" else Busy.BUSY


def _sensitivity(one: _Component) -> Sensitivity:
    if one.text("X-MAILFERRY-SENSITIVITY") == "PERSONAL":
        return Sensitivity.PERSONAL
    return _CLASSES.get(one.text("CLASS").upper(), Sensitivity.NORMAL)


def _importance(one: _Component) -> Importance:
    priority = one.number("PRIORITY")
    return Importance.HIGH if 1 <= priority <= 4 else Importance.LOW if priority >= 6 else Importance.NORMAL


def _categories(one: _Component) -> tuple[str, ...]:
    return tuple(str(text) for value in one.all("CATEGORIES") for text in getattr(value, "cats", [value]) if str(text))


def _reminder(one: _Component, start: Moment, losses: list[str]) -> int | None:
    """Minutes before the start, of the first alarm that tells them."""
    alarms = [part for part in one.body.subcomponents if part.name == "VALARM" and part.get("TRIGGER") is not None]
    if len(alarms) > 1:
        losses.append(f"{len(alarms) - 1} further reminders are left out")
    for alarm in alarms[:1]:
        trigger: Any = alarm["TRIGGER"].dt
        if isinstance(trigger, datetime):
            return int((zones.utc(start) - trigger.replace(tzinfo=None)).total_seconds() // 60)
        return int(-trigger.total_seconds() // 60)
    return None


def _party(value: Any) -> Party:
    text = unquote(str(value))
    address = text[7:] if text.lower().startswith("mailto:") else "" if text.startswith("invalid:") else text
    return Party(str(value.params.get("CN", "")), address)


def _same(one: Party, other: Party) -> bool:
    return one.address.casefold() == other.address.casefold()


def _attendee(value: Any, organizer: Party | None) -> Attendee:
    party = _party(value)
    role = Role.OPTIONAL if str(value.params.get("ROLE", "")).upper() == "OPT-PARTICIPANT" else Role.REQUIRED
    if str(value.params.get("CUTYPE", "")).upper() in ("RESOURCE", "ROOM"):
        role = Role.RESOURCE
    response = _RESPONSES.get(str(value.params.get("PARTSTAT", "")).upper(), Response.NONE)
    chair = str(value.params.get("ROLE", "")).upper() == "CHAIR" and organizer is not None and _same(party, organizer)
    return Attendee(party, role, Response.ORGANIZER if chair else response)


def _attached(one: _Component) -> Iterator[Attached]:
    for value in one.all("ATTACH"):
        name = str(value.params.get("FILENAME") or value.params.get("X-FILENAME") or "")
        kind = str(value.params.get("FMTTYPE", ""))
        if isinstance(value, icalendar.vBinary):
            yield Attached(name, kind, MemoryBody(value.bytes))
        else:
            yield Attached(name, kind, MemoryBody(b""), reference=str(value))


def _task(group: list[_Component]) -> Task:
    one = next((part for part in group if part.body.get("RECURRENCE-ID") is None), group[0])
    losses = one.losses
    if len(group) > 1:
        losses.append(f"{len(group) - 1} changed occurrences of a task are left out")
    start, due = one.moment("DTSTART"), one.moment("DUE")
    begin = start or due
    status = one.text("STATUS").upper()
    completed = one.stamp("COMPLETED")
    done = status == "COMPLETED" or completed is not None
    named = {"IN-PROCESS": "in-progress", "COMPLETED": "completed"}.get(status, "not-started")
    if status == "CANCELLED":
        losses.append("it was cancelled, which is kept as deferred")
        named = "deferred"
    alarms = [part for part in one.body.subcomponents if part.name == "VALARM" and part.get("TRIGGER") is not None]
    reminder = next((alarm["TRIGGER"].dt for alarm in alarms if isinstance(alarm["TRIGGER"].dt, datetime)), None)
    return Task(
        one.uid,
        one.text("SUMMARY"),
        _text(one, ""),
        start=start[0].local.date() if start else None,
        due=due[0].local.date() if due else None,
        completed=completed,
        status="completed" if done else one.text("X-MAILFERRY-STATUS") or named,
        done=one.number("PERCENT-COMPLETE"),
        importance=_importance(one),
        sensitivity=_sensitivity(one),
        categories=_categories(one),
        reminder=Moment(reminder.astimezone(UTC_CLOCK).replace(tzinfo=None)) if reminder else None,
        owner=one.text("X-MAILFERRY-OWNER"),
        work=_span(one.text("X-MAILFERRY-WORK")),
        spent=_span(one.text("X-MAILFERRY-SPENT")),
        recurrence=_recurrence(one, begin[0], begin[1], losses) if begin else None,
        attached=tuple(_attached(one)),
        created=one.stamp("CREATED"),
        modified=one.stamp("LAST-MODIFIED"),
        losses=tuple(losses),
    )


def _span(minutes: str) -> timedelta | None:
    return timedelta(minutes=int(minutes[:9])) if minutes.isascii() and minutes.isdigit() else None


def _note(one: _Component) -> Note:
    return Note(
        one.uid,
        one.text("SUMMARY"),
        _text(one, ""),
        categories=_categories(one),
        modified=one.stamp("LAST-MODIFIED"),
        losses=tuple(one.losses),
    )
