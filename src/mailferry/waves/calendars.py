"""A mailbox's events, contacts, tasks and notes go with it: brought and verified before the switch, swept after it.

Copies and compares by `copy/items` and `verify/items`. Invariants: before the switch Exchange's side wins, after it
nothing that somebody did on the open side is touched; a rollback writes what they did there to files, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mailferry.copy.items import copy_items
from mailferry.copy.items_back import bring_back
from mailferry.errors import AuthError, Permanent, RemoteProtocolError, SafetyStop, Temporary
from mailferry.ledger.rows import Lease
from mailferry.ledger.store import Ledger
from mailferry.ledger.writer import LedgerThread
from mailferry.model.groupware import Party
from mailferry.model.wave import Move
from mailferry.plan.items import ItemPolicy
from mailferry.sources.items import ItemSource
from mailferry.targets.items import ItemTarget
from mailferry.verify.items import WEIGHT, CollectionVerified, verify_items
from mailferry.verify.score import Score
from mailferry.waves.companion import Companion

_PUT_OFF = (Temporary, RemoteProtocolError, Permanent, AuthError, SafetyStop)


class Calendars(Companion):
    """`source`, `targets`: of somebody's items. `policy`: before the switch. `share`: how much is compared by content.
    `returned`: where a rollback writes to, a directory for each person."""

    name = "calendars"

    def __init__(
        self,
        ledger: LedgerThread,
        source: Callable[[Move], ItemSource],
        targets: Callable[[Move], Sequence[ItemTarget]],
        policy: ItemPolicy,
        share: float,
        returned: Path,
    ) -> None:
        self._ledger, self._source, self._targets = ledger, source, targets
        self._policy, self._share, self._returned = policy, share, returned

    async def seed(self, move: Move, lease: Lease) -> None:
        await self._copy(move, lease, self._policy)

    async def catch_up(self, move: Move, lease: Lease) -> None:
        await self._copy(move, lease, self._policy)

    async def verify(self, move: Move, lease: Lease) -> Score:
        done = await verify_items(
            self._ledger,
            self._source(move),
            self._targets(move),
            lease,
            self._policy,
            owner=_owner(move),
            share=self._share,
        )
        await self._ledger.write(_put, lease, done)
        return max((one.score for one in done), default=Score.PERFECT)

    async def complete(self, move: Move, lease: Lease) -> str:
        """What came into the old calendar late comes over, where nobody touched it here."""
        try:
            await self._copy(move, lease, replace(self._policy, source_wins=False), patience=1)
        except _PUT_OFF as error:
            return f"calendars: {error.message}"
        return ""

    async def bring_back(self, move: Move, lease: Lease) -> None:
        folder = self._returned / _directory(move)
        done = await bring_back(self._ledger, self._targets(move), lease, folder)
        if not done:
            return
        written, removed = sum(one.written for one in done), sum(one.removed for one in done)

        def tell(db: Ledger) -> None:
            told = {"written": written, "removed": removed}
            db.audit("items returned", mailbox_id=lease.mailbox_id, mail=move.mail, folder=str(folder), counts=told)

        await self._ledger.write(tell)

    async def _copy(self, move: Move, lease: Lease, policy: ItemPolicy, patience: int = 3) -> None:
        await copy_items(
            self._ledger,
            self._source(move),
            self._targets(move),
            lease,
            policy,
            owner=_owner(move),
            patience=patience,
        )


def _put(db: Ledger, lease: Lease, done: Sequence[CollectionVerified]) -> None:
    """What people are shown, and approve, of each collection."""
    for one in done:
        told = [
            {"kind": kind, "score": WEIGHT[kind].word, "text": f"{number} of {one.listed} {one.kind}s"}
            for kind, number in one.findings.items()
            if number
        ]
        result = {"companion": Calendars.name, "source": list(one.path), "findings": told}
        db.put_verification(lease.mailbox_id, one.score.word, result)


def _owner(move: Move) -> Party:
    return Party("", move.mail)


def _directory(move: Move) -> str:
    """A directory's name for somebody: an address holds no `/`, but who knows."""
    return move.mail.replace("/", "_").lstrip(".") or str(move.id)
