"""The engine's small parts: `together`, the byte budget, the counts, repair."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailferry.copy.progress import Counts
from mailferry.copy.work import Suspects
from mailferry.errors import Temporary
from mailferry.plan.repair import repaired
from mailferry.tasks import Budget, together

# together


def test_together_runs_all_at_once() -> None:
    async def body() -> list[int]:
        met = asyncio.Barrier(3)
        seen: list[int] = []

        async def one(number: int) -> None:
            await met.wait()
            seen.append(number)

        await together(one(1), one(2), one(3))
        return seen

    assert sorted(asyncio.run(body())) == [1, 2, 3]


def test_together_raises_the_first_error_itself_after_the_others_have_ended() -> None:
    ended: list[str] = []

    async def fails() -> None:
        await asyncio.sleep(0)
        raise Temporary("first")

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("waits")

    with pytest.raises(Temporary, match="first"):
        asyncio.run(_coroutine(waits(), fails()))
    assert ended == ["waits"]


def test_of_errors_in_one_turn_of_the_loop_the_first_is_raised() -> None:
    """Tasks that share a connection: one loses it, the others find it closed at once."""

    async def body() -> None:
        lost = asyncio.Event()

        async def loses() -> None:
            await asyncio.sleep(0)
            lost.set()
            raise Temporary("first")

        async def finds() -> None:
            while not lost.is_set():
                await asyncio.sleep(0)
            raise ValueError("second")

        await together(*(finds() for _ in range(9)), loses(), *(finds() for _ in range(9)))

    for _ in range(20):
        with pytest.raises(Temporary, match="first"):
            asyncio.run(body())


def test_together_passes_a_death_on() -> None:
    class Death(BaseException):
        pass

    async def dies() -> None:
        raise Death

    async def waits() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Death):
        asyncio.run(_coroutine(waits(), dies()))


def test_together_cancelled_leaves_nothing_running() -> None:
    async def body() -> set[str]:
        ended: set[str] = set()

        async def waits(name: str) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.add(name)

        task = asyncio.ensure_future(together(waits("a"), waits("b")))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return ended

    assert asyncio.run(body()) == {"a", "b"}


async def _coroutine(*work: Coroutine[object, object, None]) -> None:
    await together(*work)


# Budget


def test_a_request_beyond_the_budget_is_granted_when_nothing_else_is_held() -> None:
    budget = Budget(10)
    assert budget.try_take(50)
    assert not budget.try_take(1)
    budget.give(50)
    assert budget.held == 0


def test_first_come_first_served() -> None:
    async def body() -> list[int]:
        budget = Budget(10)
        budget.try_take(8)
        order: list[int] = []

        async def take(size: int) -> None:
            await budget.take(size)
            order.append(size)

        tasks = [asyncio.ensure_future(take(size)) for size in (6, 1)]
        await asyncio.sleep(0)
        assert not budget.try_take(1), "nobody overtakes those who wait"
        budget.give(8)
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(body()) == [6, 1]


def test_a_cancelled_request_that_another_s_giving_passes_over() -> None:
    """Between a task's cancellation and its next step somebody gives back: the request is dropped there already."""

    async def body() -> Budget:
        budget = Budget(10)
        budget.try_take(10)
        waiting = asyncio.ensure_future(budget.take(5))
        await asyncio.sleep(0)
        waiting.cancel()
        budget.give(10)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return budget

    assert asyncio.run(body()).held == 0


def test_a_request_cancelled_after_it_was_granted_is_given_back() -> None:
    async def body() -> Budget:
        budget = Budget(10)
        budget.try_take(10)
        waiting = asyncio.ensure_future(budget.take(5))
        await asyncio.sleep(0)
        budget.give(10)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return budget

    assert asyncio.run(body()).held == 0


def test_a_cancelled_large_request_does_not_hold_up_those_behind_it() -> None:
    async def body() -> Budget:
        budget = Budget(10)
        budget.try_take(5)
        large = asyncio.ensure_future(budget.take(9))
        small = asyncio.ensure_future(budget.take(2))
        await asyncio.sleep(0)
        large.cancel()
        await asyncio.wait_for(small, 1)
        return budget

    assert asyncio.run(body()).held == 7


@given(st.lists(st.tuples(st.integers(1, 15), st.integers(0, 3), st.booleans()), max_size=15))
def test_the_budget_is_kept_and_given_back(takers: list[tuple[int, int, bool]]) -> None:
    async def body() -> None:
        budget = Budget(10)
        most = 0

        async def one(size: int, steps: int) -> None:
            nonlocal most
            await budget.take(size)
            try:
                most = max(most, budget.held)
                assert budget.held <= max(10, size)
                for _ in range(steps):
                    await asyncio.sleep(0)
            finally:
                budget.give(size)

        tasks = []
        for size, steps, cancel in takers:
            task = asyncio.ensure_future(one(size, steps))
            tasks.append(task)
            await asyncio.sleep(0)
            if cancel:
                task.cancel()
        async with asyncio.timeout(5):
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
        assert budget.held == 0

    asyncio.run(body())


# Counts


def test_counts_add_up_and_balance() -> None:
    total = Counts(listed=3, copied=1, there=1, excluded=1)
    total.add(Counts(listed=2, failed=1, adopted=1, there=1, flags=4))
    assert total.balanced
    assert (total.listed, total.done, total.adopted, total.flags) == (5, 5, 1, 4)
    total.listed += 1
    assert not total.balanced


def test_counts_keep_every_counter() -> None:
    ones = Counts(**{one.name: 1 for one in fields(Counts)})
    total = Counts()
    total.add(ones)
    total.add(ones)
    assert set(total.as_dict().values()) == {2}


# Suspects


def test_three_breaks_condemn_one_message_of_one_folder() -> None:
    suspects = Suspects()
    for _ in range(3):
        suspects.blame(1, 7)
    suspects.blame(1, 8)
    suspects.blame(2, 7)
    assert suspects.condemned(1) == {7}
    assert suspects.condemned(2) == set()


# repair


@given(st.binary(max_size=200) | st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"\0", b"a"])).map(b"".join))
def test_repaired_is_acceptable_changes_nothing_else_and_is_stable(data: bytes) -> None:
    mended = repaired(data)
    assert b"\0" not in mended
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", mended)
    assert repaired(mended) == mended
    assert re.sub(rb"[\r\n]+", b"\n", mended) == re.sub(rb"[\r\n]+", b"\n", data.replace(b"\0", b" "))


@given(st.lists(st.binary(max_size=20).map(lambda b: b.translate(None, b"\0\r\n"))))
def test_what_is_acceptable_stays_as_it_is(lines: list[bytes]) -> None:
    data = b"\r\n".join(lines)
    assert repaired(data) == data
