"""`mailferry route`: where mail goes, person by person."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailferry.cli import options
from mailferry.cli.directory import config

if TYPE_CHECKING:
    from mailferry.coexist.routes import Routed
    from mailferry.ops.route import Place


@click.group("route")
def route_command() -> None:
    """Where new mail goes, person by person: Exchange, the open side, or parked."""


@route_command.command("show")
@click.argument("address")
@config
@options.as_json
def show_command(address: str, config: Path | None, ledger: str | None, as_json: bool) -> int:
    """Tell where a message for ADDRESS would go, and why: from outside or the open side; and from a user of Exchange,
    by Active Directory, where the people come from there. Changes nothing. Exit code 1: somewhere it would be refused,
    or wait without anybody having parked it, or both sides contradict each other."""
    from mailferry.coexist.explain import lines
    from mailferry.ops import route

    with _opened(config, ledger) as place:
        steps, exchange = route.show(place, address)
    warnings = exchange.warnings if exchange else ()
    if as_json:
        side = asdict(exchange) if exchange else None
        _print_json(
            {"schema": 1, "address": address, "steps": [asdict(step) for step in steps], "inside_exchange": side}
        )
    else:
        for line in lines(steps):
            click.echo(line)
        if exchange:
            click.echo(f"sent by a user of Exchange: {exchange.inside}")
        for warning in warnings:
            click.echo(f"warning: {warning}", err=True)
    return 1 if warnings or any(step.where in ("550", "unrouted") for step in steps) else 0


@route_command.command("set")
@click.argument("address")
@click.argument("route", type=click.Choice(("exchange", "local", "parked")))
@config
@options.as_json
@click.option("--store", metavar="HOST", help="The store (mailHost), as [stack.postfix.stores] names it.")
@click.option("--dry-run", is_flag=True, help="Tell what would change, and change nothing.")
def set_command(
    address: str, route: str, config: Path | None, ledger: str | None, as_json: bool, store: str | None, dry_run: bool
) -> int:
    """Give the recipient with ADDRESS a route. May be repeated. Nothing else is done: Exchange's own routing and mail
    that is parked are steps of their own. Exit code 1: it was done, and Exchange's side contradicts it."""
    from mailferry.ops import route as ops
    from mailferry.stack.postfix.settings import Route

    with _opened(config, ledger) as place:
        changed = ops.change(place, address, Route(route), store, dry_run=dry_run)
        warnings = () if dry_run or route == "parked" else ops.warnings(place, changed.after.mail)
    code = 1 if warnings else 0
    if as_json:
        shown = {"dn": changed.before.dn, "before": _shown(changed.before), "after": _shown(changed.after)}
        _print_json({"schema": 1, **shown, "made": changed.made, "warnings": warnings})
        return code
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    if changed.after == changed.before:
        click.echo(f"{changed.before.dn}: unchanged, {_words(changed.before)}")
        return code
    verb = "would change" if dry_run else "changed"
    click.echo(f"{changed.before.dn}: {verb} from {_words(changed.before)} to {_words(changed.after)}")
    if changed.made and changed.before.route == "parked":
        click.echo(f"Next: mailferry route release {changed.after.mail}")
    return code


@route_command.command("release")
@click.argument("address")
@config
@options.as_json
def release_command(address: str, config: Path | None, ledger: str | None, as_json: bool) -> int:
    """Let the mail go that is parked for ADDRESS, oldest first, after its route was set. Waits 31 seconds before,
    unless the settings name a command to reload Postfix. Exit code 1: some of it still waits."""
    from mailferry.ops import route

    with _opened(config, ledger) as place:
        released = route.release(place, address)
    if as_json:
        _print_json({"schema": 1, "tried": released.tried, "left": [asdict(one) for one in released.left]})
    else:
        click.echo(f"{len(released.tried)} released, {len(released.left)} still waiting")
        for one in released.left:
            click.echo(f"  {one.id}: {one.why or 'being delivered'}")
    return 1 if released.left else 0


@route_command.command("settle")
@config
@options.as_json
def settle_command(config: Path | None, ledger: str | None, as_json: bool) -> int:
    """Call those routes stable whose time is over (`fresh_hours`): mail that Exchange sends back for them is refused
    from now on. For an hourly timer; while it does not run, such mail is only put off."""
    from mailferry.ops import route

    with _opened(config, ledger) as place:
        settled = route.settle(place)
    if as_json:
        _print_json({"schema": 1, "settled": settled})
    else:
        click.echo(f"{len(settled)} routes are stable now")
    return 0


@contextmanager
def _opened(config: Path | None, ledger: str | None) -> Iterator[Place]:
    from mailferry.ops import route

    with route.opened(options.settings_path(config), ledger, options.default_ledger) as place:
        yield place


def _words(one: Routed) -> str:
    return f"{one.route} ({one.store})" if one.store else one.route


def _shown(one: Routed) -> dict[str, Any]:
    return {"route": one.route, "store": one.store, "fresh_until": one.fresh_until}


def _print_json(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
