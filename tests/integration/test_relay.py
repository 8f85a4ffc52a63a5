"""`mailferry relay`: a Postfix of its own holds the mail of a domain, over a restart, and lets it go in order."""

from __future__ import annotations

import json
import shutil
import smtplib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lab import process
from lab.openldap import LOOKUP_PASSWORD
from mailferry.cli.relay import relay_command
from mailferry.coexist.relay import Message, next_ones
from mailferry.config.settings import read_settings
from mailferry.errors import SafetyStop
from mailferry.ops import stack, stack_host
from tests.mail_flow import DOMAIN, STORE, Sides, sides


@dataclass
class Relay:
    """The instance, installed by `stack up`, in front of the Postfix of `both`."""

    both: Sides
    root: Path
    port: int

    @property
    def config(self) -> Path:
        return self.root / "mailferry.toml"

    def up(self, min_free_mb: int = 512, **more: float) -> None:
        ldap = self.both.openldap
        limits = "".join(f"{name} = {value}\n" for name, value in more.items())
        self.config.write_text(
            f"""
            ledger = "{self.root / "ledger.db"}"
            [directory.source]
            url = "ldaps://dc.acme.example"
            base = "dc=acme,dc=example"
            [directory.target]
            url = "{ldap.url}"
            suffix = "{ldap.suffix}"
            [directory.mapping]
            domains = ["{DOMAIN}"]
            [directory.exchange]
            routing_domain = "open.acme.example"
            [stack.openldap]
            provider = "{ldap.url}"
            admin_password = "file:{self.root}/secret"
            replicator_password = "file:{self.root}/secret"
            lookup_password = "file:{self.root}/secret"
            sync_password = "file:{self.root}/secret"
            [stack.postfix]
            hostname = "relay.acme.example"
            exchange = "127.0.0.1:9"
            exchange_domain = "exchange.acme.example"
            exchange_networks = ["127.0.0.0/8"]
            stores = {{ "store1" = "127.0.0.1:9" }}
            [stack.relay]
            listen = "127.0.0.1:{self.port}"
            to = "127.0.0.1:{self.both.postfix.port}"
            min_free_mb = {min_free_mb}
            {limits}
            config_dir = "{self.root}/etc"
            queue_dir = "{self.root}/queue"
            data_dir = "{self.root}/data"
            """
        )
        stack_host.up([self.kit()], self.root / "kits", lambda said: None)

    def kit(self) -> Any:
        return stack.kits(read_settings(self.config), "relay")[0]

    def run(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        done = CliRunner().invoke(
            relay_command, [*arguments, "--config", str(self.config), "--json"], standalone_mode=False
        )
        if done.exception is not None:
            raise done.exception
        return done.return_value, json.loads(done.output)

    def postfix(self, *command: str) -> None:
        own = ["-c", str(self.root / "etc")]
        subprocess.run([command[0], *own, *command[1:]], check=True, capture_output=True)

    def send(self, to: str, subject: str) -> None:
        self.both.postfix.send(to, subject, port=self.port)

    def answer(self, to: str) -> tuple[int, str]:
        """What is answered to the first command that is refused."""
        with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as client:
            client.ehlo("test.example")
            code, said = client.mail("someone@outside.example")
            if code == 250:
                code, said = client.rcpt(to)
            return code, said.decode()


@pytest.fixture(scope="module")
def relay() -> Iterator[Relay]:
    with sides() as both:
        here = Relay(both, process.workspace("relay"), process.free_port())
        (here.root / "secret").write_text(f"{LOOKUP_PASSWORD}\n")
        here.up()
        yield here
        stack_host.down([here.kit()], lambda said: None, restore=False)
        shutil.rmtree(here.root)


def test_a_night_of_mail_is_held_and_let_go_in_order(relay: Relay) -> None:
    both = relay.both
    people = [both.add(f"relayed{n}", "local") for n in range(12)]
    relay.send(people[0], "before")  # as it is installed, mail passes
    both.wait(both.store, people[0], ["before"])

    assert relay.run("on") == (0, {"schema": 1, "before": "pass", "after": "hold", "made": True})
    subjects = [f"number {n:03}" for n in range(300)]
    for number, subject in enumerate(subjects):
        relay.send(people[number % 12], subject)
    code, text = relay.answer(f"nobody@{DOMAIN}")
    assert code == 550 and "5.1.1" in text
    both.openldap.halt()
    try:
        assert relay.answer(people[0])[0] == relay.answer(f"nobody@{DOMAIN}")[0] == 451
    finally:
        both.openldap.start()

    relay.postfix("postqueue", "-f")  # which somebody always does
    relay.postfix("postfix", "stop")
    assert relay.run("status")[0] == 1, "it does not run"
    relay.postfix("postfix", "start")
    time.sleep(1)
    code, status = relay.run("status")
    assert (code, status["state"], status["messages"], status["alarms"]) == (0, "hold", 300, [])
    with pytest.raises(SafetyStop, match="300 messages are held"):
        relay.run("off")
    assert both.stored(both.store, people[0]) == ["before"]

    assert relay.run("drain", "--dry-run")[1]["messages"] == 300
    assert relay.run("drain", "--per-second", "200")[1]["messages"] == 300
    both.drain()
    for n, address in enumerate(people):
        before = ["before"] if n == 0 else []
        both.wait(both.store, address, [*before, *subjects[n::12]])
    relay.send(people[1], "after")
    both.wait(both.store, people[1], [*subjects[1::12], "after"])
    assert relay.run("off")[1]["made"] is False


def test_what_is_not_taken_waits_on(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory goes away while mail is let go: the Postfix between both sides says 451."""
    from mailferry.coexist import relay as draining
    from mailferry.errors import Temporary

    both = relay.both
    address = both.add("patient", "local", mailHost=STORE)
    relay.run("on")
    for n in range(3):
        relay.send(address, f"patient {n}")
    both.openldap.halt()
    monkeypatch.setattr(draining, "PATIENCE_SECONDS", 2.0)
    try:
        with pytest.raises(Temporary, match="none of 3 messages is taken"):
            relay.run("drain")
    finally:
        both.openldap.start()
    assert relay.run("status")[1]["state"] == "drain"
    relay.send(address, "patient 3")
    monkeypatch.setattr(draining, "PATIENCE_SECONDS", 30.0)
    assert relay.run("drain")[1]["messages"] == 4
    both.wait(both.store, address, [f"patient {n}" for n in range(4)])


def test_a_disk_that_is_nearly_full_takes_no_more(relay: Relay) -> None:
    address = relay.both.add("full", "local")
    free = shutil.disk_usage(relay.root).free >> 20
    relay.up(min_free_mb=free + 10_000, alarm_free_mb=free + 20_000)
    try:
        code, text = relay.answer(address)
        assert code == 452 and "4.3.1" in text
        code, status = relay.run("status")
        assert code == 1 and "no more mail is taken (452)" in status["alarms"][0]
    finally:
        relay.up()
    assert relay.answer(address)[0] == 250


def test_which_go_next() -> None:
    def one(name: str, *to: str) -> Message:
        return Message(name, 0.0, 1, frozenset(to), "")

    waiting = [one("a", "x"), one("b", "x", "y"), one("c", "y"), one("d", "z"), one("e", "q")]
    assert [found.id for found in next_ones(waiting, 10)] == ["a", "d", "e"], "c is for y, whom b is for, too"
    assert [found.id for found in next_ones(waiting, 2)] == ["a", "d"]
