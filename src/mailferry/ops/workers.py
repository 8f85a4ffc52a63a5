"""The use cases behind `mailferry worker`: a process that does what waves ask for, and who works on what.

Shows nothing. Invariant: what a worker does for one person is what a fleet's does (`ops.wave.move_on`).
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mailferry.config.workers import Workers
from mailferry.copy.crew import Duty, Terms, run_crew
from mailferry.copy.fleet import lanes_each
from mailferry.copy.mailbox import Progress
from mailferry.copy.policy import CopyPolicy
from mailferry.copy.progress import Counts
from mailferry.copy.work import Engine
from mailferry.errors import UserError
from mailferry.ledger import jobs, open_ledger, queue, slots
from mailferry.ledger import waves as ledger_waves
from mailferry.ledger.jobs import Job, Worker
from mailferry.ledger.place import version_of
from mailferry.ledger.schema import HEAD
from mailferry.ledger.slots import Needs
from mailferry.ledger.store import Ledger
from mailferry.ledger.writer import LedgerThread
from mailferry.model.wave import WAITING_FOR_MAIL
from mailferry.ops.wave import GOALS, Site, at_once, context_of, move_on
from mailferry.waves.context import Context

STUCK_SECONDS = 120.0
"""Nothing was heard of a job for so long, though its worker lives."""


def terms(site: Site) -> Terms:
    """As `[workers]` says."""
    wanted = site.settings.workers or Workers()
    return Terms(wanted.places, wanted.lease_seconds, wanted.drain_seconds)


def serve(site: Site) -> None:
    """Work until a signal says otherwise. UserError: this ledger is none for workers, or of another Mailferry."""
    refuse_other_schema(site.ledger)
    wanted = terms(site)
    run_crew(site.ledger, lambda ledger: _duty(site, ledger, wanted.lease), wanted, CopyPolicy().budget_bytes)


def refuse_other_schema(place: str) -> None:
    """A worker neither upgrades a ledger, at which older ones may be at work, nor writes into a newer one."""
    version = version_of(place)
    if version is not None and version < HEAD:
        raise UserError(
            f"the ledger has schema {version}, this worker needs {HEAD}",
            advice="stop all workers, install this Mailferry on every host, then `mailferry wave status` upgrades it",
        )
    if version is not None and version > HEAD:
        raise UserError(
            f"the ledger has schema {version}, this worker knows {HEAD} at most",
            advice="install the newer Mailferry on this host",
        )


def _duty(site: Site, ledger: LedgerThread, lease: float) -> Duty:
    ctx: Context | None = None

    def needs(db: Ledger, job: Job) -> Needs:
        move = ledger_waves.move_of(db, job.move_id)
        wave = ledger_waves.wave_of(db, move)
        together = at_once(site.coexist, wave)
        return Needs(
            dict.fromkeys(site.servers(move), site.coexist.connections),
            min(site.coexist.lanes, lanes_each(together, jobs.left(db, job.run_id, together))),
            {f"wave {wave.id}": together},
        )

    def policy(db: Ledger) -> CopyPolicy:
        people = {move.source_user: move.target_user for move in ledger_waves.moves(db)}
        return CopyPolicy(people=people, lease_seconds=lease)

    async def do(engine: Engine, job: Job, lanes: int, progress: Progress) -> Counts:
        nonlocal ctx
        ctx = ctx or context_of(site, engine)
        mine = replace(ctx, engine=engine, run_id=job.run_id, started_by=job.who)
        return await move_on(site, mine, job.move_id, GOALS[job.verb], lanes, progress)

    def waits_for_mail(db: Ledger, some: Collection[Job]) -> bool:
        return any(ledger_waves.move_of(db, one.move_id).state in WAITING_FOR_MAIL for one in some)

    return Duty(needs, policy, do, waits_for_mail)


@dataclass(frozen=True, slots=True)
class AtWork:
    """One job, as people see it. `seconds`: since it began; `silent`: since anything was heard of it."""

    job: Job
    mail: str
    state: str
    seconds: float
    silent: float
    stuck: bool


@dataclass(frozen=True, slots=True)
class Status:
    """Who works on what. `slots`: what is held of each server and wave."""

    workers: tuple[tuple[Worker, float, tuple[AtWork, ...]], ...]
    waiting: int
    slots: dict[str, int]


def status(site: Site) -> Status:
    """As the ledger knows it now."""
    with closing(open_ledger(site.ledger)) as ledger:
        queue.prepare(ledger)
        now = jobs.clock(ledger)
        living = jobs.workers(ledger, silent=max(60.0, 2 * terms(site).lease))
        working = jobs.at_work(ledger)
        return Status(
            tuple(
                (
                    one,
                    now - one.heartbeat,
                    tuple(_at_work(ledger, job, now) for job in working if job.worker_id == one.id),
                )
                for one in living
            ),
            jobs.waiting(ledger),
            slots.in_use(ledger),
        )


def _at_work(ledger: Ledger, job: Job, now: float) -> AtWork:
    move = ledger_waves.move_of(ledger, job.move_id)
    silent = now - job.heard
    return AtWork(job, move.mail, move.state.value, now - (job.started or now), silent, silent > STUCK_SECONDS)


def document(found: Status) -> dict[str, Any]:
    """As JSON values (docs/json.md)."""
    return {
        "workers": [
            {
                "id": worker.id,
                "host": worker.host,
                "pid": worker.pid,
                "places": worker.places,
                "started": worker.started,
                "heard_seconds_ago": round(silent, 3),
                "draining": worker.draining,
                "jobs": [
                    {
                        "mail": one.mail,
                        "verb": one.job.verb,
                        "run": one.job.run_id,
                        "state": one.state,
                        "doing": one.job.doing,
                        "seconds": round(one.seconds, 3),
                        "silent_seconds": round(one.silent, 3),
                        "stuck": one.stuck,
                        "lanes": one.job.lanes,
                        "deaths": one.job.deaths,
                        "expected": one.job.expected,
                        "counts": dict(one.job.counts),
                    }
                    for one in working
                ],
            }
            for worker, silent, working in found.workers
        ],
        "waiting": found.waiting,
        "slots": found.slots,
    }


def unit(config: Path) -> str:
    """A unit of systemd for workers: `mailferry-worker@1`, `@2`, … one process each."""
    command = shlex.join([str(Path(sys.argv[0]).resolve()), "worker", "run", "--config", str(config.resolve())])
    return f"""\
[Unit]
Description=Mailferry worker %i
Wants=network-online.target
After=network-online.target

[Service]
User=mailferry
ExecStart={command}
Restart=always
RestartSec=5
KillMode=mixed
TimeoutStopSec=180
NoNewPrivileges=yes
ProtectSystem=full
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
"""
