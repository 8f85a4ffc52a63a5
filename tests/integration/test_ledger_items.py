"""What the ledger keeps of events and contacts, on both databases."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mailferry.errors import Fenced, LocalProtocolError
from mailferry.ledger import items as rows
from mailferry.ledger import open_ledger
from mailferry.ledger.items import ItemRow, ItemState, Note
from mailferry.ledger.rows import Kind as NoteKind
from mailferry.ledger.rows import Lease
from mailferry.ledger.store import Ledger
from mailferry.model.groupware import Kind


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    place = str(tmp_path / "ledger.db")
    if request.param == "postgresql":
        place = request.getfixturevalue("postgres").create_database(f"items_{uuid.uuid4().hex}")
    with closing(open_ledger(place)) as opened:
        yield opened


def leased(ledger: Ledger) -> Lease:
    return ledger.acquire(ledger.mailbox("a", "b").id, "host:1:1-boot-1", 60)


def test_items_and_notes_are_kept_changed_and_forgotten(ledger: Ledger) -> None:
    lease = leased(ledger)
    odd = ("Größe\x00", "\ud800 / x")
    row = rows.put_collection(ledger, lease, "dav", "id" * 5000, Kind.EVENT, odd)
    assert (row.path, row.kind, row.place) == (odd, Kind.EVENT, None)
    assert rows.put_collection(ledger, lease, "dav", "id" * 5000, Kind.EVENT, odd) == row
    assert rows.put_collection(ledger, lease, "dav", "id" * 5000, Kind.TASK, odd).id != row.id
    rows.update_collection(ledger, lease, row.id, place="/p/", findings={"missing": 1})
    assert rows.collections(ledger, lease.mailbox_id)[0].findings == {"missing": 1}

    long, short = "x" * 9000, "\x00y"
    rows.put_items(
        ledger, lease, row.id, [ItemRow(long, ItemState.INTENDED, "1"), ItemRow(short, ItemState.FAILED, "1")]
    )
    there = ItemRow(long, ItemState.THERE, "2", "uid", "/p/uid.ics", '"e"', b"d" * 20)
    rows.put_items(ledger, lease, row.id, [there])
    assert rows.items(ledger, row.id)[long] == there
    assert rows.counts(ledger, row.id) == {ItemState.THERE: 1, ItemState.FAILED: 1}

    rows.put_notes(
        ledger, lease, row.id, [short], [Note(short, NoteKind.FAILED, "refused", "no", "IPM.Task", "2026-01-02")]
    )
    rows.put_notes(ledger, lease, row.id, [long], [Note(long, NoteKind.DIFFERENCE, "loss", "x", "", "2025-01-01")])
    assert [one.reason for one in rows.notes(ledger, row.id)] == ["loss", "refused"]
    rows.keep_notes(ledger, lease, row.id, [short])
    assert [one.reason for one in rows.notes(ledger, row.id)] == ["refused"]
    rows.forget_items(ledger, lease, row.id, [short])
    assert not rows.notes(ledger, row.id)
    assert list(rows.items(ledger, row.id)) == [long]


def test_who_lost_the_lease_writes_nothing(ledger: Ledger) -> None:
    lease = leased(ledger)
    row = rows.put_collection(ledger, lease, "dav", "id", Kind.EVENT, ("Calendar",))
    ledger.release(lease)
    with pytest.raises(Fenced):
        rows.put_items(ledger, lease, row.id, [ItemRow("x", ItemState.INTENDED, "1")])
    assert not rows.items(ledger, row.id)
    other = ledger.acquire(ledger.mailbox("c", "d").id, "host:1:1-boot-1", 60)
    with pytest.raises(LocalProtocolError):
        rows.update_collection(ledger, other, row.id, place="/theirs/")
