"""A recipient with its place → the LDAP entry that the target shall hold. Pure.

People, shared mailboxes, resources and contacts are inetOrgPerson, groups groupOfNames (RFC 2798, RFC 4519), each with
inetLocalMailRecipient or qmail-ldap's qmailUser for its addresses and mailferryRecipient for what no standard attribute
says. Invariants: every entry has mailferrySourceId; what a syntax of LDAP (RFC 4517) cannot hold is left out and told
as a finding; no password is ever part of an entry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mailferry.directory.letters import one_line
from mailferry.directory.mapping import GROUPS, PERSON_LIKE, Placed
from mailferry.model.recipient import Finding, RecipientKind, Severity
from mailferry.wire import dn as names
from mailferry.wire.mapi.addresses import imceaex as imceaex

Attributes = Mapping[str, tuple[bytes, ...]]

_DETAILS = (
    *("givenName", "sn", "initials", "title", "departmentNumber", "ou", "o", "telephoneNumber", "mobile"),
    *("facsimileTelephoneNumber", "homePhone", "pager", "street", "l", "st", "postalCode", "c", "co"),
    *("roomNumber", "employeeNumber", "employeeType", "description", "labeledURI"),
)
_PHONES = frozenset(("telephoneNumber", "mobile", "facsimileTelephoneNumber", "homePhone", "pager"))
_KEPT = frozenset(_DETAILS)
_OF_GROUPS = frozenset(("description", "o", "ou"))
_SINGLE = frozenset(("employeeNumber", "c"))
OUR_CLASSES = frozenset(
    ("inetOrgPerson", "groupOfNames", "inetLocalMailRecipient", "qmailUser", "mailferryRecipient", "mailferryGroup")
)
"""The classes that this module gives; any other that an entry has is somebody else's and stays."""
DN_ATTRIBUTES = frozenset(
    (
        *("member", "owner", "manager", "mailferryAcceptFrom", "mailferryRejectFrom"),
        *("mailferrySendOnBehalf", "mailferryFullAccess"),
    )
)
"""Those whose values are equal when the names are, however written."""
MANAGED: tuple[str, ...] = (
    *("objectClass", "mailferrySourceId", "mailferryKind", "cn", "displayName", "uid", "mail"),
    *("mailLocalAddress", "mailAlternateAddress", "mailHost", *_DETAILS, "jpegPhoto", "manager", "member", "owner"),
    *("mailferryMailboxGuid", "mailferryPrincipal", "mailferryX500", "mailferryRoute", "mailferryExternalAddress"),
    *("mailferryForwardTo", "mailferryKeepCopy", "mailferryQuota", "mailferryHidden", "mailferryAcceptFrom"),
    *("mailferryRejectFrom", "mailferryAcceptFromAddress", "mailferryRejectFromAddress", "mailferryInternalOnly"),
    *("mailferrySendOnBehalf", "mailferryFullAccess", "mailferrySender", "mailferryPreference", "mailferryEnabled"),
    *("mailferryExpires", "mailferryAcceptUid", "mailferryRejectUid"),
    *("mailferryPasswordFrom", "mailferryPasswordChanged", "mailferryBindName", "mailferryExternalMember"),
    *("mailferryMemberFilter", "mailForwardingAddress", "deliveryMode", "accountStatus"),
    "mailQuotaSize",
)
"""Every attribute that an entry of ours can have; all others are none of our business."""
SPELLING = {name.lower(): name for name in MANAGED}
OWNED = ("mailferryRoute", "mailHost", "mailferryPasswordFrom")
"""What the target side always owns: a sync never takes a moved person back."""

_MAILBOX_LIKE = frozenset((RecipientKind.MAILBOX, RecipientKind.SHARED, RecipientKind.ROOM, RecipientKind.EQUIPMENT))
_NOT_PRINTABLE = re.compile(r"[^A-Za-z0-9 '()+,./:=?-]+")  # RFC 4517 §3.2, PrintableString
_COUNTRY_CODE = re.compile(r"[A-Za-z]{2}")  # RFC 4517 §3.3.4
_FOLD = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the target, wanted or present. Attribute names as in MANAGED."""

    dn: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Around:
    """What an entry needs to know of others. `dn_of`, `mail_of`: reference (id) → DN, primary address; None: not in
    the target. `uids_of`: references → the uids of these people and of all members of these groups. `circles`: the
    members to be written of groups that contain each other (circles.py). `nobody`: the member of groups without any.
    `qmail`: which schema. `main_domain`: the domain that Exchange writes X.500 addresses in, besides each recipient's
    own. `open_domain`: the open side's routing domain, "" if it has none."""

    dn_of: Callable[[str], str | None]
    mail_of: Callable[[str], str | None]
    nobody: str
    qmail: bool = False
    main_domain: str = ""
    open_domain: str = ""
    circles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    uids_of: Callable[[Sequence[str]], tuple[str, ...]] = lambda references: ()


@dataclass(slots=True)
class _Making:
    """One entry in the making, with what could not be taken over."""

    placed: Placed
    around: Around
    values: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def put(self, name: str, *texts: str | None) -> None:
        """Values that are not empty, each once whatever its case."""
        if len(texts) == 1:  # by far the most
            if texts[0] and not texts[0].isspace():
                self.values[name] = (texts[0].encode("utf-8", "replace"),)
            return
        kept: dict[str, bytes] = {}
        for text in texts:
            if text and not text.isspace():
                kept.setdefault(_FOLD.sub(" ", text.strip()).casefold(), text.encode("utf-8", "replace"))
        if kept:
            self.values[name] = tuple(kept.values())

    def put_ascii(self, name: str, texts: Iterable[str | None]) -> None:
        """Values of IA5 syntax."""
        found = [text for text in texts if text]
        for text in found:
            if not text.isascii():
                self.note("value-not-ascii", f"{name} can hold ASCII only; left out", text, Severity.WARNING)
        self.put(name, *(text for text in found if text.isascii()))

    def put_if(self, name: str, yes: bool) -> None:
        if yes:
            self.values[name] = (b"TRUE",)

    def note(self, code: str, message: str, value: str, severity: Severity = Severity.NOTE) -> None:
        one = self.placed.recipient
        self.findings.append(Finding(code, severity, one.id, one.where, message, value))

    def refer(self, name: str, addresses: str | None, references: Sequence[str]) -> None:
        """References as DNs in `name`, outside addresses in `addresses` (None: there is no attribute for them)."""
        dns: list[str] = []
        outside: list[str] = []
        lost: list[str] = []
        for reference in references:
            if reference.startswith("smtp:"):
                (lost if addresses is None else outside).append(reference.removeprefix("smtp:"))
            elif (found := self.around.dn_of(reference)) is not None:
                dns.append(found)
            else:
                lost.append(reference)
        if dns:
            self.values[name] = tuple(one.encode() for one in dict.fromkeys(dns))
        if addresses is not None:
            self.put_ascii(addresses, outside)
        if lost:
            self.note("reference-lost", f"{len(lost)} of {name} have no entry in the target", lost[0])


def make_entry(placed: Placed, around: Around) -> tuple[Entry, list[Finding]]:
    """The entry, and what it cannot hold."""
    one = placed.recipient
    making = _Making(placed, around)
    person = one.kind not in GROUPS
    _identity(making, person)
    _addresses(making)
    _mail(making)
    _details(making, person)
    if person:
        making.refer("manager", None, (one.manager,) if one.manager else ())
        if one.kind in PERSON_LIKE:
            _log_in(making)
    else:
        _members(making)
    making.refer("mailferryAcceptFrom", "mailferryAcceptFromAddress", one.accept_from)
    if one.accept_from and not making.values.keys() & {"mailferryAcceptFrom", "mailferryAcceptFromAddress"}:
        making.values["mailferryAcceptFrom"] = (around.nobody.encode(),)  # a restriction never becomes none
    making.refer("mailferryRejectFrom", "mailferryRejectFromAddress", one.reject_from)
    making.refer("mailferrySendOnBehalf", None, one.send_on_behalf)
    making.put("mailferryAcceptUid", *around.uids_of(one.accept_from))
    making.put("mailferryRejectUid", *around.uids_of(one.reject_from))
    making.put("mailferrySender", *around.uids_of(one.send_on_behalf))
    making.refer("mailferryFullAccess", None, one.full_access)
    classes = ["inetOrgPerson"] if person else ["groupOfNames", "mailferryGroup"]
    if "mailLocalAddress" in making.values or ("mailHost" in making.values and not around.qmail):
        classes.append("inetLocalMailRecipient")
    if around.qmail and "mail" in making.values:
        classes.append("qmailUser")
    making.put("objectClass", *classes, "mailferryRecipient")
    _rdn(making)
    return Entry(placed.dn, making.values), making.findings


def _identity(making: _Making, person: bool) -> None:
    one = making.placed.recipient
    making.put("objectClass", "top")  # first in the entry; filled in at the end
    making.put("cn", one_line(one.name) or making.placed.uid)
    if person:
        surname = next(iter(one.details.get("sn", ())), "") or one.name
        making.put("sn", one_line(surname) or making.placed.uid)
    making.put("displayName", one_line(one.name))
    if one.kind in PERSON_LIKE:
        making.put("uid", making.placed.uid)
    making.put("mailferrySourceId", one.id)
    making.put("mailferryKind", one.kind.value)
    making.put("mailferryMailboxGuid", one.mailbox_guid)
    making.put("mailferryPrincipal", one.principal)
    making.put("mailferryX500", *one.x500)


def _addresses(making: _Making) -> None:
    """The primary address, and every address: aliases, and X.500 ones as Exchange writes them in SMTP."""
    one, around = making.placed.recipient, making.around
    making.put_ascii("mail", (one.mail,))
    if one.mail is None:
        return
    domains = dict.fromkeys(filter(None, (around.main_domain, one.mail.rpartition("@")[2].lower())))
    encoded = (imceaex(address, domain) for address in one.x500 for domain in domains)
    name = "mailAlternateAddress" if around.qmail else "mailLocalAddress"
    making.put_ascii(name, (one.mail, *one.aliases, *encoded))


def _mail(making: _Making) -> None:
    """Where mail goes, and how much of it."""
    one, around = making.placed.recipient, making.around
    if one.kind in _MAILBOX_LIKE:
        making.put("mailferryRoute", "exchange")
    making.put_ascii("mailHost", (one.mail_host,) if one.mail is not None else ())
    making.put_ascii("mailferryExternalAddress", (one.external_address,))
    making.put_if("mailferryHidden", one.hidden)
    making.put_if("mailferryInternalOnly", one.internal_only)
    making.put("mailferryPreference", *(f"{name}={value}" for name, some in one.preferences.items() for value in some))
    if one.quota is not None:
        making.put("mailferryQuota", str(one.quota))
    forward = None
    if one.forwarding is not None:
        to = one.forwarding.to
        forward = to.removeprefix("smtp:") if to.startswith("smtp:") else around.mail_of(to)
        if forward is None:
            making.note("reference-lost", "mail is forwarded to somebody without an address in the target", to)
        elif _is_own(making, forward):  # Exchange's way to the open side: there, it would go in a circle
            forward = None
        else:
            making.put_ascii("mailferryForwardTo", (forward,))
            making.put("mailferryKeepCopy", "TRUE" if one.forwarding.keep_copy else "FALSE")
    if around.qmail and one.mail is not None and one.kind in PERSON_LIKE:
        making.put("accountStatus", "active" if one.enabled or one.kind is not RecipientKind.MAILBOX else "noaccess")
        if one.quota is not None:
            making.put("mailQuotaSize", str(one.quota))
        if forward is not None and one.forwarding is not None:
            making.put_ascii("mailForwardingAddress", (forward,))
            making.put("deliveryMode", None if one.forwarding.keep_copy else "nolocal")


def _is_own(making: _Making, address: str) -> bool:
    """Whether it is an address of the recipient itself."""
    one = making.placed.recipient
    own = (one.mail or "", *one.aliases, f"{making.placed.uid}@{making.around.open_domain}")
    return address.casefold() in {each.casefold() for each in own}


def _details(making: _Making, person: bool) -> None:
    one = making.placed.recipient
    for name, values in one.details.items():
        if name == "description" and "info" in one.details:
            continue
        if name == "info":
            values = (*one.details.get("description", ()), *values)
            name = "description"
        if name == "c" and not all(map(_COUNTRY_CODE.fullmatch, values)):
            name = "co"
        if name not in _KEPT or name in ("sn", "mail") or not (person or name in _OF_GROUPS):
            continue
        texts = [_phone(making, name, text) if name in _PHONES else one_line(text) for text in values]
        making.put(name, *(texts[:1] if name in _SINGLE else texts))
    if one.photo is not None and person:
        if one.photo.startswith(b"\xff\xd8"):
            making.values["jpegPhoto"] = (one.photo,)
        else:
            making.note("photo-not-jpeg", "the photo is no JPEG, which jpegPhoto has to be; left out", "")


def _phone(making: _Making, name: str, text: str) -> str:
    """A telephone number in the letters that its syntax takes."""
    kept = one_line(_NOT_PRINTABLE.sub(" ", text))
    if kept != one_line(text):
        making.note("phone-characters", f"{name} cannot hold all of it; it becomes {kept!r}", text)
    return kept


def _log_in(making: _Making) -> None:
    one = making.placed.recipient
    making.put("mailferryEnabled", "TRUE" if one.enabled else "FALSE")
    if one.expires is not None:
        making.put("mailferryExpires", _time(one.expires))
    if one.password_changed is not None:
        making.put("mailferryPasswordChanged", _time(one.password_changed))
    if one.id.startswith("ad:"):
        making.put("mailferryPasswordFrom", "source")
        making.put("mailferryBindName", one.principal or one.where)  # AD takes a DN as well, but no bare account


def _time(seconds: float) -> str:
    """Generalized time (RFC 4517 §3.3.13), with the fraction where there is one: a password may change twice a
    second."""
    form = "%Y%m%d%H%M%S.%fZ" if seconds % 1 else "%Y%m%d%H%M%SZ"
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime(form).rjust(15, "0")
    except (OverflowError, ValueError, OSError):
        return "99991231235959Z" if seconds > 0 else "00010101000000Z"


def _members(making: _Making) -> None:
    one, around = making.placed.recipient, making.around
    making.refer("member", "mailferryExternalMember", around.circles.get(one.id, one.members))
    if "member" not in making.values:
        making.values["member"] = (around.nobody.encode(),)
    making.refer("owner", None, one.owners)
    making.put("mailferryMemberFilter", one.member_filter)


def _rdn(making: _Making) -> None:
    """The naming attribute holds the value that the DN names (RFC 4512 §2.3)."""
    for name, value in _first(making.placed.dn):
        spelled = SPELLING.get(name.lower(), name)
        have = making.values.get(spelled, ())
        if value.casefold().encode() not in {one.decode("utf-8", "replace").casefold().encode() for one in have}:
            making.values[spelled] = (*have, value.encode())


def _first(dn: str) -> names.Rdn:
    """The RDN; the plain ones without the whole parser."""
    first = dn.partition(",")[0]
    if "\\" in dn or '"' in dn or "+" in first or ", " in dn:
        return names.parse(dn)[0]
    kind, _, value = first.partition("=")
    return ((kind, value),)
