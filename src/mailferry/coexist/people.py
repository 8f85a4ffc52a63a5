"""Recipients as the directory has them, as far as mail goes: our OpenLDAP's, or Active Directory's where that is the
only one. Reads only.

Invariant: in Active Directory a mailbox on Exchange without a route is on Exchange (`implied`), as Postfix's tables
have it (stack/words.py); so nothing stands there for anybody who has not moved.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mailferry.directory.readers import ad_entry
from mailferry.directory.readers.ad_references import split, whole
from mailferry.errors import ConfigError, IntegrityError, UserError
from mailferry.model.recipient import Recipient
from mailferry.net import ldap
from mailferry.net.ldap_ad import DOMAIN_SCOPE
from mailferry.net.ldap_errors import Refused, Result
from mailferry.stack.postfix.settings import Route
from mailferry.stack.words import OPENLDAP, Words
from mailferry.wire import dn as names
from mailferry.wire.mapi.addresses import imceaex

_OPENLDAP = (
    *("mail", "uid", "mailferrySourceId", "mailferryKind", "mailferryRoute", "mailHost", "mailferryRouteFreshUntil"),
    *("mailferryForwardTo", "mailferryKeepCopy", "mailferryExternalAddress", "member", "mailferryExternalMember"),
)
_PHOTOS = ("thumbnailPhoto", "jpegPhoto")


@dataclass(frozen=True, slots=True)
class People:
    """Where recipients are looked for. `words`: how it says things. `open_domain`: the open side's routing domain, in
    which the local part is a uid. `others`: further servers with the same entries, which Postfix may ask. `forbidden`:
    the setting because of which nothing may be written; "" if it may."""

    connection: ldap.Connection
    suffix: str
    words: Words = OPENLDAP
    open_domain: str = ""
    others: Sequence[ldap.Server] = ()
    forbidden: str = ""

    def check_writable(self) -> None:
        """ConfigError where nothing may be written."""
        if self.forbidden:
            raise ConfigError(
                "Mailferry may not write to Active Directory",
                about=self.forbidden,
                advice="switch it on there; docs/route-store.md says what is written",
            )


@dataclass(frozen=True, slots=True)
class Routed:
    """A recipient as far as mail goes. `route`: the token, "" if there is none. `fresh_until`: seconds since the epoch.
    `members`: DNs; `outside_members`: addresses. `implied`: the token does not stand in the directory."""

    dn: str
    id: str
    mail: str
    kind: str
    route: str
    store: str
    fresh_until: float | None = None
    forward_to: tuple[str, ...] = ()
    keep_copy: bool = False
    external: str = ""
    members: tuple[str, ...] = ()
    outside_members: tuple[str, ...] = ()
    implied: bool = False

    @property
    def forwards_copies(self) -> bool:
        """Whether Postfix forwards its mail and keeps a copy, as the route says now; it did not while parked."""
        return self.route == Route.LOCAL.value and self.keep_copy and bool(self.forward_to)


def find(people: People, address: str) -> Routed:
    """Whoever has this address. UserError: nobody; IntegrityError: two."""
    local, _, domain = address.rpartition("@")
    if not local or not domain:
        raise UserError("not an address", about=address, advice="for example alice@acme.example")
    key = people.words.address(names.in_filter(address))
    if domain.lower() == people.open_domain:
        key = f"(&({people.words.uid}={names.in_filter(local)}){people.words.routed})"
    found = list(search(people, key))
    if not found:
        advice = "`mailferry directory diff` shows whether the source has somebody new"
        raise UserError("nobody in the directory has this address", about=address, advice=advice)
    if len(found) > 1:
        raise IntegrityError(f"it belongs to {found[0].dn} and to {found[1].dn}", about=address)
    return of_entry(people, found[0])


def find_id(people: People, source_id: str) -> Routed:
    """The recipient with this id at the source, whatever its address is by now. UserError: there is none."""
    return of_entry(people, entry_of(people, source_id))


def entry_of(people: People, source_id: str, attributes: Sequence[str] = ()) -> ldap.Entry:
    """Its entry, with what `of_entry` needs unless told. UserError: there is none any more."""
    if people.words.ad:
        found = [one for one in [_by_guid(people, source_id, attributes)] if one is not None]
    else:
        found = list(search(people, f"(mailferrySourceId={names.in_filter(source_id)})", attributes))
    if not found:
        raise UserError("it is no longer in the directory", about=source_id, advice="mailferry directory diff")
    if len(found) > 1:
        raise IntegrityError(f"it is {found[0].dn} and {found[1].dn}", about=source_id)
    return found[0]


def search(people: People, filter: str, attributes: Sequence[str] = ()) -> Iterator[ldap.Entry]:
    """The entries that a filter finds, with what `of_entry` needs unless told."""
    asked = attributes or _attributes(people.words)
    if people.words.ad:
        yield from people.connection.search(people.suffix, filter, asked, controls=(DOMAIN_SCOPE,))
    else:
        yield from people.connection.search(people.suffix, filter, asked)


def read(people: People, dn: str, attributes: Sequence[str] = ()) -> ldap.Entry | None:
    """One entry, as `search`."""
    return people.connection.read(dn, attributes or _attributes(people.words))


def addresses_in(people: People, entry: ldap.Entry) -> tuple[str, ...]:
    """All SMTP addresses in an entry that was read with `mail` and the attribute of addresses."""
    prefix = people.words.prefix
    some = [one for one in entry.texts(people.words.addresses) if one.lower().startswith(prefix)]
    return tuple(dict.fromkeys([*entry.texts("mail"), *(one[len(prefix) :] for one in some)]))


def addresses(people: People, source_id: str) -> tuple[str, ...]:
    """All addresses of a recipient, its aliases and X.500 ones (IMCEAEX) included. UserError: there is none."""
    asked = ("mail", people.words.addresses, "legacyExchangeDN")
    entry = entry_of(people, source_id, asked)
    found = addresses_in(people, entry)
    domain = (entry.text("mail") or "").rpartition("@")[2]
    if not people.words.ad or not domain:
        return found
    old = [*entry.texts("legacyExchangeDN")]
    old += [one[5:] for one in entry.texts("proxyAddresses") if one.upper().startswith("X500:")]
    return (*found, *(imceaex(one, domain) for one in old))


def of_entry(people: People, entry: ldap.Entry) -> Routed:
    """The recipient of an entry. IntegrityError: the mark in it is no time."""
    words = people.words
    fresh = entry.text(words.fresh)
    fresh_until = seconds(fresh, entry.dn) if fresh else None
    route, store = (entry.text(words.route) or "").lower(), entry.text(words.store) or ""
    if words.ad:
        return _of_ad(people, entry, route, store, fresh_until)
    return Routed(
        dn=entry.dn,
        id=entry.text("mailferrySourceId") or "",
        mail=entry.text("mail") or "",
        kind=entry.text("mailferryKind") or "",
        route=route,
        store=store,
        fresh_until=fresh_until,
        forward_to=entry.texts("mailferryForwardTo"),
        keep_copy=entry.text("mailferryKeepCopy") == "TRUE",
        external=entry.text("mailferryExternalAddress") or "",
        members=entry.texts("member"),
        outside_members=entry.texts("mailferryExternalMember"),
    )


def has_mailbox(entry: ldap.Entry) -> bool:
    """Whether Active Directory says that there is a mailbox on Exchange."""
    return bool(entry.get("msExchMailboxGuid") or entry.get("homeMDB"))


def recipient(people: People, entry: ldap.Entry) -> Recipient | None:
    """An entry of Active Directory, with DNs as references; None: one of Exchange's own."""
    return ad_entry.to_recipient(whole(people.connection, entry), entry.dn, _AROUND)[0]


def _of_ad(people: People, entry: ldap.Entry, route: str, store: str, fresh_until: float | None) -> Routed:
    one = recipient(people, entry)
    if one is None:
        raise UserError("one of Exchange's own mailboxes is nobody's", about=entry.dn)
    forward = () if one.forwarding is None else (_address(people, one.forwarding.to),)
    implied = not route and has_mailbox(entry)
    return Routed(
        dn=entry.dn,
        id=one.id,
        mail=one.mail or "",
        kind=one.kind.value,
        route=Route.EXCHANGE.value if implied else route,
        store=store,
        fresh_until=fresh_until,
        forward_to=tuple(filter(None, forward)),
        keep_copy=one.forwarding is not None and one.forwarding.keep_copy,
        external=one.external_address or "",
        members=one.members,
        implied=implied,
    )


def _address(people: People, reference: str) -> str:
    if reference.startswith("smtp:"):
        return reference[5:]
    found = people.connection.read(reference, ("mail",))
    return (found.text("mail") or "") if found is not None else ""


def _by_guid(people: People, source_id: str, attributes: Sequence[str]) -> ldap.Entry | None:
    kind, _, guid = source_id.partition(":")
    try:
        if kind != "ad":
            raise ValueError
        base = f"<GUID={uuid.UUID(guid)}>"
    except ValueError:
        raise ConfigError("it was not read from Active Directory", about=source_id) from None
    try:
        return people.connection.read(base, attributes or _attributes(people.words))
    except Refused as error:
        if error.result == Result.INVALID_DN:
            return None
        raise


def _attributes(words: Words) -> tuple[str, ...]:
    if not words.ad:
        return _OPENLDAP
    some = [one for one in ad_entry.ATTRIBUTES if one not in _PHOTOS]
    return tuple(dict.fromkeys((*some, words.route, words.store, words.fresh)))


def time_text(moment: float, words: Words) -> str:
    """Generalized time (RFC 4517 §3.3.13), in the form that the directory itself gives."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y%m%d%H%M%S.0Z" if words.ad else "%Y%m%d%H%M%SZ")


def seconds(text: str, dn: str) -> float:
    """Of such a time since the epoch. IntegrityError: it is none."""
    try:
        whole_seconds = text.replace(".0Z", "Z")
        return datetime.strptime(whole_seconds, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise IntegrityError(f"its mark for a fresh route is {text}", about=dn, advice="remove the attribute") from None


_AROUND = ad_entry.Around(lambda value: split(value)[1], lambda database: None, lambda filter, base: ())
