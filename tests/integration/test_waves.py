"""People move between real servers while mail keeps coming: nothing is lost or comes twice, nobody stays parked."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.corpus import CorpusMessage
from lab.fake_ews import FakeEws
from lab.fake_ews_store import FakeExchange, message
from lab.process import PASSWORD
from mailferry.ledger.owner import owner_text
from mailferry.model.wave import WAITING_FOR_MAIL, MoveState
from tests.e2e.moves import append, mailbox
from tests.mail_flow import OPEN_DOMAIN, Sides, sides
from tests.waves import WaveLab

S = MoveState
SEEDED = [S.SEEDING, S.SEEDED]
MOVED = [S.PARKED, S.SETTLED, S.CAUGHT_UP, S.VERIFIED, S.SWITCHED, S.RELEASED]
OLD = [f"old {number}" for number in range(5)]
SLOW = "sleep 2.5"


@pytest.fixture(scope="module")
def both() -> Iterator[Sides]:
    with sides() as running:
        yield running


@pytest.fixture
def lab(both: Sides, tmp_path: Path) -> WaveLab:
    return WaveLab(both, tmp_path)


@contextmanager
def pouring(both: Sides, *addresses: str, pause: float = 0.05) -> Iterator[list[str]]:
    """Mail from outside for these people all the while; the subjects, one message each for everybody."""
    sent: list[str] = []
    stop = threading.Event()

    def pour() -> None:
        while not stop.is_set():
            sent.append(f"poured {len(sent):04}")
            for address in addresses:
                both.postfix.send(address, sent[-1])
            stop.wait(pause)

    sender = threading.Thread(target=pour)
    sender.start()
    try:
        yield sent
    finally:
        stop.set()
        sender.join()


def moved(lab: WaveLab, address: str, sent: list[str]) -> None:
    """Everything is in the open mailbox, once, and nothing waits for anybody."""
    lab.sides.drain()
    assert lab.inbox(lab.sides.store, address) == sorted([*OLD, *sent])
    assert lab.route(address) == ("local", "store1")
    assert lab.move(address).state is S.RELEASED


def stayed(lab: WaveLab, address: str, sent: list[str], why: str) -> None:
    """Everything is on Exchange, once, and nothing waits for anybody."""
    lab.sides.drain()
    assert lab.inbox(lab.sides.exchange_store, address) == sorted([*OLD, *sent])
    assert lab.route(address)[0] == "exchange"
    move = lab.move(address)
    assert move.state is S.SEEDED and why in move.error, move
    assert S.UNPARKING in lab.states(address) and S.SWITCHED not in lab.states(address)


def test_a_wave_from_the_first_copy_to_done(both: Sides, lab: WaveLab, new_user: Callable[[], str]) -> None:
    alice, bob = (lab.person(new_user()) for _ in range(2))
    lab.wave("w1", [alice, bob])
    assert lab.run("seed", "w1").code == 0
    assert [lab.move(one).state for one in (alice, bob)] == [S.SEEDED, S.SEEDED]
    with pouring(both, alice, bob) as sent:
        time.sleep(0.3)
        done = lab.run("cutover", "w1", "--json")
        time.sleep(0.2)
    assert done.code == 0, done
    for one in (alice, bob):
        moved(lab, one, sent)
        assert lab.states(one) == SEEDED + MOVED
    again = lab.run("cutover", "w1")
    assert again.code == 0 and "0 of 0 people" in again.out, again
    wave = json.loads(done.out)["wave"]
    assert wave["states"] == {"released": 2} and 0 < wave["parked_seconds_longest"] < 30, wave
    with mailbox(both.exchange_store.port, alice) as session:
        append(session, "INBOX", CorpusMessage(b"Subject: late\r\n\r\nlate\r\n", frozenset(), internal_date=1))
    assert lab.run("sweep", "w1").code == 0
    assert lab.inbox(both.store, alice) == sorted([*OLD, *sent, "late"])
    early = lab.run("done", "w1")
    assert early.code == 65 and "sweep_hours" in early.err
    assert lab.run("done", "w1", "--early").code == 0
    assert lab.states(alice) == [*SEEDED, *MOVED, S.SWEPT, S.DONE]
    status = lab.run("status", "--json")
    assert status.code == 0 and json.loads(status.out)["waves"][0]["states"] == {"done": 2}


CRASHES = [
    f"{what}:{when}:1"
    for state in MOVED
    for what, when in (
        (f"intend {state.value}", "after"),
        (f"enter {state.value}", "before"),
        (f"enter {state.value}", "after"),
    )
]


def test_killed_at_every_line_of_a_move(both: Sides, lab: WaveLab, new_user: Callable[[], str]) -> None:
    """Each run is killed at the next point; mail comes all the while."""
    address = lab.person(new_user())
    lab.wave("w2", [address])
    assert lab.run("seed", "w2", crash_at="enter seeding:after:1").code == -signal.SIGKILL
    assert lab.run("seed", "w2").code == 0
    with pouring(both, address, pause=0.2) as sent:
        for point in CRASHES:
            done = lab.run("cutover", "w2", crash_at=point)
            assert done.code == -signal.SIGKILL, (point, done)
    moved(lab, address, sent)


def test_a_killed_worker_is_replaced(both: Sides, lab: WaveLab, new_user: Callable[[], str]) -> None:
    lab.settings(reload_before=SLOW)
    address = lab.person(new_user())
    lab.wave("w3", [address])
    assert lab.run("seed", "w3").code == 0
    with pouring(both, address) as sent:
        running = lab.start("cutover", "w3")
        lab.wait(address, S.PARKED)
        for pid in running.children():
            os.kill(pid, signal.SIGKILL)
        done = running.end()
    assert done.code == 0, done
    moved(lab, address, sent)


def test_a_verification_that_fails_leaves_everybody_on_exchange(
    both: Sides, lab: WaveLab, new_user: Callable[[], str]
) -> None:
    """Alice's mailbox misses a message that the ledger knows to be there; bob moves all the same."""
    alice, bob = (lab.person(new_user()) for _ in range(2))
    lab.wave("w4", [alice, bob])
    assert lab.run("seed", "w4").code == 0
    with mailbox(both.store.port, alice) as session:
        session.select("INBOX")
        session.store("1", "+FLAGS", "\\Deleted")
        session.expunge()
    with pouring(both, alice, bob) as sent:
        done = lab.run("cutover", "w4")
    assert done.code == 1 and "Poor" in done.err, done
    stayed(lab, alice, sent, "Poor")
    moved(lab, bob, sent)
    status = lab.run("status", "w4")
    assert status.code == 1 and f"{alice}: seeded: the verification's score is Poor" in status.out


def test_the_longest_park_is_kept(both: Sides, lab: WaveLab, new_user: Callable[[], str]) -> None:
    lab.settings(reload_before=SLOW, longest_park=1.0)
    address = lab.person(new_user())
    lab.wave("w5", [address])
    assert lab.run("seed", "w5").code == 0
    with pouring(both, address) as sent:
        assert lab.run("cutover", "w5").code == 75
    stayed(lab, address, sent, "longest_park")
    lab.settings()
    assert lab.run("cutover", "w5").code == 0
    moved(lab, address, sent)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_nobody_parked(
    both: Sides, lab: WaveLab, new_user: Callable[[], str], number: signal.Signals
) -> None:
    lab.settings(reload_before=SLOW)
    address = lab.person(new_user())
    lab.wave("w6", [address])
    assert lab.run("seed", "w6").code == 0
    with pouring(both, address) as sent:
        running = lab.start("cutover", "w6")
        lab.wait(address, S.PARKED)
        running.process.send_signal(number)
        assert running.end().code == 130
    stayed(lab, address, sent, "stopped")


def test_who_is_parked_is_finished_while_the_wave_is_paused(
    both: Sides, lab: WaveLab, new_user: Callable[[], str]
) -> None:
    lab.settings(reload_before=SLOW, together=1)
    alice, bob = (lab.person(new_user()) for _ in range(2))
    lab.wave("w7", [alice, bob])
    assert lab.run("seed", "w7").code == 0
    running = lab.start("cutover", "w7")
    lab.wait(alice, S.PARKED)
    assert lab.run("cancel", "w7").code == 65, "somebody is parked"
    assert lab.run("pause", "w7").code == 0
    done = running.end()
    assert done.code == 1 and "paused" in done.err, done
    moved(lab, alice, [])
    assert lab.move(bob).state is S.SEEDED and S.PARKED not in lab.states(bob)
    assert lab.run("cutover", "w7").code == 65
    assert lab.run("cancel", "w7").code == 0
    assert lab.move(bob).state is S.CANCELLED and lab.move(alice).state is S.RELEASED


def test_who_is_parked_is_finished_while_the_run_is_paused(
    both: Sides, lab: WaveLab, new_user: Callable[[], str]
) -> None:
    lab.settings(reload_before=SLOW, together=1)
    alice, bob = (lab.person(new_user()) for _ in range(2))
    lab.wave("w10", [alice, bob])
    assert lab.run("seed", "w10").code == 0
    running = lab.start("cutover", "w10")
    lab.wait(alice, S.PARKED)
    lab.tell("pause")
    lab.wait(alice, S.RELEASED)
    time.sleep(1)
    assert lab.move(bob).state is S.SEEDED and running.process.poll() is None
    lab.tell("continue")
    assert running.end().code == 0
    moved(lab, bob, [])


def test_a_probe_comes_from_exchange_too(both: Sides, lab: WaveLab, new_user: Callable[[], str]) -> None:
    """Where nothing diverts mail between people on Exchange, it is delivered, and nobody is moved."""
    lab.settings(exchange_smtp=f"127.0.0.1:{both.exchange.postfix.port}", probe_seconds=8.0)
    alice, bob = (lab.person(new_user()) for _ in range(2))
    both.exchange.update(targets={alice: f"{alice.partition('@')[0]}@{OPEN_DOMAIN}"})
    lab.wave("w11", [alice])
    assert lab.run("cutover", "w11").code == 0
    probes = re.findall(r"from=<(mailferry-probe-\w+@\S+)>", both.exchange.postfix.log())
    assert probes and probes[-1] in both.postfix.log()
    moved(lab, alice, [])
    lab.wave("w12", [bob])
    done = lab.run("cutover", "w12")
    assert done.code == 65 and "a probe message from Exchange did not wait" in done.err, done
    assert lab.route(bob)[0] == "exchange" and lab.move(bob).state is S.SEEDED
    assert lab.inbox(both.exchange_store, bob) == sorted([*OLD, "Test of mail routing"])


def test_who_is_at_work_elsewhere_is_left_alone(both: Sides, lab: WaveLab, new_user: Callable[[], str]) -> None:
    address = lab.person(new_user())
    lab.wave("w8", [address])
    assert lab.run("seed", "w8").code == 0
    with lab.ledger() as ledger:
        mailbox_id = lab.move(address).mailbox_id
        assert mailbox_id is not None
        lease = ledger.acquire(mailbox_id, owner_text(), 60.0)
        done = lab.run("cutover", "w8")
        assert done.code == 73, done
        ledger.release(lease)
    assert lab.route(address)[0] == "exchange" and lab.move(address).state is S.SEEDED


def test_the_directory_is_away_while_somebody_is_parked(both: Sides, lab: WaveLab, new_user: Callable[[], str]) -> None:
    lab.settings(reload_before=SLOW)
    address = lab.person(new_user())
    lab.wave("w9", [address])
    assert lab.run("seed", "w9").code == 0
    running = lab.start("cutover", "w9")
    lab.wait(address, S.PARKED)
    while lab.route(address)[0] != "parked":
        time.sleep(0.02)
    both.openldap.halt()
    try:
        time.sleep(4)
        assert lab.move(address).state in WAITING_FOR_MAIL
    finally:
        both.openldap.start()
    done = running.end()
    assert done.code == 0, done
    moved(lab, address, [])


def test_a_reload_that_cannot_run_parks_nobody(both: Sides, lab: WaveLab, new_user: Callable[[], str]) -> None:
    settings = lab.folder / "mailferry.toml"
    settings.write_text(re.sub('reload = ".*"', 'reload = "postfx reload"', settings.read_text()))
    address = lab.person(new_user())
    lab.wave("w13", [address])
    done = lab.run("rehearse", "w13")
    assert done.code == 1 and "reload mx: the command `postfx reload` cannot work" in done.out, done
    done = lab.run("cutover", "w13")
    assert done.code == 78 and "coexist.queues" in done.err, done
    assert lab.states(address)[-1] is S.SEEDED and S.PARKED not in lab.states(address)
    assert "postfx" in lab.run("status", "w13").out


def test_a_wave_that_reads_exchange_over_ews(both: Sides, lab: WaveLab, new_user: Callable[[], str]) -> None:
    """A fake EWS stands in for the mailbox; all else is as in every wave."""
    address = both.add(new_user())
    exchange = FakeExchange(passwords={"svc": PASSWORD}, impersonators={"svc"})
    mailbox_there = exchange.add(address, "unused")
    inbox, sent = mailbox_there.known("inbox"), mailbox_there.known("sentitems")
    for number in range(5):
        text = f"From: x@y.example\r\nMessage-ID: <{number}@t>\r\nSubject: old {number}\r\n\r\nold\r\n"
        mailbox_there.add(inbox, message(text.encode()))
    own = f"From: {address}\r\nMessage-ID: <sent@t>\r\nSubject: sent\r\n\r\nsent\r\n"
    mailbox_there.add(sent, message(own.encode(), read=True))
    with FakeEws(exchange) as fake:
        place = lab.folder / "mailferry.toml"
        ews = f'source = "ews://127.0.0.1:{fake.port}?tls=none&admin=svc"'
        place.write_text(re.sub(r'source = "imap:.*"', ews, place.read_text()))
        lab.wave("ews", [address])
        assert lab.run("seed", "ews").code == 0
        assert lab.move(address).evidence["verdict"] == "confirmed"
        mailbox_there.add(inbox, message(b"Message-ID: <new@t>\r\nSubject: new\r\n\r\nnew\r\n"))
        mailbox_there.remove(inbox, next(iter(inbox.items.values())))
        done = lab.run("cutover", "ews")
        assert done.code == 0, done
        moved(lab, address, ["new"])
        mailbox_there.add(inbox, message(b"Message-ID: <late@t>\r\nSubject: late\r\n\r\nlate\r\n"))
        assert lab.run("sweep", "ews").code == 0
        assert lab.inbox(both.store, address) == sorted([*OLD, "late", "new"])
        back = lab.run("rollback", "ews")
        assert back.code != 0 and "can be read only" in back.err, back
        assert lab.route(address) == ("local", "store1")
