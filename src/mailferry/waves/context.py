"""What the steps of a move need: the ledger, the directory, the queues, both stores. Decides nothing.

One `Context` for each process; its directory connection and its looks at the queues are shared by all moves at work.
Invariant: a call that was begun in a thread has ended when its caller goes on, also when that was cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from mailferry.coexist.probe import Probe
from mailferry.coexist.queues import MailQueue
from mailferry.coexist.routes import FRESH_SECONDS, Audit, People
from mailferry.coexist.target_address import TargetAddresses
from mailferry.config.coexist import Coexist
from mailferry.copy.mailbox import Progress
from mailferry.copy.work import Engine
from mailferry.ledger import waves as ledger_waves
from mailferry.ledger.owner import person
from mailferry.ledger.rows import Lease
from mailferry.ledger.store import Ledger
from mailferry.ledger.writer import LedgerThread
from mailferry.model.wave import Move, MoveState, Wave
from mailferry.net import ldap
from mailferry.sources.base import Source
from mailferry.targets.base import Target
from mailferry.tasks import finished
from mailferry.waves.companion import Companion

T = TypeVar("T")


class LedgerDoor:
    """The ledger of this process for code that runs in other threads: it waits until the ledger's own has written."""

    def __init__(self, ledger: LedgerThread) -> None:
        self._ledger, self._loop = ledger, asyncio.get_running_loop()

    def __call__(self, work: Callable[[Ledger], T]) -> T:
        return asyncio.run_coroutine_threadsafe(self._ledger.write_durably(work), self._loop).result()

    def audit(self, what: str, **data: Any) -> None:
        asyncio.run_coroutine_threadsafe(self._ledger.write(lambda db: db.audit(what, **data)), self._loop).result()


class Directory:
    """The open directory: one connection, kept open, in a thread of its own."""

    def __init__(self, server: ldap.Server, people: Callable[[ldap.Connection], People], audit: Audit) -> None:
        self._held, self._people, self._audit = ldap.Held(server), people, audit
        self._thread = ThreadPoolExecutor(1, "directory")

    async def call(self, fn: Callable[[People, Audit], T]) -> T:
        """`fn(people, audit)` in that thread; raises what it raises."""
        return await finished(asyncio.get_running_loop().run_in_executor(self._thread, self._call, fn))

    def _call(self, fn: Callable[[People, Audit], T]) -> T:
        with self._held.use() as connection:
            return fn(self._people(connection), self._audit)


@dataclass(slots=True)
class Context:
    """`engine`: copies before and after the park; its gate is closed while the run is paused. `queues`: the MTAs.
    `source`, `target`: Exchange and the store on the way forth; `store_mailbox`, `exchange_mailbox`: on the way back.
    `companions`: what goes with the messages. `probe`: None where none is wanted. `exchange`: what sets targetAddress,
    None where Mailferry does not. `progress`, `run_id`: of the job at work. `say`: told what a move is doing, for
    people."""

    engine: Engine
    directory: Directory
    queues: Sequence[MailQueue]
    settings: Coexist
    source: Callable[[Move], Source]
    target: Callable[[Move], Target]
    exchange_mailbox: Callable[[Move], Target]
    store_mailbox: Callable[[Move], Source]
    open_domain: str = ""
    probe: Probe | None = None
    exchange: TargetAddresses | None = None
    companions: Sequence[Companion] = ()
    fresh_seconds: float = FRESH_SECONDS
    started_by: str = field(default_factory=person)
    run_id: int | None = None
    progress: Progress = lambda counts, expected, waits: None
    say: Callable[[Move, str], None] = lambda move, text: None

    @property
    def ledger(self) -> LedgerThread:
        return self.engine.ledger

    def parked_engine(self) -> Engine:
        """For the copy of somebody who is parked: no pause holds it up, and it tries until it is stopped."""
        policy = replace(self.engine.policy, patience=1_000_000, backoff_most=5.0)
        engine = Engine(self.ledger, policy, self.engine.budget)
        engine.gate.set()
        return engine

    async def wave(self, move: Move) -> Wave:
        """The wave that it belongs to, as it is now."""
        return await self.ledger.call(lambda db: ledger_waves.wave_of(db, move))

    async def read(self, move: Move) -> Move:
        """The move as the ledger has it."""
        return await self.ledger.call(lambda db: ledger_waves.move_of(db, move.id))

    async def intend(self, move: Move, lease: Lease, state: MoveState) -> None:
        """A line in the audit before something is done; Fenced if the mailbox was taken over."""

        await self.ledger.write(lambda db: ledger_waves.intend(db, move, state, lease))

    async def enter(self, move: Move, lease: Lease, state: MoveState, *, durable: bool = False, **values: Any) -> Move:
        """It goes on to `state`. `durable`: no power cut makes the ledger forget it."""
        write = self.ledger.write_durably if durable else self.ledger.write
        return await write(lambda db: ledger_waves.enter(db, move, state, lease, **values))

    async def note(self, move: Move, lease: Lease, **values: Any) -> Move:
        """Columns change, the state does not."""
        return await self.ledger.write(lambda db: ledger_waves.note(db, move, lease, **values))
