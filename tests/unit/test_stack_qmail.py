"""A qmail host: who gets what by qmail's own rules, the front before qmail-smtpd, the responder. No qmail is needed."""

from __future__ import annotations

import email
import email.policy
import io
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from mailferry.errors import ConfigError, SafetyStop
from mailferry.stack.postfix.settings import Endpoint
from mailferry.stack.qmail import render, tree
from mailferry.stack.qmail.people import Entry, assign, members, plan
from mailferry.stack.qmail.programs import answer, front, lookup, queue
from mailferry.stack.qmail.settings import Places, Settings, place, tcprule
from tests.qmail_rules import Outcome, deliver, newu

OLD = "IMCEAEX-_o=Acme_ou=First+20Administrative+20Group_cn=Recipients_cn=alice@acme.example"
ALICE = Entry(
    "uid=alice", "alice@acme.example", "mailbox", "alice", ("alice@acme.example", "A.Archer@acme.example", OLD), "local"
)
ALICE = replace(ALICE, store="store1.acme.example")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        hostname="mx.acme.example",
        domains=("acme.example", "acme.org"),
        open_domain="open.acme.example",
        exchange_domain="exchange.acme.example",
        exchange=Endpoint("10.1.0.1", 25),
        stores={"store1.acme.example": Endpoint("10.2.0.1", 25), "store2.acme.example": Endpoint("10.2.0.2", 25)},
        store="store1.acme.example",
        places=Places(tmp_path / "qmail", tmp_path / "lib", tmp_path / "state", tmp_path / "mail"),
        probe_from="mailferry-probe@acme.example",
    )


def written(settings: Settings, *entries: Entry) -> None:
    """All of it on disk, with control files, as `stack up` and `stack apply` would."""
    places = settings.places
    for name in ("control", "users"):
        (places.prefix / name).mkdir(parents=True, exist_ok=True)
    for name, text in render.control(settings).items():
        (places.prefix / "control" / name).write_text(text)
    for path, _ in render.folders(settings):
        path.mkdir(parents=True, exist_ok=True)
    made = plan(entries, settings)
    for home in made.homes.values():
        folder = places.state / home.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".qmail").write_text(home.text)
    (places.prefix / "users" / "assign").write_text(assign(made, settings, (8, 8)))
    newu(places.prefix)
    places.programs.mkdir(exist_ok=True)
    (places.programs / "host.json").write_text(render.host(settings))
    (places.state / "applied").touch()


def outcome(settings: Settings, recipient: str) -> Outcome:
    return deliver(settings.places.prefix, recipient)


@pytest.mark.parametrize(
    "address",
    ["alice@acme.example", "ALICE@ACME.example", "a.archer@acme.example", OLD, "alice@open.acme.example"],
)
def test_every_address_leads_to_the_mailbox(settings: Settings, address: str) -> None:
    written(settings, ALICE)
    assert outcome(settings, address).maildirs == (f"{settings.places.mail_dir}/alice/Maildir/",)


def test_a_route_is_what_qmail_does(settings: Settings) -> None:
    assert settings.store == "store1.acme.example"
    leads: tuple[tuple[dict[str, Any], tuple[str, ...]], ...] = (
        ({"route": "exchange"}, ("alice@exchange.acme.example",)),
        ({"store": "store2.acme.example"}, ("alice@store2.acme.example",)),
        ({"forward_to": ("x@y.example",)}, ("x@y.example",)),
        ({"forward_to": ("x@y.example",), "route": "parked"}, ("x@y.example",)),
        ({"kind": "contact", "route": "", "external": "x@y.example"}, ("x@y.example",)),
        ({"kind": "public-folder", "route": ""}, ("alice@exchange.acme.example",)),
    )
    for change, expected in leads:
        written(settings, replace(ALICE, **change))
        found = outcome(settings, "alice@acme.example")
        assert (found.forwards, found.maildirs, found.waits) == (expected, (), False), change
    waits: tuple[dict[str, Any], ...] = (
        {"route": "parked"},
        {"route": "parked", "forward_to": ("x@y.example",), "keep_copy": True},
        {"store": "store9.acme.example"},
        {"route": "nonsense"},
        {"route": ""},
        {"uid": "../root"},
        {"forward_to": ("no address",)},
    )
    for change in waits:
        written(settings, replace(ALICE, **change))
        found = outcome(settings, "alice@acme.example")
        assert found.waits, change
        assert not (found.maildirs or found.forwards), change
    written(settings, replace(ALICE, forward_to=("x@y.example",), keep_copy=True))
    both = outcome(settings, "alice@acme.example")
    assert both.maildirs
    assert both.forwards == ("x@y.example",)


def test_nobody_bounces_and_others_are_not_ours(settings: Settings) -> None:
    written(settings, ALICE)
    for nobody in ("bob@acme.example", "alice-lists@acme.example", "default@acme.example", "alice@acme.org"):
        assert outcome(settings, nobody).kind == "bounced"
    assert outcome(settings, "alice@elsewhere.example").kind == "remote"
    assert outcome(settings, "alice@exchange.acme.example").kind == "remote"


def test_groups_reach_everybody_once(settings: Settings) -> None:
    bob = replace(ALICE, key="uid=bob", mail="bob@acme.org", uid="bob", addresses=())
    outer = Entry("cn=all", "all@acme.example", "group", members=("uid=alice", "cn=some"))
    inner = Entry(
        "cn=some", "some@acme.example", "group", members=("uid=bob", "cn=all"), outside_members=("X@y.example",)
    )
    empty = Entry("cn=none", "none@acme.example", "group")
    written(settings, ALICE, bob, outer, inner, empty)
    everybody = ("alice@acme.example", "bob@acme.org", "x@y.example")
    assert outcome(settings, "all@acme.example").forwards == everybody
    assert outcome(settings, "some@acme.example").forwards == everybody
    nobody = outcome(settings, "none@acme.example")
    assert (nobody.kind, nobody.forwards, nobody.programs) == ("local", (), ())
    assert members(outer, {one.key: one for one in (ALICE, bob, outer, inner)}) == list(everybody)


def test_what_cannot_be_carried_is_told(settings: Settings) -> None:
    odd = replace(ALICE, addresses=("alice@acme.example", "a:b@acme.example", "ü@acme.example"))
    twin = replace(ALICE, key="uid=twin", mail="twin@acme.example", uid="twin", addresses=("a.archer@acme.example",))
    group = Entry("cn=g", "g@acme.example", "group", outside_members=("not an address", "x@y.example"))
    made = plan([odd, twin, replace(ALICE, key="uid=third", mail="third@acme.example", uid="third"), group], settings)
    assert len([one for one in made.odd if "cannot stand in users/assign" in one]) == 2
    assert any("belongs to two" in one for one in made.odd)
    assert any("not an address" in one for one in made.odd)
    written(settings, ALICE, twin)
    assert outcome(settings, "a.archer@acme.example").waits
    assert outcome(settings, "alice@acme.example").maildirs


def test_no_text_of_the_directory_becomes_a_command(settings: Settings) -> None:
    nasty = "x`touch /tmp/pwned`;|/bin/sh\n|id@y.example"
    entry = replace(ALICE, forward_to=(nasty, "$(id)@y.example"), keep_copy=True, answer='"; rm -rf /\n|id')
    home = next(iter(plan([entry], settings).homes.values()))
    commands = [line for line in home.text.splitlines() if line.startswith("|")]
    assert commands
    assert all("id" not in one.split() and "touch" not in one for one in commands)
    assert all(one.startswith((f"|{settings.places.programs}/", '|echo "[')) or "exit 111" in one for one in commands)


def test_networks_become_rules() -> None:
    for network, rule in (
        ("127.0.0.0/8", "127."),
        ("10.1.2.3", "10.1.2.3"),
        ("172.16.0.0/12", "172.16-31."),
        ("10.1.2.0/30", "10.1.2.0-3"),
        ("0.0.0.0/0", ""),
    ):
        assert tcprule(network) == rule
    assert place("2525") == ("0.0.0.0", 2525)
    for wrong in ("::1", "10.0.0.1/8", "host"):
        with pytest.raises(ConfigError):
            tcprule(wrong)


def test_more_domains_than_rcpthosts_is_good_for(settings: Settings) -> None:
    many = replace(settings, domains=tuple(f"d{number}.example" for number in range(60)))
    control = render.control(many)
    assert len(control["rcpthosts"].splitlines()) == 50
    assert control["morercpthosts"].splitlines() == [f"d{n}.example" for n in range(50, 60)] + [
        "open.acme.example",
        "store1.acme.example",
    ]


def test_too_many_may_not_vanish(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "_owner", lambda settings: (os.geteuid(), os.getegid()))
    people = [
        replace(ALICE, key=f"uid=p{n}", uid=f"p{n}", mail=f"p{n}@acme.example", addresses=(), route="exchange")
        for n in range(40)
    ]
    written(settings, *people)
    bin_ = settings.places.prefix / "bin"
    bin_.mkdir()
    (bin_ / "qmail-newu").write_text(
        f"#!/bin/sh\nexec {sys.executable} {Path(__file__).parents[1] / 'qmail_rules.py'} {settings.places.prefix}\n"
    )
    (bin_ / "qmail-newu").chmod(0o755)
    with pytest.raises(SafetyStop, match="would vanish"):
        tree.apply(settings, plan(people[:5], settings), tree.Brake(5, 20))
    assert outcome(settings, "p39@acme.example").kind == "local"
    done = tree.apply(settings, plan(people[:39], settings), tree.Brake(5, 20))
    assert done.removed == ("people/p39",)
    assert outcome(settings, "p39@acme.example").kind == "bounced"
    assert tree.apply(settings, plan(people[:39], settings), tree.Brake(5, 20)).written == ()


def host(settings: Settings) -> lookup.Host:
    return lookup.read_host(settings.places.programs / "host.json")


def test_the_front_knows_who_there_is(settings: Settings) -> None:
    fresh, stable = time.time() + 60, time.time() - 60
    there: dict[str, Any] = {
        "key": "uid=ed",
        "mail": "ed@acme.example",
        "uid": "ed",
        "addresses": (),
        "route": "exchange",
    }
    written(settings, ALICE, replace(ALICE, **there, fresh_until=fresh))
    here = host(settings)
    outside = {"exchange": False, "trusted": False}
    assert front.judge(here, "Alice@acme.example", **outside) == b""
    assert front.judge(here, "x@elsewhere.example", **outside) == b""
    assert front.judge(here, "bob@acme.example", **outside) == front.UNKNOWN
    assert front.judge(here, "ed@acme.example", **outside) == b""
    assert front.judge(here, "ed@open.acme.example", exchange=True, trusted=False) == front.FRESH
    assert front.judge(here, "alice@open.acme.example", exchange=True, trusted=False) == b""
    written(settings, ALICE, replace(ALICE, **there, fresh_until=stable, inside=True))
    assert front.judge(here, "ed@acme.example", exchange=True, trusted=False) == front.BACK
    assert front.judge(here, "ed@acme.example", **outside) == front.INSIDE
    assert front.judge(here, "ed@acme.example", exchange=False, trusted=True) == b""
    os.utime(settings.places.state / "applied", (stable - 3600, stable - 3600))
    assert front.judge(here, "bob@acme.example", **outside) == front.NOT_NOW
    assert front.judge(here, "alice@acme.example", **outside) == b""
    (settings.places.prefix / "users" / "cdb").write_bytes(struct.pack("<LL", 9999, 9) * 256)
    assert front.judge(here, "alice@acme.example", **outside) == front.NOT_NOW
    (settings.places.prefix / "users" / "cdb").unlink()
    assert front.judge(here, "bob@acme.example", **outside) == front.NOT_NOW


@pytest.mark.parametrize(
    ("argument", "address"),
    [
        (b"TO:<a@b.example>", "a@b.example"),
        (b"TO:<@relay.example,@other.example:a@b.example> NOTIFY=NEVER", "a@b.example"),
        (b'TO:<"a b"@c.example>', "a b@c.example"),
        (b"TO:<a\\@b@c.example>", "a@b@c.example"),
        (b"TO: a@b.example x", "a@b.example"),
        (b"TO:<" + b"a" * 900 + b"@b.example>", None),
    ],
)
def test_the_front_reads_addresses_as_qmail_smtpd_does(argument: bytes, address: str | None) -> None:
    assert front.address_of(argument) == address


def test_the_front_passes_everything_else_on(settings: Settings) -> None:
    written(settings, ALICE)
    (client, inside), (smtpd, theirs) = socket.socketpair(), socket.socketpair()
    session = front.Session(host(settings), (inside.fileno(), inside.fileno()), (theirs.fileno(), theirs.fileno()))
    seen: list[bytes] = []

    def pose() -> None:
        """As qmail-smtpd, which answers each line of a command."""
        lines = smtpd.makefile("rb")
        smtpd.sendall(b"220 here\r\n")
        data = False
        for line in lines:
            seen.append(line)
            if data:
                data = line != b".\r\n"
                if not data:
                    smtpd.sendall(b"250 taken\r\n")
            elif line.upper().startswith(b"EHLO"):
                smtpd.sendall(b"250-here\r\n250 PIPELINING\r\n")
            elif line.upper() == b"DATA\r\n":
                data = True
                smtpd.sendall(b"354 go\r\n")
            else:
                smtpd.sendall(b"250 ok\r\n")

    threads = [threading.Thread(target=pose, daemon=True), threading.Thread(target=session.run, daemon=True)]
    for one in threads:
        one.start()
    text = b"Subject: x\r\n\r\nRCPT TO:<bob@acme.example>\r\n..\r\n.x\r\n"
    sent = b"EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<bob@acme.example>\r\nRCPT TO:<alice@acme.example>\r\nDATA\r\n"
    for byte in (sent + text + b".\r\nQUIT\r\n").splitlines(keepends=True):  # piece by piece, across every border
        client.sendall(byte[:1])
        client.sendall(byte[1:])
    threads[1].join(10)
    assert not threads[1].is_alive()
    client.settimeout(1)
    said = client.recv(65536).split(b"\r\n")
    assert [one[:3] for one in said] == [b"220", b"250", b"250", b"250", b"550", b"250", b"354", b"250", b"250", b""]
    assert b"".join(seen) == sent.replace(b"RCPT TO:<bob@acme.example>\r\n", b"") + text + b".\r\nQUIT\r\n"
    for end in (client, inside, smtpd, theirs):
        end.close()


def test_the_queue_is_told_by_person(settings: Settings) -> None:
    ed = replace(ALICE, key="uid=ed", mail="e.d@acme.example", uid="ed", addresses=(), route="parked")
    written(settings, ALICE, ed)
    root = settings.places.prefix / "queue"
    probe = "mailferry-probe-0123456789abcdef@acme.example"

    def put(number: int, sender: str, **parts: bytes) -> None:
        for part, content in {"mess": b"x" * 7, "info": b"F" + sender.encode() + b"\0", **parts}.items():
            path = root / part / str(number % 23) / str(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    put(5, "x@y.example", local=b"Tacme.example-Alice@acme.example\0Dacme.example-e.d@acme.example\0")
    put(
        29, "", local=b"Topen.acme.example-ed@open.acme.example\0", remote=b"Te.d@exchange.acme.example\0Tq@z.example\0"
    )
    put(6, probe, local=b"Tacme.example-e.d@acme.example\0")
    (root / "todo").mkdir()
    (root / "todo" / "77").write_bytes(b"u1\0p2\0Fx@y.example\0Tq@z.example\0Ted@store2.acme.example\0")
    probes = settings.places.state / "probes"
    (probes / "fedcba9876543210").write_text(f"{settings.places.state}/people/ed\n")
    told = {one["queue_id"]: one for one in queue.listing(host(settings))}
    waits = {name: [(r["address"], r["delay_reason"]) for r in one["recipients"]] for name, one in told.items()}
    assert waits == {
        "5": [("alice@acme.example", queue.WAITS)],
        "29": [("e.d@acme.example", queue.PARKED), ("e.d@acme.example", ""), ("q@z.example", "")],
        "6": [("e.d@acme.example", "")],
        "77": [("q@z.example", ""), ("e.d@acme.example", "")],
        "probe-fedcba9876543210": [("e.d@acme.example", queue.PARKED)],
    }
    json.dumps(list(told.values()))
    assert queue.remove(host(settings), ["6", "probe-fedcba9876543210", "delivery-1", "99"]) == 0
    assert (root / "local" / "6" / "6").read_bytes()[:1] == b"D"
    assert not list(probes.iterdir())
    assert queue.remove(host(settings), ["5"]) == 1  # no probe: it stays as it is
    assert (root / "local" / "5" / "5").read_bytes()[:1] == b"T"


def message(text: str) -> EmailMessage:
    made = email.message_from_file(io.StringIO(text), policy=email.policy.default)
    assert isinstance(made, EmailMessage)
    return made


OWN = frozenset({"alice@acme.example"})


@pytest.mark.parametrize(
    ("headers", "sender"),
    [
        ("To: alice@acme.example", ""),
        ("To: alice@acme.example", "MAILER-DAEMON@y.example"),
        ("To: alice@acme.example", "news-bounces@y.example"),
        ("To: alice@acme.example", "Alice@acme.example"),
        ("To: alice@acme.example\nAuto-Submitted: auto-replied", "x@y.example"),
        ("To: alice@acme.example\nList-Id: <l.y.example>", "x@y.example"),
        ("To: alice@acme.example\nPrecedence: bulk", "x@y.example"),
        ("To: alice@acme.example\nX-Auto-Response-Suppress: DR, OOF", "x@y.example"),
        ("To: alice@acme.example\nX-Spam: Yes", "x@y.example"),
        ("To: all@acme.example", "x@y.example"),
    ],
)
def test_who_gets_no_answer(headers: str, sender: str) -> None:
    assert answer.wanted(message(f"{headers}\n\nx\n"), sender, OWN)


def test_an_answer_is_one_of_rfc_3834(tmp_path: Path) -> None:
    asked = message("To: B <b@c.example>\nCc: Alice <ALICE@acme.example>\nSubject: a\n b\nMessage-ID: <1@y>\n\nx\n")
    assert not answer.wanted(asked, "x@y.example", OWN)
    made = answer.reply(asked, "x@y.example", "alice@acme.example", "Ich bin fort: größer")
    assert made["Auto-Submitted"] == "auto-replied"
    assert made["In-Reply-To"] == made["References"] == "<1@y>"
    assert made["Subject"] == "Auto: a b"
    assert made["To"] == "x@y.example"
    assert "größer" in made.get_content()
    now = time.time()
    assert answer.due(tmp_path / "alice", "x@y.example", "gone", now)
    assert not answer.due(tmp_path / "alice", "X@y.example", "gone", now)
    assert answer.due(tmp_path / "alice", "x@y.example", "gone again", now)
    assert answer.due(tmp_path / "alice", "x@y.example", "gone", now + answer.AGAIN_SECONDS + 1)


def test_what_is_parked_waits_and_a_probe_leaves_its_mark(settings: Settings) -> None:
    written(settings, ALICE)
    (program,) = [file for file in render.files(settings) if file.name == "parked"]
    script = settings.places.programs / "parked"
    script.write_bytes(program.content)
    home, probes = settings.places.state / "people" / "alice", settings.places.state / "probes"
    for sender, code in (
        ("x@y.example", 111),
        ("", 111),
        ("mailferry-probe-0123456789abcdef@acme.example", 99),
        ("mailferry-probe-../../../etc/passwd@acme.example", 111),
        ("mailferry-probe-0123456789abcdef@elsewhere.example", 111),
        ("mailferry-probe-0123456789abcde$(id)@acme.example", 111),
    ):
        done = subprocess.run(
            ["sh", script], env={"SENDER": sender, "HOME": str(home)}, check=False, capture_output=True
        )
        assert done.returncode == code, sender
    assert [mark.name for mark in probes.iterdir()] == ["0123456789abcdef"]
    assert (probes / "0123456789abcdef").read_text().strip() == str(home)


def test_lines_of_others_stay(settings: Settings) -> None:
    own = "+list-:alias:7:7:/var/qmail/alias:-:list-:"
    text = assign(plan([ALICE], settings), settings, (8, 8), own)
    assert text.startswith(f"{own}\n")
    assert text.endswith("\n.\n")
