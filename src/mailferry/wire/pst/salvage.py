"""The indexes of a damaged PST file, put together from their lowest pages, wherever in the file these lie.

A file that was cut off has usually lost the upper pages, which are written last. Of two pages that begin with the same
id the newer counts; entries of pages that are no longer in use may come too, and are told apart by who reads the blocks
they lead to. Invariant: memory is some bytes per page, not per entry.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator

from mailferry.wire.pst.damage import Findings
from mailferry.wire.pst.header import Layout
from mailferry.wire.pst.pages import Page, Read, page_id, parse_page, trailer_of

_AT_ONCE = 1 << 20
_LOOK_BACK = 16
"""Older pages that may reach over the beginning of a newer one."""


class Salvage:
    """The lowest pages of one index."""

    def __init__(self, read: Read, size: int, layout: Layout, kind: int) -> None:
        self._read = read
        self._layout = layout
        self._kind = kind
        newest: dict[int, tuple[int, int]] = {}
        for offset, data in _pages(read, size, layout, kind):
            page = self._parse(data)
            if page is not None and page.level == 0 and page.keys:
                found = page_id(data, layout), offset
                newest[page.keys[0]] = max(found, newest.get(page.keys[0], found))
        self._firsts = sorted(newest)
        self._offsets = [newest[first][1] for first in self._firsts]

    def _parse(self, data: bytes) -> Page | None:
        """Only pages whose checksum is right: what stands anywhere in a file may only look like one."""
        findings = Findings()
        page = parse_page(data, self._layout, self._kind, findings)
        return None if findings.counts else page

    def find(self, key: int) -> bytes | None:
        """The leaf entry with this key, as stored."""
        place = bisect_right(self._firsts, key)
        for number in range(place - 1, max(-1, place - 1 - _LOOK_BACK), -1):
            page = self._parse(self._read(self._offsets[number], self._layout.page))
            entry = page.entry(key) if page is not None else None
            if entry is not None:
                return entry
        return None

    def leaves(self, after: int) -> Iterator[bytes]:
        """Every leaf entry with a larger key, in order, each key once."""
        for number in range(max(0, bisect_right(self._firsts, after) - _LOOK_BACK), len(self._offsets)):
            page = self._parse(self._read(self._offsets[number], self._layout.page))
            for key in page.keys if page is not None else ():
                if key > after:
                    after = key
                    entry = self.find(key)
                    if entry is not None:
                        yield entry


def _pages(read: Callable[[int, int], bytes], size: int, layout: Layout, kind: int) -> Iterator[tuple[int, bytes]]:
    """What bears the mark of a page of this kind, with its offset."""
    at, step = trailer_of(layout), layout.page
    mark = bytes((kind,))
    for start in range(0, size, _AT_ONCE):
        chunk = read(start, _AT_ONCE)
        first, second = chunk[at::step], chunk[at + 1 :: step]
        number = first.find(mark)
        while 0 <= number < len(second):
            if second[number] == kind:
                yield start + number * step, chunk[number * step : (number + 1) * step]
            number = first.find(mark, number + 1)
