"""Copy and verify mailboxes: the use cases behind `mailferry copy` and `mailferry verify`, as fleets.

Shows nothing; the caller runs the fleet and observes it.
"""

from __future__ import annotations

import logging
import os
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mailferry.config.accounts import Pair
from mailferry.copy.fleet import Caps, Fleet, Job, Run
from mailferry.copy.lease import leased
from mailferry.copy.mailbox import copy_mailbox, opening
from mailferry.copy.policy import Accept, CopyPolicy
from mailferry.copy.progress import Counts
from mailferry.copy.worker import Task, Worker
from mailferry.errors import SafetyStop, UserError
from mailferry.model.account import ITEM_STORES, Account, PstAccount
from mailferry.ops.stores import server_of, source_of, target_of
from mailferry.sources.base import Source
from mailferry.verify.mailbox import Verifying, verify_mailbox
from mailferry.verify.reading import Content
from mailferry.verify.score import Score

log = logging.getLogger("mailferry.ops")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much at once. `connections`: per server, over all processes. `lanes`: connections per mailbox and side.
    `mailboxes`: at once altogether. `workers`: processes."""

    connections: int = 16
    lanes: int = 4
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
    observe: Callable[[Run], None],
) -> Fleet:
    """The fleet that copies these mailboxes; `run()` it. UserError if a mailbox would be copied onto itself."""

    async def copy_one(worker: Worker, number: int, lanes: int) -> Counts:
        pair = pairs[number]
        keys = pair.source_key, pair.target.key
        if isinstance(pair.target, ITEM_STORES):
            async with leased(worker.engine.ledger, *keys, policy.lease_seconds, shared=pair.shared) as lease:
                from mailferry.ops.copying_items import copy_pair  # its libraries take a while to load

                to = (pair.target, *pair.groupware)
                return await copy_pair(worker, number, pair, to, lease, policy, Counts())
        source, target = source_of(pair.source, lanes), target_of(pair.target, lanes)
        await check_owner(pair.source, source, policy)
        held = leased(worker.engine.ledger, *keys, policy.lease_seconds, shared=pair.shared)
        async with opening(source, target) as first, held as lease:
            counts = await copy_mailbox(
                worker.engine,
                source,
                target,
                lease,
                first=first,
                run_id=await worker.run_id,
                progress=worker.progress(number),
            )
            if pair.groupware:
                from mailferry.ops.copying_items import copy_pair

                counts = await copy_pair(worker, number, pair, pair.groupware, lease, policy, counts)
            return counts

    return _fleet(pairs, ledger, policy, limits, argv, observe, copy_one)


async def check_owner(account: Account, source: Source, policy: CopyPolicy) -> None:
    """A file shows no owner, only what its Sent folder holds (law 4). SafetyStop where that is somebody else's."""
    if not isinstance(account, PstAccount) or not account.owner or Accept.IDENTITY in policy.accept:
        return
    from mailferry.waves.evidence import Verdict, gather

    if account.below:  # which hides what the folders are for
        source = source_of(replace(account, below=""), 1)
    found = await gather(source, account.owner)
    known = [one for one in found.others if not one.startswith("imceaex-")]  # the others are nobody that we know
    if found.verdict is Verdict.CONTRADICTED and known:
        raise SafetyStop(
            f"it looks like the mailbox of somebody else than {', '.join(account.owner)}: {found.how}, "
            f"most by {', '.join(known)}",
            about=account.key,
            advice="check the list; if it is right, run again with --accept identity",
        )


def verify_fleet(
    pairs: Sequence[Pair],
    ledger: str,
    limits: Limits,
    argv: Sequence[str],
    observe: Callable[[Run], None],
    content: Content,
    share: float,
) -> Fleet:
    """The fleet that compares these mailboxes with their sources; the scores are in the ledger afterwards."""
    policy = CopyPolicy()

    async def verify_one(worker: Worker, number: int, lanes: int) -> Counts:
        pair, progress = pairs[number], worker.progress(number)
        ledger = worker.engine.ledger

        def tell(state: Verifying) -> None:
            counts = Counts(listed=state.of_messages, there=state.messages, bytes=state.bytes)
            progress(counts, state.of_messages, "")

        held = leased(ledger, pair.source_key, pair.target.key, policy.lease_seconds, shared=pair.shared)
        async with held as lease:
            to = (pair.target, *pair.groupware) if isinstance(pair.target, ITEM_STORES) else pair.groupware
            compared = {Content.FULL: 1.0, Content.SAMPLE: share, Content.NONE: 0.0}[content]
            score, items = Score.PERFECT, Counts()
            if to:
                from mailferry.ops.copying_items import verify_pair

                score, items = await verify_pair(worker, pair, to, lease, policy, compared)
            if isinstance(pair.target, ITEM_STORES):
                worker.say(kind="score", job=number, score=score.word)
                return items
            done = await verify_mailbox(
                ledger,
                source_of(pair.source, lanes),
                target_of(pair.target, lanes),
                lease.mailbox_id,
                content=content,
                share=share,
                progress=tell,
            )
        worker.say(kind="score", job=number, score=max(score, done.score).word)
        counts = done.counts
        items.add(
            Counts(
                folders=len(done.folders),
                listed=counts.listed,
                copied=counts.copied,
                there=counts.there,
                excluded=counts.excluded,
                failed=counts.failed,
            )
        )
        return items

    fleet = _fleet(pairs, ledger, policy, limits, argv, observe, verify_one)
    fleet.done_word = "read"
    return fleet


def _fleet(
    pairs: Sequence[Pair],
    ledger: str,
    policy: CopyPolicy,
    limits: Limits,
    argv: Sequence[str],
    observe: Callable[[Run], None],
    task: Task,
) -> Fleet:
    for pair in pairs:
        if pair.source.key == pair.target.key:
            advice = "check both addresses: the target is where the copy goes"
            raise UserError("source and target are the same account", about=pair.source.key, advice=advice)
    jobs = [
        Job(
            pair.source_key,
            tuple({*map(server_of, (pair.source, pair.target, *pair.groupware))} - {""}),
            limits.lanes,
            pair.target.key if pair.shared else "",
        )
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
