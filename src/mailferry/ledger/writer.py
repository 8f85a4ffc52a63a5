"""`LedgerThread`: the ledger for asyncio. One thread owns it; writes that wait together are committed together.

Does not retry what failed. Invariant: the awaited result of `write` means committed; a write that fails takes no
other with it. A cancelled `write` may or may not have happened, as after a crash.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from mailferry.errors import LocalProtocolError, Temporary
from mailferry.ledger import open_ledger

if TYPE_CHECKING:
    from mailferry.ledger.store import Ledger

P = ParamSpec("P")
T = TypeVar("T")

GROUP = 256
"""At most so many writes in one transaction: other processes wait for it."""


@dataclass(slots=True)
class _Job:
    """What one caller wants done, where its result goes, and the result."""

    work: Callable[[Ledger], Any]
    writes: bool
    durable: bool
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class LedgerThread:
    """`async with LedgerThread(place) as thread: await thread.write(lambda ledger: ledger.intend(lease, …))`.

    Opening, and with it the import of SQLAlchemy, happens in the thread; who has something to do meanwhile calls
    `start` and awaits `opened` later. Where opening failed, every call raises that error. For use by one event loop.
    """

    def __init__(self, place: str | Path) -> None:
        self._place = place
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    def start(self) -> asyncio.Future[None]:
        """Begin to open. The future is done when it is open, or raises what `open_ledger` raises."""
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(target=self._run, args=(loop, opened), name="ledger", daemon=True)
        self._thread.start()
        return opened

    async def __aenter__(self) -> Self:
        """Open; raises what `open_ledger` raises."""
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Finish what is queued and close the ledger."""
        self._closed = True
        self._jobs.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    async def call(self, fn: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Read: `fn(ledger, *args)` in the ledger's thread, after the writes that were queued before."""
        return await self._put(lambda ledger: fn(ledger, *args, **kwargs), False)

    async def write(self, fn: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Write: `fn(ledger, *args)` in a transaction, shared with other writes; returns after the commit.

        A killed process loses nothing of it. A power cut may lose the last of them, never one before a durable one.

        `fn` may run twice (the first time rolled back), so it does nothing but call the ledger.
        """
        return await self._put(lambda ledger: fn(ledger, *args, **kwargs), True)

    async def write_durably(self, fn: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `write`, and on disk when it returns: a power cut does not lose it. For what must not be done twice."""
        return await self._put(lambda ledger: fn(ledger, *args, **kwargs), True, durable=True)

    async def _put(self, work: Callable[[Ledger], T], writes: bool, durable: bool = False) -> T:
        if self._closed or self._thread is None:
            raise LocalProtocolError("the ledger is not open")
        job = _Job(work, writes, durable, asyncio.get_running_loop().create_future())
        self._jobs.put(job)
        result: T = await job.future
        return result

    def _run(self, loop: asyncio.AbstractEventLoop, opened: asyncio.Future[Any]) -> None:
        """The thread: until None comes, take all that waits, do it, and tell the callers at once."""
        first = _Job(lambda _: None, False, False, opened)
        try:
            ledger = open_ledger(self._place)
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever opens
            first.error = error
            loop.call_soon_threadsafe(_tell, [first])
            self._refuse(loop, error)
            return
        loop.call_soon_threadsafe(_tell, [first])
        last = False
        while not last:
            jobs, last = self._waiting()
            _do(ledger, jobs)
            loop.call_soon_threadsafe(_tell, jobs)
        ledger.close()

    def _refuse(self, loop: asyncio.AbstractEventLoop, error: BaseException) -> None:
        """There is no ledger: whoever calls is told why, until None comes."""
        while (job := self._jobs.get()) is not None:
            job.error = error
            loop.call_soon_threadsafe(_tell, [job])

    def _waiting(self) -> tuple[list[_Job], bool]:
        """At least one job, at most `GROUP`; and whether the end has come."""
        jobs: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == GROUP:
                return jobs, False
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs, False
        return jobs, True


def _do(ledger: Ledger, jobs: Sequence[_Job]) -> None:
    """Writes first and together; if that fails, one by one, so that each gets its own result. Then the reads."""
    writes = [job for job in jobs if job.writes]
    if not _together(ledger, writes):
        down: Temporary | None = None
        for job in writes:
            job.error = down or _alone(ledger, job)
            if isinstance(job.error, Temporary):  # the ledger is locked or away: do not wait for it once per job
                down = job.error
    for job in jobs:
        if not job.writes:
            job.error = _alone(ledger, job)


def _together(ledger: Ledger, writes: Sequence[_Job]) -> bool:
    """Whether one transaction took them all."""
    if len(writes) < 2:
        return not writes
    try:
        with ledger.transaction(durable=any(job.durable for job in writes)):
            for job in writes:
                job.result = job.work(ledger)
    except Exception:  # noqa: BLE001 - each job will meet its own error alone
        return False
    return True


def _alone(ledger: Ledger, job: _Job) -> BaseException | None:
    """Do one job; returns what it raised, for its caller."""
    try:
        if job.writes:
            with ledger.transaction(durable=job.durable):
                job.result = job.work(ledger)
        else:
            job.result = job.work(ledger)
    except BaseException as error:  # noqa: BLE001 - given to the caller
        return error
    return None


def _tell(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        if job.future.done():  # its caller was cancelled
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
