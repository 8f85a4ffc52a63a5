"""The survey with servers: Acme in Active Directory; sizes by IMAP, as far as servers tell them; refusals are rows."""

from __future__ import annotations

import asyncio
import csv
import imaplib
import json
from collections import Counter
from pathlib import Path

import pytest

from lab.dovecot import MASTER, MASTER_PASSWORD, Dovecot
from lab.organisation import organisation
from lab.organisation_data import DOMAINS, ROOT, Reference
from lab.process import PASSWORD
from lab.samba import Samba
from mailferry.cli.main import cli
from mailferry.errors import AuthError
from mailferry.model.account import ImapAccount, Tls
from mailferry.net.imap.measure import Measured, measure
from mailferry.ops.survey import REFUSED_AT_ONCE, measured, survey
from mailferry.secret import Secret

TEXT = b"From: a@b.example\r\nSubject: x\r\n\r\n" + b"y" * 1000 + b"\r\n"


def fill(server: Dovecot, user: str) -> None:
    """INBOX with two messages, and a folder with one."""
    with imaplib.IMAP4("127.0.0.1", server.port) as link:
        link.login(user, PASSWORD)
        link.create("Old")
        for folder in ("INBOX", "INBOX", "Old"):
            assert link.append(folder, "", "", TEXT)[0] == "OK"


def account(server: Dovecot, user: str, password: str = PASSWORD) -> ImapAccount:
    return ImapAccount("127.0.0.1", server.port, user, Secret(password), tls=Tls.NONE)


def test_the_size_is_told_where_the_server_tells_it(dovecot_open: Dovecot, dovecot_exchange: Dovecot) -> None:
    fill(dovecot_open, "u95")
    found = asyncio.run(measure(account(dovecot_open, "u95")))
    assert found == Measured(3 * len(TEXT), 3, 2)
    fill(dovecot_exchange, "u95")
    assert asyncio.run(measure(account(dovecot_exchange, "u95"))) == Measured(None, 3, 2)


def test_the_size_by_quota() -> None:
    with Dovecot(quota={"u95": 10_000_000}, capability="IMAP4rev1 NAMESPACE QUOTA") as server:
        fill(server, "u95")
        found = asyncio.run(measure(account(server, "u95")))
    assert (found.messages, found.folders) == (3, 2)
    assert found.bytes is not None and abs(found.bytes - 3 * len(TEXT)) <= 1024  # told in kB


def test_the_command_opens_them_all_as_an_administrator(
    dovecot_open: Dovecot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(dovecot_open, "u96")
    people = "".join(
        f"dn: cn={name}\nobjectClass: user\nsAMAccountName: {name}x\nmail: {name}@acme.example\n"
        f"msExchRecipientTypeDetails: 1\ncn: {name}\nsn: {name}\n{principal}\n"
        for name, principal in (
            ("u96", "userPrincipalName: u96\n"),
            ("u97", "userPrincipalName: u97\n"),
            ("nameless", ""),
            ("odd", "userPrincipalName: od?d\n"),
        )
    )
    (tmp_path / "people.ldif").write_text("version: 1\n\n" + people)
    (tmp_path / "mailferry.toml").write_text(
        '[directory.source]\nkind = "ldif"\nurl = "people.ldif"\n'
        '[directory.target]\nurl = "ldap://127.0.0.1"\nsuffix = "dc=acme,dc=example"\n'
    )
    monkeypatch.setenv("MAILFERRY_SOURCE_PASSWORD", MASTER_PASSWORD)
    address = f"imap://{{user}}@127.0.0.1:{dovecot_open.port}?tls=none&admin={MASTER}"
    arguments = ["survey", "--config", str(tmp_path / "mailferry.toml"), "--sizes", address, "--user", "principal"]
    cli([*arguments, "--out", str(tmp_path / "out")], standalone_mode=False)
    shown = capsys.readouterr().out
    assert "2 mailboxes opened: 3 messages" in shown and "2 could not be opened" in shown
    with (tmp_path / "out" / "recipients.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert (rows["u96"]["bytes"], rows["u96"]["messages"], rows["u96"]["wave"]) == (str(3 * len(TEXT)), "3", "1")
    assert rows["nameless"]["trouble"] == "it has no name to open it by"
    assert "could not be opened" in rows["nameless"]["reasons"]
    assert "od?d" in rows["odd"]["trouble"]
    assert MASTER_PASSWORD not in "".join(path.read_text() for path in (tmp_path / "out").iterdir())
    assert json.loads((tmp_path / "out" / "survey.json").read_text())["sizes"]["failed"] == 2


def test_a_mailbox_that_is_refused_is_a_row(dovecot_exchange: Dovecot) -> None:
    wanted = {"one": account(dovecot_exchange, "u1"), "other": account(dovecot_exchange, "u2", "wrong"), "none": None}
    sizes = asyncio.run(measured(wanted, 2, lambda *_: None))
    assert (sizes["one"].messages, sizes["one"].failure) == (0, "")
    assert sizes["other"].failure and sizes["other"].messages is None
    assert sizes["none"].failure


def test_a_wrong_password_of_the_administrator_stops_it(dovecot_exchange: Dovecot) -> None:
    wanted = {f"x{number}": account(dovecot_exchange, f"u{number}", "wrong") for number in range(REFUSED_AT_ONCE + 30)}
    opened: list[int] = []
    with pytest.raises(AuthError):
        asyncio.run(measured(wanted, 20, lambda what, done, of: opened.append(done)))
    assert len(opened) < REFUSED_AT_ONCE + 20


def test_acme_in_active_directory(samba_acme: Samba, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILFERRY_TEST_SOURCE", PASSWORD)
    (tmp_path / "mailferry.toml").write_text(
        f'''
        [directory.source]
        url = "{samba_acme.tls_url}"
        bind = "{samba_acme.reader_principal}"
        password = "env:MAILFERRY_TEST_SOURCE"
        ca_file = "{samba_acme.ca_file}"
        base = "{ROOT}"
        [directory.target]
        url = "ldap://127.0.0.1"
        suffix = "dc=acme,dc=example"
        [directory.mapping]
        domains = ["{DOMAINS[0]}", "{DOMAINS[1]}"]
        '''
    )
    content = organisation(50)
    found = survey(tmp_path / "mailferry.toml", lambda *_: None).survey
    wanted = Counter(entry.kind.value for entry in content.entries)
    for kind in ("shared", "room", "equipment", "group", "dynamic-group", "public-folder", "account"):
        assert found.read[kind] == wanted[kind], kind
    accounts = {one.account: one.id for one in found.people.values()}
    places = {cluster.number: set(cluster.members) for cluster in found.clusters}
    tied = 0
    for entry in content.entries:
        for name in ("publicDelegates", "msExchDelegateListLink"):
            for other in entry.values.get(name, ()):
                assert isinstance(other, Reference)
                ends = {accounts.get(entry.account), accounts.get(other.account)}
                if None not in ends:
                    tied += 1
                    assert any(ends <= members for members in places.values())
    assert tied
    told = {advice.code for advice in found.advice}
    assert {"public-folders", "left-out", "asleep", "dynamic-groups", "moderated", "restrictions"} <= told
    members = next(one for one in found.people.values() if one.name == "Everybody")
    assert found.largest[0][0] == members.id and found.largest[0][1] >= 50
