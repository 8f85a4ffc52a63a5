"""Where a message is, told from real logs, queues and mailboxes, through a move and back."""

from __future__ import annotations

import gzip
import json
import os
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.moves import COMMAND, Done
from tests.mail_flow import DOMAIN, EXCHANGE_DOMAIN, STORE, Sides, sides
from tests.waves import WaveLab

SECRET = "nobody is to see this subject"


@pytest.fixture(scope="module")
def both() -> Iterator[Sides]:
    with sides() as running:
        yield running


@pytest.fixture
def lab(both: Sides, tmp_path: Path) -> WaveLab:
    lab = WaveLab(both, tmp_path)
    logs = [str(both.postfix.log_file), str(both.store.root / "dovecot.log"), f"cat {both.exchange.postfix.log_file}"]
    lab.settings(target_user="{mail}")
    settings = tmp_path / "mailferry.toml"
    settings.write_text(f"{settings.read_text()}\n{stack(both, tmp_path)}\n[trace]\nlogs = {json.dumps(logs)}\n")
    return lab


def stack(both: Sides, folder: Path) -> str:
    """What tells where mail would go."""
    passwords = "\n".join(
        f'{name}_password = "file:{folder}/writer"' for name in ("admin", "sync", "replicator", "lookup")
    )
    return f"""
[stack.openldap]
provider = "{both.openldap.url}"
{passwords}
[stack.postfix]
hostname = "mx.acme.example"
exchange = "127.0.0.1:{both.exchange.postfix.port}"
exchange_domain = "{EXCHANGE_DOMAIN}"
exchange_networks = ["127.0.0.0/8"]
[stack.postfix.stores]
{STORE} = "127.0.0.1:{both.store.lmtp_port}"
"""


def trace(lab: WaveLab, *arguments: str) -> Done:
    environment = {**os.environ, "MAILFERRY_CONFIG": str(lab.folder / "mailferry.toml")}
    done = subprocess.run(
        [*COMMAND, "trace", *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert SECRET not in done.stdout + done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def about(lab: WaveLab, *arguments: str) -> Any:
    done = trace(lab, *arguments, "--json")
    assert "Traceback" not in done.err, done
    document = done.document
    assert document["schema"] == 1
    return document


def send(both: Sides, message_id: str, *to: str) -> None:
    text = f"From: x@outside.example\r\nMessage-ID: {message_id}\r\nSubject: {SECRET}\r\n\r\n{SECRET}\r\n"
    with smtplib.SMTP("127.0.0.1", both.postfix.port) as session:
        session.sendmail("x@outside.example", to, text)


def places(document: Any) -> dict[str, str]:
    return {one["address"]: one["place"] for told in document["messages"] for one in told["recipients"]}


def test_each_recipient_of_a_message(both: Sides, lab: WaveLab, new_user: Callable[[], str]) -> None:
    stored, parked, old = both.add(new_user(), "local"), both.add(new_user(), "parked"), both.add(new_user())
    alias = f"{new_user()}@{DOMAIN}"
    both.change(stored.partition("@")[0], mailLocalAddress=None)
    link = both.openldap.connect()
    link.modify_s(
        f"uid={stored.partition('@')[0]},ou=people,{both.openldap.suffix}",
        [(2, "mailLocalAddress", [stored.encode(), alias.encode()])],
    )
    name = f"<three-{new_user()}@outside.example>"
    send(both, name, alias, parked, old)
    both.wait(both.store, stored, [SECRET])
    both.wait(both.exchange_store, old, [SECRET])
    document = about(lab, name)
    assert document["kind"] == "message"
    assert places(document) == {stored: "stored", parked: "waiting", old: "stored"}
    (told,) = document["messages"]
    assert (told["message_id"], told["sender"]) == (name, "x@outside.example")
    by_address = {one["address"]: one for one in told["recipients"]}
    assert by_address[parked]["where"] == "in the queue of mx: parked: its route says so"
    whats = [entry["what"] for entry in by_address[stored]["entries"]]
    assert whats[:2] == ["accepted", "queued"] and "sent" in whats and whats[-2:] == ["stored", "is there"]
    assert {entry["host"] for entry in by_address[old]["entries"]} >= {"mx", "exchange", "Exchange"}
    assert {step["address"]: step["where"].partition(" ")[0] for step in document["route"]} == {
        stored: "store",
        parked: "parked",
        old: "exchange",
    }
    assert not [one for one in document["looked_at"] if one["problem"]]
    shown = trace(lab, name)
    assert f"{parked}: waiting since" in shown.out and f"{stored}: stored" in shown.out

    assert places(about(lab, alias, "--no-stores")) == {stored: "stored"}
    sent = about(lab, "x@outside.example", "--latest", "1")
    assert (sent["kind"], places(sent)[parked]) == ("address", "waiting")
    assert places(about(lab, name.strip("<>"), "--no-stores"))[parked] == "waiting"
    done = trace(lab, parked, "--since", "1h")
    assert (done.code, done.out.count("waiting since")) == (0, 1) and "mailferryRoute is parked" in done.out
    assert places(about(lab, parked, "--since", "2001-01-01", "--latest", "1")) == {parked: "waiting"}


def test_refused_and_unknown(both: Sides, lab: WaveLab, new_user: Callable[[], str]) -> None:
    nobody = f"{new_user()}@{DOMAIN}"
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        send(both, "<refused@x>", nobody)
    document = about(lab, nobody)
    assert places(document) == {nobody: "refused"}
    done = trace(lab, "<never-seen@outside.example>")
    assert done.code == 1
    assert "no trace of it" in done.out
    for where in (str(both.postfix.log_file), "the queue of mx"):
        assert where in done.out, "it says what it looked at"


def test_through_a_move_and_back(both: Sides, lab: WaveLab, new_user: Callable[[], str]) -> None:
    alice = lab.person(new_user())
    lab.wave("w", [alice])
    old = f"<{alice.partition('@')[0]}-0@t>"
    for verb in ("seed", "cutover"):
        assert lab.run(verb, "w").code == 0
    new = f"<new-{new_user()}@outside.example>"
    send(both, new, alice)
    both.wait(both.store, alice, [SECRET])
    assert lab.run("rollback", "w").code == 0
    document = about(lab, old, "--to", alice)
    (recipient,) = document["messages"][0]["recipients"]
    held = {entry["host"]: entry["text"] for entry in recipient["entries"] if entry["what"] == "is there"}
    assert held["Exchange"].startswith("in INBOX, uid 1") and "copied by the pass" not in held["Exchange"]
    assert "copied by the pass" in held["store1"]
    assert [entry["text"] for entry in document["moves"][alice]][-2:] == ["returning", "rolled back"]
    (recipient,) = about(lab, new)["messages"][0]["recipients"]
    held = {entry["host"]: entry["text"] for entry in recipient["entries"] if entry["what"] == "is there"}
    assert "copied by the pass" in held["Exchange"] and "copied by the pass" not in held["store1"]
    moved = [entry["text"] for entry in recipient["entries"] if entry["what"] == "move"]
    assert moved[-2:] == ["returning", "rolled back"] and "seeding" not in moved


def test_what_cannot_be_asked_is_told(both: Sides, lab: WaveLab, new_user: Callable[[], str], tmp_path: Path) -> None:
    alice = both.add(new_user(), "local")
    name = f"<away-{new_user()}@outside.example>"
    send(both, name, alice)
    both.wait(both.store, alice, [SECRET])
    packed = tmp_path / "mail.log.1.gz"
    packed.write_bytes(gzip.compress(both.postfix.log_file.read_bytes())[:-20])
    settings = tmp_path / "mailferry.toml"
    text = settings.read_text().replace("postqueue -c", "postqueue -c /nowhere")
    logs = json.dumps([str(packed), "/nowhere/mail.log", "sh -c 'echo sorry >&2; exit 3'"])
    settings.write_text(text[: text.index("[trace]")] + f"[trace]\nlogs = {logs}\n")
    document = about(lab, name, "--to", alice)
    problems = {one["what"]: one["problem"] for one in document["looked_at"] if one["problem"]}
    assert set(problems) >= {str(packed), "/nowhere/mail.log", "sh -c 'echo sorry >&2; exit 3'", "the queue of mx"}
    assert "sorry" in problems["sh -c 'echo sorry >&2; exit 3'"]
    assert places(document)[alice] == "stored"
