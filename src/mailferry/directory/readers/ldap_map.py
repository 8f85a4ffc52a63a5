"""One entry of an LDAP server as a Recipient, by a map of attributes that an organisation can change. Pure.

Sources of the defaults: RFC 2798 (inetOrgPerson), RFC 4519 (groupOfNames), the inetLocalMailRecipient draft,
qmail-ldap's schema, and the mail groups of Netscape and sendmail. Invariant: what is understood stands in the
Recipient, what is not is a Finding.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType

from mailferry.directory.codes import finding
from mailferry.errors import ConfigError
from mailferry.model.recipient import Finding, Forwarding, Recipient, RecipientKind
from mailferry.net.ldap_entry import Entry

DETAILS = (
    *("givenName", "sn", "initials", "title", "departmentNumber", "ou", "o", "telephoneNumber", "mobile"),
    *("facsimileTelephoneNumber", "homePhone", "pager", "street", "l", "st", "postalCode", "c", "roomNumber"),
    *("employeeNumber", "employeeType", "description", "labeledURI", "info"),
)
_QUOTA = re.compile(r"(\d+)S?(?:,.*)?")  # bytes; or Maildir++'s form, `10000000S,1000C`
_URL = re.compile(r"ldap://[^/]*/(?P<base>[^?]*)\?[^?]*\?(?P<scope>[^?]*)\?(?P<filter>.*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Names:
    """Which attributes say what; the first that an entry has counts, in `aliases`, members and what is carried: all.

    `groups`: object classes. `carried`: what goes into `Recipient.preferences` under its own name: vacation text,
    folder and signature preferences, whatever a site has.
    """

    id: tuple[str, ...] = ("entryUUID", "nsUniqueId", "ipaUniqueID", "GUID")
    name: tuple[str, ...] = ("displayName", "cn")
    account: tuple[str, ...] = ("uid",)
    mail: tuple[str, ...] = ("mail",)
    aliases: tuple[str, ...] = ("mailAlternateAddress", "mailLocalAddress", "mgrpAlternateAddress")
    mail_host: tuple[str, ...] = ("mailHost",)
    external: tuple[str, ...] = ("mailRoutingAddress",)
    forwarding: tuple[str, ...] = ("mailForwardingAddress",)
    delivery: tuple[str, ...] = ("deliveryMode", "mailDeliveryOption")
    status: tuple[str, ...] = ("accountStatus", "mailUserStatus")
    quota: tuple[str, ...] = ("mailQuotaSize", "mailQuota")
    photo: tuple[str, ...] = ("jpegPhoto",)
    members: tuple[str, ...] = ("member", "uniqueMember", "dnMember")
    outside_members: tuple[str, ...] = ("rfc822Member", "mgrpRFC822MailMember", "rfc822MailMember")
    dynamic: tuple[str, ...] = ("memberURL", "mgrpDeliverTo")
    owners: tuple[str, ...] = ("owner",)
    accept_from: tuple[str, ...] = ("mgrpAllowedBroadcaster", "dnSender", "rfc822Sender")
    groups: tuple[str, ...] = (
        *("groupOfNames", "groupOfUniqueNames", "groupOfURLs", "rfc822MailGroup", "mailGroup", "qmailGroup"),
        *("nisMailAlias", "inetMailGroup"),
    )
    carried: tuple[str, ...] = (
        *("mailReplyText", "vacationInfo", "mailAutoReplyText", "mailSieveRuleSource", "preferredLanguage"),
        *("mailForwardingAddress", "deliveryMode", "mailMessageStore"),
    )

    def attributes(self) -> tuple[str, ...]:
        """Everything to ask the server for."""
        mapped = (name for one in fields(self) if one.name != "groups" for name in getattr(self, one.name))
        return tuple(dict.fromkeys(["objectClass", "manager", *mapped, *DETAILS]))


def names(changed: Mapping[str, tuple[str, ...]]) -> Names:
    """The defaults with some fields replaced. ConfigError for a field that there is not."""
    known = {one.name for one in fields(Names)}
    for name in changed:
        if name not in known:
            raise ConfigError(f"there is no field {name} to map", advice=f"use {', '.join(sorted(known))}")
    return Names(**changed)


@dataclass(frozen=True, slots=True)
class Around:
    """What an entry does not say itself. `reference`: a DN → the reference that Recipient holds. `members`: the ids
    that an LDAP URL's base, scope and filter find; a text where they cannot be told."""

    reference: Callable[[str], str]
    members: Callable[[str, str, str], tuple[str, ...] | str]


@dataclass(slots=True)
class _Making:
    entry: Entry
    id: str
    around: Around
    findings: list[Finding] = field(default_factory=list)

    def find(self, code: str, message: str, value: str = "", proposal: str | None = None) -> None:
        found = finding(code, self.entry.dn, message, about=self.id, value=value[:200], proposal=proposal)
        self.findings.append(found)

    def first(self, wanted: tuple[str, ...]) -> str | None:
        return next((text for name in wanted if (text := self.entry.text(name))), None)

    def all(self, wanted: tuple[str, ...]) -> list[str]:
        return list(dict.fromkeys(text for name in wanted for text in self.entry.texts(name) if text))


def identity(entry: Entry, wanted: Names) -> str | None:
    """The id of an entry: `ldap:` and what its server never changes; None where it says nothing of the kind."""
    for name in wanted.id:
        value = entry.first(name)
        if value:
            if len(value) == 16 and not value.isascii():
                return f"ldap:{uuid.UUID(bytes=value)}"  # eDirectory's GUID
            return f"ldap:{value.decode('utf-8', 'replace').lower()}"
    return None


def to_recipient(entry: Entry, wanted: Names, around: Around) -> tuple[Recipient | None, list[Finding]]:
    """The Recipient, or none for an entry that has no identity or is no recipient (a Finding says so)."""
    making = _Making(entry, identity(entry, wanted) or "", around)
    if not making.id:
        making.find("value-unreadable", f"the entry has none of {', '.join(wanted.id)}; it is left out")
        return None, making.findings
    classes = {name.lower() for name in entry.texts("objectClass")}
    is_group = not classes.isdisjoint(name.lower() for name in wanted.groups)
    addresses = making.all(wanted.mail)
    aliases = [one for one in making.all(wanted.aliases) if one not in addresses]
    account = None if is_group else making.first(wanted.account)
    host, external = making.first(wanted.mail_host), making.first(wanted.external)
    urls = making.all(wanted.dynamic)
    if is_group:
        kind = RecipientKind.DYNAMIC_GROUP if urls else RecipientKind.GROUP
    elif account is None:
        kind = RecipientKind.CONTACT
    elif external is not None and host is None:
        kind = RecipientKind.MAIL_USER
    else:
        kind = RecipientKind.MAILBOX if addresses or aliases or host else RecipientKind.ACCOUNT
    if kind is RecipientKind.CONTACT and not addresses and not aliases:
        making.find("entry-not-recipient", "neither an account nor an address; it is left out")
        return None, making.findings
    preferences = {name: values for name in wanted.carried if (values := entry.texts(name))}
    manager = entry.text("manager")
    recipient = Recipient(
        id=making.id,
        kind=kind,
        where=entry.dn,
        name=making.first(wanted.name) or "",
        account=account,
        mail=next(iter(addresses + aliases), None),
        aliases=tuple((addresses + aliases)[1:]),
        external_address=external,
        mail_host=host,
        enabled=(making.first(wanted.status) or "active").lower() not in ("disabled", "deleted", "inactive", "removed"),
        details=MappingProxyType({name: values for name in DETAILS if (values := entry.texts(name))}),
        photo=next((value for name in wanted.photo if (value := entry.first(name))), None),
        manager=around.reference(manager) if manager else None,
        members=_members(making, wanted, urls),
        member_filter=next((found["filter"] for url in urls if (found := _URL.fullmatch(url))), None),
        owners=_references(making, wanted.owners),
        accept_from=_references(making, wanted.accept_from),
        forwarding=_forwarding(making, wanted),
        quota=_quota(making, wanted),
        preferences=MappingProxyType(preferences),
    )
    return recipient, making.findings


def _references(making: _Making, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """DNs and addresses, with `mailto:` or without, as references."""
    found = []
    for text in making.all(wanted):
        bare = text.removeprefix("mailto:")
        found.append(f"smtp:{bare}" if "=" not in bare and "@" in bare else making.around.reference(bare))
    return tuple(dict.fromkeys(found))


def _members(making: _Making, wanted: Names, urls: list[str]) -> tuple[str, ...]:
    found = dict.fromkeys(_references(making, wanted.members + wanted.outside_members))
    for url in urls:
        parts = _URL.fullmatch(url)
        some = (
            "not an LDAP URL with a filter"
            if parts is None
            else making.around.members(parts["base"], parts["scope"].lower(), parts["filter"])
        )
        if isinstance(some, str):
            making.find("dynamic-group-unresolved", f"its members cannot be told: {some}", url)
        else:
            found |= dict.fromkeys(some)
    return tuple(found)


def _forwarding(making: _Making, wanted: Names) -> Forwarding | None:
    """To the first address; qmail-ldap keeps a copy unless deliveryMode says nolocal, and forwards unless noforward."""
    to = making.all(wanted.forwarding)
    modes = {mode.lower() for mode in making.all(wanted.delivery)}
    if not to or "noforward" in modes:
        return None
    if len(to) > 1:
        making.find(
            "forwarding-several", f"forwards to {len(to)} addresses; only the first is taken", " ".join(to), to[0]
        )
    keep = "nolocal" not in modes and ("mailbox" in modes or "forward" not in modes)
    return Forwarding(f"smtp:{to[0].removeprefix('&')}", keep)


def _quota(making: _Making, wanted: Names) -> int | None:
    text = making.first(wanted.quota)
    if text is None:
        return None
    found = _QUOTA.fullmatch(text.strip())
    if found is None:
        making.find("value-unreadable", "the quota is no number of bytes", text)
        return None
    return int(found[1])
