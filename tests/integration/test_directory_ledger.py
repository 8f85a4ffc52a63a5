"""What the ledger keeps of directories, on SQLite and PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mailferry.errors import Busy, Fenced
from mailferry.ledger import directory as records
from mailferry.ledger import open_ledger
from mailferry.ledger.owner import owner_text
from mailferry.ledger.rows import ChangeState, DirectoryAccount
from mailferry.ledger.schema import directory
from mailferry.ledger.store import Ledger

ALICE = DirectoryAccount("ad:1", "mailbox", "alice", None, "alice", "uid=alice,ou=people,dc=x")


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    place = str(tmp_path / "ledger.db")
    if request.param == "postgresql":
        place = request.getfixturevalue("postgres").create_database(f"directory_{uuid.uuid4().hex}")
    with closing(open_ledger(place)) as opened:
        yield opened


def test_a_pair_is_made_once(ledger: Ledger) -> None:
    first = records.bind(ledger, "ad ldaps://a", "ldap://b")
    assert records.bind(ledger, "ad ldaps://a", "ldap://b") == first
    assert records.bind(ledger, "ad ldaps://a", "ldap://c").id != first.id
    assert (first.cookie, first.reconciled, first.mark) == (None, None, None)
    assert len(records.directories(ledger)) == 2


def test_accounts_are_added_and_changed(ledger: Ledger) -> None:
    one, other = (records.bind(ledger, "a", name).id for name in "bc")
    with records.held(ledger, one), records.held(ledger, other):
        records.put_accounts(ledger, one, [ALICE, ALICE._replace(source_id="ad:2", uid="bob\x00", account=None)])
        records.put_accounts(ledger, other, [ALICE])
        records.put_accounts(ledger, one, [ALICE._replace(mailbox_guid="g", gone=5.0)])
        records.put_accounts(ledger, one, [])
    assert records.accounts(ledger, one) == [
        ALICE._replace(mailbox_guid="g", gone=5.0),
        ALICE._replace(source_id="ad:2", uid="bob\x00", account=None),
    ]
    assert records.accounts(ledger, other) == [ALICE]


def test_changes_and_what_became_of_them(ledger: Ledger) -> None:
    number = records.bind(ledger, "a", "b").id
    run = ledger.begin_run("sync")
    rows = [
        {
            "operation": "modify",
            "source_id": f"ad:{n}",
            "dn": f"uid={n}",
            "new_dn": None,
            "before": {},
            "after": {"a": ["ü"]},
        }
        for n in range(300)
    ]
    with records.held(ledger, number):
        ids = records.intend(ledger, number, run, rows)
        assert len(set(ids)) == 300
        states = [(ids[0], ChangeState.DONE, None), (ids[1], ChangeState.FAILED, "why\x00")]
        records.settle(ledger, states)
        records.settle(ledger, [])
    found = records.changes(ledger, number, run)
    assert records.unknown(ledger, number) == found[2:]
    assert records.changes(ledger, number + 1, run) == records.unknown(ledger, number + 1) == []
    assert [one.dn for one in found] == [f"uid={n}" for n in range(300)]
    assert [(one.state, one.error) for one in found[:3]] == [
        (ChangeState.DONE, None),
        (ChangeState.FAILED, "why\x00"),
        (ChangeState.INTENDED, None),
    ]
    assert found[0].after == {"a": ["ü"]}
    assert records.change_counts(ledger) == {run: {"modify": {"done": 1, "failed": 1, "intended": 298}}}


def test_cookie_and_mark(ledger: Ledger) -> None:
    number = records.bind(ledger, "a", "b").id
    with records.held(ledger, number):
        records.set_reconciled(ledger, number, b"\x00cookie", {"ids": "x"})
        records.set_cookie(ledger, number, b"later")
    row = records.bind(ledger, "a", "b")
    assert (row.cookie, row.mark) == (b"later", {"ids": "x"})
    assert row.reconciled and row.cookie_at and row.cookie_at >= row.reconciled


def test_one_holder_at_a_time(ledger: Ledger) -> None:
    number = records.bind(ledger, "a", "b").id
    with records.held(ledger, number):
        records.renew(ledger, number)
        with pytest.raises(Busy, match=f"process {os.getpid()}"), records.held(ledger, number):
            pass
    with records.held(ledger, number):
        pass


def test_a_dead_holder_holds_nothing_and_a_slow_one_is_fenced(ledger: Ledger) -> None:
    number = records.bind(ledger, "a", "b").id
    done = subprocess.run(
        [sys.executable, "-c", "from mailferry.ledger.owner import owner_text; print(owner_text())"],
        capture_output=True,
        text=True,
        check=True,
    )

    def taken_by(owner: str) -> None:
        with ledger._write() as connection:
            connection.execute(directory.update().values(lease_owner=owner, lease_until=9e9))

    taken_by(done.stdout.strip())
    with records.held(ledger, number):
        taken_by(owner_text(1))
        with pytest.raises(Fenced):
            records.put_accounts(ledger, number, [ALICE])
        with pytest.raises(Fenced):
            records.set_cookie(ledger, number, b"x")
    assert records.accounts(ledger, number) == []
    assert records.directories(ledger)[0].lease_owner == owner_text(1)
