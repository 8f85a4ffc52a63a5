"""Fifty people change sides while mail pours in from everywhere, on real servers, and while everything breaks.

Every message is numbered, and looked for in every mailbox of both sides afterwards: it is in the right one exactly
once, and in no other; none bounced, none looped. Each test says what it measured with `record_property`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import statistics
import time
from collections.abc import Callable, Iterator

import pytest

from lab.open_dovecot import MASTER, MASTER_PASSWORD, OpenDovecot
from lab.proxy import Reset, Rule
from mailferry.config.sieve import parse_sieve
from mailferry.model.wave import MOVED, MoveState
from mailferry.net.managesieve import session
from mailferry.secret import Secret
from tests.e2e.fire import Fire, fire, interrupt, kill

pytestmark = pytest.mark.timeout(900)
Record = Callable[[str, object], None]

CALM_SECONDS = 8.0
"""How long mail comes in before anybody moves: the measure for delivery times."""
PEOPLE_AD = 12
UNCHANGED_SECONDS, UNCHANGED_TIMES = 2.0, 3.0
"""What a median delivery may take longer during cutovers, which share two cores with all other tests; nobody who is
parked gets mail that soon."""
KILLED_IN = (
    *(MoveState.PARKED, MoveState.SETTLED, MoveState.CAUGHT_UP, MoveState.VERIFIED),
    *(MoveState.SWITCHED, MoveState.RELEASED),
)
SLAPD_AWAY, SOURCE_AWAY = 20.0, 30.0
OWN = b'require "imap4flags";\r\naddflag "\\\\Flagged";\r\n'


@pytest.fixture
def burning() -> Iterator[Fire]:
    with fire() as running:
        yield running


@pytest.fixture
def burning_ad() -> Iterator[Fire]:
    """Active Directory is the only directory: routes in its attributes, Postfix and Dovecot ask it for everything."""
    with fire(staying=30, messages=10, only_ad=True) as running:
        yield running


def test_fifty_people_in_three_waves(burning: Fire, record_property: Record) -> None:
    waves = [burning.moving[start:50:3] for start in range(3)]
    time.sleep(CALM_SECONDS)
    calm = burning.started, time.time()
    for number, people in enumerate(waves, start=1):
        burning.plan(f"wave{number}", people)
        burning.wave("seed", f"wave{number}")
    moving = time.time()
    for number in range(1, 4):
        burning.wave("cutover", f"wave{number}")
        assert set(burning.states(f"wave{number}").values()) == {MoveState.RELEASED}
    moved = time.time()
    for number in range(1, 4):
        burning.wave("sweep", f"wave{number}")
    verdict = burning.judged()
    record_property("verdict", str(verdict))
    assert not verdict.wrong, verdict
    assert all(burning.load.doors().values()), burning.load.doors()
    parked = burning.parked_seconds()
    assert len(parked) == 50
    record_property("parked", {mail: round(seconds, 1) for mail, seconds in parked.items()})
    record_property("parked, median", statistics.median(parked.values()))
    still = {one.uid for one in burning.staying}
    before, during = verdict.median(still, *calm), verdict.median(still, moving, moved)
    record_property("median delivery of those who stay", f"{before:.3f} s, during cutovers {during:.3f} s")
    assert during < max(UNCHANGED_TIMES * before, before + UNCHANGED_SECONDS)


def test_while_everything_breaks(burning: Fire, record_property: Record) -> None:
    """Stages on one organisation, each with a wave of its own; what they leave is judged once, at the end."""
    people = iter(burning.moving)
    _everybody_has_rules(burning)

    def wave(name: str, size: int) -> list[str]:
        some = [next(people) for _ in range(size)]
        burning.plan(name, some)
        if name != "killed":
            burning.wave("seed", name)
        return [one.mail for one in some]

    _killed_in_every_state(burning, wave("killed", 8))
    _servers_away(burning, wave("away", 8))
    _back_in_the_middle(burning, wave("stopped", 6))
    _verification_fails(burning, wave("poor", 4))
    _rolled_back(burning, wave("back", 6))
    for name in ("killed", "away", "stopped", "poor", "back"):
        burning.wave("sweep", name)
    verdict = burning.judged()
    record_property("verdict", str(verdict))
    assert not verdict.wrong, verdict


def _dovecot(burning: Fire, store: str) -> OpenDovecot:
    found = burning.acme.stores[store]
    assert isinstance(found, OpenDovecot)
    return found


def _sieve(burning: Fire, store: str) -> str:
    here = _dovecot(burning, store)
    return f"sieve://localhost:{here.sieve_port}?admin={MASTER}&ca={here.ca_file}"


def _everybody_has_rules(burning: Fire) -> None:
    """Messages of the load whose number ends with 7 are filed, from the switch on."""
    text = burning.acme.config.read_text(encoding="utf-8")
    for name in burning.acme.stores:
        table = f'[coexist.stores."{name}"]\n'
        assert table in text
        text = text.replace(table, f'{table}sieve = "{_sieve(burning, name)}"\n')
    burning.acme.config.write_text(f'{text}\n[coexist.rules]\nfolder = "rules"\n', encoding="utf-8")
    folder = burning.acme.root / "rules"
    folder.mkdir()
    rule = {"Name": "seven", "Priority": 1, "RuleIdentity": 1, "MoveToFolder": "\\Deleted Items"}
    rule["SubjectContainsWords"] = [f"fire {tens}7" for tens in range(1, 100)]
    for one in burning.moving:
        (folder / f"{one.mail}.json").write_text(json.dumps([rule]), encoding="utf-8")


def _active(burning: Fire, mail: str, put: bytes = b"") -> str:
    """The script that somebody's store runs, after `put` was put in force as their own."""
    store = burning.store(mail)

    async def look() -> str:
        account = parse_sieve(_sieve(burning, store), user=mail, secret=Secret(MASTER_PASSWORD))
        async with session(account) as server:
            if put:
                await server.put("mine", put)
                await server.activate("mine")
            return (await server.scripts()).active

    return asyncio.run(look())


def _filed(burning: Fire, mail: str) -> int:
    """How many messages of the load are in somebody's trash on the open side."""
    store = _dovecot(burning, burning.store(mail))
    found = store.doveadm("search", "-u", mail, "mailbox", "Trash", "subject", "fire", check=False)
    return len(found.splitlines())


def _killed_in_every_state(burning: Fire, people: list[str]) -> None:
    """SIGKILL to all of Mailferry as soon as somebody is in a state, for every state, and at random moments."""
    chance = random.Random(1)
    running = burning.start("seed", "killed")
    burning.until("killed", MoveState.SEEDING, running)
    kill(running)
    burning.wave("seed", "killed")
    for state in KILLED_IN:
        running = burning.start("cutover", "killed")
        burning.until("killed", state, running)
        time.sleep(chance.random() * 0.3)
        kill(running)
    burning.wave("cutover", "killed")
    assert set(burning.states("killed").values()) == {MoveState.RELEASED}, burning.errors("killed")
    assert len(people) == len(burning.states("killed"))


def _servers_away(burning: Fire, people: list[str]) -> None:
    """slapd is stopped while people are parked, Postfix is restarted, and Exchange's IMAP resets every connection."""
    here = burning.acme
    running = burning.start("cutover", "away")
    burning.until("away", MoveState.PARKED, running)
    here.source.refuse = True
    rule = here.source.add(Rule("to_server", Reset(), after_bytes=0, times=None))
    here.openldap.halt()
    time.sleep(SLAPD_AWAY)
    here.openldap.start()
    time.sleep(SOURCE_AWAY - SLAPD_AWAY)
    here.source.refuse = False
    here.source.rules.remove(rule)
    here.restart_postfix()
    done = running.end(120)
    assert done.code in (0, 1), (done.code, done.err[-3000:])
    states = burning.states("away")
    assert set(states.values()) <= {MoveState.SEEDED, *MOVED}, states  # who was not parked yet stays on Exchange
    assert any(state in MOVED for state in states.values()), burning.errors("away")
    burning.wave("cutover", "away")
    assert set(burning.states("away").values()) == {MoveState.RELEASED}
    assert len(people) == len(burning.states("away"))


def _back_in_the_middle(burning: Fire, people: list[str]) -> None:
    """Ctrl-C while people are parked: whoever is not switched is on Exchange again, and nobody waits; also when it was
    killed on the way back."""
    running = burning.start("cutover", "stopped")
    burning.until("stopped", MoveState.PARKED, running)
    interrupt(running)
    states = burning.states("stopped")
    assert set(states.values()) <= {MoveState.SEEDED, *MOVED}, states
    routes = burning.acme.routes()
    uids = {one.mail: one.uid for one in burning.moving}
    assert all(routes[uids[mail]] == ("local" if states[mail] in MOVED else "exchange") for mail in people)
    running = burning.start("cutover", "stopped")
    burning.until("stopped", MoveState.PARKED, running)
    os.killpg(running.process.pid, signal.SIGINT)
    burning.until("stopped", MoveState.UNPARKING, running)
    kill(running)
    burning.wave("cutover", "stopped", codes=(0, 1, 75))  # not 0: for some it ends the way back, and no more
    burning.wave("cutover", "stopped")
    assert set(burning.states("stopped").values()) == {MoveState.RELEASED}


def _verification_fails(burning: Fire, people: list[str]) -> None:
    """Somebody's open mailbox has lost a message that was brought: that one stays, the others move."""
    victim = next(one for one in burning.moving if one.mail == people[0])
    store = _dovecot(burning, burning.store(victim.mail))
    assert isinstance(store, OpenDovecot)
    (first, *_) = store.doveadm("search", "-u", victim.uid, "mailbox", "INBOX", "all").splitlines()
    store.doveadm("expunge", "-u", victim.uid, "mailbox", "INBOX", "uid", first.split()[1])
    burning.wave("cutover", "poor", codes=(1,))
    states = burning.states("poor")
    assert states.pop(victim.mail) is MoveState.SEEDED
    assert set(states.values()) == {MoveState.RELEASED}
    assert "Poor" in burning.errors("poor")[victim.mail]
    assert burning.acme.routes()[victim.uid] == "exchange"


def _rolled_back(burning: Fire, people: list[str]) -> None:
    """Half of a wave goes back after it was switched, with what it got since."""
    _active(burning, people[0], OWN)
    burning.wave("cutover", "back")
    assert {_active(burning, mail) for mail in people} == {"mailferry"}
    deadline = time.monotonic() + 30  # they get mail on the open side, which their rules file
    while not all(_filed(burning, mail) for mail in people[:2]):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    back = [option for mail in people[::2] for option in ("--only", mail)]
    running = burning.start("rollback", "back", *back)
    burning.until("back", MoveState.RETURNING, running)
    kill(running)
    burning.wave("rollback", "back", *back)
    states = burning.states("back")
    assert {states[mail] for mail in people[::2]} == {MoveState.ROLLED_BACK}, burning.errors("back")
    assert {states[mail] for mail in people[1::2]} <= MOVED
    assert [_active(burning, mail) for mail in people[:4]] == ["mine", "mailferry", "", "mailferry"]


def test_twelve_people_in_two_waves(burning_ad: Fire, record_property: Record) -> None:
    """The first wave is killed while somebody is parked, and goes on; half of the second goes back."""
    plain = [one for one in burning_ad.moving if one.plain][:PEOPLE_AD]
    assert len(plain) == PEOPLE_AD
    first, second = plain[: PEOPLE_AD // 2], plain[PEOPLE_AD // 2 :]
    for name, people in (("first", first), ("second", second)):
        burning_ad.plan(name, people)
        burning_ad.wave("seed", name)
    running = burning_ad.start("cutover", "first")
    burning_ad.until("first", MoveState.PARKED, running)
    kill(running)
    burning_ad.wave("cutover", "first")
    burning_ad.wave("cutover", "second")
    back = [one.mail for one in second[::2]]
    burning_ad.wave("rollback", "second", *(option for mail in back for option in ("--only", mail)))
    burning_ad.wave("sweep", "first")
    assert set(burning_ad.states("first").values()) == {MoveState.SWEPT}
    states = burning_ad.states("second")
    assert {states.pop(mail) for mail in back} == {MoveState.ROLLED_BACK}
    assert set(states.values()) == {MoveState.RELEASED}
    verdict = burning_ad.judged()
    record_property("verdict", str(verdict))
    record_property("parked, median", statistics.median(burning_ad.parked_seconds().values()))
    assert not verdict.wrong, verdict
    assert all(burning_ad.load.doors().values()), burning_ad.load.doors()
    gone_back = {one.uid for one in second[::2]}
    placed = burning_ad.acme.placed()
    assert {placed[uid] for uid in gone_back} == {("exchange", "")}, "nothing of ours is left but the mark"
