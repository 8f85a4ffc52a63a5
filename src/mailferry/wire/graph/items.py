"""Events, contacts and tasks from Graph's JSON to ours. Pure; fetches nothing that hangs on them.

Shapes: the resource types event, contact and todoTask of Microsoft Graph v1.0. Invariant: a value of a type or a name
that is not expected never raises: it is left at its default, and where a person would miss it, `losses` says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from mailferry.model.groupware import (
    UTC,
    Attached,
    Attendee,
    Busy,
    Contact,
    Event,
    Frequency,
    Importance,
    Moment,
    Party,
    Postal,
    Recurrence,
    Response,
    Role,
    Sensitivity,
    Task,
    Text,
    Zone,
)
from mailferry.wire.graph.values import Json, clock, day, enum, listed, named, number, obj, text, texts
from mailferry.wire.html import plain

_BUSY = {
    "free": Busy.FREE,
    "tentative": Busy.TENTATIVE,
    "busy": Busy.BUSY,
    "oof": Busy.AWAY,
    "workingelsewhere": Busy.ELSEWHERE,
}
_RESPONSE = {
    "organizer": Response.ORGANIZER,
    "tentativelyaccepted": Response.TENTATIVE,
    "accepted": Response.ACCEPTED,
    "declined": Response.DECLINED,
}
_STATUS = {
    "notstarted": "not-started",
    "inprogress": "in-progress",
    "completed": "completed",
    "waitingonothers": "waiting",
    "deferred": "deferred",
}
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WEEKS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "last": 5}
_PATTERNS = {
    "daily": Frequency.DAILY,
    "weekly": Frequency.WEEKLY,
    "absolutemonthly": Frequency.MONTHLY,
    "relativemonthly": Frequency.MONTHLY,
    "absoluteyearly": Frequency.YEARLY,
    "relativeyearly": Frequency.YEARLY,
}
CUSTOM_ZONE = "tzone://"
"""How names of zones begin that only their creator's Outlook knew."""


@dataclass(slots=True)
class Losses:
    """What could not be read, each sentence once."""

    said: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        if text not in self.said:
            self.said.append(text)


def event(data: Json, attached: Sequence[Attached] = (), losses: Iterable[str] = ()) -> Event:
    """An event with its exceptions (`exceptionOccurrences`), asked for in its own zone (`Prefer: outlook.timezone`).
    ValueError: it has no start or no end."""
    found = Losses(list(losses))
    start, end = _moment(data.get("start")), _moment(data.get("end"))
    if start is None or end is None:
        raise ValueError("it has no start" if start is None else "it has no end")
    if text(data.get("originalStartTimeZone")).startswith(CUSTOM_ZONE):
        found.add("its time zone was made by hand and Graph does not tell its rules: it stands in UTC")
    organizer = _party(data.get("organizer"))
    attendees = tuple(_attendee(one) for one in listed(data.get("attendees")))
    recurrence = recurrence_of(data.get("recurrence"), found)
    return Event(
        uid=text(data.get("iCalUId")) or text(data.get("id")),
        subject=text(data.get("subject")),
        start=start,
        end=end,
        all_day=data.get("isAllDay") is True,
        text=body(data.get("body")),
        location=text(obj(data.get("location")).get("displayName")),
        busy=named(_BUSY, data.get("showAs"), Busy.BUSY),
        sensitivity=enum(Sensitivity, data.get("sensitivity"), Sensitivity.NORMAL),
        importance=enum(Importance, data.get("importance"), Importance.NORMAL),
        categories=texts(data.get("categories")),
        reminder=number(data.get("reminderMinutesBeforeStart")) if data.get("isReminderOn") is True else None,
        organizer=organizer if attendees or data.get("isOrganizer") is False else None,
        mine=data.get("isOrganizer") is not False,
        meeting=bool(attendees) or data.get("isOrganizer") is False,
        cancelled=data.get("isCancelled") is True,
        attendees=attendees,
        my_response=named(_RESPONSE, obj(data.get("responseStatus")).get("response"), Response.NONE),
        online=text(obj(data.get("onlineMeeting")).get("joinUrl")) or text(data.get("onlineMeetingUrl")),
        recurrence=recurrence,
        deleted=_deleted(data, start, found) if recurrence else (),
        attached=tuple(attached),
        created=clock(data.get("createdDateTime")),
        modified=clock(data.get("lastModifiedDateTime")),
        losses=tuple(found.said),
    )


def original(data: Json, series: Event) -> Moment | None:
    """Where the pattern of `series` puts this exception, from its `occurrenceId` (`OID.<series>.<date>`)."""
    day = _occurrence_date(data.get("occurrenceId"))
    return (
        None
        if day is None
        else Moment(series.start.local.replace(year=day.year, month=day.month, day=day.day), series.start.zone)
    )


def _deleted(data: Json, start: Moment, losses: Losses) -> tuple[Moment, ...]:
    """`cancelledOccurrences`: occurrence ids of what was deleted from a series."""
    gone = []
    for one in listed(data.get("cancelledOccurrences")):
        day = _occurrence_date(one)
        if day is None:
            losses.add("a deleted occurrence has an id that tells no date: it stands in the series again")
        else:
            gone.append(Moment(start.local.replace(year=day.year, month=day.month, day=day.day), start.zone))
    return tuple(sorted(gone, key=lambda one: one.local))


def _on(when: date | None, start: Moment) -> Moment | None:
    """The hour of `start` on that day."""
    if when is None:
        return None
    return Moment(start.local.replace(year=when.year, month=when.month, day=when.day), start.zone)


def _occurrence_date(value: Any) -> date | None:
    found = re.search(r"\.(\d{4}-\d{2}-\d{2})$", text(value))
    return day(found[1]) if found else None


def recurrence_of(value: Any, losses: Losses) -> Recurrence | None:
    """A patternedRecurrence; None where there is none, or one that cannot be read (then a loss)."""
    data = obj(value)
    if not data:
        return None
    pattern, span = obj(data.get("pattern")), obj(data.get("range"))
    kind = text(pattern.get("type")).lower()
    frequency = _PATTERNS.get(kind)
    if frequency is None:
        losses.add("its pattern of recurrence is unknown: it stands as one event")
        return None
    relative = kind.startswith("relative")
    days = tuple(_DAYS.index(one.lower()) for one in texts(pattern.get("daysOfWeek")) if one.lower() in _DAYS)
    first = text(pattern.get("firstDayOfWeek")).lower()
    ending = text(span.get("type")).lower()
    return Recurrence(
        frequency=frequency,
        interval=max(1, number(pattern.get("interval")) or 1),
        weekdays=tuple(sorted(days)) if frequency is Frequency.WEEKLY or relative else (),
        week=named(_WEEKS, pattern.get("index"), 1) if relative else 0,
        day=number(pattern.get("dayOfMonth")) or 0 if kind.startswith("absolute") else 0,
        month=number(pattern.get("month")) or 0 if frequency is Frequency.YEARLY else 0,
        first_weekday=_DAYS.index(first) if first in _DAYS else 6,
        until=day(span.get("endDate")) if ending == "enddate" else None,
        count=number(span.get("numberOfOccurrences")) if ending == "numbered" else None,
    )


def contact(data: Json, photo: bytes = b"", losses: Iterable[str] = ()) -> Contact:
    """A contact; its photo is a resource of its own."""
    phones = [("work", one) for one in texts(data.get("businessPhones"))]
    phones += [("home", one) for one in texts(data.get("homePhones"))]
    phones += [("mobile", one) for one in (text(data.get("mobilePhone")),) if one]
    places = (("work", "businessAddress"), ("home", "homeAddress"), ("other", "otherAddress"))
    postal = (_postal(kind, obj(data.get(key))) for kind, key in places)
    related = [("spouse", text(data.get("spouseName"))), ("manager", text(data.get("manager")))]
    related += [("assistant", text(data.get("assistantName")))]
    related += [("child", one) for one in texts(data.get("children"))]
    born = clock(data.get("birthday"))
    name = text(data.get("displayName"))
    return Contact(
        uid=text(data.get("id")),
        name=name or text(data.get("fileAs")) or text(data.get("companyName")),
        given=text(data.get("givenName")),
        middle=text(data.get("middleName")),
        family=text(data.get("surname")),
        prefix=text(data.get("title")),
        suffix=text(data.get("generation")),
        nickname=text(data.get("nickName")),
        initials=text(data.get("initials")),
        file_as=text(data.get("fileAs")),
        phonetic=(text(data.get("yomiGivenName")), text(data.get("yomiSurname"))),
        company=text(data.get("companyName")),
        department=text(data.get("department")),
        title=text(data.get("jobTitle")),
        profession=text(data.get("profession")),
        office=text(data.get("officeLocation")),
        mails=tuple(
            Party(text(one.get("name")), text(one.get("address")))
            for one in map(obj, listed(data.get("emailAddresses")))
            if one.get("address")
        ),
        phones=tuple(phones),
        postal=tuple(one for one in postal if one is not None),
        links=tuple(("work", one) for one in (text(data.get("businessHomePage")),) if one),
        im=texts(data.get("imAddresses")),
        related=tuple((kind, who) for kind, who in related if who),
        birthday=born.date() if born else None,
        notes=Text(text(data.get("personalNotes"))),
        photo=photo,
        categories=texts(data.get("categories")),
        modified=clock(data.get("lastModifiedDateTime")),
        losses=tuple(losses),
    )


def task(data: Json, attached: Sequence[Attached] = (), losses: Iterable[str] = ()) -> Task:
    """A todoTask, its `checklistItems` as lines at the end of its text."""
    found = Losses(list(losses))
    words = body(data.get("body"))
    steps = [obj(one) for one in listed(data.get("checklistItems"))]
    if steps:
        lines = "\n".join(
            f"[{'x' if one.get('isChecked') is True else ' '}] {text(one.get('displayName'))}" for one in steps
        )
        words = Text(f"{words.plain}\n\n{lines}".strip())
        found.add("its steps stand as lines in its text")
    start, due = _moment(data.get("startDateTime")), _moment(data.get("dueDateTime"))
    done = _moment(data.get("completedDateTime"))
    status = named(_STATUS, data.get("status"), "not-started")
    return Task(
        uid=text(data.get("id")),
        subject=text(data.get("title")),
        text=words,
        start=start.local.date() if start else None,
        due=due.local.date() if due else None,
        completed=done.local if done else None,
        status=status,
        done=100 if status == "completed" else 0,
        importance=enum(Importance, data.get("importance"), Importance.NORMAL),
        categories=texts(data.get("categories")),
        reminder=_moment(data.get("reminderDateTime")) if data.get("isReminderOn") is True else None,
        recurrence=recurrence_of(data.get("recurrence"), found),
        attached=tuple(attached),
        created=clock(data.get("createdDateTime")),
        modified=clock(data.get("lastModifiedDateTime")),
        losses=tuple(found.said),
    )


def body(value: Any) -> Text:
    """An itemBody: HTML with its plain text, or plain text."""
    data = obj(value)
    content = text(data.get("content")).replace("\r\n", "\n")
    if text(data.get("contentType")).lower() != "html":
        return Text(content)
    shown = plain(content)
    return Text(shown, content) if shown else Text()


def _attendee(value: Any) -> Attendee:
    data = obj(value)
    response = obj(data.get("status")).get("response")
    return Attendee(
        _party(data) or Party("", ""),
        enum(Role, data.get("type"), Role.REQUIRED),
        named(_RESPONSE, response, Response.NONE),
    )


def _party(value: Any) -> Party | None:
    one = obj(obj(value).get("emailAddress"))
    if not one:
        return None
    return Party(text(one.get("name")), text(one.get("address")))


def _postal(kind: str, data: Json) -> Postal | None:
    keys = ("street", "city", "state", "postalCode", "countryOrRegion")
    values = [text(data.get(key)) for key in keys]
    return Postal(kind, *values) if any(values) else None


def _moment(value: Any) -> Moment | None:
    """A dateTimeTimeZone."""
    data = obj(value)
    local = clock(data.get("dateTime"))
    if local is None:
        return None
    zone = text(data.get("timeZone"))
    return Moment(local, UTC if zone.upper() in ("", "UTC") else Zone(zone))
