"""Appointments as events ([MS-OXOCAL]), with their series, changed occurrences and attendees. Reads properties only.

A changed occurrence is an attached item (method 5) that says only what differs; here it becomes complete. Invariant:
what cannot be read of it is named in the event's losses, and the rest of the event still comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from mailferry.errors import ItemError
from mailferry.model.groupware import (
    UTC,
    Attendee,
    Busy,
    Event,
    Importance,
    Moment,
    Party,
    Response,
    Role,
    Sensitivity,
    Zone,
)
from mailferry.wire.mapi import tags
from mailferry.wire.mapi.attached import Keep, attached
from mailferry.wire.mapi.fields import Making, smtp_address, subject, token
from mailferry.wire.mapi.item import Item
from mailferry.wire.mapi.named import APPOINTMENT, COMMON, MEETING, PUBLIC, Properties
from mailferry.wire.mapi.rebuild import text
from mailferry.wire.mapi.recurrence import Changed, Stored, stored
from mailferry.wire.mapi.zone_blobs import definition, structure, wall_clock

SEQUENCE, BUSY_STATUS, LOCATION = (APPOINTMENT, 0x8201), (APPOINTMENT, 0x8205), (APPOINTMENT, 0x8208)
START, END, ALL_DAY = (APPOINTMENT, 0x820D), (APPOINTMENT, 0x820E), (APPOINTMENT, 0x8215)
RECURRENCE, STATE, RESPONSE = (APPOINTMENT, 0x8216), (APPOINTMENT, 0x8217), (APPOINTMENT, 0x8218)
INTENDED_BUSY = (APPOINTMENT, 0x8224)
ZONE_STRUCTURE, ZONE_SHOWN = (APPOINTMENT, 0x8233), (APPOINTMENT, 0x8234)
ZONE_OF_START, ZONE_OF_SERIES = (APPOINTMENT, 0x825E), (APPOINTMENT, 0x8260)
REMINDER, REMINDER_SET, PRIVATE = (COMMON, 0x8501), (COMMON, 0x8503), (COMMON, 0x8506)
COMMON_START, COMMON_END = (COMMON, 0x8516), (COMMON, 0x8517)
OBJECT_ID, CLEAN_OBJECT_ID = (MEETING, 0x0003), (MEETING, 0x0023)
_ONLINE = (
    (PUBLIC, "OnlineMeetingConfLink"),
    (PUBLIC, "SkypeTeamsMeetingUrl"),
    (PUBLIC, "OnlineMeetingExternalLink"),
)

_MEETING, _RECEIVED, _CANCELLED = 1, 2, 4
_ORGANIZER, _GONE = 0x2, 0x20
_VCAL_UID = b"vCal-Uid"
_OBJECT_ID_HEAD = bytes.fromhex("040000008200e00074c5b7101a82e008")
_BUSY = {0: Busy.FREE, 1: Busy.TENTATIVE, 2: Busy.BUSY, 3: Busy.AWAY, 4: Busy.ELSEWHERE}
_RESPONSES = {1: Response.ORGANIZER, 2: Response.TENTATIVE, 3: Response.ACCEPTED, 4: Response.DECLINED}
_ROLES = {1: Role.REQUIRED, 2: Role.OPTIONAL, 3: Role.RESOURCE}
SENSITIVITIES = {1: Sensitivity.PERSONAL, 2: Sensitivity.PRIVATE, 3: Sensitivity.CONFIDENTIAL}
IMPORTANCES = {0: Importance.LOW, 2: Importance.HIGH}
_MOST_EXCEPTIONS = 2000


def event(item: Item, making: Making, keep: Keep) -> Event:
    """The event of an appointment or of a meeting message. `making` as for messages; `keep` holds what is attached.
    ItemError: it has no start."""
    bag = Properties(making, item)
    single = _single(bag, keep)
    blob = bag.blob(RECURRENCE)
    if not blob:
        return replace(single, losses=tuple(making.differences))
    try:
        series = stored(blob, codepage=bag.number(tags.MESSAGE_CODEPAGE))
    except ItemError as error:
        making.lost(f"{error.message}; only its first occurrence is kept")
        return replace(single, losses=tuple(making.differences))
    zone = _zone(bag, series.start.year, ZONE_OF_SERIES, ZONE_STRUCTURE, ZONE_OF_START) or single.start.zone
    if zone == UTC and single.start.local != series.start:
        making.lost("its series does not name a time zone; its times are taken as UTC")
    whole = replace(
        single,
        start=Moment(series.start, zone),
        end=Moment(max(series.end, series.start), zone),
        recurrence=series.recurrence,
        deleted=tuple(Moment(one, zone) for one in series.deleted),
    )
    exceptions = tuple(_exceptions(bag, whole, series, keep))
    return replace(whole, exceptions=exceptions, losses=tuple(making.differences))


def _single(bag: Properties, keep: Keep) -> Event:
    """The event without its series."""
    item, making = bag.item, bag.making
    start = bag.instant(START) or bag.instant(COMMON_START)
    if start is None:
        raise ItemError("it has no start")
    end = bag.instant(END) or bag.instant(COMMON_END) or start
    all_day = bag.true(ALL_DAY)
    zone = _zone(bag, start.year, ZONE_OF_START, ZONE_OF_SERIES, ZONE_STRUCTURE)
    state = bag.number(STATE) or 0
    received = bool(state & _RECEIVED)
    caller = organizer(bag) if state & _MEETING else None
    return Event(
        uid(bag) or token(item, "uid"),
        subject(making, item.properties),
        _moment(start, zone, all_day),
        _moment(max(end, start), zone, all_day),
        all_day,
        text(making, item),
        location=bag.text(LOCATION),
        busy=_BUSY.get(2 if (busy := bag.number(BUSY_STATUS)) is None else busy, Busy.BUSY),
        sensitivity=sensitivity(bag),
        importance=IMPORTANCES.get(1 if (weight := bag.number(tags.IMPORTANCE)) is None else weight, Importance.NORMAL),
        categories=tuple(item.categories),
        reminder=max(bag.number(REMINDER) or 0, 0) if bag.true(REMINDER_SET) else None,
        organizer=caller,
        mine=not received,
        meeting=bool(state & _MEETING),
        cancelled=bool(state & _CANCELLED),
        attendees=tuple(attendees(bag, caller)) if state & _MEETING else (),
        my_response=_RESPONSES.get(bag.number(RESPONSE) or 0, Response.NONE),
        online=bag.text(*_ONLINE).strip(),
        attached=tuple(attached(item, making, keep)),
        sequence=max(bag.number(SEQUENCE) or 0, 0),
        created=bag.instant(tags.CREATION_TIME),
        modified=bag.instant(tags.LAST_MODIFICATION_TIME),
    )


def _moment(instant: datetime, zone: Zone | None, all_day: bool) -> Moment:
    """An instant by the clock of its zone; of a whole day whose zone nobody knows, the nearest midnight."""
    if zone is not None and zone.rules is not None:
        return Moment(wall_clock(instant, zone.rules), zone)
    if all_day:
        noon = instant + timedelta(hours=12)
        return Moment(datetime(noon.year, noon.month, noon.day), Zone())
    return Moment(instant, UTC)


def _zone(bag: Properties, year: int, *names: tuple[bytes, int]) -> Zone | None:
    """The first of these zones that can be read. A structure has no name but the shown one."""
    for name in names:
        blob = bag.blob(name)
        if not blob:
            continue
        try:
            if name == ZONE_STRUCTURE:
                return structure(blob, bag.text(ZONE_SHOWN))
            return definition(blob).zone(year)
        except ItemError as error:
            bag.making.lost(error.message)
    return None


def sensitivity(bag: Properties) -> Sensitivity:
    found = SENSITIVITIES.get(bag.number(tags.SENSITIVITY) or 0, Sensitivity.NORMAL)
    return Sensitivity.PRIVATE if found is Sensitivity.NORMAL and bag.true(PRIVATE) else found


def uid(bag: Properties) -> str:
    """The iCalendar UID of the meeting's object id ([MS-OXCICAL] §2.1.3.1.1.20.26); "" where it has none."""
    data = bag.blob(CLEAN_OBJECT_ID) or bag.blob(OBJECT_ID)
    if len(data) < 40 or not data.startswith(_OBJECT_ID_HEAD):
        return ""
    size = int.from_bytes(data[36:40], "little")
    own = data[40 : 40 + size]
    if own.startswith(_VCAL_UID) and len(own) > 12:
        return own[12:].rstrip(b"\0").decode("utf-8", "replace").strip()
    return (data[:16] + bytes(4) + data[20:]).hex().upper()


def _party(making: Making, bag: Properties, name: int, kind: int, smtp: int) -> Party:
    """Three properties that stand in a row: name, kind, address."""
    address = bag.text(smtp) or smtp_address(making, bag.text(kind), bag.text(kind + 1))
    return Party(bag.text(name), address)


def intended(bag: Properties) -> Busy | None:
    """How the time is to show once a request is accepted."""
    return _BUSY.get(-1 if (busy := bag.number(INTENDED_BUSY)) is None else busy)


def organizer(bag: Properties) -> Party | None:
    """Whom the message comes from, who organizes the meeting."""
    found = _party(
        bag.making,
        bag,
        tags.SENT_REPRESENTING_NAME,
        tags.SENT_REPRESENTING_ADDRESS_TYPE,
        tags.SENT_REPRESENTING_SMTP_ADDRESS,
    )
    return found if found.name or found.address else None


def attendees(bag: Properties, caller: Party | None) -> Iterator[Attendee]:
    """The recipients, but for those who were uninvited. `caller`: who organizes."""
    making = bag.making
    seen = set()
    try:
        for row in bag.item.recipients():
            flags = making.number(row, tags.RECIPIENT_FLAGS) or 0
            role = _ROLES.get((making.number(row, tags.RECIPIENT_TYPE) or 0) & 0xF)
            if role is None or flags & _GONE:
                continue
            address = making.text(row, tags.SMTP_ADDRESS) or smtp_address(
                making, making.text(row, tags.ADDRESS_TYPE), making.text(row, tags.EMAIL_ADDRESS)
            )
            party = Party(making.text(row, tags.DISPLAY_NAME).strip("'\""), address)
            key = address.casefold() or party.name
            if key in seen:
                continue
            seen.add(key)
            response = _RESPONSES.get(making.number(row, tags.RECIPIENT_TRACK_STATUS) or 0, Response.NONE)
            organizes = caller is not None and bool(address) and address.casefold() == caller.address.casefold()
            if organizes or flags & _ORGANIZER:
                response = Response.ORGANIZER
            yield Attendee(party, role, response)
    except ItemError as error:
        making.lost(f"attendees could not be read: {error.message}")


# Changed occurrences


def _exceptions(bag: Properties, series: Event, blob: Stored, keep: Keep) -> Iterator[Event]:
    items = _exception_items(bag)
    for one in blob.changed[:_MOST_EXCEPTIONS]:
        yield _exception(bag, series, one, items.get(one.start), keep)
    if len(blob.changed) > _MOST_EXCEPTIONS:
        bag.making.lost(f"{len(blob.changed) - _MOST_EXCEPTIONS} changed occurrences are left out")


def _exception_items(bag: Properties) -> dict[datetime, Item]:
    """The attached items of changed occurrences by their start, by the clock of the series."""
    found = {}
    try:
        for one in bag.item.attachments():
            try:
                start = one.properties.get(tags.EXCEPTION_START_TIME)
                if one.properties.get(tags.ATTACH_METHOD) != 5 or not isinstance(start, int):
                    continue
                item = one.message()
            except ItemError as error:
                bag.making.lost(f"a changed occurrence could not be read whole: {error.message}")
                continue
            if item is not None and start < 2**62:
                found[datetime(1601, 1, 1) + timedelta(microseconds=start // 10)] = item
    except ItemError as error:
        bag.making.lost(f"changed occurrences could not be read whole: {error.message}")
    return found


def _exception(bag: Properties, series: Event, changed: Changed, item: Item | None, keep: Keep) -> Event:
    """The occurrence: what the series says, then what the blob, then what its own item."""
    zone = series.start.zone
    found = replace(
        series,
        start=Moment(changed.start, zone),
        end=Moment(changed.end, zone),
        original=Moment(changed.original, zone),
        recurrence=None,
        deleted=(),
        subject=series.subject if changed.subject is None else changed.subject,
        location=series.location if changed.location is None else changed.location,
        busy=series.busy if changed.busy is None else _BUSY.get(changed.busy, Busy.BUSY),
        all_day=series.all_day if changed.all_day is None else changed.all_day,
        reminder=_reminder(series, changed),
    )
    if item is None:
        return found
    own = Properties(bag.making, item)
    body = text(bag.making, item)
    people = tuple(attendees(own, series.organizer)) if series.meeting else ()
    files = tuple(attached(item, bag.making, keep))
    return replace(
        found,
        subject=subject(bag.making, item.properties) or found.subject,
        location=found.location if own.get(LOCATION) is None else own.text(LOCATION),
        text=body if body.plain or body.html else found.text,
        attendees=people or found.attendees,
        attached=files or found.attached,
        categories=tuple(item.categories) or found.categories,
        online=own.text(*_ONLINE).strip() or found.online,
        cancelled=bool((own.number(STATE) or 0) & _CANCELLED) or found.cancelled,
        my_response=_RESPONSES.get(own.number(RESPONSE) or 0, found.my_response),
        created=own.instant(tags.CREATION_TIME) or found.created,
        modified=own.instant(tags.LAST_MODIFICATION_TIME) or found.modified,
    )


def _reminder(series: Event, changed: Changed) -> int | None:
    if changed.remind is False:
        return None
    if changed.reminder is not None:
        return max(changed.reminder, 0) if changed.remind or series.reminder is not None else None
    return 15 if changed.remind and series.reminder is None else series.reminder
