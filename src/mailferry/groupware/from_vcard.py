"""vCards of any version as contacts and lists. Reads what `to_vcard` writes, and what address books export.

Invariant: every card becomes an item or is not carried with a reason; fields that the model has no place for are
losses.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Iterator
from datetime import date, datetime

from mailferry.groupware.to_vcard import NO_YEAR, PHONES, RELATED
from mailferry.model.groupware import Contact, ContactList, NotCarried, Party, Postal, Sensitivity, Text
from mailferry.wire.vcard import Card, Property, parse, unmarked

_DATA = re.compile(r"(?i)data:[^,]*;base64,(.*)", re.DOTALL)
_KNOWN = frozenset(
    """FN N UID REV VERSION PRODID KIND NICKNAME TITLE ROLE ORG EMAIL TEL ADR URL IMPP BDAY ANNIVERSARY RELATED MEMBER
    NOTE PHOTO KEY CATEGORIES CLASS SORT-STRING CLIENTPIDMAP""".split()  # noqa: SIM905
)
_CHATS = {"X-AIM": "aim", "X-ICQ": "icq", "X-JABBER": "xmpp", "X-MSN": "msnim", "X-YAHOO": "ymsgr", "X-SKYPE": "skype"}


def cards(data: bytes) -> list[Contact | ContactList | NotCarried]:
    """Every card of a file."""
    found: list[Contact | ContactList | NotCarried] = []
    faults: list[str] = []
    for one in parse(data.splitlines(keepends=True)):
        if isinstance(one, Card):
            found.append(_item(one, faults))
            faults = []
        elif one.lost == "card":
            found.append(NotCarried(f"line {one.line}", "vcard", one.message))
        else:
            faults.append(f"a line could not be read: {one.message}")
    return found


def _item(card: Card, faults: list[str]) -> Contact | ContactList:
    losses = list(faults)
    unknown = sorted({one.name for one in card.properties if not one.name.startswith("X-")} - _KNOWN)
    losses += [f"the field {name[:40]} is left out" for name in unknown]
    kind = card.text("KIND", "X-ADDRESSBOOKSERVER-KIND").strip().lower()
    uid = card.text("UID").strip() or _made_uid(card)
    if kind == "group":
        members = tuple(_member(one) for one in card.all("MEMBER", "X-ADDRESSBOOKSERVER-MEMBER"))
        return ContactList(
            uid,
            card.text("FN", "N"),
            members=members,
            notes=Text(card.text("NOTE")),
            categories=_categories(card),
            modified=_stamp(card.text("REV")),
            losses=tuple(losses),
        )
    return _contact(card, uid, losses)


def _made_uid(card: Card) -> str:
    """The same for the same card."""
    mark = hashlib.sha256()
    for one in card.properties:
        mark.update(one.name.encode() + b":" + one.data + b"\n")
    return f"mailferry-{mark.hexdigest()[:32]}"


def _contact(card: Card, uid: str, losses: list[str]) -> Contact:
    family, given, middle, prefix, suffix = _padded(card, "N", 5)
    company, department = _padded(card, "ORG", 2)
    photos, lost = _binaries(card, "PHOTO")
    certificates, lost_keys = _binaries(card, "KEY")
    losses += [f"{name} is somewhere else, or cannot be read" for name in [*lost, *lost_keys]]
    return Contact(
        uid,
        card.text("FN") or " ".join(part for part in (given, family) if part) or company,
        given=given,
        middle=middle,
        family=family,
        prefix=prefix,
        suffix=suffix,
        nickname=card.text("NICKNAME"),
        initials=card.text("X-INITIALS"),
        file_as=card.text("X-FILE-AS"),
        phonetic=(card.text("X-PHONETIC-FIRST-NAME"), card.text("X-PHONETIC-LAST-NAME")),
        company=company,
        department=department,
        title=card.text("TITLE"),
        profession=card.text("ROLE"),
        office=card.text("X-OFFICE"),
        mails=tuple(_mails(card)),
        phones=tuple((_phone(one.types), _bare(one.text(), "tel:")) for one in card.all("TEL") if one.text().strip()),
        postal=tuple(_postal(one) for one in card.all("ADR") if any(one.parts())),
        links=tuple((_type(one, ("work", "home", "blog")), one.text()) for one in card.all("URL") if one.text()),
        im=tuple(_chats(card)),
        related=tuple(_relations(card)),
        birthday=_day(card, "BDAY", losses),
        anniversary=_day(card, "ANNIVERSARY", losses) or _day(card, "X-ANNIVERSARY", losses),
        notes=Text(card.text("NOTE")),
        photo=photos[0] if photos else b"",
        certificates=tuple(certificates),
        categories=_categories(card),
        sensitivity=_sensitivity(card.text("X-CLASS", "CLASS")),
        modified=_stamp(card.text("REV")),
        losses=tuple(losses),
    )


def _padded(card: Card, name: str, length: int) -> list[str]:
    parts = next((one.parts() for one in card.all(name)), [])
    return [*parts, *[""] * length][:length]


def _bare(text: str, scheme: str) -> str:
    return text[len(scheme) :] if text.lower().startswith(scheme) else text


def _mails(card: Card) -> Iterator[Party]:
    found = [one for one in card.all("EMAIL") if one.text().strip()]
    for one in sorted(found, key=lambda one: "pref" not in one.types and one.parameters.get("PREF") != "1"):
        yield Party(unmarked(one.parameters.get("X-DISPLAY-NAME", "")), _bare(one.text(), "mailto:"))


def _phone(types: frozenset[str]) -> str:
    for kind, written in PHONES.items():
        if types == set(written.split(",")):
            return kind
    if "fax" in types:
        return "fax-home" if "home" in types else "fax-work"
    for kind, name in (("cell", "mobile"), ("iphone", "mobile"), ("pager", "pager"), ("car", "car"), ("isdn", "isdn")):
        if kind in types:
            return name
    return "home" if "home" in types else "work" if "work" in types else "other"


def _type(one: Property, known: tuple[str, ...]) -> str:
    return next((kind for kind in known if kind in one.types), "")


def _postal(one: Property) -> Postal:
    box, further, street, city, region, code, country = [*one.parts(), *[""] * 7][:7]
    street = "\n".join(part for part in (box, further, street) if part.strip())
    return Postal(_type(one, ("work", "home")) or "other", street, city, region, code, country)


def _chats(card: Card) -> Iterator[str]:
    for one in card.all("IMPP"):
        yield _bare(one.text(), "x-im:")
    for name, scheme in _CHATS.items():
        yield from (f"{scheme}:{one.text()}" for one in card.all(name) if one.text().strip())


def _relations(card: Card) -> Iterator[tuple[str, str]]:
    kinds = {written: kind for kind, written in RELATED.items()}
    for one in card.all("RELATED", "X-SPOUSE", "X-MANAGER", "X-ASSISTANT", "X-CHILD"):
        name = one.name.removeprefix("X-").lower() if one.name != "RELATED" else ""
        yield name or next((kinds[kind] for kind in one.types if kind in kinds), "other"), one.text()


def _day(card: Card, name: str, losses: list[str]) -> date | None:
    for one in card.all(name):
        text = re.sub(r"[-]", "", one.text().strip().partition("T")[0])
        if one.text().startswith("--"):
            text = f"{NO_YEAR}{text}"
        try:
            return datetime.strptime(text, "%Y%m%d").date()
        except ValueError:
            losses.append(f"{name} is no date that a calendar has")
    return None


def _stamp(text: str) -> datetime | None:
    """A time of UTC, naive."""
    digits = re.sub(r"[-:Z]", "", text.strip())[:15]
    try:
        return datetime.strptime(digits, "%Y%m%dT%H%M%S")
    except ValueError:
        return None


def _binaries(card: Card, name: str) -> tuple[list[bytes], list[str]]:
    """The bytes of photos or keys; how often they were not there. None is fetched from anywhere."""
    found, lost = [], []
    for one in card.all(name):
        inline = _DATA.match(one.raw()) if one.data[:5].lower() == b"data:" else None
        if inline is not None:
            try:
                found.append(binascii.a2b_base64(inline[1].encode("ascii", "replace")))
            except binascii.Error:
                lost.append(name)
        elif re.match(rb"[a-z][a-z0-9+.-]*:", one.data) or not one.data:
            lost.append(name)
        else:
            found.append(one.data)
    return found, lost


def _categories(card: Card) -> tuple[str, ...]:
    return tuple(text for one in card.all("CATEGORIES") for text in one.parts(",") if text.strip())


def _sensitivity(text: str) -> Sensitivity:
    known = {one.value.upper(): one for one in Sensitivity}
    return known.get(text.strip().upper(), Sensitivity.NORMAL)


def _member(one: Property) -> Party:
    text = one.text().strip()
    return Party(unmarked(one.parameters.get("X-DISPLAY-NAME", "")), _bare(text, "mailto:"))
