"""The queue of jobs for workers: Procrastinate's tables, in the ledger's own database. PostgreSQL only.

What is asked for stands in the ledger (`jobs`); the queue only says whose turn it is. Invariants: a job and its entry
in the queue are written together; an entry whose worker is dead is taken again by whoever sees it first, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mailferry.errors import UserError
from mailferry.ledger.owner import session_name
from mailferry.ledger.schema import job, worker

if TYPE_CHECKING:
    import psycopg

    from mailferry.ledger.store import Ledger

QUEUE, TASK = "mailferry", "advance"
FULL = 2000
"""Entries that the queue is filled up to."""
FORGET_SECONDS = 86400.0
"""A worker that was not heard of for so long needs no more looks."""
_FILLING = 0x6D66_6C6A  # PostgreSQL advisory lock: one process fills the queue at a time
_MAKING = 0x6D66_6C69  # PostgreSQL advisory lock: one process makes the tables at a time
_STALE = sa.text(
    """
    SELECT entry.id, (entry.args ->> 'job')::int AS job
      FROM procrastinate_jobs entry LEFT JOIN procrastinate_workers worker ON worker.id = entry.worker_id
     WHERE entry.status = 'doing' AND entry.queue_name = :queue
       AND (worker.id IS NULL OR worker.last_heartbeat < clock_timestamp() - make_interval(secs => :seconds))
     ORDER BY entry.id FOR UPDATE OF entry SKIP LOCKED
    """
)
_END = sa.text(
    """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE application_name = :name AND usename = current_user AND datname = current_database()
       AND pid <> pg_backend_pid() AND backend_start < to_timestamp(:before)
    """
)
_WAITING = sa.text(
    "SELECT count(*) FROM (SELECT 1 FROM procrastinate_jobs WHERE status = 'todo' LIMIT :most) AS entries"
)
_MINE = sa.text("SELECT id FROM procrastinate_jobs WHERE status = 'doing' AND worker_id = :worker")
_AGAIN = sa.text("SELECT procrastinate_retry_job_v2(:entry, clock_timestamp(), NULL, NULL, NULL)")
_OVER = sa.text("SELECT procrastinate_finish_job_v1(:entry, 'failed', true)")


def prepare(ledger: Ledger) -> None:
    """Make the queue's tables where they are missing. UserError: the ledger is SQLite, Procrastinate not installed."""
    if ledger._sqlite:
        raise UserError(
            "workers need a ledger in PostgreSQL",
            about=ledger.name,
            advice='ledger = "postgresql://…" in mailferry.toml; docs/many-machines.md',
        )
    try:
        from procrastinate.schema import SchemaManager
    except ImportError as error:
        advice = "pip install 'mailferry[postgres]'"
        raise UserError("Procrastinate is not installed", about="the workers' queue", advice=advice) from error
    with ledger._write() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MAKING)))
        if not sa.inspect(connection).has_table("procrastinate_jobs"):
            _driver(connection).execute(SchemaManager.get_schema())


def put(ledger: Ledger, jobs: Sequence[int], priority: int = 0) -> None:
    """Queue jobs; those of a higher priority come first. Call it in the transaction that asks for them."""
    from procrastinate.jobs import Job
    from procrastinate.manager import JobManager
    from procrastinate.sync_psycopg_connector import SyncPsycopgConnector

    if not jobs:
        return
    entries = [
        Job(
            queue=QUEUE,
            task_name=TASK,
            task_kwargs={"job": number},
            priority=priority,
            lock=None,  # the lease of its mailbox is the lock
            queueing_lock=f"job {number}",
        )
        for number in jobs
    ]
    with ledger._write() as connection:
        JobManager(SyncPsycopgConnector()).batch_defer_jobs(entries, connection=_driver(connection))
        connection.execute(job.update().where(job.c.id.in_(jobs)).values(queued=True))


def fill(ledger: Ledger) -> None:
    """Queue more of what was asked for, where the queue runs low: each look into a long one takes long."""
    with ledger._write() as connection:
        if not connection.execute(sa.select(sa.func.pg_try_advisory_xact_lock(_FILLING))).scalar():
            return  # another worker does it
        there = connection.execute(_WAITING, {"most": FULL}).scalar_one()
        if there <= FULL // 2:
            more = sa.select(job.c.id).where(sa.not_(job.c.queued), job.c.ended.is_(None)).order_by(job.c.id)
            put(ledger, connection.execute(more.limit(FULL - there)).scalars().all())


def end_sessions(ledger: Ledger, seconds: float) -> None:
    """Workers that were not heard of for so many seconds lose the sessions of that time: one that stalls in mid-
    transaction would hold its rows for ever. It needs the same role for all workers."""
    with ledger._write() as connection:
        now = ledger._now(connection)
        silent = sa.and_(worker.c.ended.is_(None), worker.c.heartbeat.between(now - FORGET_SECONDS, now - seconds))
        for owner, heartbeat in connection.execute(sa.select(worker.c.owner, worker.c.heartbeat).where(silent)).all():
            connection.execute(_END, {"name": session_name(owner), "before": heartbeat + seconds})


def take_again(ledger: Ledger, seconds: float, lives: int) -> list[int]:
    """Jobs whose worker was not heard of for so many seconds are queued again, their ids; those that outlived `lives`
    workers end as failed."""
    again = []
    with ledger._write() as connection:
        for entry, number in list(connection.execute(_STALE, {"queue": QUEUE, "seconds": seconds})):
            open_ = job.update().where(job.c.id == number, job.c.ended.is_(None))
            deaths = connection.execute(open_.values(deaths=job.c.deaths + 1).returning(job.c.deaths)).scalar()
            lives_on = deaths is not None and deaths < lives
            connection.execute(_AGAIN if lives_on else _OVER, {"entry": entry})
            now = ledger._now(connection)
            if lives_on:
                again.append(number)
                connection.execute(open_.values(worker_id=None, heard=now, doing="its worker is gone"))
            elif deaths is not None:
                connection.execute(open_.values(heard=now, ended=now, doing="", error=_error(deaths)))
    return again


def entries_of(ledger: Ledger, worker: int) -> set[int]:
    """The queue's entries that this worker of the queue is to be doing."""
    with ledger._read() as connection:
        return set(connection.execute(_MINE, {"worker": worker}).scalars())


def give_back(ledger: Ledger, entries: Sequence[int]) -> None:
    """Entries that were given to this process, which does not do them (the answer was lost on the way)."""
    with ledger._write() as connection:
        for one in entries:
            connection.execute(_AGAIN, {"entry": one})


def _error(deaths: int) -> dict[str, Any]:
    return {
        "type": "Temporary",
        "message": f"{deaths} workers died while they brought it",
        "about": "",
        "advice": "look at the logs of the workers (memory?), then run the same command again",
        "exit_code": 75,
    }


def _driver(connection: sa.Connection) -> psycopg.Connection[Any]:
    found: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    return found
