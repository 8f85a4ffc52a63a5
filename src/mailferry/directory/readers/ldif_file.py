"""Reads people from LDIF: Netscape and Mozilla address books, OpenLDAP, ldifde of Active Directory. Cleans nothing.

Findings come first, the recipients once all names are known that they may refer to. Ids: `ad:` and the objectGUID,
`ldap:` and the entryUUID; else `ldif:` and the address of a Netscape name (`cn=…,mail=…`) or the whole DN.
Invariant: a record is a Recipient or a Finding, each with its line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mailferry.directory.codes import finding
from mailferry.directory.readers.entry import dn_key, key_of, make_entry, own_id, recipients, with_ids
from mailferry.directory.readers.identity import Ids
from mailferry.errors import Permanent, UserError
from mailferry.model.recipient import Finding, Recipient
from mailferry.wire.ldif import Fault, Record, parse, shown

_BLOCK = 1 << 20
_FAULTS = {"value": "ldif-value", "record": "ldif-record", "": "ldif-form"}


@dataclass(frozen=True, slots=True)
class LdifFile:
    """A reader (the contract of `readers`)."""

    path: Path

    def read(self) -> Iterator[Recipient | Finding]:
        """UserError for a file without one record; Permanent if it cannot be read."""
        found: list[Recipient] = []
        resolve: dict[str, str] = {}
        ids = Ids("ldif:")
        first: Fault | None = None
        records = 0
        for one in parse(self._chunks()):
            where = f"{self.path}:{one.line}"
            records += isinstance(one, Record)
            if isinstance(one, Fault):
                first = first or one
                yield finding(_FAULTS[one.lost], where, one.message, value=one.text)
            elif not one.is_entry:
                message = f"a change ({one.change}), not an entry; it is not carried out"
                yield finding("ldif-change", where, message, value=shown(one.dn))
            else:
                for result in self._entry(one, where, ids, resolve):
                    if isinstance(result, Recipient):
                        found.append(result)
                    else:
                        yield result
        if not records:
            why = f"not LDIF: {first.message}" if first else "the file is empty"
            raise UserError(why, about=f"{self.path}:{first.line if first else 1}")
        for recipient in found:
            yield with_ids(recipient, resolve)

    def _entry(self, record: Record, where: str, ids: Ids, resolve: dict[str, str]) -> Iterator[Recipient | Finding]:
        entry, mixed = make_entry(record.dn, ((value.name, value.data) for value in record.values))
        steady, notes = ids.give(own_id(entry), key_of(entry), where)
        resolve.setdefault(dn_key(entry.dn), steady)
        results = recipients(entry, where, steady)
        if isinstance(results[-1], Recipient):
            yield from notes
            if mixed:
                line = record.line if mixed[0] < 0 else record.values[mixed[0]].line
                message = f"bytes that are not UTF-8, in {len(mixed)} values; read as Windows-1252"
                yield finding("encoding-mixed", f"{self.path}:{line}", message, about=steady)
        yield from results

    def _chunks(self) -> Iterator[bytes]:
        try:
            with self.path.open("rb") as file:
                while block := file.read(_BLOCK):
                    yield block
        except OSError as error:
            raise Permanent(f"cannot be read: {error.strerror}", about=str(self.path)) from error
