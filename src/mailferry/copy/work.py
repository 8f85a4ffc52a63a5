"""What the stages of one folder's copy share, and how they write to the ledger. Reads and sends no message itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mailferry.copy.policy import CopyPolicy
from mailferry.copy.progress import Counts
from mailferry.errors import RemoteProtocolError, Temporary
from mailferry.ledger.rows import FolderRow, Intent, Kind, Lease
from mailferry.ledger.writer import LedgerThread
from mailferry.model.folder import Folder, Selected
from mailferry.model.message import Failed, LeftOut, Reason
from mailferry.sources.base import SourceSession
from mailferry.targets.base import Stored, TargetSession
from mailferry.targets.lane import Lane
from mailferry.tasks import Budget

if TYPE_CHECKING:
    from mailferry.ledger.store import Ledger


@dataclass(slots=True)
class Engine:
    """What every mailbox of a process shares: the ledger, the byte budget, the gate that a pause closes."""

    ledger: LedgerThread
    policy: CopyPolicy
    budget: Budget
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    in_flight: int = 0
    """Chunks that are sent and not yet confirmed."""

    @classmethod
    def of(cls, ledger: LedgerThread, policy: CopyPolicy) -> Engine:
        engine = cls(ledger, policy, Budget(policy.budget_bytes))
        engine.gate.set()
        return engine


@dataclass(slots=True)
class Suspects:
    """Messages at which a connection broke, with how often. At `LIMIT` one is recorded as failed and left out."""

    LIMIT = 3
    counts: dict[tuple[int, int], int] = field(default_factory=dict)

    def blame(self, folder_id: int, uid: int) -> None:
        self.counts[folder_id, uid] = self.counts.get((folder_id, uid), 0) + 1

    @property
    def number(self) -> int:
        """How many are condemned."""
        return sum(1 for count in self.counts.values() if count >= self.LIMIT)

    def condemned(self, folder_id: int) -> set[int]:
        return {uid for (folder, uid), count in self.counts.items() if folder == folder_id and count >= self.LIMIT}


@dataclass(slots=True)
class MailboxWork:
    """One mailbox in one pass. `careful`: one message at a time, because something here breaks connections."""

    engine: Engine
    lease: Lease
    pass_id: int
    suspects: Suspects
    opposite: Lease | None = None
    """Where the same two mailboxes were copied in the other direction too: the lease of that."""

    careful: bool = False
    expected: int = 0
    arrived: int = 0
    """Messages of which an attempt learned that they are in the target, over all attempts: the measure of progress."""

    counts: dict[int, Counts] = field(default_factory=dict)
    """By folder id; an attempt that follows another replaces them."""

    async def hold(self) -> None:
        """`Fenced` if the lease was taken over: asked before the target is changed without telling the ledger first."""
        await self.engine.ledger.write(lambda db: db.renew(self.lease))

    async def different(self, folder_id: int, uid: int | None, reason: Reason, text: str) -> None:
        """Carried, but with a difference that is to be named in the report. `uid` None: the folder itself."""
        if folder_id in self.counts:
            self.counts[folder_id].different += 1
        await self.engine.ledger.write(lambda db: db.fail(self.lease, folder_id, uid, reason, text, Kind.DIFFERENCE))

    def total(self) -> Counts:
        """The sum over the folders seen in this pass."""
        counts = Counts()
        for one in self.counts.values():
            counts.add(one)
        return counts


@dataclass(slots=True)
class FolderWork:
    """One folder in one pass: the lane with the folder selected on both sides, its ledger row, what happened so far."""

    mailbox: MailboxWork
    row: FolderRow
    source_folder: Folder
    target_folder: Folder
    lane: Lane
    source_selected: Selected
    target_selected: Selected
    counts: Counts
    unnumbered: set[int] = field(default_factory=set)
    """Source uids of what was stored in this pass at a target uid that the target did not tell."""

    @property
    def source(self) -> SourceSession:
        return self.lane.source

    @property
    def target(self) -> TargetSession:
        return self.lane.target

    @property
    def policy(self) -> CopyPolicy:
        return self.mailbox.engine.policy

    @property
    def budget(self) -> Budget:
        return self.mailbox.engine.budget

    @property
    def gate(self) -> asyncio.Event:
        return self.mailbox.engine.gate

    @property
    def careful(self) -> bool:
        return self.mailbox.careful

    @property
    def ledger(self) -> LedgerThread:
        return self.mailbox.engine.ledger

    @property
    def lease(self) -> Lease:
        return self.mailbox.lease

    async def intend(self, rows: Sequence[Intent]) -> None:
        await self.ledger.write_durably(
            lambda db: db.intend(
                self.lease, self.row.id, self.mailbox.pass_id, rows, self.target_selected.status.uidnext
            )
        )

    async def confirm(self, rows: Sequence[Intent], results: Sequence[Stored | Failed]) -> None:
        """Record what the target said of one chunk. A message whose target uid is unknown stays pending: it is settled
        by reading the target when all of the folder is sent."""
        stored: list[tuple[int, int | None]] = []
        refused: list[int] = []
        for row, result in zip(rows, results, strict=True):
            if isinstance(result, Failed):
                await self.fail(Failed(row.source_uid, result.reason, result.text))
                refused.append(row.source_uid)
                continue
            if result.uid is None:
                self.unnumbered.add(row.source_uid)
            else:
                stored.append((row.source_uid, result.uid))
                self.counts.copied += 1
                self.counts.bytes += row.size
            await self.lost_marks(row.source_uid, row.flags, row.keywords)
        await self.ledger.write(lambda db: db.confirm(self.lease, self.row.id, stored))
        self.mailbox.arrived += len(stored)
        await self.unsent(refused)

    async def unsent(self, uids: Sequence[int]) -> None:
        """The target said of these that it did not store what was just sent: no late twin can come of it."""
        if uids:
            await self.ledger.write(lambda db: db.unsent(self.lease, self.row.id, uids))

    async def fail(self, item: Failed) -> None:
        """A row in the ledger's failures (law 2); the message counts as failed until a later pass brings it."""
        self.counts.failed += 1
        await self.ledger.write(
            lambda db: db.fail(self.lease, self.row.id, item.uid, item.reason, item.text, Kind.FAILED)
        )

    async def leave_out(self, items: Sequence[LeftOut]) -> None:
        """What is no message stands in the ledger, each with the rule that keeps it out (law 2)."""

        def write(db: Ledger) -> None:
            for item in items:
                text = f"{item.rule}: {item.text}"
                db.fail(self.lease, self.row.id, item.uid, Reason.ITEM_CLASS, text, Kind.EXCLUDED)

        if items:
            await self.ledger.write(write)

    async def different(self, uid: int, reason: Reason, text: str) -> None:
        """See `MailboxWork.different`."""
        await self.mailbox.different(self.row.id, uid, reason, text)

    async def lost_marks(self, uid: int, flags: int, keywords: Sequence[str]) -> None:
        """Name what the target cannot hold of a message's flags and keywords."""
        selected = self.target_selected
        if keywords and not selected.new_keywords and (lost := set(keywords) - selected.keywords):
            await self.different(uid, Reason.KEYWORDS, "the target cannot hold: " + " ".join(sorted(lost)))
        if flags & ~selected.permanent_flags:
            await self.different(uid, Reason.FLAGS, "the target does not keep all of its flags")

    def blame(self, uid: int, error: Temporary | RemoteProtocolError) -> None:
        """A connection broke while this message was awaited; not its fault where the server asked for a pause."""
        if not isinstance(error, Temporary) or error.retry_after is None:
            self.mailbox.suspects.blame(self.row.id, uid)

    def gone_meanwhile(self, uid: int) -> None:
        """A message vanished between listing and reading: it counts as not listed; the next pass sees it gone."""
        self.counts.listed -= 1
