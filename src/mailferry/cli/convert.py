"""`mailferry directory convert`: address book files into an LDIF that an LDAP server takes."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mailferry.cli import options

_SHOWN = 40
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("convert", short_help="Turn address book files into LDIF.")
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=_FILE)
@click.option(
    "-b", "--base", required=True, metavar="DN", help="Where the entries stand: ou=addressbook,dc=acme,dc=org."
)
@click.option("-o", "--output", type=_FILE, metavar="OUT.ldif", help="Where to. Without it: only the findings.")
@click.option("--encoding", metavar="NAME", help="The encoding of CSV files, where it is known (cp1252, cp1251, …).")
@click.option("--decisions", type=_FILE, metavar="FILE.csv", help="Decisions to replay; gets the findings that wait.")
@click.option("--report", type=_FILE, metavar="FILE", help="Write all findings there, as .html or .csv.")
@options.as_json
def convert_command(
    files: tuple[Path, ...],
    base: str,
    output: Path | None,
    encoding: str | None,
    decisions: Path | None,
    report: Path | None,
    as_json: bool,
) -> int:
    """Turn address books (Outlook CSV, Netscape and other LDIF, csvde, vCards) into clean inetOrgPerson entries.

    Several FILEs become one book, without doubles. Exit code 1: some records are left out; they are listed.
    """
    from mailferry.directory.clean_report import line
    from mailferry.ops.address_book import convert

    done = convert(files, base, output, encoding=encoding, decisions=decisions, report=report)
    cleaned = done.cleaned
    if as_json:
        counts = {"entries": len(done.book.entries) - 1, "left_out": len(cleaned.left_out), "open": len(cleaned.open)}
        click.echo(json.dumps({"schema": 1, **counts, "findings": [line(row) for row in cleaned.rows]}, indent=2))
        return 1 if cleaned.open else 0
    for row in [row for row in cleaned.rows if row.is_open][:_SHOWN]:
        one = row.finding
        proposal = "" if one.proposal is None else f" → {one.proposal or '(without it)'}"
        click.echo(f"{one.where}: {one.message} [{one.code}]{proposal}")
    for found in done.book.findings[:_SHOWN]:
        click.echo(f"{found.where}: {found.message} [{found.code}]")
    click.echo(
        f"{len(done.book.entries) - 1} entries, {len(cleaned.merged)} doubles merged, {len(cleaned.rows)} findings, "
        f"{len(cleaned.open)} wait for a decision"
        + (f" in {decisions}" if decisions is not None and cleaned.open else "")
        + (f"; written to {output}" if output is not None else "")
    )
    return 1 if cleaned.open else 0
