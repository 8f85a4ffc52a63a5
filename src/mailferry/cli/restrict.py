"""`mailferry restrict`: who may send outside, and to whom."""

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
    """Who may send outside the organisation, and the gates before those who say who may send to them."""


@restrict_command.command("show")
@click.argument("address")
@config
@options.as_json
def show_command(address: str, config: Path | None, ledger: str | None, as_json: bool) -> int:
    """Tell whether ADDRESS may send outside, and why not."""
    from mailferry.coexist import restrictions
    from mailferry.ops import route

    with route.opened(options.settings_path(config), ledger, options.default_ledger) as place:
        route.gates(place)  # whether anybody enforces it
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
        route.gates(place)  # whether anybody enforces it
        found = restrictions.set_outside(place.people, place.ledger, address, what == "everywhere", dry_run=dry_run)
    _show(found, as_json, made=not dry_run)
    return 0


@restrict_command.command("gates")
@config
@options.as_json
@click.option("--dry-run", is_flag=True, help="Tell what would change, and change nothing.")
def gates_command(config: Path | None, ledger: str | None, as_json: bool, dry_run: bool) -> int:
    """Give every recipient that names people who may (or may not) send to it a gate in Postfix. For an hourly timer, or
    after each `directory sync`; until then mail from people to such a new recipient is put off (450).

    Exit code 1: there are more such recipients than gates (`stack.postfix.gates`).
    """
    from mailferry.coexist import restrictions
    from mailferry.ops import route

    with route.opened(options.settings_path(config), ledger, options.default_ledger) as place:
        found = restrictions.gates(place.people, place.ledger, route.gates(place), dry_run=dry_run)
    if as_json:
        click.echo(json.dumps({"schema": 1, **asdict(found), "made": not dry_run}, indent=2))
    else:
        for dn, number in found.given.items():
            click.echo(f"{dn}: gate {number}")
        for dn in found.taken:
            click.echo(f"{dn}: no gate any more")
        for dn in found.listed:
            click.echo(f"{dn}: its list of accounts is new")
        for dn in found.without:
            click.echo(f"{dn}: there is no gate left; mail for it is put off")
    return 1 if found.without else 0


def _show(found: Restriction, as_json: bool, *, made: bool) -> None:
    if as_json:
        click.echo(json.dumps({"schema": 1, **asdict(found), "effective": found.effective, "made": made}, indent=2))
        return
    click.echo(f"{found.dn}: sends {'everywhere' if found.outside else 'inside alone'}")
    for dn in found.by_groups:
        click.echo(f"  inside alone as a member of {dn}")
    for dn in found.unmarked:
        click.echo(f"  but members of {dn}, which is in it, send everywhere: mark it, too")
