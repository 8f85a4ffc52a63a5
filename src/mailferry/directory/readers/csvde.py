"""Reads rows of csvde (Active Directory as CSV): `X'…'` for bytes, `;` between values, `\\;` inside one. Opens nothing.

Invariant: a row is a Recipient or a Finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mailferry.directory.codes import finding
from mailferry.directory.readers.csv_rows import Broken, Row
from mailferry.directory.readers.entry import dn_key, key_of, make_entry, own_id, with_ids
from mailferry.directory.readers.entry import recipients as recipients_of
from mailferry.directory.readers.identity import Ids
from mailferry.model.recipient import Finding, Recipient

_HEX = re.compile(r"X'((?:[0-9A-Fa-f]{2})*)'")
_SEMICOLON = re.compile(r"(?<!\\);")


def is_header(cells: Sequence[str]) -> bool:
    """Whether a line's columns are those of csvde: it begins with DN and knows object classes."""
    names = [cell.strip().lower() for cell in cells]
    return names[0] in ("dn", "distinguishedname") and "objectclass" in names


def values(cell: str) -> tuple[bytes, ...]:
    """The values of a cell. A hexadecimal one that is damaged stays as it is written."""
    found = []
    for part in _SEMICOLON.split(cell):
        encoded = _HEX.fullmatch(part)
        found.append(
            bytes.fromhex(encoded[1]) if encoded else part.replace("\\;", ";").encode("utf-8", "surrogatepass")
        )
    return tuple(found)


def recipients(path: Path, header: Sequence[str], rows: Iterator[Row | Broken]) -> Iterator[Recipient | Finding]:
    """The rows as findings and, once all are read, as recipients, since they refer to each other by name."""
    names = [name.strip().lower() for name in header]
    found: list[Recipient] = []
    resolve: dict[str, str] = {}
    ids = Ids("csv:")
    for row in rows:
        where = f"{path}:{row.line}"
        if isinstance(row, Broken):
            yield finding("row-broken", where, row.message, value=row.text)
            continue
        if any(cell.strip() for cell in row.cells[len(names) :]):
            message = (
                f"{len(row.cells)} fields, but {len(names)} columns: a comma stands in a field without quotation marks"
            )
            yield finding("row-long", where, message, value=row.cells[0][:80])
            continue
        cells = zip(names[1:], row.cells[1:], strict=False)
        pairs = [(name, value) for name, cell in cells if cell for value in values(cell)]
        entry, _ = make_entry(row.cells[0].encode("utf-8", "replace"), pairs)
        steady, notes = ids.give(own_id(entry), key_of(entry), where)
        resolve.setdefault(dn_key(entry.dn), steady)
        yield from notes
        for result in recipients_of(entry, where, steady):
            if isinstance(result, Recipient):
                found.append(result)
            else:
                yield result
    for recipient in found:
        yield with_ids(recipient, resolve)
