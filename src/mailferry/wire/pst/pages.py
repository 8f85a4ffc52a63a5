"""Pages of a PST file's two B-trees ([MS-PST] §2.2.2.7.7) and the entries in them. Reads nothing itself."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from mailferry.wire.pst.crypt import checksum
from mailferry.wire.pst.damage import Findings
from mailferry.wire.pst.header import Layout

Read = Callable[[int, int], bytes]
"""Bytes at an offset; fewer where the file ends."""

NBT, BBT = 0x81, 0x80
"""Nodes by id, blocks by id: what pages of either tree bear."""


class Node(NamedTuple):
    """One node: the ids of its data and of its subnodes (0: none), and of its parent node."""

    nid: int
    data: int
    subnodes: int
    parent: int = 0


class Extent(NamedTuple):
    """Where a block's data lies, as stored: offset and bytes, trailer not counted."""

    bid: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Page:
    """A page's `keys` and, each `width` bytes long, its entries as stored. `level` 0: a leaf."""

    level: int
    keys: tuple[int, ...]
    entries: bytes
    width: int

    def place(self, key: int) -> int:
        """Which entry to follow for a key: the last that is not larger; -1 for none."""
        return bisect_right(self.keys, key) - 1

    def entry(self, key: int) -> bytes | None:
        """The entry of just this key."""
        place = self.place(key)
        if place < 0 or self.keys[place] != key:
            return None
        return self.entries[place * self.width : (place + 1) * self.width]


def trailer_of(layout: Layout) -> int:
    """Where in a page its trailer begins, which says what kind it is (§2.2.2.7.1)."""
    if layout.page == 512:
        return layout.entries + (8 if layout.wide else 4)
    return layout.entries + 16


def page_id(data: bytes, layout: Layout) -> int:
    """The id of a page: the newer, the larger."""
    form, at = ("<Q", 8) if layout.wide else ("<I", 4)
    found: int = struct.unpack_from(form, data, trailer_of(layout) + at)[0]
    return found


def parse_page(data: bytes, layout: Layout, kind: int, findings: Findings) -> Page | None:
    """A page's entries (§2.2.2.7.7.1), or None where it is none of this kind. A wrong checksum is noted, no more."""
    end, wide = layout.entries, layout.wide
    if len(data) < layout.page:
        return None
    trailer = trailer_of(layout)
    if layout.page == 512:
        count, _, width, level = data[end : end + 4]
    else:
        count, _, width, level = struct.unpack_from("<HHBB", data, end)
    least = (24 if wide else 12) if level or kind == BBT else (32 if wide else 16)
    if data[trailer] != kind or data[trailer + 1] != kind or width < least or count * width > end:
        return None
    stored: int = struct.unpack_from("<I", data, trailer + (4 if wide else 8))[0]
    if checksum(data[:trailer]) != stored:
        findings.note("a page of the index with a wrong checksum")
    form = f"<{'Q' if wide else 'I'}{width - (8 if wide else 4)}x"
    keys = tuple(key for (key,) in struct.iter_unpack(form, data[: count * width]))
    return Page(level, keys, data[: count * width], width)


def node_of(entry: bytes, wide: bool) -> Node:
    """An NBTENTRY (§2.2.2.7.7.4)."""
    if wide:
        nid, data, subnodes, parent = struct.unpack_from("<QQQI", entry)
        return Node(nid & 0xFFFFFFFF, data, subnodes, parent)
    return Node(*struct.unpack_from("<IIII", entry))


def extent_of(entry: bytes, wide: bool) -> Extent:
    """A BBTENTRY (§2.2.2.7.7.3)."""
    return Extent(*struct.unpack_from("<QQH" if wide else "<IIH", entry))
