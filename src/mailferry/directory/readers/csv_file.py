"""Reads address books as CSV: Outlook, Outlook Express, Exchange's shell, and csvde (Active Directory). Cleans nothing.

Ids, the same from one export to the next: `ad:` and Guid or objectGUID where the file has one; else `csv:` and the
legacyExchangeDN, the first address, or a digest of name, company and telephone numbers. The second row with one
key gets `#2`; such an id holds only while the order does, and a note says so. Invariant: a row is a Recipient or a
Finding.
"""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from mailferry.directory import addresses
from mailferry.directory.codes import finding
from mailferry.directory.readers import csv_rows, csvde
from mailferry.directory.readers.csv_columns import ADDRESS_FIELDS, Columns, understand
from mailferry.directory.readers.identity import Ids, digest
from mailferry.directory.readers.text_file import Encoding, Line, find_encoding, lines
from mailferry.errors import UserError
from mailferry.model.recipient import Finding, Recipient, RecipientKind

KINDS = {
    "usermailbox": RecipientKind.MAILBOX,
    "linkedmailbox": RecipientKind.MAILBOX,
    "legacymailbox": RecipientKind.MAILBOX,
    "sharedmailbox": RecipientKind.SHARED,
    "teammailbox": RecipientKind.SHARED,
    "roommailbox": RecipientKind.ROOM,
    "equipmentmailbox": RecipientKind.EQUIPMENT,
    "mailuser": RecipientKind.MAIL_USER,
    "guestmailuser": RecipientKind.MAIL_USER,
    "remoteusermailbox": RecipientKind.MAIL_USER,
    "mailcontact": RecipientKind.CONTACT,
    "mailuniversaldistributiongroup": RecipientKind.GROUP,
    "mailuniversalsecuritygroup": RecipientKind.GROUP,
    "mailnonuniversalgroup": RecipientKind.GROUP,
    "dynamicdistributiongroup": RecipientKind.DYNAMIC_GROUP,
    "publicfolder": RecipientKind.PUBLIC_FOLDER,
}
"""RecipientTypeDetails as the shell writes it, in lower case."""

_SEPARATOR = re.compile(r"sep=(.)\s*")
_IN_NAME = re.compile(r"\(([^()@\s]+@[^()\s]+)\)\s*$")
_HEADER_LINES = 3


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A reader (the contract of `readers`). `encoding`: if known; else it is found out and said."""

    path: Path
    encoding: str | None = None

    def read(self) -> Iterator[Recipient | Finding]:
        """UserError, with the line, for a file that is no address book; Permanent if it cannot be read."""
        encoding = find_encoding(self.path, self.encoding, _has_russian_columns)
        source = lines(self.path, encoding)
        delimiter, header, first = _header(source)
        rows = csv_rows.rows(itertools.chain(header, source), delimiter)
        top = next(rows, None)
        if not isinstance(top, csv_rows.Row):
            why = top.message if top is not None else "the file is empty"
            raise UserError(f"no line with column names: {why}", about=f"{self.path}:{first}")
        if csvde.is_header(top.cells):
            said = f"csvde, {encoding}, {csv_rows.called(delimiter)} between fields"
            yield finding("file-read-as", f"{self.path}:{top.line}", said, value=encoding.name)
            yield from csvde.recipients(self.path, top.cells, rows)
            return
        columns = understand(top.cells)
        yield from self._head(top, columns, encoding, delimiter)
        reading = _Reading(self.path, columns)
        for row in rows:
            yield from reading.row(row)

    def _head(self, top: csv_rows.Row, columns: Columns, encoding: Encoding, delimiter: str) -> Iterator[Finding]:
        where = f"{self.path}:{top.line}"
        if not any(columns.fields):
            raise UserError(
                f"none of the columns is known: {', '.join(top.cells)[:200]}",
                about=where,
                advice="export with the column names of Outlook; the first line must hold them",
            )
        if not ADDRESS_FIELDS & set(columns.fields):
            raise UserError(
                "no column holds e-mail addresses",
                about=where,
                advice="export with the column “E-mail Address” (“E-Mail-Adresse”, “Adresse de messagerie”, …)",
            )
        said = f"{columns.language} column names, {encoding}, {csv_rows.called(delimiter)} between fields"
        yield finding("file-read-as", where, said, value=encoding.name)
        for name in columns.unknown:
            yield finding("column-unknown", where, "this column is not read", value=name)


def _has_russian_columns(line: str) -> bool:
    return understand(re.split(r"[,;\t]", line)).language == "Russian"


def _header(source: Iterator[Line]) -> tuple[str, list[Line], int]:
    """Delimiter, the line with the column names (in a list, none at the end), and its number. Before it may stand what
    Excel (`sep=;`) and PowerShell (`#TYPE …`) put there."""
    told = ""
    number = 1
    for _ in range(_HEADER_LINES):
        line = next(source, None)
        if line is None:
            break
        number = line.number
        separator = _SEPARATOR.fullmatch(line.text)
        if separator is not None:
            told = separator[1]
        elif line.text.strip() and not line.text.startswith(("#TYPE", '"#TYPE')):
            return told or csv_rows.sniff(line.text), [line], number
    return told or ",", [], number


class _Reading:
    """The rows of one file, after its header."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self.path = path
        self.columns = columns
        self.ids = Ids("csv:")

    def row(self, row: csv_rows.Row | csv_rows.Broken) -> Iterator[Recipient | Finding]:
        where = f"{self.path}:{row.line}"
        if isinstance(row, csv_rows.Broken):
            yield finding("row-broken", where, row.message, value=row.text)
            return
        cells, wanted = row.cells, len(self.columns.fields)
        if any(cell.strip() for cell in cells[wanted:]):
            message = (
                f"{len(cells)} fields, but {wanted} columns: a delimiter stands in a field without quotation marks"
            )
            yield finding("row-long", where, message, value=",".join(cells)[:80])
            return
        values = {
            field: cell for field, cell in zip(self.columns.fields, cells, strict=False) if field and cell.strip()
        }
        if not values:
            yield finding("row-empty", where, "nothing in it that is read", value=",".join(cells)[:80])
            return
        recipient, notes = _recipient(values, where, self.ids)
        if len(cells) < wanted:
            message = f"{len(cells)} fields, but {wanted} columns; the last ones count as empty"
            yield finding("row-short", where, message, about=recipient.id)
        if row.mixed:
            message = "bytes of another encoding than the rest; read as Windows-1252"
            yield finding("encoding-mixed", where, message, about=recipient.id)
        yield from notes
        yield recipient


def _recipient(values: dict[str, str], where: str, ids: Ids) -> tuple[Recipient, list[Finding]]:
    found = _Addresses()
    for field in ("mail", "mail 2", "mail 3"):
        found.add(values.get(field, ""), values.get(f"{field} type", ""))
    for one in re.split(r"[;,\s]+(?=[A-Za-z0-9]+:)", values.get("addresses", "")):
        found.add_proxy(one.strip())
    found.add(values.get("legacy", ""), "EX")
    beside = _IN_NAME.search(values.get("mail name", ""))
    if not found.smtp and beside is not None:
        found.add(beside[1], "SMTP")
    external = values.get("external", "").strip()
    details = _details(values)
    name = _name(values)
    kind = KINDS.get(values.get("kind", "").strip().lower(), RecipientKind.CONTACT)
    guid = _guid(values.get("guid", ""))
    key = next(iter(found.x500), "") or next(iter(found.smtp), "")
    steady, notes = ids.give(
        guid and f"ad:{guid}",
        key.casefold()
        or digest(name, values.get("o", ""), values.get("telephoneNumber", ""), values.get("mobile", "")),
        where,
    )
    recipient = Recipient(
        id=steady,
        kind=kind,
        where=where,
        name=name,
        account=values.get("account", "").strip() or None,
        principal=values.get("principal", "").strip() or None,
        mail=next(iter(found.smtp), None),
        aliases=tuple(found.smtp[1:]),
        x500=tuple(found.x500),
        external_address=addresses.tidy(external) or external or None,
        mailbox_guid=_guid(values.get("mailbox", "")) or None,
        hidden=values.get("hidden", "").strip().lower() == "true",
        details=MappingProxyType(details),
    )
    return recipient, notes


class _Addresses:
    """The addresses of a row, each once, in their order; a shell's primary one (`SMTP:`) comes first."""

    def __init__(self) -> None:
        self.smtp: list[str] = []
        self.x500: list[str] = []

    def add(self, text: str, kind: str) -> None:
        """An address as its column has it; Exchange's own (type EX) is an X.500 one."""
        text = text.strip("\r\n")
        if not text.strip():
            return
        if kind.strip().upper() in ("EX", "X500") or text.strip().lower().startswith(("/o=", "x500:")):
            self._once(self.x500, addresses.tidy_x500(text) or text.strip())
        elif text.strip().upper() != "SMTP":
            self._once(self.smtp, text)

    def add_proxy(self, text: str) -> None:
        """A member of EmailAddresses: `SMTP:` the primary, `smtp:` others, `X500:`; other kinds (SIP, EUM) are none."""
        kind, colon, address = text.partition(":")
        if not colon:
            self.add(text, "")
        elif kind.upper() == "X500":
            self.add(address, "EX")
        elif kind.upper() == "SMTP":
            self.add(address, "SMTP")
            if kind == "SMTP":
                self.smtp.sort(key=lambda one: one.casefold() != address.strip().casefold())

    def _once(self, into: list[str], address: str) -> None:
        if address.casefold() not in [one.casefold() for one in into]:
            into.append(address)


def _name(values: dict[str, str]) -> str:
    """The display name: the program's own, else put together from its parts."""
    if "name" in values:
        return values["name"]
    parts = [values.get(field, "") for field in ("given", "middle", "surname", "suffix")]
    whole = " ".join(part for part in parts if part.strip())
    beside = _IN_NAME.sub("", values.get("mail name", "")).strip()
    return whole or ("" if "@" in beside else beside) or values.get("o", "")


def _details(values: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """What an address book shows, by LDAP's names. The home's address stands in only where there is no business one."""
    found: dict[str, list[str]] = {}

    def put(attribute: str, text: str) -> None:
        if text.strip() and text not in found.setdefault(attribute, []):
            found[attribute].append(text)

    for attribute, fields in _DETAILS.items():
        for field in fields:
            put(attribute, values.get(field, ""))
    home = "" if any(values.get(field) for field in ("street", "city", "code")) else "home "
    streets = (values.get(f"{home}street{number}", "") for number in ("", " 2", " 3"))
    put("street", "\n".join(street for street in streets if street.strip()))
    for attribute, field in (("l", "city"), ("st", "state"), ("postalCode", "code")):
        put(attribute, values.get(home + field, ""))
    country = values.get(f"{home}country", "").strip()
    put("c" if re.fullmatch(r"[A-Za-z]{2}", country) else "co", country)
    return {attribute: tuple(texts) for attribute, texts in found.items() if texts}


_DETAILS = {
    "givenName": ("given",),
    "sn": ("surname",),
    "initials": ("initials",),
    "title": ("title",),
    "o": ("o",),
    "departmentNumber": ("department",),
    "telephoneNumber": ("telephoneNumber", "telephoneNumber 2", "telephoneNumber 3"),
    "homePhone": ("homePhone", "homePhone 2"),
    "mobile": ("mobile", "mobile 2"),
    "facsimileTelephoneNumber": ("fax",),
    "pager": ("pager",),
    "roomNumber": ("room",),
    "employeeNumber": ("number",),
    "labeledURI": ("page",),
    "info": ("notes",),
}


def _guid(text: str) -> str:
    """A GUID as UUID text, "" for none and for the empty one."""
    try:
        found = uuid.UUID(text.strip())
    except ValueError:
        return ""
    return str(found) if found.int else ""
