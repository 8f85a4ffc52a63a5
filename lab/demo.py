"""`make demo`: an organisation moves from "Exchange" to the open side, on real servers: first its people, from Active
Directory to OpenLDAP, then their mailboxes.

Everything is done through the command line, as an administrator would. Leaves the reports and nothing running.
"""

from __future__ import annotations

import csv
import imaplib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import ldap

from lab import corpus, maildir
from lab.dovecot import Dovecot
from lab.openldap import WRITER_PASSWORD, OpenLdap
from lab.organisation_data import DOMAINS
from lab.organisation_ldif import organisation_snapshot
from lab.process import PASSWORD, workspace
from lab.samba import Samba

LANGUAGES: tuple[corpus.Language, ...] = ("en", "de", "ru")
MUCH = (420, 300, 240, 160, 60)
"""Messages in the first mailboxes; the others hold few."""
ORGANISATION = 50
REPORT = Path("demo-report")
SOURCE, TARGET = "MAILFERRY_DEMO_AD", "MAILFERRY_DEMO_LDAP"


def main() -> int:
    root = workspace("demo")
    try:
        say(f"Acme: {ORGANISATION} people in Active Directory, with groups, shared mailboxes and years of dirt")
        content = organisation_snapshot(ORGANISATION)
        with (
            Samba(root / "ad", content=content) as ad,
            OpenLdap(root / "ldap") as provider,
            OpenLdap(root / "replica", provider=provider) as replica,
        ):
            users = _people(root, ad, provider, replica)
        exchange = Dovecot(root / "exchange", "exchange", users=users)
        open_side = Dovecot(root / "open", "open", users=users)
        with exchange, open_side:
            return _move(root, exchange, open_side, users)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _people(root: Path, ad: Samba, provider: OpenLdap, replica: OpenLdap) -> list[str]:
    """From Active Directory to OpenLDAP; the people who have a mailbox."""
    shutil.rmtree(REPORT, ignore_errors=True)
    REPORT.mkdir()
    config = ["--config", str(root / "mailferry.toml")]
    (root / "mailferry.toml").write_text(_settings(root, ad, provider))
    say("Survey: what there is, and who could move first")
    ferry("survey", *config, "--out", str(REPORT / "survey"))
    say("What is wrong in the source: every finding with a proposal, nothing is changed")
    findings = REPORT / "directory.html"
    ferry("directory", "clean", *config, "--report", str(findings))
    say("The first sync: people, groups, contacts and resources come, what nobody can decide stays out")
    ferry("directory", "sync", *config)
    say("A change at the source, and only that is brought")
    person = ad.search("(&(objectClass=user)(mailNickname=*)(department=*)(givenName=*))", ["cn"])[0][0]
    ad.modify(person, replace={"title": "Head of Ferries"})
    ferry("directory", "sync", *config)
    print(f"The replica shows it: {_on_replica(replica, '(title=Head of Ferries)')}")
    accounts = root / "people.csv"
    ferry("directory", "accounts", *config, "--output", str(accounts))
    with accounts.open(encoding="utf-8", newline="") as file:
        return [row["source_user"] for row in csv.DictReader(file)]


def _on_replica(replica: OpenLdap, wanted: str) -> str:
    """The DN that the replica finds, within the seconds that it may take."""
    connection = replica.connect()
    for _ in range(100):
        if found := connection.search_s(replica.suffix, ldap.SCOPE_SUBTREE, wanted, ["cn"]):
            return str(found[0][0])
        time.sleep(0.05)
    raise SystemExit(f"demo: the replica does not show {wanted}")


def _settings(root: Path, ad: Samba, provider: OpenLdap) -> str:
    return f"""
ledger = "{root}/ledger.db"
[directory]
decisions = "{root}/decisions.csv"
[directory.source]
url = "{ad.tls_url}"
bind = "{ad.reader_principal}"
password = "env:{SOURCE}"
base = "{ad.base}"
ca_file = "{ad.ca_file}"
[directory.target]
url = "{provider.url}"
suffix = "{provider.suffix}"
bind = "{provider.settings.writer_dn}"
password = "env:{TARGET}"
ca_file = "{provider.ca_file}"
[directory.mapping]
domains = {json.dumps(DOMAINS)}
"""


def _move(root: Path, exchange: Dovecot, open_side: Dovecot, users: list[str]) -> int:
    say(f"Their mail stands on “Exchange”: {len(users)} mailboxes in English, German and Russian")
    for seed, user in enumerate(users, start=1):
        language = LANGUAGES[seed % len(LANGUAGES)]
        count = MUCH[seed - 1] if seed <= len(MUCH) else 12
        names = corpus.WELL_KNOWN[language]
        doors = [
            corpus.CorpusFolder((names[use],), 3, seed=seed, scale=0.1) for use in ("calendar", "contacts", "tasks")
        ]
        maildir.seed(exchange, user, chain(corpus.mailbox(seed, count, language, scale=0.5, big=seed == 1), doors))
    _dragged_by_hand(exchange, open_side, users[4])
    sides = [
        f"imap://127.0.0.1:{exchange.port}?tls=none",
        f"imap://127.0.0.1:{open_side.port}?tls=none",
    ]
    options = ["--accounts", str(root / "people.csv"), "--ledger", str(root / "ledger.db")]

    say("Seed: the first copy, while people go on working on Exchange")
    ferry("copy", *sides, *options)
    say("Meanwhile at the source: new messages, flags set and cleared, messages moved and deleted")
    _changes(exchange, users[:4])
    say("Delta: only what changed")
    ferry("copy", *sides, *options)
    say("Verify: both sides are read again and compared, every message's bytes too")
    ferry("verify", *sides, *options, "--content", "full")
    ferry("report", "--ledger", str(root / "ledger.db"), "--output", str(REPORT))
    summary = json.loads((REPORT / "report.json").read_text(encoding="utf-8"))["summary"]
    totals = summary["numbers"]
    listed = sum(_messages(exchange, user) for user in users)
    parts = [totals[name] for name in ("copied", "there", "excluded", "failed")]
    pages = ("survey/index.html", "directory.html", "index.html")
    print("\nThe reports:", *(f"file://{(REPORT / page).resolve()}" for page in pages), sep="\n  ")
    print(
        f"demo: {len(users)} mailboxes, {totals['listed']} listed, {parts[0]} copied, {parts[1]} already there, "
        f"{parts[2]} excluded, {parts[3]} failed, score {summary['score']}"
    )
    if totals["listed"] != listed or sum(parts) != listed:
        print(f"demo: the numbers do not add up: the source itself counts {listed}", file=sys.stderr)
        return 1
    return 0


def say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def ferry(*arguments: str) -> None:
    """Run the command line; its exit code 1 (some items failed) is shown in the totals, others end the demo."""
    mail = {"MAILFERRY_SOURCE_PASSWORD": PASSWORD, "MAILFERRY_TARGET_PASSWORD": PASSWORD}
    environment = {**os.environ, **mail, SOURCE: PASSWORD, TARGET: WRITER_PASSWORD}
    shown = " ".join(one for one in arguments[:3])
    print(f"$ mailferry {shown} …", flush=True)
    done = subprocess.run([str(Path(sys.executable).with_name("mailferry")), *arguments], env=environment, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"demo: mailferry {arguments[0]} ended with code {done.returncode}")


def _login(server: Dovecot, user: str) -> imaplib.IMAP4:
    connection = imaplib.IMAP4(server.host, server.port)
    connection.login(user, PASSWORD)
    return connection


def _dragged_by_hand(exchange: Dovecot, open_side: Dovecot, user: str) -> None:
    """This person had dragged some messages over already: they must be recognised, not brought twice."""
    source, target = _login(exchange, user), _login(open_side, user)
    source.select("INBOX", readonly=True)
    for number in range(1, 6):
        _, data = source.fetch(str(number), "(INTERNALDATE BODY.PEEK[])")
        assert isinstance(data[0], tuple)
        when = imaplib.Internaldate2tuple(data[0][0])
        assert when is not None
        target.append("INBOX", None, when, data[0][1])
    source.logout()
    target.logout()


def _changes(exchange: Dovecot, users: Sequence[str]) -> None:
    for number, user in enumerate(users):
        connection = _login(exchange, user)
        for new in corpus.messages(9000 + number, 7, scale=0.3, big=False):
            connection.append("INBOX", None, imaplib.Time2Internaldate(new.internal_date), new.body)
        connection.select("INBOX")
        connection.store("2", "+FLAGS", r"(\Flagged \Answered)")
        connection.store("3", "-FLAGS", r"(\Seen)")
        connection.copy("5", "Projects")
        connection.store("5:6", "+FLAGS", r"(\Deleted)")
        connection.expunge()
        connection.logout()


def _messages(server: Dovecot, user: str) -> int:
    """What the server itself says it holds."""
    fields = server.doveadm("mailbox", "status", "-u", user, "-t", "messages", "*")
    return int(fields.rpartition("=")[2])


if __name__ == "__main__":
    sys.exit(main())
