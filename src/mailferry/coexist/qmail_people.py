"""Reads recipients for a qmail host (`stack.qmail.people.Entry`) from the open directory. Writes nothing.

Invariant: one search for everybody, so that no change of a route falls between two.
"""

from __future__ import annotations

from collections.abc import Iterable

from mailferry.coexist import people as directory
from mailferry.coexist.people import People
from mailferry.directory.mapping import dn_key
from mailferry.errors import UserError
from mailferry.net import ldap
from mailferry.stack.qmail.people import Entry

_ATTRIBUTES = (
    *("mail", "uid", "mailferrySourceId", "mailferryKind", "mailferryRoute", "mailHost", "mailferryRouteFreshUntil"),
    *("mailferryForwardTo", "mailferryKeepCopy", "mailferryExternalAddress", "member", "mailferryExternalMember"),
    *("mailferryInternalOnly", "mailferryAcceptFrom", "mailferryAcceptFromAddress"),
    *("mailForwardingAddress", "deliveryMode", "mailReplyText"),
)


def everybody(people: People) -> list[Entry]:
    """All recipients that have an address. Raises what `ldap` raises."""
    found = directory.search(people, "(&(mailferrySourceId=*)(mail=*))", _asked(people))
    return [_entry(people, one) for one in found]


def some(people: People, addresses: Iterable[str]) -> list[Entry] | None:
    """Those with these addresses; None: nobody has one of them. IntegrityError: two have."""
    try:
        dns = dict.fromkeys(directory.find(people, address).dn for address in addresses)
    except UserError:
        return None
    found = [directory.read(people, dn, _asked(people)) for dn in dns]
    return [_entry(people, one) for one in found if one is not None]


def _asked(people: People) -> tuple[str, ...]:
    return (*_ATTRIBUTES, people.words.addresses)


def _entry(people: People, entry: ldap.Entry) -> Entry:
    one = directory.of_entry(people, entry)
    # qmailUser says it in attributes of its own, which people may change (qmail-ldap's schema)
    modes = {mode.strip().lower() for text in entry.texts("deliveryMode") for mode in text.split(",")}
    forwards = entry.texts("mailForwardingAddress")
    only_some = bool(entry.get("mailferryAcceptFrom")) and not entry.get("mailferryAcceptFromAddress")
    return Entry(
        key=dn_key(one.dn),
        mail=one.mail,
        kind=one.kind,
        uid=entry.text("uid") or "",
        addresses=directory.addresses_in(people, entry),
        route=one.route,
        store=one.store,
        fresh_until=one.fresh_until,
        forward_to=forwards or one.forward_to,
        keep_copy="nolocal" not in modes if forwards else one.keep_copy,
        external=one.external,
        members=tuple(dn_key(dn) for dn in one.members),
        outside_members=one.outside_members,
        inside=only_some or entry.text("mailferryInternalOnly") == "TRUE",
        answer=(entry.text("mailReplyText") or "").strip() if "reply" in modes else "",
    )
