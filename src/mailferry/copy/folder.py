"""Brings one folder in step: settle what a killed run left, adopt what is there, carry marks, copy what is new.

Does not decide what happens to messages that vanished (a move shows only when all folders are seen): it returns them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from mailferry.copy.adopt import adopt
from mailferry.copy.policy import Accept
from mailferry.copy.prepare import Ready
from mailferry.copy.settling import settle_sent
from mailferry.copy.stream import stream
from mailferry.copy.work import FolderWork, MailboxWork
from mailferry.errors import SafetyStop
from mailferry.ledger.rows import FolderChanges, FolderRow, MessageRow
from mailferry.model.folder import Folder, FolderStatus
from mailferry.model.message import Failed, Listed, Listing, Reason
from mailferry.model.state import HELD, State
from mailferry.plan.messages import Actions, Known, compare, suddenly_empty
from mailferry.sources.base import select_listed
from mailferry.targets.lane import Lane
from mailferry.tasks import both

WATCH_SECONDS = 24 * 3600.0
MARKS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class FolderDone:
    """What is left for the mailbox to do: `gone` rows to resolve, then `cursor` to record, which is None for a folder
    that is no longer at the source."""

    row: FolderRow
    target: Folder
    gone: list[MessageRow]
    cursor: FolderStatus | None
    listed: int = 0
    token: str | None = None


async def copy_folder(mailbox: MailboxWork, ready: Ready, lane: Lane) -> FolderDone | None:
    """One folder, whole. None for a container without messages. `ItemError`, `SafetyStop`: this folder only."""
    row = ready.row
    if not ready.source.selectable:
        await mailbox.engine.ledger.write(lambda db: db.update_folder(mailbox.lease, row.id, adopted=True))
        return None
    status = ready.source.status
    since = row.source_modseq if row.adopted and status is not None and status.highestmodseq else None
    (source, listing), target = await both(
        select_listed(lane.source, ready.source, since, row.source_token if row.adopted else None),
        lane.target.select(ready.target),
    )
    counts = mailbox.counts[row.id]
    work = FolderWork(mailbox, row, ready.source, ready.target, lane, source, target, counts)
    return await _bring(work, listing)


async def _bring(work: FolderWork, listing: Listing) -> FolderDone:
    ledger, row = work.ledger, work.row
    source, target = work.source_selected.status, work.target_selected.status
    first_sight = row.source_uidvalidity is None
    rows = [] if first_sight else await ledger.call(lambda db: db.messages(row.id))
    adoptable = bool(target.messages and work.policy.adopt)
    row, rows = await _check_uidvalidity(work, rows, adopted=first_sight and not adoptable)
    work.row = row
    if any(message.state == State.PENDING for message in rows):
        await settle_pending(work, rows)
        rows = await ledger.call(lambda db: db.messages(row.id))
    if not row.adopted and not listing.complete:
        listing = await work.source.listing()
    if not row.adopted:
        if adoptable:
            rows = await adopt(work, listing, rows)
        await ledger.write(lambda db: db.update_folder(work.lease, row.id, adopted=True))
    known = {m.source_uid: Known(m.state, m.flags, m.keywords, m.target_uid) for m in rows}
    if suddenly_empty(listing, known) and Accept.EMPTIED not in work.policy.accept:
        held = sum(1 for one in known.values() if one.state in HELD)
        raise SafetyStop(
            f"it held {held} messages at the last pass and is empty now",
            about=row_label(row),
            advice="if it was emptied on purpose, run again with --accept emptied; nothing was changed in the target",
        )
    actions = compare(listing, known)
    uids = _to_copy(actions, listing, rows)
    listed = _count(work, listing, actions, rows, uids)
    await work.leave_out(listing.left_out)
    for text in listing.lost:
        await work.mailbox.different(row.id, None, Reason.DAMAGE, text)
    if work.policy.source_wins:
        await _carry_marks(work, actions)
    elif work.policy.backwards:
        worth = [(uid, marks) for uid, marks in actions.flags if _can_hold(work, known[uid], marks)]
        await _carry_marks(work, replace(actions, flags=worth, unplaced=[]))
    condemned = work.mailbox.suspects.condemned(row.id)
    for uid in sorted(condemned & set(uids)):
        await work.fail(Failed(uid, Reason.BREAKS_CONNECTION, "each attempt to bring it ended the connection"))
    uids = [uid for uid in uids if uid not in condemned]
    if uids:
        await stream(work, uids)
        if work.unnumbered:
            await _settle_unnumbered(work)
    gone = set(actions.gone)
    return FolderDone(
        row=row,
        target=work.target_folder,
        gone=[m for m in rows if m.source_uid in gone],
        cursor=replace(source, messages=listed),
        listed=listed,
        token=listing.token,
    )


async def _check_uidvalidity(
    work: FolderWork, rows: list[MessageRow], adopted: bool
) -> tuple[FolderRow, list[MessageRow]]:
    """A renumbered folder is a safety stop; accepted, what the ledger knew of it is matched again by headers. At first
    sight the numbers are recorded, and whether there is anything to adopt."""
    ledger, row = work.ledger, work.row
    now = (work.source_selected.status.uidvalidity, work.target_selected.status.uidvalidity)
    before = (row.source_uidvalidity or now[0], row.target_uidvalidity or now[1])
    if now != before:
        side = "source" if now[0] != before[0] else "target"
        if Accept.UIDVALIDITY not in work.policy.accept:
            raise SafetyStop(
                f"the {side} renumbered this folder (uidvalidity {before} was, {now} is)",
                about=row_label(row),
                advice="if the folder was rebuilt or restored, run again with --accept uidvalidity: "
                "its messages are then recognised by their headers, nothing is sent twice",
            )
        await ledger.write(lambda db: db.forget(work.lease, row.id, [m.source_uid for m in rows]))
        rows = []
    elif row.source_uidvalidity == now[0] and row.target_uidvalidity == now[1]:
        return row, rows
    changes: FolderChanges = {
        "source_uidvalidity": now[0],
        "target_uidvalidity": now[1],
        "adopted": adopted,
        "source_modseq": None,
        "source_token": None,
        "pending_base": None,
        "watch_base": None,
        "watch_until": None,
    }
    await ledger.write(lambda db: db.update_folder(work.lease, row.id, **changes))
    return replace(row, **changes), rows


def _to_copy(actions: Actions, listing: Listing, rows: list[MessageRow]) -> list[int]:
    """New uids, and those still to be brought from earlier passes, which a partial listing does not show."""
    if listing.complete:
        return sorted(actions.copy)
    gone = set(listing.vanished)
    again = {m.source_uid for m in rows if m.state in (State.PENDING, State.FAILED)} - gone
    return sorted(again.union(actions.copy))


def _count(work: FolderWork, listing: Listing, actions: Actions, rows: list[MessageRow], uids: list[int]) -> int:
    """Fill in what is known before the copy; what an earlier attempt of this same pass copied counts as copied."""
    counts = work.counts
    gone = set(actions.gone)
    held = [m for m in rows if m.state in HELD and m.source_uid not in gone]
    mine = [m for m in held if m.pass_id == work.mailbox.pass_id and m.state == State.COPIED]
    counts.listed = len(listing.messages) if listing.complete else len(held) + len(uids)
    counts.excluded = len(listing.left_out)
    counts.listed += counts.excluded
    counts.copied = len(mine)
    counts.bytes = sum(m.size or 0 for m in mine)
    counts.there = len(held) - len(mine)
    counts.adopted = sum(1 for m in held if m.state != State.COPIED)
    return counts.listed


async def _carry_marks(work: FolderWork, actions: Actions) -> None:
    ledger = work.ledger
    for start in range(0, len(actions.flags), MARKS_AT_ONCE):
        part = actions.flags[start : start + MARKS_AT_ONCE]
        await work.gate.wait()
        await work.mailbox.hold()
        await work.target.set_flags([marks for _, marks in part])
        changed = [(uid, marks.flags, marks.keywords) for uid, marks in part]
        await ledger.write(lambda db: db.set_flags(work.lease, work.row.id, changed))
        work.counts.flags += len(part)
        for uid, flags, keywords in changed:
            await work.lost_marks(uid, flags, keywords)
    for uid in actions.unplaced:
        await work.different(uid, Reason.FLAGS, "its flags changed, but its uid in the target is not known")


def _can_hold(work: FolderWork, known: Known, marks: Listed) -> bool:
    """Whether anything of the change can last in the target: clients give every message keywords of their own, which
    Exchange has no place for."""
    selected = work.target_selected
    if (known.flags ^ marks.flags) & selected.permanent_flags:
        return True
    changed = set(known.keywords) ^ set(marks.keywords)
    return bool(changed) and (selected.new_keywords or not changed.isdisjoint(selected.keywords))


async def settle_pending(work: FolderWork, rows: list[MessageRow]) -> None:
    """After a crash: find out which pending messages reached the target (design §5). If some must be sent again, the
    gap is watched for twins from now on."""
    base = work.row.pending_base or 1
    pending = [m for m in rows if m.state == State.PENDING]
    if len(await settle_sent(work.mailbox, work.target, work.row.id, rows, pending, base)) == len(pending):
        return
    now = time.time()
    if work.row.watch_base is not None and (work.row.watch_until or 0) > now:
        base = min(base, work.row.watch_base)
    watch: FolderChanges = {"watch_base": base, "watch_until": now + WATCH_SECONDS}
    await work.ledger.write(lambda db: db.update_folder(work.lease, work.row.id, **watch))


async def _settle_unnumbered(work: FolderWork) -> None:
    """A target without UIDPLUS does not say which uids the messages got: read them. Those it stored in another form
    than it was sent keep no target uid."""
    ledger, base = work.ledger, work.row.pending_base or work.target_selected.status.uidnext
    rows = await ledger.call(lambda db: db.messages(work.row.id))
    pending = [m for m in rows if m.state == State.PENDING and m.source_uid in work.unnumbered]
    settled = await settle_sent(work.mailbox, work.target, work.row.id, rows, pending, base)
    left = [(m.source_uid, None) for m in pending if m.source_uid not in settled]
    await ledger.write(lambda db: db.confirm(work.lease, work.row.id, left))
    work.counts.copied += len(pending)
    work.counts.bytes += sum(m.size or 0 for m in pending)


def row_label(row: FolderRow) -> str:
    """The folder's source path for people."""
    return "/".join(row.source_path)
