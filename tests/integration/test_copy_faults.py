"""The engine where things go wrong, on memory stores: lost connections and deaths at every point, late commits, poison
messages, leases, pause, cancellation. Real processes and servers: tests/e2e."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path as FilePath
from typing import Any

import pytest

from mailferry.copy.lease import leased
from mailferry.copy.mailbox import copy_mailbox
from mailferry.copy.work import Engine
from mailferry.errors import Busy, Fenced, Permanent, Temporary
from mailferry.ledger.owner import owner_text
from mailferry.ledger.writer import LedgerThread
from mailferry.model.folder import Path
from mailferry.model.message import Failed, Message, Reason
from mailferry.model.state import State
from mailferry.net.memory import MemoryOptions
from mailferry.sources.memory import MemorySource, MemorySourceSession
from mailferry.targets.base import Stored
from mailferry.targets.memory import MemoryTarget, MemoryTargetSession
from tests.stateful.world import (
    FAST,
    INBOX,
    Ending,
    Fault,
    Killed,
    Operation,
    World,
    bodies,
    fill,
    held,
    kept,
    same,
    text,
)

WORK: Path = ("Work",)
PLAY: Path = ("Play",)


@pytest.fixture
def make(tmp_path: FilePath) -> Iterator[Callable[..., World]]:
    number = 0

    def made(**options: Any) -> World:
        nonlocal number
        number += 1
        return World(tmp_path / f"{number}.db", **options)

    yield made


def busy(w: World) -> World:
    """A mailbox where the next pass has everything to do: seed, adopt, carry flags, move, look for what vanished."""
    uids = fill(w.a, INBOX, range(8), flags=1)
    w.a.add_folder(PLAY)
    w.run()
    w.a.set_flags(INBOX, uids[0], 4, ("k",))
    w.a.move(INBOX, uids[1], PLAY)
    w.a.move(INBOX, uids[2], INBOX)
    fill(w.a, INBOX, ["new", "twice", "twice"])
    fill(w.a, WORK, range(20, 26))
    fill(w.b, WORK, range(20, 23))
    w.a.folder(WORK).subscribed = True
    w.a.folder(WORK).acl["anna"] = "lr"
    w.a.folder(WORK).metadata["/private/comment"] = b"x"
    return w


def deaths() -> Iterator[tuple[Operation, int | None, int]]:
    for operation in Operation:
        for skip in range(2):
            for done in (0, None) if operation not in (Operation.APPEND, Operation.REMOVE) else (0, 1, 2, None):
                yield operation, done, skip


@pytest.mark.parametrize("uidplus", [True, False])
@pytest.mark.parametrize("operation", Operation)
def test_connections_lost_at_every_operation(make: Callable[..., World], operation: Operation, uidplus: bool) -> None:
    """One pass, which tries again by itself."""
    for _, done, skip in (point for point in deaths() if point[0] is operation):
        w = busy(make(target=MemoryOptions(uidplus=uidplus)))
        w.run(Fault(operation, Ending.TEMPORARY, done, skip=skip))
        _complete(w, uidplus)


@pytest.mark.parametrize("operation", Operation)
def test_deaths_at_every_operation(make: Callable[..., World], operation: Operation) -> None:
    for _, done, skip in (point for point in deaths() if point[0] is operation):
        w = busy(make())
        try:
            w.run(Fault(operation, Ending.KILLED, done, skip=skip))
        except Killed:
            w.run()
        _complete(w)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_deaths_at_every_write_of_the_ledger(make: Callable[..., World], after: bool) -> None:
    write = 1
    while True:
        w = busy(make())
        try:
            w.run(dies_at=write, after=after)
            break
        except Killed:
            w.run()
        _complete(w)
        write += 1
    assert write > 15


def test_deaths_again_and_again(make: Callable[..., World]) -> None:
    """Every run dies one write later than the one before: progress is kept, nothing comes twice."""
    w = busy(make())
    for write in range(4, 60):
        try:
            w.run(dies_at=write, after=write % 2 == 0)
        except Killed:
            continue
        break
    _complete(w)


def _complete(w: World, uidplus: bool = True) -> None:
    if uidplus:
        same(w.a, w.b)
    else:  # what moved cannot be removed from such a target; it is listed
        for path in w.a.paths():
            assert bodies(w.b, path) >= bodies(w.a, path), path
        extra = sum(len(kept(w.b, path)) - len(kept(w.a, path)) for path in w.a.paths())
        listed = [failure for failure in w.failures() if failure.reason is Reason.DUPLICATE]
        assert extra == len(listed) == 2
    assert w.b.folder(WORK).subscribed
    assert w.b.folder(WORK).acl == {"anna": "lr"}
    assert w.b.folder(WORK).metadata == {"/private/comment": b"x"}
    for path in w.a.paths():
        rows = w.rows(path)
        assert State.PENDING not in {row.state for row in rows.values()}
        for uid in w.a.folder(path).messages:
            assert w.b.folder(path).messages[rows[uid].target_uid or 0].data == w.a.folder(path).messages[uid].data


# Late commits


@pytest.mark.parametrize("done", [1, 3, None])
@pytest.mark.parametrize("ending", [Ending.KILLED, Ending.TEMPORARY])
@pytest.mark.parametrize("late", [1, 5, 12, 200])
def test_bytes_of_a_dead_sender_that_arrive_late(
    make: Callable[..., World], ending: Ending, late: int, done: int | None
) -> None:
    w = make()
    fill(w.b, INBOX, ["theirs"])
    fill(w.a, INBOX, [1, 2, 3, 3, 3, 4, 5])
    twins = 0
    try:
        twins += w.run(Fault(Operation.APPEND, ending, done, late)).twins
    except Killed:
        twins += w.run().twins
    w.settle_late()
    person = w.b.add(INBOX, text("a person's own"))
    twins += w.run().twins
    assert bodies(w.b) == bodies(w.a) + type(bodies(w.a))([text("theirs"), text("a person's own")])
    assert person in w.b.folder(INBOX).messages
    assert twins <= 3
    same_again = bodies(w.b)
    assert w.run().twins == 0
    assert bodies(w.b) == same_again


def test_late_bytes_of_two_dead_senders(make: Callable[..., World]) -> None:
    w = make()
    fill(w.a, INBOX, range(5))
    for _ in range(2):
        with pytest.raises(Killed):
            w.run(Fault(Operation.APPEND, Ending.KILLED, None, late=1000))
    w.run()
    ((first, second),) = [w.failing._late]
    for late in (first, second):
        asyncio.run(w.failing._arrive([late]))
        w.run()
    same(w.a, w.b)


def test_a_second_crash_while_the_first_is_watched(make: Callable[..., World]) -> None:
    w = make()
    fill(w.a, INBOX, range(3))
    with pytest.raises(Killed):
        w.run(Fault(Operation.APPEND, Ending.KILLED, None, late=1000))
    w.run()
    w.settle_late()
    assert len(kept(w.b)) == 6, "the twins are there, and the next run dies before it can look for them"
    fill(w.a, INBOX, range(10, 13))
    with pytest.raises(Killed):
        w.run(Fault(Operation.APPEND, Ending.KILLED, 0))
    w.run()
    same(w.a, w.b)


def test_twins_are_removed_from_a_folder_that_needs_nothing_else(make: Callable[..., World]) -> None:
    w = make()
    fill(w.a, WORK, range(3))
    with pytest.raises(Killed):
        w.run(Fault(Operation.APPEND, Ending.KILLED, None, late=1000))
    w.run()
    w.settle_late()
    assert w.run().twins == 3
    same(w.a, w.b)


def test_the_late_wait_is_kept_though_a_later_attempt_resumed_nothing(make: Callable[..., World]) -> None:
    w = make()
    fill(w.a, INBOX, range(3))
    with pytest.raises(Killed):
        w.run(Fault(Operation.APPEND, Ending.KILLED, 0))
    loop_times: list[float] = []

    async def body() -> None:
        start = asyncio.get_running_loop().time()
        await w.a_run(Fault(Operation.FINISH, Ending.TEMPORARY), late_commit_wait=0.3)
        loop_times.append(asyncio.get_running_loop().time() - start)

    asyncio.run(body())
    assert loop_times[0] >= 0.3


# Retries


def test_patience_has_an_end_and_what_came_is_kept(make: Callable[..., World]) -> None:
    w = make()
    fill(w.a, INBOX, range(9))
    faults = [Fault(Operation.LISTING, Ending.TEMPORARY) for _ in range(20)]
    fill(w.b, INBOX, ["theirs"])
    with pytest.raises(Temporary):
        w.run(*faults)
    assert len(w.failing.script.faults) == 20 - w.policy.patience
    assert w.run().copied == 9


def test_as_long_as_messages_come_it_goes_on(make: Callable[..., World]) -> None:
    """One folder per attempt, the fullest first: more attempts than its patience, each with fewer messages."""
    w = make()
    for number in range(10):
        fill(w.a, (f"F{number}",), [f"{number}-{n}" for n in range(12 - number)])
    faults = [Fault(Operation.APPEND, Ending.TEMPORARY, 0, skip=2) for _ in range(10)]
    counts = w.run(*faults, patience=3, chunk_messages=20)
    same(w.a, w.b)
    assert counts.copied == counts.listed


def test_a_full_target_ends_it_at_once(make: Callable[..., World]) -> None:
    w = make()
    fill(w.a, INBOX, range(9))
    with pytest.raises(Permanent):
        w.run(Fault(Operation.APPEND, Ending.PERMANENT, 0), Fault(Operation.APPEND, Ending.PERMANENT, 0))
    assert w.run().copied == 9


# Messages that break connections


class BreakingSource(MemorySource):
    """Reading one of `poison` ends the connection; `after` it has given what comes before."""

    def __init__(self, store: Any, poison: set[int], retry_after: float | None = None) -> None:
        super().__init__(store)
        self.poison = poison
        self.retry_after = retry_after
        self.breaks = 1000

    async def session(self) -> MemorySourceSession:
        session = await super().session()
        fetch = session.fetch

        async def broken(uids: Sequence[int]) -> AsyncIterator[Message | Failed]:
            async for item in fetch(uids):
                if item.uid in self.poison and self.breaks:
                    self.breaks -= 1
                    raise Temporary("connection reset", retry_after=self.retry_after)
                yield item

        session.fetch = broken  # type: ignore[method-assign]
        return session


class BreakingTarget(MemoryTarget):
    """Storing one of `poison` ends the connection."""

    def __init__(self, store: Any, poison: set[int]) -> None:
        super().__init__(store)
        self.poison = poison

    async def session(self) -> MemoryTargetSession:
        session = await super().session()
        append = session.append

        async def broken(messages: Sequence[Message]) -> list[Stored | Failed]:
            for number, message in enumerate(messages):
                if message.uid in self.poison:
                    await append(messages[:number])
                    raise Temporary("connection reset")
            return await append(messages)

        session.append = broken  # type: ignore[method-assign]
        return session


@pytest.mark.parametrize("poison", [{1}, {7}, {20}, {4, 5}, {1, 20}])
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_message_that_breaks_connections_is_a_failure_and_all_others_come(
    make: Callable[..., World], side: str, poison: set[int]
) -> None:
    w = make()
    fill(w.a, INBOX, range(20))
    if side == "source":
        w.source = BreakingSource(w.a, poison)
    else:
        w.target = BreakingTarget(w.b, poison)
    for _ in range(2):
        counts = w.run()
        assert counts.failed == len(poison)
        assert {f.source_uid for f in w.failures()} == poison
        assert {f.reason for f in w.failures()} == {Reason.BREAKS_CONNECTION}
        assert len(kept(w.b)) == 20 - len(poison)
    w.source, w.target = MemorySource(w.a), MemoryTarget(w.b)
    assert w.run().failed == 0
    same(w.a, w.b)


def test_a_server_that_asks_for_pauses_condemns_nobody(make: Callable[..., World]) -> None:
    w = make()
    fill(w.a, INBOX, range(5))
    source = BreakingSource(w.a, {2}, retry_after=0.001)
    source.breaks = 4
    w.source = source
    assert w.run().failed == 0
    same(w.a, w.b)


def test_a_target_that_loses_connections_condemns_no_message_that_is_being_read(make: Callable[..., World]) -> None:
    w = make()
    fill(w.a, INBOX, range(30))
    counts = w.run(*[Fault(Operation.APPEND, Ending.TEMPORARY, 0) for _ in range(4)], budget_bytes=400)
    assert counts.failed == 0
    same(w.a, w.b)


# Leases


def test_two_engines_at_once(make: Callable[..., World]) -> None:
    w = make()
    fill(w.a, INBOX, range(5))

    async def body() -> None:
        async with LedgerThread(w.place) as one, LedgerThread(w.place) as two:
            async with leased(one, "a", "b", 60):
                with pytest.raises(Busy, match="has been working on this mailbox"):
                    async with leased(two, "a", "b", 60):
                        raise AssertionError("two at once")
            async with leased(two, "a", "b", 60):
                pass

    asyncio.run(body())


class WaitingTarget(MemoryTarget):
    """One operation waits at a gate."""

    def __init__(self, store: Any, operation: str) -> None:
        super().__init__(store)
        self.operation = operation
        self.reached = asyncio.Event()
        self.gate = asyncio.Event()
        self.calls = 0

    async def session(self) -> MemoryTargetSession:
        session = await super().session()
        real = getattr(session, self.operation)

        async def waits(*args: Any) -> Any:
            self.calls += 1
            self.reached.set()
            await self.gate.wait()
            return await real(*args)

        setattr(session, self.operation, waits)
        return session


@pytest.mark.parametrize("operation", ["select", "listing", "append", "finish"])
def test_a_worker_whose_lease_was_taken_over_writes_nothing_more(make: Callable[..., World], operation: str) -> None:
    w = make()
    uids = fill(w.a, INBOX, range(8), flags=1)
    w.a.add_folder(WORK)
    w.run()
    w.a.set_flags(INBOX, uids[0], 4)
    w.a.move(INBOX, uids[1], WORK)
    fill(w.a, INBOX, range(20, 26))
    fill(w.a, ("Play",), range(30, 33))
    fill(w.b, ("Play",), ["theirs"])

    async def body() -> tuple[list[Any], list[Any]]:
        target = WaitingTarget(w.b, operation)
        async with LedgerThread(w.place) as ledger:
            engine = Engine.of(ledger, FAST)
            lease = await w.lease(ledger)
            work = asyncio.ensure_future(copy_mailbox(engine, w.source, target, lease))
            await target.reached.wait()
            await w.lease(ledger)
            before = [await ledger.call(lambda db: _all(db))]
            there = (
                [list(w.b.folder(path).messages) for path in w.b.paths()],
                [m.flags for path in w.b.paths() for m in kept(w.b, path)],
            )
            target.gate.set()
            if operation == "finish":
                with pytest.raises(Fenced):
                    await work
                    raise Fenced("the pass had nothing left to write")
            else:
                with pytest.raises(Fenced):
                    await work
            assert (engine.budget.held, engine.in_flight) == (0, 0)
            if operation != "append":  # what was on its way may arrive
                assert there == (
                    [list(w.b.folder(path).messages) for path in w.b.paths()],
                    [m.flags for path in w.b.paths() for m in kept(w.b, path)],
                )
            return before, [await ledger.call(lambda db: _all(db))]

    before, after = asyncio.run(body())
    assert before == after
    w.run()
    assert {path: bodies(w.a, path) for path in w.a.paths()} == {
        path: bodies(w.b, path) - type(bodies(w.b))([text("theirs")]) for path in w.a.paths()
    }


def _all(db: Any) -> list[Any]:
    mailboxes = db.mailboxes()
    folders = [db.folders(mailbox.id) for mailbox in mailboxes]
    return [mailboxes, folders, [db.messages(row.id) for rows in folders for row in rows], db.failures(), db.passes()]


def test_a_lease_that_is_lost_ends_the_work_at_once(make: Callable[..., World]) -> None:
    w = make()
    fill(w.a, INBOX, range(4))

    async def body() -> None:
        target = WaitingTarget(w.b, "append")
        async with LedgerThread(w.place) as ledger, LedgerThread(w.place) as other:
            engine = Engine.of(ledger, FAST)

            async def work() -> None:
                async with leased(ledger, w.source.key, target.key, 0.3) as lease:
                    await copy_mailbox(engine, w.source, target, lease)

            async def take_over() -> None:
                mailbox = await other.write(lambda db: db.mailbox(w.source.key, target.key))
                await other.write(lambda db: db.acquire(mailbox.id, owner_text(), 60))

            running = asyncio.ensure_future(work())
            await target.reached.wait()
            with pytest.raises(Busy):  # its holder lives
                await take_over()
            await other.write(_expire)
            await take_over()
            with pytest.raises(Fenced):
                await asyncio.wait_for(running, 5)
            assert (engine.budget.held, engine.in_flight) == (0, 0)

    asyncio.run(body())


def _expire(db: Any) -> None:
    import sqlalchemy as sa

    db._open.execute(sa.text("UPDATE mailbox SET lease_until = 0"))


# Pause and cancellation


def test_a_pause_sends_nothing_and_goes_on(make: Callable[..., World]) -> None:
    w = make()
    uids = fill(w.a, INBOX, range(8), flags=1)
    w.run()
    w.a.set_flags(INBOX, uids[0], 4)
    fill(w.a, INBOX, range(20, 26))

    async def body() -> None:
        w.started = lambda engine: engine.gate.clear()
        running = asyncio.ensure_future(w.a_run())
        await asyncio.sleep(0.2)
        assert len(kept(w.b)) == 8
        assert {m.flags for m in kept(w.b)} == {1}
        assert not running.done()
        assert w.engine is not None
        w.engine.gate.set()
        await asyncio.wait_for(running, 10)

    asyncio.run(body())
    same(w.a, w.b)


def test_a_pause_in_mid_stream_lets_only_what_is_on_its_way_arrive(make: Callable[..., World]) -> None:
    w = make()
    fill(w.a, INBOX, range(30))

    async def body() -> None:
        target = WaitingTarget(w.b, "append")
        w.target = target
        running = asyncio.ensure_future(w.a_run())
        await target.reached.wait()
        assert w.engine is not None
        w.engine.gate.clear()
        target.gate.set()
        await asyncio.sleep(0.2)
        assert 0 < len(kept(w.b)) <= 3 * 3
        assert w.engine.in_flight == 0
        w.engine.gate.set()
        await asyncio.wait_for(running, 10)

    asyncio.run(body())
    same(w.a, w.b)


@pytest.mark.parametrize("budget", [150, 1 << 20])
def test_cancelled_at_any_moment_nothing_leaks_and_the_next_run_goes_on(
    make: Callable[..., World], budget: int
) -> None:
    """`a_run` checks that the byte budget and the count of chunks in flight are back at zero."""
    w = make()
    fill(w.a, INBOX, range(30))

    async def cancelled_after(steps: int) -> bool:
        running = asyncio.ensure_future(w.a_run(budget_bytes=budget))
        for _ in range(steps):
            await asyncio.sleep(0)
            if running.done():
                break
        running.cancel()
        try:
            await running
        except asyncio.CancelledError:
            return True
        return False

    steps = 1
    while asyncio.run(cancelled_after(steps)):
        steps = steps * 2 if steps < 64 else steps + 150
    w.run()
    same(w.a, w.b)


def test_mailboxes_that_share_a_small_budget(make: Callable[..., World]) -> None:
    first, second = make(), make()
    second.place = first.place
    second.a.key, second.b.key = "memory:c", "memory:d"
    second.source, second.target = MemorySource(second.a), MemoryTarget(second.b)
    for w in (first, second):
        fill(w.a, INBOX, range(40))
        w.a.add(INBOX, text("large", more="x" * 5000))

    async def body() -> None:
        async with LedgerThread(first.place) as ledger:
            engine = Engine.of(ledger, FAST)
            engine.budget.size = 400
            leases = [await w.lease(ledger) for w in (first, second)]
            work = [
                copy_mailbox(engine, w.source, w.target, lease)
                for w, lease in zip((first, second), leases, strict=True)
            ]
            await asyncio.wait_for(asyncio.gather(*work), 30)
            assert (engine.budget.held, engine.in_flight) == (0, 0)

    asyncio.run(body())
    same(first.a, first.b)
    same(second.a, second.b)


# The source changes while it is read


def test_messages_that_vanish_between_listing_and_reading_are_not_listed(make: Callable[..., World]) -> None:
    w = make()
    uids = fill(w.a, INBOX, range(10))

    class Vanishing(MemorySource):
        async def session(self) -> MemorySourceSession:
            session = await super().session()
            listing = session.listing

            async def then_gone(since: int | None = None) -> Any:
                found = await listing(since)
                for uid in (uids[0], uids[4], uids[9]):
                    w.a.remove(INBOX, uid)
                return found

            session.listing = then_gone  # type: ignore[assignment]
            return session

    w.source = Vanishing(w.a)
    counts = w.run()
    assert (counts.listed, counts.copied) == (7, 7)
    assert w.run().gone == 0
    same(w.a, w.b)


def test_a_message_that_was_pending_when_it_vanished_is_done_with(make: Callable[..., World]) -> None:
    for source_wins in (True, False):
        for modseq in (True, False):
            w = make(source=MemoryOptions(modseq=modseq))
            uids = fill(w.a, INBOX, range(6))
            w.run()
            new = fill(w.a, INBOX, range(20, 23))
            with pytest.raises(Killed):
                w.run(Fault(Operation.APPEND, Ending.KILLED, 1))
            w.a.remove(INBOX, new[1])
            w.a.remove(INBOX, uids[0])
            fill(w.a, INBOX, ["later"])
            counts = w.run(source_wins=source_wins)
            assert (counts.copied, counts.listed) == (2, 8)
            assert State.PENDING not in w.states().values()
            fill(w.a, INBOX, ["last"])
            counts = w.run(source_wins=source_wins)
            assert (counts.copied, counts.listed) == (1, 9)
            assert bodies(w.b) == bodies(w.a) + type(bodies(w.a))([text(0)])


def test_flags_that_change_after_the_listing_come_with_the_message_or_the_next_pass(make: Callable[..., World]) -> None:
    w = make()
    fill(w.a, INBOX, range(3))

    class Flagging(MemorySource):
        async def session(self) -> MemorySourceSession:
            session = await super().session()
            listing = session.listing

            async def then_flagged(since: int | None = None) -> Any:
                found = await listing(since)
                assert isinstance(found.messages, list)
                for uid in list(w.a.folder(INBOX).messages):
                    w.a.set_flags(INBOX, uid, 5)
                return found

            session.listing = then_flagged  # type: ignore[assignment]
            return session

    w.source = Flagging(w.a)
    w.run()
    w.run()
    same(w.a, w.b)
    assert {m.flags for m in kept(w.b)} == {5}


def test_a_folder_that_is_renamed_after_a_death_leaves_nothing_behind(make: Callable[..., World]) -> None:
    w = make()
    fill(w.a, INBOX, ["i"])
    fill(w.a, WORK, range(3))
    with pytest.raises(Killed):
        w.run(Fault(Operation.APPEND, Ending.KILLED, 2, skip=1), chunk_messages=3)
    w.a.rename(WORK, PLAY)
    w.run()
    assert held(w.b, PLAY) == held(w.a, PLAY)
    assert not kept(w.b, WORK)
