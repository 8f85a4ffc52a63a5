"""The page to sign: complete, honest, and safe whatever servers have said."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from mailferry.errors import Permanent
from mailferry.ops.wave_checks import Check, Room
from mailferry.ops.wave_page import lines, write_rehearsal
from mailferry.ops.wave_plan import Tied
from mailferry.ops.wave_rehearse import Loss, Person, Rehearsal

EVIL = "<script>alert(1)</script> & \udcff {{ 7 * 7 }}"
GOOD = Person(
    mail="alice@acme.example",
    store="store1",
    state="seeded",
    messages=2000,
    bytes=3_000_000_000,
    score="Good",
    verdict="confirmed",
    evidence="50 of 50 messages in Sent were sent by the owner",
    approved_by=(),
    parked=8.0,
    room=Room(900, 1000),
    losses=(Loss("INBOX", "Good", "named: labels that the store cannot hold", 1_600_000_000, 1234),),
    lost=51,
    problems=(),
)
READY = Rehearsal(
    name="pilot",
    at=1_800_000_000.0,
    by="root@adm1",
    people=(GOOD,),
    moved=3,
    checks=(Check("directory", True, "answers"),),
    separated=(),
    parked=8.0,
    seconds=8.0,
    together=20,
    park_from=1_800_000_000.0,
    rates="measured in 12 earlier passes",
    problems=(),
)


def test_a_page_that_is_ready(tmp_path: Path) -> None:
    page = write_rehearsal(READY, tmp_path / "a" / "b").read_text()
    assert "Ready" in page and "Not ready" not in page and "What stops it" not in page
    assert "51 differences" in page and "and 50 more" in page and "3 moved, or on the way" in page
    assert page.count("name, date, signature") == 3
    text = (tmp_path / "a" / "b" / "rehearsal.txt").read_text()
    assert text.splitlines()[1] == "READY: 1 people to move, 3 moved or on the way"
    assert "It may begin now." in " ".join(text.split()) and "… and 50 more differences" in text
    data = json.loads((tmp_path / "a" / "b" / "rehearsal.json").read_text())
    assert (data["ready"], data["people"][0]["differences"], data["park_from"]) == (True, 51, 1_800_000_000.0)


def test_whatever_servers_said_is_text(tmp_path: Path) -> None:
    one = replace(
        GOOD,
        mail=f"{EVIL}@acme.example",
        store=EVIL,
        verdict="no-evidence",
        evidence=EVIL,
        approved_by=(EVIL,),
        room=Room(error=EVIL),
        losses=(Loss(EVIL, "Poor", EVIL, None, None),),
        problems=(EVIL,),
    )
    tied = Tied(EVIL, EVIL, "full access", EVIL)
    found = replace(
        READY, people=(one,), checks=(Check(EVIL, False, EVIL),), separated=(tied,), rates=EVIL, problems=(EVIL,)
    )
    page = write_rehearsal(found, tmp_path).read_text()
    assert "<script" not in page and "49" not in page.replace("#", "").split("<body>")[1]
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp;" in page and "Not ready" in page
    assert json.loads((tmp_path / "rehearsal.json").read_text())["problems"] == [EVIL]
    assert "NOT READY" in (tmp_path / "rehearsal.txt").read_text()


def test_nobody_to_move_and_never() -> None:
    text = "\n".join(
        lines(replace(READY, people=(), park_from=math.inf, problems=("nobody of it is still to be moved",)))
    )
    assert "Nobody can ever be parked." in " ".join(text.split()) and "- nobody of it is still" in text


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(Permanent, match="the rehearsal cannot be written"):
        write_rehearsal(READY, tmp_path / "file")
