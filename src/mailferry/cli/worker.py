"""`mailferry worker`: a process that does what waves ask for, on any number of hosts."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailferry.cli import options
from mailferry.cli.directory import config
from mailferry.cli.wave_plan import site_of

if TYPE_CHECKING:
    from mailferry.ops.workers import AtWork


@click.group("worker")
def worker_command() -> None:
    """Do what waves ask for, on any number of hosts that share one PostgreSQL ledger."""


@worker_command.command("run")
@config
def run_command(config: Path | None, ledger: str | None) -> None:
    """Work until SIGTERM or Ctrl-C: then take nothing new, let those come through who are parked, give the rest to
    others. A second signal ends it at once, as if killed."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    from mailferry.ops import workers

    workers.serve(site_of(config, ledger))


@worker_command.command("status")
@config
@options.as_json
def status_command(config: Path | None, ledger: str | None, as_json: bool) -> int:
    """Tell who works on what, since when, how fast. Exit code 1: somebody is stuck, or nobody is there to work."""
    from mailferry.cli.show import time_text
    from mailferry.ops import workers

    found = workers.status(site_of(config, ledger))
    if as_json:
        click.echo(json.dumps({"schema": 1, **workers.document(found)}, indent=2))
    else:
        for worker, silent, working in found.workers:
            note = ", ends" if worker.draining else ""
            click.echo(
                f"worker {worker.id} on {worker.host} (pid {worker.pid}): {len(working)} of {worker.places} places, "
                f"heard of {time_text(max(0.0, silent))} ago{note}"
            )
            for one in working:
                click.echo(f"  {_line(one)}")
        if not found.workers:
            click.echo("no worker is there: start `mailferry worker run` on some host")
        click.echo(f"{found.waiting} wait for a worker")
        for key, number in sorted(found.slots.items()):
            click.echo(f"  {key}: {number} in use")
    stuck = any(one.stuck for _, _, working in found.workers for one in working)
    return 1 if stuck or (found.waiting and not found.workers) else 0


@worker_command.command("unit")
@options.settings
def unit_command(config: Path | None) -> None:
    """Print a unit of systemd for workers on this host."""
    from mailferry.ops import workers

    click.echo(workers.unit(options.settings_path(config)), nl=False)


def _line(one: AtWork) -> str:
    from mailferry.cli.show import size_text, time_text

    counts = one.job.counts
    done = sum(counts.get(name, 0) for name in ("copied", "there", "excluded", "failed"))
    rate = counts.get("copied", 0) / max(0.1, one.seconds - one.silent)
    text = (
        f"{one.mail}: {one.job.verb}, {one.state}, for {time_text(one.seconds)}, {done}/{one.job.expected} messages, "
        f"{size_text(counts.get('bytes', 0))}, {rate:.0f}/s"
    )
    if one.job.doing:
        text += f", {one.job.doing}"
    return text + (f", STUCK: nothing heard for {time_text(one.silent)}" if one.stuck else "")
