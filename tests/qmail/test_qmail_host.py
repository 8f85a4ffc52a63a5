"""A real qmail host from our kit (`make test-qmail`): who is accepted, where mail goes, parking, the responder."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import smtplib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import process
from lab.acme import MAILFERRY
from lab.ldap_people import person
from lab.openldap import LOOKUP_PASSWORD, WRITER_PASSWORD, OpenLdap
from lab.postfix import DOMAIN, EXCHANGE_DOMAIN, ExchangeSide
from lab.qmail import Qmail, queue_settings, settings
from mailferry.coexist import probe
from mailferry.coexist.parking import is_parked
from mailferry.coexist.queues import queue_of
from mailferry.config.settings import read_settings
from mailferry.errors import SafetyStop
from mailferry.ops.queues import places

STORE = "store1.acme.example"
OLD = f"IMCEAEX-_o=Acme_ou=First+20Administrative+20Group_cn=Recipients_cn=alice@{DOMAIN}"


@dataclass
class Host:
    root: Path
    openldap: OpenLdap
    qmail: Qmail
    exchange: ExchangeSide

    def log(self) -> str:
        return self.qmail.log()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [MAILFERRY, *arguments, "--config", str(self.qmail.config)]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)

    def apply(self, *addresses: str) -> None:
        done = self.run("stack", "apply", *addresses, "--root", str(self.qmail.host))
        assert done.returncode == 0, done.stderr

    def add(self, uid: str, route: str = "local", **more: str | list[str]) -> str:
        store = {"mailHost": STORE} if route == "local" else {}
        self.openldap.add(person(self.openldap.suffix, uid, mailferryRoute=route, **store, **more))
        self.exchange.update(mailboxes=[f"{uid}@{DOMAIN}"])
        return f"{uid}@{DOMAIN}"

    def change(self, uid: str, **values: str) -> None:
        steps = [(2, name, [value.encode()]) for name, value in values.items()]
        self.openldap.connect().modify_s(f"uid={uid},ou=people,{self.openldap.suffix}", steps)

    def send(
        self, to: str, subject: str, *, port: int | None = None, more: str = "", sender: str = "x@y.example"
    ) -> None:
        text = f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\n{more}\r\nbody\r\n"
        with smtplib.SMTP("127.0.0.1", port or self.qmail.port, timeout=30) as client:
            client.sendmail(sender, [to], text)

    def subjects(self, uid: str) -> list[str]:
        new = self.qmail.maildir(uid) / "new"
        found = [path.read_text() for path in new.iterdir()] if new.exists() else []
        return sorted(re.search(r"^Subject: (.*)$", text, re.MULTILINE)[1] for text in found)  # type: ignore[index]

    def wait(self, uid: str, subjects: list[str]) -> None:
        deadline = time.monotonic() + 15
        while self.subjects(uid) != subjects:
            assert time.monotonic() < deadline, (uid, self.subjects(uid), self.log()[-2000:])
            time.sleep(0.05)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    root = process.workspace("qmail")
    with OpenLdap() as openldap, ExchangeSide(("127.0.0.1", 9)) as exchange:
        qmail = Qmail(root, root / "mailferry.toml", STORE)
        for name, secret in (("lookup", LOOKUP_PASSWORD), ("writer", WRITER_PASSWORD)):
            (root / name).write_text(secret)
        qmail.config.write_text(_settings(root, openldap, qmail, exchange))
        exchange.connector = ("127.0.0.1", qmail.exchange_port)
        with qmail:
            yield Host(root, openldap, qmail, exchange)
    shutil.rmtree(root)


def test_only_who_exists_is_taken_and_every_address_arrives(host: Host) -> None:
    alice = host.add("alice", mailLocalAddress=[f"alice@{DOMAIN}", f"a.archer@{DOMAIN}", OLD])
    host.apply()
    for number, address in enumerate((alice, f"A.Archer@{DOMAIN.upper()}", OLD, "alice@open.acme.example")):
        host.send(address, str(number))
    host.wait("alice", ["0", "1", "2", "3"])
    with pytest.raises(smtplib.SMTPRecipientsRefused, match=r"550, b'5\.1\.1"):
        host.send(f"nobody@{DOMAIN}", "never")
    with smtplib.SMTP("127.0.0.1", host.qmail.port, timeout=30, source_address=("127.0.0.2", 0)) as outside:
        outside.helo("me")
        outside.mail("x@y.example")
        assert outside.rcpt("x@elsewhere.example")[0] == 553
    applied = host.qmail.host / "var/lib/mailferry/qmail/applied"
    os.utime(applied, (time.time() - 7200, time.time() - 7200))
    with pytest.raises(smtplib.SMTPRecipientsRefused, match="451"):
        host.send(f"nobody@{DOMAIN}", "later")
    host.apply()


def test_parked_mail_waits_and_is_released(host: Host) -> None:
    bob = host.add("bob")
    host.apply()
    assert host.run("route", "set", bob, "parked").returncode == 0
    host.send(bob, "waits")
    host.send("bob@open.acme.example", "waits too", port=host.qmail.exchange_port)
    queue = queue_of(places(read_settings(host.qmail.config))[0])
    deadline = time.monotonic() + 10
    while len(waiting := asyncio.run(queue_of(queue.mta).waiting(bob))) < 2:
        assert time.monotonic() < deadline
    assert all(is_parked(one) for one in waiting)
    assert host.subjects("bob") == []
    refused = host.run("route", "release", bob)
    assert refused.returncode == 65
    assert host.run("route", "set", bob, "local").returncode == 0
    done = host.run("route", "release", bob, "--json")
    assert json.loads(done.stdout)["left"] == []
    host.wait("bob", ["waits", "waits too"])


def test_a_probe_is_met_by_the_parked_route_and_leaves_nothing(host: Host) -> None:
    carol = host.add("carol")
    host.apply()
    place = places(read_settings(host.qmail.config))[0]
    asked = probe.Probe(f"mailferry-probe@{DOMAIN}", seconds=3)
    with pytest.raises(SafetyStop, match="did not wait"):
        asyncio.run(probe.prove([queue_of(place)], asked, carol))
    assert len(host.subjects("carol")) == 1  # it was delivered, so the route is not parked
    host.change("carol", mailferryRoute="parked")
    host.apply(carol)
    asyncio.run(probe.prove([queue_of(place)], asked, carol))
    assert asyncio.run(queue_of(place).waiting(carol)) == []
    assert len(host.subjects("carol")) == 1


def test_exchange_gets_what_is_its_own_and_may_not_send_it_back(host: Host) -> None:
    dora = host.add("dora", "exchange")
    host.apply()
    host.send(dora, "to exchange")
    deadline = time.monotonic() + 15
    while f"orig_to=<dora@{EXCHANGE_DOMAIN}>" not in host.exchange.log():
        assert time.monotonic() < deadline, host.log()[-2000:]
        time.sleep(0.05)
    with pytest.raises(smtplib.SMTPRecipientsRefused, match=r"550, b'5\.4\.6"):
        host.send("dora@open.acme.example", "back", port=host.qmail.exchange_port)
    host.run("route", "set", dora, "parked")
    host.run("route", "set", dora, "exchange")
    with pytest.raises(smtplib.SMTPRecipientsRefused, match=r"451, b'4\.4\.6"):
        host.send("dora@open.acme.example", "back", port=host.qmail.exchange_port)


def test_groups_and_forwarding(host: Host) -> None:
    eve = host.add("eve")
    fred = host.add("fred", mailferryForwardTo=eve, mailferryKeepCopy="TRUE")
    suffix = host.openldap.suffix
    group = {
        "objectClass": [b"groupOfNames", b"mailferryGroup", b"inetLocalMailRecipient", b"mailferryRecipient"],
        "member": [f"uid={uid},ou=people,{suffix}".encode() for uid in ("eve", "fred")],
        "mail": [f"team@{DOMAIN}".encode()],
        "mailLocalAddress": [f"team@{DOMAIN}".encode()],
        "mailferrySourceId": [b"ad:team"],
        "mailferryKind": [b"group"],
    }
    host.openldap.add((f"cn=team,ou=groups,{suffix}", group))
    host.apply()
    host.send(f"team@{DOMAIN}", "to all")
    host.wait("fred", ["to all"])
    host.wait("eve", ["to all", "to all"])  # as a member, and forwarded by Fred
    host.send(fred, "to fred")
    host.wait("fred", ["to all", "to fred"])
    host.wait("eve", ["to all", "to all", "to fred"])


def test_the_responder_answers_people_once(host: Host) -> None:
    gina, hugo = host.add("gina"), host.add("hugo")
    host.apply()
    home = host.qmail.host / "var/lib/mailferry/qmail/people/gina"
    answer = f"|{host.qmail.programs}/answer\n"
    (home / "answer").write_text("I am away until Monday: größer.\n")
    (home / ".qmail").write_text((home / ".qmail").read_text() + answer)
    host.send(gina, "one", sender=hugo)
    host.send(gina, "two", sender=hugo)
    host.send(gina, "from a list", sender=hugo, more="List-Id: <l.acme.example>\r\n")
    host.wait("gina", ["from a list", "one", "two"])
    host.wait("hugo", ["Auto: one"])
    (path,) = (host.qmail.maildir("hugo") / "new").iterdir()
    text = path.read_text()
    assert "Return-Path: <>" in text
    assert "Auto-Submitted: auto-replied" in text
    time.sleep(1)
    assert host.subjects("hugo") == ["Auto: one"]


def test_the_kit_is_installed_as_rendered(host: Host) -> None:
    there = ("--root", str(host.qmail.host))
    assert host.run("stack", "render", "qmail", "--diff", *there).returncode == 0
    told = host.run("stack", "check", "qmail", *there)
    assert "BAD" not in told.stdout, told.stdout
    host.qmail.halt()
    try:
        up = host.run("stack", "up", "qmail", *there)
        assert up.returncode == 0, up
        host.wait("alice", ["0", "1", "2", "3"])
        host.send(f"alice@{DOMAIN}", "4")
        host.wait("alice", ["0", "1", "2", "3", "4"])
    finally:
        assert host.run("stack", "down", "qmail", *there).returncode == 0
        host.qmail.start()


def _settings(root: Path, openldap: OpenLdap, qmail: Qmail, exchange: ExchangeSide) -> str:
    head: dict[str, Any] = {"url": openldap.url, "suffix": openldap.suffix, "bind": openldap.settings.writer_dn}
    target = "".join(f"{name} = {json.dumps(value)}\n" for name, value in head.items())
    return f"""
ledger = "{root}/ledger.db"
[directory.source]
kind = "csv"
url = "{root}/people.csv"
[directory.mapping]
domains = ["{DOMAIN}"]
[directory.exchange]
routing_domain = "open.acme.example"
[directory.target]
{target}password = "file:{root}/writer"
tls = "none"
[stack.openldap]
provider = "{openldap.url}"
admin_password = "file:{root}/lookup"
replicator_password = "file:{root}/lookup"
lookup_password = "file:{root}/lookup"
sync_password = "file:{root}/writer"
{settings(qmail, ("127.0.0.1", exchange.postfix.port), EXCHANGE_DOMAIN)}
[coexist]
source = "imap://127.0.0.1:9?tls=none"
[coexist.stores."{STORE}"]
url = "maildir:{qmail.mail_dir}/{{user}}/Maildir"
{queue_settings(qmail, MAILFERRY)}
"""
