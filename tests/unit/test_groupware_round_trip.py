"""Items written and read again, hostile texts among them; and files that are no good."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import icalendar
import pytest
import vobject  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from mailferry.errors import ItemError
from mailferry.groupware import from_ical, from_vcard
from mailferry.groupware.to_ical import calendar
from mailferry.groupware.to_vcard import PHONES, Version, card
from mailferry.model.groupware import (
    UTC,
    Attached,
    Attendee,
    Busy,
    Contact,
    ContactList,
    Event,
    Frequency,
    Importance,
    Moment,
    NotCarried,
    Note,
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
from mailferry.model.message import MemoryBody

BERLIN = Zone("Europe/Berlin")

# What is cleaned away on purpose does not come back: control characters, and blanks around single lines.
lines = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\x85\u2028\u2029"), max_size=60)
lines = lines.map(str.strip)
names = lines.filter(bool)
texts = st.lists(lines, max_size=4).map("\n".join).map(str.strip)
addresses = st.from_regex(r"[a-z0-9][a-z0-9.+_'-]{0,20}@[a-z][a-z0-9-]{0,10}\.example", fullmatch=True)
uids = st.from_regex(r"[A-Za-z0-9@.{}-]{1,60}", fullmatch=True)
stamps = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)).map(lambda one: one.replace(microsecond=0))
zones = st.sampled_from([UTC, Zone(), BERLIN, Zone("America/New_York"), Zone("Asia/Kolkata"), Zone("Australia/Sydney")])
shown = lines.map(lambda one: one.replace("\\", "/"))  # in parameters, as they are written
parties = st.builds(Party, shown, addresses)
attendees = st.builds(
    Attendee,
    parties,
    st.sampled_from(Role),
    st.sampled_from([Response.NONE, Response.ACCEPTED, Response.DECLINED, Response.TENTATIVE]),
)
bodies = st.binary(max_size=200).map(MemoryBody)
files = st.builds(Attached, shown.filter(bool), st.sampled_from(["text/plain", "application/pdf"]), bodies)


@st.composite
def events(draw: st.DrawFn) -> Event:
    zone, begin = draw(zones), draw(stamps)
    all_day = draw(st.booleans())
    if all_day:
        begin, zone = begin.replace(hour=0, minute=0, second=0), Zone()
        end = begin + timedelta(days=draw(st.integers(1, 5)))
    else:
        end = begin + timedelta(minutes=draw(st.integers(0, 2000)))
    people = tuple(draw(st.lists(attendees, max_size=3, unique_by=lambda one: one.party.address)))
    return Event(
        draw(uids),
        draw(lines),
        Moment(begin, zone),
        Moment(end, zone),
        all_day,
        Text(draw(texts), draw(texts)),
        location=draw(texts),
        busy=draw(st.sampled_from(Busy)),
        sensitivity=draw(st.sampled_from(Sensitivity)),
        importance=draw(st.sampled_from(Importance)),
        categories=tuple(draw(st.lists(names, max_size=3))),
        reminder=draw(st.none() | st.integers(0, 50_000)),
        organizer=draw(parties) if people else None,
        meeting=bool(people),
        cancelled=draw(st.booleans()),
        attendees=people,
        online=draw(st.sampled_from(["", "https://meet.example/a?b=c;d,e"])),
        attached=tuple(draw(st.lists(files, max_size=2))),
        sequence=draw(st.integers(0, 99)),
        created=draw(st.none() | stamps),
        modified=draw(st.none() | stamps),
    )


@settings(max_examples=60, deadline=None)
@given(events())
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    written = calendar(event)
    assert written.losses == ()
    assert calendar(event).data == written.data
    assert max(map(len, written.data.split(b"\r\n"))) <= 75
    (again,) = from_ical.items(written.data)
    assert again == event


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        Contact,
        uids,
        names,
        given=lines,
        family=lines,
        suffix=lines,
        nickname=lines,
        file_as=lines,
        company=lines,
        title=lines,
        office=lines,
        mails=st.lists(parties, max_size=3).map(tuple),
        phones=st.lists(st.tuples(st.sampled_from(sorted(PHONES)), st.just("+49 30 1234;ext=5")), max_size=4).map(
            tuple
        ),
        postal=st.lists(
            st.builds(Postal, st.sampled_from(["work", "home", "other"]), texts, names, lines, lines, lines), max_size=2
        ).map(tuple),
        related=st.lists(st.tuples(st.sampled_from(["spouse", "child", "manager"]), names), max_size=2).map(tuple),
        birthday=st.none() | st.dates(date(1800, 1, 1)) | st.just(date(1604, 2, 29)),
        notes=st.builds(Text, texts),
        photo=st.sampled_from([b"", b"\xff\xd8" + bytes(range(256)) * 4]),
        categories=st.lists(names, max_size=3).map(tuple),
        sensitivity=st.sampled_from(Sensitivity),
        modified=st.none() | stamps,
    ),
    st.sampled_from(["3.0", "4.0"]),
)
def test_a_contact_comes_back_as_it_was(contact: Contact, version: Version) -> None:
    same = {one.address for one in contact.mails}
    mails = tuple(replace(one, name="" if one.name in same else one.name) for one in contact.mails)
    contact = replace(contact, mails=mails)
    written = card(contact, version=version)
    assert written.losses == ()
    assert max(map(len, written.data.split(b"\r\n"))) <= 75
    (again,) = from_vcard.cards(written.data)
    assert isinstance(again, Contact)
    related = tuple(sorted(contact.related, key=lambda one: one[0])) if version == "3.0" else contact.related
    there = tuple(sorted(again.related, key=lambda one: one[0])) if version == "3.0" else again.related
    assert replace(again, related=there) == replace(contact, related=related)


@pytest.mark.parametrize("version", ["3.0", "4.0"])
def test_a_list_of_500_comes_back(version: Version) -> None:
    group = ContactList("g", "Alle; alle", tuple(Party(f"Nr, {n}", f"p{n}@acme.example") for n in range(500)))
    written = card(group, version=version)
    assert from_vcard.cards(written.data) == [group]
    parsed = vobject.readOne(written.data.decode())  # what Radicale reads with
    assert len(parsed.contents["member" if version == "4.0" else "x-addressbookserver-member"]) == 500
    lost = card(replace(group, members=(Party("Nobody", ""), Party("", "a@b.example"))), version=version).losses
    assert lost == ("1 members without an address are left out",)


def test_a_task_and_a_note_come_back() -> None:
    task = Task(
        "t",
        "Steuer",
        Text("Zeile\nzwei"),
        start=date(2024, 1, 1),
        due=date(2024, 1, 9),
        completed=datetime(2024, 1, 8, 7),
        status="completed",
        done=100,
        importance=Importance.HIGH,
        sensitivity=Sensitivity.CONFIDENTIAL,
        categories=("A", "B, C"),
        reminder=Moment(datetime(2024, 1, 7, 8)),
        owner="Anna",
        work=timedelta(hours=3),
        spent=timedelta(minutes=30),
        recurrence=Recurrence(Frequency.WEEKLY, weekdays=(0,), count=3),
        attached=(Attached("a.txt", "text/plain", MemoryBody(b"x")),),
        created=datetime(2024, 1, 1, 1),
        modified=datetime(2024, 1, 1, 2),
    )
    note = Note("n", "Milch", Text("Milch\nBrot"), ("Gelb",), datetime(2024, 1, 1))
    assert from_ical.items(calendar(task).data) == [task]
    assert from_ical.items(calendar(note).data) == [note]
    waiting = replace(task, status="waiting", completed=None, done=50)
    assert from_ical.items(calendar(waiting).data) == [waiting]


def meeting(**more: Any) -> Event:
    event = Event("u", "S", Moment(datetime(2024, 3, 1, 9), BERLIN), Moment(datetime(2024, 3, 1, 10), BERLIN))
    return replace(event, **more)


@pytest.mark.parametrize(
    "text",
    [
        "a;b,c\\d\"e'f:g",
        "BEGIN:VEVENT\r\nUID:evil\r\nEND:VEVENT\r\n",
        "\nEND:VCALENDAR\nBEGIN:VCALENDAR",
        "\x00\x01\x1f\x7f bell \x07",
        "ö" * 50_000,
        "😀" * 1000,
        "x" * 100_000,
        "\ud800 half a pair",
        "\r\r\n\n\u2028\u2029\x85",
        " leading and trailing \t ",
        "\\n\\N\\;",
    ],
)
def test_hostile_texts_stay_inside_their_property(text: str) -> None:
    person = Party(text, "a@b.example")
    event = meeting(
        subject=text,
        text=Text(text, text),
        location=text,
        categories=(text,),
        organizer=person,
        attendees=(Attendee(person),),
        attached=(Attached(text, "text/plain", MemoryBody(b"x")),),
    )
    data = calendar(event).data
    assert data == calendar(event).data
    assert max(map(len, data.split(b"\r\n"))) <= 75
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", data)
    parsed = icalendar.Calendar.from_ical(data)
    assert [one.name for one in parsed.subcomponents] == ["VTIMEZONE", "VEVENT"]
    assert str(parsed.events[0]["UID"]) == "u"
    vobject.readOne(data.decode())
    contact = Contact("c", text, family=text, notes=Text(text), categories=(text,), mails=(person,), company=text)
    for version in ("3.0", "4.0"):
        made = card(contact, version=version)
        assert len(from_vcard.cards(made.data)) == 1
        assert not re.search(rb"(?<!\r)\n|\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", made.data)
        vobject.readOne(made.data.decode())


def test_what_cannot_be_written() -> None:
    with pytest.raises(ItemError, match="no start"):
        calendar(meeting(start=Moment(datetime(1601, 1, 1))))
    with pytest.raises(ItemError, match="no UID"):
        calendar(meeting(uid=" "))
    with pytest.raises(ItemError, match="no UID"):
        card(Contact("", "x"))


def test_a_series_without_end_in_1602_is_no_endless_work() -> None:
    event = meeting(
        start=Moment(datetime(1602, 1, 3, 9), BERLIN),
        end=Moment(datetime(1602, 1, 3, 10), BERLIN),
        recurrence=Recurrence(Frequency.DAILY),
    )
    written = calendar(event)
    assert b"RRULE:FREQ=DAILY\r\n" in written.data
    (again,) = from_ical.items(written.data)
    assert isinstance(again, Event) and again.recurrence == Recurrence(Frequency.DAILY)


@pytest.mark.parametrize("frequency", ["SECONDLY", "DAILY", "YEARLY"])
def test_a_rule_that_never_comes_true_is_no_endless_work(frequency: str) -> None:
    data = calendar(meeting(recurrence=Recurrence(Frequency.DAILY))).data
    data = data.replace(b"FREQ=DAILY", f"FREQ={frequency};BYMONTH=2;BYMONTHDAY=30".encode())
    (event,) = from_ical.items(data)
    assert isinstance(event, Event)
    again = calendar(event).data.replace(b"\r\n ", b"")
    assert f"RRULE:FREQ={frequency};".encode() in again and b"BYMONTHDAY=30" in again


def test_an_end_before_the_start_and_an_unknown_zone_are_losses() -> None:
    assert calendar(meeting(end=Moment(datetime(2024, 2, 1), BERLIN))).losses == (
        "it ends before it begins; its end is left out",
    )
    nowhere = Moment(datetime(2024, 2, 1, 8), Zone("Mars Standard Time"))
    written = calendar(meeting(start=nowhere, end=nowhere))
    assert b"DTSTART:20240201T080000\r\n" in written.data
    assert written.losses == (
        "its time zone 'Mars Standard Time' is not known; its times are kept, without a time zone",
    )


def test_old_attachments_are_left_out_and_listed() -> None:
    event = meeting(
        attached=(Attached("a", "text/plain", MemoryBody(b"x")), Attached("b", "", MemoryBody(b""), "https://x/"))
    )
    assert b"VALUE=BINARY" in calendar(event, attachments_since=date(2024, 1, 1)).data
    written = calendar(event, attachments_since=date(2024, 4, 1))
    assert b"VALUE=BINARY" not in written.data and b"https://x/" in written.data
    assert written.losses == ("1 attachments are left out, since it ended before 2024-04-01",)
    endless = replace(event, recurrence=Recurrence(Frequency.DAILY))
    assert b"VALUE=BINARY" in calendar(endless, attachments_since=date(2024, 4, 1)).data


def test_the_owner_organizes_and_answers() -> None:
    owner = Party("Me", "me@acme.example")
    people = (Attendee(owner), Attendee(Party("", "b@acme.example"), response=Response.ACCEPTED))
    mine = calendar(meeting(meeting=True, attendees=people), owner=owner).data.replace(b"\r\n ", b"")
    assert b"ORGANIZER;CN=Me;SCHEDULE-AGENT=CLIENT:mailto:me@acme.example" in mine
    theirs = meeting(
        meeting=True, mine=False, organizer=people[1].party, attendees=people, my_response=Response.TENTATIVE
    )
    data = calendar(theirs, owner=owner).data.replace(b"\r\n ", b"")
    assert b"PARTSTAT=TENTATIVE;ROLE=REQ-PARTICIPANT;SCHEDULE-AGENT=CLIENT:mailto:me@acme.example" in data
    (again,) = from_ical.items(data, owner=owner)
    assert isinstance(again, Event) and not again.mine and again.my_response is Response.TENTATIVE


@pytest.mark.parametrize(
    ("data", "items", "left"),
    [
        (b"", 0, 1),
        (b"hello", 0, 1),
        (b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n", 0, 0),
        (b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY:no start\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n", 0, 1),
        (b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART:20240101T0\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n", 0, 1),
        (b"BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:1\nDTSTART:20240101\nEND:VEVENT\n", 1, 0),
        (b"BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:1\nDTSTART:20240101\nEND:VEVENT\nBEGIN:VEVENT\nUID:2\nDTST", 1, 1),
        (b"BEGIN:VCALENDAR\nBEGIN:VFREEBUSY\nUID:1\nEND:VFREEBUSY\nEND:VCALENDAR\n", 0, 1),
        (b"\xff\xfe\x00B\x00E", 0, 1),
        (b"BEGIN:VCALENDAR\n" * 5000, 0, 0),
    ],
)
def test_files_that_are_no_good(data: bytes, items: int, left: int) -> None:
    found = from_ical.items(data)
    assert sum(isinstance(one, NotCarried) for one in found) == left
    assert len(found) - left == items


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 900))
def test_a_file_damaged_anywhere_never_crashes(noise: bytes, at: int) -> None:
    whole = calendar(meeting(recurrence=Recurrence(Frequency.DAILY), categories=("a",))).data
    from_ical.items(whole[:at] + noise + whole[at + len(noise) :])
    from_ical.items(whole[:at])
    from_vcard.cards(card(Contact("c", "N")).data[: at % 60] + noise)
