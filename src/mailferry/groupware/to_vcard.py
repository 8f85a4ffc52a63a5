"""Contacts and lists of contacts as vCard 4.0 (RFC 6350), or 3.0 (RFC 2426) for servers and clients that want it.

Invariants: the same item gives the same bytes; what vCard has no field for stands in an X- property that `from_vcard`
reads again, or is a loss.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Literal

from mailferry.errors import ItemError
from mailferry.groupware.written import Written, clean
from mailferry.model.groupware import Contact, ContactList, Postal, Sensitivity
from mailferry.wire.vcard import escape, written

Version = Literal["3.0", "4.0"]

MOST_PHOTO = 8 << 20
"""Bytes of a photo: CardDAV servers take some 10 MB at most."""

NO_YEAR = 1604
"""Outlook's year for a birthday without one."""

PHONES = {
    "work": "work,voice",
    "home": "home,voice",
    "mobile": "cell",
    "fax-work": "work,fax",
    "fax-home": "home,fax",
    "pager": "pager",
    "car": "car",
    "isdn": "isdn",
    "primary": "voice,pref",
    "other": "voice",
    "tty": "textphone",
    "assistant": "x-assistant",
    "callback": "x-callback",
    "company": "x-company",
    "radio": "x-radio",
    "telex": "x-telex",
}
"""TYPE by the model's kind of telephone."""

RELATED = {"spouse": "spouse", "manager": "x-manager", "assistant": "x-assistant", "child": "child"}
_IMAGES = ((b"\xff\xd8", "jpeg"), (b"\x89PNG", "png"), (b"GIF8", "gif"), (b"BM", "bmp"))


def card(item: Contact | ContactList, *, version: Version = "4.0") -> Written:
    """The resource of a contact or list. ItemError without UID."""
    if not item.uid.strip():
        raise ItemError("it has no UID")
    losses = list(item.losses)
    body = _contact(item, version, losses) if isinstance(item, Contact) else _list(item, version, losses)
    lines = [written("BEGIN", "VCARD"), written("VERSION", version), _line("UID", item.uid), *body]
    if item.modified is not None:
        lines.append(written("REV", f"{item.modified:%Y%m%dT%H%M%SZ}"))
    return Written(item.uid, b"".join([*lines, written("END", "VCARD")]), tuple(dict.fromkeys(losses)))


def _line(name: str, text: str, **parameters: str) -> bytes:
    return written(name, escape(clean(text)), {key.upper(): one for key, one in parameters.items()})


def _structured(name: str, parts: Sequence[str], **parameters: str) -> bytes:
    value = ";".join(escape(clean(part)) for part in parts)
    return written(name, value, {key.upper(): one for key, one in parameters.items()})


def _contact(contact: Contact, version: Version, losses: list[str]) -> Iterator[bytes]:
    first_mail = contact.mails[0].address if contact.mails else ""
    yield _line("FN", contact.name or contact.file_as or contact.company or first_mail or "?")
    yield _structured("N", (contact.family, contact.given, contact.middle, contact.prefix, contact.suffix))
    for name, text in (
        ("NICKNAME", contact.nickname),
        ("TITLE", contact.title),
        ("ROLE", contact.profession),
        ("X-INITIALS", contact.initials),
        ("X-FILE-AS", contact.file_as),
        ("X-PHONETIC-FIRST-NAME", contact.phonetic[0]),
        ("X-PHONETIC-LAST-NAME", contact.phonetic[1]),
        ("X-OFFICE", contact.office),
    ):
        if text.strip():
            yield _line(name, text)
    if contact.company or contact.department:
        yield _structured("ORG", (contact.company, contact.department) if contact.department else (contact.company,))
    for number, mail in enumerate(contact.mails):
        parameters = {"type": "internet" if version == "3.0" else "work"}
        if number == 0:
            parameters |= {"pref": "1"} if version == "4.0" else {"type": "internet,pref"}
        if mail.name.strip() and mail.name != mail.address:
            parameters["x-display-name"] = clean(mail.name)
        yield _line("EMAIL", mail.address, **parameters)
    for kind, number_text in contact.phones:
        if kind not in PHONES:
            losses.append(f"a telephone number of the kind {kind!r} became a plain one")
        yield _line("TEL", number_text, type=PHONES.get(kind, "voice"))
    for one in contact.postal:
        yield _address(one)
    for kind, url in contact.links:
        yield written("URL", clean(url).replace("\n", ""), {"TYPE": kind} if kind else {})
    for address in contact.im:
        yield written("IMPP", clean(address if ":" in address else f"x-im:{address}").replace("\n", ""))
    for kind, name in contact.related:
        yield _related(kind, name, version)
    for field, day in (("BDAY", contact.birthday), ("ANNIVERSARY", contact.anniversary)):
        if day is not None:
            yield _day(field, day, version)
    yield from _rest(contact, version, losses)


def _address(one: Postal) -> bytes:
    parts = ("", "", one.street, one.city, one.region, one.code, one.country)
    return _structured("ADR", parts, **({"type": one.kind} if one.kind in ("work", "home") else {}))


def _related(kind: str, name: str, version: Version) -> bytes:
    if version == "4.0":
        return _line("RELATED", name, type=RELATED.get(kind, "x-other"), value="text")
    return _line({"spouse": "X-SPOUSE", "manager": "X-MANAGER", "assistant": "X-ASSISTANT"}.get(kind, "X-CHILD"), name)


def _day(field: str, day: date, version: Version) -> bytes:
    """A birthday; one without year as RFC 6350 §4.3.1 writes it, or as Apple does in 3.0."""
    if version == "4.0":
        return written(field, f"--{day:%m%d}" if day.year == NO_YEAR else f"{day:%Y%m%d}")
    name = "X-ANNIVERSARY" if field == "ANNIVERSARY" else field
    return written(name, day.isoformat(), {"X-APPLE-OMIT-YEAR": str(NO_YEAR)} if day.year == NO_YEAR else {})


def _rest(contact: Contact, version: Version, losses: list[str]) -> Iterator[bytes]:
    if clean(contact.notes.plain).strip():
        yield _line("NOTE", contact.notes.plain)
    if contact.photo:
        kind = next((name for start, name in _IMAGES if contact.photo.startswith(start)), "")
        if len(contact.photo) > MOST_PHOTO:
            losses.append(f"its photo is left out: more than {MOST_PHOTO >> 20} MB")
        else:
            yield _binary("PHOTO", contact.photo, f"image/{kind or 'jpeg'}", version)
    for certificate in contact.certificates:
        yield _binary("KEY", certificate, "application/pkix-cert", version)
    yield from _categories(contact.categories)
    if contact.sensitivity is not Sensitivity.NORMAL:
        yield _line("CLASS" if version == "3.0" else "X-CLASS", contact.sensitivity.value.upper())
    if contact.attached:
        losses.append(f"{len(contact.attached)} attachments are left out: a vCard has none")


def _binary(name: str, data: bytes, kind: str, version: Version) -> bytes:
    text = b64encode(data).decode()
    if version == "4.0":
        return written(name, f"data:{kind};base64,{text}")
    short = "X509" if name == "KEY" else kind.rpartition("/")[2].upper()
    return written(name, text, {"ENCODING": "b", "TYPE": short})


def _categories(categories: Sequence[str]) -> Iterator[bytes]:
    if named := [escape(text) for one in categories if (text := clean(one).strip())]:
        yield written("CATEGORIES", ",".join(named))


def _list(group: ContactList, version: Version, losses: list[str]) -> Iterator[bytes]:
    """A list by its members' addresses (RFC 6350 §6.6.5), in 3.0 as Apple's servers have it."""
    prefix = "" if version == "4.0" else "X-ADDRESSBOOKSERVER-"
    yield written(f"{prefix}KIND", "group")
    yield _line("FN", group.name or "?")
    if version == "3.0":
        yield _structured("N", (group.name, "", "", "", ""))
    nameless = 0
    for one in group.members:
        address = clean(one.address).strip()
        if not address:
            nameless += 1
            continue
        uri = address if address.startswith("urn:") else f"mailto:{address}"
        named = clean(one.name).strip()
        yield written(f"{prefix}MEMBER", uri, {"X-DISPLAY-NAME": named} if named and named != address else {})
    if nameless:
        losses.append(f"{nameless} members without an address are left out")
    if clean(group.notes.plain).strip():
        yield _line("NOTE", group.notes.plain)
    yield from _categories(group.categories)
