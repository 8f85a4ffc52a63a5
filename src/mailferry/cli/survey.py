"""`mailferry survey`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailferry.cli import options
from mailferry.cli.directory import progress_lines
from mailferry.cli.show import size_text

if TYPE_CHECKING:
    from mailferry.model.account import EwsAccount, ImapAccount
    from mailferry.model.recipient import Recipient

USERS = ("account", "mail", "principal")
_SHOWN = 10


@click.command("survey")
@options.settings
@click.option(
    "--sizes",
    metavar="ADDRESS",
    help="Look into the mailboxes, too: where they are, such as 'imaps://{user}@exchange.example?admin=svc-ferry'.",
)
@click.option(
    "--user",
    type=click.Choice(USERS),
    default=USERS[0],
    show_default=True,
    help="What {user} stands for: the log-in name, the primary address, or the userPrincipalName.",
)
@click.option(
    "--source-password",
    metavar="REF",
    help=f"Where the password for --sizes is: {options.SECRETS}. Default: ${options.SOURCE_VARIABLE}, else it is asked "
    "for.",
)
@click.option(
    "--connections", type=click.IntRange(1, 100), default=8, show_default=True, help="Mailboxes opened at once."
)
@click.option("--wave-size", type=click.IntRange(1), metavar="N", help="Mailboxes in a wave (default: a twentieth).")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("survey"), show_default=True, help="Where the report goes."
)
@options.as_json
def survey_command(
    config: Path | None,
    sizes: str | None,
    user: str,
    source_password: str | None,
    connections: int,
    wave_size: int | None,
    out: Path,
    as_json: bool,
) -> None:
    """Count what there is, who works in whose mailbox, and who could move first; write a page, a CSV and a JSON file.

    Reads the source of the settings (`[directory.source]`), and with --sizes the mailboxes over IMAP or EWS; EWS also
    tells who uses calendars, rules, delegates, archives and public folders. Changes nothing.
    """
    from mailferry.ops.survey import survey, totals, users
    from mailferry.ops.survey_report import survey_data, write_survey

    address = _address(sizes, user, source_password) if sizes is not None else None
    path = options.settings_path(config)
    with progress_lines() as progress:
        done = survey(path, progress, address=address, connections=connections, wave_size=wave_size)
    page = write_survey(done, out)
    if as_json:
        click.echo(json.dumps(survey_data(done), indent=2, ensure_ascii=False))
        return
    found = done.survey
    click.echo(", ".join(f"{count} {kind}" for kind, count in found.kinds.most_common()))
    if found.sizes:
        sums = totals(found)
        size = f", {size_text(sums['bytes'])}" if sums["bytes"] else ""
        failed = f"; {sums['failed']} could not be opened" if sums["failed"] else ""
        click.echo(f"{sums['opened']} mailboxes opened: {sums['messages']} messages{size}{failed}")
        if used := users(found):
            click.echo(f"  used by: {', '.join(f'{name} {count}' for name, count in used.items())}")
    largest = f", the largest of {len(found.clusters[0].members)}" if found.shared_clusters else ""
    click.echo(f"{len(found.shared_clusters)} clusters{largest}; {len(found.suggestion.waves)} suggested waves")
    for one in found.advice[:_SHOWN]:
        click.echo(f"  ! {one.title}: {one.count}")
    click.echo(f"report: {page}")


def _address(template: str, user: str, reference: str | None) -> Callable[[Recipient], ImapAccount | EwsAccount | None]:
    """How to open a recipient's mailbox. UserError for a template that makes no sense, before anything is read."""
    from mailferry.config.accounts import parse_address
    from mailferry.errors import UserError
    from mailferry.model.account import EwsAccount, ImapAccount, Mechanism

    example = parse_address(template, user="somebody@example")
    if not isinstance(example, ImapAccount | EwsAccount):
        advice = "--sizes 'imaps://{user}@HOST' or 'ews://{user}@HOST'"
        raise UserError("sizes are looked up over IMAP or EWS", about=template, advice=advice)
    if example.mechanism is Mechanism.EXTERNAL:
        secret = None
    else:
        secret = options.secret_for([example], "source", reference, options.SOURCE_VARIABLE)

    def address(one: Recipient) -> ImapAccount | EwsAccount | None:
        name: Any = getattr(one, user)
        if not name:
            return None
        found = parse_address(template, user=name, secret=secret)
        return found if isinstance(found, ImapAccount | EwsAccount) else None

    return address
