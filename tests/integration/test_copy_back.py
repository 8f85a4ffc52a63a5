"""The way back: what is new on the open side goes to Exchange once, and never comes as new again, to either side."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path as FilePath
from random import Random
from typing import Any

import pytest

from mailferry.copy import lease as leases
from mailferry.copy.backwards import copy_back
from mailferry.copy.lease import leased
from mailferry.copy.mailbox import copy_mailbox
from mailferry.copy.progress import Counts
from mailferry.copy.work import Engine
from mailferry.errors import Busy, SafetyStop
from mailferry.ledger.writer import LedgerThread
from mailferry.model.folder import Path
from mailferry.model.message import Flag, Reason
from mailferry.net.memory import MemoryOptions, MemoryStore
from mailferry.sources.memory import MemorySource
from mailferry.targets.failing import FailingTarget
from mailferry.targets.memory import MemoryTarget
from tests.stateful.world import (
    INBOX,
    Ending,
    Fault,
    Killed,
    Life,
    MortalLedger,
    MortalScript,
    Operation,
    World,
    a_dead_owner,
    bodies,
    fill,
    kept,
    same,
    text,
)

WORK: Path = ("Work",)
SENT: Path = ("Sent",)
NEW: Path = ("New",)


class Both(World):
    """`a` is Exchange, `b` the open side; passes go both ways."""

    def back(self, *faults: Fault, dies_at: int | None = None, after: bool = False, refuse: Any = None) -> Counts:
        return asyncio.run(self._back(faults, dies_at, after, refuse or {}))

    async def _back(self, faults: tuple[Fault, ...], dies_at: int | None, after: bool, refuse: Any) -> Counts:
        life = Life()
        exchange = FailingTarget(MemoryTarget(self.a))
        exchange.script = MortalScript(list(faults), refuse, life=life)
        try:
            async with MortalLedger(self.place, life, dies_at, after) as ledger:
                engine = Engine.of(ledger, self.policy)
                async with leased(ledger, self.source.key, self.target.key, 60) as lease:
                    counts = await copy_back(engine, exchange, MemorySource(self.b), lease)
                    assert counts.balanced, counts
                    return counts
        finally:
            await exchange.settle()

    def sweep(self) -> Counts:
        return self.run(source_wins=False)


@pytest.fixture
def world(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Both]:
    monkeypatch.setattr(leases, "owner_text", a_dead_owner)  # in this process, the dead leave their leases behind

    def make(**options: Any) -> Both:
        return Both(tmp_path / "ledger.db", **options)

    return make


@pytest.fixture(params=["modseq", "plain"])
def switched(request: pytest.FixtureRequest, world: Callable[..., Both]) -> Both:
    """Twelve messages in INBOX and Work, two of them identical, and one deleted on Exchange before the switch."""
    w = world(
        source=MemoryOptions(modseq=request.param == "modseq"), target=MemoryOptions(modseq=request.param == "modseq")
    )
    fill(w.a, INBOX, [*range(8), "twin", "twin"])
    fill(w.a, WORK, range(100, 103))
    w.a.add_folder(SENT)
    w.run()
    w.a.remove(INBOX, min(w.a.folder(INBOX).messages))
    w.run()
    return w


def all_of(store: MemoryStore) -> Counter[bytes]:
    total: Counter[bytes] = Counter()
    for path in store.paths():
        total += bodies(store, path)
    return total


def uid_of(store: MemoryStore, name: object, path: Path = INBOX) -> int:
    return next(m.uid for m in kept(store, path) if m.data == text(name))


def test_nothing_new_brings_nothing(switched: Both) -> None:
    before = all_of(switched.a)
    counts = switched.back()
    assert (counts.copied, counts.flags) == (0, 0)
    assert all_of(switched.a) == before
    assert switched.back().copied == 0


def test_received_sent_drafted_and_new_folders_go_back_with_their_marks(switched: Both) -> None:
    w = switched
    fill(w.b, INBOX, ["received", "twin"], flags=int(Flag.SEEN), keywords=("mine",))
    fill(w.b, SENT, ["sent"])
    fill(w.b, NEW, ["filed"], flags=int(Flag.FLAGGED))
    w.b.set_flags(INBOX, uid_of(w.b, 3), int(Flag.SEEN | Flag.ANSWERED), ())
    before = all_of(w.a)
    counts = w.back()
    assert counts.copied == 4
    assert all_of(w.a) == before + Counter([text("received"), text("twin"), text("sent"), text("filed")])
    assert bodies(w.a, INBOX)[text("twin")] == 3
    (came,) = [m for m in kept(w.a) if m.data == text("received")]
    assert (came.flags, came.keywords) == (int(Flag.SEEN), ("mine",))
    (read,) = [m for m in kept(w.a) if m.data == text(3)]
    assert read.flags == Flag.SEEN | Flag.ANSWERED
    assert all_of(w.b) == before + Counter([text("received"), text("twin"), text("sent"), text("filed"), text(0)])
    for _ in range(2):
        assert (w.back().copied, w.run().copied, w.sweep().copied) == (0, 0, 0)
    assert all_of(w.a) == before + Counter([text("received"), text("twin"), text("sent"), text("filed")])


def test_what_was_moved_or_deleted_there_stays_on_exchange_once(switched: Both) -> None:
    w = switched
    before = all_of(w.a)
    w.b.add_folder(NEW)
    w.b.move(INBOX, uid_of(w.b, 1), WORK)
    w.b.move(INBOX, uid_of(w.b, 2), NEW)
    w.b.move(INBOX, uid_of(w.b, "twin"), NEW)
    w.b.remove(INBOX, uid_of(w.b, 4))
    assert w.back().copied == 0
    assert all_of(w.a) == before
    w.b.move(NEW, uid_of(w.b, 2, NEW), INBOX)
    w.b.add(WORK, text(2))  # a copy of it, made by hand
    assert w.back().copied == 1
    assert all_of(w.a) == before + Counter([text(2)])


def test_a_new_message_that_is_moved_between_two_passes_comes_once(switched: Both) -> None:
    w = switched
    fill(w.b, INBOX, ["received"])
    w.back()
    w.b.move(INBOX, uid_of(w.b, "received"), WORK)
    assert w.back().copied == 0
    assert all_of(w.a)[text("received")] == 1


def test_a_new_version_of_a_draft_comes_though_the_old_one_is_gone(switched: Both) -> None:
    """The same Message-ID and Date, other bytes."""
    w = switched
    w.b.remove(WORK, uid_of(w.b, 101, WORK))
    w.b.add(WORK, text(101, more="and more"))
    assert w.back().copied == 1
    assert bodies(w.a, WORK) == Counter([text(100), text(101), text(102), text(101, more="and more")])


def test_a_renamed_folder_does_not_come_twice(switched: Both) -> None:
    w = switched
    before = all_of(w.a)
    w.b.rename(WORK, NEW)
    fill(w.b, NEW, ["late"])
    assert w.back().copied == 1
    assert all_of(w.a) == before + Counter([text("late")])


def test_a_later_wave_makes_the_open_side_as_exchange_is(switched: Both) -> None:
    """What people did on either side meanwhile: nothing comes twice, and a verification finds nothing missing."""
    w = switched
    w.b.add_folder(NEW)
    fill(w.b, INBOX, ["received", "read and deleted"])
    w.b.move(INBOX, uid_of(w.b, 1), NEW)
    w.b.remove(INBOX, uid_of(w.b, 2))
    w.b.set_flags(INBOX, uid_of(w.b, 5), int(Flag.FLAGGED), ())
    w.back()
    w.b.remove(INBOX, uid_of(w.b, "read and deleted"))
    w.a.move(INBOX, uid_of(w.a, "received"), WORK)
    w.a.set_flags(INBOX, uid_of(w.a, 5), int(Flag.SEEN), ())
    fill(w.a, INBOX, ["on Exchange again"])
    w.run()
    w.b.remove(INBOX, uid_of(w.b, 0))  # deleted on Exchange before the switch, and kept
    same(w.a, w.b)
    assert w.run().copied == 0


def test_back_and_forth_and_back(switched: Both) -> None:
    w = switched
    for number in range(3):
        fill(w.b, INBOX, [f"open {number}", "again"])
        fill(w.b, SENT, [f"sent {number}"])
        assert w.back().copied == 3
        fill(w.a, INBOX, [f"exchange {number}", "again"])
        assert w.run().copied == 2
    w.b.remove(INBOX, uid_of(w.b, 0))
    same(w.a, w.b)
    assert all_of(w.a)[text("again")] == 6


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_write_of_the_ledger(world: Callable[..., Both], tmp_path: FilePath, after: bool) -> None:
    """And then gone on with, after a sweep in the other direction or without."""
    for number in range(1, 80):
        w = Both(tmp_path / f"{number}.db")
        fill(w.a, INBOX, range(5))
        w.run()
        fill(w.b, INBOX, ["x", "x", "y", "z"])
        fill(w.b, NEW, ["n"])
        w.b.move(INBOX, uid_of(w.b, 1), NEW)
        try:
            w.back(dies_at=number, after=after)
        except Killed:
            pass
        else:
            assert number > 15
            break
        if number % 2:
            w.sweep()
        w.back()
        assert all_of(w.a) == Counter(map(text, [*range(5), "x", "x", "y", "z", "n"])), number
        w.run()
        same(w.a, w.b)


@pytest.mark.parametrize("done", [0, 1, 2, None])
@pytest.mark.parametrize("late", [0, 40])
def test_killed_while_sending(switched: Both, done: int | None, late: int) -> None:
    w = switched
    before = all_of(w.a)
    fill(w.b, INBOX, ["x", "x", "y"])
    with pytest.raises(Killed):
        w.back(Fault(Operation.APPEND, Ending.KILLED, done, late))
    w.sweep()
    w.back()
    assert all_of(w.a) == before + Counter(map(text, ["x", "x", "y"]))
    assert w.run().copied == 0


def test_keywords_that_exchange_has_no_place_for(world: Callable[..., Both]) -> None:
    """A client gives every message its own; that is no change to carry, and nothing to list for each."""
    w = world(source=MemoryOptions(keywords=frozenset()))
    fill(w.a, INBOX, range(30))
    w.run()
    for message in kept(w.b):
        w.b.set_flags(INBOX, message.uid, int(Flag.SEEN) if message.uid % 3 == 0 else 0, ("NonJunk",))
    seen = sum(1 for message in kept(w.b) if message.flags)
    assert w.back().flags == seen == sum(1 for message in kept(w.a) if message.flags)
    assert w.back().flags == 0


def test_what_exchange_refuses_is_told_and_tried_again(switched: Both) -> None:
    w = switched
    fill(w.b, INBOX, ["small", "large"])
    counts = w.back(refuse={uid_of(w.b, "large"): (Reason.TOO_LARGE, "larger than 35 MB")})
    assert (counts.copied, counts.failed) == (1, 1)
    assert w.sweep().copied == 0
    assert w.back().copied == 1
    assert (all_of(w.a)[text("small")], all_of(w.a)[text("large")]) == (1, 1)


def test_a_forward_message_that_was_not_confirmed_does_not_go_back(switched: Both) -> None:
    w = switched
    fill(w.a, INBOX, ["straggler", "second"])
    before = all_of(w.a)
    with pytest.raises(Killed):
        w.run(Fault(Operation.APPEND, Ending.KILLED, 1), source_wins=False)
    assert w.back().copied == 0
    assert all_of(w.a) == before
    assert w.sweep().copied == 1


def test_another_mailbox_on_exchange_is_a_stop(switched: Both) -> None:
    w = switched
    fill(w.b, INBOX, ["received"])
    other = MemoryStore("a")
    fill(other, INBOX, ["somebody else's"])
    w.a = other
    with pytest.raises(SafetyStop, match="not the target mailbox"):
        w.back()
    assert all_of(other) == Counter([text("somebody else's")])


def test_the_two_directions_never_run_at_once(switched: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    w = switched
    fill(w.b, INBOX, ["received"])
    w.back()
    monkeypatch.undo()

    async def both() -> None:
        async with LedgerThread(w.place) as ledger, leased(ledger, w.target.key, w.source.key, 60):
            engine = Engine.of(ledger, w.policy)
            lease = await w.lease(ledger)
            with pytest.raises(Busy):
                await copy_mailbox(engine, w.source, w.target, lease)

    asyncio.run(both())


def test_a_target_that_tells_no_uids(world: Callable[..., Both]) -> None:
    """Neither side has UIDPLUS."""
    w = world(source=MemoryOptions(uidplus=False), target=MemoryOptions(uidplus=False))
    fill(w.a, INBOX, range(6))
    w.run()
    fill(w.b, INBOX, ["received"])
    before = all_of(w.a)
    w.back()
    w.back()
    assert all_of(w.a) == before + Counter([text("received")])
    assert w.run().copied == 0


@pytest.mark.parametrize("seed", range(16))
def test_living_there_at_random(world: Callable[..., Both], seed: int) -> None:
    """New messages, moves, deleted old ones, kills anywhere, sweeps, and either identical messages or folders renamed
    and made anew: in the end all that was new is on Exchange as often as it was made; after another wave nothing of
    Exchange lacks on the open side."""
    chance, renames = Random(seed), seed % 4 < 2
    modseq = seed % 2 == 0
    w = world(source=MemoryOptions(modseq=modseq), target=MemoryOptions(modseq=chance.random() < 0.7))
    fill(w.a, INBOX, [*range(6), "twin", "twin"])
    fill(w.a, WORK, range(10, 14))
    w.run()
    wanted = all_of(w.a)
    old = {text(name) for name in (*range(6), *range(10, 14))}
    for step in range(14):
        for _ in range(chance.randrange(4)):
            path = chance.choice(w.b.paths())
            uids = [m.uid for m in kept(w.b, path)]
            what = chance.randrange(6)
            if what < 2 or not uids:
                name = f"new {step}.{len(wanted)}" if renames else chance.choice(["twin", "again", f"new {step}"])
                w.b.add(path, text(name))
                wanted[text(name)] += 1
            elif what < 4:
                to = chance.choice([INBOX, WORK, NEW, SENT])
                w.b.add_folder(to)
                w.b.move(path, chance.choice(uids), to)
            elif what == 4:
                uid = chance.choice(uids)
                if w.b.folder(path).messages[uid].data in old:
                    w.b.remove(path, uid)
            elif renames and path not in (INBOX, SENT):
                w.b.rename(path, (f"Renamed {step}",))
        try:
            if chance.random() < 0.3:
                w.sweep()
            elif chance.random() < 0.5:
                w.back(dies_at=chance.randrange(1, 40), after=chance.random() < 0.5)
            else:
                done = chance.choice([0, 1, None])
                w.back(Fault(Operation.APPEND, Ending.KILLED, done, 0, chance.randrange(2)))
        except Killed:
            continue
    w.back()
    w.back()
    assert (wanted - all_of(w.a), all_of(w.a) - wanted) == (Counter(), Counter())
    w.run()
    w.run()
    for path in w.a.paths():
        assert bodies(w.a, path) - bodies(w.b, path) == Counter(), path
