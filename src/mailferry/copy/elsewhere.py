"""Where the source no longer wins: messages that people moved there are recognised, so that they do not come as new.

The old place keeps them in the target, since nothing is removed there. Copies and removes nothing. Invariant: one
vanished message answers for at most one new one, of the very same bytes; both are recorded in one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mailferry.copy.headers import source_headers
from mailferry.copy.opposite import NO_PASS
from mailferry.copy.prepare import Ready
from mailferry.copy.settling import settle_sent
from mailferry.copy.stream import outgoing
from mailferry.copy.work import MailboxWork
from mailferry.errors import ItemError
from mailferry.ledger.rows import Adopted, FolderRow, Lease, MessageRow
from mailferry.ledger.store import Ledger
from mailferry.model.folder import INBOX, Folder, Path
from mailferry.model.message import Message, digest
from mailferry.model.state import HELD, State
from mailferry.plan.fingerprint import fingerprint
from mailferry.plan.messages import OURS
from mailferry.sources.base import select_listed
from mailferry.targets.lane import Lane

Gone = tuple[FolderRow, MessageRow]


async def recognise_moved(
    work: MailboxWork, lane: Lane, ready: Sequence[Ready], source: Sequence[Folder], target: Sequence[Folder]
) -> list[Ready]:
    """Record every message of these folders that was moved there from another one (also from a folder that is no longer
    there). Returns the folders as they then stand in the ledger."""
    if not any(map(_may_be_new, ready)):
        return list(ready)
    result = list(ready)
    gone: list[Gone] = []
    new: dict[int, list[int]] = {}
    places = {folder.path: folder for folder in target}
    for number, one in enumerate(ready):
        result[number], vanished, new[number] = await _changes(work, lane, one)
        gone.extend((one.row, message) for message in vanished)
    gone.extend(await _of_missing_folders(work, lane, source, places))
    if not gone:
        return result
    digests = await _digests(lane, places, gone)
    prints = {message.fingerprint for _, message in gone}
    for number, uids in new.items():
        if uids:
            result[number] = await _recognise(work, lane, result[number], uids, prints, digests)
    return result


def _may_be_new(one: Ready) -> bool:
    """Whether its counters leave it open that there is a message of a uid that no pass has seen (RFC 3501 §2.3.1.1)."""
    status = one.source.status
    return status is None or (status.uidvalidity, status.uidnext) != (
        one.row.source_uidvalidity,
        one.row.source_uidnext,
    )


async def _changes(work: MailboxWork, lane: Lane, one: Ready) -> tuple[Ready, list[MessageRow], list[int]]:
    """The folder as it now stands in the ledger, the rows of it that have vanished, and the uids that are new."""
    if not one.source.selectable:
        return one, [], []
    try:
        selected, listing = await select_listed(lane.source, one.source)
    except ItemError:
        return one, [], []  # the copy of this folder meets the same, and records it
    ledger, uidvalidity = work.engine.ledger, selected.status.uidvalidity
    listed = {item.uid for item in listing.messages}
    rows: list[MessageRow] = []
    if one.row.source_uidvalidity is not None:
        rows = await ledger.call(lambda db: db.messages(one.row.id))
        if one.row.source_uidvalidity != uidvalidity:
            if not work.engine.policy.backwards or one.row.source_path == INBOX:
                return one, [], []  # the folder's own check stops
            await ledger.write(lambda db: _renumber(db, work.lease, one.row.id, uidvalidity, rows))
            rows = await ledger.call(lambda db: db.messages(one.row.id))
            one = replace(
                one, row=replace(one.row, source_uidvalidity=uidvalidity, source_modseq=None, source_token=None)
            )
    if any(m.state == State.PENDING and m.source_uid not in listed for m in rows):
        rows = await _settled(work, lane, one.row, one.target, rows)
    known = {m.source_uid for m in rows if m.state in OURS}
    return one, [m for m in rows if m.state in HELD and m.source_uid not in listed], sorted(listed - known)


def _renumber(ledger: Ledger, lease: Lease, folder_id: int, uidvalidity: int, rows: Sequence[MessageRow]) -> None:
    """People removed the folder and made it anew: what stood there has vanished. Kept under numbers of its own."""
    held = [m for m in rows if m.state in HELD and m.source_uid > 0]
    with ledger.transaction():
        ledger.forget(lease, folder_id, [m.source_uid for m in rows if m.source_uid > 0])
        ledger.adopt(lease, folder_id, NO_PASS, [_below_zero(m) for m in held])
        ledger.update_folder(lease, folder_id, source_uidvalidity=uidvalidity, source_modseq=None, source_token=None)


def _below_zero(m: MessageRow) -> Adopted:
    return Adopted(
        source_uid=-m.source_uid,
        target_uid=m.target_uid,
        state=State(m.state),
        flags=m.flags,
        keywords=m.keywords,
        internal_date=m.internal_date,
        size=m.size,
        digest=m.digest,
        fingerprint=m.fingerprint,
    )


async def _settled(
    work: MailboxWork, lane: Lane, row: FolderRow, target: Folder, rows: list[MessageRow]
) -> list[MessageRow]:
    """The rows after what a killed run had sent was looked for: it may have vanished here since."""
    try:
        selected = await lane.target.select(target)
    except ItemError:
        return rows  # the copy of this folder meets the same, and records it
    if selected.status.uidvalidity == row.target_uidvalidity:
        pending = [m for m in rows if m.state == State.PENDING]
        await settle_sent(work, lane.target, row.id, rows, pending, row.pending_base or 1)
    return await work.engine.ledger.call(lambda db: db.messages(row.id))


async def _of_missing_folders(
    work: MailboxWork, lane: Lane, source: Sequence[Folder], places: Mapping[Path, Folder]
) -> list[Gone]:
    """All of a folder that was renamed or removed."""
    ledger = work.engine.ledger
    listed = {folder.path for folder in source}
    found: list[Gone] = []
    for row in await ledger.call(lambda db: db.folders(work.lease.mailbox_id)):
        if row.source_path in listed or row.excluded is not None:
            continue
        rows = await ledger.call(lambda db: db.messages(row.id))
        place = places.get(row.target_path or ())
        if place is not None and any(m.state == State.PENDING for m in rows):
            rows = await _settled(work, lane, row, place, rows)
        found += [(row, m) for m in rows if m.state in HELD]
    return found


async def _digests(lane: Lane, places: Mapping[Path, Folder], gone: Sequence[Gone]) -> dict[bytes, list[Gone]]:
    """The vanished messages by their digests; of those that were adopted by headers it is read from the target."""
    found: dict[bytes, list[Gone]] = {}
    unread: dict[int, list[Gone]] = {}
    for row, message in gone:
        if message.digest is not None:
            found.setdefault(message.digest, []).append((row, message))
        elif message.target_uid is not None and row.target_path in places:
            unread.setdefault(row.id, []).append((row, message))
    for some in unread.values():
        row = some[0][0]
        try:
            selected = await lane.target.select(places[row.target_path or ()])
        except ItemError:
            continue  # then what was moved from there comes as new: twice is better than not at all
        if selected.status.uidvalidity != row.target_uidvalidity:
            continue
        by_uid = {message.target_uid: (row, message) for row, message in some}
        async for item in lane.target.fetch(sorted(uid for uid in by_uid if uid is not None)):
            if isinstance(item, Message):
                found.setdefault(digest(item.body), []).append(by_uid[item.uid])
                item.body.close()
    return found


async def _recognise(
    work: MailboxWork,
    lane: Lane,
    one: Ready,
    uids: Sequence[int],
    prints: set[int | None],
    digests: dict[bytes, list[Gone]],
) -> Ready:
    """Only what has the headers of a vanished message is read."""
    session, ledger = lane.source, work.engine.ledger
    selected = await session.select(one.source)
    likely: list[int] = []
    async for head in source_headers(work, one.row.id, session, uids):
        found = fingerprint(head.block)
        if (found.value if found.by_id else None) in prints:
            likely.append(head.uid)
    moved: list[tuple[Adopted, Gone]] = []
    async for item in session.fetch(likely):
        if isinstance(item, Message):
            row = outgoing(item)
            item.body.close()
            if places := digests.get(row.digest):
                moved.append((Adopted(target_uid=None, state=State.PROVEN, **row._asdict()), places.pop()))
    if not moved:
        return one
    await ledger.write(lambda db: _record(db, work.lease, one.row.id, selected.status.uidvalidity, moved))
    return replace(one, row=replace(one.row, source_uidvalidity=selected.status.uidvalidity))


def _record(
    ledger: Ledger, lease: Lease, folder_id: int, uidvalidity: int, moved: Sequence[tuple[Adopted, Gone]]
) -> None:
    with ledger.transaction():
        ledger.update_folder(lease, folder_id, source_uidvalidity=uidvalidity)
        ledger.adopt(lease, folder_id, NO_PASS, [row for row, _ in moved])
        for _, (folder, message) in moved:
            ledger.set_state(lease, folder.id, [message.source_uid], State.GONE)
        left = sorted({"/".join(folder.target_path or ()) for _, (folder, _) in moved})
        ledger.audit(
            "moved messages stay where they were in the target",
            mailbox_id=lease.mailbox_id,
            folder=folder_id,
            messages=len(moved),
            stay_in=left,
        )
