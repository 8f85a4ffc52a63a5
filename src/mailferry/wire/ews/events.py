"""Calendar items of EWS → events. Asks for nothing: exceptions and what is attached come from the caller.

Source: [MS-OXWSMTGS] §2.2.4. The structured fields are read, not MIME, which Exchange renders incompletely.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from mailferry.errors import ItemError
from mailferry.model.groupware import UTC, Attendee, Busy, Event, Moment, Response, Role, Zone
from mailferry.wire.ews import values
from mailferry.wire.ews.answers import Element, T, text, yes
from mailferry.wire.ews.mail import instant
from mailferry.wire.ews.zones import Definition, definition

FIELDS = (
    "item:ItemClass",
    "item:Subject",
    "item:Sensitivity",
    "item:Body",
    "item:TextBody",
    "item:Attachments",
    "item:Categories",
    "item:Importance",
    "item:DateTimeCreated",
    "item:LastModifiedTime",
    "item:ReminderIsSet",
    "item:ReminderMinutesBeforeStart",
    "calendar:UID",
    "calendar:Start",
    "calendar:End",
    "calendar:OriginalStart",
    "calendar:IsAllDayEvent",
    "calendar:LegacyFreeBusyStatus",
    "calendar:Location",
    "calendar:IsMeeting",
    "calendar:IsCancelled",
    "calendar:CalendarItemType",
    "calendar:MyResponseType",
    "calendar:Organizer",
    "calendar:RequiredAttendees",
    "calendar:OptionalAttendees",
    "calendar:Resources",
    "calendar:AppointmentSequenceNumber",
    "calendar:AppointmentState",
    "calendar:Recurrence",
    "calendar:ModifiedOccurrences",
    "calendar:DeletedOccurrences",
    "calendar:StartTimeZone",
    "calendar:EndTimeZone",
    "calendar:StartWallClock",
    "calendar:EndWallClock",
    "calendar:StartTimeZoneId",
    "calendar:EndTimeZoneId",
    "calendar:JoinOnlineMeetingUrl",
    "calendar:IsOrganizer",
)

_BUSY = {
    "Free": Busy.FREE,
    "Tentative": Busy.TENTATIVE,
    "Busy": Busy.BUSY,
    "OOF": Busy.AWAY,
    "WorkingElsewhere": Busy.ELSEWHERE,
}
_RESPONSES = {
    "Organizer": Response.ORGANIZER,
    "Tentative": Response.TENTATIVE,
    "Accept": Response.ACCEPTED,
    "Decline": Response.DECLINED,
}
_ROLES = {"RequiredAttendees": Role.REQUIRED, "OptionalAttendees": Role.OPTIONAL, "Resources": Role.RESOURCE}
_CANCELLED = 4  # [MS-OXOCAL] §2.2.1.10 PidLidAppointmentStateFlags

Zones = Callable[[str], Definition | None]
"""The definition that the server has for a zone's id."""


def zone_ids(item: Element) -> set[str]:
    """Ids of zones that the item names without defining them."""
    found = set()
    for name in ("StartTimeZone", "EndTimeZone"):
        element = item.find(f"{T}{name}")
        if element is None or definition(element) is None:
            found.add((element.get("Id", "") if element is not None else "") or text(item, f"{name}Id"))
    return found - {""}


@dataclass(frozen=True, slots=True)
class Clock:
    """How the times of one item are read: `start` and `end` are the zones that it names."""

    start: Definition | None
    end: Definition | None
    start_name: str
    end_name: str

    def moment(self, item: Element, name: str) -> Moment | None:
        """`Start` or `End`: the wall clock where Exchange tells it, else reckoned from UTC by the zone's rules."""
        defined, called = (self.start, self.start_name) if name == "Start" else (self.end, self.end_name)
        local = values.wall(text(item, f"{name}WallClock"))
        at = instant(text(item, name))
        if local is None and at is None:
            return None
        if defined is not None:
            shown = local or defined.wall(at or datetime.min)
            return Moment(shown, defined.zone(shown))
        if local is not None and called:
            return Moment(local, Zone(called))
        return Moment(at.replace(tzinfo=None), UTC) if at is not None else Moment(local or datetime.min, Zone())

    def of_series(self, value: str) -> Moment | None:
        """A start that is told in UTC only, by the series' clock."""
        at = instant(value)
        if at is None:
            return None
        if self.start is None:
            return Moment(at.replace(tzinfo=None), UTC)
        shown = self.start.wall(at)
        return Moment(shown, self.start.zone(shown))


def clock(item: Element, zones: Zones) -> Clock:
    """The zones that an item names; the end's is the start's where it names none."""
    found: list[tuple[Definition | None, str]] = []
    for name in ("StartTimeZone", "EndTimeZone"):
        element = item.find(f"{T}{name}")
        called = (element.get("Id", "") if element is not None else "") or text(item, f"{name}Id")
        defined = (definition(element) if element is not None else None) or (zones(called) if called else None)
        found.append((defined, called))
    (start, start_name), (end, end_name) = found
    if end is None and not end_name:
        end, end_name = start, start_name
    return Clock(start, end, start_name, end_name)


@dataclass(frozen=True, slots=True)
class Changed:
    """An occurrence of its own: the item's id, and the start that the pattern gives it (UTC)."""

    id: str
    original: str


def changed(item: Element) -> list[Changed]:
    found = []
    for one in item.iterfind(f"{T}ModifiedOccurrences/{T}Occurrence"):
        named = one.find(f"{T}ItemId")
        if named is not None:
            found.append(Changed(named.get("Id", ""), text(one, "OriginalStart")))
    return found


def event(item: Element, zones: Zones, series: Clock | None = None, original: str = "") -> tuple[Event, Clock]:
    """One calendar item as an event, without exceptions and attachments. `series`, `original`: of an exception, the
    clock of its series and its original start. ItemError: it has no start."""
    losses: list[str] = []
    own = clock(item, zones)
    if series is not None and own.start is None and not own.start_name:
        own = series
    start, end = own.moment(item, "Start"), own.moment(item, "End")
    if start is None:
        raise ItemError("an event without a start")
    if end is None or (end.local < start.local and end.zone == start.zone):
        losses.append("its end could not be read or lies before its start: it ends when it starts")
        end = start
    if not own.start_name and own.start is None and not yes(item, "IsAllDayEvent"):
        losses.append("its time zone is not told: times are in UTC")
    pattern = item.find(f"{T}Recurrence")
    repeats = values.recurrence(pattern)
    if pattern is not None and repeats is None:
        losses.append("it recurs by a pattern that EWS does not tell: the first occurrence alone is carried")
    sequence, state = text(item, "AppointmentSequenceNumber"), text(item, "AppointmentState")
    organizer = values.party(item.find(f"{T}Organizer/{T}Mailbox"), losses)
    attendees = _attendees(item, losses)
    deleted = [
        moment
        for one in item.iterfind(f"{T}DeletedOccurrences/{T}DeletedOccurrence")
        if (moment := own.of_series(text(one, "Start"))) is not None
    ]
    reminds, minutes = yes(item, "ReminderIsSet"), text(item, "ReminderMinutesBeforeStart")
    made = Event(
        uid=text(item, "UID"),
        subject=text(item, "Subject"),
        start=start,
        end=end,
        all_day=yes(item, "IsAllDayEvent"),
        text=values.body(item),
        location=text(item, "Location"),
        busy=_BUSY.get(text(item, "LegacyFreeBusyStatus"), Busy.BUSY),
        sensitivity=values.sensitivity(item),
        importance=values.importance(item),
        categories=values.categories(item),
        reminder=int(minutes) if reminds and minutes.lstrip("-").isdigit() else None,
        organizer=organizer,
        mine=yes(item, "IsOrganizer") or text(item, "MyResponseType") in ("", "Organizer", "Unknown"),
        meeting=yes(item, "IsMeeting"),
        cancelled=yes(item, "IsCancelled") or bool(int(state) & _CANCELLED if state.isdigit() else 0),
        attendees=attendees,
        my_response=_RESPONSES.get(text(item, "MyResponseType"), Response.NONE),
        online=text(item, "JoinOnlineMeetingUrl"),
        recurrence=repeats,
        deleted=tuple(deleted),
        original=series.of_series(original) if series is not None else None,
        sequence=int(sequence) if sequence.isdigit() else 0,
        created=instant(text(item, "DateTimeCreated")),
        modified=instant(text(item, "LastModifiedTime")),
        losses=tuple(losses),
    )
    return made, own


def _attendees(item: Element, losses: list[str]) -> tuple[Attendee, ...]:
    found = []
    for name, role in _ROLES.items():
        for one in item.iterfind(f"{T}{name}/{T}Attendee"):
            who = values.party(one.find(f"{T}Mailbox"), losses)
            if who is not None:
                found.append(Attendee(who, role, _RESPONSES.get(text(one, "ResponseType"), Response.NONE)))
    return tuple(found)
