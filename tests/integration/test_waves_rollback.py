"""People go back to Exchange after the switch, between real servers while mail keeps coming, killed or cut off."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.corpus import CorpusMessage
from lab.proxy import TcpProxy
from mailferry.model.wave import MoveState
from tests.e2e.moves import append, mailbox
from tests.mail_flow import Sides, sides
from tests.waves import WaveLab

OLD = [f"old {number}" for number in range(5)]


@pytest.fixture(scope="module")
def both() -> Iterator[Sides]:
    with sides() as running:
        yield running


@pytest.fixture
def door(both: Sides) -> Iterator[TcpProxy]:
    """Before the store's IMAP."""
    with TcpProxy(both.store.port) as proxy:
        yield proxy


@pytest.fixture
def lab(both: Sides, door: TcpProxy, tmp_path: Path) -> WaveLab:
    lab = WaveLab(both, tmp_path)
    lab.settings(longest_park=6.0)
    settings = tmp_path / "mailferry.toml"
    settings.write_text(settings.read_text().replace(f":{both.store.port}?", f":{door.port}?"))
    return lab


@pytest.fixture
def alice(both: Sides, lab: WaveLab, new_user: Callable[[], str]) -> str:
    """Switched, with a message received, one sent and one drafted since."""
    address = lab.person(new_user())
    lab.wave("w", [address])
    for verb in ("seed", "cutover"):
        done = lab.run(verb, "w")
        assert done.code == 0, done
    both.postfix.send(address, "received")
    both.drain()
    write(lab, address, "Sent", "sent")
    write(lab, address, "Drafts", "drafted")
    return address


def write(lab: WaveLab, address: str, folder: str, subject: str) -> None:
    """As a client does on the open side."""
    with mailbox(lab.sides.store.port, address) as session:
        session.create(folder)
        body = f"From: {address}\r\nMessage-ID: <{subject}-{address}>\r\nSubject: {subject}\r\n\r\nx\r\n".encode()
        append(session, folder, CorpusMessage(body, frozenset({"\\Seen"}), internal_date=1_700_000_000))


def everything(lab: WaveLab, address: str, *, store: bool = False) -> list[str]:
    """The subjects in all folders of somebody's mailbox, on Exchange or in the store."""
    dovecot = lab.sides.store if store else lab.sides.exchange_store
    files = [
        path for path in dovecot.maildir(address).rglob("*") if path.is_file() and path.parent.name in ("cur", "new")
    ]
    found = (re.search(r"^Subject: (.*?)\r?$", path.read_text(), re.MULTILINE) for path in files)
    return sorted(match[1] for match in found if match)


def route(lab: WaveLab, address: str) -> str:
    uid = address.partition("@")[0]
    link = lab.sides.openldap.connect()
    ((_, values),) = link.search_s(f"uid={uid},ou=people,{lab.sides.openldap.suffix}", 0)
    token: bytes = values["mailferryRoute"][0]
    return token.decode()


def test_back_with_all_that_came_since_and_forth_again(both: Sides, lab: WaveLab, alice: str) -> None:
    done = lab.run("rollback", "w", "--dry-run")
    assert (done.code, lab.move(alice).state) == (0, MoveState.RELEASED) and alice in done.out
    done = lab.run("rollback", "w", "--json")
    assert done.code == 0, done
    assert lab.states(alice)[-2:] == [MoveState.RETURNING, MoveState.ROLLED_BACK]
    new = ["drafted", "received", "sent"]
    assert everything(lab, alice) == sorted([*OLD, "sent", *new])
    assert everything(lab, alice, store=True) == sorted([*OLD, "sent", *new]), "nothing is removed from there"
    both.postfix.send(alice, "on Exchange again")
    both.drain()
    assert "on Exchange again" in lab.inbox(both.exchange_store, alice)
    write(lab, alice, "Drafts", "by an old client")
    assert lab.run("rollback", "w").code == 0
    back = sorted([*OLD, "sent", *new, "on Exchange again", "by an old client"])
    assert everything(lab, alice) == back

    for verb in ("seed", "cutover", "sweep"):
        done = lab.run(verb, "w")
        assert done.code == 0, done
    assert everything(lab, alice) == everything(lab, alice, store=True) == back
    both.postfix.send(alice, "second time")
    both.drain()
    assert lab.run("rollback", "w", "--only", alice).code == 0
    assert everything(lab, alice) == sorted([*back, "second time"])
    assert not [one for one in both.postfix.queue() if one["recipients"]]


def test_killed_again_and_again_while_mail_comes(both: Sides, lab: WaveLab, alice: str) -> None:
    came = []
    for number in range(2, 90, 4):
        came.append(f"n{number:02d}")
        both.postfix.send(alice, came[-1])
        done = lab.run("rollback", "w", crash_at=f"commit:{'after' if number % 8 else 'before'}:{number}")
        if done.code == 0:
            break
        assert done.code == -signal.SIGKILL, done
    assert lab.move(alice).state is MoveState.ROLLED_BACK and len(came) > 5
    both.drain()
    assert everything(lab, alice) == sorted([*OLD, "sent", "drafted", "received", "sent", *came])
    assert not [one for one in both.postfix.queue() if one["recipients"]]


def test_a_run_that_is_stopped_leaves_nobody_parked(both: Sides, lab: WaveLab, alice: str) -> None:
    running = lab.start("rollback", "w")
    while route(lab, alice) != "parked" and running.process.poll() is None:
        pass
    both.postfix.send(alice, "while parked")
    running.process.send_signal(signal.SIGINT)
    done = running.end()
    assert done.code == 130, done
    assert route(lab, alice) in ("local", "exchange")
    both.drain()
    assert "while parked" in everything(lab, alice) + everything(lab, alice, store=True)
    assert not [one for one in both.postfix.queue() if one["recipients"]]
    done = lab.run("rollback", "w")
    assert done.code == 0, done
    assert everything(lab, alice) == sorted([*OLD, "sent", "drafted", "received", "sent", "while parked"])


def test_a_store_out_of_reach_leaves_nobody_parked(both: Sides, lab: WaveLab, door: TcpProxy, alice: str) -> None:
    """Before anybody is parked, everything stays as it is; later, the mail goes to the open side again."""
    door.refuse = True
    done = lab.run("rollback", "w")
    assert (done.code, lab.move(alice).state, route(lab, alice)) == (75, MoveState.RELEASED, "local"), done

    door.refuse = False
    running = lab.start("rollback", "w")
    while route(lab, alice) != "parked" and running.process.poll() is None:
        pass
    running.kill()
    running.end()
    assert (lab.move(alice).state, route(lab, alice)) == (MoveState.RETURNING, "parked")
    both.postfix.send(alice, "while parked")
    door.refuse = True
    done = lab.run("rollback", "w")
    assert done.code == 75, done
    assert "longest_park" in lab.move(alice).error
    both.drain()
    assert (lab.move(alice).state, route(lab, alice)) == (MoveState.RETURNING, "local")
    assert "while parked" in lab.inbox(both.store, alice)
    assert "returning, mail goes to the open side" in lab.run("status", "w").out

    door.refuse = False
    done = lab.run("rollback", "w")
    assert done.code == 0, done
    assert everything(lab, alice) == sorted([*OLD, "sent", "drafted", "received", "sent", "while parked"])
