"""`mailferry stack up|check|down radicale` below a directory: who may log in, and find what is theirs."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from lab import ldap_people, process
from lab.openldap import DAV_PASSWORD, LOOKUP_PASSWORD, OpenLdap
from lab.process import PASSWORD
from mailferry.cli.stack import stack_command
from mailferry.model.account import DavAccount, Tls
from mailferry.secret import Secret
from mailferry.stack.openldap.settings import DAV_ACCOUNT
from mailferry.targets.caldav import CalDavTarget
from mailferry.targets.carddav import CardDavTarget
from tests.integration.test_copy_items import copy
from tests.items import CALENDAR, CONTACTS, MemoryItems, contact, event


@dataclass(slots=True)
class Host:
    root: Path
    port: int

    def run(self, verb: str, *arguments: str) -> dict[str, bool | None]:
        """What the checks say."""
        words = [verb, "radicale", *arguments, "--root", str(self.root / "host")]
        done = CliRunner().invoke(
            stack_command, [*words, "--config", str(self.root / "mailferry.toml"), "--json"], standalone_mode=False
        )
        if done.exception is not None:
            raise done.exception
        return {one["what"]: one["well"] for one in json.loads(done.output).get("checks", ())}

    def ask(self, method: str, path: str, user: str, password: str = PASSWORD, body: bytes = b"") -> int:
        """The status."""
        url = f"http://127.0.0.1:{self.port}{path}"
        kind = {"Content-Type": "text/vcard", "Depth": "0"}
        done = httpx.request(method, url, auth=(user, password), content=body, headers=kind, trust_env=False)
        return done.status_code


@pytest.fixture(scope="module")
def openldap() -> Iterator[OpenLdap]:
    with OpenLdap() as server:
        for uid, route in (("alice", "local"), ("bob", "local"), ("erin", "exchange")):
            server.add(ldap_people.person(server.suffix, uid, mailferryRoute=route, userPassword=PASSWORD))
        yield server


@pytest.fixture(scope="module")
def host(openldap: OpenLdap) -> Iterator[Host]:
    here = Host(process.workspace("stack"), process.free_port())
    (here.root / "host").mkdir()
    (here.root / "lookup").write_text(LOOKUP_PASSWORD)
    (here.root / "dav").write_text(DAV_PASSWORD)
    (here.root / "mailferry.toml").write_text(
        f"""
        [directory.source]
        url = "ldaps://dc.acme.example"
        [directory.target]
        url = "{openldap.url}"
        suffix = "{openldap.suffix}"
        [stack.openldap]
        provider = "{openldap.url}"
        admin_password = "file:{here.root}/lookup"
        replicator_password = "file:{here.root}/lookup"
        lookup_password = "file:{here.root}/lookup"
        sync_password = "file:{here.root}/lookup"
        [stack.radicale]
        hostname = "localhost"
        listen = ["127.0.0.1:{here.port}"]
        admin_password = "file:{here.root}/dav"
        python = "{sys.executable}"
        """
    )
    for _ in range(2):
        told = here.run("up")
        assert False not in told.values(), (told, *here.root.rglob("log"))
    yield here
    here.run("down")
    with pytest.raises(httpx.ConnectError):
        here.ask("GET", "/", "alice")
    shutil.rmtree(here.root)


def test_people_of_the_directory_log_in_and_nobody_else(host: Host) -> None:
    assert host.ask("PROPFIND", "/alice/", "alice") == 207
    assert host.ask("PROPFIND", "/alice/", "Alice@acme.example") == 207
    assert host.ask("PROPFIND", "/alice/", "alice", "wrong") == 401
    assert host.ask("PROPFIND", "/alice/", "alice", "") >= 400
    assert host.ask("PROPFIND", "/erin/", "erin") == 401, "her mailbox is still on Exchange"
    assert host.ask("PROPFIND", "/alice/", "*") == 401
    assert host.ask("PROPFIND", "/alice/", "bob") == 403


def test_mailferry_fills_what_its_owner_then_finds(host: Host, tmp_path: Path) -> None:
    source = MemoryItems()
    source.put(CALENDAR, event("e"))
    source.put(CONTACTS, contact("c"))
    login = {"admin": DAV_ACCOUNT, "tls": Tls.NONE, "timeout": 10.0}
    to = [
        kind(DavAccount(name, "127.0.0.1", host.port, "bob", Secret(DAV_PASSWORD), **login))  # type: ignore[arg-type]
        for kind, name in ((CalDavTarget, "caldav"), (CardDavTarget, "carddav"))
    ]
    assert copy(tmp_path / "ledger.db", source, to).total().copied == 2
    assert host.ask("GET", "/bob/calendar/e.ics", "bob") == 200
    assert host.ask("GET", "/bob/calendar/e.ics", "alice") == 403


def test_the_organisations_address_book_is_read_by_all_and_written_by_none(host: Host) -> None:
    card = b"BEGIN:VCARD\r\nVERSION:3.0\r\nUID:x\r\nFN:X\r\nN:X;;;;\r\nEND:VCARD\r\n"
    assert host.ask("MKCOL", "/organisation/", DAV_ACCOUNT, DAV_PASSWORD) == 201
    assert host.ask("PUT", "/organisation/people/", DAV_ACCOUNT, DAV_PASSWORD, card) == 201
    assert host.ask("PROPFIND", "/organisation/people/", "alice") == 207
    assert host.ask("PUT", "/organisation/people/y.vcf", "alice", body=card) == 403
    assert host.ask("DELETE", "/organisation/people/", "alice") == 403
