"""What differs where Active Directory is Acme's only directory: who its people are, where they are, how it is read.

Reads and extends the lab's controller. Invariant: nobody is called plain here whose entry the organisation has spoilt.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from lab.organisation import organisation
from lab.process import PASSWORD
from lab.samba import Samba
from mailferry.secret import Secret
from mailferry.stack import ad_schema
from mailferry.stack.postfix.settings import Directory
from mailferry.stack.words import active_directory

_LIMITED = ("msExchRequireAuthToSendTo", "authOrig", "unauthOrig", "dLMemSubmitPerms", "dLMemRejectPerms")
_FORWARDS = ("altRecipient", "msExchGenericForwardingAddress", "targetAddress")

Values = Mapping[str, list[bytes]]


def prepare(ad: Samba) -> Directory:
    """Extend the schema; how Postfix and Dovecot read it."""
    ad.extend(ad_schema.ldif(ad.base))
    return Directory((ad.tls_url,), ad.base, ad.reader_dn, Secret(PASSWORD), active_directory(), ad.ca_file)


def placed(ad: Samba) -> dict[str, tuple[str, str]]:
    """Account → route and store, of everybody with a mailbox on Exchange or a route."""
    names = ["sAMAccountName", "mailferryRoute", "mailferryMailHost"]
    found = ad.search("(|(mailferryRoute=*)(msExchMailboxGuid=*))", names)
    return {
        _text(values, "sAMAccountName").lower(): (
            _text(values, "mailferryRoute") or "exchange",
            _text(values, "mailferryMailHost"),
        )
        for _, values in found
        if "sAMAccountName" in values
    }


def people(ad: Samba, size: int) -> list[tuple[str, str, str, str, bool]]:
    """(uid, mail, source id, DN, plain) of people with a mailbox that nothing is wrong with."""
    content = organisation(size)
    clean = {one.account for one in content.people} - {one.other for one in content.dirt}
    found = ad.search("(&(objectClass=user)(msExchMailboxGuid=*))")
    forwarded_to = {value.decode().lower() for _, values in found for value in values.get("altRecipient", [])}
    result = []
    for dn, values in found:
        account = _text(values, "sAMAccountName")
        if account not in clean:
            continue
        plain = dn.lower() not in forwarded_to and not any(name in values for name in (*_LIMITED, *_FORWARDS))
        source_id = f"ad:{uuid.UUID(bytes_le=values['objectGUID'][0])}"
        result.append((account.lower(), _text(values, "mail").lower(), source_id, dn, plain))
    return result


def groups(ad: Samba, plain: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """Address → uids of members, of groups that anybody may write to and whose members are all plain (`plain`: DN in
    small letters → uid)."""
    entries = {dn.lower(): values for dn, values in ad.search("(objectClass=group)")}
    found = {}
    for values in entries.values():
        if "proxyAddresses" not in values or any(name in values for name in _LIMITED):
            continue
        members = _leaves(values, entries, 10)
        if members and all(one in plain for one in members):
            found[_text(values, "mail").lower()] = frozenset(plain[one] for one in members)
    return found


def _leaves(group: Values, entries: Mapping[str, Values], depth: int) -> set[str]:
    found: set[str] = set()
    for value in group.get("member", []):
        dn = value.decode().lower()
        if dn in entries and depth:
            found |= _leaves(entries[dn], entries, depth - 1)
        else:
            found.add(dn)
    return found


def _text(values: Values, name: str) -> str:
    return values.get(name, [b""])[0].decode()
