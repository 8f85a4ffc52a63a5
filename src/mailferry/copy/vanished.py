"""After all folders are seen: messages that vanished at the source, and twins that a killed run left in the target.

A message that vanished from one folder and arrived in another (or in the same one under a new uid) has moved: its old
copy is removed from the target whatever the policy, since the message itself is there. Any other is kept and listed, or
removed where policy mirrors deletions, never more than the brake allows.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from mailferry.copy.folder import WATCH_SECONDS, FolderDone
from mailferry.copy.policy import Accept
from mailferry.copy.progress import Counts
from mailferry.copy.settling import read_gap, settle_sent
from mailferry.copy.work import MailboxWork
from mailferry.errors import SafetyStop
from mailferry.ledger.rows import FolderChanges, FolderRow, MessageRow
from mailferry.model.folder import Folder, Path
from mailferry.model.message import Reason
from mailferry.model.state import HELD, State
from mailferry.plan.messages import Bytes, Deletions, Sent, beyond_brake, late_twins
from mailferry.targets.lane import Lane


async def resolve_vanished(
    work: MailboxWork, lane: Lane, done: Sequence[FolderDone], target_folders: Sequence[Folder]
) -> None:
    """Settle every vanished message of the folders in `done`, then record each folder's cursor."""
    ledger, policy = work.engine.ledger, work.engine.policy
    moved: dict[int, list[MessageRow]] = {}
    left: dict[int, list[MessageRow]] = {}
    gone_too = {(folder.row.id, message.source_uid) for folder in done for message in folder.gone}
    taken: set[tuple[int, int]] = set()
    for folder in done:
        since = folder.row.cursor_pass or 0
        arrivals = await ledger.call(lambda db: db.arrivals(work.lease.mailbox_id, since))
        places = _Places([one for one in arrivals if (one[0], one[1].source_uid) not in gone_too], taken, since)
        for message in folder.gone:
            if message.state in HELD:
                has_moved = policy.source_wins and places.take(message)
                (moved if has_moved else left).setdefault(folder.row.id, []).append(message)
    mirror = policy.source_wins and policy.deletions is Deletions.MIRROR
    if mirror and Accept.DELETIONS not in policy.accept:
        await _brake(work, left)
    for folder in done:
        counts = work.counts.setdefault(folder.row.id, Counts())
        here, gone = moved.get(folder.row.id, []), left.get(folder.row.id, [])
        counts.moved += len(here)
        await _remove(work, lane, folder, here)
        if mirror:
            counts.removed += len(gone)
            await _remove(work, lane, folder, gone)
        else:
            counts.gone += len(gone)
            if folder.cursor is not None:  # the messages of a folder that is not listed may come back with it
                await _state(work, folder.row.id, gone, State.GONE)
        never = [m for m in folder.gone if m.state not in HELD]
        await _state(work, folder.row.id, never, State.GONE)
        await record_cursor(work, folder)
    if policy.source_wins and work.total().copied:
        await _late_moves(work, lane, taken, {folder.path: folder for folder in target_folders})


async def _late_moves(
    work: MailboxWork, lane: Lane, taken: set[tuple[int, int]], places: Mapping[Path, Folder]
) -> None:
    """What was kept because it had only vanished, and arrives elsewhere now: it moved while a pass was under way, or
    its new place could not be brought at first."""
    ledger = work.engine.ledger
    mailbox_id = work.lease.mailbox_id
    kept = await ledger.call(lambda db: db.kept(mailbox_id))
    if not kept:
        return
    rows = {row.id: row for row in await ledger.call(lambda db: db.folders(mailbox_id))}
    arrived = _Places(await ledger.call(lambda db: db.arrivals(mailbox_id, work.pass_id)), taken, 0)
    moved: dict[int, list[MessageRow]] = {}
    for folder_id, message in kept:
        if rows[folder_id].target_path in places and arrived.take(message):
            moved.setdefault(folder_id, []).append(message)
    for folder_id, messages in moved.items():
        target = places[rows[folder_id].target_path or ()]
        selected = await lane.target.select(target)
        if selected.status.uidvalidity == rows[folder_id].target_uidvalidity:
            work.counts.setdefault(folder_id, Counts()).moved += len(messages)
            await _remove(work, lane, FolderDone(rows[folder_id], target, [], None), messages)


class _Places:
    """Where vanished messages of one folder may have gone: arrivals by digest and by fingerprint, each taken once.

    The pass `since` itself may have seen the old place before the move and the new one after it, so what it brought
    counts too, but only by digest: two copies that differ in their bytes were there side by side.
    """

    def __init__(self, arrivals: Sequence[tuple[int, MessageRow]], taken: set[tuple[int, int]], since: int) -> None:
        self.taken = taken
        self.by_mark: dict[bytes | int, list[tuple[int, int]]] = {}
        for folder, message in reversed(arrivals):
            for mark in (message.digest, message.fingerprint if message.pass_id > since else None):
                if mark is not None:
                    self.by_mark.setdefault(mark, []).append((folder, message.source_uid))

    def take(self, message: MessageRow) -> bool:
        """Whether there is an arrival that is this message; it is then taken."""
        for mark in (message.digest, message.fingerprint):
            places = self.by_mark.get(mark, []) if mark is not None else []
            while places:
                place = places.pop()
                if place not in self.taken:
                    self.taken.add(place)
                    return True
        return False


async def record_cursor(work: MailboxWork, done: FolderDone) -> None:
    """The folder is in step: what the source's counters were, and no failure of the folder itself is left. With
    messages that failed it is listed again next time."""
    ledger, cursor = work.engine.ledger, done.cursor
    if cursor is None:
        return
    complete = work.counts[done.row.id].failed == 0
    changes: FolderChanges = {
        "source_uidnext": cursor.uidnext,
        "source_messages": cursor.messages if complete else None,
        "source_modseq": cursor.highestmodseq if complete else None,
        "source_token": done.token if complete else None,
        "listed": done.listed,
        "cursor_pass": work.pass_id,
        "pending_base": None,
    }
    await ledger.write(lambda db: db.finish_folder(work.lease, done.row.id, **changes))


async def _brake(work: MailboxWork, left: dict[int, list[MessageRow]]) -> None:
    removals = sum(len(rows) for rows in left.values())
    held = sum(counts.listed for counts in work.counts.values()) + removals
    if beyond_brake(removals, held):
        raise SafetyStop(
            f"{removals} of {held} messages vanished at the source; mirroring would remove them from the target",
            advice="if that is right, run again with --accept deletions; --deletions keep leaves and lists them",
        )


async def _remove(work: MailboxWork, lane: Lane, folder: FolderDone, rows: Sequence[MessageRow]) -> None:
    """Remove these from the target. What stays there, since the target cannot remove it or its uid is not known, is
    a difference."""
    if not rows:
        return
    uids = [m.target_uid for m in rows if m.target_uid is not None]
    stayed: set[int | None] = {None}
    if uids:
        await lane.target.select(folder.target)
        await work.hold()
        stayed.update(await lane.target.remove(sorted(uids)))
    still = [m for m in rows if m.target_uid in stayed]
    for message in still:
        why = "its uid there is not known" if message.target_uid is None else "this target cannot remove one message"
        text = f"it moved or was deleted at the source, and is still in the target: {why}"
        await work.different(folder.row.id, message.source_uid, Reason.DUPLICATE, text)
    await _state(work, folder.row.id, [m for m in rows if m.target_uid not in stayed], State.REMOVED)
    await _state(work, folder.row.id, still, State.GONE)


async def _state(work: MailboxWork, folder_id: int, rows: Sequence[MessageRow], state: State) -> None:
    if rows:
        ledger = work.engine.ledger
        await ledger.write(lambda db: db.set_state(work.lease, folder_id, [m.source_uid for m in rows], state))


async def missing_folders(
    work: MailboxWork, lane: Lane, rows: Iterable[FolderRow], source: Sequence[Folder], target: Sequence[Folder]
) -> list[FolderDone]:
    """Folders that were carried and are no longer listed at the source (renamed or removed), with all they held: their
    messages may have moved. What a killed run left there is settled first. Where people removed or renumbered the
    target's folder, nothing can be done there."""
    listed = {folder.path for folder in source}
    places = {folder.path: folder for folder in target}
    ledger = work.engine.ledger
    missing = []
    for row in rows:
        place = places.get(row.target_path or ())
        if row.source_path in listed or row.excluded is not None or place is None or not place.selectable:
            continue
        messages = await ledger.call(lambda db: db.messages(row.id))
        if not any(m.state in HELD or m.state == State.PENDING for m in messages):
            continue
        if (await lane.target.select(place)).status.uidvalidity != row.target_uidvalidity:
            continue
        if pending := [m for m in messages if m.state == State.PENDING]:
            settled = await settle_sent(work, lane.target, row.id, messages, pending, row.pending_base or 1)
            await _state(work, row.id, [m for m in pending if m.source_uid not in settled], State.GONE)
            messages = await ledger.call(lambda db: db.messages(row.id))
        missing.append(FolderDone(row, place, [m for m in messages if m.state in HELD], None))
    return missing


async def remove_late_twins(
    work: MailboxWork, lane: Lane, done: Sequence[FolderDone], target_folders: Sequence[Folder]
) -> None:
    """Look once more into the gap that a killed run left (design §5), and again in later passes while it is watched.

    What was resumed is given `late_commit_wait` seconds first, also if that was in a pass that was killed in its turn:
    bytes of the killed run may be on their way.
    """
    ledger = work.engine.ledger
    rows = await ledger.call(lambda db: db.folders(work.lease.mailbox_id))
    watched = [row for row in rows if row.watch_until is not None and row.watch_until > time.time()]
    if not watched:
        return
    most = work.engine.policy.late_commit_wait
    since = time.time() - (max(row.watch_until or 0 for row in watched) - WATCH_SECONDS)
    await asyncio.sleep(min(most, most - since))
    places = {folder.path: folder for folder in target_folders}
    places.update({folder.target.path: folder.target for folder in done})
    for row in watched:
        if row.target_path in places:
            await _twins_of(work, lane, row, places[row.target_path])


async def _twins_of(work: MailboxWork, lane: Lane, row: FolderRow, target: Folder) -> None:
    ledger = work.engine.ledger
    selected = await lane.target.select(target)
    if selected.status.uidvalidity != row.target_uidvalidity:
        return  # renumbered: the recorded uids say nothing here, and the folder's own check stops or forgets them
    messages = await ledger.call(lambda db: db.messages(row.id))
    twice = [m for m in messages if m.attempts > 1 and m.state in HELD and m.digest is not None]
    if not twice:
        return
    gap = await read_gap(lane.target, messages, row.watch_base or 1)
    found = [Bytes(one.uid, one.digest) for one in gap]
    twins = late_twins([Sent(m.digest or b"", m.attempts) for m in twice], found)
    if not twins:
        return
    await work.hold()
    stayed = set(await lane.target.remove(twins))
    again: defaultdict[bytes | None, list[int]] = defaultdict(list)
    for message in twice:
        again[message.digest] += [message.source_uid] * (message.attempts - 1)
    removed = [item.digest for item in found if item.uid in twins and item.uid not in stayed]
    unsent = [again[digest].pop() for digest in removed]
    await ledger.write(lambda db: db.unsent(work.lease, row.id, unsent))
    await ledger.write(
        lambda db: db.audit(
            "removed twins that a killed run left",
            mailbox_id=work.lease.mailbox_id,
            folder="/".join(row.source_path),
            target_uids=[uid for uid in twins if uid not in stayed],
        )
    )
    for uid in sorted(stayed):
        text = f"a killed run left message {uid} twice in the target, which cannot remove single messages"
        await work.different(row.id, None, Reason.DUPLICATE, text)
    if row.id in work.counts:
        work.counts[row.id].twins += len(unsent)
