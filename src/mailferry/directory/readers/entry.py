"""An entry of a file (LDIF, csvde) → Recipient: address books of Netscape and Mozilla; what an Active Directory or
another server has exported, as the readers `ad` and `ldap` take it. Opens no file.

Invariant: an entry is a recipient, or a finding says why it is none; text that is not UTF-8 is read as Windows-1252.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from mailferry.directory import addresses
from mailferry.directory.codes import finding
from mailferry.directory.readers import ad_entry, ldap_map
from mailferry.directory.readers.identity import with_references
from mailferry.directory.readers.text_file import decode_mixed
from mailferry.errors import UserError
from mailferry.model.recipient import Finding, Recipient, RecipientKind
from mailferry.net.ldap_entry import Entry
from mailferry.wire import dn as names

_BINARY = re.compile(
    r"(?i).*(?:photo|guid|sid|certificate|revocationlist|password|audio|hash|history|blob|data)(?:;.*)?"
)
_DETAILS = {
    "givenName": ("givenname", "gn"),
    "sn": ("sn", "surname"),
    "initials": ("initials",),
    "title": ("title",),
    "o": ("o", "organizationname", "company"),
    "ou": ("ou", "orgunit"),
    "departmentNumber": ("departmentnumber", "department"),
    "telephoneNumber": ("telephonenumber",),
    "homePhone": ("homephone",),
    "mobile": ("mobile", "cellphone", "carphone"),
    "facsimileTelephoneNumber": ("facsimiletelephonenumber", "fax"),
    "pager": ("pager", "pagerphone"),
    "street": ("street", "streetaddress", "mozillaworkstreet2"),
    "l": ("l", "locality", "localityname"),
    "st": ("st", "region", "stateorprovincename"),
    "postalCode": ("postalcode", "zip"),
    "roomNumber": ("roomnumber", "physicaldeliveryofficename"),
    "employeeNumber": ("employeenumber",),
    "employeeType": ("employeetype",),
    "labeledURI": ("labeleduri", "workurl", "mozillaworkurl", "homeurl", "mozillahomeurl", "url"),
    "description": ("description",),
    "info": ("info", "notes"),
}
_HOME = {
    "street": ("mozillahomestreet", "mozillahomestreet2", "homestreet"),
    "l": ("mozillahomelocalityname",),
    "st": ("mozillahomestate",),
    "postalCode": ("mozillahomepostalcode",),
}
_MAIL = ("mail", "rfc822mailbox", "emailaddress", "maillocaladdress", "mailalternateaddress")
_SECOND = ("mozillasecondemail", "xmozillasecondemail")
_COUNTRY = ("c", "countryname", "co", "friendlycountryname", "mozillahomecountryname")
_NICKNAME = ("xmozillanickname", "mozillanickname", "nickname")
_GROUPS = frozenset({"groupofnames", "groupofuniquenames", "group", "mailgroup", "nismailalias"})
_STRUCTURE = frozenset(
    {"organization", "organizationalunit", "dcobject", "domain", "domaindns", "container", "builtindomain", "country"}
)
_PERSONS = frozenset({"person", "organizationalperson", "inetorgperson", "mozillaabpersonalpha", "contact", "user"})
_OF_ACTIVE_DIRECTORY = frozenset({"objectguid", "samaccountname", "proxyaddresses", "legacyexchangedn"})
_DN = "dn:"  # before a reference that is not resolved yet
_OF_A_SERVER = frozenset({"entryuuid", "uid", "mailhost", "structuralobjectclass"})
_SERVER = ldap_map.Names()
_AROUND_AD = ad_entry.Around(
    lambda value: _DN + value.decode("utf-8", "replace"), lambda store: None, lambda filter, base: _NOT_ASKED
)
_AROUND_LDAP = ldap_map.Around(lambda text: _DN + text, lambda base, scope, filter: _NOT_ASKED)
_NOT_ASKED = "a file cannot be asked"


def make_entry(dn: bytes, pairs: Iterable[tuple[str, bytes]]) -> tuple[Entry, list[int]]:
    """An entry with plain names (`cn;lang-de` joins `cn`, the plain one first) and texts in UTF-8. The numbers of the
    pairs whose bytes were something else come along; -1 is the name."""
    mixed: list[int] = []
    plain: dict[str, list[bytes]] = {}
    others: list[tuple[str, bytes]] = []
    for number, (name, value) in enumerate(pairs):
        base, option, _ = name.lower().partition(";")
        right = value if _BINARY.fullmatch(name) else _utf8(value)
        if right is not value:
            mixed.append(number)
        if option:
            others.append((base, right))
        else:
            plain.setdefault(base, []).append(right)
    for base, right in others:
        plain.setdefault(base, []).append(right)
    name_right = _utf8(dn)
    if name_right is not dn:
        mixed.insert(0, -1)
    return Entry(name_right.decode(), {base: tuple(values) for base, values in plain.items()}), mixed


def _utf8(value: bytes) -> bytes:
    """The same object if it is UTF-8."""
    try:
        value.decode()
    except UnicodeDecodeError:
        return decode_mixed(value).encode()
    return value


def _texts(entry: Entry, *wanted: str) -> list[str]:
    """All values of some attributes, each once, in the order asked for; empty ones are none."""
    return [text for text in dict.fromkeys(text for name in wanted for text in entry.texts(name)) if text.strip()]


def _text(entry: Entry, *wanted: str) -> str:
    return next(iter(_texts(entry, *wanted)), "")


def own_id(entry: Entry) -> str:
    """The id that the source itself gives (objectGUID, entryUUID), with its prefix; "" if it gives none."""
    return ad_entry.identity(entry) or ldap_map.identity(entry, _SERVER) or ""


def key_of(entry: Entry) -> str:
    """What an entry's id is made of: the address in a Netscape name (`cn=…,mail=…`), else the name in one spelling."""
    return _mail_in(entry.dn).casefold() or dn_key(entry.dn)


def dn_key(text: str) -> str:
    """What two spellings of a DN share."""
    try:
        return names.join(names.parse(text)).casefold()
    except UserError:
        return text.casefold()


def _mail_in(text: str) -> str:
    try:
        return next((value for rdn in names.parse(text) for kind, value in rdn if kind.lower() == "mail"), "")
    except UserError:
        return ""


def recipients(entry: Entry, where: str, steady: str) -> list[Recipient | Finding]:
    """The recipient that an entry is, after what is wrong with it; or why it is none. `steady`: its id. References are
    DNs as they stand: `with_ids` resolves them once all entries are known."""
    found: list[Recipient | Finding] = []
    try:
        names.parse(entry.dn)
    except UserError as error:
        found.append(finding("dn-invalid", where, error.message, about=steady, value=entry.dn[:200]))
    classes = {name.lower() for name in entry.texts("objectClass")}
    mail = _texts(entry, *_MAIL, *_SECOND)
    is_structure = bool(classes & _STRUCTURE) or not (mail or entry.get("cn"))
    if is_structure and not classes & (_PERSONS | _GROUPS):
        what = ", ".join(sorted(classes)) or "no object class"
        return [finding("entry-not-recipient", where, f"{entry.dn[:200]} ({what})", value=entry.dn[:200])]
    if entry.attrs.keys() & _OF_ACTIVE_DIRECTORY:
        recipient, wrong = ad_entry.to_recipient(entry, where, _AROUND_AD, steady)
    elif entry.attrs.keys() & _OF_A_SERVER:
        known = Entry(entry.dn, {**entry.attrs, "entryuuid": (b"of this file",)})
        recipient, wrong = ldap_map.to_recipient(known, _SERVER, _AROUND_LDAP)
        recipient = recipient and dataclasses.replace(recipient, id=steady, where=where)
        wrong = [dataclasses.replace(one, about=steady, where=where) for one in wrong]
    else:
        recipient, wrong = _of_address_book(entry, where, steady, classes, mail), []
    return [*found, *wrong] if recipient is None else [*found, *wrong, recipient]


def with_ids(recipient: Recipient, resolve: Mapping[str, str]) -> Recipient:
    """The recipient with ids for DNs; `smtp:` where a DN names an address of nobody here, else the DN as it is
    (cleaning tells). `resolve`: keys of DNs → ids."""
    return with_references(recipient, lambda one: _reference(one[len(_DN) :], resolve) if one.startswith(_DN) else one)


def _of_address_book(entry: Entry, where: str, steady: str, classes: set[str], mail: list[str]) -> Recipient:
    is_group = bool(classes & _GROUPS)
    manager = _text(entry, "manager")
    nickname = tuple(_texts(entry, *_NICKNAME))
    return Recipient(
        id=steady,
        kind=RecipientKind.GROUP if is_group else RecipientKind.CONTACT,
        where=where,
        name=_text(entry, "displayname", "cn", "commonname") or " ".join(_texts(entry, "givenname", "sn")),
        mail=mail[0] if mail else None,
        aliases=tuple(mail[1:]),
        details=MappingProxyType(_details(entry)),
        photo=entry.first("jpegphoto") or entry.first("thumbnailphoto"),
        manager=_DN + manager if manager else None,
        members=tuple(_DN + text for text in _texts(entry, "member", "uniquemember")) if is_group else (),
        preferences=MappingProxyType({"nickname": nickname} if nickname else {}),
    )


def _details(entry: Entry) -> dict[str, tuple[str, ...]]:
    """What an address book shows. The home's address stands in only where there is no business one."""
    found = {name: tuple(_texts(entry, *sources)) for name, sources in _DETAILS.items()}
    if not any(found[name] for name in _HOME):
        found |= {name: tuple(_texts(entry, *sources)) for name, sources in _HOME.items()}
    country = _text(entry, *_COUNTRY)
    found["c" if re.fullmatch(r"[A-Za-z]{2}", country) else "co"] = (country,) if country else ()
    return {name: values for name, values in found.items() if values}


def _reference(text: str, resolve: Mapping[str, str]) -> str:
    known = resolve.get(dn_key(text))
    if known is not None:
        return known
    mail = _mail_in(text)
    return f"smtp:{mail}" if mail and addresses.fault(mail) is None else text
