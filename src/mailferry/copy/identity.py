"""Is this still the same source mailbox, and is it another one than the target? (law 4). Changes nothing in either.

Over plain IMAP a mailbox shows no immutable id: its identity is INBOX's uidvalidity with the fingerprints of its 20
oldest messages. What has been deleted since proves nothing; what is there and differs is a safety stop. A store that
shows such an id (`HasIdentity`) is bound to that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from mailferry.copy.headers import source_headers
from mailferry.copy.policy import Accept
from mailferry.copy.work import MailboxWork
from mailferry.errors import ItemError, SafetyStop
from mailferry.model.folder import INBOX, Folder
from mailferry.plan.fingerprint import fingerprint
from mailferry.sources.base import HasIdentity, SourceSession, select_listed
from mailferry.targets.lane import Lane

OLDEST = 20
NO_FOLDER = 0
"""What breaks connections here is kept apart from the folders' own suspects: INBOX may have no row yet."""


async def check_identity(work: MailboxWork, lane: Lane, source: Sequence[Folder], target: Sequence[Folder]) -> None:
    """Bind the mailbox to the identity it shows, or compare with the one it is bound to. Raises SafetyStop."""
    ledger, accept = work.engine.ledger, work.engine.policy.accept
    if isinstance(lane.source, HasIdentity) and lane.source.identity:
        await _check_shown(work, lane.source.identity)
        return
    inbox = next((folder for folder in source if folder.path == INBOX and folder.selectable), None)
    if inbox is None:
        return
    bound = (await ledger.call(lambda db: db.mailbox_by_id(work.lease.mailbox_id))).identity
    try:
        if bound is not None and Accept.IDENTITY not in accept:
            selected = await lane.source.select(inbox)
            await _compare(work, lane.source, selected.status.uidvalidity, json.loads(bound), "source")
            return
        if bound is None and Accept.SAME not in accept:
            _refuse_same(source, target)
        selected, listing = await select_listed(lane.source, inbox)
        prints = await _prints(work, lane.source, [item.uid for item in listing.messages[:OLDEST]])
    except ItemError:
        return  # an INBOX that does not open is reported with its folder
    shown = json.dumps({"uidvalidity": selected.status.uidvalidity, "oldest": prints})
    await ledger.write(lambda db: db.bind_identity(work.lease, shown, anew=True))


async def check_target(work: MailboxWork, lane: Lane, target: Sequence[Folder], bound: str) -> None:
    """Is the target the mailbox that showed the identity `bound` when it was a source? Raises SafetyStop."""
    inbox = next((folder for folder in target if folder.path == INBOX and folder.selectable), None)
    if inbox is None or Accept.IDENTITY in work.engine.policy.accept:
        return
    try:
        selected = await lane.target.select(inbox)
    except ItemError:
        return  # as above
    await _compare(work, lane.target, selected.status.uidvalidity, json.loads(bound), "target")


async def _check_shown(work: MailboxWork, shown: str) -> None:
    """The same for a store that shows an immutable id."""
    ledger = work.engine.ledger
    bound = (await ledger.call(lambda db: db.mailbox_by_id(work.lease.mailbox_id))).identity
    known = json.loads(bound).get("id") if bound is not None else None
    if known not in (None, shown) and Accept.IDENTITY not in work.engine.policy.accept:
        raise SafetyStop(
            "this is not the source that the first copy saw: another mailbox has its name now",
            advice="make sure that this source belongs to this target; if it does, run again with "
            "--accept identity --accept uidvalidity",
        )
    if known != shown:
        text = json.dumps({"id": shown})
        await ledger.write(lambda db: db.bind_identity(work.lease, text, anew=True))


async def _compare(
    work: MailboxWork, session: SourceSession, uidvalidity: int, bound: dict[str, object], side: str
) -> None:
    oldest = bound["oldest"]
    assert isinstance(oldest, dict)
    now = await _prints(work, session, [int(uid) for uid in oldest])
    differing = [uid for uid, value in now.items() if oldest[uid] != value]
    if uidvalidity == bound["uidvalidity"] and not differing:
        return
    what = (
        f"{len(differing)} of its {len(now)} oldest messages are other messages"
        if differing
        else f"its INBOX was renumbered (uidvalidity {bound['uidvalidity']} was, {uidvalidity} is)"
    )
    raise SafetyStop(
        f"this is not the {side} mailbox that the first copy saw: {what}",
        about="INBOX",
        advice="make sure that source and target belong together; if they do (rebuilt or restored server), "
        "run again with --accept identity --accept uidvalidity",
    )


async def _prints(work: MailboxWork, session: SourceSession, uids: Sequence[int]) -> dict[str, int]:
    items = source_headers(work, NO_FOLDER, session, uids)
    return {str(item.uid): fingerprint(item.block).value async for item in items}


def _refuse_same(source: Sequence[Folder], target: Sequence[Folder]) -> None:
    """Two names for one mailbox show the same folders with the same counters."""

    def shape(folders: Sequence[Folder]) -> dict[str, object]:
        return {folder.name: folder.status for folder in folders if folder.selectable}

    ours, theirs = shape(source), shape(target)
    if ours == theirs and any(folder.status and folder.status.messages for folder in source):
        raise SafetyStop(
            "source and target show the same folders with the same counters: they look like one mailbox",
            advice="check both addresses; if they really are two, run again with --accept same",
        )
