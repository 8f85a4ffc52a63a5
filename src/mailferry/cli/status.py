"""`mailferry status`: runs and mailboxes as the ledger knows them."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from mailferry.cli import options
from mailferry.cli.show import size_text, time_text
from mailferry.ledger.owner import dead

if TYPE_CHECKING:
    from mailferry.ledger.rows import Run
    from mailferry.ledger.store import Ledger

LATEST = 10


@click.command("status")
@options.ledger
@options.as_json
@click.option("--all", "everything", is_flag=True, help="Every mailbox, also those where all is well.")
def status_command(ledger: str, as_json: bool, everything: bool) -> None:
    """Show the latest runs, and the mailboxes with something to look at."""
    from mailferry.ledger import open_ledger

    db = open_ledger(ledger)
    try:
        runs = [_run(db, run) for run in db.runs()[-LATEST:]]
        mailboxes = _mailboxes(db)
    finally:
        db.close()
    if as_json:
        click.echo(json.dumps({"schema": 1, "runs": runs, "mailboxes": mailboxes}, indent=2))
        return
    if not runs:
        click.echo("nothing has run with this ledger yet; begin with `mailferry copy SOURCE TARGET`")
        return
    for run in runs:
        click.echo(_run_line(run))
    shown = [one for one in mailboxes if everything or one["failed"] or one["outcome"] not in ("done", None)]
    for one in shown:
        click.echo(
            f"  {one['source']}: {one['outcome'] or 'under way'}, {one['copied']} copied, {one['failed']} failed"
        )
    left = len(mailboxes) - len(shown)
    if left:
        click.echo(f"  {left} mailboxes without anything to look at" + ("" if everything else " (--all shows them)"))


def _run(db: Ledger, run: Run) -> dict[str, Any]:
    from mailferry.ledger import jobs

    summary = jobs.summary(db, run.id) if run.owner == jobs.WORKERS and run.ended is None else run.summary
    state = "ended" if run.ended is not None else "dead" if dead(run.owner) else run.control.value
    return {
        "run": run.id,
        "state": {"run": "at work", "pause": "paused", "stop": "stopping"}.get(state, state),
        "host": run.host,
        "pid": run.pid,
        "started": run.started,
        "ended": run.ended,
        "heartbeat": run.heartbeat,
        "command": run.command,
        **summary,
    }


def _run_line(run: dict[str, Any]) -> str:
    if "directory" in run:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(run["started"]))
        return f"run {run['run']}: {run['state']}, since {since}: {run['command']} (see `mailferry directory status`)"
    counts = run.get("counts", {})
    until = run["ended"] or run["heartbeat"]
    seconds = max(0.1, until - run["started"])
    done = sum(counts.get(name, 0) for name in ("copied", "there", "excluded", "failed"))
    text = (
        f"run {run['run']}: {run['state']}, {run.get('mailboxes_ended', 0)}/{run.get('mailboxes', 0)} mailboxes, "
        f"{done}/{max(run.get('expected', 0), counts.get('listed', 0))} messages, {counts.get('failed', 0)} failed, "
        f"{size_text(counts.get('bytes', 0))} in {time_text(seconds)}"
    )
    rate = counts.get("copied", 0) / seconds
    left = run.get("expected", 0) - done
    if run["state"] == "at work" and rate and left > 0:
        text += f", about {time_text(left / rate)} left"
    if run["state"] == "dead":
        text += " (its process is gone; run the same command again to continue)"
    return f"{text}, since {time.strftime('%Y-%m-%d %H:%M', time.localtime(run['started']))}"


def _mailboxes(db: Ledger) -> list[dict[str, Any]]:
    latest = {one.mailbox_id: one for one in db.passes()}
    found = []
    for mailbox in db.mailboxes():
        one = latest.get(mailbox.id)
        counts = one.counts if one else {}
        found.append(
            {
                "source": mailbox.source_key,
                "target": mailbox.target_key,
                "outcome": one.outcome if one else None,
                "held_by": mailbox.lease_owner,
                **{name: counts.get(name, 0) for name in ("listed", "copied", "there", "excluded", "failed")},
            }
        )
    return found
