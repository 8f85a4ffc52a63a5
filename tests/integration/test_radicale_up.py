"""`mailferry stack up|check|down radicale` below a directory: who may log in, and find what is theirs."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import ldap
import pytest
from click.testing import CliRunner

from lab import ldap_people, process
from lab.openldap import ADMIN_PASSWORD, DAV_PASSWORD, LOOKUP_PASSWORD, OpenLdap
from lab.process import PASSWORD
from mailferry.cli.directory import directory_command
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
    (here.root / "admin").write_text(ADMIN_PASSWORD)
    (here.root / "mailferry.toml").write_text(
        f"""
        [directory.source]
        url = "ldaps://dc.acme.example"
        [directory.target]
        url = "{openldap.url}"
        suffix = "{openldap.suffix}"
        bind = "{openldap.admin_dn}"
        password = "file:{here.root}/admin"
        tls = "none"
        [directory.mapping]
        domains = ["acme.example"]
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


def test_the_organisations_address_book_is_read_by_all_and_written_by_none(
    host: Host, openldap: OpenLdap, tmp_path: Path
) -> None:
    photo = b"\xff\xd8\xff\xe0a face"
    for uid, more in (("fay", {"displayName": "Fay Größe"}), ("hid", {"mailferryHidden": "TRUE"})):
        dn, values = ldap_people.person(openldap.suffix, uid, **more)
        openldap.add((dn, {**values, "jpegPhoto": [photo]}))

    def cards(*arguments: str) -> dict[str, int]:
        words = ["cards", "--config", str(host.root / "mailferry.toml"), "--ledger", str(tmp_path / "ledger.db")]
        done = CliRunner().invoke(directory_command, [*words, "--json", *arguments], standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        answer: dict[str, int] = json.loads(done.output).get("counts", {})
        return answer

    def book() -> dict[str, bytes]:
        folder = host.root / "host/var/lib/mailferry-radicale/collections/collection-root/organisation/contacts"
        return {one.name: one.read_bytes() for one in folder.glob("*.vcf")}

    cards("--dry-run")
    assert cards()["copied"] == 4
    assert host.ask("PROPFIND", "/organisation/contacts/", "alice") == 207
    (name,) = [one for one, card in book().items() if "Fay Größe".encode() in card]
    assert base64.b64encode(photo) in book()[name].replace(b"\r\n ", b"")
    assert host.ask("GET", f"/organisation/contacts/{name}", "alice") == 200
    for method, path in (("PUT", name), ("DELETE", name), ("DELETE", "")):
        assert host.ask(method, f"/organisation/contacts/{path}", "alice", body=book()[name]) == 403

    openldap.connect().modify_s(
        f"uid=fay,ou=people,{openldap.suffix}", [(ldap.MOD_REPLACE, "telephoneNumber", [b"+49 30 1"])]
    )
    openldap.connect().modify_s(
        f"uid=bob,ou=people,{openldap.suffix}", [(ldap.MOD_REPLACE, "mailferryRoute", [b"parked"])]
    )
    openldap.connect().delete_s(f"uid=erin,ou=people,{openldap.suffix}")
    again = cards()
    assert (again["copied"], again["removed"], again["there"]) == (1, 1, 2), "a route is nothing for an address book"
    assert b"+49 30 1" in book()[name]
    assert len(book()) == 3
