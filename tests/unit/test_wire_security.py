"""Security descriptors: what is read of a true one, and that nothing else than one error comes of any bytes."""

from __future__ import annotations

import struct
import uuid
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailferry.errors import RemoteProtocolError
from mailferry.wire import security

SID = bytes((1, 2)) + (5).to_bytes(6, "big") + struct.pack("<2I", 21, 1104)
MEANT = uuid.UUID("ab721a54-1e2f-11d0-9819-00aa0040529b")


def ace(kind: int, flags: int, mask: int, body: bytes) -> bytes:
    return struct.pack("<BBHI", kind, flags, 8 + len(body), mask) + body


def descriptor(*aces: bytes) -> bytes:
    body = b"".join(aces)
    head = struct.pack("<BBHIIII", 1, 0, 0x8004, 0, 0, 0, 20)
    return head + struct.pack("<BBHHH", 4, 0, 8 + len(body), len(aces), 0) + body


def test_entries() -> None:
    both = struct.pack("<I", 3) + MEANT.bytes_le + bytes(16)
    data = descriptor(
        ace(0x00, 0x10, 0x20, SID),
        ace(0x05, 0x00, 0x100, struct.pack("<I", 1) + MEANT.bytes_le + SID),
        ace(0x06, 0x00, 0x100, both + SID),
        ace(0x05, 0x08, 0x100, struct.pack("<I", 0) + SID),  # for what is below it alone
        ace(0x11, 0x00, 0x1, SID),
    )
    assert [(one.allowed, one.inherited, one.mask, one.object_type, one.sid) for one in security.dacl(data)] == [
        (True, True, 0x20, None, "S-1-5-21-1104"),
        (True, False, 0x100, MEANT, "S-1-5-21-1104"),
        (False, False, 0x100, MEANT, "S-1-5-21-1104"),
    ]
    assert security.dacl(struct.pack("<BBHIIII", 1, 0, 0x8000, 0, 0, 0, 0)) == []
    for length in range(20, len(data)):
        with pytest.raises(RemoteProtocolError):
            security.dacl(data[:length])


@given(st.binary(max_size=200))
def test_any_bytes_give_entries_or_one_error(tail: bytes) -> None:
    for data in (tail, descriptor()[:20] + tail, descriptor(ace(0x05, 0, 0x100, tail))):
        with suppress(RemoteProtocolError):
            security.dacl(data)
