"""What Active Directory tells Exchange about one recipient's mail: external address, forwarding, whether a mailbox is
there. Reads only.

Invariant: a recipient is found by its immutable id (objectGUID) or by an address, never by a name.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from mailferry.errors import ConfigError, IntegrityError, UserError
from mailferry.net import ldap
from mailferry.net.ldap_ad import DOMAIN_SCOPE
from mailferry.wire import dn as names

ATTRIBUTES = (
    *("objectGUID", "mail", "proxyAddresses", "targetAddress", "msExchMailboxGuid", "homeMDB", "groupType"),
    *("altRecipient", "msExchGenericForwardingAddress", "deliverAndRedirect", "msExchRecipientTypeDetails"),
)


@dataclass(frozen=True, slots=True)
class OnExchange:
    """One recipient as Exchange sees it. `id`: as `Recipient.id`. `target`: targetAddress as it stands (`SMTP:…`), ""
    if there is none. `forward_to`: an address; "" if it does not forward. `mailbox`: it has one."""

    id: str
    dn: str
    mail: str
    target: str
    mailbox: bool
    group: bool = False
    forward_to: str = ""
    keep_copy: bool = False


def by_id(connection: ldap.Connection, source_id: str) -> OnExchange:
    """The recipient with this id (`ad:GUID`). UserError: there is none any more."""
    found = connection.read(_base(source_id), ATTRIBUTES, controls=(DOMAIN_SCOPE,))
    if found is None:
        raise UserError("nobody in Active Directory has this id", about=source_id, advice="was the account deleted?")
    return _read(connection, found)


def by_address(connection: ldap.Connection, address: str) -> OnExchange | None:
    """Whoever has this address in Active Directory. IntegrityError: two have."""
    domain = connection.root().text("defaultNamingContext") or ""
    value = names.in_filter(f"smtp:{address}")
    search = f"(|(proxyAddresses={value})(mail={names.in_filter(address)}))"
    found = list(connection.search(domain, search, ATTRIBUTES, controls=(DOMAIN_SCOPE,)))
    if len(found) > 1:
        raise IntegrityError(f"it belongs to {found[0].dn} and to {found[1].dn}", about=address)
    return _read(connection, found[0]) if found else None


def plain(value: str) -> str:
    """The address in a value like `SMTP:alice@acme.example`."""
    kind, colon, address = value.partition(":")
    return address if colon and kind.upper() == "SMTP" else value


def _base(source_id: str) -> str:
    kind, _, guid = source_id.partition(":")
    try:
        if kind != "ad":
            raise ValueError
        return f"<GUID={uuid.UUID(guid)}>"
    except ValueError:
        raise ConfigError(
            "it was not read from Active Directory, so its mail cannot be diverted there",
            about=source_id,
            advice='directory.source.kind has to be "ad", or coexist.write_target_address off',
        ) from None


def _read(connection: ldap.Connection, entry: ldap.Entry) -> OnExchange:
    guid = entry.first("objectGUID")
    forward_to = plain(entry.text("msExchGenericForwardingAddress") or "")
    if other := entry.text("altRecipient"):  # which goes first, as in Exchange
        found = connection.read(other, ("mail", "targetAddress"), controls=(DOMAIN_SCOPE,))
        forward_to = (found and (found.text("mail") or plain(found.text("targetAddress") or ""))) or other
    return OnExchange(
        id=f"ad:{uuid.UUID(bytes_le=guid)}" if guid is not None and len(guid) == 16 else "",
        dn=entry.dn,
        mail=entry.text("mail") or "",
        target=entry.text("targetAddress") or "",
        mailbox=bool(entry.get("msExchMailboxGuid") or entry.get("homeMDB")),
        group=bool(entry.get("groupType")),
        forward_to=forward_to,
        keep_copy=(entry.text("deliverAndRedirect") or "").upper() == "TRUE",
    )
