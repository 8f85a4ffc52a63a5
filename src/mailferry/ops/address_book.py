"""Address book files → one clean LDIF for an LDAP address book: the use case behind `mailferry directory convert`.

Needs no settings, no ledger, no server. Invariant: files are written whole or not at all; nothing is left out silently.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mailferry.directory.address_book import Book, make_book
from mailferry.directory.clean import Cleaned, Policy, clean
from mailferry.directory.clean_report import as_csv, as_html
from mailferry.directory.decisions import Decisions, add_open, read_decisions, write_whole
from mailferry.directory.readers import Reader
from mailferry.directory.readers.csv_file import CsvFile
from mailferry.directory.readers.identity import Ids, with_references
from mailferry.directory.readers.ldif_file import LdifFile
from mailferry.directory.readers.vcard_file import VcardFile
from mailferry.errors import Permanent, UserError
from mailferry.model.recipient import Finding, Recipient, RecipientKind
from mailferry.wire import dn
from mailferry.wire.ldif import HEADER, emit

_SUFFIXES = {".ldif": "ldif", ".ldi": "ldif", ".vcf": "vcard", ".vcard": "vcard", ".csv": "csv"}
_LOOK = 4096


@dataclass(frozen=True, slots=True)
class Converted:
    """What came of it: `waiting`: how many findings were new in the decisions file."""

    cleaned: Cleaned
    book: Book
    waiting: int


def convert(
    files: Sequence[Path],
    base: str,
    output: Path | None,
    *,
    encoding: str | None = None,
    decisions: Path | None = None,
    report: Path | None = None,
) -> Converted:
    """Read, clean and write. `output` None: nothing is written. The decisions file is replayed, made if it is not
    there, and gets the findings that wait. UserError for a file that is none of the kinds, for one that would be
    overwritten, or a base that is no DN."""
    if not dn.parse(base):
        raise UserError("the base is empty", about="--base", advice="--base ou=addressbook,dc=acme,dc=example")
    for written in (output, decisions, report):
        if written is not None and any(written.exists() and path.exists() and path.samefile(written) for path in files):
            raise UserError("it is read, and would be overwritten", about=str(written), advice="name another file")
    known = read_decisions(decisions) if decisions is not None and decisions.exists() else Decisions()
    cleaned = clean(_read(files, encoding), Policy(time.time()), known)
    book = make_book(cleaned.recipients, base)
    if output is not None:
        whole = b"".join((HEADER, *(emit(entry.dn, entry.attributes) for entry in book.entries)))
        write_whole(output, whole.decode("ascii"))
    waiting = add_open(decisions, cleaned.open) if decisions is not None else 0
    if report is not None:
        write_report(cleaned, report, "Address book")
    return Converted(cleaned, book, waiting)


def write_report(cleaned: Cleaned, path: Path, title: str) -> None:
    """The findings as a page (`.html`) or as CSV. UserError for another name."""
    if path.suffix.lower() not in (".html", ".htm", ".csv"):
        raise UserError("a report is .html or .csv", about=str(path))
    write_whole(path, as_csv(cleaned) if path.suffix.lower() == ".csv" else as_html(cleaned, title))


def _read(files: Sequence[Path], encoding: str | None) -> Iterator[Recipient | Finding]:
    """All files as one: who stands in two of them has two ids, so that cleaning sees both and merges them."""
    ids = Ids("")
    for path in files:
        found = list(reader(path, encoding).read())
        given: dict[str, str] = {}
        for one in found:
            if isinstance(one, Recipient):
                given[one.id], _ = ids.give(one.id, "", one.where)
        for one in found:
            if isinstance(one, Finding):
                yield dataclasses.replace(one, about=given.get(one.about, one.about))
            else:
                own = dataclasses.replace(one, id=given[one.id], kind=_kind(one))
                yield with_references(own, lambda who: given.get(who, who))


def _kind(one: Recipient) -> RecipientKind:
    """In an address book everybody is a contact, and every list a group."""
    groups = (RecipientKind.GROUP, RecipientKind.DYNAMIC_GROUP)
    return RecipientKind.GROUP if one.kind in groups else RecipientKind.CONTACT


def reader(path: Path, encoding: str | None = None) -> Reader:
    """The reader for a file, by its name or, failing that, by how it begins."""
    kind = _SUFFIXES.get(path.suffix.lower()) or _look(path)
    if kind == "ldif":
        return LdifFile(path)
    return VcardFile(path) if kind == "vcard" else CsvFile(path, encoding)


def _look(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(_LOOK).replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe\r\n\t ").lower()
    except OSError as error:
        raise Permanent(f"cannot be read: {error.strerror}", about=str(path)) from error
    if head.startswith(b"begin:vcard"):
        return "vcard"
    return "ldif" if head.startswith((b"dn:", b"version:", b"# ")) else "csv"
