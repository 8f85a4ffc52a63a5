"""Reads rows of csvde (Active Directory as CSV): `X'…'` for bytes, `;` between values, `\\;` inside one. Opens nothing.

Invariant: a row is a Recipient or a Finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mailferry.directory.codes import finding
from mailferry.directory.readers.csv_rows import Broken, Row
from mailferry.directory.readers.entry import dn_key, key_of, make_entry, own_id
from mailferry.directory.readers.entry import recipients as recipients_of
from mailferry.directory.readers.identity import Ids
from mailferry.model.recipient import Finding, Recipient
from mailferry.net.ldap import Entry

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
    """The rows as recipients. All rows are held until the last is read, since they refer to each other by name."""
    names = [name.strip().lower() for name in header]
    entries: list[tuple[Entry, str]] = []
    for row in rows:
        where = f"{path}:{row.line}"
        if isinstance(row, Broken):
            yield finding("row-broken", where, row.message, value=row.text)
        elif any(cell.strip() for cell in row.cells[len(names) :]):
            message = (
                f"{len(row.cells)} fields, but {len(names)} columns: a comma stands in a field without quotation marks"
            )
            yield finding("row-long", where, message, value=row.cells[0][:80])
        else:
            cells = zip(names[1:], row.cells[1:], strict=False)
            pairs = [(name, value) for name, cell in cells if cell for value in values(cell)]
            entries.append((make_entry(row.cells[0].encode("utf-8", "replace"), pairs)[0], where))
    ids = Ids("csv:")
    given = [ids.give(own_id(entry), key_of(entry), where) for entry, where in entries]
    resolve = {dn_key(entry.dn): steady for (entry, _), (steady, _) in zip(entries, given, strict=True)}
    for (entry, where), (steady, notes) in zip(entries, given, strict=True):
        yield from notes
        yield from recipients_of(entry, where, steady, resolve)
