"""What the whole-move tests and the soak share: a corpus on a source, the command as people run it, what a side holds.

Reads both sides with `imaplib`, so that nothing of the product judges itself. Invariant: every command runs in a
session of its own and is gone when its test ends.
"""

from __future__ import annotations

import base64
import hashlib
import imaplib
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from lab.corpus import CorpusFolder, CorpusMessage
from lab.dovecot import Dovecot
from lab.maildir import seed
from lab.process import PASSWORD
from mailferry.ledger.hooks import VARIABLE

COMMAND = [str(Path(sys.executable).with_name("mailferry"))]

FOLDERS = (
    CorpusFolder(("INBOX",), 110, seed=1, scale=0.1, big=False),
    CorpusFolder(("Projects",), 24, seed=2, scale=0.4, big=False),
    CorpusFolder(("Projects", "Müller & Söhne"), 60, seed=3, scale=0.1, big=False),
    CorpusFolder(("Odd messages",), odd=True),
    CorpusFolder(("One",), 1, seed=4, scale=0.1, big=False),
    CorpusFolder(("Empty",)),
)


class Item(NamedTuple):
    """One message as a server shows it. `internal_date`: seconds since 1970."""

    digest: str
    flags: tuple[str, ...]
    internal_date: int


Contents = dict[str, dict[int, Item]]
"""By folder (levels joined by `/`), by uid."""


def fill_source(server: Dovecot, user: str, folders: Iterable[CorpusFolder] = FOLDERS) -> None:
    """Put a corpus there, with identical messages in INBOX, whose flags and dates differ or not."""
    seed(server, user, folders)
    with mailbox(server.port, user) as session:
        session.select("INBOX")
        for number in range(20):
            body = b"Subject: again\r\nMessage-ID: <again-%d@e2e>\r\n\r\nidentical\r\n" % (number % 3)
            flags = ("", "\\Seen", "\\Flagged Work")[number % 2 + number // 12]
            append(session, "INBOX", CorpusMessage(body, frozenset(flags.split()), internal_date=1_500_000_000))


@contextmanager
def mailbox(port: int, user: str) -> Iterator[imaplib.IMAP4]:
    """A session of the standard library's client."""
    session = imaplib.IMAP4("127.0.0.1", port)
    try:
        session.login(user, PASSWORD)
        yield session
    finally:
        session.logout()


def append(session: imaplib.IMAP4, name: str, message: CorpusMessage) -> None:
    date = datetime.fromtimestamp(message.internal_date).astimezone()
    status, answer = session.append(name, f"({' '.join(message.flags)})", date, message.body)
    assert status == "OK", answer


def contents(port: int, user: str, separator: str) -> Contents:
    """Everything that a server holds for a user."""
    found: Contents = {}
    with mailbox(port, user) as session:
        for name in _names(session):
            status, answer = session.select(f'"{name}"', readonly=True)
            assert status == "OK", (name, answer)
            found["/".join(decode(level) for level in name.split(separator))] = _folder(session)
    return found


def _names(session: imaplib.IMAP4) -> list[str]:
    """As the server writes them between quotes."""
    names = []
    for line in session.list()[1]:
        assert isinstance(line, bytes)
        match = re.fullmatch(rb'\(([^)]*)\) "[^"]*" (?:"(.*)"|(\S+))', line)
        assert match is not None, line
        if b"\\Noselect" not in match[1]:
            names.append((match[2] if match[2] is not None else match[3]).decode())
    return names


def decode(level: str) -> str:
    """From modified UTF-7 (RFC 3501 section 5.1.3) and IMAP's quoting."""

    def shifted(match: re.Match[str]) -> str:
        if not match[1]:
            return "&"
        packed = match[1].replace(",", "/")
        return base64.b64decode(packed + "=" * (-len(packed) % 4)).decode("utf-16-be")

    return re.sub(r"&([^-]*)-", shifted, re.sub(r"\\(.)", r"\1", level))


def _folder(session: imaplib.IMAP4) -> dict[int, Item]:
    items: dict[int, Item] = {}
    for part in session.uid("FETCH", "1:*", "(UID FLAGS INTERNALDATE BODY.PEEK[])")[1]:
        if not isinstance(part, tuple):
            continue
        head, body = part
        match = re.search(rb'UID (\d+) FLAGS \(([^)]*)\) INTERNALDATE "([^"]*)"', head)
        assert match is not None, head
        flags = sorted(flag for flag in match[2].decode().split() if flag != "\\Recent")
        date = int(datetime.strptime(match[3].decode().strip(), "%d-%b-%Y %H:%M:%S %z").timestamp())
        digest = hashlib.sha256(body.replace(b"\r\n", b"\n")).hexdigest()[:16]
        items[int(match[1])] = Item(digest, tuple(flags), date)
    return items


class Tally(NamedTuple):
    """In how many messages a target is not a copy of its source."""

    lost: int = 0
    twice: int = 0
    wrong: int = 0
    """In flags, keywords or date."""


def compare(source: Contents, target: Contents) -> dict[str, Tally]:
    """By folder, where there is a difference; a folder that only the target has may be there, empty."""
    found = {}
    for name in sorted(source.keys() | target.keys()):
        ours, theirs = Counter(source.get(name, {}).values()), Counter(target.get(name, {}).values())
        lost, twice = _digests(ours) - _digests(theirs), _digests(theirs) - _digests(ours)
        tally = Tally(lost.total(), twice.total(), (ours - theirs).total() - lost.total())
        if tally != Tally() or (name in source and name not in target):
            found[name] = tally
    return found


def differences(source: Contents, target: Contents) -> list[str]:
    """The same in words."""
    return [
        f"{name}: "
        + (", ".join(f"{number} {word}" for word, number in tally._asdict().items() if number) or "no such folder")
        for name, tally in compare(source, target).items()
    ]


def _digests(items: Counter[Item]) -> Counter[str]:
    found: Counter[str] = Counter()
    for item, number in items.items():
        found[item.digest] += number
    return found


class Done(NamedTuple):
    """How a command ended. `code` is negative for a signal."""

    code: int
    out: str
    err: str

    @property
    def counts(self) -> dict[str, int]:
        """The counts of a `--json` run."""
        found: dict[str, int] = self.document["counts"]
        return found

    @property
    def document(self) -> Any:
        return json.loads(self.out)


HANGS_UP = ("env", "--default-signal=HUP")
"""A closed terminal ends it, also where the tests themselves were started by nohup."""


@dataclass(slots=True)
class Running:
    """A command under way, with all its processes."""

    process: subprocess.Popen[str]

    def kill(self) -> None:
        """SIGKILL to all its processes at once, as a power cut would."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def end(self, seconds: float = 90) -> Done:
        """Wait for its end. Fails after `seconds`."""
        try:
            out, err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            out, err = self.process.communicate()
            raise AssertionError(f"it did not end within {seconds} s:\n{out[-2000:]}\n{err[-2000:]}") from None
        finally:
            self.kill()  # what it may have left behind
        return Done(self.process.returncode, out, err)

    def children(self) -> list[int]:
        """The pids of its workers."""
        done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True)
        return [int(pid) for pid in done.stdout.split()]


@dataclass(slots=True)
class Move:
    """One mailbox's copy as an administrator types it."""

    source: str
    target: str
    ledger: str
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    wrapper: tuple[str, ...] = ()

    def start(self, *options: str, crash_at: str = "", as_json: bool = True) -> Running:
        environment = {
            **os.environ,
            "MAILFERRY_SOURCE_PASSWORD": PASSWORD,
            "MAILFERRY_TARGET_PASSWORD": PASSWORD,
            **self.environment,
        }
        if crash_at:
            environment[VARIABLE] = crash_at
        argv = [*HANGS_UP, *self.wrapper, *COMMAND, "copy", self.source, self.target, "--ledger", self.ledger]
        return Running(
            subprocess.Popen(
                [*argv, *self.options, *options, *(["--json"] if as_json else [])],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )

    def run(self, *options: str, crash_at: str = "", as_json: bool = True, seconds: float = 90) -> Done:
        return self.start(*options, crash_at=crash_at, as_json=as_json).end(seconds)

    def tell(self, command: str, *options: str) -> Done:
        """Another command on the same ledger: `pause`, `status`, …"""
        argv = [*COMMAND, command, "--ledger", self.ledger, *options]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        return Done(done.returncode, done.stdout, done.stderr)


def finish(move: Move, source: Contents, read_target: Callable[[], Contents], what: str = "") -> dict[str, int]:
    """Resume, and prove that every message is there exactly once with its marks, and that one more run does nothing.

    Returns the counts of the resuming run.
    """
    resumed = move.run()
    assert resumed.code == 0, (what, resumed)
    counts = resumed.counts
    assert counts["failed"] == 0, (what, resumed)
    assert counts["listed"] == counts["copied"] + counts["there"] + counts["excluded"], (what, counts)
    assert counts["listed"] == sum(map(len, source.values())), (what, counts)
    there = read_target()
    assert differences(source, there) == [], (what, counts)
    again = move.run()
    assert again.code == 0, (what, again)
    assert (again.counts["copied"], again.counts["flags"], again.counts["twins"]) == (0, 0, 0), (what, again.counts)
    assert read_target() == there, what
    return counts
