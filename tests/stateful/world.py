"""A source and a target in memory with a ledger on disk, and passes between them that may die anywhere.

A death (`Killed`) is simulated: from that moment on neither the target nor the ledger takes anything more from the
dead engine, whatever its `finally` blocks try. What `tests/e2e` does with real processes, this does a hundred times
a second.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any, Concatenate, ParamSpec, TypeVar

from mailferry.copy.mailbox import copy_mailbox
from mailferry.copy.policy import CopyPolicy
from mailferry.copy.progress import Counts
from mailferry.copy.work import Engine
from mailferry.errors import Temporary
from mailferry.ledger import open_ledger
from mailferry.ledger.owner import owner_text
from mailferry.ledger.rows import Failure, FolderRow, Lease, MessageRow
from mailferry.ledger.store import Ledger
from mailferry.ledger.writer import LedgerThread
from mailferry.model.folder import Path
from mailferry.model.message import Date, MemoryBody, digest
from mailferry.model.state import HELD, State
from mailferry.net.memory import Kept, MemoryOptions, MemoryStore
from mailferry.sources.base import Source
from mailferry.sources.memory import MemorySource
from mailferry.targets.base import Target
from mailferry.targets.failing import Ending, FailingTarget, Fault, Killed, Operation, Script
from mailferry.targets.memory import MemoryTarget

P = ParamSpec("P")
T = TypeVar("T")

FAST = CopyPolicy(same_names=True, late_commit_wait=0.0, backoff=0.001, backoff_most=0.002, chunk_messages=3)
INBOX: Path = ("INBOX",)


@dataclass(slots=True)
class Life:
    """Of one engine."""

    over: bool = False


@dataclass(slots=True)
class MortalScript(Script):
    """A script that lets nothing pass once its engine is dead."""

    life: Life = field(default_factory=Life)

    def take(self, operation: Operation) -> Fault | None:
        if self.life.over:
            return Fault(operation, Ending.KILLED, 0)
        fault = Script.take(self, operation)
        if fault is not None and fault.ending is Ending.KILLED:
            self.life.over = True
        return fault


class MortalLedger(LedgerThread):
    """A ledger whose engine dies at its `dies_at`-th write, before it or `after` its commit."""

    def __init__(self, place: FilePath, life: Life, dies_at: int | None = None, after: bool = False) -> None:
        super().__init__(place)
        self.life = life
        self.dies_at = dies_at
        self.after = after
        self.writes = 0

    async def call(self, fn: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._live()
        return await super().call(fn, *args, **kwargs)

    async def write(self, fn: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._live()
        self.writes += 1
        dies = self.writes == self.dies_at
        if dies:
            self.life.over = True
            if not self.after:
                raise Killed(f"before ledger write {self.writes}")
        result = await super().write(fn, *args, **kwargs)
        if dies:
            raise Killed(f"after ledger write {self.writes}")
        self._live()
        return result

    def _live(self) -> None:
        if self.life.over:
            raise Killed("dead already")


def a_dead_owner() -> str:
    """An owner text whose lease anyone may take over: a process that ran here and has ended."""
    host, pid, start = owner_text().rsplit(":", 2)
    return f"{host}:{pid}:1-{start.partition('-')[2]}"


class World:
    """Two stores and the ledger between them. Each pass is an engine of its own, as a process would be."""

    def __init__(
        self,
        place: FilePath,
        *,
        source: MemoryOptions | None = None,
        target: MemoryOptions | None = None,
        policy: CopyPolicy = FAST,
    ) -> None:
        self.a = MemoryStore("a", source)
        self.b = MemoryStore("b", target)
        self.b.folder(INBOX).uidvalidity = 7  # two servers number their folders differently
        self.b._next_uidvalidity = 5000
        self.place = place
        self.policy = policy
        self.engine: Engine | None = None
        self.source: Source = MemorySource(self.a)
        self.target: Target = MemoryTarget(self.b)
        self.failing = FailingTarget(self.target)
        self.started: Callable[[Engine], None] = lambda engine: None

    # Passes

    def run(
        self,
        *faults: Fault,
        refuse: dict[int, Any] | None = None,
        dies_at: int | None = None,
        after: bool = False,
        balanced: bool = True,
        **policy: Any,
    ) -> Counts:
        """One pass; its counts, which must balance (law 2). Raises what the engine raises, also `Killed`."""
        return asyncio.run(
            self.a_run(*faults, refuse=refuse, dies_at=dies_at, after=after, balanced=balanced, **policy)
        )

    async def a_run(
        self,
        *faults: Fault,
        refuse: dict[int, Any] | None = None,
        dies_at: int | None = None,
        after: bool = False,
        balanced: bool = True,
        **policy: Any,
    ) -> Counts:
        life = Life()
        self.failing.script = MortalScript(list(faults), refuse or {}, life=life)
        self.failing.inner = self.target
        async with MortalLedger(self.place, life, dies_at, after) as ledger:
            engine = Engine.of(ledger, replace(self.policy, **policy))
            self.engine = engine
            try:
                lease = await self.lease(ledger)
                self.started(engine)
                counts = await copy_mailbox(engine, self.source, self.failing, lease)
                if balanced:
                    assert counts.balanced, counts
            finally:
                assert (engine.budget.held, engine.in_flight) == (0, 0), "something of the byte budget leaked"
            return counts

    async def lease(self, ledger: LedgerThread) -> Lease:
        mailbox = await ledger.write(lambda db: db.mailbox(self.source.key, self.target.key))
        return await ledger.write(lambda db: db.acquire(mailbox.id, a_dead_owner(), 60))

    def settle_late(self) -> None:
        """Whatever bytes of dead senders are on their way arrive now."""
        asyncio.run(self.failing.settle())

    def late(self) -> bool:
        return bool(self.failing._late)

    # What the ledger says

    def ask(self, fn: Callable[[Ledger, int], T]) -> T:
        """`fn(ledger, mailbox id)`."""
        ledger = open_ledger(self.place)
        try:
            return fn(ledger, ledger.mailbox(self.source.key, self.target.key).id)
        finally:
            ledger.close()

    def folders(self) -> dict[Path, FolderRow]:
        return self.ask(lambda db, mailbox: {row.source_path: row for row in db.folders(mailbox)})

    def known(self) -> dict[Path, dict[int, MessageRow]]:
        """All that the ledger knows of messages, by folder and source uid."""

        def read(db: Ledger, mailbox: int) -> dict[Path, dict[int, MessageRow]]:
            return {
                folder.source_path: {row.source_uid: row for row in db.messages(folder.id)}
                for folder in db.folders(mailbox)
            }

        return self.ask(read)

    def rows(self, path: Path = INBOX) -> dict[int, MessageRow]:
        folder = self.folders()[path]
        return self.ask(lambda db, mailbox: {row.source_uid: row for row in db.messages(folder.id)})

    def states(self, path: Path = INBOX) -> dict[int, State]:
        return {uid: State(row.state) for uid, row in self.rows(path).items()}

    def failures(self, *, resolved: bool = False) -> list[Failure]:
        return self.ask(lambda db, mailbox: db.failures(mailbox, resolved=resolved))


def text(name: object, *, message_id: bool = True, more: str = "") -> bytes:
    """A message that its name tells from all others."""
    identity = f"Message-ID: <{name}@test>\r\n" if message_id else ""
    return f"{identity}Date: Mon, 2 Jan 2023 10:00:00 +0000\r\nSubject: {name}\r\n\r\nbody of {name}\r\n{more}".encode()


def fill(store: MemoryStore, path: Path, names: Sequence[object], **marks: Any) -> list[int]:
    """Messages of these names; returns their uids."""
    store.add_folder(path)
    return [
        store.add(path, text(name), date=Date(1_600_000_000 + number, 60), **marks) for number, name in enumerate(names)
    ]


def held(store: MemoryStore, path: Path = INBOX) -> Counter[tuple[bytes, int, tuple[str, ...], Date]]:
    """Everything that counts of the messages of a folder."""
    return Counter((m.data, m.flags, m.keywords, m.internal_date) for m in kept(store, path))


def bodies(store: MemoryStore, path: Path = INBOX) -> Counter[bytes]:
    return Counter(message.data for message in kept(store, path))


def kept(store: MemoryStore, path: Path = INBOX) -> list[Kept]:
    if path not in store.paths():
        return []
    return list(store.folder(path).messages.values())


def same(a: MemoryStore, b: MemoryStore) -> None:
    """Both stores hold the same messages with the same marks in the same folders."""
    assert set(a.paths()) <= set(b.paths())
    for path in b.paths():
        assert held(b, path) == held(a, path), path


def sha(data: bytes) -> bytes:
    return digest(MemoryBody(data))


__all__ = [
    "FAST",
    "HELD",
    "INBOX",
    "Ending",
    "Fault",
    "Killed",
    "Operation",
    "Temporary",
    "World",
    "bodies",
    "fill",
    "held",
    "kept",
    "same",
    "sha",
    "text",
]
