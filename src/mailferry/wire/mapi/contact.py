"""Contacts and personal distribution lists ([MS-OXOCNTC]) from their properties."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import date

from mailferry.errors import ItemError
from mailferry.model.groupware import Contact, ContactList, Party, Postal
from mailferry.wire.mapi import tags
from mailferry.wire.mapi.addresses import entry
from mailferry.wire.mapi.appointment import sensitivity
from mailferry.wire.mapi.attached import Keep, attached
from mailferry.wire.mapi.fields import Making, smtp_address, subject, token
from mailferry.wire.mapi.item import Item
from mailferry.wire.mapi.named import ADDRESS, Properties
from mailferry.wire.mapi.rebuild import text
from mailferry.wire.mapi.values import Value

FILE_AS, WEB, CHAT = (ADDRESS, 0x8005), (ADDRESS, 0x802B), (ADDRESS, 0x8062)
PHONETIC_GIVEN, PHONETIC_FAMILY = (ADDRESS, 0x802C), (ADDRESS, 0x802D)
LIST_NAME, LIST_MEMBERS = (ADDRESS, 0x8053), (ADDRESS, 0x8054)
BIRTHDAY_LOCAL, WEDDING_LOCAL = (ADDRESS, 0x80DE), (ADDRESS, 0x80DF)
_MAILS = (0x8080, 0x8090, 0x80A0)
_PHONES = (
    ("work", 0x3A08),
    ("work", 0x3A1B),
    ("home", 0x3A09),
    ("home", 0x3A2F),
    ("mobile", 0x3A1C),
    ("fax-work", 0x3A24),
    ("fax-home", 0x3A25),
    ("pager", 0x3A21),
    ("car", 0x3A1E),
    ("assistant", 0x3A2E),
    ("callback", 0x3A02),
    ("company", 0x3A57),
    ("isdn", 0x3A2D),
    ("other", 0x3A1F),
    ("primary", 0x3A1A),
    ("radio", 0x3A1D),
    ("telex", 0x3A2C),
    ("tty", 0x3A4B),
)
_HOME = (0x3A5D, 0x3A59, 0x3A5C, 0x3A5B, 0x3A5A)
_OTHER = (0x3A63, 0x3A5F, 0x3A62, 0x3A61, 0x3A60)
_PRIMARY_FAX = 0x3A23
_MOST_PHOTO = 16 << 20


def contact(item: Item, making: Making, keep: Keep) -> Contact:
    """A contact, with its photo. `keep` holds what is attached."""
    bag = Properties(making, item)
    fax = [("fax-work", number) for number in (bag.text(_PRIMARY_FAX),) if number and not bag.text(0x3A24)]
    return Contact(
        token(item, "uid"),
        bag.text(tags.DISPLAY_NAME, FILE_AS) or subject(making, item.properties),
        given=bag.text(0x3A06),
        middle=bag.text(0x3A44),
        family=bag.text(0x3A11),
        prefix=bag.text(0x3A45),
        suffix=bag.text(0x3A05),
        nickname=bag.text(0x3A4F),
        initials=bag.text(0x3A0A),
        file_as=bag.text(FILE_AS),
        phonetic=(bag.text(PHONETIC_GIVEN), bag.text(PHONETIC_FAMILY)),
        company=bag.text(0x3A16),
        department=bag.text(0x3A18),
        title=bag.text(0x3A17),
        profession=bag.text(0x3A46),
        office=bag.text(0x3A19),
        mails=tuple(_mails(bag)),
        phones=(*((kind, number) for kind, tag in _PHONES if (number := bag.text(tag).strip())), *fax),
        postal=tuple(_postal(bag)),
        links=tuple(_links(bag)),
        im=tuple(one for one in (bag.text(CHAT).strip(),) if one),
        related=tuple(_related(bag)),
        birthday=_day(bag, BIRTHDAY_LOCAL, 0x3A42),
        anniversary=_day(bag, WEDDING_LOCAL, 0x3A41),
        notes=text(making, item),
        photo=_photo(item, making),
        certificates=tuple(
            one for value in bag.several(0x3A70) if isinstance(value, bytes) for one in _certificate(value)
        ),
        categories=tuple(item.categories),
        sensitivity=sensitivity(bag),
        attached=tuple(attached(item, making, keep)),
        modified=bag.instant(tags.LAST_MODIFICATION_TIME),
        losses=tuple(making.differences),
    )


def _mails(bag: Properties) -> Iterator[Party]:
    for start in _MAILS:
        kind, address = bag.text((ADDRESS, start + 2)), bag.text((ADDRESS, start + 3))
        shown = bag.text((ADDRESS, start + 4), (ADDRESS, start))
        if kind.upper() == "FAX":
            continue
        found = smtp_address(bag.making, kind, address) or (shown.strip() if "@" in shown and not address else "")
        if found:
            yield Party("" if shown.strip("'\"").casefold() == found.casefold() else shown, found)
        elif address:
            bag.making.lost("an address that is none of mail is left out")


def _postal(bag: Properties) -> Iterator[Postal]:
    work = tuple((ADDRESS, 0x8045 + number) for number in range(5))
    for kind, names in (("work", work), ("home", _HOME), ("other", _OTHER)):
        parts = [bag.text(name) for name in names]
        if any(parts):
            yield Postal(kind, *parts)


def _links(bag: Properties) -> Iterator[tuple[str, str]]:
    seen = set()
    for kind, name in (("work", 0x3A51), ("home", 0x3A50)):
        if (url := bag.text(name).strip()) and url not in seen:
            seen.add(url)
            yield kind, url
    if (url := bag.text(WEB).strip()) and url not in seen:
        yield "work", url


def _related(bag: Properties) -> Iterator[tuple[str, str]]:
    for kind, tag in (("spouse", 0x3A48), ("manager", 0x3A4E), ("assistant", 0x3A30)):
        if name := bag.text(tag).strip():
            yield kind, name
    yield from (("child", name) for name in bag.several(0x3A58) if isinstance(name, str) and name.strip())


def _day(bag: Properties, local: tuple[bytes, int], tag: int) -> date | None:
    found = bag.instant(local)
    return found.date() if found is not None else bag.day(tag)


def _photo(item: Item, making: Making) -> bytes:
    """The attached picture."""
    try:
        for one in item.attachments():
            bag = one.properties
            name = making.text(bag, tags.ATTACH_LONG_FILENAME, tags.ATTACH_FILENAME).casefold()
            if bag.get(tags.ATTACHMENT_CONTACT_PHOTO) is True or name == "contactpicture.jpg":
                pieces, size = [], 0
                for piece in bag.chunks(tags.ATTACH_DATA):
                    size += len(piece)
                    if size > _MOST_PHOTO:
                        raise ItemError("it is too large")
                    pieces.append(piece)
                return b"".join(pieces)
    except ItemError as error:
        making.lost(f"its photo could not be read: {error.message}")
    return b""


def _certificate(data: Value) -> Iterator[bytes]:
    """The X.509 certificate among the tagged values of PidTagUserX509Certificate ([MS-OXOCNTC] §2.2.1.10)."""
    if not isinstance(data, bytes):
        return
    at = 0
    while at + 4 <= len(data):
        kind, size = struct.unpack_from("<HH", data, at)
        if size < 4:
            return
        if kind == 3:
            yield data[at + 4 : at + size]
        at += size


def contact_list(item: Item, making: Making) -> ContactList:
    """A personal distribution list by its one-off members: what each was when it was put in."""
    bag = Properties(making, item)
    members = []
    for value in bag.several(LIST_MEMBERS):
        found = entry(value) if isinstance(value, bytes) else None
        if found is None:
            making.lost("a member that is neither a person nor an address is left out")
            continue
        name, kind, address = found
        members.append(Party(name, smtp_address(making, kind, address)))
    return ContactList(
        token(item, "uid"),
        bag.text(LIST_NAME, tags.DISPLAY_NAME) or subject(making, item.properties),
        members=tuple(members),
        notes=text(making, item),
        categories=tuple(item.categories),
        modified=bag.instant(tags.LAST_MODIFICATION_TIME),
        losses=tuple(making.differences),
    )
