"""Rules uploaded to a real Dovecot over ManageSieve: mail is filed, flagged, passed on and answered as in Exchange, a
person's own script stays, and everything can be taken back."""

from __future__ import annotations

import asyncio
import json
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lab.ldap_people import person
from lab.open_dovecot import MASTER, MASTER_PASSWORD, OpenDovecot
from lab.openldap import OpenLdap
from lab.postfix import Postfix, open_side
from mailferry.config.sieve import parse_sieve
from mailferry.errors import AuthError
from mailferry.model.account import ImapAccount
from mailferry.model.rule import Action, Behaviour, Condition, Deed, Predicate, Rule, Upload, UploadState
from mailferry.net.managesieve import Refused, Session, session
from mailferry.ops.rules import Options
from mailferry.ops.rules_upload import Place, Sent, upload_files, withdraw_from
from mailferry.rules.convert import convert, pieces
from mailferry.rules.predicates import Owner
from mailferry.secret import Secret
from mailferry.stack.postfix.settings import Endpoint
from mailferry.targets.managesieve import HEAD, limit, put
from tests.e2e.moves import COMMAND

T = TypeVar("T")
OWN = b'require "imap4flags";\r\nif header :contains "subject" "own" {\r\n    addflag "\\\\Flagged";\r\n}\r\n'


@dataclass(slots=True)
class Here:
    """A store with people of its own, and a Postfix that takes what Sieve sends."""

    directory: OpenLdap
    store: OpenDovecot
    postfix: Postfix
    people: int = 0

    def add(self) -> str:
        """A new person's address."""
        self.people += 1
        uid = f"rules{self.people}"
        more = {"mailferryRoute": "local", "mailHost": "store1", "userPassword": "own"}
        self.directory.add(person(self.directory.suffix, uid, **more))
        return f"{uid}@acme.example"

    @property
    def to(self) -> str:
        return f"sieve://{{localpart}}@localhost:{self.store.sieve_port}?admin={MASTER}&ca={self.store.ca_file}"

    def place(self) -> Place:
        return Place(self.to, Secret(MASTER_PASSWORD))

    def account(self, address: str) -> ImapAccount:
        return self.place().account(address)

    def do(self, address: str, work: Callable[[Session], Any]) -> Any:
        async def go() -> Any:
            async with session(self.account(address)) as server:
                return await work(server)

        return asyncio.run(go())

    def deliver(self, to: str, subject: str, sender: str = "zoe@outside.example", header: str = "") -> None:
        with smtplib.LMTP("127.0.0.1", self.store.lmtp_port) as client:
            text = f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\nMessage-ID: <{subject}@x>\r\n{header}\r\nx\r\n"
            assert not client.sendmail(sender, [to], text)

    def found(self, address: str, folder: str) -> list[str]:
        """Flags and subject of what is in a folder."""
        said = self.store.doveadm(
            *("-f", "tab", "fetch", "-u", address.partition("@")[0], "flags hdr.subject", "mailbox", folder),
            check=False,
        )
        return sorted(" ".join(line.replace("\\Recent", "").split()) for line in said.splitlines()[1:])


@pytest.fixture(scope="module")
def here() -> Iterator[Here]:
    with ExitStack() as stack:
        directory = stack.enter_context(OpenLdap())
        store = OpenDovecot(directory)
        postfix = open_side(directory, ("127.0.0.1", 9), {"store1": ("127.0.0.1", store.lmtp_port)})
        store.change_store(relay=Endpoint("127.0.0.1", postfix.port))
        stack.enter_context(store)
        stack.enter_context(postfix)
        yield Here(directory, store, postfix)


def run(command: list[str]) -> tuple[int, str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


def export(folder: Path, address: str, *rules: dict[str, Any], **more: Any) -> Path:
    """What Get-InboxRule gives of somebody."""
    rows = [
        {"Name": f"rule {number}", "Priority": number, "Enabled": True, "RuleIdentity": number} | rule | more
        for number, rule in enumerate(rules, start=1)
    ]
    path = folder / f"{address}.json"
    path.write_text(json.dumps([{**row, "MailboxOwnerId": "acme.example/Users/Somebody"} for row in rows]))
    return path


def upload(here: Here, ledger: Path, *files: Path, activate: bool = True) -> Upload:
    (sent,) = asyncio.run(upload_files(str(ledger), files, here.place(), Options({}), activate=activate))
    assert sent.upload is not None, sent
    return sent.upload


def test_mail_is_filed_flagged_passed_on_and_answered_once(here: Here, tmp_path: Path) -> None:
    """By the command, as an administrator does it."""
    address, friend = here.add(), here.add()
    rules = export(
        tmp_path,
        address,
        {"SubjectContainsWords": ["invoice"], "MoveToFolder": f"{address}:\\Inbox\\Bills", "MarkAsRead": True},
        {"SubjectContainsWords": ["urgent"], "ForwardTo": [friend], "PinMessage": True},
    )
    away = tmp_path / f"{address}.away.json"
    reply = {"AutoReplyState": "Enabled", "InternalMessage": "<p>Back on Monday.</p>", "ExternalMessage": "Gone."}
    away.write_text(json.dumps({"Identity": "acme.example/Users/Somebody", **reply}))
    (tmp_path / "password").write_text(MASTER_PASSWORD)
    command = [*COMMAND, "rules", "upload", str(rules), str(away), "--to", here.to, "--ledger", str(tmp_path / "l.db")]
    command += ["--password", f"file:{tmp_path}/password", "--domain", "acme.example", "--json"]
    code, said = run([*command, "--activate", "--dry-run"])
    assert code == 0 and here.do(address, Session.scripts).names == (), said
    assert run(command)[0] == 0
    assert here.do(address, Session.scripts).active == "", "nothing is in force before somebody says so"
    code, said = run([*command, "--activate"])
    assert code == 0, said
    (told,) = json.loads(said)["people"]
    assert (told["mail"], told["state"], told["before"]) == (address, "active", "")
    assert [one["rating"] for one in told["rules"]] == ["approximate", "exact", "approximate"]
    for subject in ("invoice 1", "urgent 1", "plain"):
        here.deliver(address, subject, sender=friend)
    here.postfix.drained()
    assert here.found(address, "INBOX/Bills") == ["\\Seen invoice 1"]
    assert here.found(address, "INBOX") == ["\\Flagged urgent 1", "plain"]
    assert [line for line in here.found(friend, "INBOX") if "Auto" not in line] == ["urgent 1"]
    answers = [line for line in here.found(friend, "INBOX") if "Auto" in line]
    assert len(answers) == 1, "one reply to three messages"
    code, said = run([*COMMAND, "rules", "show", "--ledger", str(tmp_path / "l.db")])
    assert code == 0 and f"{address}: active, 2 approximate, 1 exact" in said, said


def test_their_own_script_stays_and_comes_back(here: Here, tmp_path: Path) -> None:
    address, ledger = here.add(), tmp_path / "ledger.db"

    async def own(server: Session) -> None:
        await server.put('my "own" ä', OWN)
        await server.activate('my "own" ä')

    here.do(address, own)
    rules = export(tmp_path, address, {"SubjectContainsWords": ["invoice"], "MoveToFolder": "\\Inbox\\Bills"})
    done = upload(here, ledger, rules)
    assert (done.state, done.before, done.put_off) == (UploadState.ACTIVE, 'my "own" ä', "")
    here.deliver(address, "own invoice")
    assert here.found(address, "INBOX/Bills") == ["\\Flagged own invoice"], "both scripts have had it"
    home = here.store.mail_dir / address.partition("@")[0] / "sieve"
    before = {path.name: path.stat().st_mtime_ns for path in home.rglob("*.sieve")}
    again = upload(here, ledger, rules)
    assert again == replace(done, at=again.at)
    assert {path.name: path.stat().st_mtime_ns for path in home.rglob("*.sieve")} == before, "nothing was put again"
    (sent,) = asyncio.run(withdraw_from(str(ledger), here.place(), [address]))
    assert sent.upload is not None and sent.upload.state is UploadState.WITHDRAWN
    scripts = here.do(address, Session.scripts)
    assert (scripts.active, scripts.names) == ('my "own" ä', ('my "own" ä',))
    assert here.do(address, lambda server: server.get('my "own" ä')) == OWN
    assert upload(here, ledger, rules).before == 'my "own" ä', "and there once more"


def test_what_they_have_changed_since_is_theirs(here: Here, tmp_path: Path) -> None:
    address, ledger = here.add(), tmp_path / "ledger.db"
    rules = export(tmp_path, address, {"SubjectContainsWords": ["a"], "MoveToFolder": "\\Inbox\\A"})
    upload(here, ledger, rules)
    theirs = b'require "fileinto";\r\nkeep;\r\n'
    here.do(address, lambda server: server.put(HEAD, theirs))
    upload(here, ledger, export(tmp_path, address, {"SubjectContainsWords": ["b"], "DeleteMessage": True}))
    assert here.do(address, lambda server: server.get(HEAD)) == theirs
    asyncio.run(withdraw_from(str(ledger), here.place(), []))
    scripts = here.do(address, Session.scripts)
    assert (scripts.active, scripts.names) == ("", (HEAD,)), "not in force, and not deleted"
    strange = run_strange(here, tmp_path / "other.db", rules)
    assert "not ours" in strange.error


def run_strange(here: Here, ledger: Path, rules: Path) -> Sent:
    """With a ledger that knows nothing of the script that is there."""
    (sent,) = asyncio.run(upload_files(str(ledger), [rules], here.place(), Options({})))
    return sent


def test_a_script_of_theirs_that_came_between(here: Here, tmp_path: Path) -> None:
    """They put one in force after our upload, and before the switch: it is included."""
    address, ledger = here.add(), tmp_path / "ledger.db"
    rules = export(tmp_path, address, {"SubjectContainsWords": ["invoice"], "MoveToFolder": "\\Inbox\\Bills"})
    assert upload(here, ledger, rules, activate=False).before == ""

    async def own(server: Session) -> None:
        await server.put("mine", OWN)
        await server.activate("mine")

    here.do(address, own)
    assert upload(here, ledger, rules).before == "mine"
    here.deliver(address, "own invoice")
    assert here.found(address, "INBOX/Bills") == ["\\Flagged own invoice"]


def owner_of(server: Session) -> Owner:
    return Owner((), lambda text: (text,), lambda text: text, lambda path: path, extensions=server.extensions)


def test_a_script_beyond_the_servers_size_comes_in_pieces(here: Here) -> None:
    address = here.add()
    rules = tuple(
        Rule(
            f"rule {number}",
            number,
            "x",
            (Predicate(Condition.SUBJECT, (f"word{number}-" + "x" * 200,)),),
            actions=(Deed(Action.MARK_READ), Deed(Action.MOVE, (f"F{number}",)), Deed(Action.STOP)),
        )
        for number in range(4000)
    )
    rows: list[Upload] = []

    async def keep(one: Upload) -> Upload:
        rows.append(one)
        return one

    async def go(server: Session) -> int:
        script = convert(Behaviour(address, rules), owner_of(server))
        size = len(script.text.encode())
        most = await limit(server, size)
        assert most < size
        texts = pieces(script, most)
        assert sum(text.count("fileinto :create") for text in texts) == 4000
        await put(server, Upload("k", address), texts, keep)
        await server.activate(HEAD)
        return len(texts)

    assert here.do(address, go) >= 2
    here.deliver(address, "word3999-" + "x" * 200)
    here.deliver(address, "word0-" + "x" * 200)
    assert [len(here.found(address, folder)) for folder in ("F3999", "F0", "INBOX")] == [1, 1, 0]


def test_one_rule_beyond_it_is_refused_by_its_name(here: Here, tmp_path: Path) -> None:
    address = here.add()
    rules = export(tmp_path, address, {"SubjectContainsWords": ["x" * 1_200_000], "DeleteMessage": True})
    (sent,) = asyncio.run(upload_files(str(tmp_path / "l.db"), [rules], here.place(), Options({})))
    assert "rule 1 is a script of" in sent.error and sent.upload is None
    assert here.do(address, Session.scripts).names == ()


class Little(OpenDovecot):
    """A store whose Sieve has neither `include` nor `vacation`."""

    def configure(self) -> None:
        OpenDovecot.configure(self)
        with self.config_file.open("a") as file:
            file.write("plugin {\n  sieve_extensions = -include -vacation -vacation-seconds\n}\n")


def test_a_server_without_an_extension(here: Here, tmp_path: Path) -> None:
    """What needs it is left to a human; their own script stays alone, since ours cannot be run beside it."""
    address, other, ledger = here.add(), here.add(), tmp_path / "ledger.db"
    away = tmp_path / f"{address}.away.json"
    away.write_text(json.dumps({"AutoReplyState": "Enabled", "InternalMessage": "Gone.", "Identity": "x"}))
    files = {"SubjectContainsWords": ["invoice"], "MoveToFolder": "\\Inbox\\Bills"}
    with Little(here.directory) as store:
        there = Here(here.directory, store, here.postfix)

        async def own(server: Session) -> None:
            await server.put("mine", OWN)
            await server.activate("mine")

        there.do(other, own)
        rules = export(tmp_path, address, files)
        done = asyncio.run(upload_files(str(ledger), [rules, away], there.place(), Options({}), activate=True))
        assert done[0].upload is not None and done[0].upload.state is UploadState.ACTIVE
        assert [(part["rating"], part["notes"][:1]) for part in done[0].upload.parts] == [
            ("manual", ["the server does not offer vacation"]),
            ("exact", []),
        ]
        kept = upload(there, ledger, export(tmp_path, other, files))
        assert "their own script mine stays alone" in kept.put_off and kept.state is UploadState.UPLOADED
        scripts = there.do(other, Session.scripts)
        assert (scripts.names, scripts.active) == (("mine",), "mine")


def test_no_password_no_person_no_script(here: Here, tmp_path: Path) -> None:
    address = here.add()
    wrong = parse_sieve(here.to, user=address, secret=Secret("wrong"))

    async def go(account: ImapAccount) -> None:
        async with session(account):
            raise AssertionError("it let us in")

    with pytest.raises(AuthError, match="refused"):
        asyncio.run(go(wrong))
    with pytest.raises(Refused) as caught:
        here.do(address, lambda server: server.check(b"nonsense;"))
    assert "unknown command" in caught.value.message
