"""Rows of a CSV file with their line numbers; a broken row costs itself only. Knows no column.

Quotes as Outlook and Excel write them (RFC 4180). Invariant: every line is part of a row or named by a `Broken`; the
work grows with the number of lines, as the search for a closing quotation mark ends at the next one.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from mailferry.directory.readers.text_file import Line

LIMIT = 16 * 1024 * 1024
"""Characters of one field."""
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}


@dataclass(frozen=True, slots=True)
class Row:
    """The fields of a row and its first line. `mixed`: a line of it was in another encoding than the file."""

    line: int
    cells: list[str]
    mixed: bool


@dataclass(frozen=True, slots=True)
class Broken:
    """A line that is no row, and why."""

    line: int
    message: str
    text: str


def rows(lines: Iterator[Line], delimiter: str) -> Iterator[Row | Broken]:
    """Rows in the order of the file; empty lines are none."""
    csv.field_size_limit(LIMIT)  # of the process; the default would refuse a long note
    waiting: deque[Line] = deque()
    taken: list[Line] = []

    def feed() -> Iterator[str]:
        while True:
            line = waiting.popleft() if waiting else next(lines, None)
            if line is None:
                return
            taken.append(line)
            yield line.text

    while True:
        taken.clear()
        try:
            cells = next(csv.reader(feed(), delimiter=delimiter, strict=True), None)
        except csv.Error as error:
            yield Broken(taken[0].number, _why(error, len(taken)), taken[0].text[:80].rstrip("\r\n"))
            waiting.extendleft(reversed(taken[1:]))
            continue
        if cells is None:
            return
        if any(cells):
            yield Row(taken[0].number, cells, any(line.mixed for line in taken))


def _why(error: csv.Error, read: int) -> str:
    if "unexpected end" in str(error):
        return "a quotation mark is opened and never closed"
    if "expected after" in str(error):
        return "a quotation mark inside a field" if read == 1 else "a quotation mark is not closed on its line"
    return str(error)


def sniff(header: str) -> str:
    """The delimiter of a header line: what stands in it most often."""
    return max(_DELIMITERS, key=header.count)


def called(delimiter: str) -> str:
    return _DELIMITERS.get(delimiter, repr(delimiter))
