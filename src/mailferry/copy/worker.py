"""One worker process of a fleet: takes jobs from the supervisor, runs several at once, tells how they go.

Speaks JSON lines over one socket. Invariant: it stops by itself when the supervisor is gone; nothing is left running.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mailferry.copy.policy import CopyPolicy
from mailferry.copy.progress import Counts
from mailferry.copy.work import Engine
from mailferry.errors import MailferryError
from mailferry.ledger.rows import STOPPED, Control
from mailferry.ledger.writer import LedgerThread

log = logging.getLogger("mailferry.worker")

DRAIN_SECONDS = 15.0
"""How long a stop waits for chunks that are on their way, so that the next run need not look for them."""

Task = Callable[["Worker", int, int], Awaitable[Counts]]
"""What a worker does for one job: given itself, the job's number, and its lanes."""


@dataclass(slots=True)
class Worker:
    """The child's side: `engine` for the tasks, `say` towards the supervisor."""

    engine: Engine
    writer: asyncio.StreamWriter
    run_id: asyncio.Future[int]
    """Known a little after the first jobs begin: the ledger is opened meanwhile."""

    def say(self, **what: Any) -> None:
        self.writer.write(json.dumps(what, separators=(",", ":")).encode() + b"\n")

    def progress(self, job: int) -> Callable[[Counts, int, str], None]:
        """The progress callback for one job."""

        def tell(counts: Counts, expected: int, waits: str) -> None:
            self.say(kind="progress", job=job, counts=counts.as_dict(), expected=expected, waits=waits)

        return tell


def error_as_dict(error: BaseException) -> dict[str, Any]:
    """An error as JSON: what the supervisor, the report and `--json` show."""
    if isinstance(error, MailferryError):
        return {
            "type": type(error).__name__,
            "message": error.message,
            "about": error.about,
            "advice": error.advice,
            "exit_code": error.exit_code,
        }
    return {"type": type(error).__name__, "message": str(error), "about": "", "advice": "", "exit_code": 70}


def run_worker(channel: socket.socket, ledger: str, policy: CopyPolicy, task: Task) -> int:
    """The whole life of a worker process; returns its exit code."""
    gc.freeze()
    gc.set_threshold(50_000)  # rows of listings are many and hold no cycles: collecting them often costs a third
    gc.enable()
    return asyncio.run(_serve(channel, ledger, policy, task))


async def _serve(channel: socket.socket, place: str, policy: CopyPolicy, task: Task) -> int:
    reader, writer = await asyncio.open_connection(sock=channel)
    ledger = LedgerThread(place)
    worker = Worker(Engine.of(ledger, policy), writer, asyncio.get_running_loop().create_future())
    opened = ledger.start()
    listening = asyncio.ensure_future(_listen(worker, reader, task))
    try:
        await asyncio.wait({opened, listening}, return_when=asyncio.FIRST_COMPLETED)
        if opened.done():
            opened.result()
        await listening
    except MailferryError as error:
        worker.say(kind="unusable", error=error_as_dict(error))
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        return error.exit_code
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await ledger.close()
        writer.close()
    return 0


async def _listen(worker: Worker, reader: asyncio.StreamReader, task: Task) -> None:
    """Do what the supervisor says until it says end or is gone. Raises what opening or writing the ledger raises."""
    running: set[asyncio.Task[None]] = set()
    beginning: asyncio.Task[None] | None = None
    ledger = worker.engine.ledger
    try:
        while line := await reader.readline():
            what = json.loads(line)
            kind = what["kind"]
            if kind == "begin":
                beginning = asyncio.ensure_future(_begin(worker, what["command"]))
            elif kind == "run" and not worker.run_id.done():
                worker.run_id.set_result(what["run"])
            elif kind == "job":
                job = asyncio.ensure_future(_one(worker, what["job"], what["lanes"], task))
                running.add(job)
                job.add_done_callback(running.discard)
            elif kind == "gate":
                (worker.engine.gate.set if what["open"] else worker.engine.gate.clear)()
            elif kind == "heartbeat" and worker.run_id.done():
                run, summary = worker.run_id.result(), what["summary"]
                control: Control = await ledger.write(lambda db: db.heartbeat(run, summary))
                worker.say(kind="control", control=control.value)
            elif kind == "end":
                if worker.run_id.done() and what["summary"] is not None:
                    run, summary = worker.run_id.result(), what["summary"]
                    await ledger.write(lambda db: db.end_run(run, summary))
                break
    finally:
        await _drain(worker, running)
        if beginning is not None:
            await beginning


async def _begin(worker: Worker, command: str) -> None:
    """Record that a run begins, and tell its number."""
    run_id = await worker.engine.ledger.write(lambda db: db.begin_run(command))
    worker.run_id.set_result(run_id)
    worker.say(kind="run", run=run_id)


async def _drain(worker: Worker, running: set[asyncio.Task[None]]) -> None:
    """Send nothing more, let what is on its way be confirmed, then end every job."""
    worker.engine.gate.clear()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while worker.engine.in_flight and running:
                await asyncio.sleep(0.02)
    for job in running:
        job.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    with contextlib.suppress(ConnectionError):
        await worker.writer.drain()


async def _one(worker: Worker, job: int, lanes: int, task: Task) -> None:
    try:
        counts = await task(worker, job, lanes)
    except asyncio.CancelledError:
        worker.say(kind="done", job=job, counts=None, error={**STOPPED})
        raise
    except MailferryError as error:
        worker.say(kind="done", job=job, counts=None, error=error_as_dict(error))
    except Exception as error:
        log.exception("job %d in process %d", job, os.getpid())
        worker.say(kind="done", job=job, counts=None, error=error_as_dict(error))
    else:
        worker.say(kind="done", job=job, counts=counts.as_dict(), error=None)
