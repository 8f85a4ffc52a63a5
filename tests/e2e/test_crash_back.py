"""Law 3 on the way back: real servers on both sides, real processes killed, and every message on Exchange once."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.corpus import CorpusFolder, CorpusMessage
from lab.dovecot import Dovecot
from lab.maildir import seed
from lab.postgres import Postgres
from lab.proxy import Call, TcpProxy
from tests.e2e import moves
from tests.e2e.cases import MESSAGE, literal
from tests.e2e.moves import Contents, Move, Running

_numbers = itertools.count()
SENT, DRAFTS, TRASH = "Gesendete Elemente", "Entwürfe", "Gelöschte Elemente"
FOLDERS = (
    CorpusFolder(("INBOX",), 60, seed=11, scale=0.1, big=False),
    CorpusFolder(("Projects",), 12, seed=12, scale=0.1, big=False),
    CorpusFolder((SENT,), 5, seed=13, scale=0.1, big=False),
    CorpusFolder((DRAFTS,), 2, seed=14, scale=0.1, big=False),
    CorpusFolder((TRASH,), 3, seed=15, scale=0.1, big=False),
)
BIG = 12 << 20


@dataclass(slots=True)
class Returned:
    """Somebody who lived on the open side for a while."""

    exchange: Dovecot
    store: Dovecot
    user: str
    forward: Move
    back: Move
    proxy: TcpProxy
    before: Contents
    new: Counter[tuple[str, str]]

    def on_exchange(self) -> Contents:
        return moves.contents(self.exchange.port, self.user, "/")

    def in_store(self) -> Contents:
        return moves.contents(self.store.port, self.user, self.store.separator)

    def finish(self) -> None:
        """Resume. Everything new is on Exchange once, everything else as it was, and neither way brings more."""
        done = self.back.run()
        assert (done.code, done.counts["failed"]) == (0, 0), done
        assert by_folder(self.on_exchange()) == by_folder(self.before) + self.new
        for move in (self.back, Move(*_ends(self.forward), ("--sweep",))):
            again = move.run()
            assert (again.code, again.counts["copied"]) == (0, 0), again
        assert by_folder(self.on_exchange()) == by_folder(self.before) + self.new
        forth = self.forward.run()
        assert (forth.code, forth.counts["failed"]) == (0, 0), forth
        on_exchange, in_store = self.on_exchange(), self.in_store()
        names = {SENT: "Sent", DRAFTS: "Drafts", TRASH: "Trash"}
        assert moves.differences({names.get(name, name): items for name, items in on_exchange.items()}, in_store) == []


def _ends(move: Move) -> tuple[str, str, str]:
    return move.source, move.target, move.ledger


def by_folder(contents: Contents) -> Counter[tuple[str, str]]:
    return Counter((name, item.digest) for name, items in contents.items() for item in items.values())


@contextmanager
def returned(
    exchange: Dovecot, store: Dovecot, folder: Path, big: int = 0, database: Postgres | None = None
) -> Iterator[Returned]:
    """Copied, then lived with: received, sent, drafted, filed, deleted, identical messages, and a big one."""
    user = f"back{os.getpid()}n{next(_numbers)}"
    seed(exchange, user, FOLDERS)
    before = moves.contents(exchange.port, user, "/")
    with TcpProxy(exchange.port) as proxy:
        old = f"imap://{user}@127.0.0.1:{proxy.port}?tls=none"
        new = f"imap://{user}@127.0.0.1:{store.port}?tls=none"
        ledger = str(folder / f"{user}.db") if database is None else database.create_database(user)
        environment = {"XDG_STATE_HOME": str(folder)}
        forward = Move(old, new, ledger, ("--lanes", "1"), environment)
        assert forward.run().code == 0
        gone_back = live(store, user, big)
        back = Move(new, old, ledger, ("--sweep", "--lanes", "1"), environment)
        yield Returned(exchange, store, user, forward, back, proxy, before, gone_back)


def live(store: Dovecot, user: str, big: int) -> Counter[tuple[str, str]]:
    """What people do; returns what has to come to Exchange: folder there, and digest."""
    wanted: Counter[tuple[str, str]] = Counter()
    with moves.mailbox(store.port, user) as session:

        def add(name: str, there: str, text: str, size: int = 0) -> None:
            head = b"Message-ID: <%s@open>\r\nSubject: new\r\n\r\n" % text.encode()
            body = head + text.encode() + b"\r\n" + (b"0123456789abcdef" * 4 + b"\r\n") * (size // 66)
            message = CorpusMessage(body, frozenset({"\\Seen"}), internal_date=1_700_000_000)
            moves.append(session, name, message)
            digest = hashlib.sha256(body.replace(b"\r\n", b"\n")).hexdigest()[:16]
            wanted[there, digest] += 1

        session.select("INBOX")
        for number in range(12):
            add("INBOX", "INBOX", f"received {number // 3}")
        for number in range(3):
            add("Sent", SENT, f"sent {number}")
        add("Drafts", DRAFTS, "drafted")
        session.create("Later")
        add("Later", "Later", "filed")
        if big:
            add("INBOX", "INBOX", "big", big)
        session.uid("COPY", "3:5", "Projects")
        session.uid("COPY", "6", "Later")
        session.uid("STORE", "3:7", "+FLAGS.SILENT", "\\Deleted")
        session.uid("EXPUNGE", "3:7")
    return wanted


POINTS = (
    *("commit:before:3", "commit:after:7", "commit:before:11", "commit:after:15", "commit:before:19"),
    *("intend:before:1", "intend:after:1", "confirm:before:1", "confirm:after:1", "confirm:before:2"),
)


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_the_ledger(dovecot_exchange: Dovecot, dovecot_open: Dovecot, tmp_path: Path, point: str) -> None:
    with returned(dovecot_exchange, dovecot_open, tmp_path) as case:
        done = case.back.run(crash_at=point)
        assert done.code == -signal.SIGKILL, done
        case.finish()


def test_killed_at_every_commit_in_turn(
    dovecot_exchange: Dovecot, dovecot_open: Dovecot, tmp_path: Path, postgres: Postgres
) -> None:
    """Each run ends a few commits later than the one before it, and a sweep of the old mailbox comes between."""
    with returned(dovecot_exchange, dovecot_open, tmp_path, database=postgres) as case:
        sweep = Move(*_ends(case.forward), ("--sweep",))
        for number in range(2, 60, 3):
            done = case.back.run(crash_at=f"commit:{'after' if number % 2 else 'before'}:{number}")
            if done.code == 0:
                break
            assert done.code == -signal.SIGKILL, done
            if number % 3 == 2:
                swept = sweep.run()
                assert (swept.code, swept.counts["copied"]) == (0, 0), swept
        case.finish()


@pytest.mark.parametrize("more", [1, 2], ids=["all but the last byte sent", "sent, unconfirmed"])
def test_killed_on_the_wire(dovecot_exchange: Dovecot, dovecot_open: Dovecot, tmp_path: Path, more: int) -> None:
    with returned(dovecot_exchange, dovecot_open, tmp_path) as case:
        killed(case, more, lambda kill: kill())
        case.finish()


def test_bytes_arrive_late(dovecot_exchange: Dovecot, dovecot_open: Dovecot, tmp_path: Path) -> None:
    """When the next run has looked for them in vain, and sends them again."""
    with returned(dovecot_exchange, dovecot_open, tmp_path) as case:
        again = threading.Event()

        def late(kill: Callable[[], None]) -> None:
            time.sleep(0.5)
            kill()
            case.proxy.at("to_server", rb' APPEND "?INBOX', Call(again.set), where="start")
            assert again.wait(60)
            time.sleep(0.3)

        killed(case, 1, late)
        case.finish()


def test_a_big_message_goes_back(dovecot_exchange: Dovecot, dovecot_open: Dovecot, tmp_path: Path) -> None:
    with returned(dovecot_exchange, dovecot_open, tmp_path, BIG) as case:
        killed(case, 1, lambda kill: kill(), size=rb"\{(\d{8,})\+?\}\r\n")
        case.finish()


def killed(case: Returned, more: int, how: Callable[[Callable[[], None]], None], size: bytes = MESSAGE) -> None:
    """Start the way back and end it when the first message has been sent to Exchange, but for a byte or whole."""
    running: list[Running] = []
    started = threading.Event()

    def kill() -> None:
        assert started.wait(10)
        running[0].kill()

    case.proxy.at("to_server", size, Call(lambda: how(kill)), where="end", extra=literal(more))
    running.append(case.back.start())
    started.set()
    done = running[0].end()
    assert done.code == -signal.SIGKILL, done
