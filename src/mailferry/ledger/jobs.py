"""Workers, and the jobs that runs gave to them: who does what, since when, how far. Queues nothing (`queue` does).

Functions over an open `Ledger` on PostgreSQL. Invariants: what a job has come to, only the worker says that does it
now (`worker_id`), and only once; times are the database's, which all hosts share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from mailferry.errors import Fenced
from mailferry.ledger.owner import host_and_pid, owner_text
from mailferry.ledger.rows import STOPPED, Control
from mailferry.ledger.schema import VERSION_TABLE, job, run, worker

if TYPE_CHECKING:
    from mailferry.ledger.store import Ledger

WORKERS = "the workers:0:-"
"""The owner of a run that is theirs: no process of this or any machine."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One process of `mailferry worker`. `places`: jobs at once."""

    id: int
    host: str
    pid: int
    places: int
    started: float
    heartbeat: float
    draining: bool
    ended: float | None


@dataclass(frozen=True, slots=True)
class Job:
    """One move to one goal. `who`: started the run. `started`, `heard`: by the worker that does it, or did last.
    `deaths`: workers that died while they did it. `error`: as JSON."""

    id: int
    run_id: int
    move_id: int
    verb: str
    who: str
    worker_id: int | None = None
    started: float | None = None
    heard: float = 0.0
    ended: float | None = None
    lanes: int = 0
    deaths: int = 0
    doing: str = ""
    expected: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None


class Told(NamedTuple):
    """How far a job is."""

    job_id: int
    doing: str
    expected: int
    counts: Mapping[str, int]


class Beat(NamedTuple):
    """What a worker hears when it tells that it lives: the schema's version, and what is asked of the runs at work."""

    version: str
    controls: Mapping[int, Control]


_JOB = tuple(job.c[name] for name in Job.__slots__)
_WORKER = tuple(worker.c[name] for name in ("id", "owner", "places", "started", "heartbeat", "draining", "ended"))
_ONE = sa.select(*_JOB).where(job.c.id == sa.bindparam("of_job"))
_TELL = (
    job.update()
    .where(job.c.id == sa.bindparam("of_job"), job.c.worker_id == sa.bindparam("of_worker"), job.c.ended.is_(None))
    .values(
        heard=sa.bindparam("at"),
        doing=sa.bindparam("to_doing"),
        expected=sa.bindparam("to_expected"),
        counts=sa.bindparam("to_counts"),
    )
)


def enlist(ledger: Ledger, places: int) -> int:
    """This process is a worker from now on; its id."""
    with ledger._write() as connection:
        now = ledger._now(connection)
        new = {"owner": owner_text(), "places": places, "started": now, "heartbeat": now, "draining": False}
        return int(connection.execute(worker.insert().values(new).returning(worker.c.id)).scalar_one())


def beat(ledger: Ledger, worker_id: int, told: Sequence[Told], runs: Sequence[int], *, draining: bool) -> Beat:
    """The worker lives, and how far its jobs are."""
    with ledger._write() as connection:
        now = ledger._now(connection)
        mine = worker.update().where(worker.c.id == worker_id)
        connection.execute(mine.values(heartbeat=now, draining=draining))
        if told:
            rows = [
                {
                    "of_job": one.job_id,
                    "of_worker": worker_id,
                    "at": now,
                    "to_doing": one.doing,
                    "to_expected": one.expected,
                    "to_counts": dict(one.counts),
                }
                for one in told
            ]
            connection.execute(_TELL, rows)
        version = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar_one()
        found = connection.execute(sa.select(run.c.id, run.c.control).where(run.c.id.in_(runs)))
        return Beat(version, {number: Control(control) for number, control in found})


def leave(ledger: Ledger, worker_id: int) -> None:
    """The worker ends."""
    with ledger._write() as connection:
        now = ledger._now(connection)
        connection.execute(worker.update().where(worker.c.id == worker_id).values(heartbeat=now, ended=now))


def workers(ledger: Ledger, *, silent: float) -> list[Worker]:
    """Those that have not ended, and were heard of within `silent` seconds; oldest first."""
    with ledger._read() as connection:
        since = ledger._now(connection) - silent
        here = sa.and_(worker.c.ended.is_(None), worker.c.heartbeat > since)
        found = connection.execute(sa.select(*_WORKER).where(here).order_by(worker.c.id))
        return [Worker(number, *host_and_pid(owner), *rest) for number, owner, *rest in found]


def ask(ledger: Ledger, run_id: int, verb: str, who: str, moves: Sequence[int]) -> list[int]:
    """New jobs of a run; their ids, in this order."""
    with ledger._write() as connection:
        same = {"run_id": run_id, "verb": verb, "who": who, "queued": False, "heard": ledger._now(connection)}
        ids: list[int] = []
        for start in range(0, len(moves), 1000):
            some = moves[start : start + 1000]
            bare = {"lanes": 0, "deaths": 0, "doing": "", "expected": 0, "counts": {}}
            rows = [{**same, **bare, "move_id": one} for one in some]
            new = job.insert().returning(job.c.id, sort_by_parameter_order=True)
            ids += connection.execute(new, rows).scalars()
        return ids


def get(ledger: Ledger, job_id: int) -> Job:
    with ledger._read() as connection:
        return Job(*connection.execute(_ONE, {"of_job": job_id}).one())


def of_run(ledger: Ledger, run_id: int, since: float = 0.0) -> list[Job]:
    """A run's jobs that something was heard of since then, in the order in which they were asked for."""
    here = sa.and_(job.c.run_id == run_id, job.c.heard >= since)
    with ledger._read() as connection:
        return [Job(*row) for row in connection.execute(sa.select(*_JOB).where(here).order_by(job.c.id))]


def at_work(ledger: Ledger) -> list[Job]:
    """All that have begun and not ended."""
    here = sa.and_(job.c.ended.is_(None), job.c.worker_id.is_not(None))
    with ledger._read() as connection:
        return [Job(*row) for row in connection.execute(sa.select(*_JOB).where(here).order_by(job.c.id))]


def left(ledger: Ledger, run_id: int, most: int) -> int:
    """How many jobs of a run have not ended; more than `most` are not counted."""
    some = sa.select(job.c.id).where(job.c.run_id == run_id, job.c.ended.is_(None)).limit(most).subquery()
    with ledger._read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(some)).scalar_one())


def clock(ledger: Ledger) -> float:
    """Now, as all hosts say it."""
    with ledger._read() as connection:
        return ledger._now(connection)


def waiting(ledger: Ledger) -> int:
    """How many have not begun, or were given back."""
    here = sa.and_(job.c.ended.is_(None), job.c.worker_id.is_(None))
    with ledger._read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).where(here)).scalar_one())


def begin(ledger: Ledger, job_id: int, worker_id: int, lanes: int) -> bool:
    """This worker does it from now on; False if it has ended."""
    with ledger._write() as connection:
        now = ledger._now(connection)
        values = {"worker_id": worker_id, "started": now, "heard": now, "lanes": lanes, "doing": ""}
        here = sa.and_(job.c.id == job_id, job.c.ended.is_(None))
        return connection.execute(job.update().where(here).values(values)).rowcount == 1


def end(
    ledger: Ledger, job_id: int, worker_id: int | None, counts: Mapping[str, int], error: Mapping[str, Any] | None
) -> None:
    """It is over. Fenced: another worker does it, or it has ended. `worker_id` None: it had not begun."""
    with ledger._write() as connection:
        now = ledger._now(connection)
        values = {"heard": now, "ended": now, "doing": "", "counts": dict(counts), "error": error}
        mine = job.c.worker_id.is_(None) if worker_id is None else job.c.worker_id == worker_id
        here = sa.and_(job.c.id == job_id, mine, job.c.ended.is_(None))
        if connection.execute(job.update().where(here).values(values)).rowcount != 1:
            raise Fenced("another worker does it", about=f"job {job_id}")


def hand_back(ledger: Ledger, job_id: int, worker_id: int, doing: str) -> None:
    """It is nobody's again, where it is this worker's; `doing`: what it waits for."""
    with ledger._write() as connection:
        here = sa.and_(job.c.id == job_id, job.c.worker_id == worker_id, job.c.ended.is_(None))
        values = {"worker_id": None, "heard": ledger._now(connection), "lanes": 0, "doing": doing}
        connection.execute(job.update().where(here).values(values))


def end_waiting(ledger: Ledger, run_id: int) -> None:
    """Of a run that is to stop: what nobody has begun is over."""
    with ledger._write() as connection:
        now = ledger._now(connection)
        here = sa.and_(job.c.run_id == run_id, job.c.ended.is_(None), job.c.worker_id.is_(None))
        connection.execute(job.update().where(here).values(heard=now, ended=now, doing="", error={**STOPPED}))


def open_run(ledger: Ledger, command: str, summary: Mapping[str, Any]) -> int:
    """A run whose jobs the workers do; its id."""
    with ledger._write() as connection:
        now = ledger._now(connection)
        new = {"command": command, "owner": WORKERS, "started": now, "heartbeat": now, "summary": dict(summary)}
        return int(
            connection.execute(run.insert().values(**new, control=Control.RUN.value).returning(run.c.id)).scalar_one()
        )


def control(ledger: Ledger, run_id: int) -> Control:
    """What is asked of a run."""
    with ledger._read() as connection:
        return Control(connection.execute(sa.select(run.c.control).where(run.c.id == run_id)).scalar_one())


def close_runs(ledger: Ledger) -> None:
    """End the runs of the workers that have no open job any more, with their sums."""
    open_ = sa.exists().where(job.c.run_id == run.c.id, job.c.ended.is_(None))
    over = sa.select(run.c.id).where(run.c.owner == WORKERS, run.c.ended.is_(None), sa.not_(open_))
    with ledger._read() as connection:
        ids = list(connection.execute(over).scalars())
    for one in ids:
        ledger.end_run(one, summary(ledger, one))


def summary(ledger: Ledger, run_id: int) -> dict[str, Any]:
    """A run of the workers in numbers, as `mailferry status` shows them."""
    sums: dict[str, int] = {}
    found = of_run(ledger, run_id)
    for one in found:
        for name, number in one.counts.items():
            sums[name] = sums.get(name, 0) + number
    with ledger._read() as connection:
        facts = connection.execute(sa.select(run.c.summary).where(run.c.id == run_id)).scalar_one()
    return {
        **facts,
        "mailboxes": len(found),
        "mailboxes_ended": sum(1 for one in found if one.ended is not None),
        "mailboxes_failed": sum(1 for one in found if one.error is not None),
        "expected": sum(one.expected for one in found),
        "counts": sums,
    }
