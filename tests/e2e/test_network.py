"""Cut, stalled and talkative connections: a fault that passes is outlived by the run itself, one that stays ends it
with exit code 75, and in neither case is anything lost, twice, or without its flags."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from lab.proxy import Action, Close, Reset, Say, Stall, TcpProxy
from tests.e2e import moves
from tests.e2e.cases import BODY, MESSAGE, Case, NewCase, Point, everywhere, half
from tests.e2e.moves import Done

SQLITE = ("imap", "sqlite"), ("plain", "sqlite")
SOURCE = ("imap", "postgres"), ("maildir", "sqlite")
"""The targets and ledgers that meet a fault of the target's wire, or of the source's; neighbouring faults of one kind
take them in turn."""

IN_A_BODY = Point("a body", "source", "to_client", BODY, "end", 30, half)
IN_A_MESSAGE = Point("a message", "target", "to_server", MESSAGE, "end", 30, half)
BEFORE_A_REPLY = Point("a reply", "target", "to_client", rb"m\d+ OK \[APPENDUID")
SOURCE_LOGIN = Point("the source's log-in", "source", "to_server", rb"AUTHENTICATE|LOGIN ")
TARGET_LOGIN = Point("the target's log-in", "target", "to_client", rb"m\d+ OK \[CAPABILITY")
LISTING = Point("the listing", "source", "to_client", rb"\* \d+ FETCH \(UID \d+ FLAGS", "start", 20)

BYE = b"* BYE Server is shutting down\r\n"
THROTTLED = b"* BYE Request is throttled. Suggested Backoff Time: 1500 milliseconds\r\n"


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens where, how often."""

    name: str
    point: Point
    action: Action
    times: int | None = 1
    least_seconds: float = 0.0
    said: str = ""


PASSING = (
    Fault("reset in a body", IN_A_BODY, Reset()),
    Fault("end of stream in a body", IN_A_BODY, Close()),
    Fault("stall in a body", IN_A_BODY, Stall()),
    Fault("BYE in a body", IN_A_BODY, Say(BYE)),
    Fault("reset in the listing", LISTING, Reset(), 2),
    Fault("stall in the listing", LISTING, Stall()),
    Fault("reset in a message sent", IN_A_MESSAGE, Reset(), 2),
    Fault("end of stream in a message sent", IN_A_MESSAGE, Close()),
    Fault("stall in a message sent", IN_A_MESSAGE, Stall()),
    Fault("reset before a reply", BEFORE_A_REPLY, Reset(), 2),
    Fault("stall before a reply", BEFORE_A_REPLY, Stall()),
    Fault("every reply is lost", BEFORE_A_REPLY, Reset(), None),  # what is found there is progress
    Fault("a short stall before a reply", BEFORE_A_REPLY, Stall(1.5)),
    Fault("BYE in place of a reply", BEFORE_A_REPLY, Say(BYE)),
    Fault("reset in the source's log-in", SOURCE_LOGIN, Reset()),
    Fault("end of stream in the target's log-in", TARGET_LOGIN, Close()),
    Fault("throttled while sending", BEFORE_A_REPLY, Say(THROTTLED), 1, 1.5, "1500 milliseconds"),
    Fault(
        "throttled while reading", LISTING, Say(THROTTLED), 2, 1.5, "1500 milliseconds"
    ),  # two lanes may meet it at once,
)


@pytest.mark.parametrize(("number", "fault"), list(enumerate(PASSING)), ids=[fault.name for fault in PASSING])
def test_a_fault_that_passes_is_outlived(new_case: NewCase, number: int, fault: Fault) -> None:
    def scenario(case: Case) -> None:
        rule = fault.point.arm(case, fault.action, fault.times)
        done = case.move.run()
        assert done.code == 0, (case.name, done)
        assert rule.fired == (fault.times or rule.fired) > 0, case.name
        assert balanced(done), (case.name, done)
        assert moves.differences(case.source, case.read_target()) == [], case.name
        assert done.document["seconds"] >= fault.least_seconds, case.name
        assert fault.said in case.log(), case.name
        case.finish()

    where = SOURCE if fault.point.side == "source" else SQLITE
    everywhere(new_case, where[number % 2 :][:1], scenario, options="&timeout=3")


STAYING = (
    Fault("every body is cut", Point("", "source", "to_client", BODY, "end", 0, half), Reset(), None),
    Fault("every message sent stalls", Point("", "target", "to_server", MESSAGE, "end", 0, half), Stall(), None),
    Fault("no log-in ever works", TARGET_LOGIN, Close(), None),
    Fault("throttled without end", TARGET_LOGIN, Say(THROTTLED), None),
)


@pytest.mark.parametrize("fault", STAYING, ids=[fault.name for fault in STAYING])
def test_a_fault_that_stays_ends_the_run_and_loses_nothing(new_case: NewCase, fault: Fault) -> None:
    def scenario(case: Case) -> None:
        rule = fault.point.arm(case, fault.action, fault.times)
        done = case.move.run("--patience", "2")
        assert done.code == 75, (case.name, done)
        (one,) = done.document["mailboxes"]
        assert "127.0.0.1" in one["error"]["about"] and one["error"]["advice"], one
        assert balanced(done) or not done.counts["listed"] or done.counts["copied"] < done.counts["listed"], done
        assert rule.fired >= 2, case.name
        case.from_source.clear()
        case.to_target.clear()
        case.finish()

    everywhere(new_case, SOURCE if fault.point.side == "source" else SQLITE, scenario, options="&timeout=2")


def test_no_server_answers(new_case: NewCase) -> None:
    """Refused, then reachable again while the run still waits."""

    def refused(choose: Callable[[Case], TcpProxy]) -> Callable[[Case], None]:
        def scenario(case: Case) -> None:
            proxy = choose(case)
            proxy.refuse = True
            done = case.move.run("--patience", "2")
            assert done.code == 75, (case.name, done)
            running = case.move.start()
            try:
                while proxy.counts.connections < 4:
                    assert running.process.poll() is None
            finally:
                proxy.refuse = False
            done = running.end()
            assert done.code == 0, (case.name, done)
            case.finish()

        return scenario

    everywhere(new_case, SOURCE, refused(lambda case: case.from_source))
    everywhere(new_case, SQLITE, refused(lambda case: case.to_target))


def test_a_slow_line(new_case: NewCase) -> None:
    """120 ms round trip on both sides is only slow."""

    def scenario(case: Case) -> None:
        case.from_source.round_trip_ms = case.to_target.round_trip_ms = 120
        case.finish()

    everywhere(new_case, SQLITE + SOURCE[1:], scenario, options="&timeout=3")


def test_one_message_that_always_breaks_the_connection(new_case: NewCase) -> None:
    """It is named and left out; all others come, and it comes too once the server is mended."""

    def scenario(case: Case) -> None:
        rule = case.from_source.at("to_client", rb"Message-ID: <two-ids@odd>", Reset(), times=None)
        done = case.move.run()
        assert done.code == 1, (case.name, done)
        assert (done.counts["failed"], done.counts["copied"]) == (1, done.counts["listed"] - 1), (case.name, done)
        assert moves.differences(case.source, case.read_target()) == ["Odd messages: 1 lost"], case.name
        case.from_source.rules.remove(rule)
        case.finish()

    everywhere(new_case, SOURCE, scenario)


def balanced(done: Done) -> bool:
    """Law 2."""
    counts = done.counts
    return counts["listed"] == counts["copied"] + counts["there"] + counts["excluded"] + counts["failed"]
