"""Named properties of events, contacts, tasks and notes ([MS-OXPROPS], PidLid…), and a face to read them with."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from mailferry.wire.mapi import tags
from mailferry.wire.mapi.fields import Making
from mailferry.wire.mapi.item import Item
from mailferry.wire.mapi.values import Value

Name = tuple[bytes, str | int]
"""The set's GUID as stored, and the name or number in it."""

APPOINTMENT = bytes.fromhex("0220060000000000c000000000000046")
TASK = bytes.fromhex("0320060000000000c000000000000046")
ADDRESS = bytes.fromhex("0420060000000000c000000000000046")
COMMON = bytes.fromhex("0820060000000000c000000000000046")
MEETING = bytes.fromhex("90dad86e0b451b1098da00aa003f1305")
PUBLIC = tags.PUBLIC_STRINGS

_EPOCH = datetime(1601, 1, 1)
_FIRST = datetime(1601, 1, 2)


class Properties:
    """An item's properties by name or tag; what cannot be read counts as not there, and is named in `making`."""

    def __init__(self, making: Making, item: Item) -> None:
        self.making = making
        self.item = item

    def get(self, name: Name | int) -> Value | None:
        tag = name if isinstance(name, int) else self.item.tag(*name)
        return None if tag is None else self.making.get(self.item.properties, tag)

    def text(self, *names: Name | int) -> str:
        """The first of these that holds text."""
        for name in names:
            value = self.get(name)
            if isinstance(value, str) and value.strip():
                return value
        return ""

    def number(self, name: Name | int) -> int | None:
        value = self.get(name)
        return value if isinstance(value, int) else None

    def real(self, name: Name | int) -> float:
        value = self.get(name)
        return float(value) if isinstance(value, int | float) else 0.0

    def true(self, name: Name | int) -> bool:
        return self.get(name) is True or self.get(name) == 1

    def blob(self, name: Name | int) -> bytes:
        value = self.get(name)
        return value if isinstance(value, bytes) else b""

    def several(self, name: Name | int) -> list[Value]:
        value = self.get(name)
        return value if isinstance(value, list) else []

    def instant(self, name: Name | int) -> datetime | None:
        """A FILETIME, naive and in UTC; None for zero and what Outlook writes for none (year 4501)."""
        value = self.number(name)
        if value is None:
            return None
        try:
            found = _EPOCH + timedelta(microseconds=value // 10)
        except OverflowError:
            return None
        return found if found >= _FIRST and found.year < 4500 else None

    def day(self, name: Name | int) -> date | None:
        """A date stored as midnight of the person's own clock in UTC: the nearest midnight."""
        found = self.instant(name)
        return None if found is None else (found + timedelta(hours=12)).date()
