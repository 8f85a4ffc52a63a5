"""Events, tasks and notes as iCalendar (RFC 5545): one resource per item, a series with all its exceptions.

Invariants: the same item gives the same bytes; times stay the wall-clock times they were; nobody is invited by what is
written (SCHEDULE-AGENT=CLIENT, RFC 6638 §7.1); what is not written is a loss.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC as UTC_CLOCK
from datetime import date, datetime, time, timedelta

import icalendar

from mailferry.errors import ItemError
from mailferry.groupware import recurrence, vtimezone, zones
from mailferry.groupware.to_ical_parts import (
    BUSY,
    attach,
    clean_pairs,
    colours,
    one_line,
    person,
    put,
    put_text,
    stamps,
)
from mailferry.groupware.written import Written, clean
from mailferry.model.groupware import (
    UTC,
    Attendee,
    Busy,
    Event,
    Moment,
    Note,
    Party,
    Response,
    Role,
    Task,
)

PRODUCT = "-//Mailferry//Mailferry//EN"
_ROLES = {
    Role.REQUIRED: ("REQ-PARTICIPANT", "INDIVIDUAL"),
    Role.OPTIONAL: ("OPT-PARTICIPANT", "INDIVIDUAL"),
    Role.RESOURCE: ("NON-PARTICIPANT", "RESOURCE"),
}
_RESPONSES = {
    Response.NONE: "NEEDS-ACTION",
    Response.ORGANIZER: "ACCEPTED",
    Response.TENTATIVE: "TENTATIVE",
    Response.ACCEPTED: "ACCEPTED",
    Response.DECLINED: "DECLINED",
}
_STATUS = {
    "not-started": "NEEDS-ACTION",
    "in-progress": "IN-PROCESS",
    "completed": "COMPLETED",
    "waiting": "NEEDS-ACTION",
    "deferred": "NEEDS-ACTION",
}
_NO_START = date(1601, 1, 1)
"""FILETIME zero, which is no time."""


def calendar(
    item: Event | Task | Note, *, owner: Party | None = None, attachments_since: date | None = None, method: str = ""
) -> Written:
    """The resource of one item.

    `owner`: whose mailbox it is, who organizes what names no organizer. `attachments_since`: attachments of events
    that ended before are left out. `method`: of a scheduling message (RFC 5546), where it is to be one. ItemError for
    an item that cannot be an iCalendar object: without UID or start. The attachments' bodies are read whole, not
    closed: `resource.write` keeps them small.
    """
    if not item.uid.strip():
        raise ItemError("it has no UID")
    match item:
        case Event():
            writing = _Events(item, owner, attachments_since, {} if method else {"SCHEDULE-AGENT": "CLIENT"})
            parts = writing.series()
            losses, used = writing.losses, writing.zones
        case Task():
            losses = list(item.losses)
            parts, used = [_task(item, losses)], {}
        case Note():
            losses = list(item.losses)
            parts, used = [_note(item)], {}
    return Written(item.uid, _document(parts, used, method), tuple(dict.fromkeys(losses)))


def _document(parts: Iterable[icalendar.Component], used: dict[str, bytes], method: str) -> bytes:
    head = f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:{PRODUCT}\r\n".encode()
    head += f"METHOD:{method}\r\n".encode() if method else b""
    return b"".join(
        [head, *(used[name] for name in sorted(used)), *(one.to_ical() for one in parts), b"END:VCALENDAR\r\n"]
    )


class _Events:
    """One event or series being written. `zones`: the VTIMEZONEs that it needs. `agent`: the parameter that keeps
    servers from inviting, which scheduling messages must not have."""

    def __init__(
        self, event: Event, owner: Party | None, attachments_since: date | None, agent: dict[str, str]
    ) -> None:
        self.agent = agent
        self.event = event
        self.owner = owner
        self.since = attachments_since
        self.losses: list[str] = list(event.losses)
        self.zones: dict[str, bytes] = {}
        self.first_year = min(one.start.local.year for one in (event, *event.exceptions))

    def series(self) -> list[icalendar.Component]:
        event = self.event
        if event.start.local.date() <= _NO_START:
            raise ItemError("it has no start")
        if event.recurrence is None:
            master = self._component(event)
            if event.original is not None:
                self._when(master, "RECURRENCE-ID", event.original, dates=event.all_day)
            return [master]
        rule = recurrence.rule(event.recurrence, event.start, dates=event.all_day)
        if rule.loss:
            self.losses.append(rule.loss)
            return [self._component(event)]
        event = self._aligned(event, rule.text)
        master = self._component(event)
        master.add("RRULE", icalendar.vRecur.from_ical(rule.text))
        for one in sorted(event.deleted, key=lambda one: one.local):
            self._when(master, "EXDATE", self._there(one), dates=event.all_day)
        for one in sorted(event.further, key=lambda one: one.local):
            self._when(master, "RDATE", self._there(one), dates=event.all_day)
        return [master, *self._exceptions()]

    def _aligned(self, event: Event, rule: str) -> Event:
        """The series from its first occurrence on, where its start fits no pattern of its own. A rule that came as
        iCalendar is left alone, which may be one that never comes true."""
        if event.recurrence is not None and event.recurrence.rule:
            return event
        begin = event.start.local if not event.all_day else datetime.combine(event.start.local.date(), time())
        moved = recurrence.first(rule, begin) - begin
        if not moved:
            return event
        return replace(
            event,
            start=replace(event.start, local=event.start.local + moved),
            end=replace(event.end, local=event.end.local + moved),
        )

    def _exceptions(self) -> list[icalendar.Component]:
        found = []
        event = self.event
        for one in sorted(event.exceptions, key=lambda one: one.original.local if one.original else one.start.local):
            if one.original is None:
                self.losses.append("an exception does not tell which occurrence it replaces; it is left out")
                continue
            self.losses += one.losses
            component = self._component(replace(one, uid=event.uid))
            self._when(component, "RECURRENCE-ID", self._there(one.original), dates=event.all_day)
            found.append(component)
        return found

    def _there(self, moment: Moment) -> Moment:
        """By the clock of the series, as RECURRENCE-ID and EXDATE have to be."""
        zone = self.event.start.zone
        return moment if moment.zone == zone else Moment(zones.local(zones.utc(moment), zone), zone)

    def _component(self, event: Event) -> icalendar.Component:
        to = icalendar.Event()
        put(to, "UID", event.uid)
        stamps(to, event.created, event.modified, fallback=zones.utc(event.start))
        self._times(to, event)
        put_text(to, event.subject, event.text, event.online)
        put(to, "LOCATION", event.location)
        put(to, "TRANSP", "TRANSPARENT" if event.busy is Busy.FREE else "OPAQUE")
        put(to, "X-MICROSOFT-CDO-BUSYSTATUS", BUSY[event.busy])
        put(to, "X-MICROSOFT-CDO-ALLDAYEVENT", "TRUE" if event.all_day else "FALSE")
        status = "CANCELLED" if event.cancelled else "TENTATIVE" if event.busy is Busy.TENTATIVE else "CONFIRMED"
        put(to, "STATUS", status)
        to.add("SEQUENCE", max(event.sequence, 0))
        colours(to, event.sensitivity, event.importance, event.categories)
        self._people(to, event)
        if event.online:
            to.add("CONFERENCE", icalendar.vUri(clean(event.online)), parameters={"VALUE": "URI", "FEATURE": "VIDEO"})
        if event.reminder is not None:
            alarm = icalendar.Alarm()
            put(alarm, "ACTION", "DISPLAY")
            put(alarm, "DESCRIPTION", one_line(event.subject) or "Reminder")
            alarm.add("TRIGGER", timedelta(minutes=-event.reminder))
            to.add_component(alarm)
        ended = event.end.local.date() if event.recurrence is None else event.recurrence.until or date.max
        attach(to, event.attached, self.losses, left_out=self.since if self.since and ended < self.since else None)
        return to

    def _times(self, to: icalendar.Component, event: Event) -> None:
        start, end = event.start, event.end
        if event.all_day:
            first, last = start.local.date(), end.local.date()
            to.add("DTSTART", first)
            to.add("DTEND", last if last > first else first + timedelta(days=1))
            return
        self._when(to, "DTSTART", start)
        # by one clock, so that the hour which a turn of it leaves out makes no event end too early
        if (zones.utc(end) < zones.utc(start)) if end.zone != start.zone else end.local < start.local:
            self.losses.append("it ends before it begins; its end is left out")
        elif end.local != start.local or end.zone != start.zone:
            self._when(to, "DTEND", end)

    def _when(self, to: icalendar.Component, name: str, moment: Moment, *, dates: bool = False) -> None:
        """A time with its zone, which the document then describes."""
        if dates:
            parameters = {} if name == "DTSTART" else {"VALUE": "DATE"}
            to.add(name, icalendar.vDDDTypes(moment.local.date()), parameters=parameters)
            return
        chosen = zones.choose(moment.zone, moment.local.year)
        if chosen.loss:
            self.losses.append(chosen.loss)
        if chosen.tzid == zones.UTC_NAME:
            to.add(name, icalendar.vDDDTypes(moment.local.replace(tzinfo=UTC_CLOCK, microsecond=0)))
            return
        value = icalendar.vDDDTypes(moment.local.replace(microsecond=0))
        to.add(name, value, parameters={"TZID": chosen.tzid} if chosen.tzid else {})
        if chosen.rules is not None:
            self.zones[chosen.tzid] = vtimezone.of_rules(chosen.tzid, chosen.rules, self.first_year)
        elif chosen.tzid:
            self.zones[chosen.tzid] = vtimezone.iana(chosen.tzid, self.first_year)

    def _people(self, to: icalendar.Component, event: Event) -> None:
        organizer = event.organizer or (self.owner if event.mine and event.attendees else None)
        if (organizer is not None and event.attendees) or (organizer is not None and not event.mine):
            to.add("ORGANIZER", person(organizer, self.agent))
        for one in event.attendees:
            answered = self._answer(event, one)
            role, kind = _ROLES[one.role]
            chair = one.response is Response.ORGANIZER
            to.add(
                "ATTENDEE",
                person(
                    one.party,
                    {
                        "CUTYPE": kind,
                        "PARTSTAT": _RESPONSES[answered],
                        "ROLE": "CHAIR" if chair else role,
                        **self.agent,
                    },
                ),
            )

    def _answer(self, event: Event, attendee: Attendee) -> Response:
        """What somebody answered; the owner's own answer the mailbox knows better than the list."""
        mine = self.owner is not None and attendee.party.address.casefold() == self.owner.address.casefold()
        known = event.my_response not in (Response.NONE, Response.ORGANIZER)
        return event.my_response if mine and known and not event.mine else attendee.response


def _task(task: Task, losses: list[str]) -> icalendar.Component:
    to = icalendar.Todo()
    put(to, "UID", task.uid)
    start, due = task.start, task.due
    moment = datetime.combine(start or due or date(1970, 1, 1), time())
    stamps(to, task.created, task.modified, fallback=moment)
    if start and due and due < start:
        losses.append("it is due before it begins; its start is left out")
        start = None
    put_text(to, task.subject, task.text)
    if task.recurrence is not None:
        begin = start or due
        rule = recurrence.rule(task.recurrence, Moment(moment, UTC), dates=True)
        if begin is None or rule.loss:
            losses.append(rule.loss or "it repeats, but has no date to begin with; its repetition is left out")
        else:
            first = recurrence.first(rule.text, moment).date()
            start, due = first, due + (first - begin) if due else None
            to.add("RRULE", icalendar.vRecur.from_ical(rule.text))
    if start:
        to.add("DTSTART", start)
    if due:
        to.add("DUE", due)
    done = task.status == "completed"
    put(to, "STATUS", _STATUS.get(task.status, "NEEDS-ACTION"))
    to.add("PERCENT-COMPLETE", 100 if done else min(max(task.done, 0), 100))
    if task.completed is not None and done:
        to.add("COMPLETED", task.completed.replace(tzinfo=UTC_CLOCK, microsecond=0))
    colours(to, task.sensitivity, task.importance, task.categories)
    clean_pairs(
        to,
        ("X-MAILFERRY-STATUS", task.status if task.status in ("waiting", "deferred") else ""),
        ("X-MAILFERRY-OWNER", task.owner),
        ("X-MAILFERRY-WORK", _minutes(task.work)),
        ("X-MAILFERRY-SPENT", _minutes(task.spent)),
    )
    if task.reminder is not None:
        alarm = icalendar.Alarm()
        put(alarm, "ACTION", "DISPLAY")
        put(alarm, "DESCRIPTION", one_line(task.subject) or "Reminder")
        at = zones.utc(task.reminder).replace(tzinfo=UTC_CLOCK, microsecond=0)
        alarm.add("TRIGGER", at, parameters={"VALUE": "DATE-TIME"})
        to.add_component(alarm)
    attach(to, task.attached, losses)
    return to


def _minutes(span: timedelta | None) -> str:
    return "" if span is None else str(int(span.total_seconds() // 60))


def _note(note: Note) -> icalendar.Component:
    to = icalendar.Journal()
    put(to, "UID", note.uid)
    stamps(to, None, note.modified, fallback=datetime(1970, 1, 1))
    if note.modified is not None:
        to.add("DTSTART", note.modified.date())
    put_text(to, note.subject, note.text)
    colours(to, None, None, note.categories)
    return to
