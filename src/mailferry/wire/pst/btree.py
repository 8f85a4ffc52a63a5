"""The two B-trees of a PST file ([MS-PST] §2.2.2.7.7): nodes by id (NBT), blocks by id (BBT). Reads pages, not blocks.

Memory is bounded: pages are kept in a small cache, least recently used out first; trees are never held whole.
Invariant: a walk ends, whatever the pages say, because the level falls by one at each step down and a walk enters no
page twice.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from mailferry.wire.pst.crypt import checksum
from mailferry.wire.pst.damage import Damaged, Findings
from mailferry.wire.pst.header import Layout

Read = Callable[[int, int], bytes]
"""Bytes at an offset; fewer where the file ends."""

NBT, BBT = 0x81, 0x80
_DEPTH = 16
_CACHED = 512
_ANY = -1
"""The level that the root may have."""


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


class BTree:
    """One tree. `kind`: NBT or BBT, which is also the type that its pages bear."""

    def __init__(self, read: Read, layout: Layout, kind: int, root: int, findings: Findings) -> None:
        self._read = read
        self._layout = layout
        self._kind = kind
        self._root = root
        self._findings = findings
        self._pages: dict[int, Page] = {}

    def find(self, key: int) -> bytes | None:
        """The leaf entry with this key, as stored. Damaged where a page on the way cannot be read."""
        offset, level = self._root, _ANY
        while True:
            page = self._page(offset, level)
            place = bisect_right(page.keys, key) - 1
            if place < 0:
                return None
            start = place * page.width
            if page.level == 0:
                return page.entries[start : start + page.width] if page.keys[place] == key else None
            offset, level = self._child(page, start), page.level - 1

    def leaves(self) -> Iterator[bytes]:
        """Every leaf entry in order. A page that cannot be read is left out and noted."""
        yield from self._walk(self._root, _ANY, set())

    def _walk(self, offset: int, level: int, seen: set[int]) -> Iterator[bytes]:
        if offset in seen:
            self._findings.note("a page of the index that stands in two places")
            return
        seen.add(offset)
        try:
            page = self._page(offset, level)
        except Damaged:
            self._findings.note("a page of the index that cannot be read")
            return
        for start in range(0, len(page.keys) * page.width, page.width):
            if page.level == 0:
                yield page.entries[start : start + page.width]
            else:
                yield from self._walk(self._child(page, start), page.level - 1, seen)

    def _child(self, page: Page, start: int) -> int:
        wide = self._layout.wide
        found: int = struct.unpack_from("<Q" if wide else "<I", page.entries, start + (16 if wide else 8))[0]
        return found

    def _page(self, offset: int, level: int) -> Page:
        page = self._pages.pop(offset, None)
        if page is None:
            page = parse_page(self._read(offset, self._layout.page), self._layout, self._kind, self._findings)
            if page is None:
                raise Damaged(f"the page of the index at {offset} is damaged")
            if len(self._pages) >= _CACHED:
                del self._pages[next(iter(self._pages))]
        self._pages[offset] = page
        if page.level != level and (level != _ANY or page.level >= _DEPTH):
            raise Damaged(f"the page of the index at {offset} stands on the wrong level")
        return page


def parse_page(data: bytes, layout: Layout, kind: int, findings: Findings) -> Page | None:
    """A page's entries (§2.2.2.7.7.1), or None where it is none of this kind. A wrong checksum is noted, no more."""
    end, wide = layout.entries, layout.wide
    if len(data) < layout.page:
        return None
    if layout.page == 512:
        count, _, width, level = data[end : end + 4]
        trailer = end + 8 if wide else end + 4
    else:
        count, _, width, level = struct.unpack_from("<HHBB", data, end)
        trailer = end + 16
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
