"""`mailferry stack up|check|down dovecot` below a directory: a store and the proxy, installed, checked and stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from lab import process
from lab.openldap import LOOKUP_PASSWORD, OpenLdap
from mailferry.cli.stack import stack_command

PORTS = ("imap", "imaps", "pop3", "pop3s", "sieve", "lmtp")


@dataclass(slots=True)
class Host:
    root: Path
    ports: dict[str, int]

    def run(self, verb: str, *arguments: str) -> dict[str, bool | None]:
        """What the checks say."""
        words = [verb, "dovecot", *arguments, "--root", str(self.root / "host")]
        done = CliRunner().invoke(
            stack_command, [*words, "--config", str(self.root / "mailferry.toml"), "--json"], standalone_mode=False
        )
        if done.exception is not None:
            raise done.exception
        return {one["what"]: one["well"] for one in json.loads(done.output).get("checks", ())}


@pytest.fixture
def host(own_openldap: OpenLdap) -> Iterator[Host]:
    here = Host(process.workspace("stack"), {name: process.free_port() for name in PORTS})
    certificate, key = process.make_certificate(here.root / "tls")
    (here.root / "host").mkdir()
    (here.root / "secret").write_text(LOOKUP_PASSWORD)
    uid, _ = process.mail_owner()
    ports = ", ".join(f"{name} = {port}" for name, port in here.ports.items())
    (here.root / "mailferry.toml").write_text(
        f"""
        [directory.source]
        url = "ldaps://dc.acme.example"
        [directory.target]
        url = "{own_openldap.url}"
        suffix = "{own_openldap.suffix}"
        [directory.mapping]
        domains = ["acme.example"]
        [directory.exchange]
        routing_domain = "open.acme.example"
        [stack.openldap]
        provider = "{own_openldap.url}"
        admin_password = "file:{here.root}/secret"
        replicator_password = "file:{here.root}/secret"
        lookup_password = "file:{here.root}/secret"
        sync_password = "file:{here.root}/secret"
        [stack.postfix]
        hostname = "localhost"
        exchange = "127.0.0.1:9"
        exchange_domain = "exchange.acme.example"
        exchange_networks = ["127.0.0.0/8"]
        stores = {{ "store1" = "127.0.0.1:{here.ports["lmtp"]}", "store2" = "127.0.0.1:9" }}
        [stack.dovecot]
        hostname = "localhost"
        listen = ["127.0.0.1"]
        owner = "{uid}"
        certificate = "{certificate}"
        key = "{key}"
        proxy_ca_file = "{certificate}"
        exchange_imap = "localhost:9"
        master_password = "file:{here.root}/secret"
        ports = {{ {ports} }}
        """
    )
    yield here
    here.run("down", "--store", "store1")
    shutil.rmtree(here.root)


@pytest.mark.parametrize("which", [("--store", "store1"), ("--proxy",)], ids=["store", "proxy"])
def test_up_and_checked_and_down(host: Host, own_openldap: OpenLdap, which: tuple[str, ...]) -> None:
    lookup = "user" if "--store" in which else "auth lookup"
    answers = f"the directory answers (doveadm {lookup})"
    before = host.run("check", *which)
    assert before.pop("dovecot.conf (doveconf -n)") is True
    assert before and not any(before.values()), "nothing runs yet"
    for _ in range(2):
        told = host.run("up", *which)
        assert all(told.values()), told
    own_openldap.halt()
    assert [what for what, well in host.run("check", *which).items() if not well] == [answers]
    host.run("down", *which)
    assert not any(well for what, well in host.run("check", *which).items() if what != "dovecot.conf (doveconf -n)")
