"""Adopts what the target folder holds already, brought by another tool or by hand (design §5). Sends nothing.

Recognised by Message-ID and Date's instant, From and Subject as tie-breaks; what headers leave open is fetched from
both sides and compared by bytes. Invariant: one target message is adopted for at most one source message.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from mailferry.copy.headers import source_headers
from mailferry.copy.work import FolderWork
from mailferry.ledger.rows import Adopted, MessageRow
from mailferry.model.message import Headers, Listed, Listing, Message, digest
from mailferry.model.state import HELD, State
from mailferry.plan.fingerprint import Candidate, candidate, match
from mailferry.plan.messages import Bytes, settle
from mailferry.sources.base import SourceSession

RECORD_AT_ONCE = 1000


async def adopt(work: FolderWork, listing: Listing, rows: list[MessageRow]) -> list[MessageRow]:
    """Record every message of `listing` that the target holds already. Returns the folder's rows after it.

    The rows carry the target's flags, so that the comparison which follows brings the source's over.
    """
    done = {m.source_uid for m in rows if m.state in HELD}
    taken = {m.target_uid for m in rows if m.state in HELD}
    ours = [item.uid for item in listing.messages if item.uid not in done]
    there = {item.uid: item for item in (await work.target.listing()).messages if item.uid not in taken}
    if not ours or not there:
        return rows
    source, source_dates = await _candidates(source_headers(work.mailbox, work.row.id, work.source, ours))
    target, _ = await _candidates(work.target.headers(list(there)))
    matches = match(source, target)
    prints = {one.uid: one.fingerprint.value for one in source if one.fingerprint.by_id}
    adopted = [_row(uid, there[target_uid], State.ADOPTED, source_dates, prints) for uid, target_uid in matches.pairs]
    for group in matches.ambiguous:
        mine = await _digests(work.source, group.source)
        theirs = await _digests(work.target, group.target)
        digests = {one.uid: one.digest for one in mine}
        for uid, target_uid in settle(mine, theirs).items():
            row = _row(uid, there[target_uid], State.PROVEN, source_dates, prints)
            adopted.append(row._replace(digest=digests[uid]))
    ledger = work.ledger
    for start in range(0, len(adopted), RECORD_AT_ONCE):
        part = adopted[start : start + RECORD_AT_ONCE]
        await ledger.write(lambda db: db.adopt(work.lease, work.row.id, work.mailbox.pass_id, part))
    return await ledger.call(lambda db: db.messages(work.row.id))


def _row(uid: int, there: Listed, state: State, dates: dict[int, int], prints: dict[int, int]) -> Adopted:
    return Adopted(
        source_uid=uid,
        target_uid=there.uid,
        state=state,
        flags=there.flags,
        keywords=there.keywords,
        internal_date=dates[uid],
        size=None,
        fingerprint=prints.get(uid),  # one without a Message-ID is too weak to recognise a move by
    )


async def _candidates(headers: AsyncIterator[Headers]) -> tuple[list[Candidate], dict[int, int]]:
    found: list[Candidate] = []
    dates: dict[int, int] = {}
    async for item in headers:
        found.append(candidate(item.uid, item.block))
        dates[item.uid] = item.internal_date.epoch
    return found, dates


async def _digests(session: SourceSession, uids: Sequence[int]) -> list[Bytes]:
    found: list[Bytes] = []
    async for item in session.fetch(uids):
        if isinstance(item, Message):
            found.append(Bytes(item.uid, digest(item.body)))
            item.body.close()
    return found
