"""`mailferry rules`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mailferry.cli import options

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group("rules")
def rules_command() -> None:
    """Exchange's inbox rules, out-of-office and junk lists as Sieve."""


@rules_command.command("convert", short_help="Turn exported rules into Sieve scripts and a report.")
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=_FILE)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where the scripts and rules.csv go. Without it: only the report on the screen.",
)
@click.option(
    "--owners", type=_FILE, metavar="FILE.csv", help="`owner,addresses`: whose mailbox an export means, all addresses."
)
@click.option(
    "--domain", "domains", multiple=True, metavar="NAME", help="A domain of the organisation; may be repeated."
)
@click.option("--separator", default="/", show_default=True, metavar="CHARACTER", help="Between a folder and the next.")
@click.option("--extensions", metavar="NAMES", help="What the server announces (ManageSieve's SIEVE line).")
@click.option("--redirects", default=4, show_default=True, type=click.IntRange(0), help="At most, for one message.")
@options.as_json
def convert_command(
    files: tuple[Path, ...],
    output: Path | None,
    owners: Path | None,
    domains: tuple[str, ...],
    separator: str,
    extensions: str | None,
    redirects: int,
    as_json: bool,
) -> int:
    """Turn exports of Get-InboxRule, Get-MailboxAutoReplyConfiguration, Get-MailboxJunkEmailConfiguration (JSON, CSV,
    CliXML), of Graph's messageRules and of EWS into one Sieve script for each mailbox. Needs no server.

    Exit code 1: some rules are left for their owners to do; the report names them.
    """
    from mailferry.ops.rules import Options, convert_files, ratings, read_owners

    offered = None if extensions is None else frozenset(extensions.split())
    wanted = Options(read_owners(owners) if owners else {}, domains, separator, offered, redirects)
    done = convert_files(files, output, wanted)
    counts = ratings(done)
    if as_json:
        shown = [
            {
                "owner": one.owner,
                "script": str(one.path) if one.path else None,
                "parts": [
                    {
                        "name": part.name,
                        "origin": part.origin,
                        "rating": part.rating.value,
                        "active": part.active,
                        "notes": part.notes,
                    }
                    for part in one.parts
                ],
            }
            for one in done
        ]
        click.echo(json.dumps({"schema": 1, "counts": counts, "mailboxes": shown}, indent=2, ensure_ascii=False))
        return 1 if counts["manual"] else 0
    for one in done:
        for part in one.parts:
            if part.notes or not part.active:
                state = part.rating.value if part.active else "not active"
                click.echo(f"{one.owner}: {part.name} ({state}): {'; '.join(part.notes)}")
    click.echo(
        f"{len(done)} mailboxes, {sum(counts.values())} rules: {counts['exact']} exact, {counts['approximate']} "
        f"approximate, {counts['manual']} manual, {counts['inactive']} not active"
        + (f"; written to {output}" if output is not None else "")
    )
    return 1 if counts["manual"] else 0
