"""`make demo`: an organisation's mailboxes move from "Exchange" to the open side, on real servers on this machine.

Everything is done through the command line, as an administrator would. Leaves the report and nothing running.
"""

from __future__ import annotations

import csv
import imaplib
import json
import os
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path

from lab import corpus, maildir
from lab.dovecot import Dovecot
from lab.process import PASSWORD, workspace

PEOPLE: tuple[tuple[str, corpus.Language, int], ...] = (
    ("alice@acme.example", "en", 420),
    ("bernd@acme.example", "de", 300),
    ("vera@acme.example", "ru", 240),
    ("info@acme.example", "en", 160),
    ("zoe@acme.example", "de", 60),
)
REPORT = Path("demo-report")


def main() -> int:
    root = workspace("demo")
    exchange = Dovecot(root / "exchange", "exchange", users=[user for user, _, _ in PEOPLE])
    open_side = Dovecot(root / "open", "open", users=[user for user, _, _ in PEOPLE])
    try:
        with exchange, open_side:
            return _move(root, exchange, open_side)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _move(root: Path, exchange: Dovecot, open_side: Dovecot) -> int:
    say("Acme's mail stands on “Exchange”: five mailboxes in English, German and Russian")
    for seed, (user, language, count) in enumerate(PEOPLE, start=1):
        names = corpus.WELL_KNOWN[language]
        doors = [
            corpus.CorpusFolder((names[use],), 3, seed=seed, scale=0.1) for use in ("calendar", "contacts", "tasks")
        ]
        maildir.seed(exchange, user, chain(corpus.mailbox(seed, count, language, scale=0.5, big=seed == 1), doors))
    _dragged_by_hand(exchange, open_side, PEOPLE[4][0])
    accounts = root / "accounts.csv"
    with accounts.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["source_user", "target_user"])
        rows.writerows([user, user] for user, _, _ in PEOPLE)
    sides = [
        f"imap://127.0.0.1:{exchange.port}?tls=none",
        f"imap://127.0.0.1:{open_side.port}?tls=none",
    ]
    options = ["--accounts", str(accounts), "--ledger", str(root / "ledger.db")]

    say("Seed: the first copy, while people go on working on Exchange")
    ferry("copy", *sides, *options)
    say("Meanwhile at the source: new messages, flags set and cleared, messages moved and deleted")
    _changes(exchange)
    say("Delta: only what changed")
    ferry("copy", *sides, *options)
    say("Verify: both sides are read again and compared, every message's bytes too")
    ferry("verify", *sides, *options, "--content", "full")
    shutil.rmtree(REPORT, ignore_errors=True)
    ferry("report", "--ledger", str(root / "ledger.db"), "--output", str(REPORT))
    summary = json.loads((REPORT / "report.json").read_text(encoding="utf-8"))["summary"]
    totals = summary["numbers"]
    listed = sum(_messages(exchange, user) for user, _, _ in PEOPLE)
    parts = [totals[name] for name in ("copied", "there", "excluded", "failed")]
    print(f"\nThe report: file://{(REPORT / 'index.html').resolve()}")
    print(
        f"demo: {len(PEOPLE)} mailboxes, {totals['listed']} listed, {parts[0]} copied, {parts[1]} already there, "
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
    environment = {**os.environ, "MAILFERRY_SOURCE_PASSWORD": PASSWORD, "MAILFERRY_TARGET_PASSWORD": PASSWORD}
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


def _changes(exchange: Dovecot) -> None:
    for number, (user, _, _) in enumerate(PEOPLE[:4]):
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
