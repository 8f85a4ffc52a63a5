"""The use cases behind `mailferry route`: from the settings to Postfix's files, to a change of a route, to a release.

Shows nothing. Invariant: every change is in the ledger's audit.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mailferry.coexist import parking, routes
from mailferry.coexist.contradiction import Side, compare
from mailferry.coexist.explain import Sides, Step
from mailferry.coexist.explain import explain as explained
from mailferry.coexist.queues import MailQueue, queue_of
from mailferry.coexist.queues import Place as QueuePlace
from mailferry.config import settings as config
from mailferry.errors import ConfigError, MailferryError, SafetyStop, UserError, explain
from mailferry.ledger import open_ledger
from mailferry.ledger.store import Ledger
from mailferry.net import ldap
from mailferry.ops import exchange_side, queues
from mailferry.ops.route_store import route_store
from mailferry.stack.postfix.settings import Route
from mailferry.stack.postfix.settings import Settings as Postfix

EXCHANGE_SECONDS = 10.0
"""How long a domain controller may take to answer."""

_ADDRESS = re.compile(r"[^\s@]+@[^\s@.]+(\.[^\s@.]+)*")


@dataclass(frozen=True, slots=True)
class Place:
    """What every verb needs. `settings`: Postfix's or qmail's. `mta`: the queue that a release is for; `others`: more
    that a changed route has to be written at (qmail). `hours`: how long a changed route is fresh. `whole`: the settings
    as read, which say where Active Directory is; None: it is not looked at."""

    settings: Sides
    people: routes.People
    ledger: Ledger
    mta: QueuePlace
    hours: float
    whole: config.Settings | None = None
    others: tuple[QueuePlace, ...] = ()


@contextmanager
def opened(path: Path, ledger: str | None, default_ledger: Callable[[], str]) -> Iterator[Place]:
    """Read the settings, connect to the directory (the provider), open the ledger."""
    whole = config.read_settings(path)
    settings, store = queues.sides(whole), route_store(whole)
    mta, *others = _places(whole)
    db = open_ledger(ledger or whole.ledger or default_ledger())
    with closing(db), ldap.Connection(store.server) as connection:
        hours = queues.fresh_hours(whole)
        yield Place(settings, store.people(connection), db, mta, hours, whole, tuple(others))


def _places(whole: config.Settings) -> tuple[QueuePlace, ...]:
    """The queues that `route release` is for: of Postfix, the one of `[stack.postfix]`."""
    if whole.stack is not None and whole.stack.postfix is not None:
        return (queues.mta_of(whole.stack.postfix),)
    return queues.places(whole)


def show(place: Place, address: str) -> tuple[list[Step], Side | None]:
    """Where a message for this address would go, and what Exchange does with it; None where the people do not come from
    Active Directory. UserError: it is no address."""
    if not _ADDRESS.fullmatch(address):
        raise UserError("not an address", about=address or "''", advice="for example alice@acme.example")
    return explained(place.people, place.settings, address), _exchange(place, address)


def gates(place: Place) -> int:
    """How many recipients may say which people may send to them. ConfigError: nobody here would enforce it."""
    if not isinstance(place.settings, Postfix):
        raise ConfigError(
            "qmail takes no mail from people who log in, so nobody here enforces what they may send",
            about="stack.flavour",
            advice="let people hand in mail at a Postfix with `[stack.postfix]` of its own: docs/stack-qmail.md",
        )
    submission = place.settings.submission
    return submission.gates if submission is not None else 0


def warnings(place: Place, address: str) -> tuple[str, ...]:
    """What Exchange would do wrong with mail for this address, as things are now."""
    side = _exchange(place, address)
    return side.warnings if side else ()


def _exchange(place: Place, address: str) -> Side | None:
    domain = address.rpartition("@")[2].lower()
    if place.whole is None or domain not in place.settings.domains:
        return None
    try:
        port = exchange_side.reader(place.whole, lambda work: work(place.ledger))
        if port is None:
            return None
        port = replace(port, servers=[replace(one, timeout=EXCHANGE_SECONDS) for one in port.servers])
        there, unlike = port.find(address)
    except MailferryError as error:  # the answer for the open side is worth having all the same
        return Side(f"not known: {explain(error).splitlines()[0]}", None)
    return compare(place.people, there, address, unlike)


def change(place: Place, address: str, route: Route, store: str | None, *, dry_run: bool) -> routes.Changed:
    """Give somebody a route. UserError: the store is not in the settings."""
    if store is not None and store.lower() not in place.settings.stores:
        known = ", ".join(sorted(place.settings.stores))
        raise UserError("there is no such store", about=store, advice=f"the stores of [stack] are {known}")
    fresh = place.hours * 3600
    changed = routes.set_route(place.people, place.ledger, address, route, store, fresh_seconds=fresh, dry_run=dry_run)
    if not dry_run:  # also where it was so before: the last may not have got there
        asyncio.run(_followed(place, changed.after.mail))
    return changed


async def _followed(place: Place, address: str) -> None:
    await asyncio.gather(*(queue_of(one).follow(address) for one in (place.mta, *place.others)))


def release(place: Place, address: str) -> parking.Released:
    """Let go what is parked for somebody whose route leads somewhere again. SafetyStop while it does not."""
    found = routes.find(place.people, address)
    if found.route == Route.PARKED.value:
        raise SafetyStop(
            "its route is still parked, so nothing would leave",
            about=found.dn,
            advice=f"mailferry route set {found.mail} exchange (or: local)",
        )
    return asyncio.run(_release(place, found))


async def _release(place: Place, found: routes.Routed) -> parking.Released:
    """At every queue in turn."""
    done = [await _release_at(place, queue_of(one), found) for one in (place.mta, *place.others)]
    return parking.Released(
        tuple(each for one in done for each in one.tried), tuple(each for one in done for each in one.left)
    )


async def _release_at(place: Place, queue: MailQueue, found: routes.Routed) -> parking.Released:
    if not await queue.waiting(found.mail):
        return parking.Released((), ())
    await queue.forget(found.mail)
    place.ledger.audit("release begun", id=found.id, dn=found.dn, route=found.route)
    released = await queue.release(found.mail, anew=found.forwards_copies)
    place.ledger.audit("release done", id=found.id, tried=list(released.tried), left=[one.id for one in released.left])
    return released


def settle(place: Place) -> list[str]:
    """Routes that are no longer fresh become stable; their DNs."""
    return routes.settle(place.people, place.ledger)
