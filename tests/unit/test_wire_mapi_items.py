"""Appointments, contacts, lists, tasks and notes of a PST file: the blobs are put together here from [MS-OXOCAL]."""

from __future__ import annotations

import struct
from datetime import date, datetime, timedelta
from email import message_from_bytes
from pathlib import Path

import pytest

from lab.pst_file import (
    BINARIES,
    BINARY,
    BOOLEAN,
    DOUBLE,
    LONG,
    STRING,
    STRINGS,
    TIME,
    Attached,
    Mail,
    Properties,
    PstWriter,
    Value,
)
from mailferry.errors import ItemError
from mailferry.groupware.invitation import invitation
from mailferry.groupware.to_ical import calendar
from mailferry.groupware.to_vcard import card
from mailferry.model.account import PstAccount
from mailferry.model.groupware import (
    Attendee,
    Busy,
    Contact,
    ContactList,
    Event,
    Frequency,
    Item,
    Kind,
    NotCarried,
    Note,
    Party,
    Recurrence,
    Response,
    Role,
    Sensitivity,
    Task,
    Turn,
    ZoneRules,
)
from mailferry.model.message import Message
from mailferry.net import pst_items
from mailferry.net.pst import PstMailbox
from mailferry.wire.mapi import appointment as of_event
from mailferry.wire.mapi import contact as of_contact
from mailferry.wire.mapi import todo as of_task
from mailferry.wire.mapi.named import ADDRESS
from mailferry.wire.mapi.recurrence import stored
from mailferry.wire.mapi.zone_blobs import definition, structure

EPOCH = datetime(1601, 1, 1)
OBJECT_ID = bytes.fromhex("040000008200e00074c5b7101a82e008") + bytes(20)
BERLIN = ZoneRules(60, 120, Turn(3, 5, 6, 120), Turn(10, 5, 6, 180))


def filetime(when: datetime) -> int:
    return int((when - EPOCH).total_seconds()) * 10**7


def minutes(when: datetime) -> int:
    return int((when - EPOCH).total_seconds()) // 60


def systemtime(month: int, weekday: int, week: int, hour: int, year: int = 0) -> bytes:
    return struct.pack("<8H", year, month, weekday, week, hour, 0, 0, 0)


def zone_definition(name: str = "W. Europe Standard Time") -> bytes:
    """With two rules: before 1980 there was no daylight time."""
    text = name.encode("utf-16-le")
    head = struct.pack("<BBHHH", 2, 1, 6 + len(text), 2, len(name)) + text + struct.pack("<H", 2)
    old = struct.pack("<BBHHH14x3i", 2, 1, 0x3E, 0, 1601, -60, 0, -60) + bytes(32)
    now = struct.pack("<BBHHH14x3i", 2, 1, 0x3E, 2, 1980, -60, 0, -60)
    return head + old + now + systemtime(10, 0, 5, 3) + systemtime(3, 0, 5, 2)


def zone_structure() -> bytes:
    return struct.pack("<3iH", -60, 0, -60, 0) + systemtime(10, 0, 5, 3) + bytes(2) + systemtime(3, 0, 5, 2)


def pattern(
    kind: int, frequency: int, period: int, specific: bytes, end: bytes, sliding: int = 0, calendar: int = 0
) -> bytes:
    return struct.pack("<5HIII", 0x3004, 0x3004, frequency, kind, calendar, 0, period, sliding) + specific + end


def series(
    specific: bytes = struct.pack("<I", 0b10),
    *,
    kind: int = 1,
    frequency: int = 0x200B,
    period: int = 1,
    end: tuple[int, int] = (0x2022, 10),
    deleted: tuple[datetime, ...] = (),
    changed: tuple[tuple[datetime, datetime, datetime, int, bytes, bytes], ...] = (),
    start: datetime = datetime(2024, 3, 4),
    last: datetime = datetime(2024, 5, 6),
    calendar: int = 0,
) -> bytes:
    """A blob of a series from 9:00 to 10:00. `changed`: start, end, original, flags, fields, extended fields."""
    gone = sorted([*deleted, *(one[2].replace(hour=0, minute=0) for one in changed)])
    tail = struct.pack("<4I", *end, 0, len(gone)) + b"".join(struct.pack("<I", minutes(one)) for one in gone)
    tail += struct.pack("<I", len(changed))
    tail += b"".join(struct.pack("<I", minutes(one[0].replace(hour=0, minute=0))) for one in changed)
    tail += struct.pack("<II", minutes(start), minutes(last))
    tail += struct.pack("<4IH", 0x3006, 0x3009, 540, 600, len(changed))
    for one in changed:
        tail += struct.pack("<3IH", *map(minutes, one[:3]), one[3]) + one[4]
    tail += struct.pack("<I", 0)
    for one in changed:
        tail += struct.pack("<III", 4, 0, 0)
        if one[3] & 0x11:
            tail += (
                struct.pack("<3I", minutes(one[0]), minutes(one[1]), minutes(one[2])) + one[5] + struct.pack("<I", 0)
            )
    return pattern(kind, frequency, period, specific, tail, calendar=calendar) + struct.pack("<I", 0)


class Writing:
    """A PST file with one folder of a kind."""

    def __init__(self, path: Path, container: str) -> None:
        self.path = path / "f.pst"
        self.writer = PstWriter(self.path)
        self.folder = self.writer.folder("Folder", container=container)

    def bag(self, kind: str, values: dict[tuple[bytes, str | int] | int, tuple[int, Value]]) -> Properties:
        found: dict[int, tuple[int, Value]] = {0x001A: (STRING, kind)}
        for name, value in values.items():
            found[name if isinstance(name, int) else self.writer.tag(*name)] = value
        return found

    def add(self, mail: Mail) -> None:
        self.writer.add(self.folder, mail)

    def items(self) -> list[Item | NotCarried]:
        self.writer.close()
        mailbox = PstMailbox(PstAccount(str(self.path), domain="acme.example"))
        (collection,) = pst_items.collections(mailbox)
        assert collection.default
        found = pst_items.contents(mailbox, collection)
        read = [pst_items.read(mailbox, collection.kind, int(ref.id, 16)) for ref in found.items]
        again = [pst_items.read(mailbox, collection.kind, int(ref.id, 16)) for ref in found.items]
        assert repr(again) == repr(read)  # the same at every reading
        mailbox.close()
        return [*read, *found.not_carried]


@pytest.fixture
def calendars(tmp_path: Path) -> Writing:
    return Writing(tmp_path, "IPF.Appointment")


def appointment(writing: Writing, **more: tuple[int, Value]) -> Properties:
    values: dict[tuple[bytes, str | int] | int, tuple[int, Value]] = {
        0x0037: (STRING, "Jour fixe"),
        0x1000: (STRING, "Text der Serie"),
        of_event.START: (TIME, filetime(datetime(2024, 3, 4, 8))),
        of_event.END: (TIME, filetime(datetime(2024, 3, 4, 9))),
        of_event.LOCATION: (STRING, "Raum 1"),
        of_event.BUSY_STATUS: (LONG, 3),
        of_event.ZONE_OF_START: (BINARY, zone_definition()),
        of_event.OBJECT_ID: (BINARY, OBJECT_ID + struct.pack("<I", 4) + b"abcd"),
        of_event.REMINDER_SET: (BOOLEAN, True),
        of_event.REMINDER: (LONG, 30),
        0x0036: (LONG, 2),
        0x0017: (LONG, 2),
        0x3008: (TIME, filetime(datetime(2024, 1, 2, 3, 4, 5))),
    }
    named = {name: getattr(of_event, name) for name in more}
    return writing.bag("IPM.Appointment", values | {named[name]: value for name, value in more.items()})


def only(items: list[Item | NotCarried]) -> Event:
    (found,) = items
    assert isinstance(found, Event)
    return found


def test_a_single_appointment(calendars: Writing) -> None:
    calendars.add(Mail(appointment(calendars)))
    found = only(calendars.items())
    assert (found.subject, found.location, found.text.plain) == ("Jour fixe", "Raum 1", "Text der Serie")
    assert found.start.local == datetime(2024, 3, 4, 9)
    assert found.start.zone.name == "W. Europe Standard Time"
    assert found.start.zone.rules == BERLIN
    assert found.end.local == datetime(2024, 3, 4, 10)
    assert (found.busy, found.sensitivity, found.reminder) == (Busy.AWAY, Sensitivity.PRIVATE, 30)
    assert found.uid == (OBJECT_ID + struct.pack("<I", 4) + b"abcd").hex().upper()
    assert found.modified == datetime(2024, 1, 2, 3, 4, 5)
    assert not found.meeting and found.mine and not found.losses
    assert b"DTSTART;TZID=Europe/Berlin:20240304T090000" in calendar(found).data


def test_an_invitation_keeps_its_uid_and_people(calendars: Writing) -> None:
    uid = b"vCal-Uid\1\0\0\0" + b"20240304-abc@other.example\0"
    blob = OBJECT_ID + struct.pack("<I", len(uid)) + uid
    people = [
        (1, 2, 1, "Chefin", "chefin@other.example"),
        (1, 0, 3, "Anna", "anna@acme.example"),
        (2, 0, 4, "Ben", "ben@acme.example"),
        (3, 0, 0, "Raum 1", "raum1@acme.example"),
        (1, 0x20, 0, "Weg", "weg@acme.example"),
    ]
    recipients: list[Properties] = [
        {
            0x0C15: (LONG, kind),
            0x5FFD: (LONG, flags),
            0x5FFF: (LONG, status),
            0x3001: (STRING, name),
            0x39FE: (STRING, address),
        }
        for kind, flags, status, name, address in people
    ]
    more: Properties = {
        0x0042: (STRING, "Chefin"),
        0x0064: (STRING, "SMTP"),
        0x0065: (STRING, "chefin@other.example"),
    }
    bag = appointment(calendars, OBJECT_ID=(BINARY, blob), STATE=(LONG, 3), RESPONSE=(LONG, 3))
    calendars.add(Mail({**bag, **more}, recipients))
    found = only(calendars.items())
    assert found.uid == "20240304-abc@other.example"
    assert found.organizer == Party("Chefin", "chefin@other.example")
    assert found.meeting and not found.mine and found.my_response is Response.ACCEPTED
    assert found.attendees == (
        Attendee(Party("Chefin", "chefin@other.example"), Role.REQUIRED, Response.ORGANIZER),
        Attendee(Party("Anna", "anna@acme.example"), Role.REQUIRED, Response.ACCEPTED),
        Attendee(Party("Ben", "ben@acme.example"), Role.OPTIONAL, Response.DECLINED),
        Attendee(Party("Raum 1", "raum1@acme.example"), Role.RESOURCE, Response.NONE),
    )
    data = calendar(found, owner=Party("", "anna@acme.example")).data.replace(b"\r\n ", b"")
    assert data.count(b"SCHEDULE-AGENT=CLIENT") == data.count(b":mailto:") == 5


def test_a_series_with_exceptions_and_their_own_text(calendars: Writing) -> None:
    """Moved and renamed by the blob, its text in the attached item; one with nothing but a place; one deleted."""
    renamed = "Verschoben ö".encode("utf-16-le")
    place = "Raum 9".encode("utf-16-le")
    moved = (
        datetime(2024, 3, 19, 14),
        datetime(2024, 3, 19, 16),
        datetime(2024, 3, 18, 9),
        0x01 | 0x20 | 0x200,
        struct.pack("<HH", 13, 12) + "Verschoben ?".encode("cp1252") + struct.pack("<I", 1),
        struct.pack("<H", len(renamed) // 2) + renamed,
    )
    elsewhere = (
        datetime(2024, 4, 1, 9),
        datetime(2024, 4, 1, 10),
        datetime(2024, 4, 1, 9),
        0x10 | 0x4 | 0x8,
        struct.pack("<II", 5, 1) + struct.pack("<HH", 7, 6) + b"Raum 9",
        struct.pack("<H", len(place) // 2) + place,
    )
    blob = series(deleted=(datetime(2024, 3, 25),), changed=(moved, elsewhere))
    inner = calendars.bag(
        "IPM.OLE.CLASS.{00061055-0000-0000-C000-000000000046}",
        {0x0037: (STRING, "Verschoben ö"), 0x1000: (STRING, "Nur diesmal")},
    )
    attached = Attached(
        {0x3705: (LONG, 5), 0x7FFB: (TIME, filetime(datetime(2024, 3, 19, 14))), 0x7FFE: (BOOLEAN, True)}, Mail(inner)
    )
    bag = appointment(calendars, RECURRENCE=(BINARY, blob), ZONE_OF_SERIES=(BINARY, zone_definition()))
    calendars.add(Mail(bag, (), [attached]))
    found = only(calendars.items())
    assert found.recurrence == Recurrence(Frequency.WEEKLY, weekdays=(0,), count=10, first_weekday=6)
    assert [one.local for one in found.deleted] == [datetime(2024, 3, 25, 9)]
    first, second = found.exceptions
    assert (first.original.local if first.original else None) == datetime(2024, 3, 18, 9)
    assert (first.start.local, first.end.local) == (datetime(2024, 3, 19, 14), datetime(2024, 3, 19, 16))
    assert (first.subject, first.text.plain, first.busy) == ("Verschoben ö", "Nur diesmal", Busy.TENTATIVE)
    assert (first.location, first.reminder) == ("Raum 1", 30)
    assert (second.subject, second.text.plain, second.location) == ("Jour fixe", "Text der Serie", "Raum 9")
    assert second.reminder == 5
    assert not found.attached and not found.losses
    text = calendar(found).data.decode().replace("\r\n ", "")
    assert "RECURRENCE-ID;TZID=Europe/Berlin:20240318T090000" in text
    assert "EXDATE;TZID=Europe/Berlin:20240325T090000" in text


@pytest.mark.parametrize(
    ("blob", "wanted"),
    [
        (series(b"", kind=0, frequency=0x200A, period=2880), Recurrence(Frequency.DAILY, interval=2, count=10)),
        (
            series(struct.pack("<I", 0b0111110), frequency=0x200A),
            Recurrence(Frequency.WEEKLY, weekdays=(0, 1, 2, 3, 4), count=10),
        ),
        (
            series(struct.pack("<I", 31), kind=2, frequency=0x200C, end=(0x2023, 0)),
            Recurrence(Frequency.MONTHLY, day=31),
        ),
        (series(struct.pack("<I", 31), kind=4, frequency=0x200C), Recurrence(Frequency.MONTHLY, day=31, count=10)),
        (
            series(struct.pack("<II", 0b100, 5), kind=3, frequency=0x200C, period=2),
            Recurrence(Frequency.MONTHLY, interval=2, weekdays=(1,), week=5, count=10),
        ),
        (
            series(struct.pack("<II", 0b10, 1), kind=3, frequency=0x200D, period=12, end=(0x2021, 10)),
            Recurrence(Frequency.YEARLY, weekdays=(0,), week=1, month=3, until=date(2024, 5, 6)),
        ),
        (
            series(struct.pack("<I", 29), kind=2, frequency=0x200D, period=24, start=datetime(2024, 2, 29)),
            Recurrence(Frequency.YEARLY, interval=2, day=29, month=2, count=10),
        ),
        (
            series(struct.pack("<I", 1), kind=0xA, frequency=0x200C),
            Recurrence(Frequency.MONTHLY, day=1, count=10, calendar="Hijri"),
        ),
        (
            series(struct.pack("<I", 1), kind=2, frequency=0x200C, calendar=8),
            Recurrence(Frequency.MONTHLY, day=1, count=10, calendar="Hebrew"),
        ),
    ],
)
def test_patterns(blob: bytes, wanted: Recurrence) -> None:
    assert stored(blob).recurrence == wanted


def test_a_blob_cut_anywhere_is_an_error_or_the_same() -> None:
    whole = series(deleted=(datetime(2024, 3, 25),))
    for end in range(len(whole)):
        try:
            stored(whole[:end])
        except ItemError:
            continue
        assert end >= len(whole) - 8, "only what is reserved may be missing"


def test_zones_cut_anywhere_are_errors() -> None:
    whole = zone_definition()
    assert definition(whole).zone(2024).rules == BERLIN
    assert definition(whole).zone(1975).rules == ZoneRules(60)
    assert structure(zone_structure(), "X").rules == BERLIN
    for end in range(len(whole)):
        with pytest.raises(ItemError):
            definition(whole[:end])
    with pytest.raises(ItemError):
        structure(zone_structure()[:47])


def test_a_broken_series_is_kept_once_with_a_loss(calendars: Writing) -> None:
    calendars.add(Mail(appointment(calendars, RECURRENCE=(BINARY, series()[:30]))))
    found = only(calendars.items())
    assert found.recurrence is None
    assert found.losses == ("its recurrence breaks off, or makes no sense; only its first occurrence is kept",)


def test_whole_days_and_missing_zones(calendars: Writing) -> None:
    at = {"START": (TIME, filetime(datetime(2024, 7, 9, 22))), "END": (TIME, filetime(datetime(2024, 7, 10, 22)))}
    calendars.add(Mail(appointment(calendars, ALL_DAY=(BOOLEAN, True), ZONE_OF_START=(BINARY, b""), **at)))
    calendars.add(Mail(appointment(calendars, ALL_DAY=(BOOLEAN, True), **at)))
    calendars.add(Mail(appointment(calendars, ZONE_OF_START=(BINARY, b"\2\1xx"), **at)))
    bare, zoned, broken = calendars.items()
    for one in (bare, zoned):
        assert isinstance(one, Event)
        data = calendar(one).data
        assert b"DTSTART;VALUE=DATE:20240710\r\n" in data
        assert b"DTEND;VALUE=DATE:20240711\r\n" in data
    assert isinstance(broken, Event)
    assert broken.start.zone.name == "UTC"
    assert broken.losses == ("its time zone breaks off",)


def test_an_appointment_without_a_start_is_not_carried(calendars: Writing) -> None:
    calendars.add(Mail(appointment(calendars, START=(TIME, 0), END=(TIME, 0))))
    calendars.add(Mail(calendars.bag("IPM.Note", {0x0037: (STRING, "eine Nachricht")})))
    first, second = calendars.items()
    assert isinstance(first, NotCarried) and isinstance(second, NotCarried)
    assert (first.reason, first.item_class) == ("it has no start", "IPM.Appointment")
    assert second.reason == "an item of the class IPM.Note in a folder of another kind"


def test_what_is_attached_comes_along(calendars: Writing) -> None:
    plain: Properties = {0x3705: (LONG, 1), 0x3707: (STRING, "..\\..\\plan.pdf"), 0x370E: (STRING, "application/pdf")}
    link: Properties = {0x3705: (LONG, 2), 0x3707: (STRING, "x.doc"), 0x370D: (STRING, "\\\\server\\share\\x.doc")}
    inner = Mail({0x001A: (STRING, "IPM.Note"), 0x0037: (STRING, "Inner")})
    embedded: Properties = {0x3705: (LONG, 5), 0x3001: (STRING, "Inner")}
    attached = [Attached(plain, [b"%PDF" * 500]), Attached(link), Attached(embedded, inner)]
    calendars.add(Mail(appointment(calendars), (), attached))
    found = only(calendars.items())
    assert [one.name for one in found.attached] == ["plan.pdf", "x.doc", "Inner.eml"]
    assert b"".join(found.attached[0].body.chunks()) == b"%PDF" * 500
    assert found.attached[1].reference == "file://server/share/x.doc"
    assert b"Subject: Inner" in b"".join(found.attached[2].body.chunks())


def test_a_contact_with_everything(tmp_path: Path) -> None:
    writing = Writing(tmp_path, "IPF.Contact")
    address = (ADDRESS, 0x8083)
    bag = writing.bag(
        "IPM.Contact",
        {
            0x3001: (STRING, "Dr. Zoë Größe"),
            0x3A06: (STRING, "Zoë"),
            0x3A11: (STRING, "Größe"),
            0x3A16: (STRING, "Acme; Söhne, KG"),
            0x3A08: (STRING, "+49 30 1"),
            0x3A23: (STRING, "+49 30 2"),
            0x3A58: (STRINGS, ["Kind A", "Kind B"]),
            0x3A42: (TIME, filetime(datetime(1970, 12, 30, 23))),
            (ADDRESS, 0x8082): (STRING, "SMTP"),
            address: (STRING, "zoe@acme.example"),
            (ADDRESS, 0x8084): (STRING, "zoe@acme.example"),
            (ADDRESS, 0x8092): (STRING, "EX"),
            (ADDRESS, 0x8093): (STRING, "/o=Acme/cn=zoe2"),
            (ADDRESS, 0x8045): (STRING, "Weg 1\r\nHof"),
            (ADDRESS, 0x8046): (STRING, "Berlin"),
            0x3A70: (BINARIES, [struct.pack("<HHI", 1, 8, 0) + struct.pack("<HH", 3, 7) + b"DER"]),
            writing.writer.keyword_tag(): (STRINGS, ["Rot", "Blau"]),
        },
    )
    photo = Attached({0x3705: (LONG, 1), 0x7FFF: (BOOLEAN, True)}, [b"\xff\xd8" + b"p" * 5000])
    writing.add(Mail(bag, (), [photo]))
    (found,) = writing.items()
    assert isinstance(found, Contact)
    assert (found.name, found.given, found.family, found.company) == (
        "Dr. Zoë Größe",
        "Zoë",
        "Größe",
        "Acme; Söhne, KG",
    )
    assert found.mails == (Party("", "zoe@acme.example"), Party("", "IMCEAEX-_o+3DAcme_cn+3Dzoe2@acme.example")) or (
        found.mails[0].address == "zoe@acme.example" and found.mails[1].address.startswith("IMCEAEX-")
    )
    assert found.phones == (("work", "+49 30 1"), ("fax-work", "+49 30 2"))
    assert found.related == (("child", "Kind A"), ("child", "Kind B"))
    assert found.birthday == date(1970, 12, 31)
    assert found.postal[0].street == "Weg 1\r\nHof"
    assert found.certificates == (b"DER",)
    assert found.categories == ("Rot", "Blau")
    assert found.photo == b"\xff\xd8" + b"p" * 5000
    assert not found.attached
    assert card(found).losses == ()


def one_off(name: str, address: str) -> bytes:
    text = f"{name}\0SMTP\0{address}\0".encode("utf-16-le")
    return bytes(4) + bytes.fromhex("812b1fa4bea310199d6e00dd010f5402") + struct.pack("<HH", 0, 0x8000) + text


def test_a_list_of_500(tmp_path: Path) -> None:
    writing = Writing(tmp_path, "IPF.Contact")
    members: list[bytes] = [one_off(f"Nr. {n}", f"p{n}@acme.example") for n in range(500)]
    bag = writing.bag(
        "IPM.DistList",
        {of_contact.LIST_NAME: (STRING, "Alle"), of_contact.LIST_MEMBERS: (BINARIES, [*members, b"nonsense"])},
    )
    writing.add(Mail(bag))
    (found,) = writing.items()
    assert isinstance(found, ContactList)
    assert found.name == "Alle"
    assert found.members == tuple(Party(f"Nr. {n}", f"p{n}@acme.example") for n in range(500))
    assert found.losses == ("a member that is neither a person nor an address is left out",)


def test_tasks_and_notes(tmp_path: Path) -> None:
    writing = Writing(tmp_path, "IPF.Task")
    regenerating = struct.pack("<4I", 0x2022, 3, 1, 0) + struct.pack("<3I", 0, minutes(datetime(2024, 1, 1)), 0)
    blob = pattern(0, 0x200A, 1440 * 3, b"", regenerating, sliding=1)
    bag = writing.bag(
        "IPM.Task",
        {
            0x0037: (STRING, "Steuer"),
            of_task.STATUS: (LONG, 1),
            of_task.DONE: (DOUBLE, 0.25),
            of_task.START: (TIME, filetime(datetime(2024, 1, 1))),
            of_task.DUE: (TIME, filetime(datetime(2024, 1, 5))),
            of_task.WORK: (LONG, 480),
            of_task.OWNER: (STRING, "Anna"),
            of_task.RECURRENCE: (BINARY, blob),
            of_task.REMINDER_SET: (BOOLEAN, True),
            of_task.REMINDER_SIGNAL: (TIME, filetime(datetime(2024, 1, 4, 8))),
        },
    )
    writing.add(Mail(bag))
    (found,) = writing.items()
    assert isinstance(found, Task)
    assert (found.status, found.done, found.owner, found.work) == ("in-progress", 25, "Anna", timedelta(hours=8))
    assert (found.start, found.due) == (date(2024, 1, 1), date(2024, 1, 5))
    assert found.recurrence == Recurrence(Frequency.DAILY, interval=3, count=3, first_weekday=0, regenerates=True)
    assert found.reminder is not None and found.reminder.local == datetime(2024, 1, 4, 8)
    assert len(calendar(found).losses) == 1

    (tmp_path / "notes").mkdir()
    notes = Writing(tmp_path / "notes", "IPF.StickyNote")
    notes.add(Mail(notes.bag("IPM.StickyNote", {0x0037: (STRING, "Milch"), 0x1000: (STRING, "Milch\r\nBrot")})))
    (note,) = notes.items()
    assert isinstance(note, Note)
    assert (note.subject, note.text.plain) == ("Milch", "Milch\r\nBrot")


def test_deleted_and_hidden_folders_are_no_collections(tmp_path: Path) -> None:
    writer = PstWriter(tmp_path / "f.pst")
    writer.folder("Kalender", container="IPF.Appointment")
    above = writer.folder("Mail")
    writer.folder("Team", above, container="IPF.Appointment")
    writer.folder("Recipient Cache", container="IPF.Contact.RecipientCache", hidden=True)
    writer.close()
    mailbox = PstMailbox(PstAccount(str(tmp_path / "f.pst")))
    found = pst_items.collections(mailbox)
    mailbox.close()
    assert [(one.path, one.kind, one.default) for one in found] == [
        (("Kalender",), Kind.EVENT, True),
        (("Mail", "Team"), Kind.EVENT, False),
    ]


@pytest.mark.parametrize(
    ("kind", "method", "says"),
    [
        (
            "IPM.Schedule.Meeting.Request",
            "REQUEST",
            "NEEDS-ACTION;ROLE=REQ-PARTICIPANT:mailto:anna@acme.example",
        ),
        ("IPM.Schedule.Meeting.Canceled", "CANCEL", "STATUS:CANCELLED"),
        (
            "IPM.Schedule.Meeting.Resp.Neg",
            "REPLY",
            "DECLINED;ROLE=REQ-PARTICIPANT:mailto:chefin@other.example",
        ),
        ("IPM.Schedule.Meeting.Notification.Forward", "", ""),
    ],
)
def test_meeting_messages_get_their_calendar_part_back(tmp_path: Path, kind: str, method: str, says: str) -> None:
    writing = Writing(tmp_path, "IPF.Note")
    people: list[Properties] = [
        {0x0C15: (LONG, 1), 0x3001: (STRING, "Anna"), 0x39FE: (STRING, "anna@acme.example")},
    ]
    more: Properties = {
        0x001A: (STRING, kind),
        0x0042: (STRING, "Chefin"),
        0x0064: (STRING, "SMTP"),
        0x0065: (STRING, "chefin@other.example"),
    }
    uid = writing.writer.add(
        writing.folder, Mail({**appointment(writing, RECURRENCE=(BINARY, series())), **more}, people)
    )
    writing.writer.close()
    mailbox = PstMailbox(PstAccount(str(writing.path)), invite=invitation)
    message, again = mailbox.message(uid), mailbox.message(uid)
    mailbox.close()
    assert isinstance(message, Message) and isinstance(again, Message)
    assert message.losses == ()
    whole = b"".join(message.body.chunks())
    assert whole == b"".join(again.body.chunks())
    parts = [one for one in message_from_bytes(whole).walk() if one.get_content_type() == "text/calendar"]
    assert [one.get_param("method") for one in parts] == ([method] if method else [])
    for part in parts:
        data = part.get_payload(decode=True)
        assert isinstance(data, bytes)
        text = data.decode().replace("\r\n ", "")
        assert f"METHOD:{method}\r\n" in text
        assert says in text
        assert "RRULE:FREQ=WEEKLY" in text
        assert "SCHEDULE-AGENT" not in text
