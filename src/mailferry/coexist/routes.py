"""Reads and changes routes: mailferryRoute and mailHost of one entry of the open directory.

Moves no mail, and waits for nobody to have noticed (parking.py does). Invariants: a change stands in the ledger's audit
before and after it is made; it is made only if the route is still what was read (compare and set, RFC 4511 §4.6), and
with it goes the mark mailferryRouteFreshUntil, for which mail that Exchange sends back meets 451 instead of 550.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from mailferry.errors import IntegrityError, SafetyStop, Temporary, UserError
from mailferry.net import ldap
from mailferry.net.ldap_errors import Refused, Result
from mailferry.stack.postfix.settings import Route
from mailferry.wire import dn as names

FRESH_SECONDS = 24 * 3600.0
INTENDED, SET = "route intended", "route set"
"""What the audit calls a change before and after."""

_ATTRIBUTES = (
    *("mail", "uid", "mailferrySourceId", "mailferryKind", "mailferryRoute", "mailHost", "mailferryRouteFreshUntil"),
    *("mailferryForwardTo", "mailferryKeepCopy", "mailferryExternalAddress", "member", "mailferryExternalMember"),
)
_STALE = (Result.NO_SUCH_ATTRIBUTE, Result.VALUE_EXISTS, Result.CONSTRAINT)


class Audit(Protocol):
    """What writes the audit: a `Ledger`, or what passes it on to the thread that has one."""

    def audit(self, what: str, **data: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class People:
    """Where recipients are looked for. `addresses`: the attribute with every address. `open_domain`: the open side's
    routing domain, in which the local part is a uid."""

    connection: ldap.Connection
    suffix: str
    addresses: str = "mailLocalAddress"
    open_domain: str = ""


@dataclass(frozen=True, slots=True)
class Routed:
    """A recipient as far as mail goes. `route`: the token as it stands, "" if there is none. `fresh_until`: seconds
    since the epoch. `members`: DNs; `outside_members`: addresses."""

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

    @property
    def forwards_copies(self) -> bool:
        """Whether Postfix forwards its mail and keeps a copy, as the route says now; it did not while parked."""
        return self.route == Route.LOCAL.value and self.keep_copy and bool(self.forward_to)


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change of a route was, or would be. `made`: False where it was so before, or in a dry run."""

    before: Routed
    after: Routed
    made: bool


def find(people: People, address: str) -> Routed:
    """Whoever has this address. UserError: nobody; IntegrityError: two."""
    local, _, domain = address.rpartition("@")
    if not local or not domain:
        raise UserError("not an address", about=address, advice="for example alice@acme.example")
    key = f"({people.addresses}={names.in_filter(address)})"
    if domain.lower() == people.open_domain:
        key = f"(&(uid={names.in_filter(local)})(mailferryRoute=*))"
    found = list(people.connection.search(people.suffix, key, _ATTRIBUTES))
    if not found:
        advice = "`mailferry directory diff` shows whether the source has somebody new"
        raise UserError("nobody in the directory has this address", about=address, advice=advice)
    if len(found) > 1:
        raise IntegrityError(f"it belongs to {found[0].dn} and to {found[1].dn}", about=address)
    return _routed(found[0])


def find_id(people: People, source_id: str) -> Routed:
    """The recipient with this mailferrySourceId, whatever its address is by now. UserError: there is none."""
    key = f"(mailferrySourceId={names.in_filter(source_id)})"
    found = list(people.connection.search(people.suffix, key, _ATTRIBUTES))
    if not found:
        raise UserError("it is no longer in the directory", about=source_id, advice="mailferry directory diff")
    if len(found) > 1:
        raise IntegrityError(f"it is {found[0].dn} and {found[1].dn}", about=source_id)
    return _routed(found[0])


def addresses(people: People, source_id: str) -> tuple[str, ...]:
    """All addresses of a recipient, its aliases and X.500 ones (IMCEAEX) included. UserError: there is none."""
    found = find_id(people, source_id)
    entry = people.connection.read(found.dn, ("mail", people.addresses))
    return () if entry is None else tuple(dict.fromkeys([*entry.texts("mail"), *entry.texts(people.addresses)]))


def set_route(
    people: People,
    ledger: Audit,
    address: str,
    route: Route,
    store: str | None = None,
    *,
    fresh_seconds: float = FRESH_SECONDS,
    dry_run: bool = False,
) -> Changed:
    """Give the recipient with this address a route: as `change`."""
    before = find(people, address)
    return change(people, ledger, before, route, store, fresh_seconds=fresh_seconds, dry_run=dry_run)


def change(
    people: People,
    ledger: Audit,
    before: Routed,
    route: Route,
    store: str | None = None,
    *,
    only_from: Collection[Route] = tuple(Route),
    fresh_seconds: float = FRESH_SECONDS,
    dry_run: bool = False,
) -> Changed:
    """Give a recipient, as just read, a route. `store`: its mailHost; None leaves that as it is. May be called again at
    any time.

    UserError: a group, or `local` without a store. SafetyStop: its route is none of `only_from`. Temporary: somebody
    else changed the route meanwhile.
    """
    if not before.route:
        raise UserError(
            f"a {before.kind or 'recipient'} has no route: its mail goes on to other addresses",
            about=before.dn,
            advice="give a person, a shared mailbox or a resource",
        )
    if before.route not in [one.value for one in only_from] and route.value != before.route:
        raise SafetyStop(
            f"its route is {before.route}: somebody else has changed it",
            about=before.dn,
            advice=f"mailferry route show {before.mail}",
        )
    after = replace(before, route=route.value, store=before.store if store is None else store)
    if route is Route.LOCAL and not after.store:
        raise UserError("the route local needs a store", about=before.dn, advice="name it with --store")
    if after.route != before.route:
        # whole seconds, as the directory holds them
        after = replace(after, fresh_until=float(int(time.time() + fresh_seconds)) if fresh_seconds else None)
    if dry_run:
        return Changed(before, after, made=False)
    data: dict[str, Any] = {"id": before.id, "dn": before.dn, "before": _told(before), "after": _told(after)}
    if after != before:
        ledger.audit(INTENDED, **data)
        _modify(people.connection, before, after)
    ledger.audit(SET, **data)  # also when a killed run had made it: the intention then stands alone
    return Changed(before, after, made=after != before)


def settle(people: People, ledger: Audit, now: float | None = None) -> list[str]:
    """Take the mark from routes that are no longer fresh; their DNs. If nobody calls this, mail that Exchange sends
    back is put off for longer, and none is lost."""
    due = _time(time.time() if now is None else now)
    settled = []
    for one in list(people.connection.search(people.suffix, f"(mailferryRouteFreshUntil<={due})", _ATTRIBUTES)):
        mark = one.get("mailferryRouteFreshUntil")
        try:
            people.connection.modify(one.dn, [ldap.Change("delete", "mailferryRouteFreshUntil", mark)])
        except Refused as error:
            if error.result not in _STALE and error.result != Result.NO_SUCH_OBJECT:
                raise
            continue  # changed again since
        settled.append(one.dn)
    if settled:
        ledger.audit("routes settled", dns=settled)
    return settled


def members(people: People, group: Routed) -> Iterator[Routed]:
    """The members of a group that have an address, one search each."""
    for dn in group.members:
        found = people.connection.read(dn, _ATTRIBUTES)
        if found is not None and found.text("mail"):
            yield _routed(found)


def _modify(connection: ldap.Connection, before: Routed, after: Routed) -> None:
    """One modification that fails if the route is no longer `before`'s."""
    steps = [
        ldap.Change("delete", "mailferryRoute", (before.route.encode(),)),
        ldap.Change("add", "mailferryRoute", (after.route.encode(),)),
    ]
    if after.store != before.store:
        steps.append(ldap.Change("replace", "mailHost", (after.store.encode(),) if after.store else ()))
    if after.fresh_until != before.fresh_until:
        # by its value, too: a change that was long under way does not meet the same route, set again meanwhile
        for how, mark in (("delete", before.fresh_until), ("add", after.fresh_until)):
            if mark is not None:
                steps.append(ldap.Change(how, "mailferryRouteFreshUntil", (_time(mark).encode(),)))
    try:
        connection.modify(before.dn, steps)
    except Refused as error:
        if error.result not in _STALE:
            raise
        raise Temporary("somebody else has just changed its route", about=before.dn) from error


def _routed(entry: ldap.Entry) -> Routed:
    fresh = entry.text("mailferryRouteFreshUntil")
    return Routed(
        dn=entry.dn,
        id=entry.text("mailferrySourceId") or "",
        mail=entry.text("mail") or "",
        kind=entry.text("mailferryKind") or "",
        route=(entry.text("mailferryRoute") or "").lower(),
        store=entry.text("mailHost") or "",
        fresh_until=_seconds(fresh, entry.dn) if fresh else None,
        forward_to=entry.texts("mailferryForwardTo"),
        keep_copy=entry.text("mailferryKeepCopy") == "TRUE",
        external=entry.text("mailferryExternalAddress") or "",
        members=entry.texts("member"),
        outside_members=entry.texts("mailferryExternalMember"),
    )


def _told(one: Routed) -> dict[str, str]:
    fresh = {} if one.fresh_until is None else {"fresh_until": _time(one.fresh_until)}
    return {"route": one.route, "store": one.store, **fresh}


def _time(seconds: float) -> str:
    """Generalized time (RFC 4517 §3.3.13)."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d%H%M%SZ")


def _seconds(text: str, dn: str) -> float:
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise IntegrityError(f"mailferryRouteFreshUntil is {text}", about=dn, advice="remove the attribute") from None
