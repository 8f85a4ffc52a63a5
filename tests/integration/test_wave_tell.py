"""Events reach a webhook or a command at least once and in order, and letters reach people once, through Postfix."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mailferry.ledger import letters
from mailferry.ledger import waves as ledger_waves
from mailferry.ledger.letters import State
from mailferry.model.wave import Move, MoveState
from tests.mail_flow import Sides, sides
from tests.waves import WaveLab

S = MoveState
WAY = (S.SEEDING, S.SEEDED, S.PARKED, S.SETTLED, S.CAUGHT_UP, S.VERIFIED, S.SWITCHED, S.RELEASED)


@pytest.fixture(scope="module")
def both() -> Iterator[Sides]:
    with sides() as running:
        yield running


@dataclass
class Hook:
    """What a webhook got, and what it answers."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    url: str = ""


@contextmanager
def webhook() -> Iterator[Hook]:
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = hook.answers.pop(0) if hook.answers else 204
            if answer == 0:  # silence
                time.sleep(1.5)
                return
            if answer < 300:
                hook.bodies.append(body)
            self.send_response(answer)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook.url = f"http://127.0.0.1:{server.server_port}/path?key=1"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def settings(lab: WaveLab, **tables: dict[str, Any]) -> None:
    """Tables below [coexist]."""
    lab.settings()
    path = lab.folder / "mailferry.toml"
    text = "".join(
        f"[coexist.{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
        for name, table in tables.items()
    )
    path.write_text(path.read_text() + text)


def test_each_event_is_told_in_order_until_it_is_taken(both: Sides, tmp_path: Path) -> None:
    lab = WaveLab(both, tmp_path)
    with webhook() as hook:
        settings(lab, events={"url": hook.url, "seconds": 0.5})
        assert lab.run("events").code == 0  # begins here
        address = both.add("eva")
        lab.wave("one", [address])
        with lab.ledger() as ledger:
            (move,) = ledger_waves.moves(ledger)
            ledger.audit("route set", id="x")  # not for them
            move = ledger_waves.enter(ledger, move, MoveState.SEEDING)
        hook.answers = [204, 500]
        done = lab.run("events", "--json")
        assert done.code == 75
        assert json.loads(done.out) == {
            "schema": 1,
            "told": 1,
            "trouble": "coexist.events: the webhook answered with 500",
        }
        hook.answers = [0]
        assert "no answer in 0.5 s" in lab.run("events").out
        assert lab.run("events").code == 0
        with lab.ledger() as ledger:
            ledger_waves.enter(ledger, move, MoveState.CANCELLED, error="because")
        assert lab.run("events").code == 0
        assert lab.run("events").code == 0
    whats = [(one["what"], one["wave"]) for one in hook.bodies]
    assert whats == [("wave created", "one"), ("wave filled", "one"), ("move entered", "one"), ("move entered", "one")]
    assert [one["id"] for one in hook.bodies] == sorted(one["id"] for one in hook.bodies)
    last = hook.bodies[-1]
    assert (last["mail"], last["from"], last["to"], last["error"]) == (address, "seeding", "cancelled", "because")


def test_a_command_is_told_and_what_hangs_is_ended(both: Sides, tmp_path: Path) -> None:
    lab = WaveLab(both, tmp_path)
    said = tmp_path / "said"
    settings(lab, events={"command": f"sh -c 'cat >> {said}'", "seconds": 5})
    lab.wave("two", [both.add("emil")])
    assert lab.run("events", "--from-start").code == 0
    assert [json.loads(line)["what"] for line in said.read_text().splitlines()] == ["wave created", "wave filled"]
    settings(lab, events={"command": "sh -c 'sleep 30 & sleep 30'", "seconds": 0.3})
    started = time.monotonic()
    done = lab.run("events", "--from-start")
    assert done.code == 75 and "did not end in 0.3 s" in done.out
    assert time.monotonic() - started < 15


def test_a_follower_tells_what_comes_while_it_runs(both: Sides, tmp_path: Path) -> None:
    lab = WaveLab(both, tmp_path)
    with webhook() as hook:
        settings(lab, events={"url": hook.url})
        follower = lab.start("events", "--follow", "--from-start")
        try:
            lab.wave("three", [both.add("edda")])
            deadline = time.monotonic() + 20
            while len(hook.bodies) < 2:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            follower.process.terminate()
            follower.end(20)


def test_a_token_does_not_go_over_a_line_that_others_read(both: Sides, tmp_path: Path) -> None:
    lab = WaveLab(both, tmp_path)
    settings(lab, events={"url": "http://hook.example/", "token": "env:NOWHERE"})
    done = lab.run("events")
    assert done.code == 78 and "https only" in done.err


def arrived(both: Sides, address: str) -> list[EmailMessage]:
    """The letters in somebody's mailbox on Exchange."""
    both.drain()
    root = both.exchange_store.maildir(address)
    found = [path for name in ("new", "cur") if (root / name).exists() for path in (root / name).iterdir()]
    messages = [message_from_bytes(path.read_bytes(), policy=policy.default) for path in sorted(found)]
    return [one for one in messages if isinstance(one, EmailMessage)]


def test_letters_come_once_in_each_ones_language(both: Sides, tmp_path: Path) -> None:
    lab = WaveLab(both, tmp_path)
    own = tmp_path / "own"
    own.mkdir()
    table = {
        "smtp": f"127.0.0.1:{both.postfix.port}",
        "sender": "helpdesk@acme.example",
        "name": "Hélpdesk",
        "per_minute": 6000,
        "templates": str(own),
    }
    settings(lab, letters=table)
    german = both.add("lena", displayName="Lena Müller", mailferryPreference=["msExchUserCulture=de-AT,en-US"])
    plain, room = both.add("leo"), both.add("lab1", mailferryKind="room")
    lab.wave("w", [german, plain])
    with lab.ledger() as ledger:
        wave = ledger_waves.named(ledger, "w")
        ledger_waves.add(ledger, wave.id, [Move(0, 0, "ad:lab1", room, "lab1", "room", room, room, "store1")])
    done = lab.run("letters", "w", "before", "--dry-run")
    assert done.code == 0 and "2 would be sent" in done.out and "1 passed over" in done.out
    assert lab.run("letters", "w", "before").out.startswith("2 sent")
    done = lab.run("letters", "w", "before", "--json")
    assert json.loads(done.out)["sent"] == [] and sorted(json.loads(done.out)["had_it"]) == sorted([german, plain])
    (one,) = arrived(both, german)
    assert one["Subject"] == "Ihr Postfach zieht bald um" and one["Auto-Submitted"] == "auto-generated"
    assert one["From"] == "Hélpdesk <helpdesk@acme.example>" and "Guten Tag Lena Müller," in one.get_content()
    (one,) = arrived(both, plain)
    assert one["Subject"] == "Your mailbox is about to move"

    assert json.loads(lab.run("letters", "w", "after", "--json").out)["passed_over"] == [german, plain, room]
    (own / "after.en.txt").write_text("Subject: Moved: {{ wave }}\n\n{{ mail }} {{ nonsense }}\n")
    with lab.ledger() as ledger:
        for move in ledger_waves.moves(ledger):
            for state in WAY:
                move = ledger_waves.enter(ledger, move, state)
    done = lab.run("letters", "w", "after", "--only", plain)
    assert done.code == 78 and "'nonsense' is undefined" in done.err
    (own / "after.en.txt").write_text("Subject: Moved: {{ wave }}\n\n{{ mail }}\n")
    assert lab.run("letters", "w", "after", "--only", plain).code == 0
    assert [one["Subject"] for one in arrived(both, plain)][-1] == "Moved: w"


def test_a_letter_that_nobody_knows_of_is_not_sent_twice(both: Sides, tmp_path: Path) -> None:
    lab = WaveLab(both, tmp_path)
    table = {"smtp": f"127.0.0.1:{both.postfix.port}", "sender": "helpdesk@acme.example"}
    settings(lab, letters=table)
    address = both.add("lois")
    lab.wave("w", [address])
    with lab.ledger() as ledger:
        (move,) = ledger_waves.moves(ledger)
        assert letters.intend(ledger, move, "before", "<x@y>")  # by a process that was killed then
        assert not letters.intend(ledger, move, "before", "<x@y>")
    done = lab.run("letters", "w", "before")
    assert done.code == 1 and f"not known whether it was taken: {address}" in done.out
    assert arrived(both, address) == []
    assert lab.run("letters", "w", "before", "--again").out.startswith("1 sent")
    assert len(arrived(both, address)) == 1

    table["smtp"] = "127.0.0.1:9"
    settings(lab, letters=table)
    other = both.add("lukas")
    lab.wave("v", [other])
    assert lab.run("letters", "v", "before").code == 75
    with lab.ledger() as ledger:
        (move,) = [one for one in ledger_waves.moves(ledger) if one.mail == other]
        assert letters.states(ledger, "before").get(move.id) is None
        letters.intend(ledger, move, "before", "<x@y>")
        letters.settle(ledger, move, "before", State.REFUSED, "550 no")
    table["smtp"] = f"127.0.0.1:{both.postfix.port}"
    settings(lab, letters=table)
    assert lab.run("letters", "v", "before").out.startswith("1 sent")  # what was refused is tried again
