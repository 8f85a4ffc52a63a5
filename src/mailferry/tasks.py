"""Small parts of structured concurrency: run together, await both sides, a byte budget. Knows nothing of messages."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

A = TypeVar("A")
B = TypeVar("B")


async def together(*work: Coroutine[Any, Any, None]) -> None:
    """Run all; when one raises, cancel the others, wait for them, and raise that first error itself (not a group)."""
    errors: list[BaseException] = []

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            errors.append(error)

    tasks = [asyncio.ensure_future(one) for one in work]
    for task in tasks:
        task.add_done_callback(ended)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if errors:
        raise errors[0]  # of errors in one turn of the loop too the first: the others may only follow from it


async def both(first: Awaitable[A], second: Awaitable[B]) -> tuple[A, B]:
    """Await two sides at once, both to their end; then raise the first error, if any."""
    one, other = await asyncio.gather(first, second, return_exceptions=True)
    if isinstance(one, BaseException):
        raise one
    if isinstance(other, BaseException):
        raise other
    return one, other


async def finished(work: asyncio.Future[A]) -> A:
    """The result of what cannot be stopped; whoever is cancelled meanwhile still waits for its end."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        raise


class Budget:
    """Bytes that may be held at once by everyone who shares it; first come, first served.

    A request larger than the whole budget is granted when nothing else is held, so that nothing can wait for ever.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def _fits(self, size: int) -> bool:
        return self.held == 0 or self.held + size <= self.size

    def try_take(self, size: int) -> bool:
        if self._waiting or not self._fits(size):
            return False
        self.held += size
        return True

    async def take(self, size: int) -> None:
        if self.try_take(size):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(size)
            elif (size, turn) in self._waiting:  # else `_wake` passed over it between the cancellation and now
                self._waiting.remove((size, turn))
                self._wake()
            raise

    def give(self, size: int) -> None:
        self.held -= size
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            if turn.cancelled():
                continue
            self.held += size
            turn.set_result(None)
