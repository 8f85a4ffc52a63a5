"""`mailferry pause`, `continue` and `stop`: steer a run from another terminal, through the ledger."""

from __future__ import annotations

import click

from mailferry.cli import options
from mailferry.errors import UserError
from mailferry.ledger.owner import dead

_SAID = {
    "pause": "run {} pauses as soon as what is on its way has arrived; `mailferry continue {}` lets it go on",
    "run": "run {} goes on",
    "stop": "run {} stops as soon as what is on its way has arrived; the next run continues there",
}


def _control(ledger: str, run: int | None, what: str) -> None:
    from mailferry.ledger import open_ledger
    from mailferry.ledger.rows import Control

    db = open_ledger(ledger)
    try:
        runs = [one for one in db.runs(ended=False) if not dead(one.owner)]
        if run is None and len(runs) == 1:
            run = runs[0].id
        if run is None or run not in [one.id for one in runs]:
            which = ", ".join(str(one.id) for one in runs) or "none"
            raise UserError("no such run is at work", about=f"run {run or ''}".strip(), advice=f"at work: {which}")
        db.control_run(run, Control(what))
    finally:
        db.close()
    click.echo(_SAID[what].format(run, run))


_run = click.argument("run", type=int, required=False)


@click.command("pause")
@_run
@options.ledger
def pause_command(run: int | None, ledger: str) -> None:
    """Pause RUN (default: the only one at work): it finishes what is on its way and waits."""
    _control(ledger, run, "pause")


@click.command("continue")
@_run
@options.ledger
def continue_command(run: int | None, ledger: str) -> None:
    """Let the paused RUN go on."""
    _control(ledger, run, "run")


@click.command("stop")
@_run
@options.ledger
def stop_command(run: int | None, ledger: str) -> None:
    """Stop RUN (default: the only one at work). The next run continues where it stopped."""
    _control(ledger, run, "stop")
