"""What a wave's mailboxes hold and how long they take: by earlier passes, else the source is asked. Changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mailferry.coexist.parking import FORGOTTEN_SECONDS
from mailferry.directory.moving import Size
from mailferry.directory.sync import Progress
from mailferry.ledger.store import Ledger
from mailferry.model.account import EwsAccount, ImapAccount
from mailferry.model.wave import Move
from mailferry.ops.survey import measured
from mailferry.ops.wave import Site
from mailferry.plan.forecast import Load, Rates, Sample, parked_seconds, rates, seconds_of

RELOAD_SECONDS = 1.0
"""What a reload of an MTA takes, about."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """`loads`: source id → what is in the mailbox. `unknown`: (address, why) of those whose size nobody tells."""

    loads: Mapping[str, Load]
    unknown: tuple[tuple[str, str], ...]


def sizes_of(ledger: Ledger, site: Site, moves: Sequence[Move], measure: bool, progress: Progress) -> Sizes:
    """Of these moves' mailboxes. `measure`: ask for those that no pass has seen; AuthError if all are refused."""
    seen = _seen(ledger)
    by_key = {one.source_key: seen[one.id] for one in ledger.mailboxes() if one.id in seen}
    loads: dict[str, Load] = {}
    wanted: dict[str, ImapAccount | EwsAccount | None] = {}
    for move in moves:
        account = site.source(move)
        if account.key in by_key:
            loads[move.source_id] = by_key[account.key]
        elif isinstance(account, ImapAccount | EwsAccount) and measure:
            wanted[move.source_id] = account
    asked = asyncio.run(measured(wanted, site.coexist.connections, progress)) if wanted else {}
    unknown = []
    for move in moves:
        if move.source_id not in loads:
            size = asked.get(move.source_id, Size(failure="not asked"))
            loads[move.source_id] = Load(size.messages, size.bytes)
            if size.failure:
                unknown.append((move.mail, size.failure))
    return Sizes(loads, tuple(unknown))


def _seen(ledger: Ledger) -> dict[int, Load]:
    """Mailbox → what its passes have listed and brought."""
    found: dict[int, Load] = {}
    for one in ledger.passes():
        if one.ended is not None:
            before = found.get(one.mailbox_id, Load(0, 0))
            listed = one.counts.get("listed", 0)
            found[one.mailbox_id] = Load(max(before.messages or 0, listed), (before.bytes or 0) + one.bytes)
    return found


def rates_of(ledger: Ledger, server: str) -> Rates:
    """From the passes over mailboxes of this server (HOST:PORT); of all where there are none."""
    keys = {one.id: one.source_key for one in ledger.mailboxes()}
    samples = [
        (keys[one.mailbox_id], Sample(one.run_id, one.started, one.ended, one.counts.get("copied", 0), one.bytes))
        for one in ledger.passes()
        if one.ended is not None
    ]
    here = rates([sample for key, sample in samples if key.rpartition("@")[2] == server])
    return here if here.passes else rates([sample for _, sample in samples])


def parked_of(site: Site, rate: Rates, moves: Iterable[Move]) -> float:
    """How long one person's mail waits, by what it did for others."""
    history = [one.released - one.parked for one in moves if one.released and one.parked]
    forget = max((RELOAD_SECONDS if one.reload else FORGOTTEN_SECONDS for one in site.mtas), default=0.0)
    return parked_seconds(rate, [one for one in history if one > 0], forget, site.probe is not None)


def forecast(load: Load, rate: Rates, parked: float) -> dict[str, float | int | bool | None]:
    """As `Move.forecast` holds it."""
    return {
        "messages": load.messages,
        "bytes": load.bytes,
        "seconds": round(seconds_of(load, rate), 1),
        "parked": round(parked, 1),
        "measured": rate.passes > 0,
    }
