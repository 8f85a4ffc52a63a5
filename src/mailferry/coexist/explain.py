"""Where a message for an address would go, and why, step by step: what Postfix makes of the directory, in words.

Says what stack/postfix/tables.py and stack/qmail/people.py say, in the same order; tests ask Postfix, and a model of
qmail, the same questions. Reads the directory, never the queue. Invariant: every address that a message ends at is in
the answer once, or the answer says that it was cut short.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from mailferry.coexist.routes import People, Routed, find, members
from mailferry.errors import UserError
from mailferry.stack.postfix.settings import Endpoint, Route

MOST = 1000
"""Steps after which the answer is cut short (groups)."""
GROUPS = ("group", "dynamic-group")


class Sides(Protocol):
    """What both flavours' settings (stack/postfix, stack/qmail) say of the organisation."""

    @property
    def domains(self) -> tuple[str, ...]:
        """Those that both sides share."""

    @property
    def open_domain(self) -> str:
        """The open side's routing domain."""

    @property
    def exchange_domain(self) -> str:
        """Exchange's."""

    @property
    def exchange(self) -> Endpoint:
        """What takes mail for Exchange."""

    @property
    def stores(self) -> Mapping[str, Endpoint]:
        """By mailHost."""


@dataclass(frozen=True, slots=True)
class Step:
    """`address`: what was looked at. `where`: the transport at which it ends; "" where it goes on. `why`: a sentence.
    `from_exchange`: what the listener for mail from Exchange answers; "" if it takes it."""

    address: str
    where: str
    why: str
    from_exchange: str = ""


def explain(people: People, settings: Sides, address: str, now: float | None = None) -> list[Step]:
    """The steps of a message for this address. An address of ours that nobody has ends at `550`."""
    steps: list[Step] = []
    seen: set[str] = set()
    waiting = [address]
    while waiting:
        one = waiting.pop(0)
        if one.lower() in seen:
            continue
        if len(steps) >= MOST:
            return [*steps, Step(one, "", f"and so on: {len(waiting) + 1} addresses or more")]
        seen.add(one.lower())
        further = _step(people, settings, one, steps, time.time() if now is None else now)
        waiting.extend(further)
    return steps


def _step(people: People, settings: Sides, address: str, steps: list[Step], now: float) -> list[str]:
    """One address: appends its step, and returns the addresses that it becomes."""
    domain = address.rpartition("@")[2].lower()
    if domain == settings.exchange_domain:
        steps.append(Step(address, "exchange", "Exchange's own routing domain", "550: it would come back"))
        return []
    if domain not in (*settings.domains, settings.open_domain):
        steps.append(Step(address, "outside", f"{domain} is not a domain of the organisation"))
        return []
    exchange = f"exchange ({settings.exchange.host}:{settings.exchange.port})"
    if people.words.ad and address.upper().startswith("IMCEAEX-"):
        why = "an address of old Exchange messages, which Exchange alone can read"
        steps.append(Step(address, exchange, why, "550: nobody's"))
        return []
    try:
        found = find(people, address)
    except UserError:
        steps.append(Step(address, "550", "nobody in the directory has this address", "550: unknown"))
        return []
    if people.words.ad and found.kind == "dynamic-group":
        steps.append(Step(address, exchange, "a dynamic group, which Exchange expands"))
        return []
    if found.kind in GROUPS:
        return _group(people, found, address, steps)
    back = _back(found, now)
    keep = found.keep_copy
    if found.forward_to and (found.route == Route.LOCAL.value or (found.route == Route.PARKED.value and not keep)):
        steps.append(Step(address, "", f"it is forwarded, {'with' if keep else 'without'} a copy in the mailbox", back))
        if keep:
            steps.append(_end(found, settings, back))
        return list(found.forward_to)
    if found.external and not found.route:
        steps.append(Step(address, "", f"a {found.kind} with an address outside"))
        return [found.external]
    if address.lower() != found.mail.lower() and found.route:
        steps.append(Step(address, "", f"another address of {found.mail}", back))
    steps.append(_end(found, settings, back))
    return []


def _group(people: People, group: Routed, address: str, steps: list[Step]) -> list[str]:
    to = list(dict.fromkeys((*(one.mail for one in members(people, group)), *group.outside_members)))
    if not to:
        steps.append(Step(address, "discard", "a group without members: its mail goes to nobody"))
    else:
        steps.append(Step(address, "", f"a group with {len(to)} member{'s' if len(to) > 1 else ''}"))
    return to


def _end(found: Routed, settings: Sides, back: str) -> Step:
    """Where the mail of somebody ends."""
    exchange = f"exchange ({settings.exchange.host}:{settings.exchange.port})"
    if found.route == Route.PARKED.value:
        return Step(found.mail, "parked", "mailferryRoute is parked: it is accepted and waits", back)
    if found.route == Route.EXCHANGE.value:
        return Step(found.mail, exchange, "mailferryRoute is exchange", back)
    if found.route == Route.LOCAL.value and found.store.lower() in settings.stores:
        store = settings.stores[found.store.lower()]
        return Step(
            found.mail, f"store ({store.host}:{store.port})", f"mailferryRoute is local, in {found.store}", back
        )
    if found.route == Route.LOCAL.value:
        why = f"mailferryRoute is local, and mailHost, {found.store or 'empty'}, is no store of the settings: it waits"
        return Step(found.mail, "unrouted", why, back)
    if not found.route and found.kind == "public-folder":
        return Step(found.mail, exchange, "public folders are on Exchange", back)
    return Step(found.mail, "unrouted", f"mailferryRoute is {found.route or 'missing'}: it waits", back)


def _back(found: Routed, now: float) -> str:
    """What mail for somebody meets that comes from Exchange."""
    if found.route != Route.EXCHANGE.value:
        return ""
    if found.fresh_until is None:
        return "550: it would come back"
    left = max(0, round(found.fresh_until - now))
    return f"451: the route has just changed (for {left // 3600} h {left % 3600 // 60} min)"


def lines(steps: list[Step]) -> Iterator[str]:
    """The steps as text."""
    for step in steps:
        yield f"{step.address}: {step.why}" + (f" -> {step.where}" if step.where else "")
        if step.from_exchange:
            yield f"  from Exchange: {step.from_exchange}"
