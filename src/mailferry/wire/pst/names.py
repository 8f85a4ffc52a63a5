"""Named properties of a PST file ([MS-PST] §2.4.7): which tag stands for which name. Reads the map once."""

from __future__ import annotations

import struct

from mailferry.wire.mapi.tags import PUBLIC_STRINGS
from mailferry.wire.pst.blocks import Database
from mailferry.wire.pst.damage import Damaged
from mailferry.wire.pst.properties import Properties

NAME_MAP = 0x61
_GUIDS, _ENTRIES, _STRINGS = 0x0002, 0x0003, 0x0004
_MAPI = bytes.fromhex("2803020000000000c000000000000046")

Name = tuple[bytes, str | int]
"""The set's GUID as stored, and the name or number in it."""


def named_tags(db: Database) -> dict[Name, int]:
    """The tags that this file gives to named properties. Damaged where the map cannot be read."""
    node = db.node(NAME_MAP)
    if node is None:
        return {}
    bag = Properties(db, node)
    guids, entries, strings = (_stream(bag, tag) for tag in (_GUIDS, _ENTRIES, _STRINGS))
    found: dict[Name, int] = {}
    for identifier, guid, index in struct.iter_unpack("<IHH", entries[: len(entries) // 8 * 8]):
        space = guid >> 1
        start = (space - 3) * 16
        owner = {1: _MAPI, 2: PUBLIC_STRINGS}.get(space, guids[start : start + 16] if space > 2 else b"")
        if not guid & 1:
            found[owner, identifier] = 0x8000 + index
        elif identifier + 4 <= len(strings):
            (length,) = struct.unpack_from("<I", strings, identifier)
            text = strings[identifier + 4 : identifier + 4 + min(length, 1024)]
            found[owner, text.decode("utf-16-le", "replace")] = 0x8000 + index
    return found


def _stream(bag: Properties, tag: int) -> bytes:
    value = bag.get(tag)
    if value is not None and not isinstance(value, bytes):
        raise Damaged("the names of properties are not where they should be")
    return value or b""
