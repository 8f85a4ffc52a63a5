"""A small PST file as somebody keeps one at home: old messages, a meeting of every week with one that was moved, a
contact. For the demo."""

from __future__ import annotations

import struct
from datetime import datetime, timedelta
from pathlib import Path

from lab.pst_file import BINARY, LONG, STRING, TIME, Mail, Properties, PstWriter
from mailferry.wire.mapi import appointment, contact
from mailferry.wire.mapi.named import ADDRESS

MESSAGES = 40
_EPOCH = datetime(1601, 1, 1)
_FIRST = datetime(2019, 3, 4, 9)
_MOVED = datetime(2019, 3, 18, 9)


def write(path: Path, name: str, address: str) -> None:
    """The file of that person."""
    writer = PstWriter(path)
    sent = writer.folder("Sent Items")
    for number in range(MESSAGES):
        writer.add(sent, _message(number, name, address))
    writer.add(writer.folder("Calendar", container="IPF.Appointment"), _meeting(writer))
    writer.add(writer.folder("Contacts", container="IPF.Contact"), _contact(writer))
    writer.close()


def _message(number: int, name: str, address: str) -> Mail:
    at = _filetime(_FIRST + timedelta(days=number))
    header = f"From: {name} <{address}>\r\nTo: old@friends.example\r\nSubject: Archive {number}\r\n\r\n"
    return Mail(
        {
            0x001A: (STRING, "IPM.Note"),
            0x0037: (STRING, f"Archive {number}"),
            0x0039: (TIME, at),
            0x0E06: (TIME, at),
            0x0E07: (LONG, 1),
            0x007D: (STRING, header),
            0x1000: (STRING, "An old message.\r\n"),
        }
    )


def _meeting(writer: PstWriter) -> Mail:
    """Every Monday at 9:00 UTC, ten times; the third one is on Tuesday at 14:00."""
    found: Properties = {
        0x001A: (STRING, "IPM.Appointment"),
        0x0037: (STRING, "Team meeting"),
        writer.tag(*appointment.START): (TIME, _filetime(_FIRST)),
        writer.tag(*appointment.END): (TIME, _filetime(_FIRST + timedelta(hours=1))),
        writer.tag(*appointment.RECURRENCE): (BINARY, _weekly()),
    }
    return Mail(found)


def _weekly() -> bytes:
    """An AppointmentRecurrencePattern ([MS-OXOCAL] §2.2.1.44.5)."""
    first, last = _FIRST.replace(hour=0), _FIRST.replace(hour=0) + timedelta(weeks=9)
    new = _MOVED + timedelta(days=1, hours=5)
    pattern = struct.pack("<5H4I", 0x3004, 0x3004, 0x200B, 1, 0, 0, 1, 0, 0b10) + struct.pack("<3I", 0x2022, 10, 0)
    gone = struct.pack("<II", 1, _minutes(_MOVED.replace(hour=0)))
    changed = struct.pack("<II", 1, _minutes(new.replace(hour=0)))
    times = struct.pack("<II4I", _minutes(first), _minutes(last), 0x3006, 0x3009, 540, 600)
    exception = struct.pack("<H3IH", 1, _minutes(new), _minutes(new + timedelta(hours=1)), _minutes(_MOVED), 0)
    return pattern + gone + changed + times + exception + struct.pack("<5I", 0, 4, 0, 0, 0)


def _contact(writer: PstWriter) -> Mail:
    return Mail(
        {
            0x001A: (STRING, "IPM.Contact"),
            0x3001: (STRING, "An Old Friend"),
            writer.tag(ADDRESS, 0x8082): (STRING, "SMTP"),
            writer.tag(ADDRESS, 0x8083): (STRING, "old@friends.example"),
            writer.tag(*contact.FILE_AS): (STRING, "Friend, Old"),
        }
    )


def _filetime(when: datetime) -> int:
    return int((when - _EPOCH).total_seconds()) * 10**7


def _minutes(when: datetime) -> int:
    return int((when - _EPOCH).total_seconds()) // 60
