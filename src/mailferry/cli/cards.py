"""`mailferry directory cards`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from mailferry.cli import options


@click.command("cards", short_help="Keep the CardDAV address book of the organisation in step.")
@click.option(
    "--ledger",
    envvar="MAILFERRY_LEDGER",
    metavar="PLACE",
    help="The ledger: a file, or postgresql://… (default: what the settings say).",
)
@options.settings
@click.option("--dry-run", is_flag=True, help="Tell what would be done; write nothing.")
@click.option("--accept", type=click.Choice(["deletions"]), help="Answer to a safety stop, after you looked.")
@options.as_json
def cards_command(config: Path | None, ledger: str | None, dry_run: bool, accept: str | None, as_json: bool) -> int:
    """Bring everybody who shows in the open directory into the address book that all may read and nobody may write
    (`[stack.radicale]`, docs/stack-radicale.md), with photos; whoever has gone is removed.

    Only what changed is sent: run it from a timer. Exit code 1: somebody could not be brought.
    """
    from mailferry.config.settings import read_settings
    from mailferry.copy.items import ItemsDone
    from mailferry.ops import cards

    path = options.settings_path(config)
    place = ledger or read_settings(path).ledger or options.default_ledger()
    done = cards.bring(path, place, dry_run=dry_run, many_deletions=accept == "deletions")
    if not isinstance(done, ItemsDone):
        for one in done:
            click.echo(json.dumps({"schema": 1, **asdict(one)}) if as_json else f"{one.listed} people, {one.bring} new")
        return 0
    counts = done.total()
    notes = [one.note for one in done.collections if one.note]
    if as_json:
        click.echo(json.dumps({"schema": 1, "counts": counts.as_dict(), "notes": notes}, indent=2))
    else:
        click.echo(
            f"{counts.listed} people: {counts.copied} brought, {counts.there} unchanged, {counts.removed} removed, "
            f"{counts.failed} failed"
        )
    for note in notes:
        click.echo(note, err=True)
    return 65 if counts.stops else 1 if counts.failed or counts.broken else 0
