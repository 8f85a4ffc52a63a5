"""`mailferry wave events|letters|report`: who is told of a wave, and of all of them."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailferry.cli import options
from mailferry.cli.directory import config
from mailferry.cli.wave_plan import site_of

if TYPE_CHECKING:
    from mailferry.ops.wave_events import Told

_SHOWN = 20


@click.command("events", short_help="Tell a webhook or command what has happened.")
@config
@options.as_json
@click.option("--follow", is_flag=True, help="Go on until interrupted: for a service.")
@click.option("--from-start", is_flag=True, help="Begin with the first event of the ledger, not with the next one.")
def events_command(config: Path | None, ledger: str | None, as_json: bool, follow: bool, from_start: bool) -> int:
    """Tell each change of a wave and its people, once or more often, to the webhook or command of `[coexist.events]`.
    Run it from a timer, or with --follow as a service; no move ever waits for it. Exit code 75: something was not
    taken, and is told again by the next call."""
    from mailferry.ops import wave_events

    site = site_of(config, ledger)

    def say(told: Told) -> None:
        if as_json:
            click.echo(json.dumps({"schema": 1, "told": told.count, "trouble": told.trouble or None}))
        else:
            click.echo(f"{told.count} told" + (f"; {told.trouble}" if told.trouble else ""))

    if follow:
        wave_events.follow(site, say, from_start=from_start)  # until interrupted
    told = wave_events.tell(site, from_start=from_start)
    say(told)
    return 75 if told.trouble else 0


@click.command("report", short_help="Write the migration report of the whole organisation.")
@config
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("mailferry-migration"),
    show_default=True,
    metavar="DIR",
    help="Where page and tables go.",
)
@options.as_json
def report_command(config: Path | None, ledger: str | None, output: Path, as_json: bool) -> None:
    """Write how far the whole organisation is: waves, rates, forecast to the end, for how long mail waited, losses,
    scores, and what waits for whom; as one HTML page with plots, and as CSV and JSON. Reads the ledger alone, which the
    settings need only name.

    With --json the data goes to standard output and no file is written.
    """
    from mailferry.config.settings import read_settings
    from mailferry.ledger import open_ledger
    from mailferry.ops import organisation, organisation_page

    path = options.settings_path(config)
    place = ledger or (read_settings(path).ledger if config or path.exists() else None) or options.default_ledger()
    with closing(open_ledger(place)) as db:
        found = organisation.organisation(db)
        if as_json:
            click.echo(json.dumps(organisation.document(found), indent=2))
        else:
            click.echo(f"report: {organisation_page.write(db, found, output)}")


@click.command("letters", short_help="Write to the people who will move, or have moved.")
@click.argument("name")
@click.argument("when", type=click.Choice(("before", "after")))
@click.option("--only", multiple=True, metavar="ADDRESS", help="Only this person (may be repeated).")
@config
@options.as_json
@click.option("--again", is_flag=True, help="Also to those of whom nobody knows whether their letter was taken.")
@click.option("--dry-run", is_flag=True, help="Show the letters, and send none.")
def letters_command(
    name: str,
    when: str,
    only: tuple[str, ...],
    config: Path | None,
    ledger: str | None,
    as_json: bool,
    again: bool,
    dry_run: bool,
) -> int:
    """Send each person of the wave NAME a letter in their language: before they move, or after they have. Each comes
    once: who has got it is passed over. Exit code 1: some were refused, or nobody knows whether they were taken."""
    from mailferry.ops import wave_letters

    moment = wave_letters.When(when)
    done, letters = wave_letters.send(site_of(config, ledger), name, moment, only, again=again, dry_run=dry_run)
    if as_json:
        told = {
            "schema": 1,
            "wave": name,
            "letter": when,
            "dry_run": dry_run,
            "sent": done.sent,
            "refused": [{"mail": mail, "why": why} for mail, why in done.refused],
            "doubtful": done.doubtful,
            "had_it": done.before,
            "passed_over": done.passed_over,
            "to_send": [{"mail": one.move.mail, "language": one.language} for one in letters] if dry_run else [],
        }
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return 1 if done.refused or done.doubtful else 0
    if dry_run:
        for one in letters[:1]:
            click.echo(f"To: {one.message['To']}\nFrom: {one.message['From']}\nSubject: {one.message['Subject']}\n")
            click.echo(one.message.get_content())
        click.echo(f"{len(letters)} would be sent: {', '.join(one.move.mail for one in letters[:_SHOWN])}")
    else:
        click.echo(f"{len(done.sent)} sent")
    for mail, why in done.refused:
        click.echo(f"  refused: {mail}: {why}")
    for mail in done.doubtful:
        click.echo(f"  not known whether it was taken: {mail} (--again sends it again)")
    if done.before:
        click.echo(f"  {len(done.before)} had it already")
    if done.passed_over:
        click.echo(f"  {len(done.passed_over)} passed over: not in the state for it, or nobody reads there")
    return 1 if done.refused or done.doubtful else 0


COMMANDS = (events_command, letters_command, report_command)
