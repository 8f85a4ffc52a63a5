"""One entry of Active Directory as a Recipient: what each attribute of AD and of Exchange says. Pure; asks nobody.

Sources: MS-ADA1 to MS-ADA3 (attributes), MS-ADTS 2.2.16 (userAccountControl), MS-OXOABK 2.2.3.11 (display types), and
Exchange's RecipientTypeDetails. Invariant: what is understood stands in the Recipient, what is not is a Finding.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from mailferry.directory.codes import finding
from mailferry.directory.exchange_mark import marked
from mailferry.model.recipient import Finding, Forwarding, Recipient, RecipientKind
from mailferry.net.ldap_entry import Entry

DETAILS: Mapping[str, tuple[str, ...]] = {  # inetOrgPerson's name: AD's, all values together
    "givenName": ("givenName",),
    "sn": ("sn",),
    "initials": ("initials",),
    "title": ("title",),
    "departmentNumber": ("department", "departmentNumber"),
    "ou": ("division",),
    "o": ("company",),
    "telephoneNumber": ("telephoneNumber", "otherTelephone"),
    "mobile": ("mobile", "otherMobile"),
    "facsimileTelephoneNumber": ("facsimileTelephoneNumber", "otherFacsimileTelephoneNumber"),
    "homePhone": ("homePhone", "otherHomePhone"),
    "pager": ("pager", "otherPager"),
    "street": ("streetAddress",),
    "l": ("l",),
    "st": ("st",),
    "postalCode": ("postalCode",),
    "c": ("c",),
    "roomNumber": ("physicalDeliveryOfficeName",),
    "employeeNumber": ("employeeNumber", "employeeID"),
    "employeeType": ("employeeType",),
    "description": ("description",),
    "labeledURI": ("wWWHomePage", "url"),
    "info": ("info",),
}
CARRIED = (
    *(f"extensionAttribute{number}" for number in range(1, 16)),
    *("msExchUserCulture", "msExchHomeServerName", "msExchArchiveName", "hideDLMembership"),
)
"""What goes into `Recipient.preferences` as it is; there too: proxyAddresses of other kinds than SMTP and X.500."""

MEMBERS = "member;range=0-1499"
"""Active Directory gives no more than 1500 values at once; asking for so many makes all servers answer alike."""

ATTRIBUTES: tuple[str, ...] = (
    *("objectGUID", "objectClass", "cn", "name", "displayName", "sAMAccountName", "userPrincipalName", "mail"),
    *("proxyAddresses", "legacyExchangeDN", "targetAddress", "mailHost", "msExchMailboxGuid", "homeMDB"),
    *("msExchRecipientTypeDetails", "msExchRecipientDisplayType", "msExchHideFromAddressLists"),
    *("userAccountControl", "accountExpires", "pwdLastSet", "thumbnailPhoto", "jpegPhoto", "manager", MEMBERS),
    *("managedBy", "msExchCoManagedByLink", "authOrig", "dLMemSubmitPerms", "unauthOrig", "dLMemRejectPerms"),
    *("msExchRequireAuthToSendTo", "msExchEnableModeration", "publicDelegates", "msExchDelegateListLink"),
    *("altRecipient", "deliverAndRedirect", "msExchGenericForwardingAddress"),
    *("mDBUseDefaults", "mDBStorageQuota", "mDBOverQuotaLimit", "mDBOverHardQuotaLimit"),
    *("msExchDynamicDLFilter", "msExchDynamicDLBaseDN"),
    *(name for names in DETAILS.values() for name in names),
    *CARRIED,
)
"""All that is read of an entry, and all whose change is a change."""

_DETAIL = {source.lower(): name for name, sources in DETAILS.items() for source in sources}
_CARRIED = {name.lower(): name for name in CARRIED}
_K = RecipientKind
_TYPES: Mapping[int, RecipientKind] = {  # RecipientTypeDetails, one bit each
    **dict.fromkeys((0, 1, 3), _K.MAILBOX),  # user, linked, legacy
    **dict.fromkeys((2, 37, 40), _K.SHARED),  # shared, team, group
    **dict.fromkeys((4, 41), _K.ROOM),
    5: _K.EQUIPMENT,
    **dict.fromkeys((6, 15), _K.CONTACT),  # contact, of another forest
    **dict.fromkeys((7, 31, 33, 34, 35, 38, 45), _K.MAIL_USER),  # mail user; remote mailboxes of all kinds; guest
    **dict.fromkeys((8, 9, 10, 28, 30, 43), _K.GROUP),
    11: _K.DYNAMIC_GROUP,
    **dict.fromkeys((12, 36), _K.PUBLIC_FOLDER),
    **dict.fromkeys((16, 21, 25), _K.ACCOUNT),  # user, disabled user, linked user: no mail
    17: _K.CONTACT,
    **dict.fromkeys((18, 19, 20), _K.GROUP),
}
_SYSTEM_TYPES = {13, 14, 22, 23, 24, 29, 39, 42, 44, 46, 47}
"""System attendant, system mailbox, Microsoft Exchange, arbitration, plan, discovery, monitoring, audit, scheduling,
auxiliary audit, supervision: Exchange's own, nobody's mail."""

_DISPLAY_TYPES: Mapping[int, RecipientKind] = {  # RecipientDisplayType, its low byte (PidTagDisplayType)
    0: _K.MAILBOX,
    1: _K.GROUP,
    2: _K.PUBLIC_FOLDER,
    3: _K.DYNAMIC_GROUP,
    6: _K.MAIL_USER,
    7: _K.ROOM,
    8: _K.EQUIPMENT,
    9: _K.GROUP,
}
_CLASSES = (
    ("msexchdynamicdistributionlist", _K.DYNAMIC_GROUP),
    ("publicfolder", _K.PUBLIC_FOLDER),
    ("group", _K.GROUP),
    ("contact", _K.CONTACT),
)
_DISABLED = 0x2
_NEVER = (0, 0x7FFFFFFFFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Around:
    """What one entry does not say itself. `reference`: a DN value → the reference that Recipient holds. `quota`: the DN
    of a mailbox database → its default in bytes. `members`: the ids that a dynamic group has, from its filter and
    base; a Finding's message where they cannot be told."""

    reference: Callable[[bytes], str]
    quota: Callable[[bytes], int | None]
    members: Callable[[str, str | None], tuple[str, ...] | str]


@dataclass(slots=True)
class _Making:
    entry: Entry
    id: str
    where: str
    around: Around
    findings: list[Finding] = field(default_factory=list)

    def find(self, code: str, message: str, value: str = "", proposal: str | None = None) -> None:
        found = finding(code, self.where, message, about=self.id, value=value[:200], proposal=proposal)
        self.findings.append(found)

    def number(self, name: str) -> int | None:
        text = self.entry.text(name)
        if text is None:
            return None
        try:
            return int(text)
        except ValueError:
            self.find("value-unreadable", f"{name} is no number", text)
            return None

    def flag(self, name: str) -> bool:
        return (self.entry.text(name) or "").upper() == "TRUE"

    def references(self, *names: str) -> tuple[str, ...]:
        found = [self.around.reference(value) for name in names for value in self.entry.get(name)]
        return tuple(dict.fromkeys(found)) if found else ()


def identity(entry: Entry) -> str | None:
    """The id of an entry: `ad:` and its objectGUID; None where there is no such."""
    value = entry.first("objectGUID")
    return f"ad:{uuid.UUID(bytes_le=value)}" if value is not None and len(value) == 16 else None


def to_recipient(
    entry: Entry, where: str, around: Around, key: str | None = None
) -> tuple[Recipient | None, list[Finding]]:
    """The Recipient, or none for what is Exchange's own, is ours (`exchange_mark`) or has no identity (a Finding says
    so); and what is wrong.

    `entry` has all its values (ranges put together, see `ad.whole`). `where`: its plain DN, or the file and line it
    was read from. `key`: its id, where a file was exported without objectGUID.
    """
    key = identity(entry) or key
    making = _Making(entry, key or "", where, around)
    if key is None:
        making.find("value-unreadable", "the entry has no readable objectGUID; it is left out")
        return None, making.findings
    kind = _kind(making)
    if kind is None:
        making.find("system-mailbox", "a mailbox of Exchange's own; it is left out", value=entry.text("cn") or "")
        return None, making.findings
    mark = marked(text for name in CARRIED for text in entry.texts(name)) if kind is _K.MAIL_USER else None
    if mark is not None:
        making.find("mail-user-of-ours", "made from an entry of the open directory; it is not brought back", value=mark)
        return None, making.findings
    person = kind not in (_K.GROUP, _K.DYNAMIC_GROUP, _K.CONTACT, _K.PUBLIC_FOLDER)
    mail, aliases, x500, others = _addresses(making)
    if making.flag("msExchEnableModeration"):
        making.find("moderated", "mail to it waits for a moderator's consent in Exchange; that is not carried over")
    dynamic = entry.text("msExchDynamicDLFilter") if kind is _K.DYNAMIC_GROUP else None
    preferences = {_CARRIED[name]: entry.texts(name) for name in entry.attrs.keys() & _CARRIED.keys()}
    if others:
        preferences["proxyAddresses"] = others
    recipient = Recipient(
        id=key,
        kind=kind,
        where=where,
        name=entry.text("displayName") or entry.text("cn") or entry.text("name") or "",
        account=entry.text("sAMAccountName") if person else None,
        principal=entry.text("userPrincipalName") if person else None,
        mail=mail,
        aliases=aliases,
        x500=x500,
        external_address=_external(making),
        mail_host=entry.text("mailHost"),
        mailbox_guid=_mailbox_guid(making),
        hidden=making.flag("msExchHideFromAddressLists"),
        enabled=not (making.number("userAccountControl") or 0) & _DISABLED,
        expires=_filetime(making.number("accountExpires")),
        password_changed=_filetime(making.number("pwdLastSet")),
        details=MappingProxyType(_details(entry)),
        photo=entry.first("thumbnailPhoto") or entry.first("jpegPhoto"),
        manager=next(iter(making.references("manager")), None),
        members=_members(making, dynamic) if kind is _K.DYNAMIC_GROUP else making.references("member"),
        member_filter=dynamic,
        owners=making.references("managedBy", "msExchCoManagedByLink"),
        accept_from=making.references("authOrig", "dLMemSubmitPerms"),
        reject_from=making.references("unauthOrig", "dLMemRejectPerms"),
        internal_only=making.flag("msExchRequireAuthToSendTo"),
        send_on_behalf=making.references("publicDelegates"),
        full_access=making.references("msExchDelegateListLink"),
        forwarding=_forwarding(making),
        quota=_quota(making),
        preferences=MappingProxyType(preferences),
    )
    return recipient, making.findings


def _kind(making: _Making) -> RecipientKind | None:
    """By RecipientTypeDetails, else display type, else class and what addresses there are; None: Exchange's own."""
    entry = making.entry
    details = making.number("msExchRecipientTypeDetails")
    if details:
        bit = details.bit_length() - 1
        if bit in _SYSTEM_TYPES:
            return None
        if bit in _TYPES:
            return _TYPES[bit]
        making.find("value-unreadable", "an unknown msExchRecipientTypeDetails", str(details))
    classes = {name.lower() for name in entry.texts("objectClass")}
    by_class = next((kind for name, kind in _CLASSES if name in classes), None)
    display = making.number("msExchRecipientDisplayType")
    if by_class is None and display is not None and (display & 0xFF) in _DISPLAY_TYPES:
        return _DISPLAY_TYPES[display & 0xFF]
    if by_class is not None:
        return by_class
    if entry.get("msExchMailboxGuid") or entry.get("homeMDB"):
        return _K.MAILBOX
    if entry.get("targetAddress"):
        return _K.MAIL_USER
    return _K.MAILBOX if entry.get("mail") or entry.get("proxyAddresses") else _K.ACCOUNT


def _addresses(making: _Making) -> tuple[str | None, tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Primary, aliases, X.500 and what is of another kind. `SMTP:` in capitals marks the primary (MS-ADA3 2.111)."""
    primaries: list[str] = []
    aliases: list[str] = []
    x500 = [*making.entry.texts("legacyExchangeDN")]
    others: list[str] = []
    for text in sorted(making.entry.texts("proxyAddresses")):
        prefix, colon, address = text.partition(":")
        if prefix == "SMTP" and colon:
            primaries.append(address)
        elif prefix.upper() == "SMTP" and colon:
            aliases.append(address)
        elif prefix.upper() == "X500" and colon:
            x500.append(address)
        else:
            others.append(text)
    mail = making.entry.text("mail")
    if mail is not None and primaries and mail.lower() not in (one.lower() for one in primaries):
        making.find(
            "primary-differs", "mail and the primary proxy address differ; the latter is taken", mail, primaries[0]
        )
        aliases.append(mail)
    if len(primaries) > 1:
        if mail is not None and mail in primaries:
            primaries.sort(key=lambda one: one != mail)
        making.find("primary-twice", f"{len(primaries)} primary addresses", " ".join(primaries), primaries[0])
    primary = primaries[0] if primaries else mail
    return primary, _distinct([*primaries, *aliases], primary), _distinct(x500), tuple(others)


def _distinct(texts: list[str], without: str | None = None) -> tuple[str, ...]:
    """Without repetitions, letter case aside, in order."""
    first: dict[str, str] = {}
    for text in texts:
        first.setdefault(text.lower(), text)
    if without is not None:
        first.pop(without.lower(), None)
    return tuple(first.values())


def _external(making: _Making) -> str | None:
    text = making.entry.text("targetAddress")
    if text is None:
        return None
    prefix, colon, address = text.partition(":")
    if colon and prefix.upper() != "SMTP":
        making.find("external-address-kind", "targetAddress is no SMTP address; it is left out", text, "")
        return None
    return address if colon else text


def _mailbox_guid(making: _Making) -> str | None:
    value = making.entry.first("msExchMailboxGuid")
    if value is None:
        return None
    if len(value) != 16:
        making.find("value-unreadable", "msExchMailboxGuid has not 16 bytes", value.hex())
        return None
    return str(uuid.UUID(bytes_le=value))


def _filetime(value: int | None) -> float | None:
    """Hundreds of nanoseconds since 1601 (MS-DTYP 2.3.3) as seconds since 1970; None for never."""
    return None if value is None or value in _NEVER else value / 10_000_000 - 11_644_473_600


def _details(entry: Entry) -> dict[str, tuple[str, ...]]:
    there = {_DETAIL[name] for name in entry.attrs.keys() & _DETAIL.keys()}  # most entries have few of the many
    return {
        name: tuple(dict.fromkeys(value for source in DETAILS[name] for value in entry.texts(source))) for name in there
    }


def _members(making: _Making, filter: str | None) -> tuple[str, ...]:
    if not filter:
        making.find("dynamic-group-unresolved", "a dynamic group without a filter")
        return ()
    found = making.around.members(filter, making.entry.text("msExchDynamicDLBaseDN"))
    if isinstance(found, str):
        making.find("dynamic-group-unresolved", f"its members cannot be told: {found}", filter)
        return ()
    return found


def _forwarding(making: _Making) -> Forwarding | None:
    """altRecipient goes before the forwarding address, as in Exchange; deliverAndRedirect is of both."""
    keep = making.flag("deliverAndRedirect")
    for reference in making.references("altRecipient"):
        return Forwarding(reference, keep)
    text = making.entry.text("msExchGenericForwardingAddress")
    if text is None:
        return None
    prefix, colon, address = text.partition(":")
    if colon and prefix.upper() != "SMTP":
        making.find("external-address-kind", "the forwarding address is no SMTP address; it is left out", text, "")
        return None
    return Forwarding("smtp:" + (address if colon else text), keep)


def _quota(making: _Making) -> int | None:
    """Bytes: where the mailbox takes nothing more, else where it sends nothing more; the database's, if so set."""
    if making.flag("mDBUseDefaults") or not making.entry.get("mDBUseDefaults"):
        store = making.entry.first("homeMDB")
        return making.around.quota(store) if store is not None else None
    return quota_limit(making.number)


def quota_limit(number: Callable[[str], int | None]) -> int | None:
    """The limit in bytes from attributes in kB, those of a mailbox or of a database."""
    limits = (number(name) for name in ("mDBOverHardQuotaLimit", "mDBOverQuotaLimit", "mDBStorageQuota"))
    return next((limit * 1024 for limit in limits if limit is not None and limit >= 0), None)
