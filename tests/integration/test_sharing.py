"""`mailferry sharing`: exported permissions become rights that a real Dovecot enforces, once both sides are there."""

from __future__ import annotations

import imaplib
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lab.ldap_people import Text, person
from lab.open_dovecot import MASTER, MASTER_PASSWORD, OpenDovecot
from lab.openldap import WRITER_PASSWORD, OpenLdap
from lab.process import PASSWORD
from mailferry.cli.sharing import sharing_command
from mailferry.ledger import directory as ledger_directory
from mailferry.ledger import open_ledger
from mailferry.ledger.rows import DirectoryAccount


@dataclass(slots=True)
class Office:
    directory: OpenLdap
    store: OpenDovecot
    folder: Path

    def add(self, uid: str, **more: Text) -> str:
        """Somebody whose mail comes to the store; their DN."""
        here = {"mailferryRoute": "local", "mailHost": "store1", "userPassword": PASSWORD}
        return self.directory.add(person(self.directory.suffix, uid, **{**here, **more}))

    def change(self, uid: str, **values: str | None) -> None:
        steps = [(2, name, None if value is None else [value.encode()]) for name, value in values.items()]
        self.directory.connect().modify_s(f"uid={uid},ou=people,{self.directory.suffix}", steps)

    def senders(self, uid: str) -> list[str]:
        """mailferrySendAs."""
        found = self.directory.connect().search_s(self.directory.suffix, 2, f"(uid={uid})", ["mailferrySendAs"])
        return sorted(one.decode() for one in found[0][1].get("mailferrySendAs", []))

    def run(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """`mailferry sharing …`, in this process."""
        argv = [*arguments, "--json", "--config", str(self.folder / "mailferry.toml")]
        done = CliRunner().invoke(sharing_command, argv, standalone_mode=False, catch_exceptions=False)
        assert done.return_value == code, done.output
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def export(self, name: str, *rows: dict[str, Any]) -> str:
        path = self.folder / name
        path.write_text(json.dumps(rows))
        return str(path)

    def states(self, *addresses: str) -> dict[str, str]:
        """`person: folder` → state."""
        shown = self.run("show", *addresses)["grants"]
        return {f"{one['person'].partition('@')[0]} {one['folder']}".strip(): one["state"] for one in shown}

    def opened(self, user: str) -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", self.store.port)
        client.login(user, PASSWORD)
        return client

    def mailbox(self, user: str, *folders: str) -> None:
        """These folders with a message each."""
        with imaplib.IMAP4("127.0.0.1", self.store.port) as client:
            client.login(f"{user}*{MASTER}", MASTER_PASSWORD)
            for folder in ("INBOX", *folders):
                client.create(f'"{folder}"')
                client.append(f'"{folder}"', "", "", b"Subject: one\r\n\r\none\r\n")

    def subscribed(self, user: str) -> list[str]:
        with self.opened(user) as client:
            found = [line.decode() for line in client.lsub('""', "*")[1] if isinstance(line, bytes)]
        return [line.rpartition(" ")[2] for line in found]

    def acl(self, user: str, folder: str) -> dict[str, str]:
        """Rights by person, without the owner's."""
        with imaplib.IMAP4("127.0.0.1", self.store.port) as client:
            client.login(f"{user}*{MASTER}", MASTER_PASSWORD)
            words = client.getacl(f'"{folder}"')[1][0].decode().replace('"', "").split()
        found = zip(words[1::2], words[2::2], strict=True)
        return {name: "".join(sorted({*rights} - {*"cd"})) for name, rights in found if name != user}

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


def folder_row(mailbox: str, path: str, user: str, *rights: str) -> dict[str, Any]:
    """As docs/sharing.md exports it."""
    whom = {"UserType": "Internal", "DisplayName": user, "ADRecipient": {"PrimarySmtpAddress": f"{user}@acme.example"}}
    return {
        "Mailbox": f"{mailbox}@acme.example",
        "FolderPath": f"\\{path}",
        "User": whom,
        "AccessRights": list(rights),
        "SharingPermissionFlags": None,
    }


def test_a_reader_reads_and_cannot_delete_and_an_editor_can(office: Office) -> None:
    for uid in ("ann", "bob", "cat"):
        office.add(uid)
    office.mailbox("ann", "Projects", "Trash")
    rows = [
        folder_row("ann", "Projects", "bob", "Reviewer"),
        folder_row("ann", "Projects", "cat", "Editor"),
        folder_row("ann", "Deleted Items", "cat", "Reviewer"),
        folder_row("ann", "Lost", "cat", "Reviewer"),
        folder_row("ann", "Projects", "nobody", "Owner"),
    ]
    told = office.run("plan", office.export("ann.json", *rows), code=1)
    assert told["grants"] == {"added": 4, "changed": 0, "same": 0, "dropped": 0}
    assert [one["notes"] for one in told["entries"] if one["rating"] == "manual"] == [
        ["nobody@acme.example: nobody in the directory is called so"]
    ]
    assert "nobody" not in office.acl("ann", "Projects") and "bob" not in office.acl("ann", "Projects"), "only planned"
    would = office.run("apply", "ann@acme.example", "--dry-run")["grants"]
    assert {one["state"] for one in would} == {"applied"} and office.acl("ann", "Projects") == {}
    office.run("apply", "ann@acme.example", code=1)
    assert office.states("ann@acme.example") == {
        "bob Projects": "applied",
        "cat Projects": "applied",
        "cat Deleted Items": "applied",
        "cat Lost": "wanted",
    }
    assert office.acl("ann", "Projects") == {"bob": "lr", "cat": "eilrstw"}
    assert office.acl("ann", "Trash") == {"cat": "lr"}
    with office.opened("bob") as bob:
        with pytest.raises(imaplib.IMAP4.readonly):
            bob.select("user/ann/Projects")
        bob.is_readonly = True  # imaplib goes on all the same
        assert bob.fetch("1", "(BODY.PEEK[])")[1][0][1] == b"Subject: one\r\n\r\none\r\n"  # type: ignore[index]
        bob.store("1", "+FLAGS", "\\Deleted")
        bob.expunge()
        assert b"Deleted" not in bob.fetch("1", "(FLAGS)")[1][0]  # type: ignore[operator]
        assert bob.append("user/ann/Projects", "", "", b"Subject: two\r\n\r\n")[0] == "NO"
        assert bob.select("user/ann/INBOX")[0] == "NO"
    with office.opened("cat") as cat:
        assert cat.select("user/ann/Projects")[0] == "OK" and not cat.is_readonly
        cat.store("1", "+FLAGS", "\\Deleted")
        assert cat.expunge()[1] == [b"1"]
        assert cat.delete("user/ann/Projects")[0] == "NO"


def test_what_is_not_wanted_any_more_is_taken_back_and_nothing_else(office: Office) -> None:
    for uid in ("dan", "eva", "fay"):
        office.add(uid)
    office.mailbox("dan", "Plans")
    both = [folder_row("dan", "Plans", "eva", "Editor"), folder_row("dan", "Plans", "fay", "Reviewer")]
    office.run("plan", office.export("dan.json", *both))
    with office.opened("dan") as dan:
        assert dan.setacl("Plans", "eva", "lrk")[0] == "OK"
    office.run("apply", "dan@acme.example")
    assert office.acl("dan", "Plans") == {"eva": "eiklrstw", "fay": "lr"}
    assert office.subscribed("fay") == ["user/dan/Plans"]
    before = office.store.maildir("dan") / ".Plans" / "dovecot-acl"
    changed = before.stat().st_mtime_ns
    again = office.run("plan", str(office.folder / "dan.json"))
    assert again["grants"] == {"added": 0, "changed": 0, "same": 2, "dropped": 0}
    office.run("apply", "dan@acme.example")
    assert before.stat().st_mtime_ns == changed, "a second run changes nothing"
    office.run("plan", office.export("dan.json", folder_row("dan", "Plans", "eva", "Reviewer")))
    office.run("apply", "dan@acme.example")
    assert office.acl("dan", "Plans") == {"eva": "klr"}, "what Dan gave himself stays"
    assert office.states("fay@acme.example") == {"fay Plans": "withdrawn"} and office.subscribed("fay") == []


def test_a_right_waits_until_both_are_there_and_goes_with_either(office: Office) -> None:
    office.add("gus"), office.add("hal")
    office.change("hal", mailferryRoute="exchange", mailHost=None)
    office.mailbox("gus")
    rows = [folder_row("gus", "Inbox", "hal", "Reviewer")]
    office.run("plan", office.export("gus.json", *rows))
    office.run("apply", "gus@acme.example")
    assert office.states("gus@acme.example") == {"hal Inbox": "waiting"} and office.acl("gus", "INBOX") == {}
    office.change("hal", mailferryRoute="local", mailHost="store1")
    office.run("apply", "hal@acme.example")
    assert office.states("gus@acme.example") == {"hal Inbox": "applied"}
    assert office.acl("gus", "INBOX") == {"hal": "lr"}
    office.change("hal", mailferryRoute="exchange", mailHost=None)
    office.run("apply", "hal@acme.example")
    assert office.states("gus@acme.example") == {"hal Inbox": "withdrawn"} and office.acl("gus", "INBOX") == {}


def test_a_shared_mailbox_has_its_members_and_their_names_to_send_with(office: Office) -> None:
    ivy, jon = office.add("ivy"), office.add("jon")
    suffix = office.directory.suffix
    crew = {
        "objectClass": [b"groupOfNames", b"mailferryGroup", b"mailferryRecipient"],
        "member": [jon.encode(), f"cn=crew,ou=groups,{suffix}".encode()],
        "mailferrySourceId": [b"ad:crew"],
        "mailferryKind": [b"group"],
        "displayName": [b"The Crew"],
        "mail": [b"crew@acme.example"],
    }
    office.directory.add((f"cn=crew,ou=groups,{suffix}", crew))
    office.add("team", mailferryKind="shared", mailferryEnabled="FALSE", mailferryFullAccess=[ivy])
    office.add("far", mailHost="store9", mailferryFullAccess=[ivy])
    office.mailbox("team", "Done", "Done/Dr. No &- all")
    assert office.states("team@acme.example") == {}
    office.run("apply", "team@acme.example")
    assert office.acl("team", "INBOX") == {"ivy": "eiklprstwx"}, "as the directory says, without a plan"
    rows: list[dict[str, Any]] = [
        {"Identity": "team", "User": "crew@acme.example", "AccessRights": ["FullAccess"], "Deny": False},
        {"Identity": "team", "Trustee": "ACME\\ivy", "AccessRights": ["SendAs"], "AccessControlType": "Allow"},
        {"PrimarySmtpAddress": "team@acme.example", "GrantSendOnBehalfTo": ["acme.example/Users/The Crew"]},
    ]
    path = office.export("team.json", *rows)
    assert office.run("plan", path, "--dry-run", code=1)["counts"]["manual"] == 1, "a display name alone is nobody"
    told = office.run("plan", path, "--names")
    assert told["counts"] == {"exact": 1, "approximate": 2, "manual": 0, "nothing": 0}
    office.run("apply", "team@acme.example")
    for member in ("ivy", "jon"):
        with office.opened(member) as client:
            for folder in ("INBOX", "Done", "Done/Dr. No &- all"):
                assert client.select(f'"user/team/{folder}"')[0] == "OK" and not client.is_readonly
            assert b"user/team/Done" in b" ".join(client.lsub('""', "*")[1])
    assert office.acl("team", "INBOX") == {"ivy": "eiklprstwx", "jon": "eiklprstwx"}
    assert office.senders("team") == ["ivy", "jon"]
    far = office.run("apply", "far@acme.example", "team@acme.example", code=1)["grants"]
    assert [one["why"] for one in far if one["state"] == "wanted"] == [
        "[coexist.stores] for far@acme.example: store9 is none of the stores: store1"
    ]
    office.change("jon", mailferryRoute="exchange", mailHost=None)
    office.run("apply", "team@acme.example")
    assert office.senders("team") == ["ivy"] and office.acl("team", "INBOX") == {"ivy": "eiklprstwx"}


def test_another_account_in_place_of_a_person_gets_nothing(office: Office) -> None:
    """The right person: directory and ledger have to agree on who is who."""
    office.add("kim"), office.add("lea")
    office.mailbox("kim")
    with closing(open_ledger(str(office.folder / "ledger.db"))) as ledger:
        bound = ledger_directory.bind(ledger, "ldaps://dc1", "ldap://open")
        row = DirectoryAccount("ad:lea", "mailbox", "lea", None, "lea2", "uid=lea2")
        with ledger_directory.held(ledger, bound.id):
            ledger_directory.put_accounts(ledger, bound.id, [row])
    office.run("plan", office.export("kim.json", folder_row("kim", "Inbox", "lea", "Owner")))
    shown = office.run("apply", "kim@acme.example", code=1)["grants"]
    assert [one["state"] for one in shown] == ["wanted"] and "lea2 in the ledger" in shown[0]["why"]
    assert office.acl("kim", "INBOX") == {}
