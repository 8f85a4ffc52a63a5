"""`mailferry rules`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailferry.cli import options

if TYPE_CHECKING:
    from mailferry.model.rule import Upload
    from mailferry.ops.rules_upload import Place, Sent

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


@rules_command.command("fetch", short_help="Read rules and out-of-office from Exchange, into files.")
@click.argument("people", nargs=-1, required=True, metavar="ADDRESS…")
@click.option(
    "--from",
    "source",
    required=True,
    metavar="ADDRESS",
    help="Exchange, without a user: `ews://ex1.acme.example?admin=svc`, `graph:{user}?tenant=…&client=…`.",
)
@click.option("--password", metavar="REF", envvar=options.SOURCE_VARIABLE, help=f"Its password: {options.SECRETS}.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Where the files go: ADDRESS.rules.xml, ADDRESS.away.xml (over Graph: .json).",
)
@options.as_json
def fetch_command(people: tuple[str, ...], source: str, password: str | None, output: Path, as_json: bool) -> int:
    """Ask Exchange for the rules and the out-of-office of these mailboxes, and write the answers as files that `rules
    convert` and `rules upload` read. Changes nothing on Exchange.

    Exit code 1: a mailbox could not be opened.
    """
    from mailferry.ops.rules_fetch import Fetched, fetch
    from mailferry.secret import Secret

    def say(one: Fetched) -> None:
        if not as_json:
            click.echo(f"{one.mail}: {one.error or ', '.join(map(str, one.files))}", err=bool(one.error))

    secret = Secret.from_reference(password) if password else None
    done = asyncio.run(fetch(source, secret, people, output, say))
    if as_json:
        shown = [{"mail": one.mail, "files": [str(path) for path in one.files], "error": one.error} for one in done]
        click.echo(json.dumps({"schema": 1, "people": shown}, indent=2, ensure_ascii=False))
    return 1 if any(one.error for one in done) else 0


_TO = click.option(
    "--to",
    required=True,
    metavar="ADDRESS",
    help="sieve://HOST[:PORT], with `{user}`, `{localpart}` or `{domain}` of each address: "
    "`sieve://{localpart}@store1.acme.example?admin=svc`.",
)
_PASSWORD = click.option(
    "--password", metavar="REF", envvar="MAILFERRY_SIEVE_PASSWORD", help=f"Where its password is: {options.SECRETS}."
)
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Tell what would be done, and change nothing.")


@rules_command.command("transport", short_help="Turn the organisation's transport rules into Sieve and Postfix.")
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=_FILE)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where transport.sieve, Postfix's tables and transport.csv go. Without it: only the report on the screen.",
)
@click.option(
    "--domain", "domains", multiple=True, metavar="NAME", help="A domain of the organisation; may be repeated."
)
@click.option("--junk", default="Junk", show_default=True, metavar="FOLDER", help="Where junk goes.")
@click.option(
    "--tables",
    default="/etc/postfix/transport-rules",
    show_default=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where Postfix's tables will lie.",
)
@options.as_json
def transport_command(
    files: tuple[Path, ...], output: Path | None, domains: tuple[str, ...], junk: str, tables: Path, as_json: bool
) -> int:
    """Turn exports of Get-TransportRule (JSON, CSV, CliXML) into one Sieve script that runs before everybody's own
    (sieve_before), and settings of Postfix where those say just the same. Needs no server; puts nothing in force.

    Exit code 1: some rules are left for a human to do; the report names them.
    """
    from mailferry.ops.transport import convert_files
    from mailferry.rules.transport import Site

    done = convert_files(files, output, Site(domains, junk), tables)
    manual = [one for one in done.parts if one.active and not one.place]
    if as_json:
        rules = [
            {
                "name": one.name,
                "origin": one.origin,
                "rating": one.rating.value,
                "where": one.place,
                "active": one.active,
                "notes": one.notes,
            }
            for one in done.parts
        ]
        document = {"schema": 1, "rules": rules, "main_cf": done.main_cf, "tables": done.tables}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return 1 if manual else 0
    for one in done.parts:
        state = f"{one.rating.value}, {one.place or 'by hand'}" if one.active else "not active"
        click.echo(f"{one.name} ({state}){': ' if one.notes else ''}{'; '.join(one.notes)}")
    click.echo(f"{len(done.parts)} rules, {len(manual)} left to do{f'; written to {output}' if output else ''}")
    return 1 if manual else 0


@rules_command.command("signatures", short_help="Write everybody's signature into files.")
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=_FILE)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where a folder for each person goes. Without it: only who has one.",
)
@options.as_json
def signatures_command(files: tuple[Path, ...], output: Path | None, as_json: bool) -> int:
    """Write the signatures that Get-MailboxMessageConfiguration exports (JSON, CSV, CliXML) as signature.html and
    signature.txt, in a folder for each person, for their new mail program. Needs no server."""
    from mailferry.ops.signatures import export

    done = export(files, output)
    if as_json:
        people = [
            {"owner": one.owner, "files": [str(path) for path in one.files], "new": one.new, "replies": one.replies}
            for one in done
        ]
        click.echo(json.dumps({"schema": 1, "signatures": people}, indent=2, ensure_ascii=False))
        return 0
    for one in done:
        click.echo(f"{one.owner}: {', '.join(path.name for path in one.files)}")
    click.echo(f"{len(done)} people have a signature{f'; written to {output}' if output else ''}")
    return 0


@rules_command.command("upload", short_help="Convert exported rules and upload them by ManageSieve.")
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=_FILE)
@_TO
@_PASSWORD
@click.option("--owners", type=_FILE, metavar="FILE.csv", help="`owner,addresses`, as for `rules convert`.")
@click.option("--domain", "domains", multiple=True, metavar="NAME", help="A domain of the organisation.")
@click.option("--separator", default="/", show_default=True, metavar="CHARACTER", help="Between a folder and the next.")
@click.option("--only", multiple=True, metavar="OWNER", help="Only this person (may be repeated).")
@click.option("--activate", is_flag=True, help="In force at once; else it only lies there.")
@options.ledger
@options.as_json
@_DRY_RUN
def upload_command(
    files: tuple[Path, ...],
    to: str,
    password: str | None,
    owners: Path | None,
    domains: tuple[str, ...],
    separator: str,
    only: tuple[str, ...],
    activate: bool,
    ledger: str,
    as_json: bool,
    dry_run: bool,
) -> int:
    """Convert exports for what the server offers, and upload each person's script. Their own script stays, and is run
    before it. May be run again at any time. In waves this happens by itself (docs/rules-upload.md).

    Exit code 1: somebody's could not be uploaded, or rules are left for their owners to do.
    """
    from mailferry.ops.rules import Options, read_owners
    from mailferry.ops.rules_upload import upload_files

    wanted = Options(read_owners(owners) if owners else {}, domains, separator)
    done = asyncio.run(
        upload_files(
            ledger,
            files,
            _place(to, password),
            wanted,
            only=only,
            activate=activate,
            dry_run=dry_run,
            said=_told_nothing if as_json else _say,
        )
    )
    return _end(done, as_json)


@rules_command.command("show", short_help="Tell what was uploaded, and how well each rule came over.")
@click.argument("people", nargs=-1, metavar="[ADDRESS…]")
@options.ledger
@options.as_json
def show_command(people: tuple[str, ...], ledger: str, as_json: bool) -> int:
    """Tell what the ledger knows of everybody's uploaded rules, or of these people's.

    Exit code 1: something is put off, or left for its owner to do.
    """
    from mailferry.ledger import open_ledger
    from mailferry.ledger.uploads import uploads
    from mailferry.ops.rules_upload import Sent

    db = open_ledger(ledger)
    try:
        found = uploads(db)
    finally:
        db.close()
    asked = {one.lower() for one in people}
    done = [Sent(one.mail, one) for one in found if not asked or one.mail.lower() in asked]
    if not as_json:
        for one in done:
            _say(one)
    return _end(done, as_json)


@rules_command.command("withdraw", short_help="Bring back what was active before an upload.")
@click.argument("people", nargs=-1, metavar="[ADDRESS…]")
@_TO
@_PASSWORD
@options.ledger
@options.as_json
@_DRY_RUN
def withdraw_command(
    people: tuple[str, ...], to: str, password: str | None, ledger: str, as_json: bool, dry_run: bool
) -> int:
    """Activate what was active before, and delete what was uploaded, unless its owner has changed it. For these people,
    or for everybody with uploaded rules."""
    from mailferry.ops.rules_upload import withdraw_from

    said = _told_nothing if as_json else _say
    done = asyncio.run(withdraw_from(ledger, _place(to, password), people, dry_run=dry_run, said=said))
    _end(done, as_json)
    return 1 if any(one.error for one in done) else 0


def _place(to: str, password: str | None) -> Place:
    from mailferry.ops.rules_upload import Place
    from mailferry.secret import Secret

    return Place(to, Secret.from_reference(password) if password else None)


def _told_nothing(one: Sent) -> None:
    """JSON comes at the end."""


def _say(one: Sent) -> None:
    if one.upload is None:
        click.echo(f"{one.owner}: {one.error}", err=True)
        return
    put_off = f" ({one.upload.put_off})" if one.upload.put_off else ""
    click.echo(f"{one.owner}: {one.upload.state.value}{put_off}, {_counted(one.upload.parts)}")
    for part in one.upload.parts:
        if part["notes"]:
            state = part["rating"] if part["active"] else "not active"
            click.echo(f"  {part['name']} ({state}): {'; '.join(part['notes'])}")


def _counted(parts: Sequence[Mapping[str, Any]]) -> str:
    ratings = [part["rating"] if part["active"] else "not active" for part in parts]
    return ", ".join(f"{ratings.count(one)} {one}" for one in dict.fromkeys(ratings)) or "no rules"


def _end(done: Sequence[Sent], as_json: bool) -> int:
    if as_json:
        people = [_document(one.upload) if one.upload else {"mail": one.owner, "error": one.error} for one in done]
        click.echo(json.dumps({"schema": 1, "people": people}, indent=2, ensure_ascii=False))
    else:
        click.echo(f"{len(done)} people, {sum(1 for one in done if one.error)} failed")
    left = any(
        one.upload is None or one.upload.put_off or any(part["rating"] == "manual" for part in one.upload.parts)
        for one in done
    )
    return 1 if left else 0


def _document(one: Upload) -> dict[str, Any]:
    return {
        "mail": one.mail,
        "key": one.key,
        "state": one.state.value,
        "before": one.before,
        "put_off": one.put_off,
        "rules": list(one.parts),
    }
