"""Law 3: killed at any instant and run again, every message is there exactly once, with its flags, keywords and date.

Each test kills all processes of a copy at one point of the crash table (design §5): *listed → fetched → sent →
confirmed → recorded*. What sees the point is a proxy on the wire, or a hook in the ledger.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.corpus import CorpusMessage
from lab.dovecot import Dovecot
from lab.proxy import Action, Call
from tests.e2e import moves
from tests.e2e.cases import BODY, MESSAGE, Case, NewCase, Point, everywhere, half, killed_at, literal
from tests.e2e.moves import Running

ALL = (("imap", "sqlite"), ("imap", "postgres"), ("maildir", "sqlite"), ("maildir", "postgres"))
TO_IMAP = ((("imap", "sqlite"), ("plain", "postgres")), (("imap", "postgres"), ("plain", "sqlite")))
TO_ANY = ((("imap", "sqlite"), ("maildir", "postgres")), (("imap", "postgres"), ("maildir", "sqlite")))
"""Neighbouring points take these in turn: every target and every ledger meets each stretch of the wire."""

_numbers = itertools.count()

POINTS = (
    Point("before the log-in", "source", "to_server", rb"AUTHENTICATE|LOGIN"),
    Point("before the listing", "source", "to_server", rb"UID FETCH 1:\* \(UID FLAGS\)"),
    Point("listed, unread", "source", "to_client", rb"FETCH \(UID \d+ FLAGS \("),
    Point("listed, before the first fetch", "source", "to_server", rb"UID FETCH \S+ \(UID FLAGS INTERNALDATE"),
    Point("half of a body fetched", "source", "to_client", BODY, "end", 40, half),
    Point("one body fetched", "source", "to_client", BODY, "end", 0, literal()),
    Point("120 bodies fetched", "source", "to_client", BODY, "end", 119, literal()),
    Point("before a folder is made", "target", "to_server", rb"CREATE "),
    Point("a folder is made, unread", "target", "to_client", rb"OK Create"),
    Point("before the first byte is sent", "target", "to_server", rb" APPEND "),
    Point("half of the first message sent", "target", "to_server", MESSAGE, "end", 0, half),
    Point("half of a chunk sent", "target", "to_server", MESSAGE, "end", 49, literal()),
    Point("all but a chunk's last byte sent", "target", "to_server", MESSAGE, "end", 99, literal(1)),
    Point("a whole chunk sent", "target", "to_server", MESSAGE, "end", 99, literal(2)),
    Point("second chunk sent", "target", "to_server", MESSAGE, "end", 129, literal(2)),
    Point("confirmed, unread", "target", "to_client", rb"OK \[APPENDUID"),
    Point("later chunk confirmed, unread", "target", "to_client", rb"OK \[APPENDUID", "start", 1),
    Point("confirmed and read", "target", "to_client", rb"OK \[APPENDUID[^\r\n]*\r\n", "end"),
    Point("all is brought, before the log-out", "target", "to_server", rb"LOGOUT"),
)

HOOKS = (
    *("intend:before:1", "intend:after:1", "intend:after:3"),
    *("confirm:before:1", "confirm:after:1", "confirm:before:3"),
)


@pytest.mark.parametrize(("number", "point"), list(enumerate(POINTS)), ids=[point.name for point in POINTS])
def test_killed_on_the_wire(new_case: NewCase, number: int, point: Point) -> None:
    def scenario(case: Case) -> None:
        killed_at(case, point)
        case.finish()

    everywhere(new_case, (TO_ANY if point.side == "source" else TO_IMAP)[number % 2], scenario)


@pytest.mark.parametrize(("number", "point"), list(enumerate(HOOKS)), ids=HOOKS)
def test_killed_at_the_ledger(new_case: NewCase, number: int, point: str) -> None:
    def scenario(case: Case) -> None:
        done = case.move.run(crash_at=point)
        assert done.code == -signal.SIGKILL, (case.name, done)
        case.finish()

    everywhere(new_case, TO_ANY[number % 2], scenario)


INBOX = rb' APPEND "?INBOX"? '

LATE = (
    Point("the last byte of a chunk", "target", "to_server", MESSAGE, "end", 99, literal(1)),  # only INBOX has so many
    Point("a chunk from its first byte on", "target", "to_server", INBOX),
    Point("half of a message and more", "target", "to_server", INBOX + rb"[^\r\n]*\{(\d+)\+?\}\r\n", "end", 0, half),
)


def held_until(released: Callable[[], None]) -> Callable[[Callable[[], None]], Action]:
    """What is under way when the sender is killed reaches the server when `released` returns."""

    def action(kill: Callable[[], None]) -> Action:
        def later() -> None:
            time.sleep(0.5)  # so that all of it is in the proxy's hands
            kill()
            released()

        return Call(later)

    return action


def wait(event: threading.Event) -> None:
    assert event.wait(120)


@pytest.mark.parametrize("point", LATE, ids=lambda point: point.name)
def test_bytes_arrive_late(new_case: NewCase, point: Point) -> None:
    """3 s after the kill at least, and not before the next run has looked for them in vain and sends them again."""

    def scenario(case: Case) -> None:
        sent_again = threading.Event()

        def released() -> None:
            until = time.monotonic() + 3
            case.to_target.at("to_server", INBOX, Call(sent_again.set), where="start")
            wait(sent_again)
            time.sleep(max(0.2, until - time.monotonic()))

        killed_at(case, point, held_until(released))
        counts = case.finish()
        assert counts["twins"] > 0, (case.name, counts)

    everywhere(new_case, TO_IMAP[0] + TO_IMAP[1][:1], scenario)


def test_bytes_arrive_after_the_resumed_run(new_case: NewCase) -> None:
    """Later still: the run after it finds and removes them."""

    def scenario(case: Case) -> None:
        over = threading.Event()
        killed_at(case, LATE[0], held_until(lambda: wait(over)))
        assert case.move.run().code == 0
        over.set()
        time.sleep(1)
        assert case.finish()["twins"] > 0

    everywhere(new_case, TO_IMAP[0], scenario)


def test_flags_change_between_two_kills(new_case: NewCase, dovecot_exchange: Dovecot) -> None:
    """What arrives of the first attempt has flags that the second, killed before it sent anything, knew no more."""
    user = f"flags{os.getpid()}n{next(_numbers)}"
    moves.fill_source(dovecot_exchange, user)
    with new_case(source_user=user) as case:
        case.move.options = ("--lanes", "1")
        over = threading.Event()
        killed_at(case, LATE[0], held_until(lambda: wait(over)))
        with moves.mailbox(dovecot_exchange.port, user) as session:
            session.select("INBOX")
            session.uid("STORE", "1:60", "+FLAGS.SILENT", "\\Flagged")
            session.uid("STORE", "40:90", "-FLAGS.SILENT", "\\Seen")
        case.source = moves.contents(dovecot_exchange.port, user, "/")
        done = case.move.run(crash_at="intend:after:1")
        assert done.code == -signal.SIGKILL, done
        over.set()
        time.sleep(1)
        case.finish()


DELTA = (
    ("imap", "sqlite", Point("before flags are set", "target", "to_server", rb"UID STORE \d")),
    ("imap", "postgres", Point("flags are set, unread", "target", "to_client", rb"OK [^\r\n]*Store")),
    ("plain", "sqlite", Point("before a new message is sent", "target", "to_server", rb" APPEND ")),
    ("plain", "postgres", Point("a new message is confirmed, unread", "target", "to_client", rb"OK \[APPENDUID")),
    ("imap", "postgres", Point("before what moved is removed", "target", "to_server", rb"UID EXPUNGE")),
    ("imap", "sqlite", Point("what moved is removed, unread", "target", "to_client", rb"OK [^\r\n]*Expunge")),
    ("maildir", "sqlite", Point("a new body fetched", "source", "to_client", BODY, "end", 2, literal())),
    ("maildir", "postgres", "confirm:before:1"),
    ("maildir", "sqlite", "commit:after:9"),
    ("imap", "sqlite", "commit:before:10"),
)


@pytest.mark.parametrize(
    ("target", "ledger", "point"), DELTA, ids=[one.name if isinstance(one, Point) else one for *_, one in DELTA]
)
def test_killed_in_a_delta(
    new_case: NewCase, dovecot_exchange: Dovecot, target: str, ledger: str, point: Point | str
) -> None:
    """Flags set and cleared, messages that moved, identical ones among them, and new ones."""
    user = f"delta{os.getpid()}n{next(_numbers)}"
    moves.fill_source(dovecot_exchange, user)
    with new_case(target, ledger, source_user=user) as case:
        assert case.move.run().code == 0
        with moves.mailbox(dovecot_exchange.port, user) as session:
            session.select("INBOX")
            session.uid("STORE", "1:30", "-FLAGS.SILENT", "\\Seen")
            session.uid("STORE", "20:50", "+FLAGS.SILENT", "(\\Flagged Later)")
            session.uid("COPY", "60:65,111:116", "Projects")
            session.uid("STORE", "60:65,111:116", "+FLAGS.SILENT", "\\Deleted")
            session.uid("EXPUNGE", "60:65,111:116")
            for number in range(6):
                body = b"Subject: late\r\n\r\nnumber %d\r\n" % (number // 2)
                moves.append(session, "INBOX", CorpusMessage(body, frozenset({"\\Seen"}), internal_date=1_600_000_000))
        case.source = moves.contents(dovecot_exchange.port, user, "/")
        if isinstance(point, Point):
            killed_at(case, point)
        else:
            done = case.move.run(crash_at=point)
            assert done.code == -signal.SIGKILL, done
        case.finish()


def test_killed_at_every_commit_in_turn(new_case: NewCase) -> None:
    """Each run of a chain ends a few commits later than the one before it, until one comes through."""

    def scenario(case: Case) -> None:
        for number in range(2, 45, 4):
            when = "before" if number % 8 else "after"
            done = case.move.run(crash_at=f"commit:{when}:{number}")
            if done.code == 0:
                break
            assert done.code == -signal.SIGKILL, (case.name, done)
        case.finish()

    everywhere(new_case, (("maildir", "sqlite"), ("plain", "postgres")), scenario)


@pytest.mark.parametrize(("place", "number"), [("tmp", 1), ("tmp", 60), ("cur", 1), ("cur", 129)])
def test_killed_while_the_maildir_is_written(new_case: NewCase, place: str, number: int) -> None:
    """As soon as so many of INBOX's files are seen there."""

    def scenario(case: Case) -> None:
        running = case.move.start()
        watched = case.target_path / place
        while running.process.poll() is None and files_in(watched) < number:
            pass
        running.kill()
        assert running.end().code in (0, -signal.SIGKILL)
        case.finish()

    everywhere(new_case, ALL[2:], scenario)


def files_in(directory: Path) -> int:
    try:
        return sum(1 for _ in directory.iterdir())
    except FileNotFoundError:
        return 0


def test_a_killed_worker_is_replaced(new_case: NewCase) -> None:
    """The run goes on by itself, and nobody notices."""

    def scenario(case: Case) -> None:
        running: list[Running] = []
        started = threading.Event()

        def kill() -> None:
            assert started.wait(10)
            for pid in running[0].children():
                os.kill(pid, signal.SIGKILL)

        proxy = case.to_target if "maildir" not in case.name else case.from_source
        pattern = rb"OK \[APPENDUID" if proxy is case.to_target else BODY
        proxy.at("to_client", pattern, Call(kill), where="start", skip=1)
        running.append(case.move.start())
        started.set()
        done = running[0].end()
        assert done.code == 0, (case.name, done)
        assert done.counts["listed"] == done.counts["copied"] + done.counts["there"]
        case.finish()

    everywhere(new_case, ALL[1:3], scenario)


def test_workers_end_with_their_supervisor(new_case: NewCase) -> None:
    """Only the supervisor is killed: its workers stop by themselves, and the next run is let in."""

    def scenario(case: Case) -> None:
        case.to_target.round_trip_ms = 300
        running = case.move.start()
        deadline = time.monotonic() + 30
        while case.to_target.counts.to_server < 20_000 and time.monotonic() < deadline:
            time.sleep(0.01)
        workers = running.children()
        running.process.kill()
        while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert workers and not any(Path(f"/proc/{pid}").exists() for pid in workers)
        case.to_target.round_trip_ms = 0
        running.end()
        case.finish()

    everywhere(new_case, ALL[:1], scenario)
