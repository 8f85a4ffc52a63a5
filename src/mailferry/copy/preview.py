"""What a copy would do to one mailbox, without doing it (`--dry-run`). Writes nothing, also not in the ledger."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from mailferry.copy.policy import CopyPolicy
from mailferry.errors import ItemError
from mailferry.ledger.writer import LedgerThread
from mailferry.plan.folders import map_folders
from mailferry.plan.messages import Known, compare
from mailferry.sources.base import Source
from mailferry.targets.base import Target


@dataclass(frozen=True, slots=True)
class FolderPreview:
    """One folder: labels, whether it would be made, and how many messages would be copied, re-flagged, or have gone.

    `rule`: why it is left out, None for a folder that comes along. `note`: what is remarkable about its place.
    """

    source: str
    target: str
    create: bool
    listed: int
    copy: int
    flags: int
    gone: int
    rule: str | None = None
    note: str | None = None


async def preview_mailbox(
    source: Source, target: Target, ledger: LedgerThread | None, policy: CopyPolicy
) -> list[FolderPreview]:
    """Every folder in the order of the source. Raises what connecting raises; a folder that does not open says so."""
    reading, writing = await asyncio.gather(source.session(), target.session())
    try:
        folders, there = await asyncio.gather(reading.folders(), writing.folders())
        rows = {}
        if ledger is not None:
            mailboxes = await ledger.call(lambda db: db.mailboxes())
            mine = [one.id for one in mailboxes if (one.source_key, one.target_key) == (source.key, target.key)]
            for mailbox_id in mine:
                rows = {row.source_path: row for row in await ledger.call(lambda db: db.folders(mailbox_id))}
        previous = {path: row.target_path for path, row in rows.items() if row.target_path is not None}
        plan = map_folders(folders, there, writing.limits(), policy.folders, previous)
        shown = []
        for pair in plan.pairs:
            known = {}
            row = rows.get(pair.source.path)
            if ledger is not None and row is not None:
                messages = await ledger.call(lambda db: db.messages(row.id))
                known = {m.source_uid: Known(m.state, m.flags, m.keywords, m.target_uid) for m in messages}
            label = "/".join(pair.target_path)
            if not pair.source.selectable:
                shown.append(FolderPreview(pair.source.label, label, pair.create, 0, 0, 0, 0, note=pair.note))
                continue
            try:
                await reading.select(pair.source)
                listing = await reading.listing()
            except ItemError as error:
                text = f"cannot be opened: {error.message}"
                shown.append(FolderPreview(pair.source.label, label, pair.create, 0, 0, 0, 0, note=text))
                continue
            actions = compare(listing, known)
            shown.append(
                FolderPreview(
                    source=pair.source.label,
                    target=label,
                    create=pair.create,
                    listed=len(listing.messages),
                    copy=len(actions.copy),
                    flags=len(actions.flags),
                    gone=len(actions.gone),
                    note=pair.note,
                )
            )
        for one in plan.excluded:
            listed = one.folder.status.messages if one.folder.status else 0
            shown.append(FolderPreview(one.folder.label, "", False, listed, 0, 0, 0, rule=one.text))
        return shown
    finally:
        await asyncio.gather(reading.close(), writing.close())
