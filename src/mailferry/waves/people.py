"""Everybody whom the open directory knows, for planning: who they are, who works in whose mailbox. Changes nothing.

Reads what `directory sync` has written: recipients by their source's id, references turned back from DNs to ids; or
Active Directory, where that is the only directory.
Invariants: an address that two have belongs to none of them here, it is told; a mapping is taken for right only if
directory and ledger agree on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from mailferry.coexist.people import People, addresses_in, entry_of, has_mailbox, of_entry, read, recipient, search
from mailferry.config.coexist import Coexist
from mailferry.directory import addresses
from mailferry.directory.mapping import dn_key
from mailferry.directory.readers.ad import ActiveDirectory, Scope
from mailferry.directory.readers.ad_entry import identity
from mailferry.directory.sharing import WIDE
from mailferry.errors import ConfigError, SafetyStop, UserError
from mailferry.ledger.rows import DirectoryAccount
from mailferry.model.recipient import Forwarding, Recipient, RecipientKind
from mailferry.model.wave import Move
from mailferry.net import ldap
from mailferry.stack.postfix.settings import Route
from mailferry.wire import dn as names

_ATTRIBUTES = (
    *("mail", "uid", "cn", "displayName", "mailferrySourceId", "mailferryKind", "mailferryRoute", "mailHost"),
    *("mailferryX500", "mailferryMailboxGuid", "mailferrySendOnBehalf", "mailferryFullAccess", "member", "owner"),
    *("mailferryExternalMember", "manager", "mailferryEnabled", "mailferryForwardTo", "mailferryKeepCopy"),
    *("mailferryAcceptFrom", "mailferryRejectFrom", "mailferryInternalOnly", "mailferryPreference"),
)
_TIES = ("mailferryFullAccess", "mailferrySendOnBehalf")
_UID = re.compile(r"[a-z0-9][a-z0-9._-]*")
_REFERENCES = ("mailferrySendOnBehalf", "mailferryFullAccess", "member", "owner", "manager")


@dataclass(frozen=True, slots=True)
class Known:
    """Somebody of the open directory. `recipient.where` is the DN there."""

    recipient: Recipient
    uid: str
    route: str
    store: str
    language: str = ""


@dataclass(slots=True)
class Everybody:
    """`by_id`; `by_address`: folded address → ids, of which there should be one; `names`: DN as `dn_key` → id."""

    by_id: dict[str, Known] = field(default_factory=dict)
    by_address: dict[str, list[str]] = field(default_factory=dict)
    by_dn: dict[str, str] = field(default_factory=dict)

    @property
    def recipients(self) -> Mapping[str, Recipient]:
        return {who: one.recipient for who, one in self.by_id.items()}

    def at(self, address: str) -> Known:
        """Whoever has this address. UserError: nobody, or two."""
        found = self.by_address.get(addresses.key(address.strip()), [])
        if not found:
            advice = "`mailferry directory diff` shows whether the source has somebody new"
            raise UserError("nobody in the directory has this address", about=address, advice=advice)
        if len(found) > 1:
            both = " and ".join(self.by_id[one].recipient.where for one in found[:2])
            raise UserError(f"it belongs to {both}", about=address, advice="decide whose it is, then sync again")
        return self.by_id[found[0]]


def read_everybody(people: People) -> Everybody:
    """All recipients. Raises what `ldap` raises."""
    found = Everybody()
    for one in _of_ad(people, found) if people.words.ad else _of_openldap(people, found):
        found.by_id[one.recipient.id] = one
        for address in {addresses.key(each) for each in (one.recipient.mail or "", *one.recipient.aliases) if each}:
            found.by_address.setdefault(address, []).append(one.recipient.id)
    return found


def read_one(people: People, source_id: str) -> Known:
    """Somebody by their id; references to others are left out. UserError: there is none."""
    entry = entry_of(people, source_id, _asked(people))
    if not people.words.ad:
        return _known(entry, people, {})
    one = recipient(people, entry)
    if one is None:
        raise UserError("one of Exchange's own mailboxes is nobody's", about=entry.dn)
    routed = of_entry(people, entry)
    return _known_ad(one, routed.route, routed.store)


def _of_openldap(people: People, found: Everybody) -> Iterator[Known]:
    entries = list(search(people, "(mailferrySourceId=*)", _asked(people)))
    found.by_dn.update({dn_key(one.dn): one.text("mailferrySourceId") or "" for one in entries})
    for entry in entries:
        yield _known(entry, people, found.by_dn)


def _of_ad(people: People, found: Everybody) -> Iterator[Known]:
    """Recipients as a sync would read them, with their routes."""
    words = people.words
    routes = {}
    for entry in search(people, words.routed, ("objectGUID", words.route, words.store, "msExchMailboxGuid", "homeMDB")):
        route = entry.text(words.route) or (Route.EXCHANGE.value if has_mailbox(entry) else "")
        routes[identity(entry)] = route.lower(), entry.text(words.store) or ""
    with ActiveDirectory(people.connection.server, Scope((people.suffix,))) as reader:
        for one in reader.read():
            if isinstance(one, Recipient):
                found.by_dn[dn_key(one.where)] = one.id
                yield _known_ad(one, *routes.get(one.id, ("", "")))


def tied_addresses(people: People, source_id: str) -> tuple[str, ...]:
    """Those of everybody who may work in somebody's mailbox, or in whose mailboxes they may; of groups, the members, up
    to WIDE. () for who is not in the directory."""
    try:
        entry = entry_of(people, source_id, _asked(people))
    except UserError:
        return ()
    ties = ("msExchDelegateListLink", "publicDelegates") if people.words.ad else _TIES
    waiting = [other for name in ties for other in entry.texts(name)]
    found: dict[str, None] = {}
    for name in ties:
        for other in search(people, f"({name}={names.in_filter(entry.dn)})", _asked(people)):
            found |= dict.fromkeys(addresses_in(people, other))
    seen: set[str] = set()
    while waiting and len(seen) < WIDE:
        dn = waiting.pop()
        if dn_key(dn) in seen:
            continue
        seen.add(dn_key(dn))
        member = read(people, dn, ("mail", "member", people.words.addresses))
        if member is not None:
            found |= dict.fromkeys(addresses_in(people, member))
            waiting += member.texts("member")
    return tuple(found)


def users_of(settings: Coexist, uid: str, mail: str, account: str) -> tuple[str, str]:
    """Whom Exchange and whom the stores know somebody as, by `source_user` and `target_user`. ConfigError."""
    values = {"uid": uid, "mail": mail, "account": account}
    try:
        return settings.source_user.format_map(values), settings.target_user.format_map(values)
    except (KeyError, ValueError, IndexError) as error:
        advice = "of {mail}, {uid} and {account}"
        raise ConfigError(f"cannot be filled in: {error}", about="coexist.source_user", advice=advice) from None


def check_mapping(one: Known, row: DirectoryAccount | None) -> None:
    """SafetyStop: the ledger (`row`: what it says of this source id, if anything) and the directory disagree about who
    is who."""
    if row is None:
        return
    told = {"uid": (row.uid, one.uid), "mailbox": (row.mailbox_guid or "", one.recipient.mailbox_guid or "")}
    for what, (before, now) in told.items():
        if before.casefold() != now.casefold():
            _stop(f"its {what} is {now or 'none'} in the directory, {before or 'none'} in the ledger", one)
    if row.gone is not None:
        _stop("is gone from the source directory", one)


def check_move(settings: Coexist, move: Move, one: Known, row: DirectoryAccount | None) -> None:
    """SafetyStop: the person of a move has become another, or another account of theirs, since it was planned."""
    check_mapping(one, row)
    if one.uid != move.uid:
        _stop(f"was planned as {move.uid}, and is {one.uid or 'nobody'} now", one)
    if row is not None:
        _, target = users_of(settings, one.uid, one.recipient.mail or "", row.account or "")
        if target != move.target_user:
            _stop(f"was planned for the account {move.target_user}, and would go to {target} now", one)


def _stop(message: str, one: Known) -> NoReturn:
    raise SafetyStop(
        message,
        about=one.recipient.mail or one.recipient.where,
        advice="see `mailferry directory diff`; who was planned for another account is planned again",
    )


def _asked(people: People) -> tuple[str, ...]:
    return () if people.words.ad else (*_ATTRIBUTES, people.words.addresses)


def _known_ad(one: Recipient, route: str, store: str) -> Known:
    """`uid`: the account's name, unless it could not be the name of a folder."""
    account = (one.account or "").lower()
    uid = account if _UID.fullmatch(account) else ""
    return Known(one, uid, route, store, _language(one.preferences))


def _language(preferences: Mapping[str, tuple[str, ...]]) -> str:
    return next(iter(preferences.get("msExchUserCulture", ())), "").partition(",")[0]


def _known(entry: ldap.Entry, people: People, by_dn: Mapping[str, str]) -> Known:
    def of(attribute: str) -> tuple[str, ...]:
        found = (by_dn.get(dn_key(dn)) for dn in entry.texts(attribute))
        return tuple(one for one in found if one)

    mail = entry.text("mail")
    preferences: dict[str, tuple[str, ...]] = {}
    for text in entry.texts("mailferryPreference"):
        key, _, value = text.partition("=")
        preferences[key] = (*preferences.get(key, ()), value)
    forward = entry.text("mailferryForwardTo")
    outside = tuple(f"smtp:{one}" for one in entry.texts("mailferryExternalMember"))
    one = Recipient(
        id=entry.text("mailferrySourceId") or "",
        kind=_kind(entry.text("mailferryKind")),
        where=entry.dn,
        name=entry.text("displayName") or entry.text("cn") or "",
        mail=mail,
        aliases=tuple(each for each in entry.texts(people.words.addresses) if each != mail),
        x500=entry.texts("mailferryX500"),
        mailbox_guid=entry.text("mailferryMailboxGuid"),
        enabled=entry.text("mailferryEnabled") != "FALSE",
        manager=next(iter(of("manager")), None),
        members=(*of("member"), *outside),
        owners=of("owner"),
        accept_from=entry.texts("mailferryAcceptFrom"),
        reject_from=entry.texts("mailferryRejectFrom"),
        internal_only=entry.text("mailferryInternalOnly") == "TRUE",
        send_on_behalf=of("mailferrySendOnBehalf"),
        full_access=of("mailferryFullAccess"),
        forwarding=Forwarding(forward, entry.text("mailferryKeepCopy") == "TRUE") if forward else None,
        preferences=preferences,
    )
    route = (entry.text("mailferryRoute") or "").lower()
    return Known(one, entry.text("uid") or "", route, entry.text("mailHost") or "", _language(preferences))


def _kind(text: str | None) -> RecipientKind:
    try:
        return RecipientKind(text)
    except ValueError:  # written by a later Mailferry, or by hand
        return RecipientKind.ACCOUNT
