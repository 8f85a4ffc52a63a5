"""`mailferry report`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mailferry.cli import options


@click.command("report")
@click.argument("run", type=int, required=False)
@options.ledger
@click.option("--output", type=click.Path(path_type=Path), default=Path("mailferry-report"), show_default=True)
@options.as_json
def report_command(run: int | None, ledger: str, output: Path, as_json: bool) -> None:
    """Write the report of RUN (default: of all that the ledger knows) as HTML and JSON.

    With --json the data goes to standard output and no file is written.
    """
    from mailferry.ledger import open_ledger
    from mailferry.verify.report import report_data, write_report

    db = open_ledger(ledger)
    try:
        if as_json:
            click.echo(json.dumps(report_data(db, run_id=run), indent=2))
        else:
            click.echo(f"report: {write_report(db, output, run_id=run)}")
    finally:
        db.close()
