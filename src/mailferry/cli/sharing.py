"""`mailferry sharing`."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailferry.cli import options
from mailferry.cli.directory import config as with_ledger

if TYPE_CHECKING:
    from mailferry.ops.sharing import Shown
    from mailferry.sharing.convert import Converted

_FILE = click.Path(path_type=Path, dir_okay=False)
_files = click.argument("files", nargs=-1, metavar="FILE…", type=_FILE)
_some = click.argument("addresses", nargs=-1, metavar="[ADDRESS]…")


@click.group("sharing")
def sharing_command() -> None:
    """Who may open whose folders, and send with whose address."""


@sharing_command.command("convert", short_help="Turn exported permissions into a report. Needs no server.")
@_files
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where sharing.csv goes. Without it: only the report on the screen.",
)
@options.as_json
def convert_command(files: tuple[Path, ...], output: Path | None, as_json: bool) -> int:
    """Turn exports of Get-MailboxFolderPermission, Get-MailboxPermission, Get-RecipientPermission, Get-ADPermission and
    Get-Mailbox (JSON, CSV, CliXML; docs/sharing.md) into what the open side can do: rights of IMAP, each exact,
    approximate or manual.

    Exit code 1: something is left for a human to do; the report names it.
    """
    from mailferry.ops import sharing

    if not files:
        raise click.UsageError("at least one FILE")
    done = sharing.convert_files(files, output)
    counts = sharing.ratings(done)
    if as_json:
        _json(counts=counts, entries=[_entry(one) for one in done])
    else:
        _tell(done, counts)
    return 1 if counts["manual"] else 0


@sharing_command.command("fetch", short_help="Read permissions from Exchange over EWS, into files.")
@click.argument("people", nargs=-1, required=True, metavar="ADDRESS…")
@click.option(
    "--from",
    "source",
    required=True,
    metavar="ADDRESS",
    help="Exchange, without a user: `ews://ex1.acme.example?admin=svc`.",
)
@click.option("--password", metavar="REF", envvar=options.SOURCE_VARIABLE, help=f"Its password: {options.SECRETS}.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Where the files go: ADDRESS.sharing.json.",
)
@options.as_json
def fetch_command(people: tuple[str, ...], source: str, password: str | None, output: Path, as_json: bool) -> int:
    """Ask Exchange for the permissions of these mailboxes' folders and for their delegates, and write them as files
    that `sharing convert` and `sharing plan` read. Full access and Send As are not in EWS. Changes nothing on Exchange.

    Exit code 1: a mailbox could not be opened, or not all of it was told.
    """
    from mailferry.ops.sharing_fetch import Fetched, fetch
    from mailferry.secret import Secret

    def say(one: Fetched) -> None:
        for text in (one.error or str(one.file), *one.refused):
            if not as_json:
                click.echo(f"{one.mail}: {text}", err=bool(one.error))

    done = asyncio.run(fetch(source, Secret.from_reference(password) if password else None, people, output, say))
    if as_json:
        shown = [
            {"mail": one.mail, "file": str(one.file or ""), "refused": one.refused, "error": one.error} for one in done
        ]
        _json(people=shown)
    return 1 if any(one.error or one.refused for one in done) else 0


@sharing_command.command("plan", short_help="Note which rights are wanted, once both sides are there.")
@_files
@click.option("--send-as", is_flag=True, help="Read who may send as whom from Active Directory's access lists, too.")
@click.option("--names", "by_name", is_flag=True, help="Take a display name for the one person who has it.")
@click.option("--dry-run", is_flag=True, help="Tell what would be noted, and note nothing.")
@with_ledger
@options.as_json
def plan_command(
    files: tuple[Path, ...],
    send_as: bool,
    by_name: bool,
    dry_run: bool,
    config: Path | None,
    ledger: str | None,
    as_json: bool,
) -> int:
    """Note in the ledger what these exports, and full access in the directory, give to whom. A mailbox that a FILE
    tells about is wanted as the file says; what earlier files told of others stays. Nothing is given yet: `sharing
    apply` does that, and each move for its own people, once both sides are on the open side.

    Exit code 1: something is left for a human to do.
    """
    from mailferry.ops import sharing, wave

    site = wave.site_of(options.settings_path(config), ledger, options.default_ledger)
    with wave.opened(site) as db:
        lines, planned = sharing.plan(site, db, files, send_as=send_as, by_name=by_name, dry_run=dry_run)
    done = [line.entry for line in lines]
    counts = sharing.ratings(done)
    if as_json:
        _json(dry_run=dry_run, counts=counts, grants=planned._asdict(), entries=[_entry(one) for one in done])
    else:
        _tell(done, counts)
        click.echo(
            f"grants: {planned.added} new, {planned.changed} changed, {planned.same} as before, {planned.dropped} not "
            f"wanted any more{' (dry run: nothing noted)' if dry_run else ''}"
        )
    return 1 if counts["manual"] else 0


@sharing_command.command("apply", short_help="Give the rights whose both sides are on the open side.")
@_some
@click.option("--dry-run", is_flag=True, help="Show the grants as they would be, and give nothing.")
@with_ledger
@options.as_json
def apply_command(
    addresses: tuple[str, ...], dry_run: bool, config: Path | None, ledger: str | None, as_json: bool
) -> int:
    """Give what is planned and can be given, and take back what is not wanted any more: of all mailboxes, or of those
    of these people and for them. Full access in the directory is planned first. May be repeated, as after folders were
    made: what is as it should be is left alone. Moves do this for their own people at the switch.

    Exit code 1: something could not be given; `sharing show` tells why.
    """
    from mailferry.ops import sharing, wave

    site = wave.site_of(options.settings_path(config), ledger, options.default_ledger)
    shown = sharing.apply(
        site, addresses, lambda mail: None if as_json else click.echo(f"{mail} …", err=True), dry_run=dry_run
    )
    return _show(shown, as_json, dry_run=dry_run)


@sharing_command.command("show", short_help="Show what was planned, and how far each is.")
@_some
@with_ledger
@options.as_json
def show_command(addresses: tuple[str, ...], config: Path | None, ledger: str | None, as_json: bool) -> int:
    """Show the grants of these people's mailboxes and for them, or all: wanted, waiting for somebody's wave, applied,
    withdrawn."""
    from mailferry.ops import sharing, wave

    site = wave.site_of(options.settings_path(config), ledger, options.default_ledger)
    with wave.opened(site) as db:
        _show(sharing.show(site, db, addresses), as_json)
    return 0


def _show(shown: list[Shown], as_json: bool, **more: Any) -> int:
    """Exit code 1: one is wanted and not in force, and nobody is to come for it."""
    counts = Counter(one.grant.state.value for one in shown)
    if as_json:
        grants = [
            {
                "mailbox": one.owner,
                "person": one.person,
                "access": one.grant.access.value,
                "folder": one.grant.folder,
                "rights": one.grant.rights,
                "state": one.grant.state.value,
                "why": one.grant.why,
                "note": one.grant.note,
                "origin": one.grant.origin,
            }
            for one in shown
        ]
        _json(**more, counts=dict(counts), grants=grants)
    else:
        for one in shown:
            what = f"{one.grant.access.value} {one.grant.folder}".strip()
            about = "; ".join(filter(None, (one.grant.why, one.grant.note)))
            rights = f" ({one.grant.rights})" if one.grant.rights else ""
            click.echo(f"{one.owner}: {one.person}: {what}{rights}: {one.grant.state.value}{about and f': {about}'}")
        click.echo(f"{len(shown)} grants: {', '.join(f'{number} {state}' for state, number in sorted(counts.items()))}")
    return 1 if counts["wanted"] else 0


def _tell(done: Iterable[Converted], counts: dict[str, int]) -> None:
    from mailferry.ops.sharing import user_of

    for one in done:
        if one.notes and (one.carried or one.rating.value == "manual"):
            asked = one.permission
            what = f"{asked.access.value} {asked.folder}".strip()
            told = f"{asked.mailbox}: {user_of(one)}: {what} ({one.rating.value})"
            click.echo(f"{told}: {'; '.join(one.notes)}")
    told = ", ".join(f"{number} {name}" for name, number in counts.items())
    click.echo(f"{sum(counts.values())} entries: {told}")


def _entry(one: Converted) -> dict[str, Any]:
    from mailferry.ops.sharing import user_of

    asked = one.permission
    return {
        "mailbox": asked.mailbox,
        "who": user_of(one),
        "access": asked.access.value,
        "folder": asked.folder,
        "exchange": asked.rights,
        "rating": one.rating.value,
        "carried": one.carried,
        "imap": one.rights,
        "dav": one.dav,
        "notes": one.notes,
        "origin": asked.origin,
    }


def _json(**document: Any) -> None:
    click.echo(json.dumps({"schema": 1, **document}, indent=2, ensure_ascii=False))
