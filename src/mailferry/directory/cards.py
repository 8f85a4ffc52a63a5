"""Entries of the open directory → contacts of the organisation's address book (CardDAV). Pure.

Takes what people may see of each other and nothing else. Invariant: hidden people and service accounts never become
one (`FILTER`).
"""

from __future__ import annotations

from collections.abc import Mapping

from mailferry.model.groupware import Contact, Party, Postal, Text
from mailferry.net.ldap_entry import Entry

ID, VERSION = "entryUUID", "entryCSN"
FILTER = "(&(mailferryKind=*)(mail=*)(!(mailferryHidden=TRUE)))"
"""Whoever mail can be for and who shows."""
_PHONES: Mapping[str, str] = {
    "telephoneNumber": "work",
    "mobile": "mobile",
    "homePhone": "home",
    "facsimileTelephoneNumber": "fax-work",
    "pager": "pager",
}
ATTRIBUTES = (
    *("cn", "displayName", "givenName", "sn", "initials", "mail", "title", "ou", "o", "departmentNumber"),
    *("street", "l", "st", "postalCode", "co", "c", "physicalDeliveryOfficeName", "description", "jpegPhoto"),
    *_PHONES,
)


def contact(entry: Entry) -> Contact:
    """`entry`: with `ID` and `ATTRIBUTES`."""

    def text(*names: str) -> str:
        return next((value for name in names if (value := (entry.text(name) or "").strip())), "")

    name = text("displayName", "cn", "mail")
    postal = Postal("work", text("street"), text("l"), text("st"), text("postalCode"), text("co", "c"))
    return Contact(
        uid=text(ID),
        name=name,
        given=text("givenName"),
        family=text("sn"),
        initials=text("initials"),
        company=text("o"),
        department=text("ou", "departmentNumber"),
        title=text("title"),
        office=text("physicalDeliveryOfficeName"),
        mails=tuple(Party(name, address) for address in entry.texts("mail")[:1]),
        phones=tuple((kind, number) for one, kind in _PHONES.items() for number in entry.texts(one)),
        postal=() if postal == Postal("work") else (postal,),
        notes=Text(text("description")),
        photo=entry.first("jpegPhoto") or b"",
    )
