"""What was sent and not confirmed: finds it in the target by its bytes, and records it. Sends and removes nothing.

Invariant: a message is recorded as arrived only if the target holds its bytes (or, where a target changes bytes as it
stores them, its fingerprint) at a uid that no other row has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mailferry.copy.stream import strong_fingerprint
from mailferry.copy.work import MailboxWork
from mailferry.ledger.rows import MessageRow
from mailferry.model.message import Listed, Message, digest
from mailferry.model.state import HELD, State
from mailferry.plan.messages import Bytes, settle
from mailferry.sources.base import SourceSession


async def settle_sent(
    mailbox: MailboxWork,
    target: SourceSession,
    folder_id: int,
    rows: Sequence[MessageRow],
    pending: Sequence[MessageRow],
    base: int,
) -> set[int]:
    """Confirm those of `pending` that stand in the target from uid `base` on; returns their source uids. `rows`: all of
    the folder, which is selected in the target.

    They are looked for by exact digest, identical ones first by their internal date, since an earlier attempt's copy of
    one may lie beside the last attempt's copy of another. A target that changes bytes as it stores them is met by the
    fingerprint, which counts as adopted by headers. Flags are recorded as the target has them: which of several
    attempts arrived is not known, and the source's flags may have changed between them.
    """
    found = await read_gap(target, rows, base)
    settled = settle(
        [Bytes(m.source_uid, _with_date(m.digest or b"", m.internal_date)) for m in pending],
        [Bytes(one.uid, _with_date(one.digest, one.internal_date)) for one in found],
    )
    taken = set(settled.values())
    settled |= settle(
        [Bytes(m.source_uid, m.digest or b"") for m in pending if m.source_uid not in settled],
        [Bytes(one.uid, one.digest) for one in found if one.uid not in taken],
    )
    taken = set(settled.values())
    by_headers: dict[int, int] = {}
    for message in pending:
        if message.source_uid not in settled and message.fingerprint is not None:
            same = (one.uid for one in found if one.fingerprint == message.fingerprint and one.uid not in taken)
            if (uid := next(same, None)) is not None:
                taken.add(uid)
                by_headers[message.source_uid] = uid
    ledger, lease = mailbox.engine.ledger, mailbox.lease
    await ledger.write(lambda db: db.confirm(lease, folder_id, sorted(settled.items())))
    await ledger.write(lambda db: db.confirm(lease, folder_id, sorted(by_headers.items()), State.ADOPTED))
    marks = {one.uid: one.listed for one in found}
    arrived = [(uid, marks[to].flags, marks[to].keywords) for uid, to in sorted({**settled, **by_headers}.items())]
    await ledger.write(lambda db: db.set_flags(lease, folder_id, arrived))
    mailbox.arrived += len(arrived)
    return {*settled, *by_headers}


def _with_date(body: bytes, internal_date: int | None) -> bytes:
    return body + b"%d" % (internal_date or 0)


class Found(NamedTuple):
    """A message of the target that is not recorded. `internal_date`: seconds since 1970."""

    uid: int
    digest: bytes
    fingerprint: int | None
    internal_date: int
    listed: Listed


async def read_gap(target: SourceSession, rows: Sequence[MessageRow], base: int) -> list[Found]:
    """What stands in the selected folder from uid `base` on and is not recorded; what has gone from the source and is
    kept here is recorded too."""
    kept = HELD | {State.GONE}
    recorded = {m.target_uid for m in rows if m.target_uid is not None and m.state in kept}
    listing = await target.listing()
    listed = {item.uid: item for item in listing.messages if item.uid >= base and item.uid not in recorded}
    found: list[Found] = []
    async for item in target.fetch(list(listed)):
        if isinstance(item, Message):
            fingerprint = strong_fingerprint(item.body)
            found.append(Found(item.uid, digest(item.body), fingerprint, item.internal_date.epoch, listed[item.uid]))
            item.body.close()
    return found
