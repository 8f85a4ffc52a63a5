"""Waves by `mailferry worker` on one PostgreSQL ledger: workers that die, stall, end, or lose the database.

All of a test's workers run on this machine, and behave as if they were on several: nothing is taken over before its
lease has run out. Caps are counted in the log of the store that poses as Exchange, not by what we believe.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lab.postgres import Postgres
from mailferry.errors import UserError
from mailferry.ledger import open_ledger, slots
from mailferry.ledger.slots import Needs
from mailferry.model.wave import MoveState
from mailferry.ops.workers import refuse_other_schema
from tests.e2e.moves import COMMAND, contents
from tests.mail_flow import Sides, sides
from tests.waves import WaveLab

S = MoveState
CAP = 3
"""Connections to one server, in every test here."""


@pytest.fixture(scope="module")
def both() -> Iterator[Sides]:
    with sides() as running:
        yield running


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """One that these tests may stop."""
    with Postgres() as server:
        yield server


@pytest.fixture
def lab(both: Sides, own_postgres: Postgres, tmp_path: Path, new_user: Callable[[], str]) -> Iterator[WaveLab]:
    name = new_user()
    lab = WaveLab(both, tmp_path, own_postgres.create_database(name), {"places": 4, "lease_seconds": 5})
    lab.settings(connections=CAP)
    yield lab
    own_postgres.drop_database(name)


def most_at_once(log: str) -> int:
    """Connections that were logged in at the same time, by Dovecot's log."""
    now: set[str] = set()
    most = 0
    for line in log.splitlines():
        if login := re.search(r"imap-login: Info: Login: .*session=<([^>]+)>", line):
            now.add(login[1])
            most = max(most, len(now))
        elif end := re.search(r"imap\([^)]*\)<\d+><([^>]+)>: Info: (Disconnected|Logged out|Connection closed)", line):
            now.discard(end[1])
    return most


def once(lab: WaveLab, address: str) -> None:
    """The open mailbox holds what the old one holds, every message once."""

    def digests(port: int, separator: str) -> Counter[str]:
        found = contents(port, address, separator)
        return Counter(item.digest for folder in found.values() for item in folder.values())

    old, new = digests(lab.sides.exchange_store.port, "/"), digests(lab.sides.store.port, ".")
    assert old == new and old, (address, len(old), new - old, old - new)


def arrived(lab: WaveLab) -> int:
    """Messages in the ledger."""
    with psycopg.connect(lab.place.replace("+psycopg", "")) as connection:
        ((number,),) = connection.execute("SELECT count(*) FROM message").fetchall()
        return int(number)


def until(what: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_worker_killed_in_mid_copy_loses_nothing_but_seconds(
    both: Sides, lab: WaveLab, new_user: Callable[[], str]
) -> None:
    lab.workers = {"places": 4}  # with the lease as it comes
    lab.settings(connections=CAP)
    began = len(both.exchange_store.log())
    people = [lab.full_person(new_user(), 150) for _ in range(5)]
    lab.wave("w", people)
    with lab.worker("confirm:after:2") as dies, lab.worker():
        seeding = lab.start("seed", "w")
        assert dies.wait(30) == -signal.SIGKILL
        died = time.time()
        done = seeding.end()
        assert done.code == 0, done
        with lab.ledger() as ledger:
            passes = ledger.passes()
        cut = [one for one in passes if one.outcome == "interrupted"]
        again = [min(p.started for p in passes if p.mailbox_id == one.mailbox_id and p.id > one.id) for one in cut]
        assert cut, "it was not in mid-copy"
        lost = max(again) - died
        assert 8 < lost < 20, f"time lost by the death of a worker: {lost:.1f} s"  # less: its lease was not kept
        cutover = lab.run("cutover", "w", "--json")
        assert cutover.code == 0, cutover
    for one in people:
        once(lab, one)
        assert lab.route(one) == ("local", "store1")
        assert lab.states(one)[-6:] == [S.PARKED, S.SETTLED, S.CAUGHT_UP, S.VERIFIED, S.SWITCHED, S.RELEASED]
    assert 2 <= most_at_once(both.exchange_store.log()[began:]) <= CAP


def test_a_stalled_worker_that_wakes_up_finds_itself_fenced(lab: WaveLab, new_user: Callable[[], str]) -> None:
    """What it had sent into its socket arrives all the same; the next pass, which comes before any switch, sees it."""
    person = lab.full_person(new_user(), 1500)
    lab.wave("w", [person])
    with lab.worker() as stalls:
        seeding = lab.start("seed", "w")
        until(lambda: arrived(lab) > 50)
        stalls.send_signal(signal.SIGSTOP)
        assert arrived(lab) < 1510, "it was not in mid-copy"
        with lab.worker():
            done = seeding.end()
            assert done.code == 0, done
            stalls.send_signal(signal.SIGCONT)
            until(lambda: re.search("left to others: .* taken over", lab.log()) is not None, 15)
        assert stalls.poll() is None
        assert lab.run("cutover", "w").code == 0  # it goes on as a worker
        once(lab, person)


def test_the_database_may_be_away_for_some_seconds(
    own_postgres: Postgres, lab: WaveLab, new_user: Callable[[], str]
) -> None:
    people = [lab.full_person(new_user(), 700) for _ in range(2)]
    lab.wave("w", people)
    with lab.worker() as worker:
        seeding = lab.start("seed", "w")
        until(lambda: arrived(lab) > 50)
        own_postgres.halt()
        time.sleep(1.5)
        own_postgres.start()
        done = seeding.end()
        assert done.code == 0, done
        assert lab.run("cutover", "w").code == 0
        assert worker.poll() is None
    for one in people:
        once(lab, one)


def test_a_worker_that_is_to_end_lets_those_come_through_who_are_parked(
    lab: WaveLab, new_user: Callable[[], str]
) -> None:
    parked, waits = (lab.person(new_user()) for _ in range(2))
    lab.settings("sleep 1.5", connections=CAP, together=1)
    lab.wave("w", [parked, waits])
    with lab.worker() as ends:
        assert lab.run("seed", "w").code == 0
        cutover = lab.start("cutover", "w")
        lab.wait(parked, S.PARKED)
        ends.send_signal(signal.SIGTERM)
        assert ends.wait(30) == 0
        assert lab.move(parked).state is S.RELEASED
        assert lab.move(waits).state is S.SEEDED
        with lab.worker():
            assert cutover.end().code == 0
            assert lab.move(waits).state is S.RELEASED
            assert lab.run("rollback", "w", "--only", waits).code == 0
    assert lab.move(waits).state is S.ROLLED_BACK
    assert lab.route(waits)[0] == "exchange"


def test_a_worker_that_has_no_time_to_end_sends_those_back_who_are_parked(
    lab: WaveLab, new_user: Callable[[], str]
) -> None:
    lab.workers = {"places": 4, "lease_seconds": 5, "drain_seconds": 0}
    lab.settings("sleep 1.5", connections=CAP)
    person = lab.person(new_user())
    lab.wave("w", [person])
    with lab.worker() as ends:
        assert lab.run("seed", "w").code == 0
        cutover = lab.start("cutover", "w")
        lab.wait(person, S.PARKED)
        ends.send_signal(signal.SIGTERM)
        assert ends.wait(30) == 0
        assert S.UNPARKING in lab.states(person)
        assert lab.route(person)[0] == "exchange"
        with lab.worker():
            assert cutover.end().code == 0
        assert lab.move(person).state is S.RELEASED


def test_a_worker_of_another_schema_refuses(lab: WaveLab, new_user: Callable[[], str]) -> None:
    lab.wave("w", [lab.person(new_user())])
    with lab.worker() as older:
        assert lab.run("seed", "w").code == 0
        for version, why in (("9999", "install the newer Mailferry"), ("0001", "stop all workers")):
            _pretend(lab, version)
            with pytest.raises(UserError, match=version) as refused:
                refuse_other_schema(lab.place)
            assert why in refused.value.advice
        assert older.wait(15) == 64
        assert "this worker knows" in lab.log()


def test_waves_run_on_one_machine_with_a_ledger_in_postgresql_too(lab: WaveLab, new_user: Callable[[], str]) -> None:
    lab.workers = None
    lab.settings()
    person = lab.full_person(new_user(), 50)
    lab.wave("w", [person])
    for verb in ("seed", "cutover", "rollback"):
        done = lab.run(verb, "w")
        assert done.code == 0, (verb, done)
        once(lab, person)
    assert lab.route(person)[0] == "exchange"


def test_what_waits_for_a_worker_is_told_and_can_be_stopped(lab: WaveLab, new_user: Callable[[], str]) -> None:
    lab.wave("w", [lab.person(new_user())])
    seeding = lab.start("seed", "w")
    until(lambda: _status(lab)[1]["waiting"] == 1)
    code, nobody = _status(lab)
    assert (code, nobody["workers"]) == (1, [])
    seeding.process.send_signal(signal.SIGINT)
    done = seeding.end(30)
    assert done.code == 130 and "no worker is there" in done.err, done
    with lab.ledger() as ledger:
        (run,) = ledger.runs()
        assert run.ended is not None and run.summary["mailboxes_failed"] == 1
    assert _status(lab)[1]["waiting"] == 0


def test_status_tells_who_works_on_what_and_a_second_signal_ends_a_worker_at_once(
    lab: WaveLab, new_user: Callable[[], str]
) -> None:
    lab.settings("sleep 8", connections=CAP)
    person = lab.person(new_user())
    lab.wave("w", [person])
    with lab.worker() as ends:
        assert lab.run("seed", "w").code == 0
        assert _status(lab)[1]["slots"] == {}, "slots were not given back"
        cutover = lab.start("cutover", "w")
        lab.wait(person, S.PARKED)
        code, now = _status(lab)
        (one,) = now["workers"]
        (job,) = one["jobs"]
        assert (code, one["pid"], one["places"], one["draining"]) == (0, ends.pid, 4, False)
        assert (job["mail"], job["verb"], job["state"], job["stuck"]) == (person, "cutover", "parked", False)
        assert sum(now["slots"].values()) == 2 * job["lanes"] + 1  # both servers, and a place in the wave
        ends.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert ends.poll() is None, "it left somebody who is parked"
        ends.send_signal(signal.SIGTERM)
        assert ends.wait(2) == 130
    cutover.kill()
    cutover.end()


def test_no_more_slots_are_held_than_the_cap_whoever_asks(postgres: Postgres, new_user: Callable[[], str]) -> None:
    name = new_user()
    place = postgres.create_database(name)
    most, now, lock = 0, 0, threading.Lock()

    def work(number: int) -> None:
        nonlocal most, now
        with closing(open_ledger(place)) as ledger:
            for _ in range(15):
                while (held := slots.take(ledger, number, Needs({"a": 3, "b": 5}, 2, {"w": 4}), 30)) is None:
                    time.sleep(0.002)
                with lock:
                    now += held.lanes
                    most = max(most, now)
                with lock:
                    now -= held.lanes
                slots.give_back(ledger, held.slots)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert most <= 3
    with closing(open_ledger(place)) as ledger:
        first = slots.take(ledger, 1, Needs({"a": 3}, 3, {}), 0.05)
        assert first is not None and first.lanes == 3
        assert slots.take(ledger, 2, Needs({"a": 3}, 1, {}), 30) is None
        time.sleep(0.06)
        second = slots.take(ledger, 2, Needs({"a": 3}, 1, {}), 30)
        assert second is not None
        assert slots.renew(ledger, first.slots, 30) == set(first.slots[1:]), "a slot that was given to others is lost"
        slots.give_back(ledger, first.slots)
        assert slots.in_use(ledger) == {"a": 1}, "what others hold cannot be given back"
        assert slots.take(ledger, 3, Needs({"a": 1}, 1, {}), 30) is None, "a lower cap holds at once"
    postgres.drop_database(name)


def _pretend(lab: WaveLab, version: str) -> None:
    with psycopg.connect(lab.place.replace("+psycopg", "")) as connection:
        connection.execute("UPDATE ledger_version SET version_num = %s", [version])


def _status(lab: WaveLab) -> tuple[int, dict[str, Any]]:
    argv = [*COMMAND, "worker", "status", "--config", str(lab.folder / "mailferry.toml"), "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    return done.returncode, json.loads(done.stdout)
