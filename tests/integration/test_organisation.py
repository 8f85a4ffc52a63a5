"""The migration report of a whole organisation: the same numbers from both databases, pages that stand alone."""

from __future__ import annotations

import csv
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from bench.organisation import fill
from lab.postgres import Postgres
from mailferry.cli.main import cli
from mailferry.ledger import open_ledger
from mailferry.ledger import waves as ledger_waves
from mailferry.ledger.organisation import Loss
from mailferry.ledger.schema import item_collection, item_note
from mailferry.ledger.store import Ledger
from mailferry.model.wave import MOVED, Move, MoveState
from mailferry.ops.organisation import document, organisation
from mailferry.ops.organisation_page import write

NOW = 1_800_000_000.0
PEOPLE, PER_WAVE = 1200, 100


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    place = str(tmp_path / "ledger.db")
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        place = server.create_database(f"organisation_{time.time_ns()}")
    with closing(open_ledger(place)) as ledger:
        yield ledger


def test_the_numbers_are_those_of_the_rows(ledger: Ledger) -> None:
    fill(ledger, PEOPLE, NOW, per_wave=PER_WAVE)
    found = organisation(ledger, NOW)
    moves, passes = ledger_waves.moves(ledger), ledger.passes()
    assert found.states == {
        state.value: number for state in MoveState if (number := sum(one.state is state for one in moves))
    }
    assert found.people == PEOPLE and found.moved == sum(one.state in MOVED for one in moves)
    assert found.bytes == sum(one.bytes for one in passes)
    assert found.messages == sum(one.counts["copied"] for one in passes)
    assert [one.people for one in found.waves] == [PER_WAVE] * (PEOPLE // PER_WAVE)
    assert sum(one.bytes for one in found.waves) == sum(int(one.forecast["bytes"]) for one in moves)
    hours = found.width / 3600
    assert round(sum(one.bytes for one in found.rates) * hours) == found.bytes
    assert round(sum(one.mailboxes for one in found.rates) * hours) == found.moved == found.moved_by[-1][1]
    assert sum(found.parks.values()) == sum(bool(one.parked and one.released) for one in moves)
    assert found.forecast.left == PEOPLE - found.moved and found.forecast.per_day
    assert found.forecast.until == NOW + found.forecast.left / found.forecast.per_day * 86_400
    failures = [one for box in ledger.mailboxes() for one in ledger.failures(box.id)]
    by_reason = Counter(one.reason.value for one in failures)
    assert {one.reason: one.items for one in found.losses} == by_reason
    with ledger.transaction(), ledger._write() as connection:
        values = {"mailbox_id": 1, "target_key": "davs://x", "source_id": "c", "kind": "events", "path": []}
        connection.execute(item_collection.insert().values(**values, source_token="", target_token=""))
        note = {"collection_id": 1, "kind": "difference", "reason": "loss", "text": "", "item_class": "", "happens": ""}
        connection.execute(item_note.insert(), [{**note, "key": bytes([one]) * 20, "seen": NOW} for one in (1, 2)])
    assert organisation(ledger, NOW).losses[-1] == Loss("events", "difference", "loss", 2, 1)
    assert sum(found.scores.values()) == sum(one.state is not MoveState.PLANNED for one in moves)
    assert found.differences["flags"][1] == found.scores["Investigate"]
    assert sum(one.people for one in found.waiting) == sum(
        bool(one.error) or one.state is MoveState.PARKED for one in moves
    )
    json.dumps(document(found))


def test_somebody_in_two_waves_counts_once(ledger: Ledger) -> None:
    first, second = (ledger_waves.create(ledger, name, {}) for name in ("first", "second"))
    one = Move(0, 0, "ad:1", "a@acme.example", "a", "mailbox", "a", "a", "store1")
    ledger_waves.add(ledger, first.id, [one])
    (old,) = ledger_waves.moves(ledger, first.id)
    ledger_waves.enter(ledger, old, MoveState.CANCELLED)
    ledger_waves.add(ledger, second.id, [one])
    found = organisation(ledger, NOW)
    assert found.states == {"planned": 1}
    assert [row.people for row in found.waves] == [1, 1]
    assert (found.forecast.per_day, found.forecast.until, found.parked, found.rates) == (None, None, None, [])


def test_the_page_and_its_tables(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, PEOPLE, NOW, per_wave=PER_WAVE)
    wave = ledger_waves.create(ledger, "odd<b>", {})
    evil = Move(0, 0, "ad:x", "=cmd()@acme.example", "x", "mailbox", "x", "x", "store1")
    ledger_waves.add(ledger, wave.id, [evil])
    (move,) = ledger_waves.moves(ledger, wave.id)
    ledger_waves.note(ledger, move, error="<script>alert(1)</script>")
    page = write(ledger, organisation(ledger, NOW), tmp_path / "report").read_text()
    assert "<script" not in page and "odd&lt;b&gt;" in page
    assert not re.search(r"""(src|href)=|url\(|@import""", page), "it needs nothing else"
    drawn = re.findall(r"<svg class=\"plot\".*?</svg>", page, re.DOTALL)
    assert len(drawn) == 5 and all(ElementTree.fromstring(one) is not None for one in drawn)
    with (tmp_path / "report" / "people.csv").open(encoding="utf-8-sig", newline="") as file:
        people = list(csv.DictReader(file))
    assert len(people) == PEOPLE + 1 and people[-1]["mail"] == "'=cmd()@acme.example"
    with (tmp_path / "report" / "waves.csv").open(encoding="utf-8-sig", newline="") as file:
        waves = list(csv.DictReader(file))
    assert sum(int(one["moved"]) for one in waves) == sum(one["state"] in {s.value for s in MOVED} for one in people)
    assert {one.name for one in (tmp_path / "report").iterdir()} == {
        *("index.html", "report.json", "waves.csv", "rates.csv", "losses.csv", "waiting.csv", "people.csv")
    }


def test_an_empty_ledger_has_a_report(tmp_path: Path) -> None:
    place = str(tmp_path / "ledger.db")
    open_ledger(place).close()
    done = CliRunner().invoke(cli, ["wave", "report", "--ledger", place, "--output", str(tmp_path / "report")])
    assert done.exit_code == 0, done.output
    assert "Nobody waits" in (tmp_path / "report" / "index.html").read_text()
    told = CliRunner().invoke(cli, ["wave", "report", "--ledger", place, "--json"])
    assert json.loads(told.output)["people"] == 0
