"""One mailbox: connect, plan, bring every folder, resolve what vanished, and try again where that may help.

The only place with retries, but for what is no message (`items`). An attempt is always the same: it settles what the
ledger holds as pending and goes on, so a lost connection, a throttled server and a killed process are one case. Knows
nothing of other mailboxes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from mailferry.copy.elsewhere import recognise_moved
from mailferry.copy.folder import FolderDone, copy_folder, row_label
from mailferry.copy.identity import check_identity
from mailferry.copy.opposite import learn, opposite_lease
from mailferry.copy.prepare import FolderTask, Ready, prepare
from mailferry.copy.progress import Counts
from mailferry.copy.uidls import carry_uidls
from mailferry.copy.vanished import missing_folders, record_cursor, remove_late_twins, resolve_vanished
from mailferry.copy.work import Engine, MailboxWork, Suspects
from mailferry.errors import Fenced, ItemError, MailferryError, RemoteProtocolError, SafetyStop, Temporary
from mailferry.ledger.rows import FolderRow, Kind, Lease
from mailferry.model.folder import INBOX, Folder, Path
from mailferry.model.message import Reason
from mailferry.plan.folders import FolderPlan, map_folders
from mailferry.sources.base import Source
from mailferry.targets.base import Target
from mailferry.targets.lane import Lane, Opened, open_lane, open_mailbox
from mailferry.tasks import together

log = logging.getLogger("mailferry.copy")

MESSAGES_WORTH_A_LANE = 100
FOLDERS_WORTH_A_LANE = 5
"""How much work makes one more connection to both sides worth its log-in."""

Progress = Callable[[Counts, int, str], None]
"""Told the counts so far, how many messages the source's counters promise, and what is waited for ("": nothing)."""


@contextlib.asynccontextmanager
async def opening(source: Source, target: Target) -> AsyncIterator[asyncio.Task[Opened]]:
    """Both sides being connected and listed while something else is prepared; closed at the end of the block."""
    task = asyncio.ensure_future(open_mailbox(source, target))
    try:
        yield task
    finally:
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(result, Opened):
            await result.stack.aclose()


async def copy_mailbox(
    engine: Engine,
    source: Source,
    target: Target,
    lease: Lease,
    *,
    first: asyncio.Task[Opened] | None = None,
    run_id: int | None = None,
    progress: Progress = lambda counts, expected, waits: None,
    opposite: Lease | None = None,
) -> Counts:
    """Bring the target in step with the source, whatever was done before. Returns the counts of this pass.

    `first`: the connections of the first attempt, where they are being made already (`opening`). `opposite`: the lease
    of the other direction between the same two, where the caller holds it. Busy: somebody copies in that direction.
    Raises the error that ended it after every sensible attempt; all that was done until then is recorded.
    """
    if opposite is None:
        async with opposite_lease(engine.ledger, lease, engine.policy.lease_seconds) as found:
            return await _pass(engine, source, target, lease, found, first, run_id, progress)
    return await _pass(engine, source, target, lease, opposite, first, run_id, progress)


async def _pass(
    engine: Engine,
    source: Source,
    target: Target,
    lease: Lease,
    opposite: Lease | None,
    first: asyncio.Task[Opened] | None,
    run_id: int | None,
    progress: Progress,
) -> Counts:
    ledger = engine.ledger
    pass_id = await ledger.write(lambda db: db.begin_pass(lease, "copy", run_id))
    work = MailboxWork(engine, lease, pass_id, Suspects(), opposite)
    outcome = "stopped"
    try:
        await _attempts(work, source, target, first, progress)
        outcome = "done"
    except MailferryError as error:
        outcome = f"{type(error).__name__}: {error.message}"
        raise
    finally:
        counts = work.total()
        progress(counts, work.expected, "")
        with contextlib.suppress(Fenced):
            await ledger.write(lambda db: db.end_pass(lease, pass_id, outcome, counts.as_dict(), counts.bytes))
    return counts


async def _attempts(
    work: MailboxWork, source: Source, target: Target, first: asyncio.Task[Opened] | None, progress: Progress
) -> None:
    policy = work.engine.policy
    fruitless = most = 0
    while True:
        watching = asyncio.ensure_future(_report_often(work, progress))
        connected = False
        try:
            opened, first = await (first or open_mailbox(source, target)), None
            connected = True
            async with opened.stack:
                await _attempt(work, source, target, opened)
            return
        except (Temporary, RemoteProtocolError) as error:
            if not connected and isinstance(error, RemoteProtocolError):
                raise  # not a server of this kind; once connected, one message may make a good server say nonsense
            first = None
            reached = work.arrived + work.suspects.number
            fruitless = 0 if reached > most else fruitless + 1
            most = max(most, reached)
            if fruitless >= policy.patience:
                raise
            work.careful = fruitless >= 2
            pause = error.retry_after if isinstance(error, Temporary) else None
            if pause is None:
                pause = min(policy.backoff * 2 ** max(0, fruitless - 1), policy.backoff_most)
            waits = f"{error.message}; next attempt in {pause:.0f} s"
            log.warning("%s: %s", source.key, waits)
            watching.cancel()
            progress(work.total(), work.expected, waits)
            await asyncio.sleep(pause)
        finally:
            watching.cancel()


async def _report_often(work: MailboxWork, progress: Progress) -> None:
    while True:
        await asyncio.sleep(0.2)
        progress(work.total(), work.expected, "")


async def _attempt(work: MailboxWork, source: Source, target: Target, opened: Opened) -> None:
    ledger, lane = work.engine.ledger, opened.lane
    if work.opposite is not None:
        await learn(work, opened, work.opposite)
    rows = {row.source_path: row for row in await ledger.call(lambda db: db.folders(work.lease.mailbox_id))}
    plan = map_folders(
        opened.source_folders,
        opened.target_folders,
        lane.target.limits(),
        work.engine.policy.folders,
        {path: row.target_path for path, row in rows.items() if row.target_path is not None},
    )
    work.expected = sum(folder.status.messages for folder in opened.source_folders if folder.status)
    await _count_excluded(work, plan, rows)
    tasks = _tasks(work, plan, opened.target_folders, rows)
    missing: list[FolderDone] = []
    if work.engine.policy.source_wins:
        missing = await missing_folders(work, lane, rows.values(), opened.source_folders, opened.target_folders)
    done: list[FolderDone] = []
    if tasks or missing:
        await check_identity(work, lane, opened.source_folders, opened.target_folders)
        await _bring_all(work, opened, source, target, tasks, done)
        await resolve_vanished(
            work, lane, [*(folder for folder in done if folder.gone), *missing], opened.target_folders
        )
    await carry_uidls(work, lane, done, opened.source_folders)
    await remove_late_twins(work, lane, done, opened.target_folders)
    await lane.target.finish()


async def _count_excluded(work: MailboxWork, plan: FolderPlan, rows: Mapping[Path, FolderRow]) -> None:
    """Excluded folders stand in the ledger with the rule's name; their messages count as listed and excluded."""
    ledger = work.engine.ledger
    for one in plan.excluded:
        row = rows.get(one.folder.path)
        messages = one.folder.status.messages if one.folder.status else 0
        if row is None:
            row = FolderRow(one.folder.path, one.folder.name, excluded=one.rule, listed=messages)
            folder_id = await ledger.write(lambda db: db.put_folder(work.lease, row))
        else:
            folder_id = row.id
            if row.excluded != one.rule or row.listed != messages:
                await ledger.write(
                    lambda db: db.update_folder(work.lease, folder_id, excluded=one.rule, listed=messages)
                )
        work.counts[folder_id] = Counts(listed=messages, excluded=messages)


def _tasks(
    work: MailboxWork, plan: FolderPlan, target_folders: Sequence[Folder], rows: Mapping[Path, FolderRow]
) -> list[FolderTask]:
    """The folders with something to do, INBOX first, then the fullest; what is unchanged is counted at once."""
    there = {folder.path: folder for folder in target_folders}
    tasks = []
    for pair in plan.pairs:
        row, target = rows.get(pair.source.path), there.get(pair.target_path)
        if row is not None and unchanged(pair.source, target, row):
            messages = row.source_messages or 0
            if row.cursor_pass != work.pass_id:  # else its counts are those of an earlier attempt of this pass
                work.counts[row.id] = Counts(folders=1, listed=messages, there=messages)
        else:
            tasks.append(FolderTask(pair, target, row))
    return sorted(tasks, key=lambda task: (task.pair.source.path != INBOX, -_messages(task)))


def _messages(task: FolderTask) -> int:
    status = task.pair.source.status
    return status.messages if status else 0


def unchanged(source: Folder, target: Folder | None, row: FolderRow) -> bool:
    """Whether the counters alone prove that nothing is to be done (RFC 7162: equal HIGHESTMODSEQ)."""
    if not row.adopted or target is None or row.excluded is not None:
        return False
    if not source.selectable:
        return True
    status = source.status
    return (
        status is not None
        and status.highestmodseq is not None
        and (status.uidvalidity, status.uidnext, status.messages, status.highestmodseq)
        == (row.source_uidvalidity, row.source_uidnext, row.source_messages, row.source_modseq)
        and target.status is not None
        and target.status.uidvalidity == row.target_uidvalidity
    )


async def _bring_all(
    work: MailboxWork,
    opened: Opened,
    source: Source,
    target: Target,
    tasks: Sequence[FolderTask],
    done: list[FolderDone],
) -> None:
    """Every task, on as many lanes as the stores allow and the work is worth."""

    async def failed(task: FolderTask, error: ItemError) -> None:
        await _folder_failed(work, task, error)

    waiting: deque[Ready] = deque()
    prepared = asyncio.Event()
    worth = 1 + sum(map(_messages, tasks)) // MESSAGES_WORTH_A_LANE + len(tasks) // FOLDERS_WORTH_A_LANE
    lanes = 1 if work.careful else min(source.lanes, target.lanes, len(tasks), worth)

    async def first() -> None:
        ready = await prepare(work, opened.lane, tasks, failed)
        if not work.engine.policy.source_wins:
            ready = await recognise_moved(work, opened.lane, ready, opened.source_folders, opened.target_folders)
        waiting.extend(ready)
        prepared.set()
        await _run_lane(work, opened.lane, waiting, done)

    async def more() -> None:
        try:
            lane = await open_lane(opened.stack, source, target)
        except MailferryError as error:
            log.warning("%s: goes on with fewer connections: %s", source.key, error.message)
            return
        await prepared.wait()
        await _run_lane(work, lane, waiting, done)

    await together(first(), *(more() for _ in range(lanes - 1)))


async def _run_lane(work: MailboxWork, lane: Lane, waiting: deque[Ready], done: list[FolderDone]) -> None:
    while waiting:
        ready = waiting.popleft()
        await work.engine.gate.wait()
        try:
            folder = await copy_folder(work, ready, lane)
        except (ItemError, SafetyStop) as error:
            await _folder_failed(work, ready.task, error)
            continue
        if folder is None:
            continue
        done.append(folder)
        if not folder.gone:
            await record_cursor(work, folder)


async def _folder_failed(work: MailboxWork, task: FolderTask, error: ItemError | SafetyStop) -> None:
    """One folder could not be brought: its messages count as failed, the others go on."""
    ledger = work.engine.ledger
    source = task.pair.source
    rows = await ledger.call(lambda db: db.folders(work.lease.mailbox_id))
    row = next((row for row in rows if row.source_path == source.path), None)
    if row is None:
        row = FolderRow(source.path, source.name, target_path=task.pair.target_path)
        folder_id = await ledger.write(lambda db: db.put_folder(work.lease, row))
    else:
        folder_id = row.id
    reason = Reason.SAFETY if isinstance(error, SafetyStop) else Reason.FOLDER
    text = f"{error.message}; {error.advice}" if error.advice else error.message
    await ledger.write(lambda db: db.fail(work.lease, folder_id, None, reason, text, Kind.FAILED))
    counts = Counts(folders=1, listed=_messages(task), failed=_messages(task))
    counts.stops = int(reason is Reason.SAFETY)
    counts.broken = int(reason is Reason.FOLDER)
    work.counts[folder_id] = counts
    log.warning("%s: %s", row_label(row), text)
