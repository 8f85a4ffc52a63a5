"""`mailferry log`: what a run wrote down, in plain lines."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from mailferry.cli import options
from mailferry.errors import UserError
from mailferry.ledger.owner import dead


@click.command("log")
@click.argument("run", type=int, required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on showing what is added, until the run ends.")
@click.option("--json", "as_json", is_flag=True, help="The lines as they are written, one JSON object each.")
@options.ledger
def log_command(run: int | None, follow: bool, as_json: bool, ledger: str) -> None:
    """Show the log of RUN (default: the latest)."""
    from mailferry.ledger import open_ledger

    db = open_ledger(ledger)
    try:
        runs = [one for one in db.runs() if run is None or one.id == run]
        if not runs:
            raise UserError("there is no such run", about=f"run {run}" if run else "this ledger")
        chosen = runs[-1]
        path = chosen.summary.get("log")
        if not path or not Path(path).exists():
            raise UserError("its log is not on this machine", about=f"run {chosen.id}", advice=f"look on {chosen.host}")
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            while True:
                for line in file:
                    _print(line, as_json)
                now = next(one for one in db.runs() if one.id == chosen.id)
                if not follow or now.ended is not None or dead(now.owner):
                    break
                time.sleep(0.5)
    finally:
        db.close()


def _print(line: str, as_json: bool) -> None:
    if as_json:
        click.echo(line, nl=False)
        return
    try:
        entry = json.loads(line)
        click.echo(f"{entry['at']} {entry['level']:8} {entry['text']}")
        if "trace" in entry:
            click.echo(entry["trace"])
    except (ValueError, KeyError, TypeError):
        click.echo(line, nl=False)
