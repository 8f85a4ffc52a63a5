"""`mailferry stack up|check|down` below a directory: slapd and Postfix installed, checked, changed, put back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lab import process
from mailferry.cli.stack import stack_command

PASSWORD = "stack-host-pw"


@dataclass
class Host:
    root: Path
    ldap_port: int
    port: int

    @property
    def config(self) -> Path:
        return self.root / "mailferry.toml"

    def configure(self, days: int) -> None:
        self.config.write_text(
            f"""
            [directory.source]
            url = "ldaps://dc.acme.example"
            base = "dc=acme,dc=example"
            [directory.target]
            url = "ldap://127.0.0.1:{self.ldap_port}"
            suffix = "dc=acme,dc=example"
            [directory.mapping]
            domains = ["acme.example"]
            [directory.exchange]
            routing_domain = "open.acme.example"
            [stack.openldap]
            provider = "ldap://127.0.0.1:{self.ldap_port}"
            admin_password = "file:{self.root}/secret"
            replicator_password = "file:{self.root}/secret"
            lookup_password = "file:{self.root}/secret"
            sync_password = "file:{self.root}/secret"
            [stack.postfix]
            hostname = "localhost"
            listen = "127.0.0.1:{self.port}"
            listen_exchange = "127.0.0.1:{process.free_port()}"
            exchange = "127.0.0.1:9"
            exchange_domain = "exchange.acme.example"
            exchange_networks = ["127.0.0.0/8"]
            queue_days = {days}
            stores = {{ "store1" = "127.0.0.1:9" }}
            """
        )

    def run(self, *arguments: str) -> Result:
        done = CliRunner().invoke(
            stack_command,
            [*arguments, "--root", str(self.root / "host"), "--config", str(self.config)],
            standalone_mode=False,
        )
        if done.exception is not None:
            raise done.exception
        assert PASSWORD not in done.output
        return done

    def checks(self, *arguments: str) -> dict[str, Any]:
        done = json.loads(self.run(*arguments, "--json").output)
        return {one["what"]: one["well"] for one in done["checks"]}


@pytest.fixture
def host() -> Iterator[Host]:
    here = Host(process.workspace("stack"), process.free_port(), process.free_port())
    (here.root / "host").mkdir()
    (here.root / "secret").write_text(f"{PASSWORD}\n")
    here.configure(14)
    yield here
    here.run("down", "all")
    shutil.rmtree(here.root)


def test_up_and_changed_and_back(host: Host) -> None:
    ldap, smtp = (
        f"ldap://127.0.0.1:{host.ldap_port} answers",
        f"the listener for everybody answers (127.0.0.1:{host.port})",
    )
    main = host.root / "host/etc/postfix/main.cf"
    before = host.checks("check", "all")
    assert [before[ldap], before[smtp], before["tables answer (postmap -q)"]] == [False] * 3
    assert before["cn=config (slapadd, slaptest)"] and before["main.cf (postconf -n)"]
    assert host.run("render", "all", "--diff").return_value == 1
    host.run("up", "all", "--dry-run")
    assert not main.exists()

    after = host.checks("up", "all")
    assert [after[ldap], after[smtp], after["tables answer (postmap -q)"]] == [True] * 3
    assert after["Exchange answers (127.0.0.1:9)"] is False, "a check that cannot fail is none"
    assert host.run("render", "all", "--diff").return_value == 0

    host.configure(30)
    differs = host.run("render", "postfix", "--diff")
    assert "-maximal_queue_lifetime = 14d\n+maximal_queue_lifetime = 30d\n" in differs.output
    assert differs.return_value == 1
    host.run("up", "postfix")
    assert "maximal_queue_lifetime = 30d" in main.read_text()
    assert host.checks("check", "postfix")[smtp] is True

    host.run("down", "postfix", "--restore")
    assert "maximal_queue_lifetime = 14d" in main.read_text()
    assert len(list(main.parent.glob("main.cf.undone-*"))) == 1
    stopped = host.checks("check", "all")
    assert [stopped[ldap], stopped[smtp]] == [True, False]


def test_what_a_checker_refuses_is_not_installed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    from mailferry.errors import Permanent
    from mailferry.stack.postfix import render

    monkeypatch.setattr(render, "_OUTGOING", "smtp_tls_securty_level = may\n")
    with pytest.raises(Permanent, match="smtp_tls_securty_level"):
        host.run("up", "all")
    assert list((host.root / "host").iterdir()) == []


def test_a_difference_in_a_password_alone_is_told_without_it(host: Host) -> None:
    host.run("up", "all")
    (host.root / "secret").write_text("another-one\n")
    done = host.run("render", "all", "--diff")
    assert done.return_value == 1
    assert "only secrets or permissions differ" in done.output and "another-one" not in done.output
