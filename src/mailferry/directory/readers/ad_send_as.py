"""Who may send as whom, by the access lists of Active Directory: Exchange's right Send As. Changes nothing there.

Reads the entries that name this right on the mailbox's own object; whoever may do everything (administrators, SYSTEM)
is left out, as Get-RecipientPermission does. Source: [MS-ADTS] §3.1.1.3.4.1.11 (LDAP_SERVER_SD_FLAGS_OID), §5.1.3.2.1
(Send-As). Invariant: an account is named by its objectGUID, or, where it is gone, by its SID.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence

from mailferry.directory.readers import ad_entry
from mailferry.errors import ConfigError, RemoteProtocolError
from mailferry.model.permission import Access, Permission
from mailferry.net.ldap import Connection, Control
from mailferry.net.ldap_ad import DOMAIN_SCOPE
from mailferry.wire import ber, security

SEND_AS = uuid.UUID("ab721a54-1e2f-11d0-9819-00aa0040529b")
_CONTROL_ACCESS = 0x100
_DACL = Control("1.2.840.113556.1.4.801", ber.encode(ber.SEQUENCE, ber.integer(4)))
"""Of the security descriptor the DACL alone, which an ordinary account may read."""
_MAILBOXES = "(&(objectCategory=person)(objectClass=user)(mail=*))"
_AT_ONCE = 50


def permissions(connection: Connection, bases: Sequence[str] = (), filter: str = "") -> list[Permission]:
    """All of a domain, or below these bases and matching the filter. ConfigError: the server is no Active Directory, or
    shows this account no access lists."""
    domain = connection.root().text("defaultNamingContext")
    if domain is None:
        raise ConfigError("the server is no Active Directory", about=connection.server.url)
    found: list[tuple[str, str, security.Entry]] = []
    seen = shown = 0
    wanted = f"(&{_MAILBOXES}{filter if filter.startswith('(') or not filter else f'({filter})'})"
    attributes = ("objectGUID", "nTSecurityDescriptor")
    for base in bases or (domain,):
        for entry in connection.search(base, wanted, attributes, controls=(_DACL, DOMAIN_SCOPE)):
            who, descriptor = ad_entry.identity(entry), entry.first("nTSecurityDescriptor")
            seen, shown = seen + 1, shown + (descriptor is not None)
            if who is None or descriptor is None:
                continue
            try:
                found += [(who, entry.dn, one) for one in security.dacl(descriptor) if _is_send_as(one)]
            except RemoteProtocolError as error:
                raise RemoteProtocolError(error.message, about=entry.dn) from error
    if seen and not shown:
        advice = "give it Read Permissions on the people"
        raise ConfigError("this account sees no access lists", about=connection.server.url, advice=advice)
    ids = _ids(connection, domain, {one.sid for _, _, one in found})
    return [
        Permission(who, ids.get(one.sid, one.sid), Access.SEND_AS, dn, denied=not one.allowed, inherited=one.inherited)
        for who, dn, one in dict.fromkeys(found)
    ]


def _is_send_as(one: security.Entry) -> bool:
    return one.object_type == SEND_AS and bool(one.mask & _CONTROL_ACCESS)


def _ids(connection: Connection, domain: str, sids: Iterable[str]) -> dict[str, str]:
    """SID → id, of those that the domain has."""
    wanted = sorted(one for one in sids if one.startswith("S-1-5-21-"))
    return {
        sid: who
        for start in range(0, len(wanted), _AT_ONCE)
        for sid, who in _some(connection, domain, wanted[start : start + _AT_ONCE])
    }


def _some(connection: Connection, domain: str, sids: Sequence[str]) -> Iterator[tuple[str, str]]:
    some = "".join(f"(objectSid={one})" for one in sids)
    for entry in connection.search(domain, f"(|{some})", ("objectSid", "objectGUID"), controls=(DOMAIN_SCOPE,)):
        who = ad_entry.identity(entry)
        if who is not None:
            yield security.sid(entry.first("objectSid") or b""), who
