"""`mailferry restrict`: who may send outside."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailferry.cli import options
from mailferry.cli.directory import config

if TYPE_CHECKING:
    from mailferry.coexist.restrictions import Restriction


@click.group("restrict")
def restrict_command() -> None:
    """Who may send outside the organisation, person by person and group by group."""


@restrict_command.command("show")
@click.argument("address")
@config
@options.as_json
def show_command(address: str, config: Path | None, ledger: str | None, as_json: bool) -> int:
    """Tell whether ADDRESS may send outside, and why not."""
    from mailferry.coexist import restrictions
    from mailferry.ops import route

    with route.opened(options.settings_path(config), ledger, options.default_ledger) as place:
        found = restrictions.restriction(place.people, address)
    _show(found, as_json, made=False)
    return 0


@restrict_command.command("set")
@click.argument("address")
@click.argument("what", type=click.Choice(("inside", "everywhere")))
@config
@options.as_json
@click.option("--dry-run", is_flag=True, help="Tell what would change, and change nothing.")
def set_command(address: str, what: str, config: Path | None, ledger: str | None, as_json: bool, dry_run: bool) -> int:
    """Let the person or the group with ADDRESS send to people of the organisation alone (`inside`), or `everywhere`. Of
    a group it holds for its direct members. `directory sync` leaves it as it is."""
    from mailferry.coexist import restrictions
    from mailferry.ops import route

    with route.opened(options.settings_path(config), ledger, options.default_ledger) as place:
        found = restrictions.set_outside(place.people, place.ledger, address, what == "everywhere", dry_run=dry_run)
    _show(found, as_json, made=not dry_run)
    return 0


def _show(found: Restriction, as_json: bool, *, made: bool) -> None:
    if as_json:
        click.echo(json.dumps({"schema": 1, **asdict(found), "effective": found.effective, "made": made}, indent=2))
        return
    click.echo(f"{found.dn}: sends {'everywhere' if found.outside else 'inside alone'}")
    for dn in found.by_groups:
        click.echo(f"  inside alone as a member of {dn}")
    for dn in found.unmarked:
        click.echo(f"  but members of {dn}, which is in it, send everywhere: mark it, too")
