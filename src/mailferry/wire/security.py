"""Security descriptors of Windows: who is allowed or denied which right. Reads; knows no account.

Source: [MS-DTYP] §2.4.2 (SID), §2.4.4 (ACE), §2.4.5 (ACL), §2.4.6 (SECURITY_DESCRIPTOR, self-relative). Invariant: what
is cut short, or points outside its bytes, is RemoteProtocolError.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from mailferry.errors import RemoteProtocolError

_ALLOWED, _DENIED, _ALLOWED_OBJECT, _DENIED_OBJECT = 0x00, 0x01, 0x05, 0x06
_INHERIT_ONLY, _INHERITED = 0x08, 0x10
_HAS_TYPE, _HAS_INHERITED_TYPE = 0x1, 0x2


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the DACL that counts for the object itself. `mask`: rights, as bits; `object_type`: which extended
    right or attribute is meant, None for all; `sid`: as text."""

    allowed: bool
    inherited: bool
    mask: int
    object_type: uuid.UUID | None
    sid: str


def dacl(descriptor: bytes) -> list[Entry]:
    """The entries in their order; other kinds (audit, callbacks) are left out."""
    try:
        (offset,) = struct.unpack_from("<I", descriptor, 16)
        if not offset:
            return []
        _, size, count = struct.unpack_from("<HHH", descriptor, offset)
        found = list(_entries(descriptor, offset + 8, offset + size, count))
    except (struct.error, ValueError) as error:
        raise RemoteProtocolError(f"a security descriptor cannot be read: {error}") from error
    return found


def sid(data: bytes) -> str:
    """`S-1-5-21-…`. RemoteProtocolError: it is none."""
    if len(data) < 8 or len(data) != 8 + 4 * data[1]:
        raise RemoteProtocolError("a SID cannot be read")
    authority = int.from_bytes(data[2:8], "big")
    return "-".join(["S", str(data[0]), str(authority), *map(str, struct.unpack(f"<{data[1]}I", data[8:]))])


def _entries(data: bytes, position: int, end: int, count: int) -> Iterator[Entry]:
    for _ in range(count):
        kind, flags, size = struct.unpack_from("<BBH", data, position)
        if size < 8 or position + size > min(end, len(data)):
            raise ValueError("an entry is cut short")
        if kind in (_ALLOWED, _DENIED, _ALLOWED_OBJECT, _DENIED_OBJECT) and not flags & _INHERIT_ONLY:
            yield _entry(data[position : position + size], kind, bool(flags & _INHERITED))
        position += size


def _entry(data: bytes, kind: int, inherited: bool) -> Entry:
    (mask,) = struct.unpack_from("<I", data, 4)
    position, meant = 8, None
    if kind in (_ALLOWED_OBJECT, _DENIED_OBJECT):
        (there,) = struct.unpack_from("<I", data, 8)
        position = 12
        if there & _HAS_TYPE:
            meant = uuid.UUID(bytes_le=data[12:28])
            position = 28
        position += 16 if there & _HAS_INHERITED_TYPE else 0
    length = 8 + 4 * data[position + 1] if position + 1 < len(data) else 0
    whose = sid(data[position : position + length])
    return Entry(kind in (_ALLOWED, _ALLOWED_OBJECT), inherited, mask, meant, whose)
