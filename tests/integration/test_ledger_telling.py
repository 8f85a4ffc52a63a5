"""Letters, listeners and the accounts of people in waves, on SQLite and PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mailferry.ledger import directory as records
from mailferry.ledger import letters, open_ledger, telling
from mailferry.ledger import waves as ledger_waves
from mailferry.ledger.letters import State
from mailferry.ledger.rows import DirectoryAccount
from mailferry.ledger.store import Ledger
from mailferry.model.wave import Move


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    place = str(tmp_path / "ledger.db")
    if request.param == "postgresql":
        monkeypatch.setattr(telling, "SETTLE", 0.0)
        place = request.getfixturevalue("postgres").create_database(f"telling_{uuid.uuid4().hex}")
    with closing(open_ledger(place)) as opened:
        yield opened


def moves(ledger: Ledger, count: int) -> list[Move]:
    wave = ledger_waves.create(ledger, "w", {})
    some = [Move(0, 0, f"ad:{n}", f"p{n}@x.example", f"p{n}", "mailbox", "s", "t", "st") for n in range(count)]
    ledger_waves.add(ledger, wave.id, some)
    return ledger_waves.moves(ledger, wave.id)


def test_a_letter_is_intended_by_one_only(ledger: Ledger) -> None:
    one, *_, twelfth = moves(ledger, 12)
    assert (one.id, twelfth.id) == (1, 12)
    assert letters.intend(ledger, twelfth, "before", "<a@b>")
    assert letters.states(ledger, "before", one.id).get(one.id) is None
    assert letters.intend(ledger, one, "before", "<a@b>")
    assert letters.intend(ledger, one, "after", "<a@b>")
    assert not letters.intend(ledger, one, "before", "<a@b>")
    assert letters.intend(ledger, one, "before", "<a@b>", again=True)
    letters.settle(ledger, one, "before", State.REFUSED, "550 % \"no\" 'ü'")
    assert letters.intend(ledger, one, "before", "<a@b>")
    letters.settle(ledger, one, "before", State.SENT)
    assert not letters.intend(ledger, one, "before", "<a@b>", again=True)
    assert letters.states(ledger, "before") == {one.id: State.SENT, twelfth.id: State.INTENDED}
    assert letters.states(ledger, "after") == {one.id: State.INTENDED}


def test_a_listener_hears_what_comes_after_it(ledger: Ledger) -> None:
    ledger.audit("kind", number=1)
    assert telling.mark(ledger, "l") == telling.mark(ledger, "l")
    assert telling.following(ledger, telling.mark(ledger, "l"), ["kind"], 9) == []
    for number in (2, 3, 4):
        ledger.audit("kind", number=number)
        ledger.audit("other", number=number)
    found = telling.following(ledger, telling.mark(ledger, "l"), ["kind"], 2)
    assert [one.data["number"] for one in found] == [2, 3]
    telling.taken(ledger, "l", found[-1].id)
    telling.taken(ledger, "l", found[0].id)  # a slower process: the mark does not go back
    assert [one.data["number"] for one in telling.following(ledger, telling.mark(ledger, "l"), ["kind"], 9)] == [4]
    start = telling.mark(ledger, "l", from_start=True)
    assert [one.data["number"] for one in telling.following(ledger, start, ["kind"], 9)] == [1, 2, 3, 4]
    assert telling.mark(ledger, "another", from_start=True) == 0


def test_accounts_by_many_ids(ledger: Ledger) -> None:
    first, second = (records.bind(ledger, "a", name).id for name in "bc")
    rows = [DirectoryAccount(f"ad:{n}", "mailbox", f"acc{n}", None, f"uid{n}", f"uid={n}") for n in range(1200)]
    with records.held(ledger, first), records.held(ledger, second):
        records.put_accounts(ledger, first, rows)
        records.put_accounts(ledger, second, [rows[7]._replace(uid="again")])
    found = records.accounts_of(ledger, [row.source_id for row in rows] + ["ad:nobody"])
    assert len(found) == 1200
    assert (found["ad:7"].uid, found["ad:1199"].account) == ("again", "acc1199")
