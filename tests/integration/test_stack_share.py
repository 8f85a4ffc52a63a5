"""`mailferry stack share`: who has the whole of a mailbox in the directory opens it in a real store."""

from __future__ import annotations

import imaplib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.ldap_people import Text, person
from lab.open_dovecot import MASTER, MASTER_PASSWORD, OpenDovecot
from lab.openldap import WRITER_PASSWORD, OpenLdap
from lab.process import PASSWORD

MAILFERRY = str(Path(sys.executable).with_name("mailferry"))


@dataclass(slots=True)
class Office:
    directory: OpenLdap
    store: OpenDovecot
    folder: Path

    def add(self, uid: str, **more: Text) -> str:
        """Somebody whose mail comes to the store; their DN."""
        here = {"mailferryRoute": "local", "mailHost": "store1", "userPassword": PASSWORD}
        return self.directory.add(person(self.directory.suffix, uid, **{**here, **more}))

    def share(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Run it; each mailbox by its address."""
        command = [MAILFERRY, "stack", "share", *arguments, "--json", "--config", str(self.folder / "mailferry.toml")]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=self.folder)
        assert done.returncode == code, done.stdout + done.stderr
        return {one["mail"]: one for one in json.loads(done.stdout)["mailboxes"]}

    def may_write(self, user: str, folder: str) -> bool:
        with imaplib.IMAP4("127.0.0.1", self.store.port) as client:
            client.login(user, PASSWORD)
            return client.select(f'"{folder}"')[0] == "OK" and not client.is_readonly

    def log(self) -> str:
        return self.store.log()


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with OpenLdap() as directory, OpenDovecot(directory) as store:
        folder = tmp_path_factory.mktemp("office")
        (folder / "writer").write_text(WRITER_PASSWORD)
        (folder / "master").write_text(MASTER_PASSWORD)
        (folder / "mailferry.toml").write_text(
            f"""\
ledger = "{folder}/ledger.db"
[directory.source]
url = "ldaps://dc1.acme.example"
[directory.target]
url = "{directory.url}"
suffix = "{directory.suffix}"
bind = "{directory.settings.writer_dn}"
password = "file:{folder}/writer"
ca_file = "{directory.ca_file}"
[directory.mapping]
domains = ["acme.example"]
[coexist]
source = "imaps://ex1.acme.example"
[coexist.stores.store1]
url = "imaps://127.0.0.1:{store.tls_port}?admin={MASTER}&ca={store.ca_file}"
password = "file:{folder}/master"
[[coexist.queues]]
name = "mx"
"""
        )
        yield Office(directory, store, folder)


def test_members_open_a_shared_mailbox(office: Office) -> None:
    alice, bert = office.add("alice"), office.add("bert")
    carl = office.add("carl", mailferryRoute="exchange")
    office.add("dora")
    suffix = office.directory.suffix
    group = {
        "objectClass": [b"groupOfNames", b"mailferryGroup", b"mailferryRecipient"],
        "member": [bert.encode(), carl.encode(), f"cn=crew,ou=groups,{suffix}".encode()],
        "mailferrySourceId": [b"ad:crew"],
        "mailferryKind": [b"group"],
    }
    crew = office.directory.add((f"cn=crew,ou=groups,{suffix}", group))
    office.add("team", mailferryKind="shared", mailferryEnabled="FALSE", mailferryFullAccess=[alice, crew])
    office.add("later", mailferryRoute="parked", mailferryFullAccess=[alice])
    with imaplib.IMAP4("127.0.0.1", office.store.port) as client:
        client.login(f"team*{MASTER}", MASTER_PASSWORD)
        client.create("Done")
        client.create('"Done/Dr. No &- all"')
        assert client.setacl("INBOX", "dora", "lrwstipekx")[0] == "OK"
    assert not office.may_write("alice", "user/team/Done")

    folders = ["INBOX", "Done", "Done/Dr. No & all"]
    told = office.share("--dry-run")
    assert told.keys() == {"team@acme.example"}, "nobody opens a mailbox whose mail is not here yet"
    assert {name: sorted(some) for name, some in told["team@acme.example"]["granted"].items()} == {
        name: sorted(folders) for name in ("alice", "bert", "carl")
    }
    assert not office.may_write("alice", "user/team/Done")

    made = office.share()["team@acme.example"]
    assert made["granted"] == told["team@acme.example"]["granted"]
    assert (made["beyond"], made["elsewhere"], made["failed"]) == (["dora"], ["carl"], "")
    for member in ("alice", "bert"):
        assert all(office.may_write(member, f"user/team/{name}") for name in ("INBOX", "Done", "Done/Dr. No &- all"))
    assert not office.may_write("dora", "user/team/Done")
    assert office.share("team@acme.example")["team@acme.example"]["granted"] == {}, "once is enough"
    assert office.share("later@acme.example") == {}


def test_a_store_that_is_not_known_stops_no_other_mailbox(office: Office) -> None:
    member = office.add("eve")
    office.add("far", mailHost="store9", mailferryFullAccess=[member])
    office.add("near", mailferryFullAccess=[member])
    told = office.share("far@acme.example", "near@acme.example", code=1)
    assert "none of the stores" in told["far@acme.example"]["failed"]
    assert list(told["near@acme.example"]["granted"]) == ["eve"]
    assert office.may_write("eve", "user/near/INBOX")
