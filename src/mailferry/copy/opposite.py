"""Two directions between the same two mailboxes: what one of them brought is no news to the other. Copies nothing.

After a switch people live in the target, and a rollback copies back from there; then they may move once more. Before
each attempt the pairs of uids that the other direction knows are written into this one's ledger rows. Invariants: both
leases are held, so the two directions never run at once; a message that one direction sent and did not see confirmed is
looked for first, so that it is not taken for a new one.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from mailferry.copy.identity import check_target
from mailferry.copy.lease import leased
from mailferry.copy.settling import settle_sent
from mailferry.copy.work import MailboxWork, Suspects
from mailferry.errors import ItemError
from mailferry.ledger.opposite import opposite
from mailferry.ledger.rows import Adopted, FolderChanges, FolderRow, Lease, MessageRow
from mailferry.ledger.writer import LedgerThread
from mailferry.model.folder import INBOX, Folder, Path
from mailferry.model.state import HELD, State
from mailferry.targets.lane import Opened

NO_PASS = 0
"""The pass of what was learned: before all others, so that it is never taken for an arrival."""
AT_ONCE = 1000


@contextlib.asynccontextmanager
async def opposite_lease(ledger: LedgerThread, mine: Lease, seconds: float) -> AsyncIterator[Lease | None]:
    """The lease of the other direction, or None where there is none. Busy: somebody copies that way now."""
    other = await ledger.call(lambda db: opposite(db, mine.mailbox_id))
    if other is None:
        yield None
        return
    async with leased(ledger, other.source_key, other.target_key, seconds) as lease:
        yield lease


async def learn(work: MailboxWork, opened: Opened, other: Lease) -> None:
    """Write down what the direction of the lease `other` knows. SafetyStop: the target is not the mailbox that it was
    when it was that direction's source (law 4)."""
    ledger = work.engine.ledger
    identity = (await ledger.call(lambda db: db.mailbox_by_id(other.mailbox_id))).identity
    if identity is not None:
        await check_target(work, opened.lane, opened.target_folders, identity)
    theirs = MailboxWork(work.engine, other, work.pass_id, Suspects())
    mine = {row.source_path: row for row in await ledger.call(lambda db: db.folders(work.lease.mailbox_id))}
    for row in await ledger.call(lambda db: db.folders(other.mailbox_id)):
        if row.target_path is None or row.target_name is None or row.excluded is not None:
            continue
        messages = await _settled(theirs, opened, row)
        known = await _folder(work, row, mine.get(row.target_path), messages)
        if known is None:
            continue
        await _messages(work, known, messages)
    if work.engine.policy.source_wins:
        for known in await ledger.call(lambda db: db.folders(work.lease.mailbox_id)):
            if known.target_path is not None and known.excluded is None:
                await _look_again(work, opened, known)


async def _settled(theirs: MailboxWork, opened: Opened, row: FolderRow) -> list[MessageRow]:
    """The rows of a folder of the other direction, after what it sent and did not see confirmed was looked for."""
    ledger = theirs.engine.ledger
    messages = await ledger.call(lambda db: db.messages(row.id))
    pending = [m for m in messages if m.state == State.PENDING]
    place = _there(opened.source_folders, row.target_path)
    if not pending or place is None:
        return messages
    try:
        selected = await opened.lane.source.select(place)
    except ItemError:
        return messages  # the copy of this folder meets the same, and records it
    if selected.status.uidvalidity == row.target_uidvalidity:
        await settle_sent(theirs, opened.lane.source, row.id, messages, pending, row.pending_base or 1)
    return await ledger.call(lambda db: db.messages(row.id))


def _there(folders: Sequence[Folder], path: Path | None) -> Folder | None:
    return next((folder for folder in folders if folder.path == path and folder.selectable), None)


async def _folder(
    work: MailboxWork, other: FolderRow, known: FolderRow | None, messages: Sequence[MessageRow]
) -> FolderRow | None:
    """This direction's row of the same folder, made where it is new. None: it pairs it with another folder, or one side
    was renumbered since, which the folder's own check meets."""
    if known is not None:
        here = (known.target_path, known.source_uidvalidity, known.target_uidvalidity)
        return known if here == (other.source_path, other.target_uidvalidity, other.source_uidvalidity) else None
    assert other.target_path is not None
    # where the target of the other direction told no uid, its messages have to be recognised by their headers
    unplaced = any(m.state in HELD and m.target_uid is None for m in messages)
    row = FolderRow(
        source_path=other.target_path,
        source_name=other.target_name or "",
        target_path=other.source_path,
        target_name=other.source_name,
        special_use=other.special_use,
        source_uidvalidity=other.target_uidvalidity,
        target_uidvalidity=other.source_uidvalidity,
        adopted=other.adopted and not unplaced,
    )
    number = await work.engine.ledger.write(lambda db: db.put_folder(work.lease, row))
    rows = await work.engine.ledger.call(lambda db: db.folders(work.lease.mailbox_id))
    return next(one for one in rows if one.id == number)


async def _messages(work: MailboxWork, known: FolderRow, theirs: Sequence[MessageRow]) -> None:
    """The pairs, turned round.

    What had gone at the other direction's source and was kept in its target is not to come back as new; unless this
    direction's source wins now: then what it has is wanted.
    """
    ledger, wins = work.engine.ledger, work.engine.policy.source_wins
    have = {m.source_uid for m in await ledger.call(lambda db: db.messages(known.id))}
    new: list[Adopted] = []
    moved: list[Adopted] = []
    for one in theirs:
        if one.target_uid is not None and one.target_uid not in have:
            if one.state in HELD:
                new.append(_turned(one, one.target_uid, one.source_uid))
            elif one.state == State.GONE and not wins:
                new.append(_turned(one, one.target_uid, None))
        elif wins and one.target_uid is None and one.state == State.PROVEN and -one.source_uid not in have:
            # moved there by people while they lived in what is the target now (`elsewhere.py`): a copy kept here of
            # what stands elsewhere, and is removed when that is brought again (`vanished.py`)
            moved.append(_turned(one, -one.source_uid, one.source_uid))
    for start in range(0, len(new), AT_ONCE):
        part = new[start : start + AT_ONCE]
        await ledger.write(lambda db: db.adopt(work.lease, known.id, NO_PASS, part))
    if moved:
        await ledger.write(lambda db: db.adopt(work.lease, known.id, NO_PASS, moved))


def _turned(one: MessageRow, source_uid: int, target_uid: int | None) -> Adopted:
    proven = one.digest is not None and one.state != State.ADOPTED and target_uid is not None
    return Adopted(
        source_uid=source_uid,
        target_uid=target_uid,
        state=State.GONE if source_uid < 0 else State.PROVEN if proven else State.ADOPTED,
        flags=one.flags,
        keywords=one.keywords,
        internal_date=one.internal_date,
        size=one.size,
        digest=one.digest,
        fingerprint=one.fingerprint,
    )


async def _look_again(work: MailboxWork, opened: Opened, known: FolderRow) -> None:
    """People lived in the target since, and this direction's source counts again: what they removed there is to be
    brought anew, and the marks that they changed there are to be the source's."""
    ledger = work.engine.ledger
    rows = [m for m in await ledger.call(lambda db: db.messages(known.id)) if m.state in HELD]
    place = _there(opened.target_folders, known.target_path)
    if place is None:
        await _forget_all(work, known, rows)
        return
    try:
        selected = await opened.lane.target.select(place)
        listing = await opened.lane.target.listing()
    except ItemError:
        return  # the copy of this folder meets the same, and records it
    if selected.status.uidvalidity != known.target_uidvalidity:
        if known.target_path != INBOX:  # else the folder's own check stops
            await _forget_all(work, known, rows)
        return
    there = {item.uid: item for item in listing.messages}
    gone = [m.source_uid for m in rows if m.target_uid not in there]
    marks = {m.source_uid: there[m.target_uid] for m in rows if m.target_uid in there}
    changed = [
        (m.source_uid, marks[m.source_uid].flags, marks[m.source_uid].keywords)
        for m in rows
        if m.source_uid in marks and (m.flags, m.keywords) != (marks[m.source_uid].flags, marks[m.source_uid].keywords)
    ]
    if gone or changed:  # a listing of changes only would not show them
        await ledger.write(lambda db: db.update_folder(work.lease, known.id, source_modseq=None, source_token=None))
        await ledger.write(lambda db: db.forget(work.lease, known.id, gone))
        await ledger.write(lambda db: db.set_flags(work.lease, known.id, changed))


async def _forget_all(work: MailboxWork, known: FolderRow, rows: Sequence[MessageRow]) -> None:
    """People removed the target's folder, or made it anew: what it had is brought again, but for what is there."""
    ledger = work.engine.ledger
    if known.target_uidvalidity is not None:
        await ledger.write(lambda db: db.forget(work.lease, known.id, [m.source_uid for m in rows]))
        changes: FolderChanges = {
            "target_uidvalidity": None,
            "source_modseq": None,
            "source_token": None,
            "adopted": False,
        }
        await ledger.write(lambda db: db.update_folder(work.lease, known.id, **changes))
