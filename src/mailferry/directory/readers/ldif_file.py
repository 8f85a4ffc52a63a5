"""Reads people from LDIF: Netscape and Mozilla address books, OpenLDAP, ldifde of Active Directory. Cleans nothing.

Read twice: first for the ids of all names, so that groups can refer to them, then for the recipients. Ids: `ad:` and
the objectGUID, `ldap:` and the entryUUID; else `ldif:` and the address of a Netscape name (`cn=…,mail=…`) or the whole
DN. Invariant: a record is a Recipient or a Finding, each with its line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mailferry.directory.codes import finding
from mailferry.directory.readers.entry import dn_key, key_of, make_entry, own_id, recipients
from mailferry.directory.readers.identity import Ids
from mailferry.errors import Permanent, UserError
from mailferry.model.recipient import Finding, Recipient
from mailferry.net.ldap import Entry
from mailferry.wire.ldif import Fault, Record, parse, shown

_BLOCK = 1 << 20
_FAULTS = {"value": "ldif-value", "record": "ldif-record", "": "ldif-form"}


@dataclass(frozen=True, slots=True)
class LdifFile:
    """A reader (the contract of `readers`)."""

    path: Path

    def read(self) -> Iterator[Recipient | Finding]:
        """UserError for a file without one record; Permanent if it cannot be read."""
        resolve: dict[str, str] = {}
        ids = Ids("ldif:")
        entries = 0
        for one in parse(self._chunks()):
            if isinstance(one, Record) and one.is_entry:
                entry, _ = _entry(one)
                resolve.setdefault(dn_key(entry.dn), ids.give(own_id(entry), key_of(entry), "")[0])
                entries += 1
        ids = Ids("ldif:")
        seen = False
        for one in parse(self._chunks()):
            seen = True
            if isinstance(one, Fault):
                yield finding(_FAULTS[one.lost], f"{self.path}:{one.line}", one.message, value=one.text)
            elif one.is_entry:
                yield from self._recipient(one, ids, resolve)
            else:
                message = f"a change ({one.change}), not an entry; it is not carried out"
                where = f"{self.path}:{one.line}"
                yield finding("ldif-change", where, message, value=shown(one.dn))
            if not entries and isinstance(one, Fault) and one.line == 1:
                raise UserError(f"not LDIF: {one.message}", about=f"{self.path}:1")
        if not seen:
            raise UserError("the file is empty", about=f"{self.path}:1")

    def _recipient(self, record: Record, ids: Ids, resolve: dict[str, str]) -> Iterator[Recipient | Finding]:
        entry, mixed = _entry(record)
        where = f"{self.path}:{record.line}"
        steady, notes = ids.give(own_id(entry), key_of(entry), where)
        found = recipients(entry, where, steady, resolve)
        if isinstance(found[-1], Recipient):
            yield from notes
            if mixed:
                line = record.line if mixed[0] < 0 else record.values[mixed[0]].line
                message = f"bytes that are not UTF-8, in {len(mixed)} values; read as Windows-1252"
                yield finding("encoding-mixed", f"{self.path}:{line}", message, about=steady)
        yield from found

    def _chunks(self) -> Iterator[bytes]:
        try:
            with self.path.open("rb") as file:
                while block := file.read(_BLOCK):
                    yield block
        except OSError as error:
            raise Permanent(f"cannot be read: {error.strerror}", about=str(self.path)) from error


def _entry(record: Record) -> tuple[Entry, list[int]]:
    return make_entry(record.dn, ((value.name, value.data) for value in record.values))
