"""Calendars and contacts go with the people of a wave, and what they did since comes back as files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab.process import PASSWORD
from lab.radicale import ADMIN, MOST_BYTES, Radicale
from mailferry.groupware.resource import write
from mailferry.ledger import items as rows
from mailferry.model.groupware import Item, Text
from mailferry.model.wave import MoveState
from tests.items import contact, event
from tests.mail_flow import Sides, sides
from tests.waves import WaveLab


@pytest.fixture(scope="module")
def both() -> Iterator[Sides]:
    with sides() as running:
        yield running


@pytest.fixture
def lab(both: Sides, radicale: Radicale, tmp_path: Path) -> WaveLab:
    lab = WaveLab(both, tmp_path)
    with (tmp_path / "mailferry.toml").open("a") as settings:
        settings.write(f"""
[coexist.groupware]
source = "ics:{tmp_path}/exports/{{user}}"
target = "dav://127.0.0.1:{radicale.port}?tls=none&admin={ADMIN}&timeout=10"
target_password = "file:{tmp_path}/password"
returned = "{tmp_path}/returned"
""")
    return lab


def test_they_are_seeded_caught_up_verified_swept_and_brought_back(
    lab: WaveLab, radicale: Radicale, new_user: Callable[[], str], tmp_path: Path
) -> None:
    assert (tmp_path / "password").read_text() == PASSWORD
    uid = new_user()
    alice = lab.person(uid)
    lab.wave("w", [alice])

    def on_exchange(name: str, item: Item) -> None:
        path = tmp_path / "exports" / alice / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(write(item, most=0).data)

    on_exchange("calendar/invitation.ics", event("040000008200E00074C5B7101A82E008", "as it was"))
    on_exchange("calendar/other.ics", event("other", "as it was"))
    on_exchange("contacts/c.vcf", contact("c"))
    assert lab.run("seed", "w").code == 0
    assert len(radicale.items(uid)) == 3
    on_exchange("calendar/other.ics", event("other", "changed before the switch"))
    on_exchange("calendar/large.ics", replace(event("large"), text=Text("x" * MOST_BYTES)))
    refused = lab.run("cutover", "w")
    assert refused.code != 0
    assert lab.move(alice).state is MoveState.SEEDED
    assert "approve" in lab.move(alice).error
    (tmp_path / "exports" / alice / "calendar" / "large.ics").unlink()
    done = lab.run("cutover", "w")
    assert done.code == 0, done
    there = radicale.items(uid)
    assert b"changed before the switch" in there["calendar/other.ics"]
    assert b"UID:040000008200E00074C5B7101A82E008" in there["calendar/040000008200E00074C5B7101A82E008.ics"]
    with lab.ledger() as ledger:
        assert [one.score for one in rows.collections(ledger)] == ["Perfect", "Perfect"]

    mine = radicale.collections / uid / "calendar" / "other.ics"
    mine.write_bytes(there["calendar/other.ics"].replace(b"changed before the switch", b"by her"))
    on_exchange("calendar/other.ics", event("other", "changed too late"))
    on_exchange("calendar/late.ics", event("late", "late"))
    assert lab.run("sweep", "w").code == 0
    there = radicale.items(uid)
    assert b"by her" in there["calendar/other.ics"]
    assert b"late" in there["calendar/late.ics"]

    done = lab.run("rollback", "w", "--only", alice)
    assert done.code == 0, done
    files = list((tmp_path / "returned" / alice / "calendar").iterdir())
    assert [one.name for one in files] == ["other.ics"]
    assert b"by her" in files[0].read_bytes()
    with lab.ledger() as ledger:
        told = [one.data for one in ledger.events() if one.what == "items returned"]
    assert told[-1]["mail"] == alice
    assert told[-1]["counts"] == {"written": 1, "removed": 0}
