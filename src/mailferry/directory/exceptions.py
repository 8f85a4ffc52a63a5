"""The CSV file of exceptions from the rules of mapping: `who,uid,dn,exclude,replaces`, a line for a recipient.

`who`: its id, account name or primary address. `uid`, `dn` (whole, or an RDN): what it gets instead. `exclude`: `yes`
keeps it out. `replaces`: the former id (or former mailbox GUID) of the same person, whose entry and uid go over to it.
Does not know the recipients. Invariant: every line makes sense in itself, and none contradicts another.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mailferry.directory.codes import finding
from mailferry.directory.letters import as_uid
from mailferry.errors import UserError
from mailferry.model.recipient import Finding, Recipient
from mailferry.wire import dn as names

_COLUMNS = ("who", "uid", "dn", "exclude", "replaces")
_WORDS = {"": False, "no": False, "yes": True}


@dataclass(frozen=True, slots=True)
class Override:
    """One line. Empty texts: as the rules say."""

    line: int
    uid: str = ""
    dn: str = ""
    exclude: bool = False
    replaces: str = ""


@dataclass(frozen=True, slots=True)
class Exceptions:
    """The file by who, folded."""

    by_who: Mapping[str, Override] = field(default_factory=dict)
    path: Path | None = None

    def of(self, recipient: Recipient) -> Override | None:
        if not self.by_who:
            return None
        for key in (recipient.id, recipient.account, recipient.mail):
            if key and (found := self.by_who.get(key.casefold())):
                return found
        return None

    def stale(self, recipients: Iterable[Recipient]) -> list[Finding]:
        """A note for each line that fits none of all recipients."""
        used = {found.line for one in recipients if (found := self.of(one))}
        return [
            finding("exception-stale", f"{self.path}:{one.line}", f"nobody of this run is {who}", value=who)
            for who, one in self.by_who.items()
            if one.line not in used
        ]


NO_EXCEPTIONS = Exceptions()


def read_exceptions(path: Path | None) -> Exceptions:
    """UserError names FILE:LINE for unknown columns, broken quotes, empty `who`, and what cannot be a uid or DN."""
    if path is None:
        return NO_EXCEPTIONS
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", about=str(path)) from error
    except UnicodeDecodeError as error:
        raise UserError("not UTF-8", about=str(path), advice="save it as CSV UTF-8") from error
    delimiter = ";" if ";" in text.partition("\n")[0] else ","
    reader = csv.DictReader(text.splitlines(keepends=True), strict=True, delimiter=delimiter)
    found: dict[str, Override] = {}
    lines: dict[str, int] = {}
    try:
        unknown = sorted(set(reader.fieldnames or ()) - set(_COLUMNS))
        if unknown or "who" not in (reader.fieldnames or ()):
            what = f"unknown column {unknown[0]!r}" if unknown else "the column who is missing"
            raise UserError(what, about=f"{path}:1", advice=f"the first line names columns: {','.join(_COLUMNS)}")
        for row in reader:
            about = f"{path}:{reader.line_num}"
            if None in row:
                raise UserError("more fields than columns", about=about)
            override = _override(reader.line_num, row, about)
            key = (row["who"] or "").strip().casefold()
            for claim in (f"who {key}", f"uid {override.uid}" if override.uid else ""):
                if claim in lines:
                    raise UserError(f"{claim} stands in line {lines[claim]} already", about=about)
                if claim:
                    lines[claim] = reader.line_num
            found[key] = override
    except csv.Error as error:
        raise UserError(f"not CSV: {error}", about=f"{path}:{reader.line_num + 1}") from error
    return Exceptions(found, path)


def _override(line: int, row: Mapping[str, str | None], about: str) -> Override:
    values = {name: (row.get(name) or "").strip() for name in _COLUMNS}
    if not values["who"]:
        raise UserError("who is empty", about=about)
    if values["uid"] and as_uid(values["uid"]) != values["uid"]:
        raise UserError(f"not a uid: {values['uid']!r}", about=about, advice=f"for example {as_uid(values['uid'])!r}")
    if values["dn"]:
        try:
            names.parse(values["dn"])
        except UserError as error:
            raise UserError(error.message, about=about) from error
    if values["exclude"].lower() not in _WORDS:
        raise UserError(f"exclude is yes or no, not {values['exclude']!r}", about=about)
    return Override(line, values["uid"], values["dn"], _WORDS[values["exclude"].lower()], values["replaces"])
