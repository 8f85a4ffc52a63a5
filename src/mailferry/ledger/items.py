"""What the ledger knows of events, contacts, tasks and notes: where each went, and why one did not.

Functions over an open `Ledger`, for one thread. Invariant: whoever lost the lease of the mailbox writes nothing. Raises
what `Ledger` raises.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mailferry.errors import LocalProtocolError
from mailferry.ledger.rows import Kind as NoteKind
from mailferry.ledger.rows import Lease
from mailferry.ledger.schema import item, item_collection, item_note
from mailferry.model.groupware import Kind

if TYPE_CHECKING:
    from mailferry.ledger.store import Ledger


class ItemState(IntEnum):
    """How far an item is. INTENDED that became nothing else: it may have been sent, nobody knows."""

    INTENDED = 1
    THERE = 2
    FAILED = 3  # it did not come; a note says why
    KEPT = 4  # it has gone from the source, and stays at the target
    LEFT = 5  # it is somebody's at the target, who made, changed or removed it there


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """A collection of a mailbox and where it goes. `place`: the target's name of it, None: not made yet. The tokens are
    those of the last complete pass, "" where nothing can be concluded from them. `completed`: when that was. `score`,
    `findings`: of the last verification (`verify/items`): finding → how many."""

    id: int
    mailbox_id: int
    target_key: str
    source_id: str
    kind: Kind
    path: tuple[str, ...]
    place: str | None
    source_token: str
    target_token: str
    completed: float | None
    score: str | None
    findings: Mapping[str, int] | None


class ItemRow(NamedTuple):
    """One item. `digest`: of the bytes that were sent last; None: what is there is not ours. `uid`, `href`, `etag`: ""
    while it is not there."""

    source_id: str
    state: ItemState
    version: str
    uid: str = ""
    href: str = ""
    etag: str = ""
    digest: bytes | None = None


class Note(NamedTuple):
    """Why an item did not come, or what is different about it. `source_id` "": the collection itself. `happens`: the
    item's date, for people."""

    source_id: str
    kind: NoteKind
    reason: str
    text: str
    item_class: str = ""
    happens: str = ""


_COLLECTION = tuple(item_collection.c[name] for name in CollectionRow.__slots__)
_ITEM = tuple(item.c[name] for name in ItemRow._fields)


def key(source_id: str) -> bytes:
    """An item's key in the tables; empty for the collection itself."""
    return hashlib.sha256(source_id.encode("utf-8", "surrogatepass")).digest()[:20] if source_id else b""


def collections(ledger: Ledger, mailbox_id: int | None = None, target_keys: Iterable[str] = ()) -> list[CollectionRow]:
    """Those of a mailbox or of all, that go to one of these targets or to any, in the order they were first seen."""
    rows = sa.select(*_COLLECTION).order_by(item_collection.c.id)
    if mailbox_id is not None:
        rows = rows.where(item_collection.c.mailbox_id == mailbox_id)
    if keys := list(target_keys):
        rows = rows.where(item_collection.c.target_key.in_(keys))
    with ledger._read() as connection:
        return [_row(one) for one in connection.execute(rows)]


def put_collection(
    ledger: Ledger, lease: Lease, target_key: str, source_id: str, kind: Kind, path: Sequence[str]
) -> CollectionRow:
    """The collection's row, made where it is new; its path is brought up to date, and its target where it had none."""
    with ledger._write() as connection:
        ledger._guard(connection, lease)
        for row in collections(ledger, lease.mailbox_id, [target_key, ""]):
            if (row.source_id, row.kind) == (source_id, kind):
                now = replace(row, path=tuple(path), target_key=target_key)
                if now != row:
                    here = item_collection.c.id == row.id
                    change = item_collection.update().where(here)
                    connection.execute(change.values(path=list(path), target_key=target_key))
                return now
        new = {"mailbox_id": lease.mailbox_id, "target_key": target_key, "source_id": source_id, "kind": kind.value}
        values = {**new, "path": list(path), "source_token": "", "target_token": ""}
        made = connection.execute(item_collection.insert().values(**values).returning(*_COLLECTION)).one()
        return _row(made)


def update_collection(ledger: Ledger, lease: Lease, collection_id: int, /, **values: Any) -> None:
    """Set columns: place, source_token, target_token, completed, score, findings."""
    here = sa.and_(item_collection.c.id == collection_id, item_collection.c.mailbox_id == lease.mailbox_id)
    with ledger._write() as connection:
        ledger._guard(connection, lease)
        if connection.execute(item_collection.update().where(here).values(**values)).rowcount != 1:
            raise LocalProtocolError(f"mailbox {lease.mailbox_id} has no collection {collection_id}")


def items(ledger: Ledger, collection_id: int) -> dict[str, ItemRow]:
    """By their ids at the source."""
    with ledger._read() as connection:
        found = connection.execute(sa.select(*_ITEM).where(item.c.collection_id == collection_id))
        return {row.source_id: ItemRow(*row)._replace(state=ItemState(row.state)) for row in found}


def put_items(ledger: Ledger, lease: Lease, collection_id: int, rows: Sequence[ItemRow], point: str = "items") -> None:
    """Write these rows, new or in place of the old ones. Hooks: `point`."""
    if not rows:
        return
    values = [
        {"collection_id": collection_id, "key": key(row.source_id), **row._asdict(), "state": int(row.state)}
        for row in rows
    ]
    with ledger._write() as connection:
        ledger._guard(connection, lease)
        ledger._points.append(point)
        insert: Any = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(item)
        changed = {name: insert.excluded[name] for name in ItemRow._fields}
        connection.execute(insert.on_conflict_do_update(index_elements=["collection_id", "key"], set_=changed), values)


def forget_items(ledger: Ledger, lease: Lease, collection_id: int, source_ids: Sequence[str]) -> None:
    """They are neither here nor there any more."""
    with ledger._write() as connection:
        ledger._guard(connection, lease)
        for one in source_ids:
            here = sa.and_(item.c.collection_id == collection_id, item.c.key == key(one))
            connection.execute(item.delete().where(here))
            note = sa.and_(item_note.c.collection_id == collection_id, item_note.c.key == key(one))
            connection.execute(item_note.delete().where(note))


def put_notes(ledger: Ledger, lease: Lease, collection_id: int, about: Sequence[str], notes: Sequence[Note]) -> None:
    """What is to be told of the items `about` is now this, and nothing else."""
    if not about and not notes:
        return
    now = time.time()
    with ledger._write() as connection:
        ledger._guard(connection, lease)
        for one in about:
            here = sa.and_(item_note.c.collection_id == collection_id, item_note.c.key == key(one))
            connection.execute(item_note.delete().where(here))
        for one_note in notes:
            values = one_note._asdict() | {"kind": one_note.kind.value, "collection_id": collection_id, "seen": now}
            values["key"] = key(values.pop("source_id"))
            insert: Any = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(item_note)
            changed = {name: insert.excluded[name] for name in ("text", "item_class", "happens", "seen")}
            index = ["collection_id", "key", "kind", "reason"]
            connection.execute(insert.on_conflict_do_update(index_elements=index, set_=changed), values)


def keep_notes(ledger: Ledger, lease: Lease, collection_id: int, source_ids: Iterable[str]) -> None:
    """Of items that are not among these there is nothing to tell any more."""
    kept = {b"", *map(key, source_ids)}
    there = sa.select(item_note.c.key).where(item_note.c.collection_id == collection_id).distinct()
    with ledger._write() as connection:
        ledger._guard(connection, lease)
        over = [one for one in connection.execute(there).scalars() if one not in kept]
        here = sa.and_(item_note.c.collection_id == collection_id, item_note.c.key == sa.bindparam("of_key"))
        if over:
            connection.execute(item_note.delete().where(here), [{"of_key": one} for one in over])


def notes(ledger: Ledger, collection_id: int) -> list[Note]:
    """Everything there is to tell, by date. `source_id` is "" in all of them: the table keeps digests."""
    columns = (item_note.c.kind, *(item_note.c[name] for name in ("reason", "text", "item_class", "happens")))
    rows = sa.select(*columns).where(item_note.c.collection_id == collection_id).order_by(item_note.c.happens)
    with ledger._read() as connection:
        return [Note("", NoteKind(row[0]), *row[1:]) for row in connection.execute(rows)]


def counts(ledger: Ledger, collection_id: int) -> dict[ItemState, int]:
    """How many items are in each state."""
    rows = sa.select(item.c.state, sa.func.count()).where(item.c.collection_id == collection_id).group_by(item.c.state)
    with ledger._read() as connection:
        return {ItemState(state): number for state, number in connection.execute(rows)}


def _row(row: sa.Row[Any]) -> CollectionRow:
    values = row._asdict()
    return CollectionRow(**values | {"kind": Kind(row.kind), "path": tuple(row.path)})
