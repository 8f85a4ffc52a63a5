"""`mailferry stack`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mailferry.cli import options


@click.group("stack")
def stack_command() -> None:
    """The servers of the open platform, rendered from mailferry.toml."""


@stack_command.command("render", short_help="Write the files that set a server up on a host.")
@click.argument("server", type=click.Choice(["openldap", "postfix"]))
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Where the files go.")
@click.option("--replica", type=click.IntRange(1, 999), metavar="N", help="The N-th replica, not the provider.")
@options.settings
@options.as_json
def render_command(server: str, out: Path, replica: int | None, config: Path | None, as_json: bool) -> int:
    """Write the files that set SERVER up on a host, with a README of what to do there. Nothing is installed.

    The same settings give the same files, byte for byte. Files with secrets are readable only to whoever runs this.
    """
    from mailferry.config.settings import read_settings
    from mailferry.ops.stack import render_openldap, render_postfix

    if replica is not None and server != "openldap":
        raise click.UsageError("--replica is for openldap")
    settings = read_settings(options.settings_path(config))
    rendered = render_openldap(settings, out, replica) if server == "openldap" else render_postfix(settings, out)
    if as_json:
        shown = [{"path": str(one.path), "changed": one.changed} for one in rendered]
        click.echo(json.dumps({"schema": 1, "server": server, "files": shown}, indent=2))
        return 0
    for one in rendered:
        click.echo(f"{'wrote    ' if one.changed else 'unchanged'} {one.path}")
    click.echo(f"Next: {out / 'README.md'}")
    return 0
