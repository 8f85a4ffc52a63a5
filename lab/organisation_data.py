"""What an organisation of the lab is made of, as plain data: entries with Active Directory's attributes, and dirt.

Makes nothing; `organisation` does. Invariant: accounts are unique in an organisation.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from lab.samba_snapshot import BASE
from mailferry.model.recipient import RecipientKind

DOMAINS = ("acme.example", "acme-labs.example")
"""The domains that Acme accepts mail for."""

ROOT = f"OU=Acme,{BASE}"
_NAMESPACE = uuid.UUID("3f0c1c52-6f57-4a39-9d0c-0e6ad3f3a911")
_LEGACY = "/o=Acme/ou=Exchange Administrative Group (FYDIBOHF23SPDLT)/cn=Recipients/cn="


class Trouble(Enum):
    """What can be wrong with an entry."""

    ADDRESS_MISSING = "address-missing"
    ADDRESS_MALFORMED = "address-malformed"
    ADDRESS_TWICE = "address-twice"  # an alias here, somebody else's primary address
    DOMAIN_WRONG = "domain-wrong"
    PRIMARY_DIFFERS = "primary-differs"  # mail is not the SMTP: of proxyAddresses
    PRIMARY_TWICE = "primary-twice"
    DUPLICATE = "duplicate"  # two accounts of one person
    NEAR_DUPLICATE = "near-duplicate"  # the same, the name written otherwise
    CONTACT_OF_OURS = "contact-of-ours"  # a contact for somebody who has a mailbox here
    NO_SURNAME = "no-surname"
    CONTROL_CHARACTER = "control-character"
    TRAILING_SPACE = "trailing-space"
    SPECIAL_NAME = "special-name"  # legal, and a trap for whoever builds DNs and filters
    MIXED_ENCODING = "mixed-encoding"  # UTF-8 that was read as Latin-1 once
    DISABLED = "disabled"
    EXPIRED = "expired"
    OTHER_NETWORK = "other-network"  # an external address that is not SMTP
    SYSTEM_MAILBOX = "system-mailbox"
    GROUP_LOOP = "group-loop"
    GROUP_EMPTY = "group-empty"


@dataclass(frozen=True, slots=True)
class Reference:
    """A value that is the DN of another entry."""

    account: str


Value = str | bytes | Reference


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of the directory. `account`: sAMAccountName, or mailNickname of what cannot log in; unique.

    `values`: every other attribute, by Active Directory's names; `name` is the cn, `unit` the DN it stands under.
    """

    account: str
    kind: RecipientKind
    object_class: str
    name: str
    unit: str
    values: Mapping[str, tuple[Value, ...]]

    @property
    def mail(self) -> str:
        """The primary address, or ""."""
        value = self.values.get("mail", ("",))[0]
        return value if isinstance(value, str) else ""

    @property
    def guid(self) -> uuid.UUID:
        """A stable objectGUID, for files; Samba gives its own."""
        return uuid.uuid5(_NAMESPACE, f"object {self.account}")


@dataclass(frozen=True, slots=True)
class Dirt:
    """One thing that is wrong. `value`: the text in question; `other`: the account that it collides with, if one."""

    trouble: Trouble
    account: str
    value: str = ""
    other: str = ""


@dataclass(frozen=True, slots=True)
class Organisation:
    """Entries in an order in which most references point backwards."""

    size: int
    seed: int
    entries: tuple[Entry, ...]
    dirt: tuple[Dirt, ...]

    @property
    def people(self) -> tuple[Entry, ...]:
        """The clean people: each has a mailbox, an address and an account; `account` names the mailbox in the lab."""
        dirty = {dirt.account for dirt in self.dirt}
        return tuple(
            entry for entry in self.entries if entry.kind is RecipientKind.MAILBOX and entry.account not in dirty
        )


def mail_values(account: str, name: str, details: int, display: int, mail: str) -> dict[str, tuple[Value, ...]]:
    """What every recipient of Exchange has."""
    number = uuid.uuid5(_NAMESPACE, f"legacy {account}").hex
    return {
        "displayName": (name,),
        "mail": (mail,),
        "mailNickname": (account,),
        "proxyAddresses": (f"SMTP:{mail}",),
        "legacyExchangeDN": (f"{_LEGACY}{number}-{account}",),
        "msExchRecipientTypeDetails": (str(details),),
        "msExchRecipientDisplayType": (str(display),),
    }


def mailbox_guid(account: str) -> bytes:
    """msExchMailboxGuid."""
    return uuid.uuid5(_NAMESPACE, f"mailbox {account}").bytes_le
