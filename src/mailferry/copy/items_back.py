"""What people made, changed or removed at the target since it was brought there, written to files for the way back.

Changes neither side. Invariants: done again, it writes the same files; a file is there whole or not at all, inside the
directory given, whatever a collection or item is called.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from mailferry.errors import Permanent
from mailferry.ledger import items as rows
from mailferry.ledger.items import CollectionRow, ItemState, Note
from mailferry.ledger.rows import Kind as NoteKind
from mailferry.ledger.rows import Lease
from mailferry.ledger.writer import LedgerThread
from mailferry.targets.items import ItemTarget, ItemTargetSession, Place

REMOVED = "removed.txt"
"""In a collection's directory: the UIDs of what people removed, a line each."""


@dataclass(frozen=True, slots=True)
class Returned:
    """One collection: `written` files, and how many items people `removed`."""

    name: str
    written: int
    removed: int


async def bring_back(ledger: LedgerThread, targets: Sequence[ItemTarget], lease: Lease, folder: Path) -> list[Returned]:
    """Collections in which people changed something; a directory below `folder` for each. Permanent: it cannot be
    written."""
    done = []
    async with AsyncExitStack() as stack:
        for target in targets:
            session = await target.items_session()
            stack.push_async_callback(session.close)
            known = {row.place: row for row in await ledger.call(rows.collections, lease.mailbox_id, [target.key])}
            for place in await session.places():
                one = await _collection(ledger, session, place, lease, known.get(place.id), folder)
                if one.written or one.removed:
                    done.append(one)
    return done


async def _collection(
    ledger: LedgerThread,
    session: ItemTargetSession,
    place: Place,
    lease: Lease,
    row: CollectionRow | None,
    folder: Path,
) -> Returned:
    listing = await session.listing(place)
    known = (await ledger.call(rows.items, row.id)).values() if row is not None else ()
    ours = {one.href: one.etag for one in known if one.href and one.digest is not None}
    changed = [href for href, etag in listing.items() if ours.get(href) != etag]
    removed = [one.uid for one in known if one.state is ItemState.THERE and one.href not in listing]
    name = place.name or unquote(place.id.rstrip("/").rpartition("/")[2])
    if not changed and not removed:
        return Returned(name, 0, 0)
    where = folder / _safe(unquote(place.id.rstrip("/").rpartition("/")[2]))
    async for one in session.read(place, changed):
        await asyncio.to_thread(_write, where / _safe(unquote(one.href.rpartition("/")[2])), one.data)
    if removed:
        lines = "".join(f"{uid}\n" for uid in sorted(removed))
        await asyncio.to_thread(_write, where / REMOVED, lines.encode("utf-8", "replace"))
    if row is not None:
        text = f"{len(changed)} items made or changed at the target, and {len(removed)} removed there: see {where}"
        note = Note("", NoteKind.DIFFERENCE, "returned", text)
        await ledger.write(rows.put_notes, lease, row.id, [""], [note])
    return Returned(name, len(changed), len(removed))


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9@._-]+", "_", name).lstrip(".")[:200] or "_"


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f"{path.name}.new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        draft.replace(path)
    except OSError as error:
        raise Permanent(f"cannot be written: {error.strerror}", about=str(path)) from error
