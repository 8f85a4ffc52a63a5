"""The target that fails: each kind of fault does what it says, once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from mailferry.errors import ItemError, LocalProtocolError, Permanent, Temporary
from mailferry.model.folder import INBOX
from mailferry.model.message import Date, Failed, MemoryBody, Message, Reason
from mailferry.net.memory import MemoryStore
from mailferry.targets.base import Stored
from mailferry.targets.failing import Ending, FailingTarget, FailingTargetSession, Fault, Killed, Operation, Script
from mailferry.targets.memory import MemoryTarget

MESSAGES = [Message(uid, 0, (), Date(uid), MemoryBody(b"%d" % uid)) for uid in (11, 12, 13)]


def target(*faults: Fault) -> tuple[FailingTarget, MemoryStore]:
    store = MemoryStore("inner")
    return FailingTarget(MemoryTarget(store), Script(list(faults))), store


async def opened(failing: FailingTarget) -> FailingTargetSession:
    session = await failing.session()
    await session.select((await session.folders())[0])
    return session


def there(store: MemoryStore) -> list[bytes]:
    return [kept.data for kept in store.folder(INBOX).messages.values()]


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


@pytest.mark.parametrize(
    ("ending", "error"),
    [(Ending.TEMPORARY, Temporary), (Ending.KILLED, Killed), (Ending.PERMANENT, Permanent)],
)
@pytest.mark.parametrize(("done", "stored"), [(0, []), (2, [b"11", b"12"]), (None, [b"11", b"12", b"13"])])
def test_append_fails_after_so_many_messages_and_ends_the_session(
    ending: Ending, error: type[BaseException], done: int | None, stored: list[bytes]
) -> None:
    failing, store = target(Fault(Operation.APPEND, ending, done))

    async def work() -> None:
        session = await opened(failing)
        with pytest.raises(error):
            await session.append(MESSAGES)
        assert there(store) == stored
        with pytest.raises(LocalProtocolError):
            await session.append(MESSAGES)
        again = await opened(failing)
        assert len(await again.append(MESSAGES)) == 3

    run(work())


def test_late_bytes_arrive_after_so_many_operations() -> None:
    failing, store = target(Fault(Operation.APPEND, Ending.KILLED, None, late=3))

    async def work() -> None:
        session = await opened(failing)
        with pytest.raises(Killed):
            await session.append(MESSAGES)
        session = await failing.session()
        await session.folders()
        assert there(store) == []
        await session.folders()
        assert there(store) == [b"11", b"12", b"13"]

    run(work())


def test_late_bytes_can_be_settled_at_once() -> None:
    failing, store = target(Fault(Operation.APPEND, Ending.TEMPORARY, 1, late=99))

    async def work() -> None:
        session = await opened(failing)
        with pytest.raises(Temporary):
            await session.append(MESSAGES)
        await failing.settle()
        assert there(store) == [b"11"]

    run(work())


def test_refused_messages_and_a_refused_folder_leave_the_session_alive() -> None:
    failing, store = target(Fault(Operation.SELECT, Ending.ITEM, skip=1))
    failing.script.refuse[12] = (Reason.REFUSED, "not this one")

    async def work() -> None:
        session = await opened(failing)
        with pytest.raises(ItemError):
            await session.select((await session.folders())[0])
        results = await session.append(MESSAGES)
        assert results == [Stored(1), Failed(12, Reason.REFUSED, "not this one"), Stored(2)]
        assert there(store) == [b"11", b"13"]

    run(work())


def test_reading_is_cut_after_so_many_items() -> None:
    failing, _ = target(Fault(Operation.FETCH, Ending.TEMPORARY, 2))

    async def work() -> None:
        session = await opened(failing)
        await session.append(MESSAGES)
        got = []
        with pytest.raises(Temporary):
            async for item in session.fetch([1, 2, 3]):
                got.append(item.uid)
        assert got == [1, 2]

    run(work())
