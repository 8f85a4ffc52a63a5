"""The source mailboxes of the bench: made, changed between the phases, and counted on either side.

Times nothing. Invariant: no message carries \\Deleted and no name has a dot, so that every peer has the same to bring
(mbsync leaves out what is flagged \\Deleted, Maildir++ cannot hold dots), and none has a percent sign, at which the
second run of doveadm backup fails.
"""

from __future__ import annotations

import base64
import imaplib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import BenchError
from lab import corpus, maildir
from lab.dovecot import Dovecot
from lab.process import PASSWORD

SCALE = 1.27
"""Times the corpus's own sizes: 2,000 messages have 155 MB or so."""

_CHANGED = ("INBOX", "Sent Items", "Archive")
"""The folders that change between the passes."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a mailbox holds: messages, and how many of them are flagged."""

    messages: int
    flagged: int

    def __str__(self) -> str:
        return f"{self.messages} messages, {self.flagged} flagged"


@dataclass(frozen=True, slots=True)
class Change:
    """What was done to a mailbox between two passes."""

    new: int
    flagged: int
    deleted: int


def make(server: Dovecot, user: str, seed: int, count: int) -> maildir.Written:
    """Write one mailbox of `count` messages in 20 folders, and read it once so that the server's index is made."""
    folders = corpus.mailbox(seed, count, odd=False, dots=False, scale=SCALE)
    written = maildir.seed(server, user, (folder for folder in folders if "%" not in folder.path[-1]))
    for path in server.maildir(user).rglob("*:2,*T*"):
        name, _, letters = path.name.rpartition(":2,")
        path.rename(path.with_name(f"{name}:2,{letters.replace('T', '')}"))
    read_once(server, user)
    return written


def make_big(server: Dovecot, user: str, size: int) -> None:
    """Write a mailbox of 20 messages, and put one message of `size` bytes among them."""
    make(server, user, 7, 20)
    line = base64.b64encode(random.Random(7).randbytes(57)) + b"\r\n"
    head = b"From: big@example.org\r\nSubject: big\r\nMessage-ID: <big@example.org>\r\n"
    head += b"Date: Tue, 05 Mar 2019 10:11:12 +0100\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    with _login(server, user) as session:
        _ok(session.append("INBOX", "", "", head + line * (size // len(line))))
    read_once(server, user)


def read_once(server: Dovecot, user: str) -> None:
    """Have the server read every message, so that all contenders find the same warm index and cache."""
    server.doveadm("fetch", "-u", user, "imap.envelope size.virtual", "mailbox", "*", "all")


def change(server: Dovecot, user: str, seed: int) -> Change:
    """Add 1 % new messages, flag 1 %, delete 0.25 % of those not flagged; at least one of each in each folder."""
    done = Change(0, 0, 0)
    with _login(server, user) as session:
        for number, folder in enumerate(_CHANGED):
            _ok(session.select(f'"{folder}"'))
            uids = _ok(session.uid("SEARCH", "UNFLAGGED"))[0].split()
            few = max(1, round(len(uids) / 60))
            fewest = max(1, few // 4)
            if len(uids) < few + fewest:
                raise BenchError(f"{user} has too few messages in {folder} for a delta")
            _ok(session.uid("STORE", b",".join(uids[:few]).decode(), "+FLAGS", "(\\Flagged)"))
            _ok(session.uid("STORE", b",".join(uids[-fewest:]).decode(), "+FLAGS", "(\\Deleted)"))
            _ok(session.expunge())
            for message in corpus.messages(seed * len(_CHANGED) + number, few, big=False):
                _ok(session.append(f'"{folder}"', "(\\Seen)", '"01-Mar-2024 10:00:00 +0100"', message.body))
            done = Change(done.new + few, done.flagged + few, done.deleted + fewest)
    return done


def held(server: Dovecot, user: str) -> Held:
    """What a mailbox on a server holds now."""
    found, flagged = (
        server.doveadm("search", "-u", user, "mailbox", "*", which).splitlines() for which in ("ALL", "FLAGGED")
    )
    return Held(len(found), len(flagged))


def held_in_files(root: Path) -> Held:
    """What a Maildir holds, by its file names."""
    names = [path.name for part in ("cur", "new") for path in root.rglob(f"{part}/*")]
    return Held(len(names), sum("F" in name.rpartition(":2,")[2] for name in names))


@contextmanager
def _login(server: Dovecot, user: str) -> Iterator[imaplib.IMAP4]:
    with imaplib.IMAP4("127.0.0.1", server.port) as session:
        session.login(user, PASSWORD)
        yield session


def _ok(answer: tuple[str, list[Any]]) -> list[Any]:
    if answer[0] != "OK":
        raise BenchError(f"the source's server says {answer}")
    return answer[1]
