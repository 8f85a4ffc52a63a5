"""Verifies one mailbox: reads both sides again, compares folder by folder, records the result in the ledger.

Changes neither side and retries nothing: what ends a connection ends the verification with that error (nothing is then
recorded), and `copy/mailbox.py` stays the only place of retries.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mailferry.errors import ItemError
from mailferry.ledger.rows import Failure, FolderRow, Kind
from mailferry.ledger.writer import LedgerThread
from mailferry.model.folder import INBOX, Folder, FolderStatus, Path, Selected
from mailferry.sources.base import Source
from mailferry.targets.base import Target
from mailferry.targets.lane import Lane, open_lane, open_mailbox
from mailferry.tasks import together
from mailferry.verify.compare import Comparison, Difference, Finding, FolderCounts, Sides, compare_folder
from mailferry.verify.reading import Content, Reading
from mailferry.verify.record import FolderVerification, MailboxVerification, record

LANE_WORTH = 500
"""Messages that make one more connection to both sides worth its log-in."""


@dataclass(slots=True)
class Verifying:
    """How far a verification is. `messages` of `of_messages` read from the target, `bytes` of bodies."""

    folders: int = 0
    of_folders: int = 0
    messages: int = 0
    of_messages: int = 0
    bytes: int = 0


Progress = Callable[[Verifying], None]


async def verify_mailbox(
    ledger: LedgerThread,
    source: Source,
    target: Target,
    mailbox_id: int,
    *,
    content: Content = Content.FULL,
    share: float = 0.05,
    progress: Progress = lambda state: None,
) -> MailboxVerification:
    """Compare both sides of a mailbox with each other and with the ledger, and record what was found.

    `content`: FULL reads every message of the target; SAMPLE the `share` (0 to 1) of each folder, always the same ones,
    and all whose size differs; NONE reads none, yet dates and everything in listings are compared. No copy should be
    at work on the mailbox meanwhile: the caller holds the lease. Raises what the stores raise.
    """
    started = time.time()
    rows = await ledger.call(lambda db: db.folders(mailbox_id))
    failures = await ledger.call(lambda db: db.failures(mailbox_id))
    work = _Work(ledger, content, share, progress, failures)
    async with contextlib.AsyncExitStack() as stack:
        opened = await open_mailbox(source, target)
        await stack.enter_async_context(opened.stack)
        lane, source_folders = opened.lane, opened.source_folders
        work.target_folders = {folder.path: folder for folder in opened.target_folders}
        work.plan(source_folders, {row.source_path: row for row in rows})
        lanes = min(source.lanes, target.lanes, len(work.waiting), 1 + work.state.of_messages // LANE_WORTH)
        more = [await open_lane(stack, source, target) for _ in range(lanes - 1)]
        await together(*(_run_lane(work, one) for one in (lane, *more)))
    order = {folder.path: number for number, folder in enumerate(source_folders)}
    done = MailboxVerification(
        mailbox_id,
        content,
        share if content is Content.SAMPLE else float(content is Content.FULL),
        started,
        time.time(),
        tuple(sorted(work.done, key=lambda one: order[one.source])),
        tuple(_finding(failure) for failure in failures if failure.folder_id is None),
    )
    await ledger.write(lambda db: record(db, done))
    return done


@dataclass(frozen=True, slots=True)
class _Task:
    row: FolderRow
    source: Folder
    target: Folder


@dataclass(slots=True)
class _Work:
    """What the lanes of one verification share."""

    ledger: LedgerThread
    content: Content
    share: float
    progress: Progress
    failures: Sequence[Failure]
    target_folders: dict[Path, Folder] = field(default_factory=dict)
    waiting: deque[_Task] = field(default_factory=deque)
    done: list[FolderVerification] = field(default_factory=list)
    state: Verifying = field(default_factory=Verifying)

    @property
    def target_marks_uses(self) -> bool:
        return any(folder.special_use and folder.path != INBOX for folder in self.target_folders.values())

    def of_folder(self, row: FolderRow) -> list[Failure]:
        return [failure for failure in self.failures if failure.folder_id == row.id]

    def plan(self, folders: Sequence[Folder], rows: dict[Path, FolderRow]) -> None:
        """Settle the folders that need no reading, queue the others, the fullest first."""
        tasks = []
        for folder in folders:
            row = rows.get(folder.path)
            there = self.target_folders.get(row.target_path) if row is not None and row.target_path else None
            if row is None:
                self.settle(folder, None, _unknown(folder))
            elif row.excluded is not None:
                self.settle(folder, row, _excluded(folder, row))
            elif there is None:
                self.settle(folder, row, _without_target(folder, self.of_folder(row)))
            else:
                tasks.append(_Task(row, folder, there))
        self.waiting.extend(sorted(tasks, key=lambda task: -_messages(task.source)))
        self.state.of_folders = len(folders)
        self.state.of_messages = sum(_messages(task.target) for task in tasks)

    def settle(self, folder: Folder, row: FolderRow | None, comparison: Comparison) -> None:
        self.state.folders += 1
        self.done.append(
            FolderVerification(
                row.id if row else None,
                folder.path,
                row.target_path if row else None,
                comparison,
                row.excluded if row else None,
            )
        )
        self.progress(self.state)

    def seen(self, size: int) -> None:
        self.state.messages += 1
        self.state.bytes += size
        if self.state.messages % 100 == 0:
            self.progress(self.state)


def _messages(folder: Folder) -> int:
    return folder.status.messages if folder.status else 0


def _unknown(folder: Folder) -> Comparison:
    messages = _messages(folder)
    found = Comparison(FolderCounts(listed=messages, unrecorded=messages))
    text = "The source has this folder and the ledger does not know it: it is new, or the last pass did not reach it."
    found.findings.append(Finding(Difference.FOLDER_UNKNOWN, text))
    return found


def _excluded(folder: Folder, row: FolderRow) -> Comparison:
    messages = folder.status.messages if folder.status else row.listed
    return Comparison(FolderCounts(listed=messages, excluded=messages))


def _without_target(folder: Folder, failures: Sequence[Failure]) -> Comparison:
    messages = _messages(folder)
    reasons = [failure for failure in failures if failure.source_uid is None]
    if reasons:
        found = Comparison(FolderCounts(listed=messages, failed=messages))
        found.findings += [_finding(failure) for failure in reasons]
        return found
    text = "The target does not show this folder."
    counts = FolderCounts(listed=messages, unrecorded=messages)
    return Comparison(counts, [Finding(Difference.FOLDER_MISSING, text)])


def _finding(failure: Failure) -> Finding:
    """A failure or difference of a whole folder or mailbox."""
    kind = Difference.FOLDER_FAILED if failure.kind is Kind.FAILED else Difference.NAMED
    return Finding(kind, failure.text, failure.source_uid, reason=failure.reason)


async def _run_lane(work: _Work, lane: Lane) -> None:
    while work.waiting:
        task = work.waiting.popleft()
        work.settle(task.source, task.row, await _verify_folder(work, task, lane))


async def _verify_folder(work: _Work, task: _Task, lane: Lane) -> Comparison:
    failures = work.of_folder(task.row)
    if not task.source.selectable:
        nothing = Selected(FolderStatus(0, 0, 0), 0, False)
        marks = work.target_marks_uses
        return compare_folder(
            Sides(task.row, [], task.source, task.target, nothing, [], [], failures, target_marks_uses=marks)
        )
    opened = await asyncio.gather(
        lane.source.select(task.source), lane.target.select(task.target), return_exceptions=True
    )
    for side, result in zip(("source", "target"), opened, strict=True):
        if isinstance(result, ItemError):
            return _not_opened(task, failures, side, result)
        if isinstance(result, BaseException):
            raise result
    source, target = opened
    assert isinstance(source, Selected)
    assert isinstance(target, Selected)
    row = task.row
    for side, now, known in (
        ("source", source.status.uidvalidity, row.source_uidvalidity),
        ("target", target.status.uidvalidity, row.target_uidvalidity),
    ):
        if known is not None and now != known:
            return _renumbered(source.status.messages, side)
    source_listing, target_listing = await asyncio.gather(lane.source.listing(), lane.target.listing())
    messages = await work.ledger.call(lambda db: db.messages(row.id))
    reading = Reading(
        lane,
        row.id,
        work.content,
        work.share,
        work.seen,
        messages,
        source_listing.messages,
        target_listing.messages,
    )
    await reading.read()
    return compare_folder(
        Sides(
            row=row,
            rows=messages,
            source_folder=task.source,
            target_folder=task.target,
            selected=target,
            source=source_listing.messages,
            target=target_listing.messages,
            failures=failures,
            read=reading.found,
            asked=frozenset(reading.asked),
            left_out=len(source_listing.left_out),
            source_digests=reading.source_digests,
            source_dates=reading.source_dates,
            source_heads=reading.source_heads,
            altered=reading.altered,
            target_marks_uses=work.target_marks_uses,
        )
    )


def _not_opened(task: _Task, failures: Sequence[Failure], side: str, error: ItemError) -> Comparison:
    if any(failure.source_uid is None for failure in failures):
        return _without_target(task.source, failures)
    messages = _messages(task.source)
    text = f"The folder could not be opened at the {side}: {error.message}."
    return Comparison(FolderCounts(listed=messages, unrecorded=messages), [Finding(Difference.FOLDER_UNREADABLE, text)])


def _renumbered(messages: int, side: str) -> Comparison:
    text = f"The {side} renumbered this folder after the last pass, so that nothing in it can be compared."
    return Comparison(FolderCounts(listed=messages, unrecorded=messages), [Finding(Difference.RENUMBERED, text)])
