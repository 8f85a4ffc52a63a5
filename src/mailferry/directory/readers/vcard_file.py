"""Reads contacts and their lists from vCards (`.vcf`, several in a file). Cleans nothing.

Ids: `vcard:` and the card's UID, else its first address, else a digest of name, company and telephone numbers.
Invariant: a card is a Recipient or a Finding, each with its line.
"""

from __future__ import annotations

import binascii
import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from mailferry.directory import addresses
from mailferry.directory.codes import finding
from mailferry.directory.readers.identity import Ids, digest
from mailferry.errors import Permanent, UserError
from mailferry.model.recipient import Finding, Recipient, RecipientKind
from mailferry.wire.vcard import Card, Fault, Property, parse

_LINE = 1 << 20
_URI = re.compile(r"(?i)(?:mailto|tel):")
_DATA = re.compile(r"(?i)data:[^,]*;base64,(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class VcardFile:
    """A reader (the contract of `readers`)."""

    path: Path

    def read(self) -> Iterator[Recipient | Finding]:
        """UserError for a file without one card; Permanent if it cannot be read."""
        ids = Ids("vcard:")
        cards = 0
        for one in parse(self._lines()):
            where = f"{self.path}:{one.line}"
            if isinstance(one, Fault):
                yield finding("card-broken" if one.lost == "card" else "card-line", where, one.message, value=one.text)
                continue
            cards += 1
            recipient, notes = _recipient(one, where, ids)
            mixed = [
                found
                for found in one.properties
                if found.name not in ("PHOTO", "LOGO", "KEY", "SOUND") and found.is_mixed
            ]
            if mixed:
                message = f"{mixed[0].name} is not in the encoding it names; read as Windows-1252"
                yield finding("encoding-mixed", f"{self.path}:{mixed[0].line}", message, about=recipient.id)
            yield from notes
            yield recipient
        if not cards:
            raise UserError("there is no vCard in it", about=str(self.path), advice="a vCard begins with BEGIN:VCARD")

    def _lines(self) -> Iterator[bytes]:
        try:
            with self.path.open("rb") as file:
                if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                    with self.path.open(encoding="utf-16", errors="replace", newline="\n") as wide:
                        yield from (line.encode("utf-8", "replace") for line in wide)
                    return
                file.seek(0)
                while line := file.readline(_LINE):
                    yield line
        except OSError as error:
            raise Permanent(f"cannot be read: {error.strerror}", about=str(self.path)) from error


def _recipient(card: Card, where: str, ids: Ids) -> tuple[Recipient, list[Finding]]:
    mail, x500 = _mail(card)
    details = _details(card)
    name = card.text("FN") or _put_together(card) or card.text("ORG")
    phones = "".join(text for key in ("telephoneNumber", "mobile", "homePhone") for text in details.get(key, ()))
    key = card.text("UID").strip().removeprefix("urn:uuid:") or next(iter(mail), "").casefold()
    key = key or digest(name, "".join(details.get("o", ())), phones)
    steady, notes = ids.give("", key, where)
    is_group = "group" in {card.text("KIND", "X-ADDRESSBOOKSERVER-KIND").strip().lower()}
    photo, wrong = _photo(card)
    if wrong:
        notes.append(finding("value-unreadable", where, wrong, about=steady))
    nickname = tuple(text for one in card.all("NICKNAME") for text in one.parts(",") if text.strip())
    members = [one.text().strip() for one in card.all("MEMBER", "X-ADDRESSBOOKSERVER-MEMBER")] if is_group else []
    recipient = Recipient(
        id=steady,
        kind=RecipientKind.GROUP if is_group else RecipientKind.CONTACT,
        where=where,
        name=name,
        mail=next(iter(mail), None),
        aliases=tuple(mail[1:]),
        x500=tuple(x500),
        details=MappingProxyType(details),
        photo=photo,
        members=tuple(_member(text) for text in members),
        preferences=MappingProxyType({"nickname": nickname} if nickname else {}),
    )
    return recipient, notes


def _mail(card: Card) -> tuple[list[str], list[str]]:
    """SMTP addresses, the preferred one first, and X.500 ones (Outlook's `EMAIL;X-EX` or `EMAIL;EX`)."""
    smtp: list[str] = []
    x500: list[str] = []
    for one in sorted(card.all("EMAIL"), key=_preference):
        text = _URI.sub("", one.text(), count=1) if _URI.match(one.text()) else one.text()
        if text.lower().startswith("/o="):
            x500.append(text.strip())
        elif text.strip() and text.casefold() not in [known.casefold() for known in smtp]:
            smtp.append(text)
    return smtp, x500


def _preference(one: Property) -> int:
    """1 (most preferred) to 100, as vCard 4 has it; `TYPE=PREF` of the others counts as 1."""
    value = one.parameters.get("PREF", "")
    if value.isascii() and value.isdigit():
        return min(int(value[:4]), 100)
    return 1 if "pref" in one.types else 101


def _put_together(card: Card) -> str:
    family, given, middle, before, after = _padded(card, "N", 5)
    return " ".join(part for part in (before, given, middle, family, after) if part.strip())


def _padded(card: Card, name: str, length: int) -> list[str]:
    parts = next((one.parts() for one in card.all(name)), [])
    return [*parts, *[""] * length][:length]


def _details(card: Card) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}

    def put(attribute: str, *texts: str) -> None:
        for text in texts:
            if text.strip() and text not in found.setdefault(attribute, []):
                found[attribute].append(text)

    family, given = _padded(card, "N", 2)
    put("sn", family)
    put("givenName", given)
    put("title", *(one.text() for one in card.all("TITLE", "ROLE")))
    company, *units = _padded(card, "ORG", 4)
    put("o", company)
    put("departmentNumber", *units)
    for one in card.all("TEL"):
        text = _URI.sub("", one.text(), count=1) if _URI.match(one.text()) else one.text()
        put(_phone(one.types), text)
    homes = [one for one in card.all("ADR") if "home" in one.types]
    works = [one for one in card.all("ADR") if one not in homes]
    for one in (works or homes)[:1]:
        box, extended, street, city, state, code, country = [*one.parts(), *[""] * 7][:7]
        put("street", "\n".join(part for part in (box, extended, street) if part.strip()))
        put("l", city)
        put("st", state)
        put("postalCode", code)
        put("c" if re.fullmatch(r"[A-Za-z]{2}", country.strip()) else "co", country.strip())
    put("labeledURI", *(one.text() for one in card.all("URL")))
    put("info", *(one.text() for one in card.all("NOTE")))
    return {attribute: tuple(texts) for attribute, texts in found.items() if texts}


def _phone(types: frozenset[str]) -> str:
    if "fax" in types or "facsimile" in types:
        return "facsimileTelephoneNumber"
    if types & {"cell", "iphone"}:
        return "mobile"
    if "pager" in types:
        return "pager"
    return "homePhone" if "home" in types else "telephoneNumber"


def _photo(card: Card) -> tuple[bytes | None, str]:
    """The photo's bytes, or why there are none. A photo at a web address is not fetched."""
    for one in card.all("PHOTO"):
        if one.data.startswith((b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM")):
            return one.data, ""
        inline = _DATA.match(one.raw())
        if inline is not None:
            try:
                return binascii.a2b_base64(inline[1].encode("ascii", "replace")), ""
            except binascii.Error:
                return None, "the photo is bad base64"
        return None, "the photo is somewhere else, which is not read"
    return None, ""


def _member(text: str) -> str:
    """A member of a list: another card's UID (`urn:uuid:…`) as its id, a `mailto:` as an address outside."""
    if text.lower().startswith("mailto:"):
        return f"smtp:{text[len('mailto:') :]}"
    return f"vcard:{text.removeprefix('urn:uuid:')}" if addresses.fault(text) is not None else f"smtp:{text}"
