"""Carries POP3 UIDLs of the INBOX where the source tells them and the target is a store that we write ourselves.

What cannot be matched with certainty gets none and is listed (law 8): such a client downloads that message again.
"""

from __future__ import annotations

from collections.abc import Sequence

from mailferry.copy.folder import FolderDone
from mailferry.copy.work import MailboxWork
from mailferry.errors import MailferryError
from mailferry.model.folder import INBOX, Folder
from mailferry.model.message import Reason
from mailferry.model.state import HELD
from mailferry.plan.fingerprint import candidate, match
from mailferry.sources.base import HasUidls
from mailferry.targets.base import KeepsUidls
from mailferry.targets.lane import Lane

SPARE = 50
"""UIDLs read beyond the number of new messages: some of the latest may have been deleted or moved meanwhile."""


async def carry_uidls(
    work: MailboxWork, lane: Lane, done: Sequence[FolderDone], source_folders: Sequence[Folder]
) -> None:
    """Give the messages that this pass brought to the INBOX the UIDLs that they have at the source."""
    source, target = lane.source, lane.target
    inbox = next((one for one in done if one.row.source_path == INBOX), None)
    folder = next((one for one in source_folders if one.path == INBOX), None)
    if inbox is None or folder is None or not isinstance(source, HasUidls) or not isinstance(target, KeepsUidls):
        return
    ledger = work.engine.ledger
    rows = await ledger.call(lambda db: db.messages(inbox.row.id))
    new = {m.source_uid: m.target_uid for m in rows if m.pass_id == work.pass_id and m.state in HELD and m.target_uid}
    if not new:
        return
    try:
        uidls = await source.uidls(len(new) + SPARE)
    except MailferryError as error:
        await work.different(inbox.row.id, None, Reason.UIDL, f"no POP3 UIDL could be kept: {error.message}")
        return
    if not uidls:
        return
    await source.select(folder)
    ours = [candidate(item.uid, item.block) async for item in source.headers(sorted(new))]
    pairs = match(ours, [candidate(number, uidl.block) for number, uidl in enumerate(uidls)]).pairs
    wanted = {target_uid: uidls[number].text for uid, number in pairs if (target_uid := new[uid]) is not None}
    refused = await target.keep_uidls(inbox.target, wanted)
    lost = len(new) - len(wanted) + len(refused)
    if lost:
        await work.different(
            inbox.row.id,
            None,
            Reason.UIDL,
            f"{lost} of {len(new)} messages keep no POP3 UIDL: clients download them again",
        )
