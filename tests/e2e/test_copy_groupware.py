"""`mailferry copy` of calendars and contacts, as people run it: from files to a real Radicale, killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.process import PASSWORD
from lab.radicale import Radicale
from mailferry.cli.options import TARGET_VARIABLE
from mailferry.groupware.resource import write
from mailferry.ledger.hooks import VARIABLE
from mailferry.model.groupware import Item
from tests.e2e.moves import COMMAND
from tests.items import contact, event


def run(*arguments: str, crash_at: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, TARGET_VARIABLE: PASSWORD, **({VARIABLE: crash_at} if crash_at else {})}
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        start_new_session=True,
    )


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A directory with 70 events and a contact."""
    folder = tmp_path / "exported"
    items: list[tuple[str, Item]] = [
        *((f"calendar/{number}.ics", event(f"e{number}", day=1 + number % 28)) for number in range(70)),
        ("contacts/c.vcf", contact("c")),
    ]
    for name, item in items:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(write(item, most=0).data)
    return folder


def test_a_killed_copy_continues_and_the_next_does_nothing(
    radicale: Radicale, new_user: Callable[[], str], exported: Path, tmp_path: Path
) -> None:
    person = radicale.add(new_user())
    words = [
        *("copy", f"ics:{exported}", f"dav://{person}@127.0.0.1:{radicale.port}?tls=none"),
        *("--ledger", str(tmp_path / "ledger.db"), "--workers", "1"),
    ]
    assert "70 events listed, 70 to bring" in run(*words, "--dry-run").stdout
    assert not radicale.items(person)
    for point in ("items intended:after:1", "items recorded:before:2"):
        killed = run(*words, crash_at=point)
        assert killed.returncode == -signal.SIGKILL, killed.stdout
    done = run(*words, "--json", "--report", str(tmp_path / "report"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["listed"] == 71
    there = radicale.items(person)
    assert len(there) == 71
    again = json.loads(run(*words, "--json").stdout)["counts"]
    assert (again["copied"], again["there"]) == (0, 71)
    assert radicale.items(person) == there
    (mailbox,) = json.loads((tmp_path / "report" / "report.json").read_text())["mailboxes"]
    assert sorted((one["kind"], one["there"]) for one in mailbox["collections"]) == [("contact", 1), ("event", 70)]
    verified = run("verify", *words[1:], "--json")
    assert json.loads(verified.stdout)["mailboxes"][0]["score"] == "Perfect", verified
    assert "/calendar/: event" in run("check", words[1], words[2]).stdout
    (page,) = (tmp_path / "report" / "mailbox").iterdir()
    assert "/calendar/" in page.read_text()


def test_a_killed_sweep_overwrites_nothing(
    radicale: Radicale, new_user: Callable[[], str], exported: Path, tmp_path: Path
) -> None:
    person = radicale.add(new_user())
    words = [
        *("copy", f"ics:{exported}", f"dav://{person}@127.0.0.1:{radicale.port}?tls=none", "--sweep"),
        *("--ledger", str(tmp_path / "ledger.db"), "--workers", "1"),
    ]
    assert run(*words, crash_at="items recorded:before:1").returncode == -signal.SIGKILL
    there = radicale.items(person)
    assert there
    for path, data in there.items():
        (radicale.collections / person / path).write_bytes(data.replace(b"SUMMARY:a meeting", b"SUMMARY:by me"))
    assert run(*words).returncode == 0
    assert {path: radicale.items(person)[path] for path in there} == {
        path: data.replace(b"SUMMARY:a meeting", b"SUMMARY:by me") for path, data in there.items()
    }


def test_a_server_away_is_told_and_nothing_else(exported: Path, tmp_path: Path) -> None:
    words = ["copy", f"ics:{exported}", "dav://alice@127.0.0.1:9?tls=none", "--ledger", str(tmp_path / "ledger.db")]
    done = run(*words, "--patience", "1")
    assert done.returncode == 75
    assert "the connection failed" in done.stderr
    assert "how it is protected" in run("copy", f"ics:{exported}", "dav://alice@127.0.0.1:9").stderr
    assert (
        "holds no events"
        in run("copy", "imaps://a@127.0.0.1", "imaps://b@127.0.0.1", "--groupware", "maildir:/x").stderr
    )
