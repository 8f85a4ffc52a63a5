"""Makes every folder of a mailbox ready before its messages come: its place in the target, its row in the ledger, and
what belongs to it beside messages. All folders at once, so that a far server costs a few round trips, not a few per
folder.

What belongs to a folder (subscription, access rights, annotations) is carried at first sight only, so that what people
change in the target afterwards stays.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from mailferry.copy.progress import Counts
from mailferry.copy.work import MailboxWork
from mailferry.errors import ItemError
from mailferry.ledger.rows import FolderChanges, FolderRow
from mailferry.model.folder import Folder
from mailferry.model.message import Reason
from mailferry.plan.folders import FolderPair
from mailferry.plan.rights import map_rights
from mailferry.targets.lane import Lane
from mailferry.tasks import together

AT_ONCE = 50
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class FolderTask:
    """One folder to bring in step. `target`: the target's folder where it exists already. `row`: None at first
    sight."""

    pair: FolderPair
    target: Folder | None
    row: FolderRow | None


@dataclass(frozen=True, slots=True)
class Ready:
    """A folder that stands on both sides and in the ledger."""

    task: FolderTask
    target: Folder
    row: FolderRow

    @property
    def source(self) -> Folder:
        return self.task.pair.source


async def prepare(
    mailbox: MailboxWork,
    lane: Lane,
    tasks: Sequence[FolderTask],
    failed: Callable[[FolderTask, ItemError], Awaitable[None]],
) -> list[Ready]:
    """The folders that are ready, in the order of the tasks; `failed` is told of each that the target refuses."""
    ready: dict[int, Ready] = {}

    async def one(number: int) -> None:
        task = tasks[number]
        try:
            target = await _place(task, lane)
        except ItemError as error:
            await failed(task, error)
            return
        row = await _row(mailbox, task, target)
        mailbox.counts[row.id] = Counts(folders=1)
        folder = ready[number] = Ready(task, target, row)
        if not row.adopted:
            await _carry_extras(mailbox, lane, folder)

    parents_first = sorted(range(len(tasks)), key=lambda number: tasks[number].pair.target_path)
    for start in range(0, len(tasks), AT_ONCE):
        await together(*(one(number) for number in parents_first[start : start + AT_ONCE]))
    return [ready[number] for number in sorted(ready)]


async def _place(task: FolderTask, lane: Lane) -> Folder:
    if task.target is not None and not task.pair.create:
        return task.target
    status = task.pair.source.status
    return await lane.target.create(
        task.pair.target_path,
        task.pair.special_use,
        status.uidvalidity if status else None,
        status.uidnext if status else None,
    )


async def _row(mailbox: MailboxWork, task: FolderTask, target: Folder) -> FolderRow:
    """The folder's row, made at first sight; one that was excluded, or could not be made, gets its place now."""
    source, known = task.pair.source, task.row
    if known is not None and known.excluded is None and known.target_name is not None:
        return known
    ledger = mailbox.engine.ledger
    if known is not None:
        place: FolderChanges = {
            "target_path": task.pair.target_path,
            "target_name": target.name,
            "special_use": task.pair.special_use,
            "excluded": None,
        }
        await ledger.write(lambda db: db.update_folder(mailbox.lease, known.id, **place))
        return replace(known, **place)
    row = FolderRow(
        source_path=source.path,
        source_name=source.name,
        target_path=task.pair.target_path,
        target_name=target.name,
        special_use=task.pair.special_use,
    )
    folder_id = await ledger.write(lambda db: db.put_folder(mailbox.lease, row))
    return replace(row, id=folder_id, mailbox_id=mailbox.lease.mailbox_id)


async def _carry_extras(mailbox: MailboxWork, lane: Lane, folder: Ready) -> None:
    """Bring them over; what the target cannot hold, or must not be given, is named as a difference."""
    source, target, policy = folder.source, folder.target, mailbox.engine.policy

    async def different(reason: Reason, text: str) -> None:
        await mailbox.different(folder.row.id, None, reason, text)

    if source.subscribed and not target.subscribed:
        try:
            await lane.target.subscribe(target)
        except ItemError as error:
            await different(Reason.SUBSCRIPTION, error.message)
    granted, unknown = map_rights(await lane.source.acl(source) or {}, policy.people, policy.same_names)
    if granted:
        await _put(different, Reason.ACL, granted, lambda some: lane.target.set_acl(target, some))
    if unknown:
        text = f"{', '.join(unknown)}: who that is in the target is not known; --same-names says: whoever is called so"
        await different(Reason.ACL, text)
    entries = await lane.source.metadata(source)
    if entries:
        await _put(different, Reason.METADATA, entries, lambda some: lane.target.set_metadata(target, some))


async def _put(
    different: Callable[[Reason, str], Awaitable[None]],
    reason: Reason,
    items: Mapping[str, V],
    put: Callable[[Mapping[str, V]], Awaitable[None]],
) -> None:
    """All at once; where something of it is refused, one by one, so that one costs only itself and is named."""
    try:
        await put(items)
        return
    except ItemError as error:
        if len(items) == 1:
            await different(reason, f"{next(iter(items))}: {error.message}")
            return
    refused: dict[str, list[str]] = {}
    for name, value in items.items():
        try:
            await put({name: value})
        except ItemError as error:
            refused.setdefault(error.message, []).append(name)
    if refused:
        await different(reason, "; ".join(f"{', '.join(names)}: {message}" for message, names in refused.items()))
