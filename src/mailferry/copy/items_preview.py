"""What a copy of events and contacts would do, collection by collection. Writes nothing, not even into the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from mailferry.copy.items import as_known
from mailferry.errors import ItemError
from mailferry.ledger import items as rows
from mailferry.ledger.items import CollectionRow, ItemRow
from mailferry.ledger.writer import LedgerThread
from mailferry.model.groupware import Kind
from mailferry.plan.items import ItemPolicy, compare
from mailferry.sources.items import ItemSource
from mailferry.targets.items import ItemTarget


@dataclass(frozen=True, slots=True)
class CollectionPreview:
    """One collection: how many items it lists, of which `bring` would be read and brought, and `gone` have gone.
    `place`: where it goes, "" where a collection would be made. `note`: why it does not come."""

    path: str
    kind: str
    place: str
    listed: int
    bring: int
    gone: int
    excluded: int
    note: str = ""


async def preview_items(
    source: ItemSource,
    targets: Sequence[ItemTarget],
    ledger: LedgerThread | None,
    keys: tuple[str, str],
    policy: ItemPolicy,
) -> list[CollectionPreview]:
    """`keys`: the ledger's names of the pair. Raises what connecting raises."""
    known = await _rows(ledger, keys)
    shown = []
    async with AsyncExitStack() as stack:
        session = await source.items_session()
        stack.push_async_callback(session.close)
        opened = []
        for target in targets:
            writing = await target.items_session()
            stack.push_async_callback(writing.close)
            opened.append((target, writing, {place.id: place for place in await writing.places()}))
        for collection in await session.collections():
            path, kind = "/".join(collection.path), collection.kind.value
            try:
                contents = await session.contents(collection)
            except ItemError as error:
                shown.append(CollectionPreview(path, kind, "", 0, 0, 0, 0, error.message))
                continue
            number, out = len(contents.items), len(contents.not_carried)
            found = next((one for one in opened if collection.kind in one[0].kinds), None)
            if found is None:
                shown.append(CollectionPreview(path, kind, "", number, 0, 0, number + out, "no target for its kind"))
                continue
            target, writing, places = found
            row, items = known.get((target.key, collection.id, collection.kind), (None, {}))
            place = places.get(row.place or "") if row else None
            if place is None and collection.default:
                place = next((one for one in places.values() if one.default and collection.kind in one.kinds), None)
            listing = await writing.listing(place) if place is not None else {}
            actions = compare(contents, as_known(items), listing, policy.source_wins)
            where = place.id if place is not None else ""
            shown.append(CollectionPreview(path, kind, where, number, len(actions.bring), len(actions.gone), out))
    return shown


async def _rows(
    ledger: LedgerThread | None, keys: tuple[str, str]
) -> dict[tuple[str, str, Kind], tuple[CollectionRow, dict[str, ItemRow]]]:
    if ledger is None:
        return {}
    mailboxes = await ledger.call(lambda db: db.mailboxes())
    mine = [one.id for one in mailboxes if (one.source_key, one.target_key) == keys]
    return {
        (row.target_key, row.source_id, row.kind): (row, await ledger.call(rows.items, row.id))
        for mailbox_id in mine
        for row in await ledger.call(rows.collections, mailbox_id)
    }
