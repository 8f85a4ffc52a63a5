"""The right to work on a mailbox, held for as long as the work takes. Does not do the work.

Invariant: when the lease was taken over, the work is cancelled at once and ends with `Fenced`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mailferry.errors import Fenced, Temporary
from mailferry.ledger.owner import owner_text
from mailferry.ledger.rows import Lease
from mailferry.ledger.writer import LedgerThread

log = logging.getLogger("mailferry.copy")


@asynccontextmanager
async def leased(
    ledger: LedgerThread, source_key: str, target_key: str, seconds: float, *, shared: bool = False
) -> AsyncIterator[Lease]:
    """Bind the pair, acquire its lease and renew it until the block ends. `shared`: either side may have another
    partner, too. Raises Busy, SafetyStop, Fenced."""
    mailbox = await ledger.write(lambda db: db.mailbox(source_key, target_key, allow_shared=shared))
    lease = await ledger.write(lambda db: db.acquire(mailbox.id, owner_text(), seconds))
    lost: list[Fenced] = []
    renewing = asyncio.ensure_future(_renew(ledger, lease, asyncio.current_task(), lost))
    try:
        yield lease
    except asyncio.CancelledError:
        if lost:
            raise lost[0] from None
        raise
    finally:
        renewing.cancel()
        with contextlib.suppress(Fenced):
            await ledger.write(lambda db: db.release(lease))


async def _renew(ledger: LedgerThread, lease: Lease, work: asyncio.Task[object] | None, lost: list[Fenced]) -> None:
    while True:
        await asyncio.sleep(lease.ttl / 3)
        try:
            await ledger.write(lambda db: db.renew(lease))
        except Fenced as error:
            lost.append(error)
            if work is not None:
                work.cancel()
            return
        except Temporary as error:
            log.warning("lease not renewed: %s", error.message)
