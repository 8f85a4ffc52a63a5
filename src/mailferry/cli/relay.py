"""`mailferry relay`: the mail of whole domains, held and let go."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailferry.cli import options
from mailferry.cli.directory import config

if TYPE_CHECKING:
    from mailferry.ops.relay import Place


@click.group("relay")
def relay_command() -> None:
    """Hold the mail of whole domains in a Postfix of its own, for a big-bang night or an outage of Exchange. All verbs
    but `plan` are run on the relay's host, as root."""


@relay_command.command("plan")
@options.settings
@options.as_json
def plan_command(config: Path | None, as_json: bool) -> int:
    """Show the way to a night in which a whole domain is held, and back: MX, TTLs, firewall, commands, in order."""
    from mailferry.config.settings import read_settings
    from mailferry.ops.stack_dns import names_of
    from mailferry.stack.dns import relay_plan

    steps = relay_plan(names_of(read_settings(options.settings_path(config))))
    if as_json:
        _print_json({"steps": steps})
    else:
        for number, step in enumerate(steps, 1):
            click.echo(f"{number}. {step}")
    return 0


@relay_command.command("on")
@config
@options.as_json
@click.option("--dry-run", is_flag=True, help="Tell what would change, and change nothing.")
def on_command(config: Path | None, ledger: str | None, as_json: bool, dry_run: bool) -> int:
    """Hold all mail from now on: it is accepted and waits. Mail passes on again after `relay drain`."""
    return _change("hold", config, ledger, as_json, dry_run)


@relay_command.command("off")
@config
@options.as_json
@click.option("--dry-run", is_flag=True, help="Tell what would change, and change nothing.")
def off_command(config: Path | None, ledger: str | None, as_json: bool, dry_run: bool) -> int:
    """Pass mail on at once from now on. Refused while mail is held: `relay drain` lets that go first, in order."""
    return _change("pass", config, ledger, as_json, dry_run)


def _change(wanted: str, config: Path | None, ledger: str | None, as_json: bool, dry_run: bool) -> int:
    from mailferry.ops import relay
    from mailferry.stack.postfix.relay import State

    with _opened(config, ledger) as place:
        before, after = relay.change(place, State(wanted), dry_run=dry_run)
    made = before is not after and not dry_run
    if as_json:
        _print_json({"before": before.value, "after": after.value, "made": made})
    elif before is after:
        click.echo(f"unchanged: {_WORDS[after.value]}")
    else:
        click.echo(f"{'would change' if dry_run else 'changed'}: {_WORDS[after.value]}")
    return 0


_WORDS = {
    "hold": "mail is accepted and waits",
    "drain": "mail waits until a drain lets it go, in order",
    "pass": "mail passes on at once",
}


@relay_command.command("drain")
@config
@options.as_json
@click.option(
    "--per-second", type=click.FloatRange(0, min_open=True), metavar="N", help="Messages in a second, at most."
)
@click.option("--dry-run", is_flag=True, help="Tell how much would go, and change nothing.")
def drain_command(
    config: Path | None, ledger: str | None, as_json: bool, per_second: float | None, dry_run: bool
) -> int:
    """Let go what is held, oldest first, to where each person's route then leads; then pass mail on at once.

    Of two messages for one recipient the later never goes before the earlier. May be interrupted and run again: what
    has not gone waits on. Exit code 75: nothing is taken for 30 seconds; the rest waits on.
    """
    from mailferry.ops import relay

    with _opened(config, ledger) as place:
        if dry_run:
            now = relay.status(place)
            gone = now.messages
        else:
            gone = relay.drain(place, per_second, _progress)
    if as_json:
        _print_json({"messages": gone, "made": not dry_run})
    else:
        click.echo(f"{gone} messages {'would be ' if dry_run else ''}let go")
    return 0


def _progress(gone: int, waiting: int) -> None:
    """One line on a terminal, written over."""
    if sys.stderr.isatty():
        click.echo(f"\r{gone} let go, {waiting} wait   ", nl=not waiting, err=True)


@relay_command.command("status")
@config
@options.as_json
def status_command(config: Path | None, ledger: str | None, as_json: bool) -> int:
    """What is held, since when, and how much room is left. Exit code 1: something is beyond its limit (`alarm_hours`,
    `alarm_free_mb`), or the instance does not run. For a timer or the monitoring."""
    from mailferry.ops import relay

    with _opened(config, ledger) as place:
        now = relay.status(place)
    if as_json:
        _print_json(asdict(now))
    else:
        waits = f"the oldest for {now.oldest / 60:.0f} min" if now.oldest is not None else "none waits"
        click.echo(f"{_WORDS[now.state]}; {now.messages} messages, {now.size / 1e6:.1f} MB, {waits}")
        click.echo(f"{now.free / 1e9:.1f} GB are free")
        for alarm in now.alarms:
            click.echo(f"ALARM: {alarm}")
    return 1 if now.alarms else 0


@contextmanager
def _opened(config: Path | None, ledger: str | None) -> Iterator[Place]:
    from mailferry.ops import relay

    with relay.opened(options.settings_path(config), ledger, options.default_ledger) as place:
        yield place


def _print_json(document: dict[str, Any]) -> None:
    click.echo(json.dumps({"schema": 1, **document}, indent=2, ensure_ascii=False))
