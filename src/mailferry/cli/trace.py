"""`mailferry trace`: where a message is."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailferry.cli import options
from mailferry.cli.directory import config

if TYPE_CHECKING:
    from mailferry.ops.trace import Result


@click.command("trace")
@click.argument("what", metavar="MESSAGE-ID|ADDRESS")
@config
@options.as_json
@click.option("--to", multiple=True, metavar="ADDRESS", help="Search this person's mailboxes too (may be repeated).")
@click.option("--since", metavar="TIME", help="`2026-11-22`, `2026-11-22 17:00`, or hours back: `6h`, `2d`.")
@click.option("--latest", type=click.IntRange(1, 1000), default=20, show_default=True, help="Messages of an address.")
@click.option("--no-stores", is_flag=True, help="Do not search mailboxes.")
def trace_command(
    what: str,
    config: Path | None,
    ledger: str | None,
    as_json: bool,
    to: tuple[str, ...],
    since: str | None,
    latest: int,
    no_stores: bool,
) -> int:
    """Tell where a message is, by its Message-ID (`<…>`, as its headers show it), or where the latest messages of an
    ADDRESS are: accepted when, routed why, stored where, or waiting for what. Asks queues, logs (`[trace]`), the
    directory, the ledger and the mailboxes. Shows no subject and no text. Exit code 1: nothing was found, or not
    everything could be asked."""
    from mailferry.ops import trace, wave

    site = wave.site_of(options.settings_path(config), ledger, options.default_ledger)
    begin = None if since is None else _time(since)
    result = trace.trace(site, what, to=to, since=begin, latest=latest, stores=not no_stores)
    if as_json:
        click.echo(json.dumps({"schema": 1, **trace.document(result)}, indent=2, ensure_ascii=False))
    else:
        show(result)
    found = any(one.recipients for one in result.messages)
    return 0 if found and not any(one.problem for one in result.looked) else 1


def show(result: Result) -> None:
    """For people."""
    from mailferry.coexist.explain import lines
    from mailferry.maillog.story import shown

    for told in result.messages:
        about = [f"from <{told.sender}>" if told.sender else "", f"{told.size} bytes" if told.size is not None else ""]
        head = ", ".join(filter(None, [told.message_id or "(no Message-ID known)", *about]))
        click.echo(head)
        for one in told.recipients:
            since = f" since {_clock(one.since)}" if one.since else ""
            click.echo(f"  {shown(one.address)}: {one.place.value}{since}: {one.where}")
            for entry in one.entries:
                when = "now" if entry.at is None else _clock(entry.at)
                click.echo(f"    {when:19}  {entry.host or '-'}  {entry.what}{': ' + entry.text if entry.text else ''}")
        if not told.recipients:
            click.echo("  no trace of it")
    if not result.messages:
        click.echo("no message was found")
    if result.route:
        click.echo("A new message:")
        for line in lines(result.route):
            click.echo(f"  {line}")
    click.echo(f"Looked, back to {_clock(result.since)}, at:")
    for looked in result.looked:
        click.echo(f"  {looked.what}" + (f": {shown(looked.problem)}" if looked.problem else f" ({looked.lines})"))


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _time(text: str) -> float:
    """Seconds since the epoch."""
    units = {"h": 3600.0, "d": 86400.0, "m": 60.0}
    if text[:-1].replace(".", "", 1).isdigit() and text[-1] in units:
        return time.time() - float(text[:-1]) * units[text[-1]]
    for form in ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"):
        try:
            return time.mktime(time.strptime(text, form))
        except ValueError:
            continue
    raise click.BadParameter("not a time", param_hint="--since")
