"""`mailferry wave script`: what Exchange's administrator has to run for a wave."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mailferry.cli import options
from mailferry.cli.directory import config

STEPS = ("prepare", "park", "close", "forward", "finish", "rollback")
_SHOWN = 20


@click.command("script", short_help="Write the script for a step on Exchange's side.")
@click.argument("name")
@click.argument("step", type=click.Choice(STEPS))
@config
@options.as_json
@click.option("--only", multiple=True, metavar="ADDRESS", help="Only this person (may be repeated).")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", required=True, help="Where the files go.")
@click.option(
    "--format",
    "form",
    type=click.Choice(("powershell", "ldif")),
    default="powershell",
    show_default=True,
    help="For the Exchange Management Shell, or for Active Directory (park and rollback alone).",
)
@click.option("--dry-run", is_flag=True, help="Tell who would be in it, and write nothing.")
def script_command(
    name: str,
    step: str,
    config: Path | None,
    ledger: str | None,
    as_json: bool,
    only: tuple[str, ...],
    out: Path,
    form: str,
    dry_run: bool,
) -> int:
    """Write the script that does a STEP of the wave NAME in Exchange, the script that undoes it, and a README. Sends
    nothing to Exchange (docs/exchange-side.md).

    \b
    prepare   once, before the first wave: connector, domains, no winmail.dat
    park      external addresses, so that mail between Exchange users comes, too
    forward   instead of park, where nobody may write to Active Directory
    close     client access to the old mailboxes off
    finish    mailboxes become mail users; only of people who are done
    rollback  external addresses as they were

    Exit code 1: somebody of the wave is not in it; the README says why.
    """
    from mailferry.coexist.wave_script import Step
    from mailferry.ops import wave, wave_script

    site = wave.site_of(options.settings_path(config), ledger, options.default_ledger)
    written = wave_script.write(site, name, Step(step), out, form=form, only=only, dry_run=dry_run)
    if as_json:
        document = {
            "schema": 1,
            "wave": name,
            "step": step,
            "people": [
                {"id": one.id, "mail": one.mail, "before": one.before, "ours": one.ours} for one in written.people
            ],
            "left_out": [{"mail": mail, "why": why} for mail, why in written.left_out],
            "files": [str(path) for path in written.files],
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        for mail, why in written.left_out[:_SHOWN]:
            click.echo(f"  left out: {mail}: {why}", err=True)
        click.echo(f"{len(written.people)} people, {len(written.left_out)} left out")
        for path in written.files:
            click.echo(f"  {path}")
    return 1 if written.left_out else 0
