"""How a worker hears that it is its turn: Procrastinate's worker on the ledger's database. Does no job.

Invariant: a database that is away for a while ends nothing here; what was asked of it is asked again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from procrastinate import App, BaseRetryStrategy, JobContext, PsycopgConnector, RetryDecision
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job
from procrastinate.worker import Worker

from mailferry.ledger.owner import owner_text, session_name
from mailferry.ledger.place import STALLED_SECONDS
from mailferry.ledger.queue import QUEUE, TASK

log = logging.getLogger("mailferry.worker")
T = TypeVar("T")

PAUSE_SECONDS = 1.0
POLL_SECONDS = 1.0
"""Between two looks for jobs whose time has come; new ones are told at once."""
CONNECTIONS = 2
"""Of a worker to the database, besides the one that listens and the ledger's own."""

Do = Callable[[int, int], Awaitable[None]]
"""Given the queue's entry and the ledger's job; raises `Again` where somebody has to do it later."""


class Again(Exception):
    """It is to be queued again, for after so many seconds."""

    def __init__(self, seconds: float, why: str) -> None:
        super().__init__(why)
        self.seconds = seconds
        self.why = why


class _Retry(BaseRetryStrategy):
    """As `Again` says; nothing else is tried again by the queue."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        if isinstance(exception, Again):
            return RetryDecision(retry_in={"milliseconds": round(exception.seconds * 1000)})
        return None


class _Patient(PsycopgConnector):
    """Asks again for as long as the database is away."""

    async def execute_query_async(self, query: Any, **arguments: Any) -> None:
        try:
            await _patiently(lambda: super(_Patient, self).execute_query_async(query, **arguments))
        except ConnectorException as error:
            if not isinstance(error.__cause__, psycopg.errors.RaiseException):
                raise
            log.warning("%s", error.__cause__.diag.message_primary)  # it was taken again, and is another worker's

    async def execute_query_one_async(self, query: Any, **arguments: Any) -> dict[str, Any]:
        return await _patiently(lambda: super(_Patient, self).execute_query_one_async(query, **arguments))

    async def execute_query_all_async(self, query: Any, **arguments: Any) -> list[dict[str, Any]]:
        return await _patiently(lambda: super(_Patient, self).execute_query_all_async(query, **arguments))

    async def listen_notify(self, on_notification: Any, channels: Iterable[str]) -> None:
        await _patiently(lambda: super(_Patient, self).listen_notify(on_notification, channels))


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    told = False
    while True:
        try:
            return await ask()
        except ConnectorException as error:
            if not isinstance(error.__cause__, psycopg.OperationalError):
                raise
            if not told:
                log.warning("the queue's database is away: %s", error.__cause__)
                told = True
        await asyncio.sleep(PAUSE_SECONDS)


def app(place: str, do: Do) -> App:
    """The queue in the database of a ledger (its URL), for one event loop; open it with `open_async()`."""
    url = sa.make_url(place).set(drivername="postgresql")
    connector = _Patient(
        conninfo=url.render_as_string(hide_password=False),
        kwargs={
            "connect_timeout": 5,
            "application_name": session_name(owner_text()),
            "options": f"-c idle_in_transaction_session_timeout={STALLED_SECONDS}s",
        },
        min_size=1,
        max_size=CONNECTIONS,
        timeout=3,
    )
    made = App(connector=connector)

    @made.task(name=TASK, queue=QUEUE, retry=_Retry(), pass_context=True)
    async def advance(context: JobContext, job: int) -> None:
        assert context.job.id is not None
        await do(context.job.id, job)

    return made


def worker(app: App, places: int, beat: float) -> Worker:
    """Takes as many jobs at once as it has places; `run()` it, `stop()` lets it take no more."""
    return Worker(
        app,
        queues=[QUEUE],
        name=None,
        concurrency=places,
        fetch_job_polling_interval=POLL_SECONDS,
        abort_job_polling_interval=3600,
        delete_jobs="always",
        install_signal_handlers=False,
        update_heartbeat_interval=beat,
        stalled_worker_timeout=600,
    )
