"""Several processes around one copy: signals, pause and stop from another terminal, a terminal that is closed."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from lab.process import PASSWORD
from lab.proxy import Call, Rule
from mailferry.model.state import State
from tests.e2e.cases import Case, NewCase
from tests.e2e.moves import COMMAND, Running

SLOW = 250.0  # ms of round trip, so that there is time to act
SECONDS = 60


def wait_for(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


@dataclass(slots=True)
class Slow:
    """A copy whose target's first reply to what was sent is held back until `release`: it cannot end before."""

    case: Case
    running: Running
    held: threading.Event

    def release(self) -> None:
        self.held.set()


def hold_first_reply(case: Case) -> tuple[Rule, threading.Event]:
    case.to_target.round_trip_ms = SLOW
    held = threading.Event()
    rule = case.to_target.at("to_client", rb"OK \[APPENDUID", Call(lambda: held.wait(SECONDS)), where="start")
    return rule, held


@contextmanager
def slow_copy(new_case: NewCase) -> Iterator[Slow]:
    with new_case("plain") as case:
        rule, held = hold_first_reply(case)
        running = case.move.start("--lanes", "1")  # so that the folders after the held one are still to come
        try:
            wait_for(lambda: rule.fired or running.process.poll() is not None)
            assert running.process.poll() is None
            yield Slow(case, running, held)
        finally:
            held.set()
            running.kill()


def run_of(case: Case) -> dict[str, Any]:
    """The latest run as `mailferry status` shows it."""
    done = case.move.tell("status", "--json")
    assert done.code == 0, done
    found: dict[str, Any] = json.loads(done.out)["runs"][-1]
    return found


def pending(case: Case) -> int:
    """Messages of which the ledger does not know whether they arrived."""
    with closing(sqlite3.connect(case.move.ledger)) as ledger:
        found: int = ledger.execute("SELECT count(*) FROM message WHERE state = ?", (int(State.PENDING),)).fetchone()[0]
    return found


def test_two_runs_at_once(new_case: NewCase) -> None:
    """The second says who holds the mailbox, and harms nothing."""
    with slow_copy(new_case) as slow:
        case, first = slow.case, slow.running
        second = case.move.run(as_json=False)
        slow.release()
        assert second.code == 73, second
        (worker, *others) = first.children()
        assert f"process {worker}" in second.err or any(f"process {pid}" in second.err for pid in others), second
        assert socket.gethostname() in second.err and "→" in second.err, second
        done = first.end()
        assert done.code == 0, done
        case.finish()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_stops_it_with_grace(new_case: NewCase, number: signal.Signals) -> None:
    """What is on its way arrives and is recorded; the next run need not look for anything."""
    with slow_copy(new_case) as slow:
        case, running = slow.case, slow.running
        if number == signal.SIGINT:
            os.killpg(running.process.pid, number)  # as a terminal does
        else:
            running.process.send_signal(number)
        time.sleep(1)
        slow.release()
        done = running.end()
        assert done.code == 130, done
        assert "Traceback" not in done.err + case.log(), done
        assert pending(case) == 0
        case.to_target.round_trip_ms = 0
        assert case.finish()["there"] > 0


def test_pause_and_continue_from_another_terminal(new_case: NewCase) -> None:
    with slow_copy(new_case) as slow:
        case, running = slow.case, slow.running
        paused = case.move.tell("pause")
        assert (paused.code, "pauses" in paused.out) == (0, True), paused
        wait_for(lambda: run_of(case)["paused"])
        slow.release()
        time.sleep(4 * SLOW / 1000)
        quiet = case.to_target.counts.to_server
        time.sleep(1.5)
        assert case.to_target.counts.to_server == quiet
        assert running.process.poll() is None, "it was over too soon to be paused"
        assert run_of(case)["state"] == "paused"
        gone_on = case.move.tell("continue")
        assert gone_on.code == 0, gone_on
        done = running.end()
        assert done.code == 0, done
        case.finish()


def test_stop_from_another_terminal(new_case: NewCase) -> None:
    with slow_copy(new_case) as slow:
        case, running = slow.case, slow.running
        stopped = case.move.tell("stop")
        assert stopped.code == 0, stopped
        time.sleep(3)  # it looks once a second
        slow.release()
        done = running.end()
        assert done.code == 130, done
        assert pending(case) == 0
        assert run_of(case)["state"] == "ended"
        none = case.move.tell("stop")
        assert (none.code, "no such run" in none.err) == (64, True), none
        case.to_target.round_trip_ms = 0
        case.finish()


def test_it_goes_on_when_its_terminal_is_closed(new_case: NewCase) -> None:
    """`--detach`, and then the terminal goes away: `status` and `log` show how it ends."""
    with new_case("plain") as case:
        _, held = hold_first_reply(case)
        ours, theirs = os.openpty()
        environment = {**os.environ, "MAILFERRY_SOURCE_PASSWORD": PASSWORD, "MAILFERRY_TARGET_PASSWORD": PASSWORD}
        argv = [*COMMAND, "copy", case.move.source, case.move.target, "--ledger", case.move.ledger, "--detach"]
        terminal = subprocess.Popen(
            ["setsid", "--ctty", *argv], env=environment, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        assert terminal.wait(SECONDS) == 0
        text = os.read(ours, 10_000).decode()
        os.close(ours)
        assert "goes on in the background" in text, text
        assert run_of(case)["state"] == "at work"
        held.set()
        wait_for(lambda: run_of(case)["ended"] is not None)
        run = run_of(case)
        assert run["counts"]["copied"] == run["counts"]["listed"] > 0, run
        assert PASSWORD not in case.log() + run["command"]
        logged = case.move.tell("log")
        assert logged.code == 0, logged
        case.to_target.round_trip_ms = 0
        case.finish()


def test_a_closed_terminal_without_detach(new_case: NewCase) -> None:
    """SIGHUP ends it as any kill does, and the next run continues."""
    with slow_copy(new_case) as slow:
        case, running = slow.case, slow.running
        os.killpg(running.process.pid, signal.SIGHUP)
        time.sleep(1)
        slow.release()
        done = running.end()
        assert done.code != 0, done
        case.to_target.round_trip_ms = 0
        case.finish()
