"""`mailferry stack`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mailferry.cli import options

if TYPE_CHECKING:
    from mailferry.stack.file import Kit

F = TypeVar("F", bound=Callable[..., Any])


def _known(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """The name of a server, or `all`; what there is says `ops.stack`, which is imported late."""
    from mailferry.ops.stack import ALL, SERVERS

    if value not in (*SERVERS, ALL):
        raise click.BadParameter(f"{value!r} is none of {', '.join(SERVERS)}, {ALL}")
    return value


def _server(command: F) -> F:
    return click.argument("server", callback=_known, metavar="SERVER|all")(command)


_root = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Everything below this directory, started without systemd (a trial). Default: this host itself.",
)
_replica = click.option("--replica", type=click.IntRange(1, 999), metavar="N", help="The N-th replica of OpenLDAP.")


@click.group("stack")
def stack_command() -> None:
    """The servers of the open platform, rendered from mailferry.toml."""


@stack_command.command("render", short_help="Write the files that set a server up on a host.")
@_server
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Where the files go.")
@click.option("--diff", is_flag=True, help="Write nothing: show how what is installed on this host differs.")
@_replica
@_root
@options.settings
@options.as_json
def render_command(
    server: str,
    out: Path | None,
    diff: bool,
    replica: int | None,
    root: Path | None,
    config: Path | None,
    as_json: bool,
) -> int:
    """Write the files that set SERVER up on a host, with a README of what to do there. Nothing is installed.

    The same settings give the same files, byte for byte. Files with secrets are readable only to whoever runs this.
    With --diff: a unified diff against what is installed here, secrets as ***; exit code 1 if anything differs.
    """
    if (out is None) == (not diff):
        raise click.UsageError("either --out DIR or --diff")
    kits = _kits(server, config, replica, root)
    if out is None:
        return _diff(kits, as_json)
    from mailferry.ops import stack

    shown = []
    for kit in kits:
        where = out / kit.server if server == stack.ALL else out
        rendered = stack.render(kit, where)
        shown += [{"path": str(one.path), "changed": one.changed} for one in rendered]
        if not as_json:
            for one in rendered:
                click.echo(f"{'wrote    ' if one.changed else 'unchanged'} {one.path}")
            click.echo(f"Next: {where / 'README.md'}")
    if as_json:
        _print_json({"server": server, "files": shown})
    return 0


def _diff(kits: list[Kit], as_json: bool) -> int:
    from mailferry.stack.diff import differences

    found = [(kit.server, one) for kit in kits for one in differences(kit)]
    if as_json:
        shown = [
            {"server": server, "place": str(one.place), "missing": one.missing, "diff": one.text}
            for server, one in found
        ]
        _print_json({"differs": shown})
    else:
        for _, one in found:
            click.echo(one.text, nl=False)
        click.echo(f"{len(found)} files differ from what is installed" if found else "installed as rendered", err=True)
    return 1 if found else 0


def _kits(server: str, config: Path | None, replica: int | None, root: Path | None) -> list[Kit]:
    from mailferry.config.settings import read_settings
    from mailferry.ops import stack

    if replica is not None and server not in ("openldap", stack.ALL):
        raise click.UsageError("--replica is for openldap")
    settings = read_settings(options.settings_path(config))
    return stack.kits(settings, server, replica=replica, root=root.resolve() if root else None)


def _print_json(document: dict[str, Any]) -> None:
    click.echo(json.dumps({"schema": 1, **document}, indent=2, ensure_ascii=False))
