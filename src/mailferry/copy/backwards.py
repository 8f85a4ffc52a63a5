"""Copies back: what people received, sent and drafted on the open side since a switch goes to Exchange (design §6).

The forward engine with both sides swapped; it appends to Exchange, and removes nothing on either side but twins of its
own that a killed run left. Does not touch routes. Invariant: what forward passes brought, or will bring, and what this
brings are one set of pairs (`opposite.py`), so that each message is on either side once, however often one goes back
and forth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mailferry.copy.lease import leased
from mailferry.copy.mailbox import copy_mailbox
from mailferry.copy.policy import Accept, CopyPolicy
from mailferry.copy.progress import Counts
from mailferry.copy.work import Engine
from mailferry.ledger.rows import Lease
from mailferry.plan.folders import FolderPolicy
from mailferry.plan.messages import Deletions
from mailferry.sources.base import Source
from mailferry.targets.base import Target


async def copy_back(
    engine: Engine,
    exchange: Target,
    store: Source,
    forward: Lease,
    *,
    run_id: int | None = None,
    progress: Callable[[Counts, int, str], None] = lambda counts, expected, waits: None,
) -> Counts:
    """One pass from the open side's `store` to `exchange`: all that is new since the switch, or since the pass before.
    `forward`: the lease of the move's own pair, which the caller holds.

    Raises what `copy_mailbox` raises; SafetyStop too if Exchange shows another mailbox than the one that was copied.
    """
    ledger = engine.ledger
    mailbox = await ledger.call(lambda db: db.mailbox_by_id(forward.mailbox_id))
    back = Engine(ledger, backwards(engine.policy), engine.budget, engine.gate)
    seconds = engine.policy.lease_seconds
    async with leased(ledger, mailbox.target_key, mailbox.source_key, seconds) as lease:
        await ledger.write(lambda db: db.audit("copying back", mailbox_id=forward.mailbox_id, back=lease.mailbox_id))
        counts = await copy_mailbox(back, store, exchange, lease, run_id=run_id, progress=progress, opposite=forward)
        told = {name: number for name, number in counts.as_dict().items() if number}
        await ledger.write(
            lambda db: db.audit("copied back", mailbox_id=forward.mailbox_id, back=lease.mailbox_id, counts=told)
        )
    return counts


def backwards(policy: CopyPolicy) -> CopyPolicy:
    """The same policy for the way back: only new messages and changed flags; folders go where they came from, new ones
    by their own names. An emptied folder is no reason to stop, since nothing follows from it here."""
    return replace(
        policy,
        source_wins=False,
        backwards=True,
        adopt=True,
        deletions=Deletions.KEEP,
        folders=FolderPolicy(),
        people={},
        accept=policy.accept | {Accept.EMPTIED},
    )
