"""`mailferry stack`."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from mailferry.cli import options

if TYPE_CHECKING:
    from mailferry.config.settings import Settings
    from mailferry.stack.checkers import Told
    from mailferry.stack.dns import View
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


def _which(command: F) -> F:
    """Which of several hosts of a kind this is: `which`, what `ops.stack.Which` takes."""

    @click.option("--replica", type=click.IntRange(1, 999), metavar="N", help="The N-th replica of OpenLDAP.")
    @click.option("--store", metavar="NAME", help="The store that mailHost calls NAME. Default: the only one.")
    @click.option("--proxy", is_flag=True, help="The Dovecot that is a proxy, no store.")
    @functools.wraps(command)
    def run(*args: Any, replica: int | None, store: str | None, proxy: bool, **more: Any) -> Any:
        return command(*args, which={"replica": replica, "store": store, "proxy": proxy}, **more)

    return cast(F, run)


@click.group("stack")
def stack_command() -> None:
    """The servers of the open platform, rendered from mailferry.toml."""


@stack_command.command("render", short_help="Write the files that set a server up on a host.")
@_server
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Where the files go.")
@click.option("--diff", is_flag=True, help="Write nothing: show how what is installed on this host differs.")
@_which
@_root
@options.settings
@options.as_json
def render_command(
    server: str,
    out: Path | None,
    diff: bool,
    which: dict[str, Any],
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
    kits = _kits(server, config, which, root)
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


@stack_command.command("check", short_help="Have the daemons check the files, and look at what runs.")
@_server
@click.option("--files-only", is_flag=True, help="Only what would be rendered, not what runs.")
@_which
@_root
@options.settings
@options.as_json
def check_command(
    server: str, files_only: bool, which: dict[str, Any], root: Path | None, config: Path | None, as_json: bool
) -> int:
    """Check SERVER: first the rendered files, by the daemons' own checkers in a directory of their own; then what runs:
    ports, tables (postmap -q), how far replicas are behind, certificates, DNS.

    Nothing is changed and no mail is sent. Exit code 1: something is wrong. What could not be looked at from here (a
    program that is not installed) is marked with ?, and is no error.
    """
    from mailferry.ops import stack_check

    kits = _kits(server, config, which, root)
    told = _tell(stack_check.files(kits), as_json)
    if not files_only:
        told += _tell(stack_check.running(_settings(config), kits), as_json)
    if as_json:
        _print_json({"checks": [asdict(one) for one in told]})
    return 1 if any(one.well is False for one in told) else 0


def _tell(checks: Iterable[Told], as_json: bool) -> list[Told]:
    """Show each as it comes."""
    done = []
    for one in checks:
        done.append(one)
        if not as_json:
            mark = {True: "ok ", False: "BAD", None: "?  "}[one.well]
            click.echo(f"{mark} {one.server}: {one.what}" + (f": {one.said}" if one.said else ""))
    return done


@stack_command.command("up", short_help="Install and start the servers of this host.")
@_server
@_which
@_root
@click.option("--dry-run", is_flag=True, help="Show what would change (as render --diff), and change nothing.")
@options.settings
@options.as_json
def up_command(
    server: str, which: dict[str, Any], root: Path | None, dry_run: bool, config: Path | None, as_json: bool
) -> int:
    """Install and start SERVER on this host, as root: render, have the daemons' checkers look at every file, run each
    install.sh, start, and check what runs. May be repeated.

    What is replaced is kept beside it as *.before-TIME. Kits stay in /var/lib/mailferry/stack. Exit code 1: it runs,
    but a check says that something is wrong.
    """
    from mailferry.ops import stack_check, stack_host

    kits = _kits(server, config, which, root)
    if dry_run:
        _diff(kits, as_json)
        return 0
    said: list[str] = []
    folder = stack_host.KITS if root is None else root.resolve() / stack_host.KITS.relative_to("/")
    stack_host.up(kits, folder, said.append if as_json else click.echo)
    told = _tell(stack_check.running(_settings(config), kits), as_json)
    if as_json:
        _print_json({"done": said, "checks": [asdict(one) for one in told]})
    return 1 if any(one.well is False for one in told) else 0


@stack_command.command("down", short_help="Stop the servers of this host.")
@_server
@_which
@_root
@click.option("--restore", is_flag=True, help="Also put back what the latest `up` or install.sh replaced.")
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and do nothing.")
@options.settings
@options.as_json
def down_command(
    server: str,
    which: dict[str, Any],
    root: Path | None,
    restore: bool,
    dry_run: bool,
    config: Path | None,
    as_json: bool,
) -> int:
    """Stop SERVER on this host, as root. Data, queues and files stay.

    With --restore the files that the latest install.sh replaced come back (`*.before-TIME`), and what stood in their
    place is kept as *.undone-TIME; once more goes back one more step. Nothing is started again.
    """
    from mailferry.ops import stack_host

    kits = _kits(server, config, which, root)
    said: list[str] = []
    say = said.append if as_json else click.echo
    if dry_run:
        for kit in reversed(kits):
            say(f"{kit.server}: would be stopped: {kit.stop}")
            for one in stack_host.backups(kit) if restore else ():
                say(f"{kit.server}: {one.kept} would come back")
    else:
        stack_host.down(kits, say, restore=restore)
    if as_json:
        _print_json({"dry_run": dry_run, "done": said})
    return 0


@stack_command.command("apply", short_help="Write who gets what on this qmail host, as the directory says.")
@click.argument("addresses", nargs=-1, metavar="[ADDRESS]...")
@click.option("--store", metavar="NAME", help="The store (mailHost) that this host is. Default: the only one.")
@_root
@click.option("--without-brake", is_flag=True, help="However many addresses vanish (directory.brake).")
@click.option("--dry-run", is_flag=True, help="Tell what would be written, and write nothing.")
@options.settings
@options.as_json
def apply_command(
    addresses: tuple[str, ...],
    store: str | None,
    root: Path | None,
    without_brake: bool,
    dry_run: bool,
    config: Path | None,
    as_json: bool,
) -> int:
    """Bring the `.qmail` files and users/assign of this host in step with the directory, as root: of everybody, or the
    routes of the people with these addresses (`-`: read from standard input, one to a line). May be repeated; only what
    differs is written, each file by one rename. Exit code 1: some addresses could not be carried (told by a comparison
    of everybody alone)."""
    from mailferry.ops import stack_qmail

    if "-" in addresses:
        read = [line.strip() for line in sys.stdin]
        addresses = (*(one for one in addresses if one != "-"), *filter(None, read))
    wanted = stack_qmail.Wanted(addresses, store, root, brake=not without_brake, dry_run=dry_run)
    applied = stack_qmail.apply(_settings(config), wanted)
    if as_json:
        _print_json({"dry_run": dry_run, **asdict(applied)})
    else:
        for line in stack_qmail.told(applied):
            click.echo(line)
    return 1 if applied.odd and not addresses else 0


@stack_command.command("dns", short_help="Show the DNS records of a move, and what to do when.")
@click.option("--phase", type=click.Choice(("before", "during", "after")), help="One of the three. Default: all.")
@click.option("--view", type=click.Choice(("external", "internal")), help="One of the two. Default: both.")
@click.option("--zone-file", is_flag=True, help="Only the records, as snippets of zone files.")
@options.settings
@options.as_json
def dns_command(phase: str | None, view: str | None, zone_file: bool, config: Path | None, as_json: bool) -> int:
    """Show the steps of each phase in order, and the records of each domain: MX, SPF, DKIM, DMARC, SRV, autoconfig; as
    the world sees them, and inside. Nothing is looked up or changed."""
    from mailferry.ops.stack_dns import names_of
    from mailferry.stack import dns

    names = names_of(_settings(config))
    phases = [one for one in dns.Phase if phase in (None, one.value)]
    views = [one for one in dns.View if view in (None, one.value)]
    shown = []
    for one in phases:
        steps = [] if zone_file else dns.plan(names, one)
        zones = [(each, domain, dns.zone(names, domain, each, one)) for each in views for domain in names.domains]
        shown.append({"phase": one.value, "steps": steps, "zones": _zones(zones)})
        if as_json:
            continue
        if steps:
            click.echo(f"{one.value.upper()} THE MOVE")
        for number, step in enumerate(steps, 1):
            click.echo(f"{number}. {step}")
        for _, _, text in zones:
            click.echo(f"\n{text}", nl=False)
        click.echo()
    if as_json:
        _print_json({"phases": shown})
    return 0


def _zones(zones: list[tuple[View, str, str]]) -> list[dict[str, str]]:
    return [{"view": view.value, "domain": domain, "records": text} for view, domain, text in zones]


def _settings(config: Path | None) -> Settings:
    from mailferry.config.settings import read_settings

    return read_settings(options.settings_path(config))


def _kits(server: str, config: Path | None, which: dict[str, Any], root: Path | None) -> list[Kit]:
    from mailferry.ops import stack

    if which["replica"] is not None and server not in ("openldap", stack.ALL):
        raise click.UsageError("--replica is for openldap")
    if which["store"] is not None and server not in ("dovecot", "qmail", "courier", stack.ALL):
        raise click.UsageError("--store is for dovecot, qmail and courier")
    if which["proxy"] and server not in ("dovecot", stack.ALL):
        raise click.UsageError("--proxy is for dovecot")
    if which["store"] is not None and which["proxy"]:
        raise click.UsageError("either --store NAME or --proxy")
    return stack.kits(_settings(config), server, stack.Which(**which), root=root.resolve() if root else None)


def _print_json(document: dict[str, Any]) -> None:
    click.echo(json.dumps({"schema": 1, **document}, indent=2, ensure_ascii=False))
