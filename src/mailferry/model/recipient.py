"""Who an organisation's mail is for: one person, mailbox, contact, resource or group, whatever directory it came from.

Plain data. Invariant: `id` never changes for as long as the thing lives at its source; all other fields may. References
to others (members, owners, forwarding and the like) are ids, or `smtp:ADDRESS` for who is not in the directory read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

NOTHING: Mapping[str, tuple[str, ...]] = MappingProxyType({})


class RecipientKind(Enum):
    """What a recipient is, in Exchange's terms. The value is what ledger, JSON and the directory show."""

    MAILBOX = "mailbox"  # a person's own
    SHARED = "shared"
    ROOM = "room"
    EQUIPMENT = "equipment"
    MAIL_USER = "mail-user"  # an account here, the mailbox elsewhere
    CONTACT = "contact"
    GROUP = "group"
    DYNAMIC_GROUP = "dynamic-group"
    PUBLIC_FOLDER = "public-folder"
    ACCOUNT = "account"  # may log in, has no mail


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Where a recipient's mail goes besides or instead of its mailbox. `to` is a reference."""

    to: str
    keep_copy: bool


@dataclass(frozen=True, slots=True)
class Recipient:
    """One recipient as a directory describes it, before or after cleaning.

    `id`: `ad:` and the objectGUID as UUID text, `ldap:` and the entryUUID, or the file's own (`csv:`, `ldif:`,
    `vcard:` and a key that stays the same from one export to the next).
    `where`: the DN, or `FILE:LINE`; what findings name, for people only.
    `name`: the display name. `account`: the log-in name (sAMAccountName, uid). `principal`: userPrincipalName.
    `mail`: the primary SMTP address; `aliases`: its other SMTP addresses, without the primary.
    `x500`: the legacyExchangeDN first, then every X500 proxy.
    `external_address`: the SMTP address that targetAddress holds.
    `mailbox_guid`: msExchMailboxGuid as UUID text.
    `expires`, `password_changed`: seconds since the epoch; None: never, or not known.
    `details`: everything an address book shows, by the attribute names of inetOrgPerson (RFC 2798, RFC 4519):
    `givenName sn initials title departmentNumber ou o telephoneNumber mobile facsimileTelephoneNumber homePhone pager
    street l st postalCode c co roomNumber employeeNumber employeeType description labeledURI info`.
    `photo`: JPEG. `manager`, `members`, `owners`, `accept_from`, `reject_from` (who may send; empty: all),
    `send_on_behalf`, `full_access`: references.
    `member_filter`: the LDAP filter of a dynamic group. `quota`: bytes. `preferences`: what later steps carry over
    (vacation text, folder and signature preferences), by the source's attribute names.
    """

    id: str
    kind: RecipientKind
    where: str
    name: str
    account: str | None = None
    principal: str | None = None
    mail: str | None = None
    aliases: tuple[str, ...] = ()
    x500: tuple[str, ...] = ()
    external_address: str | None = None
    mail_host: str | None = None
    mailbox_guid: str | None = None
    hidden: bool = False
    enabled: bool = True
    expires: float | None = None
    password_changed: float | None = None
    details: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: NOTHING)
    photo: bytes | None = None
    manager: str | None = None
    members: tuple[str, ...] = ()
    member_filter: str | None = None
    owners: tuple[str, ...] = ()
    accept_from: tuple[str, ...] = ()
    reject_from: tuple[str, ...] = ()
    internal_only: bool = False
    send_on_behalf: tuple[str, ...] = ()
    full_access: tuple[str, ...] = ()
    forwarding: Forwarding | None = None
    quota: int | None = None
    preferences: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: NOTHING)


class Severity(Enum):
    """How bad a finding is. `ERROR`: the recipient stays out until somebody decides; `WARNING`: it comes, repaired or
    as it is; `NOTE`: worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a recipient or a line. `code`: a fixed word (`address-malformed`); `about`: the recipient's
    id, or "" for a line that gave none; `value`: the text in question; `proposal`: the value that would be taken
    instead (None: nobody can guess; "": leave it out)."""

    code: str
    severity: Severity
    about: str
    where: str
    message: str
    value: str = ""
    proposal: str | None = None
