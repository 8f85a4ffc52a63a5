"""Writes targetAddress in Active Directory, so that mail between Exchange users comes to the open side, and takes it
back: the first of the two exceptions of law 1, which is off until `coexist.write_target_address` switches it on.

Writes that one attribute and no other. Invariants: what was there before stands in the ledger before it is changed, and
comes back exactly; a change is made only if the value is still what was read (compare and set, RFC 4511 §4.6); a value
that somebody else has put there since is left alone. Each call may be repeated at any time, from any thread; it opens
its own connections and blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mailferry.coexist.exchange_side import OnExchange, by_address, by_id
from mailferry.directory.addresses import fault
from mailferry.errors import ConfigError, Temporary, UserError
from mailferry.ledger import audit
from mailferry.ledger.rows import Event
from mailferry.ledger.store import Ledger
from mailferry.net import ldap
from mailferry.net.ldap_errors import Refused, Result

PARK_INTENDED, PARK = "target address park intended", "target address parked"
RESTORE_INTENDED, RESTORE = "target address restore intended", "target address restored"
"""What the audit calls a change before and after; data: id, dn, controller, before, after."""

SCRIPTED = "target address script written"
"""What it calls a person in a script for Exchange's administrator, who may or may not run it; the same data."""

RETRY_SECONDS = 1.0
_STALE = (Result.NO_SUCH_ATTRIBUTE, Result.VALUE_EXISTS, Result.CONSTRAINT)

Do = Callable[[Callable[[Ledger], Any]], Any]
"""Does something with the ledger, from whatever thread, and returns its result when that is durable."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a call did, or would do. `before`, `after`: values of targetAddress, "" for none. `made`: whether this call
    changed it. `note`: why it was left alone, if it was. `lagging`: controllers that do not show `after` yet, and what
    they show."""

    dn: str
    before: str
    after: str
    made: bool
    note: str = ""
    lagging: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TargetAddresses:
    """The port. `servers`: the controller that is written to, then all others that Exchange asks. `do`: the ledger."""

    servers: Sequence[ldap.Server]
    do: Do

    def park(self, source_id: str, address: str, *, dry_run: bool = False) -> Written:
        """Divert mail for the recipient with this id to `address` (`UID@` the open routing domain). When this returns,
        every controller shows it.

        Temporary, to be called again: it is written and some do not show it yet; or they disagree about what was there
        before, or somebody else is changing it. UserError: there is no such recipient. What connecting and writing
        raises.
        """
        if wrong := fault(address) or (None if address.isascii() else "letters beyond ASCII"):
            raise ConfigError(f"it cannot be an external address: {wrong}", about=address)
        wanted = f"SMTP:{address}"
        with ldap.Connection(self.servers[0]) as connection:
            now = by_id(connection, source_id)
            if dry_run or _same(now.target, wanted):
                made = False
                if not dry_run and self._parked(source_id) is None:
                    self._tell(connection, now, PARK_INTENDED, now.target, wanted)
            else:
                if unlike := self._unlike(source_id, now.target, self.servers[1:]):
                    raise Temporary(
                        f"domain controllers do not agree on its targetAddress: {now.target or 'none'} at "
                        f"{self.servers[0].url}, but {'; '.join(unlike)}",
                        about=now.dn,
                        advice="wait for their replication, then run again",
                        retry_after=RETRY_SECONDS,
                    )
                before = self.do(lambda ledger: former(ledger, source_id, now.target))
                self._change(connection, now, wanted, before, PARK_INTENDED, PARK)
                made = True
        written = Written(now.dn, now.target, wanted, made)
        if dry_run:
            return written
        if lagging := self._unlike(source_id, wanted, self.servers[1:]):
            raise Temporary(
                f"domain controllers do not show its targetAddress {wanted} yet: {'; '.join(lagging)}",
                about=now.dn,
                advice="wait for their replication; take one that is gone out of coexist.exchange.controllers",
                retry_after=RETRY_SECONDS,
            )
        return written

    def restore(self, source_id: str, *, dry_run: bool = False) -> Written:
        """Give back exactly what was there before `park`. Waits for no other controller, since nothing is lost
        meanwhile: mail that Exchange still diverts meets 451 and is sent again. Temporary and others as for `park`.
        """
        with ldap.Connection(self.servers[0]) as connection:
            now = by_id(connection, source_id)
            parked = self._parked(source_id)
            if parked is None:
                return Written(now.dn, now.target, now.target, False)
            ours, before = parked.data["after"], parked.data["before"]
            if _same(ours, before) and _same(now.target, ours):
                note = "its targetAddress led to the open side before it was parked; what was there before is not known"
                return Written(now.dn, now.target, now.target, False, note)
            made = False
            if not _same(now.target, before):
                if not _same(now.target, ours):
                    note = f"somebody else has set its targetAddress to {now.target or 'nothing'} since; left alone"
                    return Written(now.dn, now.target, now.target, False, note)
                if not dry_run:
                    self._change(connection, now, before, now.target, RESTORE_INTENDED, RESTORE)
                    made = True
        lagging = () if dry_run else tuple(self._unlike(source_id, before, self.servers[1:]))
        return Written(now.dn, now.target, before, made, lagging=lagging)

    def show(self, source_id: str) -> tuple[OnExchange, tuple[str, ...]]:
        """The recipient as the first controller has it, and what others say differently."""
        with ldap.Connection(self.servers[0]) as connection:
            now = by_id(connection, source_id)
        return now, tuple(self._unlike(source_id, now.target, self.servers[1:]))

    def find(self, address: str) -> tuple[OnExchange | None, tuple[str, ...]]:
        """The same of whoever has this address in Active Directory, if anybody has."""
        with ldap.Connection(self.servers[0]) as connection:
            now = by_address(connection, address)
        return now, tuple(self._unlike(now.id, now.target, self.servers[1:])) if now is not None else ()

    def _change(
        self, connection: ldap.Connection, now: OnExchange, after: str, before: str, intended: str, done: str
    ) -> None:
        """One modification that fails if the value is no longer `now.target`, with its lines in the audit. `before`:
        what the audit is to remember."""
        self._tell(connection, now, intended, before, after)
        steps = [
            *([ldap.Change("delete", "targetAddress", (now.target.encode(),))] if now.target else []),
            *([ldap.Change("add", "targetAddress", (after.encode(),))] if after else []),
        ]
        try:
            connection.modify(now.dn, steps)
        except Refused as error:
            if error.result not in _STALE:
                raise
            raise Temporary("somebody else has just changed its targetAddress", about=now.dn) from error
        self._tell(connection, now, done, before, after)

    def _tell(self, connection: ldap.Connection, now: OnExchange, what: str, before: str, after: str) -> None:
        data: dict[str, Any] = {"id": now.id, "dn": now.dn, "before": before, "after": after}
        self.do(lambda ledger: ledger.audit(what, controller=connection.server.url, **data))

    def _parked(self, source_id: str) -> Event | None:
        found: Event | None = self.do(lambda ledger: audit.latest(ledger, PARK_INTENDED, source_id))
        return found

    def _unlike(self, source_id: str, value: str, servers: Iterable[ldap.Server]) -> list[str]:
        """Which controllers show something else, and what."""
        found = []
        for server in servers:
            try:
                with ldap.Connection(server) as connection:
                    there = by_id(connection, source_id).target
            except Temporary as error:
                found.append(f"{server.url} is not reached ({error.message})")
                continue
            except UserError:
                found.append(f"{server.url} does not know it")
                continue
            if not _same(there, value):
                found.append(f"{server.url} shows {there or 'none'}")
        return found


def former(ledger: Ledger, source_id: str, target: str) -> str:
    """What to give back in the end: the value that is there, or what was there before it if it is ours."""
    if not target:
        return ""
    lines = filter(None, (audit.latest(ledger, what, source_id) for what in (PARK_INTENDED, SCRIPTED)))
    ours = [one for one in lines if _same(one.data["after"], target)]
    return str(max(ours, key=lambda one: one.id).data["before"]) if ours else target


def _same(one: str, other: str) -> bool:
    """As Active Directory compares them."""
    return one.casefold() == other.casefold()
