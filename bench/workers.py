"""The case of many machines: how many mailboxes' records workers keep, and how soon a dead worker's are taken over.

`rates`: 40,000 people wait in the queue, each with two folders and 21 messages in memory; 1, 2 and 4 worker processes
take them through their first copy for so many seconds each, on a PostgreSQL of the lab. `takeover`: one of two workers
is killed. Invariant: what a worker does is the product's (`copy.crew`, `waves.advance`); only stores, directory and
queue answer at once. Run as a module it is such a worker.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

import sqlalchemy as sa

from bench.measure import BenchError, Usage
from bench.moves import World
from bench.results import TIME_LIMIT, Row, within
from lab.postgres import Postgres
from mailferry.copy.crew import Duty, Terms, run_crew
from mailferry.copy.lease import leased
from mailferry.copy.mailbox import Progress
from mailferry.copy.policy import CopyPolicy
from mailferry.copy.progress import Counts
from mailferry.copy.work import Engine
from mailferry.ledger import jobs, open_ledger, queue
from mailferry.ledger import waves as ledger_waves
from mailferry.ledger.jobs import Job
from mailferry.ledger.slots import Needs
from mailferry.ledger.store import Ledger
from mailferry.ledger.writer import LedgerThread
from mailferry.waves.advance import SEED, advance

MAILBOXES, QUICK_MAILBOXES = 40_000, 2_000
SECONDS, QUICK_SECONDS, WARM = 30.0, 5.0, 4.0
PROCESSES = (1, 2, 4)
A_THOUSAND_SECONDS, TAKEOVER_SECONDS = 20.0, 20.0
ENDLESS = "BENCH_ENDLESS"
_OURS = "mailferry worker"


def run(rounds: int, place: Path, when: str, say: Callable[[str], None], *, quick: bool = False) -> list[Row]:
    """Both cases; a round is one takeover."""
    count = QUICK_MAILBOXES if quick else MAILBOXES
    with Postgres(place / "postgres") as server:
        return [
            *_rates(server, count, QUICK_SECONDS if quick else SECONDS, when, say),
            _takeover(server, rounds, when, say),
        ]


def _rates(server: Postgres, count: int, seconds: float, when: str, say: Callable[[str], None]) -> list[Row]:
    url = server.create_database("rates")
    began = time.perf_counter()
    with closing(open_ledger(url)) as ledger:
        _fill(ledger, count)
    say(f"workers: {count:,} people planned and queued in {time.perf_counter() - began:.1f} s")
    rows = []
    engine = sa.create_engine(url)
    for number in PROCESSES:
        with ExitStack() as stack:
            for _ in range(number):
                stack.enter_context(_worker(url))
            _until(lambda: _ended(engine) is not None and _at_work(engine) >= number)
            time.sleep(WARM)
            before, began = _ended(engine), time.perf_counter()
            time.sleep(seconds)
            done, took = _ended(engine) - before, time.perf_counter() - began
        if not done:
            raise BenchError("the workers did nothing")
        say(f"workers: {done / took:.0f} mailboxes/s with {number} processes")
        thousand = took / done * 1000
        phase = f"1,000 of them, {number} process{'es' if number > 1 else ''}"
        used = [Usage(thousand, 0, 0)]
        rows.append(
            within(
                f"workers, {count:,} people wait", phase, _OURS, used, TIME_LIMIT, thousand, A_THOUSAND_SECONDS, when
            )
        )
    engine.dispose()
    return rows


def _takeover(server: Postgres, rounds: int, when: str, say: Callable[[str], None]) -> Row:
    """Seconds from the death of a worker until the last of its jobs is another's, with the settings as they come."""
    taken = []
    for number in range(rounds):
        url = server.create_database(f"takeover{number}")
        with closing(open_ledger(url)) as ledger:
            _fill(ledger, 8)
        engine = sa.create_engine(url)
        with _worker(url, endless=True) as dies:
            _until(lambda: _at_work(engine) == 8)
            with _worker(url, endless=True):
                os.kill(dies.pid, signal.SIGKILL)
                began = time.perf_counter()
                _until(lambda: _count(engine, "worker_id = 2 AND ended IS NULL") == 8)
                taken.append(Usage(time.perf_counter() - began, 0, 0))
        engine.dispose()
        say(f"workers: eight jobs of a dead worker taken over in {taken[-1].wall:.1f} s")
    half = median(use.wall for use in taken)
    return within(
        "workers, one is killed", "its eight jobs are others'", _OURS, taken, TIME_LIMIT, half, TAKEOVER_SECONDS, when
    )


def _fill(ledger: Ledger, count: int) -> None:
    """So many people in a wave, and asked for."""
    world = World(0)
    queue.prepare(ledger)
    with ledger.transaction():
        wave = ledger_waves.create(ledger, "bench", {})
        ledger_waves.add(ledger, wave.id, [world.planned(number) for number in range(count)])
        moves = [one.id for one in ledger_waves.moves(ledger, wave.id)]
        jobs.ask(ledger, jobs.open_run(ledger, "bench", {}), "seed", "bench", moves)
        queue.fill(ledger)


@contextmanager
def _worker(url: str, *, endless: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, **({ENDLESS: "1"} if endless else {})}
    started = subprocess.Popen([sys.executable, "-m", "bench.workers", url], env=environment)
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(30)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def _count(engine: sa.Engine, where: str) -> int:
    with engine.connect() as connection:
        return int(connection.exec_driver_sql(f"SELECT count(*) FROM job WHERE {where}").scalar_one())


def _ended(engine: sa.Engine) -> int:
    failed = _count(engine, "error IS NOT NULL")
    if failed:
        raise BenchError(f"{failed} jobs failed")
    return _count(engine, "ended IS NOT NULL")


def _at_work(engine: sa.Engine) -> int:
    return _count(engine, "worker_id IS NOT NULL AND ended IS NULL")


def _until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        if time.monotonic() > deadline:
            raise BenchError("the workers do not begin")
        time.sleep(0.05)


def _duty(ledger: LedgerThread) -> Duty:
    """Everybody's first copy, with people who are made as they come."""
    world = World(0)
    ctx = world.context(ledger)

    async def do(engine: Engine, job: Job, lanes: int, progress: Progress) -> Counts:
        if ENDLESS in os.environ:
            await asyncio.sleep(3600)
        move = await ledger.call(lambda db: ledger_waves.move_of(db, job.move_id))
        world.add(int(move.uid[1:]))
        mine = replace(ctx, engine=engine, run_id=job.run_id, progress=progress)
        try:
            async with leased(ledger, ctx.source(move).key, ctx.target(move).key, 10.0) as lease:
                await advance(mine, move, lease, SEED)
        finally:
            world.drop(move)
        return Counts(listed=21, copied=21)

    return Duty(
        lambda db, job: Needs({"imap.example:993": 64, "store.example:993": 64}, 1, {"wave 1": 64}),
        lambda db: CopyPolicy(lease_seconds=10.0),
        do,
    )


if __name__ == "__main__":
    run_crew(sys.argv[1], _duty, Terms(), CopyPolicy().budget_bytes)
