"""The qmail flavour but for qmail's daemons: slapd, `stack apply`, the front behind tcpserver, Courier on Maildirs.

What qmail would do with the files is asked of a model of its rules (tests/qmail_rules.py); `make test-qmail` asks
qmail.
"""

from __future__ import annotations

import imaplib
import json
import os
import poplib
import shutil
import smtplib
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lab import process
from lab.ldap_people import person
from lab.open_courier import OWNER, OpenCourier
from lab.openldap import LOOKUP_PASSWORD, WRITER_PASSWORD, OpenLdap
from mailferry.cli.main import cli
from mailferry.errors import ConfigError
from mailferry.stack.openldap.settings import MailSchema
from tests.qmail_rules import Outcome, deliver

STORE = "store1.acme.example"
_SMTPD = """\
#!/usr/bin/env python3
# Poses as qmail-smtpd, as far as the front is concerned.
import sys
print("220 here\\r", flush=True)
for line in sys.stdin:
    verb = line[:4].upper()
    print({"QUIT": "221 bye\\r", "DATA": "354 go\\r"}.get(verb, "250 ok\\r"), flush=True)
    if verb == "QUIT":
        break
    if verb == "DATA":
        while sys.stdin.readline().rstrip() != ".":
            pass
        print("250 taken\\r", flush=True)
"""


@dataclass
class Host:
    root: Path
    openldap: OpenLdap
    port: int

    @property
    def prefix(self) -> Path:
        return self.root / "qmail"

    @property
    def mail(self) -> Path:
        return self.root / "host/srv/mail"

    def run(self, *arguments: str, text: str = "") -> Result:
        command = [*arguments, "--config", str(self.root / "mailferry.toml")]
        done = CliRunner().invoke(cli, command, input=text, standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        return done

    def apply(self, *arguments: str, text: str = "") -> dict[str, Any]:
        done = self.run("stack", "apply", *arguments, "--root", str(self.root / "host"), "--json", text=text)
        found: dict[str, Any] = json.loads(done.output)
        return found

    def outcome(self, address: str) -> Outcome:
        return deliver(self.prefix, address)

    def change(self, uid: str, **values: str | None) -> None:
        steps = [(2, name, None if value is None else [value.encode()]) for name, value in values.items()]
        self.openldap.connect().modify_s(f"uid={uid},ou=people,{self.openldap.suffix}", steps)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    root = process.workspace("qmail")
    with OpenLdap(mail_schema=MailSchema.QMAIL) as openldap:
        here = Host(root, openldap, process.free_port())
        _prefix(here.prefix)
        _settings(here)
        _people(openldap)
        here.run("stack", "render", "qmail", "--out", str(root / "kit"), "--root", str(root / "host"))
        _install(here)
        yield here
    shutil.rmtree(root)


def test_the_directory_says_who_gets_what(host: Host) -> None:
    done = host.apply()
    assert done["homes"] == 4
    assert not done["odd"]
    maildir = f"{host.mail}/alice/Maildir/"
    for address in ("alice@acme.example", "old.alice@acme.example", "alice@open.acme.example"):
        assert host.outcome(address).maildirs == (maildir,)
    assert Path(maildir, "tmp").stat().st_uid == 8
    assert host.outcome("ed@acme.example").forwards == ("ed@exchange.acme.example",)
    answered = host.outcome("fay@acme.example")
    assert answered.maildirs
    assert answered.forwards == ("fay@partner.example",)
    assert answered.programs[0].endswith("/answer")
    assert (host.root / "host/var/lib/mailferry/qmail/people/fay/answer").read_text() == "I am away."
    assert host.outcome("team@acme.example").forwards == ("alice@acme.example", "ed@acme.example")
    assert host.outcome("nobody@acme.example").kind == "bounced"
    assert host.apply()["written"] == []


def test_a_route_is_set_for_one_and_followed_at_once(host: Host) -> None:
    host.apply()
    done = host.run("route", "set", "ed@acme.example", "parked", "--json")
    assert json.loads(done.output)["made"]
    assert host.outcome("ed@acme.example").waits
    home = host.root / "host/var/lib/mailferry/qmail/people/ed/.qmail"
    before = home.stat().st_ino
    shown = json.loads(host.run("route", "show", "ed@acme.example", "--json").output)
    assert shown["steps"][-1]["where"] == "parked"
    host.change("ed", mailferryRoute="local", mailHost=STORE)
    assert host.outcome("ed@acme.example").waits  # nobody has told this host yet
    assert host.apply("-", text="ed@acme.example\n")["written"] == ["people/ed"]
    assert home.stat().st_ino != before  # by a rename
    assert host.outcome("ed@acme.example").maildirs
    host.run("route", "set", "ed@acme.example", "exchange")
    assert host.outcome("ed@open.acme.example").forwards == ("ed@exchange.acme.example",)
    assert '"fresh"' in home.read_text()


def test_somebody_new_makes_it_a_comparison_of_all(host: Host) -> None:
    host.apply()
    dn = host.openldap.add(_qmail_user(host.openldap.suffix, "neu"))
    try:
        assert host.outcome("neu@acme.example").kind == "bounced"
        assert host.apply("neu@acme.example")["assigned"]
        assert host.outcome("neu@acme.example").kind == "local"
    finally:
        host.openldap.connect().delete_s(dn)
    assert host.apply("neu@acme.example")["removed"] == ["people/neu"]
    assert host.outcome("neu@acme.example").kind == "bounced"


def test_the_front_stands_before_smtpd(host: Host) -> None:
    host.apply()
    programs = host.root / "host/usr/local/lib/mailferry-qmail"
    script = (
        (programs / "run-smtpd").read_text().replace("id -u qmaild", "id -u mail").replace("id -g qmaild", "id -g mail")
    )
    (programs / "run-smtpd").write_text(script)
    log = host.root / "smtpd.log"
    running = process.spawn([str(programs / "run-smtpd")], log=log)
    try:
        process.wait_ready(partial(process.greets, host.port), running, log)
        with smtplib.SMTP("127.0.0.1", host.port, timeout=10) as client:
            client.helo("me")
            client.mail("x@y.example")
            assert client.rcpt("alice@acme.example")[0] == 250
            assert client.rcpt("nobody@acme.example") == (550, b"5.1.1 sorry, no mailbox here by that name")
            assert client.data("Subject: x\r\n\r\nRCPT TO:<nobody@acme.example>\r\n.\r\n")[0] == 250
            applied = host.root / "host/var/lib/mailferry/qmail/applied"
            os.utime(applied, (time.time() - 7200, time.time() - 7200))
            client.mail("x@y.example")
            assert client.rcpt("nobody@acme.example")[0] == 451
            assert client.rcpt("fay@acme.example")[0] == 250
            (host.prefix / "users/cdb").rename(host.prefix / "users/away")
            assert client.rcpt("fay@acme.example")[0] == 451
            (host.prefix / "users/away").rename(host.prefix / "users/cdb")
    finally:
        process.stop(running, grace=1.0)
    assert "front: 550 5.1.1 for nobody@acme.example" in log.read_text()


def test_courier_lets_people_of_this_store_in(host: Host) -> None:
    host.apply()
    new = host.mail / "alice/Maildir/new"
    (new / "1700000000.1.mx").write_text("Subject: to alice\n\nhello\n")
    os.chown(new / "1700000000.1.mx", 8, 8)
    with OpenCourier(host.openldap, STORE, host.mail) as courier:
        with imaplib.IMAP4("127.0.0.1", courier.port) as client:
            client.login("alice", "alice-pw")
            assert client.select()[1] == [b"1"]
            assert "hello" in str(client.fetch("1", "BODY[TEXT]"))
        with ThreadPoolExecutor() as pool:  # Courier takes its time to refuse
            refused = list(pool.map(lambda who: _refused(courier.port, *who), (("alice", "wrong"), ("ed", "ed-pw"))))
        assert refused == ["Login failed.", "Login failed."]
        pop3 = poplib.POP3("127.0.0.1", courier.pop3_port)
        pop3.user("fay")
        pop3.pass_("fay-pw")
        assert pop3.stat()[0] == 0
        pop3.quit()


def test_what_qmail_cannot_do_is_said(host: Host) -> None:
    with pytest.raises(ConfigError, match="qmail takes no mail from people"):
        host.run("restrict", "set", "alice@acme.example", "inside")
    files = host.run("stack", "check", "qmail", "--files-only", "--root", str(host.root / "host"))
    assert "BAD" not in files.output
    assert "ok  courier: imapd (sh -n)" in host.run("stack", "check", "courier", "--files-only").output
    shown = host.run("stack", "render", "courier", "--diff").output
    assert LOOKUP_PASSWORD not in shown
    assert "LDAP_BINDPW\t***" in shown


def _refused(port: int, user: str, password: str) -> str:
    with imaplib.IMAP4("127.0.0.1", port) as client, pytest.raises(imaplib.IMAP4.error) as said:
        client.login(user, password)
    return bytes(said.value.args[0]).decode()


def _qmail_user(suffix: str, uid: str, **more: str | list[str]) -> tuple[str, dict[str, list[bytes]]]:
    """A person in the schema of qmail-ldap."""
    dn, entry = person(
        suffix,
        uid,
        objectClass=["inetOrgPerson", "qmailUser", "mailferryRecipient"],
        mailAlternateAddress=[f"{uid}@acme.example", f"old.{uid}@acme.example"],
        userPassword=f"{uid}-pw",
        accountStatus="active",
        **more,
    )
    entry.pop("mailLocalAddress")
    return dn, entry


def _people(openldap: OpenLdap) -> None:
    here = {"mailferryRoute": "local", "mailHost": STORE}
    openldap.add(_qmail_user(openldap.suffix, "alice", **here))
    openldap.add(_qmail_user(openldap.suffix, "ed"))
    away = {"deliveryMode": "reply", "mailReplyText": "I am away.", "mailForwardingAddress": "fay@partner.example"}
    openldap.add(_qmail_user(openldap.suffix, "fay", **here, **away))
    members = [f"uid={uid},ou=people,{openldap.suffix}".encode() for uid in ("alice", "ed")]
    group = {
        "objectClass": [b"groupOfNames", b"mailferryGroup", b"qmailUser", b"mailferryRecipient"],
        "member": members,
        "mail": [b"team@acme.example"],
        "mailferrySourceId": [b"ad:team"],
        "mailferryKind": [b"group"],
    }
    openldap.add((f"cn=team,ou=groups,{openldap.suffix}", group))


def _prefix(prefix: Path) -> None:
    """As a notqmail, as far as files go; the programs pose."""
    for folder in ("bin", "control", "users"):
        (prefix / folder).mkdir(parents=True)
    rules = Path(__file__).parents[1] / "qmail_rules.py"
    for name, text in (
        ("qmail-newu", f"#!/bin/sh\nexec {sys.executable} {rules} {prefix}\n"),
        ("qmail-newmrh", "#!/bin/sh\n"),
        ("qmail-send", "#!/bin/sh\n"),
        ("qmail-smtpd", _SMTPD),
    ):
        (prefix / "bin" / name).write_text(text)
        (prefix / "bin" / name).chmod(0o755)


def _install(host: Host) -> None:
    done = subprocess.run([host.root / "kit" / "install.sh"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _settings(host: Host) -> None:
    root, openldap = host.root, host.openldap
    for name, secret in (("lookup", LOOKUP_PASSWORD), ("writer", WRITER_PASSWORD)):
        (root / name).write_text(secret)
    (root / "mailferry.toml").write_text(f"""
ledger = "{root}/ledger.db"
[directory]
schema = "qmail"
[directory.source]
kind = "csv"
url = "{root}/people.csv"
[directory.mapping]
domains = ["acme.example"]
[directory.exchange]
routing_domain = "open.acme.example"
[directory.target]
url = "{openldap.url}"
suffix = "{openldap.suffix}"
bind = "{openldap.settings.writer_dn}"
password = "file:{root}/writer"
tls = "none"
[stack]
flavour = "qmail"
[stack.openldap]
provider = "{openldap.url}"
admin_password = "file:{root}/lookup"
replicator_password = "file:{root}/lookup"
lookup_password = "file:{root}/lookup"
sync_password = "file:{root}/writer"
[stack.qmail]
hostname = "mx.acme.example"
prefix = "{host.prefix}"
exchange = "127.0.0.1:9"
exchange_domain = "exchange.acme.example"
exchange_networks = ["127.0.0.2"]
own_networks = ["192.0.2.0/24"]
listen = "127.0.0.1:{host.port}"
owner = "{OWNER}"
queue = "{root}/host/usr/local/lib/mailferry-qmail/queue"
apply = "{Path(sys.executable).with_name("mailferry")} stack apply --config {root}/mailferry.toml --root {root}/host"
[stack.qmail.stores]
"{STORE}" = "127.0.0.1:{host.port}"
[stack.courier]
hostname = "imap.acme.example"
""")
