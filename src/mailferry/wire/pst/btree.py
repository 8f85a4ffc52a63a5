"""The two B-trees of a PST file ([MS-PST] §2.2.2.7.7): nodes by id (NBT), blocks by id (BBT). Reads pages, not blocks.

Where a page cannot be read, the tree is put together from its lowest pages (`salvage.py`), once, and only then. Memory
is bounded: pages are kept in a small cache, least recently used out first; trees are never held whole.
Invariant: a walk ends, whatever the pages say, because the level falls by one at each step down and a walk enters no
page twice.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property

from mailferry.wire.pst.damage import Damaged, Findings
from mailferry.wire.pst.header import Layout
from mailferry.wire.pst.pages import Page, Read, parse_page
from mailferry.wire.pst.salvage import Salvage

_DEPTH = 16
_CACHED = 512
_ANY = -1
"""The level that the root may have."""
_NO_END = 1 << 64


class BTree:
    """One tree. `kind`: NBT or BBT, which is also the type that its pages bear. `size`: the file's length."""

    def __init__(self, read: Read, size: int, layout: Layout, kind: int, root: int, findings: Findings) -> None:
        self._read = read
        self._size = size
        self._layout = layout
        self._kind = kind
        self._root = root
        self._findings = findings
        self._pages: dict[int, Page] = {}
        self._last: tuple[int, int, Page] | None = None
        """The leaf that was searched last, and from which key on up to which one the tree leads there: neighbours in
        the file are asked for one after the other."""

    @cached_property
    def _salvage(self) -> Salvage:
        self._findings.note("an index that had to be put together from its pages")
        return Salvage(self._read, self._size, self._layout, self._kind)

    def find(self, key: int) -> bytes | None:
        """The leaf entry with this key, as stored; None where there is none, or none that can be read."""
        if self._last is not None and self._last[0] <= key < self._last[1]:
            return self._last[2].entry(key)
        offset, level = self._root, _ANY
        first, end = 0, _NO_END
        try:
            while True:
                page = self._page(offset, level)
                if page.level == 0:
                    self._last = first, end, page
                    return page.entry(key)
                place = page.place(key)
                if place < 0:
                    return None
                first = max(first, page.keys[place])
                end = min([end, *page.keys[place + 1 : place + 2]])
                offset, level = self._child(page, place), page.level - 1
        except Damaged:
            return self._salvage.find(key)

    def leaves(self) -> Iterator[bytes]:
        """Every leaf entry that can be read, in order."""
        last = -1
        try:
            for key, entry in self._walk(self._root, _ANY, set()):
                last = key
                yield entry
        except Damaged:
            yield from self._salvage.leaves(last)

    def _walk(self, offset: int, level: int, seen: set[int]) -> Iterator[tuple[int, bytes]]:
        if offset in seen:
            raise Damaged(f"the page of the index at {offset} stands in two places")
        seen.add(offset)
        page = self._page(offset, level)
        for place, key in enumerate(page.keys):
            if page.level == 0:
                yield key, page.entries[place * page.width : (place + 1) * page.width]
            else:
                yield from self._walk(self._child(page, place), page.level - 1, seen)

    def _child(self, page: Page, place: int) -> int:
        wide = self._layout.wide
        at = place * page.width + (16 if wide else 8)
        found: int = struct.unpack_from("<Q" if wide else "<I", page.entries, at)[0]
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
