"""Copy mailboxes: the use case behind `mailferry copy`. Shows nothing; the caller observes the fleet."""

from __future__ import annotations

import logging
import os
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mailferry.config.accounts import Pair
from mailferry.copy.fleet import Caps, Fleet, Job
from mailferry.copy.mailbox import copy_mailbox
from mailferry.copy.policy import CopyPolicy
from mailferry.copy.progress import Counts
from mailferry.copy.worker import Task, Worker
from mailferry.errors import UserError
from mailferry.ledger.owner import owner_text
from mailferry.ops.stores import server_of, source_of, target_of

log = logging.getLogger("mailferry.ops")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much at once. `connections`: per server, over all processes. `lanes`: connections per mailbox and side.
    `mailboxes`: at once altogether. `workers`: processes."""

    connections: int = 16
    lanes: int = 2
    mailboxes: int = field(default_factory=lambda: 4 * (os.cpu_count() or 1))
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)


def default_ledger() -> Path:
    """Where the ledger lies if nobody says: `$XDG_STATE_HOME/mailferry/ledger.db`."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state) / "mailferry" / "ledger.db"


def new_log_file(ledger: str) -> Path:
    """A file for the log of a run, beside an SQLite ledger, else in the default place."""
    path = ledger.removeprefix("sqlite:///")
    place = default_ledger().parent if "://" in path else Path(path).resolve().parent
    return place / "logs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"


def copy_fleet(
    pairs: Sequence[Pair],
    ledger: str,
    policy: CopyPolicy,
    limits: Limits,
    argv: Sequence[str],
    observe: Callable[[Fleet], None],
) -> Fleet:
    """The fleet that copies these mailboxes; `run()` it. UserError if a mailbox would be copied onto itself."""

    async def copy_one(worker: Worker, number: int, run_id: int | None) -> Counts:
        pair = pairs[number]
        ledger = worker.engine.ledger
        mailbox = await ledger.write(lambda db: db.mailbox(pair.source.key, pair.target.key))
        lease = await ledger.write(lambda db: db.acquire(mailbox.id, owner_text(), policy.lease_seconds))
        try:
            return await copy_mailbox(
                worker.engine,
                source_of(pair.source, limits.lanes),
                target_of(pair.target, limits.lanes),
                lease,
                run_id=run_id,
                progress=worker.progress(number),
            )
        finally:
            await ledger.write(lambda db: db.release(lease))

    return _fleet(pairs, ledger, policy, limits, argv, observe, copy_one)


def _fleet(
    pairs: Sequence[Pair],
    ledger: str,
    policy: CopyPolicy,
    limits: Limits,
    argv: Sequence[str],
    observe: Callable[[Fleet], None],
    task: Task,
) -> Fleet:
    for pair in pairs:
        if pair.source.key == pair.target.key:
            raise UserError("source and target are the same account", about=pair.source.key)
    jobs = [
        Job(pair.source.key, tuple({server_of(pair.source), server_of(pair.target)} - {""}), limits.lanes)
        for pair in pairs
    ]
    return Fleet(
        jobs=jobs,
        ledger=ledger,
        policy=policy,
        task=task,
        caps=Caps(limits.connections, limits.mailboxes, limits.workers),
        command=shlex.join(argv),
        observe=observe,
    )
