"""Changes routes: mailferryRoute and mailHost of one entry of the directory (people.py reads them).

Moves no mail, and waits for nobody to have noticed (parking.py does). Invariants: a change stands in the ledger's audit
before and after it is made; it is made only if the route is still what was read (compare and set, RFC 4511 §4.6), and
with it goes the mark mailferryRouteFreshUntil, for which mail that Exchange sends back meets 451 instead of 550.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

from mailferry.coexist.people import People as People
from mailferry.coexist.people import Routed as Routed
from mailferry.coexist.people import addresses as addresses
from mailferry.coexist.people import find as find
from mailferry.coexist.people import find_id as find_id
from mailferry.coexist.people import of_entry, read, search, seconds, time_text
from mailferry.errors import SafetyStop, Temporary, UserError
from mailferry.net import ldap
from mailferry.net.ldap_errors import Refused, Result
from mailferry.stack.postfix.settings import Route

FRESH_SECONDS = 24 * 3600.0
INTENDED, SET = "route intended", "route set"
"""What the audit calls a change before and after."""

_STALE = (Result.NO_SUCH_ATTRIBUTE, Result.VALUE_EXISTS, Result.CONSTRAINT)


class Audit(Protocol):
    """What writes the audit: a `Ledger`, or what passes it on to the thread that has one."""

    def audit(self, what: str, **data: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change of a route was, or would be. `made`: False where it was so before, or in a dry run."""

    before: Routed
    after: Routed
    made: bool


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
    if people.words.ad and route is Route.EXCHANGE:  # as it was before anything was written there
        after = replace(after, implied=True, store="")
    elif after.route != before.route:
        after = replace(after, implied=False)
    if route is Route.LOCAL and not after.store:
        raise UserError("the route local needs a store", about=before.dn, advice="name it with --store")
    if after.route != before.route:
        # whole seconds, as the directory holds them
        after = replace(after, fresh_until=float(int(time.time() + fresh_seconds)) if fresh_seconds else None)
    if dry_run:
        return Changed(before, after, made=False)
    people.check_writable()
    data: dict[str, Any] = {
        "id": before.id,
        "dn": before.dn,
        "before": _told(people, before),
        "after": _told(people, after),
    }
    if after != before:
        ledger.audit(INTENDED, **data)
        _modify(people, before, after)
    if route is not Route.EXCHANGE:
        _everywhere(people, after)
    ledger.audit(SET, **data)  # also when a killed run had made it: the intention then stands alone
    return Changed(before, after, made=after != before)


def settle(people: People, ledger: Audit, now: float | None = None) -> list[str]:
    """Take the mark from routes that are no longer fresh; their DNs. If nobody calls this, mail that Exchange sends
    back is put off for longer, and none is lost."""
    people.check_writable()
    due, name = time.time() if now is None else now, people.words.fresh
    settled = []
    for one in list(search(people, f"({name}=*)", (name,))):
        if seconds(one.text(name) or "", one.dn) > due:
            continue
        try:
            people.connection.modify(one.dn, [ldap.Change("delete", name, one.get(name))])
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
        found = read(people, dn)
        if found is not None and found.text("mail"):
            yield of_entry(people, found)


def _modify(people: People, before: Routed, after: Routed) -> None:
    """One modification that fails if the route is no longer `before`'s."""
    words = people.words
    steps = [
        *([] if before.implied else [ldap.Change("delete", words.route, (before.route.encode(),))]),
        *([] if after.implied else [ldap.Change("add", words.route, (after.route.encode(),))]),
    ]
    if after.store != before.store:
        steps.append(ldap.Change("replace", words.store, (after.store.encode(),) if after.store else ()))
    if after.fresh_until != before.fresh_until:
        # by its value, too: a change that was long under way does not meet the same route, set again meanwhile
        for how, mark in (("delete", before.fresh_until), ("add", after.fresh_until)):
            if mark is not None:
                steps.append(ldap.Change(how, words.fresh, (time_text(mark, words).encode(),)))
    try:
        people.connection.modify(before.dn, steps)
    except Refused as error:
        if error.result not in _STALE:
            raise
        raise Temporary("somebody else has just changed its route", about=before.dn) from error


def _everywhere(people: People, wanted: Routed) -> None:
    """Temporary unless every other server shows it: Postfix may ask any of them."""
    lagging = []
    for server in people.others:
        try:
            with ldap.Connection(server) as connection:
                there = find_id(replace(people, connection=connection), wanted.id)
        except (Temporary, UserError) as error:
            lagging.append(f"{server.url}: {error.message}")
            continue
        if (there.route, there.store) != (wanted.route, wanted.store):
            lagging.append(f"{server.url} shows {there.route} {there.store}".rstrip())
    if lagging:
        raise Temporary(
            f"servers do not show its route {wanted.route} yet: {'; '.join(lagging)}",
            about=wanted.dn,
            advice="wait for their replication; take one that is gone out of the settings",
            retry_after=1.0,
        )


def _told(people: People, one: Routed) -> dict[str, str]:
    fresh = {} if one.fresh_until is None else {"fresh_until": time_text(one.fresh_until, people.words)}
    return {"route": one.route, "store": one.store, **fresh}
