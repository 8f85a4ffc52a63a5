"""Events, contacts and tasks from Graph's JSON to ours. Pure; fetches nothing that hangs on them.

Shapes: the resource types event, contact and todoTask of Microsoft Graph v1.0. Invariant: a value of a type or a name
that is not expected never raises: it is left at its default, and where a person would miss it, `losses` says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, TypeVar

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
from mailferry.wire.html import plain

T = TypeVar("T")
Json = Mapping[str, Any]

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
    if _text(data.get("originalStartTimeZone")).startswith(CUSTOM_ZONE):
        found.add("its time zone was made by hand and Graph does not tell its rules: it stands in UTC")
    organizer = _party(data.get("organizer"))
    attendees = tuple(_attendee(one) for one in _list(data.get("attendees")))
    recurrence = recurrence_of(data.get("recurrence"), found)
    return Event(
        uid=_text(data.get("iCalUId")) or _text(data.get("id")),
        subject=_text(data.get("subject")),
        start=start,
        end=end,
        all_day=data.get("isAllDay") is True,
        text=body(data.get("body")),
        location=_text(_object(data.get("location")).get("displayName")),
        busy=_named(_BUSY, data.get("showAs"), Busy.BUSY),
        sensitivity=_enum(Sensitivity, data.get("sensitivity"), Sensitivity.NORMAL),
        importance=_enum(Importance, data.get("importance"), Importance.NORMAL),
        categories=_texts(data.get("categories")),
        reminder=_number(data.get("reminderMinutesBeforeStart")) if data.get("isReminderOn") is True else None,
        organizer=organizer if attendees or data.get("isOrganizer") is False else None,
        mine=data.get("isOrganizer") is not False,
        meeting=bool(attendees) or data.get("isOrganizer") is False,
        cancelled=data.get("isCancelled") is True,
        attendees=attendees,
        my_response=_named(_RESPONSE, _object(data.get("responseStatus")).get("response"), Response.NONE),
        online=_text(_object(data.get("onlineMeeting")).get("joinUrl")) or _text(data.get("onlineMeetingUrl")),
        recurrence=recurrence,
        deleted=_deleted(data, start, found) if recurrence else (),
        attached=tuple(attached),
        created=_instant(data.get("createdDateTime")),
        modified=_instant(data.get("lastModifiedDateTime")),
        losses=tuple(found.said),
    )


def original(data: Json, series: Event) -> Moment | None:
    """Where the pattern of `series` puts this exception, from its `occurrenceId` (`OID.<series>.<date>`)."""
    day = _occurrence_date(data.get("occurrenceId"))
    return None if day is None else Moment(datetime.combine(day, series.start.local.time()), series.start.zone)


def _deleted(data: Json, start: Moment, losses: Losses) -> tuple[Moment, ...]:
    """`cancelledOccurrences`: occurrence ids of what was deleted from a series."""
    gone = []
    for one in _list(data.get("cancelledOccurrences")):
        day = _occurrence_date(one)
        if day is None:
            losses.add("a deleted occurrence has an id that tells no date: it stands in the series again")
        else:
            gone.append(Moment(datetime.combine(day, start.local.time()), start.zone))
    return tuple(sorted(gone, key=lambda one: one.local))


def _occurrence_date(value: Any) -> date | None:
    found = re.search(r"\.(\d{4}-\d{2}-\d{2})$", _text(value))
    return _date(found[1]) if found else None


def recurrence_of(value: Any, losses: Losses) -> Recurrence | None:
    """A patternedRecurrence; None where there is none, or one that cannot be read (then a loss)."""
    data = _object(value)
    if not data:
        return None
    pattern, span = _object(data.get("pattern")), _object(data.get("range"))
    kind = _text(pattern.get("type")).lower()
    frequency = _PATTERNS.get(kind)
    if frequency is None:
        losses.add("its pattern of recurrence is unknown: it stands as one event")
        return None
    relative = kind.startswith("relative")
    days = tuple(_DAYS.index(one.lower()) for one in _texts(pattern.get("daysOfWeek")) if one.lower() in _DAYS)
    first = _text(pattern.get("firstDayOfWeek")).lower()
    ending = _text(span.get("type")).lower()
    return Recurrence(
        frequency=frequency,
        interval=max(1, _number(pattern.get("interval")) or 1),
        weekdays=tuple(sorted(days)) if frequency is Frequency.WEEKLY or relative else (),
        week=_named(_WEEKS, pattern.get("index"), 1) if relative else 0,
        day=_number(pattern.get("dayOfMonth")) or 0 if kind.startswith("absolute") else 0,
        month=_number(pattern.get("month")) or 0 if frequency is Frequency.YEARLY else 0,
        first_weekday=_DAYS.index(first) if first in _DAYS else 6,
        until=_date(span.get("endDate")) if ending == "enddate" else None,
        count=_number(span.get("numberOfOccurrences")) if ending == "numbered" else None,
    )


def contact(data: Json, photo: bytes = b"", losses: Iterable[str] = ()) -> Contact:
    """A contact; its photo is a resource of its own."""
    phones = [("work", one) for one in _texts(data.get("businessPhones"))]
    phones += [("home", one) for one in _texts(data.get("homePhones"))]
    phones += [("mobile", one) for one in (_text(data.get("mobilePhone")),) if one]
    places = (("work", "businessAddress"), ("home", "homeAddress"), ("other", "otherAddress"))
    postal = (_postal(kind, _object(data.get(key))) for kind, key in places)
    related = [("spouse", _text(data.get("spouseName"))), ("manager", _text(data.get("manager")))]
    related += [("assistant", _text(data.get("assistantName")))]
    related += [("child", one) for one in _texts(data.get("children"))]
    born = _instant(data.get("birthday"))
    name = _text(data.get("displayName"))
    return Contact(
        uid=_text(data.get("id")),
        name=name or _text(data.get("fileAs")) or _text(data.get("companyName")),
        given=_text(data.get("givenName")),
        middle=_text(data.get("middleName")),
        family=_text(data.get("surname")),
        prefix=_text(data.get("title")),
        suffix=_text(data.get("generation")),
        nickname=_text(data.get("nickName")),
        initials=_text(data.get("initials")),
        file_as=_text(data.get("fileAs")),
        phonetic=(_text(data.get("yomiGivenName")), _text(data.get("yomiSurname"))),
        company=_text(data.get("companyName")),
        department=_text(data.get("department")),
        title=_text(data.get("jobTitle")),
        profession=_text(data.get("profession")),
        office=_text(data.get("officeLocation")),
        mails=tuple(
            Party(_text(one.get("name")), _text(one.get("address")))
            for one in map(_object, _list(data.get("emailAddresses")))
            if one.get("address")
        ),
        phones=tuple(phones),
        postal=tuple(one for one in postal if one is not None),
        links=tuple(("work", one) for one in (_text(data.get("businessHomePage")),) if one),
        im=_texts(data.get("imAddresses")),
        related=tuple((kind, who) for kind, who in related if who),
        birthday=born.date() if born else None,
        notes=Text(_text(data.get("personalNotes"))),
        photo=photo,
        categories=_texts(data.get("categories")),
        modified=_instant(data.get("lastModifiedDateTime")),
        losses=tuple(losses),
    )


def task(data: Json, attached: Sequence[Attached] = (), losses: Iterable[str] = ()) -> Task:
    """A todoTask, its `checklistItems` as lines at the end of its text."""
    found = Losses(list(losses))
    text = body(data.get("body"))
    steps = [_object(one) for one in _list(data.get("checklistItems"))]
    if steps:
        lines = "\n".join(
            f"[{'x' if one.get('isChecked') is True else ' '}] {_text(one.get('displayName'))}" for one in steps
        )
        text = Text(f"{text.plain}\n\n{lines}".strip())
        found.add("its steps stand as lines in its text")
    start, due = _moment(data.get("startDateTime")), _moment(data.get("dueDateTime"))
    done = _moment(data.get("completedDateTime"))
    status = _named(_STATUS, data.get("status"), "not-started")
    return Task(
        uid=_text(data.get("id")),
        subject=_text(data.get("title")),
        text=text,
        start=start.local.date() if start else None,
        due=due.local.date() if due else None,
        completed=done.local if done else None,
        status=status,
        done=100 if status == "completed" else 0,
        importance=_enum(Importance, data.get("importance"), Importance.NORMAL),
        categories=_texts(data.get("categories")),
        reminder=_moment(data.get("reminderDateTime")) if data.get("isReminderOn") is True else None,
        recurrence=recurrence_of(data.get("recurrence"), found),
        attached=tuple(attached),
        created=_instant(data.get("createdDateTime")),
        modified=_instant(data.get("lastModifiedDateTime")),
        losses=tuple(found.said),
    )


def body(value: Any) -> Text:
    """An itemBody: HTML with its plain text, or plain text."""
    data = _object(value)
    content = _text(data.get("content")).replace("\r\n", "\n")
    if _text(data.get("contentType")).lower() != "html":
        return Text(content)
    shown = plain(content)
    return Text(shown, content) if shown else Text()


def _attendee(value: Any) -> Attendee:
    data = _object(value)
    response = _object(data.get("status")).get("response")
    return Attendee(
        _party(data) or Party("", ""),
        _enum(Role, data.get("type"), Role.REQUIRED),
        _named(_RESPONSE, response, Response.NONE),
    )


def _party(value: Any) -> Party | None:
    one = _object(_object(value).get("emailAddress"))
    if not one:
        return None
    return Party(_text(one.get("name")), _text(one.get("address")))


def _postal(kind: str, data: Json) -> Postal | None:
    keys = ("street", "city", "state", "postalCode", "countryOrRegion")
    values = [_text(data.get(key)) for key in keys]
    return Postal(kind, *values) if any(values) else None


def _moment(value: Any) -> Moment | None:
    """A dateTimeTimeZone."""
    data = _object(value)
    text = _text(data.get("dateTime"))
    try:
        local = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text).removesuffix("Z"))
    except ValueError:
        return None
    zone = _text(data.get("timeZone"))
    return Moment(local.replace(tzinfo=None), UTC if zone.upper() in ("", "UTC") else Zone(zone))


def _instant(value: Any) -> datetime | None:
    """A DateTimeOffset, which Graph gives in UTC; naive."""
    found = _moment({"dateTime": value})
    return found.local if found else None


def _date(value: Any) -> date | None:
    try:
        return date.fromisoformat(_text(value)[:10])
    except ValueError:
        return None


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(one for one in _list(value) if isinstance(one, str) and one)


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _named(names: Mapping[str, T], value: Any, default: T) -> T:
    return names.get(_text(value).lower(), default)


def _enum(kind: Callable[[str], T], value: Any, default: T) -> T:
    try:
        return kind(_text(value).lower())
    except ValueError:
        return default
