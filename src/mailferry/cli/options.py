"""Options that several commands share, and what they have in common: accounts, passwords, running a fleet."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mailferry.errors import UserError

if TYPE_CHECKING:
    from mailferry.config.accounts import Pair
    from mailferry.copy.fleet import Run
    from mailferry.model.account import Account
    from mailferry.ops.copying import Limits
    from mailferry.secret import Secret

F = TypeVar("F", bound=Callable[..., Any])
SOURCE_VARIABLE = "MAILFERRY_SOURCE_PASSWORD"
TARGET_VARIABLE = "MAILFERRY_TARGET_PASSWORD"
GROUPWARE_VARIABLE = "MAILFERRY_GROUPWARE_PASSWORD"
SETTINGS = (Path("mailferry.toml"), Path("/etc/mailferry/mailferry.toml"))
SECRETS = "env:NAME, file:PATH, command:COMMAND or keyring:SERVICE/USER"


def accounts(command: F) -> F:
    return click.option(
        "--accounts",
        type=click.Path(path_type=Path),
        metavar="FILE.csv",
        help="Many mailboxes: source_user,target_user[,source_password,target_password] with a header line.",
    )(command)


def passwords(command: F) -> F:
    for side, variable in (("target", TARGET_VARIABLE), ("source", SOURCE_VARIABLE)):
        command = click.option(
            f"--{side}-password",
            metavar="REF",
            help=f"Where the {side}'s password is: {SECRETS}. Default: ${variable}, else it is asked for.",
        )(command)
    return command


def groupware(command: F) -> F:
    command = click.option("--groupware-password", metavar="REF", help="Where its password is. Default: the target's.")(
        command
    )
    return click.option(
        "--groupware",
        multiple=True,
        metavar="ADDRESS",
        help="Where events, contacts, tasks and notes go: davs://user@host, or caldavs://… and carddavs://…, or "
        "ics:DIR.",
    )(command)


def settings(command: F) -> F:
    return click.option(
        "--config",
        "config",
        envvar="MAILFERRY_CONFIG",
        type=click.Path(path_type=Path),
        metavar="FILE.toml",
        help="The settings (default: mailferry.toml here, or /etc/mailferry/mailferry.toml).",
    )(command)


def settings_path(config: Path | None) -> Path:
    """The settings file: the one given, or the first that there is."""
    return config or next((one for one in SETTINGS if one.exists()), SETTINGS[0])


def ledger(command: F) -> F:
    return click.option(
        "--ledger",
        envvar="MAILFERRY_LEDGER",
        default=default_ledger,
        metavar="PLACE",
        help="The ledger: a file, or postgresql://… (default: ~/.local/state/mailferry/ledger.db).",
    )(command)


def default_ledger() -> str:
    """Where the ledger lies if nobody says; its directory is made."""
    from mailferry.ops.copying import default_ledger

    path = default_ledger()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return str(path)


@dataclass(frozen=True, slots=True)
class Sides:
    """What a command that works on both sides was told of them."""

    source: str
    target: str
    accounts: Path | None
    source_password: str | None
    target_password: str | None
    ledger: str
    connections: int
    lanes: int
    mailboxes: int | None
    workers: int | None

    def pairs(
        self, backup_of: str | None = None, groupware: Sequence[str] = (), groupware_password: str | None = None
    ) -> list[Pair]:
        """See `pairs` below."""
        return pairs(
            self.source,
            self.target,
            self.accounts,
            self.source_password,
            self.target_password,
            backup_of,
            groupware,
            groupware_password,
        )

    def limits(self) -> Limits:
        from mailferry.ops.copying import Limits

        given = {"mailboxes": self.mailboxes, "workers": self.workers}
        return Limits(
            connections=self.connections,
            lanes=self.lanes,
            **{name: value for name, value in given.items() if value is not None},
        )


def sides(command: Callable[..., int]) -> Callable[..., int]:
    """SOURCE, TARGET and the options about them; the command gets them as one `Sides`."""

    @functools.wraps(command)
    def run(**values: Any) -> int:
        return command(Sides(**{one.name: values.pop(one.name) for one in fields(Sides)}), **values)

    for name, text in (
        ("--workers", "Processes (default: one per core)."),
        ("--mailboxes", "Mailboxes at once (default: four per core)."),
    ):
        run = click.option(name, type=click.IntRange(1), help=text)(run)
    for name, default, text in (
        ("--lanes", 4, "Connections per mailbox and side, at most; fewer while many mailboxes wait."),
        ("--connections", 16, "Connections to one server at once, all mailboxes together."),
    ):
        run = click.option(name, type=click.IntRange(1), default=default, show_default=True, help=text)(run)
    return click.argument("source")(click.argument("target")(accounts(passwords(ledger(run)))))


def as_json(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")(command)


def overrides(texts: tuple[str, ...]) -> Mapping[str, str]:
    """`OLD=NEW` options as a mapping."""
    found: dict[str, str] = {}
    for text in texts:
        old, sign, new = text.partition("=")
        if not (old and sign and new):
            raise UserError("not of the form OLD=NEW", about=f"--map {text}")
        found[old] = new
    return found


def pairs(
    source: str,
    target: str,
    accounts: Path | None,
    source_password: str | None,
    target_password: str | None,
    backup_of: str | None = None,
    groupware: Sequence[str] = (),
    groupware_password: str | None = None,
) -> list[Pair]:
    """The mailboxes that the arguments name, with their secrets, asked for on the terminal where none is given. The
    `groupware` accounts have the target's password, unless they are given another."""
    from mailferry.config.accounts import pair_of, read_pairs

    if accounts is not None:
        found = read_pairs(accounts, source, target, backup_of, groupware)
    else:
        found = [pair_of(source, target, backup_of, groupware)]
    secrets = {
        "source": secret_for([pair.source for pair in found], "source", source_password, SOURCE_VARIABLE),
        "target": secret_for([pair.target for pair in found], "target", target_password, TARGET_VARIABLE),
    }
    beside = _beside(found, groupware_password, secrets["target"])
    return [
        replace(
            pair,
            source=_with_secret(pair.source, secrets["source"]),
            target=_with_secret(pair.target, secrets["target"]),
            groupware=tuple(
                _with_secret(one, beside or getattr(pair.target, "secret", None) or secrets["target"])
                for one in pair.groupware
            ),
        )
        for pair in found
    ]


def secret_for(accounts: Sequence[Account], side: str, reference: str | None, variable: str) -> Secret | None:
    """The secret for all of these accounts, of one side, that have none of their own."""
    from mailferry.model.account import DavAccount, EwsAccount, GraphAccount, HttpLogin, ImapAccount, Mechanism
    from mailferry.secret import Secret

    lacking = [
        account
        for account in accounts
        if isinstance(account, ImapAccount | DavAccount | EwsAccount | GraphAccount)
        and account.secret is None
        and getattr(getattr(account, "application", None), "certificate", None) is None
        and getattr(account, "mechanism", None) not in (Mechanism.EXTERNAL, HttpLogin.KERBEROS)
    ]
    if not lacking:
        return None
    if reference is not None:
        return Secret.from_reference(reference)
    if variable in os.environ:
        return Secret(os.environ[variable])
    if not sys.stdin.isatty():
        raise UserError(
            "its password is not known",
            about=lacking[0].key,
            advice=f"set {variable}, or give --{side}-password {SECRETS}"
            + (f", or a column {side}_password in the account list" if len(accounts) > 1 else ""),
        )
    whose = lacking[0].key if len(lacking) == 1 else f"{len(lacking)} {side} mailboxes"
    return Secret(click.prompt(f"Password for {whose}", hide_input=True, err=True))


def _beside(found: Sequence[Pair], reference: str | None, target: Secret | None) -> Secret | None:
    """The secret for the accounts beside the targets; None: each has its target's."""
    from mailferry.secret import Secret

    if reference is not None:
        return Secret.from_reference(reference)
    if GROUPWARE_VARIABLE in os.environ:
        return Secret(os.environ[GROUPWARE_VARIABLE])
    lacking = [one for pair in found for one in pair.groupware if not (target or getattr(pair.target, "secret", None))]
    return secret_for(lacking, "groupware", None, GROUPWARE_VARIABLE)


def _with_secret(account: Any, secret: Secret | None) -> Any:
    from mailferry.model.account import DavAccount, EwsAccount, GraphAccount, ImapAccount

    kinds = ImapAccount | DavAccount | EwsAccount | GraphAccount
    if isinstance(account, kinds) and account.secret is None and secret is not None:
        return replace(account, secret=secret)
    return account


def run_fleet(
    make: Callable[[Callable[[Run], None]], Run],
    ledger: str,
    *,
    as_json: bool,
    detach: bool,
    report: Path | None,
    started: float,
    result: Callable[[Run, bool, float], None] | None = None,
) -> int:
    """Run a fleet with progress, a log file and a result (`show.result`, or the one given); in the background with
    `detach`. Returns the exit code."""
    from mailferry.cli import show
    from mailferry.ops import background, copying

    log_file = copying.new_log_file(ledger)
    background.log_to(log_file)
    if detach:
        return background.detached(lambda tell: _quietly(make, log_file, report, ledger, tell), log_file)
    with show.observer(as_json) as observe:
        fleet = make(observe)
        fleet.facts["log"] = str(log_file)
        fleet.run()
    if fleet.failure is not None and all(state.error == fleet.failure for state in fleet.states):
        error = fleet.failure
        click.echo(f"mailferry: {show.error_text(error)}", err=True)
        return int(error["exit_code"])
    (result or show.result)(fleet, as_json, time.monotonic() - started)
    if report is not None and fleet.run_id is not None:
        _write_report(ledger, report, fleet.run_id)
    return show.exit_code(fleet)


def _quietly(
    make: Callable[[Callable[[Run], None]], Run],
    log_file: Path,
    report: Path | None,
    ledger: str,
    tell: Callable[[str], None],
) -> int:
    from mailferry.cli import show

    fleet = make(lambda fleet: None)
    fleet.facts["log"] = str(log_file)
    fleet.on_run = lambda run_id: tell(
        f"run {run_id} goes on in the background\n"
        f"  mailferry status        how far it is\n"
        f"  mailferry log {run_id} -f     what it says\n"
        f"  mailferry pause {run_id} / continue {run_id} / stop {run_id}"
    )
    fleet.run()
    if report is not None and fleet.run_id is not None:
        _write_report(ledger, report, fleet.run_id)
    return show.exit_code(fleet)


def _write_report(ledger: str, directory: Path, run_id: int) -> None:
    from mailferry.ledger import open_ledger
    from mailferry.verify.report import write_report

    opened = open_ledger(ledger)
    try:
        page = write_report(opened, directory, run_id=run_id)
    finally:
        opened.close()
    click.echo(f"report: {page}", err=True)
