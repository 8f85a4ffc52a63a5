"""One process of `mailferry worker`: takes jobs from the queue, holds what they need, and tells the ledger how they go.

Knows nothing of what a job does (`Duty`). Other processes on any host do the same; they share only the database.
Invariants: a job works only while its slots are held, and stops before anybody else can have them; a job that this
process does not end is queued again.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from mailferry.copy.mailbox import Progress
from mailferry.copy.policy import CopyPolicy
from mailferry.copy.progress import Counts
from mailferry.copy.work import Engine
from mailferry.copy.worker import DRAIN_SECONDS, error_as_dict
from mailferry.errors import Busy, Fenced, MailferryError, Temporary, UserError
from mailferry.ledger import jobs, queue, slots
from mailferry.ledger.jobs import Job, Told
from mailferry.ledger.rows import STOPPED, Control
from mailferry.ledger.schema import HEAD
from mailferry.ledger.slots import Held, Needs
from mailferry.ledger.turns import Again, app, worker
from mailferry.ledger.writer import LedgerThread
from mailferry.tasks import Budget

if TYPE_CHECKING:
    from mailferry.ledger.store import Ledger

log = logging.getLogger("mailferry.worker")
T = TypeVar("T")

LIVES = 3
"""How many workers a job may outlive."""
SLOT_SECONDS, SLOT_PAUSE = 5.0, 0.25
"""How long a job waits in its place until its slots are free; then others may try."""


@dataclass(frozen=True, slots=True)
class Duty:
    """What the jobs of a crew are. `waits_for_mail`: those among jobs that are to be finished rather than stopped."""

    needs: Callable[[Ledger, Job], Needs]
    policy: Callable[[Ledger], CopyPolicy]
    do: Callable[[Engine, Job, int, Progress], Awaitable[Counts]]
    waits_for_mail: Callable[[Ledger, Collection[Job]], bool] = lambda ledger, jobs: False


@dataclass(frozen=True, slots=True)
class Terms:
    """`places`: jobs at once. `lease`: seconds after which a silent worker's mailboxes and slots are others'. `drain`:
    seconds that those who are parked have to come through when the worker is to end."""

    places: int = 8
    lease: float = 10.0
    drain: float = 60.0

    @property
    def beat(self) -> float:
        """Seconds between two signs of life."""
        return self.lease / 5

    @property
    def alone(self) -> float:
        """Seconds without an answer of the ledger after which a job stops by itself: before its slots are others'."""
        return self.lease * 0.7


@dataclass(slots=True)
class _Work:
    """A job that is being done. `renewed`: when its slots were asked for last (monotonic). `why`: it was stopped."""

    job: Job
    held: Held
    renewed: float
    doing: asyncio.Task[Counts] | None = None
    told: Told | None = None
    news: bool = False
    why: str = ""
    stop: bool = False

    def tell(self, counts: Counts, expected: int, text: str) -> None:
        now = Told(self.job.id, text, expected, counts.as_dict())
        if now != self.told:
            self.told, self.news = now, True

    def cancel(self, why: str) -> None:
        if self.doing is not None and not self.why:
            self.why = why
            self.doing.cancel()


@dataclass(slots=True)
class Crew:
    """One process at work. `life`: the ledger once more, for signs of life, which wait for no other write."""

    ledger: LedgerThread
    life: LedgerThread
    duty: Duty
    terms: Terms
    budget: Budget
    name: str
    """The ledger's, as its errors say it."""

    id: int = 0
    draining: bool = False
    fault: MailferryError | None = None
    _engines: dict[int, Engine] = field(default_factory=dict)
    _works: dict[int, _Work] = field(default_factory=dict)
    _entries: set[int] = field(default_factory=set)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self) -> None:
        """Take nothing new and bring to an end what is at work; asked twice: at once, as if killed."""
        if self.draining:
            os._exit(130)
        self.draining = True
        self._stopping.set()

    async def run(self, place: str) -> None:
        """Work until `stop`. Raises what made it impossible to go on."""
        self.id = await self.ledger.write(lambda db: jobs.enlist(db, self.terms.places))
        turns = app(place, self.advance)
        async with turns.open_async():
            taking = worker(turns, self.terms.places, self.terms.beat)
            beating = asyncio.ensure_future(self._beat_often(lambda: taking.worker_id))
            working = asyncio.ensure_future(taking.run())  # type: ignore[no-untyped-call]
            stopping = asyncio.ensure_future(self._stopping.wait())
            try:
                await asyncio.wait({beating, working, stopping}, return_when=asyncio.FIRST_COMPLETED)
                self.draining = True
                taking.stop()  # type: ignore[no-untyped-call]
                await self._drain()
            finally:
                stopping.cancel()
                beating.cancel()
                ended = await asyncio.gather(beating, working, return_exceptions=True)
        await self._patiently(lambda db: jobs.leave(db, self.id))
        if self.fault is not None:
            raise self.fault
        for one in ended:
            if isinstance(one, Exception):
                raise one

    async def advance(self, entry: int, number: int) -> None:
        """One job of the queue, to its end or until somebody else has to go on with it (`Again`)."""
        self._entries.add(entry)
        try:
            while True:
                job, control, needs = await self._patiently(lambda db: self._look(db, number))
                if control is not Control.PAUSE or self.draining:
                    break
                await asyncio.sleep(self.terms.beat)
            if job.ended is not None:
                return
            if control is Control.STOP:
                with contextlib.suppress(Fenced):
                    await self._patiently(lambda db: jobs.end(db, number, None, {}, {**STOPPED}))
                return
            asked = time.monotonic()
            held = await self._hold(number, needs)
            try:
                await self._do(_Work(job, held, asked))
            finally:
                await self._patiently(lambda db: slots.give_back(db, held.slots))
        finally:
            self._entries.discard(entry)

    def _look(self, db: Ledger, number: int) -> tuple[Job, Control, Needs]:
        found = jobs.get(db, number)
        return found, jobs.control(db, found.run_id), self.duty.needs(db, found)

    async def _hold(self, number: int, needs: Needs) -> Held:
        until = time.monotonic() + SLOT_SECONDS
        while not self.draining:
            held = await self._patiently(lambda db: slots.take(db, number, needs, self.terms.lease), durable=True)
            if held is not None:
                return held
            if time.monotonic() > until:
                raise Again(SLOT_PAUSE, "its servers are busy")
            await asyncio.sleep(SLOT_PAUSE)
        raise Again(0, "the worker ends")

    async def _do(self, work: _Work) -> None:
        """The job, and what has come of it in the ledger. Raises Again."""
        job, number = work.job, work.job.id
        if not await self._patiently(lambda db: jobs.begin(db, number, self.id, work.held.lanes)):
            return
        engine = await self._engine(job.run_id)
        if time.monotonic() - work.renewed > self.terms.alone:  # nobody has renewed its slots until now
            await self._patiently(lambda db: jobs.hand_back(db, number, self.id, "the ledger was slow"))
            raise Again(0, "the ledger was slow")
        work.doing = asyncio.ensure_future(self.duty.do(engine, job, work.held.lanes, work.tell))
        self._works[number] = work
        if self.draining:
            work.cancel("the worker ends")
        try:
            (result,) = await asyncio.gather(work.doing, return_exceptions=True)
        finally:
            del self._works[number]
        counts = result.as_dict() if isinstance(result, Counts) else dict(work.told.counts) if work.told else {}
        error = error_as_dict(result) if isinstance(result, BaseException) else None
        again = self._again(work, result)
        if again is not None:
            log.log(
                logging.INFO if self.draining else logging.WARNING, "job %d is left to others: %s", number, again.why
            )
            await self._patiently(lambda db: jobs.hand_back(db, number, self.id, again.why))
            raise again
        if work.stop and not isinstance(result, Counts):
            error = {**STOPPED}
        elif isinstance(result, BaseException) and not isinstance(result, MailferryError):
            log.error("job %d", number, exc_info=result)
        try:
            await self._patiently(lambda db: jobs.end(db, number, self.id, counts, error))
        except Fenced as fenced:
            raise Again(self.terms.lease, fenced.message) from None

    def _again(self, work: _Work, result: object) -> Again | None:
        """Why it is not over, if it is not."""
        if isinstance(result, Fenced):
            return Again(self.terms.lease, "its mailbox was taken over")
        if isinstance(result, Busy):
            return Again(self.terms.beat, result.message)
        if work.why and not work.stop and not isinstance(result, Counts):
            return Again(0, work.why)
        if isinstance(result, Temporary) and result.about == self.name:
            return Again(self.terms.beat, result.message)  # not its fault: the ledger was away
        return None

    async def _engine(self, run_id: int) -> Engine:
        """What the jobs of a run share here: its policy, and a gate of its own for a pause."""
        if run_id not in self._engines:
            policy = await self._patiently(self.duty.policy)
            engine = Engine(self.ledger, policy, self.budget)
            engine.gate.set()
            engine = self._engines.setdefault(run_id, engine)
            if self.draining:
                engine.gate.clear()
        return self._engines[run_id]

    async def _beat_often(self, of_queue: Callable[[], int | None]) -> None:
        """Signs of life, slots held, what is asked of the runs; and what dead workers have left."""
        lost: set[int] = set()
        while True:
            await asyncio.sleep(self.terms.beat)
            await self._beat()
            try:
                await self.life.write(lambda db: queue.end_sessions(db, self.terms.lease))
                taken = await self.life.write(lambda db: queue.take_again(db, self.terms.lease, LIVES))
                for number in taken:
                    log.warning("job %d is taken again: its worker is gone", number)
                if (mine := of_queue()) is not None:
                    unknown = await self.life.call(lambda db: queue.entries_of(db, mine)) - self._entries
                    if again := sorted(unknown & lost):  # twice: not one that was just handed out
                        await self.life.write(lambda db: queue.give_back(db, again))
                    lost = unknown
                await self.life.write(queue.fill)
                await self.life.write(jobs.close_runs)
            except Temporary as error:
                log.warning("the ledger is away: %s", error.message)

    async def _beat(self) -> None:
        asked, works = time.monotonic(), list(self._works.values())
        held = [one for work in works for one in work.held.slots]
        told = [work.told for work in works if work.news and work.told is not None]
        runs = sorted({work.job.run_id for work in works})
        for work in works:
            work.news = False

        def write(db: Ledger) -> tuple[set[slots.Slot], jobs.Beat]:
            return (
                slots.renew(db, held, self.terms.lease),
                jobs.beat(db, self.id, told, runs, draining=self.draining),
            )

        writing = asyncio.ensure_future(self.life.write_durably(write))
        while not writing.done():
            await asyncio.wait({writing}, timeout=self.terms.beat / 4)
            self._leave_alone(works)
        try:
            kept, heard = writing.result()
        except Temporary as error:
            log.warning("no sign of life: %s", error.message)
            for work in works:
                work.news = True
            self._leave_alone(works)
            return
        for work in works:
            if kept.issuperset(work.held.slots):
                work.renewed = asked
            else:
                work.cancel("its slots were taken over")
        self._obey(heard)

    def _leave_alone(self, works: Collection[_Work]) -> None:
        """Who has not reached the ledger for too long stops before others take what it holds."""
        for work in works:
            if time.monotonic() - work.renewed > self.terms.alone:
                work.cancel("the ledger was away for too long")

    def _obey(self, heard: jobs.Beat) -> None:
        if heard.version != HEAD and not self.draining:
            self.fault = UserError(
                f"the ledger has schema {heard.version} now, this worker knows {HEAD}",
                advice="install the same Mailferry on every host, then start the workers again",
            )
            self.stop()
        for run_id, control in heard.controls.items():
            engine = self._engines.get(run_id)
            if engine is not None and not self.draining:
                (engine.gate.clear if control is Control.PAUSE else engine.gate.set)()
            if control is Control.STOP:
                for work in self._works.values():
                    if work.job.run_id == run_id:
                        work.stop = True
                        work.cancel("the run was stopped")

    async def _drain(self) -> None:
        """Nobody new is parked; who is parked has time to come through; what is on its way is confirmed; then stop."""
        for engine in self._engines.values():
            engine.gate.clear()
        began = time.monotonic()
        while self._works:
            alone = time.monotonic() - began
            in_flight = alone < DRAIN_SECONDS and any(engine.in_flight for engine in self._engines.values())
            parked = alone < self.terms.drain and await self._parked()
            if not in_flight and not parked:
                break
            await asyncio.sleep(0.1)
        for work in list(self._works.values()):
            work.cancel("the worker ends")
        while self._works:
            await asyncio.sleep(0.05)

    async def _parked(self) -> bool:
        found = [work.job for work in self._works.values()]
        try:
            return await self.ledger.call(lambda db: self.duty.waits_for_mail(db, found))
        except Temporary:
            return True

    async def _patiently(self, work: Callable[[Ledger], T], *, durable: bool = False) -> T:
        """Write, for as long as it takes until the ledger is there."""
        write: Any = self.ledger.write_durably if durable else self.ledger.write
        while True:
            try:
                result: T = await write(work)
            except Temporary as error:
                log.warning("the ledger is away: %s", error.message)
                await asyncio.sleep(1.0)
            else:
                return result


def run_crew(place: str, duty: Callable[[LedgerThread], Duty], terms: Terms, budget_bytes: int) -> None:
    """The whole life of a worker process. UserError: this ledger is none for workers, or of another schema."""
    gc.freeze()
    gc.set_threshold(50_000)  # as in copy/worker.py
    gc.enable()
    asyncio.run(_serve(place, duty, terms, budget_bytes))


async def _serve(place: str, duty: Callable[[LedgerThread], Duty], terms: Terms, budget_bytes: int) -> None:
    async with LedgerThread(place) as ledger, LedgerThread(place) as life:
        await ledger.write(queue.prepare)
        name = await ledger.call(lambda db: db.name)
        crew = Crew(ledger, life, duty(ledger), terms, Budget(budget_bytes), name)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, crew.stop)
        await crew.run(place)
