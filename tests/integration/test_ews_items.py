"""Events, contacts, tasks and notes from the fake Exchange: into the model, and by the engine into a Radicale."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path

import pytest

from lab import fake_ews_items as make
from lab.fake_ews import FakeEws
from lab.fake_ews_store import Attachment, FakeExchange, FakeItem, FakeMailbox, element, message
from lab.radicale import Radicale
from mailferry.config.accounts import parse_address
from mailferry.model.account import EwsAccount
from mailferry.model.groupware import (
    Contact,
    ContactList,
    Event,
    Frequency,
    Item,
    Kind,
    Moment,
    NotCarried,
    Note,
    Recurrence,
    Response,
    Task,
)
from mailferry.secret import Secret
from mailferry.sources.ews_items import EwsItemSource
from tests.integration.test_copy_items import copy, targets
from tests.integration.test_fake_ews import FORTNIGHT

ALICE = "alice@acme.example"
BERLIN = "W. Europe Standard Time"


@pytest.fixture
def fake() -> Iterator[FakeEws]:
    exchange = FakeExchange()
    exchange.add(ALICE, "pw")
    with FakeEws(exchange) as running:
        yield running


@pytest.fixture
def alice(fake: FakeEws) -> FakeMailbox:
    return fake.exchange.mailboxes[ALICE]


def source(fake: FakeEws) -> EwsItemSource:
    account = parse_address(fake.address(ALICE), secret=Secret("pw"))
    assert isinstance(account, EwsAccount)
    return EwsItemSource(account)


def read(fake: FakeEws, kind: Kind) -> list[Item | NotCarried]:
    """What the default collection of a kind gives."""

    async def work() -> list[Item | NotCarried]:
        session = await source(fake).items_session()
        try:
            place = next(one for one in await session.collections() if one.kind is kind and one.default)
            contents = await session.contents(place)
            found = [item async for _, item in session.items(place, [one.id for one in contents.items])]
            return [*contents.not_carried, *found]
        finally:
            await session.close()

    return asyncio.run(work())


def jour_fixe() -> FakeItem:
    changed = make.event(
        "u1",
        "Moved",
        datetime(2026, 3, 31, 15),
        exception=True,
        body="its own text",
        attendees=[("Eve", "eve@acme.example", "Tentative")],
        attachments=[Attachment("new.txt", b"three", "text/plain")],
    )
    return make.event(
        "u1",
        "Jour fixe",
        datetime(2026, 3, 2, 9, 30),
        body="agenda",
        html="<p>agenda</p>",
        recurrence=FORTNIGHT,
        deleted=[datetime(2026, 3, 16, 9, 30), datetime(2026, 4, 13, 9, 30)],
        changed=[(datetime(2026, 3, 30, 9, 30), changed)],
        attendees=[("Bob", "bob@acme.example", "Accept"), ("Old", "/O=ACME/CN=OLD", "Unknown")],
        attachments=[Attachment("agenda.txt", b"one, two", "text/plain")],
    )


def test_a_series_with_its_exceptions(fake: FakeEws, alice: FakeMailbox) -> None:
    alice.add(alice.known("calendar"), jour_fixe())
    (event,) = read(fake, Kind.EVENT)
    assert isinstance(event, Event)
    assert (event.uid, event.subject, event.text.html) == ("u1", "Jour fixe", "<p>agenda</p>")
    assert (event.start.local, event.start.zone.name) == (datetime(2026, 3, 2, 9, 30), BERLIN)
    assert event.recurrence == Recurrence(Frequency.WEEKLY, 2, (0, 2), first_weekday=0, count=10)
    # before and after the clocks change in March, told in UTC by Exchange
    assert [one.local for one in event.deleted] == [datetime(2026, 3, 16, 9, 30), datetime(2026, 4, 13, 9, 30)]
    assert [one.response for one in event.attendees] == [Response.ACCEPTED, Response.NONE]
    assert [b"".join(one.body.chunks()) for one in event.attached] == [b"one, two"]
    assert event.losses == ("an address is Exchange's own (X.500), and no SMTP address is known for it",)
    (changed,) = event.exceptions
    assert changed.original == Moment(datetime(2026, 3, 30, 9, 30), event.start.zone)
    assert (changed.start.local, changed.text.plain) == (datetime(2026, 3, 31, 15), "its own text")
    assert [one.party.address for one in changed.attendees] == ["eve@acme.example"]
    assert [one.name for one in changed.attached] == ["new.txt"]


def test_zones_known_unknown_and_made_up(fake: FakeEws, alice: FakeMailbox) -> None:
    calendar = alice.known("calendar")
    nine = datetime(2026, 7, 1, 9)
    no_definition = {"calendar:StartTimeZone": "", "calendar:EndTimeZone": ""}
    alice.add(calendar, make.event("custom", "a", nine, custom_zone="Customized Time Zone"))
    alice.add(calendar, make.event("asked", "b", nine, zone="Eastern Standard Time", fields=no_definition))
    mars = {f"calendar:{one}TimeZoneId": element(f"{one}TimeZoneId", "Mars Standard Time") for one in ("Start", "End")}
    alice.add(calendar, make.event("mars", "c", nine, fields=no_definition | mars))
    found = {one.uid: one for one in read(fake, Kind.EVENT) if isinstance(one, Event)}
    assert {one.start.local for one in found.values()} == {nine}
    rules = found["custom"].start.zone.rules
    assert rules is not None
    assert (rules.standard, rules.daylight) == (60, 120)
    assert found["asked"].start.zone.rules is not None
    assert (found["mars"].start.zone.name, found["mars"].start.zone.rules) == ("Mars Standard Time", None)
    assert fake.seen["GetServerTimeZones"] == 2


def test_what_cannot_be_read_is_named(fake: FakeEws, alice: FakeMailbox) -> None:
    calendar = alice.known("calendar")
    no_start = {"calendar:Start": "", "calendar:StartWallClock": ""}
    alice.add(calendar, make.event("u1", "without a start", datetime(2026, 7, 1), fields=no_start))
    refused = alice.add(calendar, make.event("u2", "refused", datetime(2026, 7, 1)))
    refused.refuses = "ErrorCorruptData"
    alice.add(calendar, message(b"Subject: what is this here\r\n\r\n", item_class="IPM.Note"))
    found = read(fake, Kind.EVENT)
    assert sorted(one.reason for one in found if isinstance(one, NotCarried)) == [
        "Exchange says ErrorCorruptData: The fake was told to refuse this one.",
        "an event without a start",
        "not a kind of item that belongs here (IPM.Note)",
    ]


def test_contacts_lists_tasks_and_notes(fake: FakeEws, alice: FakeMailbox) -> None:
    contacts = alice.known("contacts")
    phone = '<t:PhoneNumbers><t:Entry Key="MobilePhone">+49 1</t:Entry></t:PhoneNumbers>'
    street = '<t:Entry Key="Business"><t:Street>Weg 1</t:Street><t:City>Ulm</t:City></t:Entry>'
    fields = {
        "contacts:PhoneNumbers": phone,
        "contacts:PhysicalAddresses": f"<t:PhysicalAddresses>{street}</t:PhysicalAddresses>",
        "contacts:Birthday": element("Birthday", "1980-04-30T22:00:00Z"),
    }
    alice.add(contacts, make.contact("Ann Smith", "ann@x.example", fields=fields, photo=b"\xff\xd8\xff"))
    many = [(f"M {n}", f"m{n}@x.example", "SMTP") for n in range(500)]
    alice.add(contacts, make.distribution_list("Team", [*many, ("Old", "/o=acme/cn=old", "EX")]))
    alice.add(alice.known("tasks"), make.task("do it", due="2026-05-01T22:00:00Z", done=25, status="InProgress"))
    alice.add(alice.known("notes"), make.note("milk", "milk\r\neggs"))
    found = {type(one): one for one in read(fake, Kind.CONTACT)}
    ann, team = found[Contact], found[ContactList]
    assert isinstance(ann, Contact)
    assert (ann.given, ann.family, ann.photo, ann.birthday) == ("Ann", "Smith", b"\xff\xd8\xff", date(1980, 5, 1))
    assert ann.phones == (("mobile", "+49 1"),)
    assert (ann.postal[0].kind, ann.postal[0].city) == ("work", "Ulm")
    assert isinstance(team, ContactList)
    assert len(team.members) == 501
    assert len(team.losses) == 1
    (task,) = read(fake, Kind.TASK)
    assert isinstance(task, Task)
    assert (task.due, task.done, task.status) == (date(2026, 5, 2), 25, "in-progress")
    (note,) = read(fake, Kind.NOTE)
    assert isinstance(note, Note)
    assert note.text.plain == "milk\neggs"


def test_into_caldav_once_and_then_what_changed(
    fake: FakeEws, alice: FakeMailbox, radicale: Radicale, new_user: Callable[[], str], tmp_path: Path
) -> None:
    calendar = alice.known("calendar")
    alice.add(calendar, jour_fixe())
    single = alice.add(calendar, make.event("u2", "once", datetime(2026, 7, 1, 9)))
    alice.add(alice.known("contacts"), make.contact("Ann Smith", "ann@x.example"))
    user = radicale.add(new_user())
    to = targets(radicale, user)
    assert copy(tmp_path / "ledger.db", source(fake), to).total().copied == 3
    shown = b"".join(radicale.items(user).values())
    assert b"RECURRENCE-ID;TZID=Europe/Berlin:20260330T093000" in shown
    assert b"EXDATE;TZID=Europe/Berlin:20260316T093000" in shown
    again = copy(tmp_path / "ledger.db", source(fake), to).total()
    assert (again.copied, again.there) == (0, 3)
    single.fields["item:Subject"] = element("Subject", "once more")
    alice.touch(calendar, single)
    copy(tmp_path / "ledger.db", source(fake), to)
    assert b"SUMMARY:once more" in b"".join(radicale.items(user).values())
