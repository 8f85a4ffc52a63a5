"""`mailferry directory`: people from the source directory into the open one, and what belongs to it."""

from __future__ import annotations

import csv
import json
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mailferry.cli import options
from mailferry.cli.cards import cards_command
from mailferry.cli.convert import convert_command

if TYPE_CHECKING:
    from datetime import datetime

    from mailferry.directory.clean import Cleaned
    from mailferry.directory.diff import Change
    from mailferry.directory.sync import Progress, Stepped
    from mailferry.ops.directory import Place

F = TypeVar("F", bound=Callable[..., Any])
_SHOWN = 20
_SHOWN_OPEN = 3
_PLAIN_SECONDS = 5.0


def config(command: F) -> F:
    """The options that every verb has: the settings, and a ledger other than theirs."""
    command = click.option(
        "--ledger",
        envvar="MAILFERRY_LEDGER",
        metavar="PLACE",
        help="The ledger: a file, or postgresql://… (default: what the settings say).",
    )(command)
    return options.settings(command)


@click.group("directory")
def directory_command() -> None:
    """Bring people, groups and contacts into the open directory, and keep them in step."""


directory_command.add_command(convert_command)
directory_command.add_command(cards_command)


@directory_command.command("diff", short_help="Print what `sync` would change.")
@config
@options.as_json
def diff_command(config: Path | None, ledger: str | None, as_json: bool) -> int:
    """Print what `sync` would change in the target. Changes nothing. Exit code 1: there are changes, or somebody
    is left out for an error."""
    from mailferry.directory.diff import shown
    from mailferry.ops import directory

    with _opened(config, ledger) as place, progress_lines() as progress:
        _, step = directory.diff(place, progress)
    if as_json:
        _print_json(_step_json(step, "diff", None))
    else:
        for line in shown(step.diff):
            click.echo(line)
        _show(step, None)
    return 1 if step.diff.changes or _wrong(step) else 0


@directory_command.command("sync", short_help="Make the target what the source says.")
@config
@options.as_json
@click.option("--follow", is_flag=True, help="Go on: bring every change of the source within seconds.")
@click.option("--full", is_flag=True, help="Compare everything even if nothing seems to have changed since.")
@click.option("--dry-run", is_flag=True, help="The same as `diff`.")
@click.option(
    "--allow-changes",
    type=click.IntRange(0),
    metavar="N",
    help="Let this run change or delete up to N entries, past the brake (with --follow: its first comparison).",
)
@click.pass_context
def sync_command(
    context: click.Context,
    config: Path | None,
    ledger: str | None,
    as_json: bool,
    follow: bool,
    full: bool,
    dry_run: bool,
    allow_changes: int | None,
) -> int:
    """Make the target what the source says, past the brake. What was interrupted continues. Exit code 1: some entries
    could not be written, or somebody is left out for an error."""
    from mailferry.ops import directory

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as ^C: what is stopped for a bulk load starts again
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if dry_run:
        return int(context.invoke(diff_command, config=config, ledger=ledger, as_json=as_json))
    with _opened(config, ledger) as place, progress_lines(quiet=follow) as progress:
        if follow:
            directory.follow(place, _argv(), progress, _teller(as_json), allowed=allow_changes)
            return 0
        run_id, _, step = directory.sync(place, _argv(), progress, allowed=allow_changes, full=full)
    if as_json:
        _print_json(_step_json(step, "sync", run_id))
    else:
        _show(step, run_id)
    return 1 if _wrong(step) else 0


@directory_command.command("undo", short_help="Take back what a run changed.")
@click.argument("run", type=click.IntRange(1, 2**31))
@config
@options.as_json
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d"]),
    metavar="'YYYY-MM-DD HH:MM'",
    help="Only what it changed from then on: a run with --follow may be long.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
def undo_command(
    run: int, config: Path | None, ledger: str | None, as_json: bool, since: datetime | None, dry_run: bool
) -> int:
    """Take back what RUN changed in the target, the newest change first, from the audit log. What somebody has changed
    since stays as it is. Exit code 1: some of it stays. Remove the cause before the next sync, which would do it
    again."""
    from mailferry.ops import directory

    with _opened(config, ledger) as place, progress_lines() as progress:
        start = since.timestamp() if since else 0.0
        undone, changes = directory.take_back(place, _argv(), run, progress, since=start, dry_run=dry_run)
    stays = [*undone.kept, *undone.written.failed]
    if as_json:
        kept = [{"dn": dn, "why": why} for dn, why in stays]
        done = {"undone": undone.written.done, "nothing_to_undo": undone.nothing, "kept": kept}
        _print_json({"schema": 1, "of_run": run, "dry_run": dry_run, **done, "changes": list(map(_change, changes))})
    else:
        for change in changes if dry_run else ():
            click.echo(f"{change.operation.value} {change.dn}" + (f" → {change.new_dn}" if change.new_dn else ""))
        for dn, why in stays[:_SHOWN]:
            click.echo(f"  stays: {dn}: {why}")
        count = len(changes) if dry_run else undone.written.done
        nothing = f", had nothing to take back: {undone.nothing}" if undone.nothing else ""
        click.echo(f"{'would be ' if dry_run else ''}taken back: {count}, stays: {len(stays)}{nothing}")
    return 1 if stays else 0


@directory_command.command("status", short_help="Show what the latest runs changed.")
@config
@options.as_json
def status_command(config: Path | None, ledger: str | None, as_json: bool) -> None:
    """Show up to where the target is in step, and what the latest runs changed."""
    from mailferry.ledger.owner import dead
    from mailferry.ops import directory

    with _opened(config, ledger) as place:
        pairs, runs = directory.status(place.ledger)
    if as_json:
        listed = [
            {
                "run": run.id,
                "command": run.command,
                "started": run.started,
                "ended": run.ended,
                "alive": run.ended is None and not dead(run.owner),
                "changes": counts,
                **run.summary,
            }
            for run, counts in runs
        ]
        known = [
            {"source": one.source_key, "target": one.target_key, "reconciled": one.reconciled, "in_step": one.cookie_at}
            for one in pairs
        ]
        _print_json({"schema": 1, "directories": known, "runs": listed})
        return
    for one in pairs:
        click.echo(f"{one.source_key} → {one.target_key}")
        click.echo(f"  compared as a whole: {_clock(one.reconciled)}; in step: {_clock(one.cookie_at)}")
    for run, counts in runs[-_SHOWN:]:
        state = "ended" if run.ended else "dead" if dead(run.owner) else "at work"
        what = [
            f"{count} {operation} {state}" if state != "done" else f"{count} {operation}"
            for operation, by_state in sorted(counts.items())
            for state, count in sorted(by_state.items())
        ]
        trouble = f"; {run.summary['trouble']}" if run.summary.get("trouble") else ""
        click.echo(f"run {run.id}: {state}, since {_clock(run.started)}: {', '.join(what) or 'no change'}{trouble}")
    if not runs:
        click.echo("nothing has been written yet; begin with `mailferry directory diff`")


@directory_command.command("clean", short_help="Report what is wrong in the source.")
@config
@options.as_json
@click.option("--all", "everything", is_flag=True, help="Every finding, also notes and what is decided.")
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE", help="Write them there, as .html or .csv.")
def clean_command(config: Path | None, ledger: str | None, as_json: bool, everything: bool, report: Path | None) -> int:
    """Read and clean the source and report every finding; open errors are entered into the decisions file of the
    settings. Exit code 1: some wait for a decision."""
    from mailferry.ops import directory
    from mailferry.ops.address_book import write_report

    with _opened(config, ledger) as place, progress_lines() as progress:
        cleaned = directory.report(place, progress)
        decisions = place.settings.decisions
    if report is not None:
        write_report(cleaned, report, "Cleaning of the directory")
    if as_json:
        _print_json({"schema": 1, "recipients": len(cleaned.recipients), **_findings(cleaned)})
    else:
        for row in cleaned.rows:
            if everything or row.is_open:
                one = row.finding
                proposal = "" if one.proposal is None else f" → {one.proposal or '(without it)'}"
                click.echo(
                    f"{one.severity.value} {one.code} {one.where}: {one.message}{proposal} [{row.outcome.value}]"
                )
        click.echo(
            f"{len(cleaned.recipients)} recipients come along, {len(cleaned.left_out)} are left out; "
            f"{len(cleaned.rows)} findings, {len(cleaned.open)} wait for a decision"
            + (f" in {decisions}" if decisions and cleaned.open else "")
        )
    return 1 if cleaned.open else 0


@directory_command.command("accounts", short_help="Write the list for `copy --accounts`.")
@config
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE.csv", help="Where to (default: standard output)."
)
def accounts_command(config: Path | None, ledger: str | None, output: Path | None) -> None:
    """Write the list that `mailferry copy --accounts` takes: source_user,target_user of everybody with a mailbox."""
    from mailferry.ops import directory

    with _opened(config, ledger) as place:
        rows = directory.accounts(place)
    out = output.open("w", encoding="utf-8", newline="") if output else sys.stdout
    try:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("source_user", "target_user"))
        writer.writerows(rows)
    finally:
        if output:
            out.close()


@directory_command.command("exchange-script", short_help="Write a script for Exchange's side.")
@config
@options.as_json
@click.option(
    "--format",
    "form",
    type=click.Choice(("powershell", "ldif")),
    default="powershell",
    show_default=True,
    help="For the Exchange Management Shell, or for Active Directory (ldifde, ldapmodify).",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", required=True, help="Where script, undo and review go."
)
def exchange_script_command(config: Path | None, ledger: str | None, as_json: bool, form: str, out: Path) -> int:
    """Write a script that makes people of the open side mail users in Exchange, its undo, and a page to review both.
    Sends nothing to Exchange. Exit code 1: somebody is left out; the page says why."""
    from mailferry.ops import exchange_script

    with _opened(config, ledger) as place, progress_lines() as progress:
        written = exchange_script.write(place, form, out, progress)
    plan = written.plan
    left = [one for one in plan.findings if one.severity.value == "error"]
    if as_json:
        users = [
            {"how": one.how.value, "name": one.name, "mail": one.mail, "external": one.external, "person": one.person}
            for one in plan.users
        ]
        found = [{"code": one.code, "where": one.where, "message": one.message} for one in plan.findings]
        files = [str(path) for path in written.files]
        _print_json({"schema": 1, "users": users, "same": plan.same, "findings": found, "files": files})
    else:
        for one in left[:_SHOWN]:
            click.echo(f"  left out: {one.where}: {one.message}", err=True)
        click.echo(f"{len(plan.users)} to do, {plan.same} need nothing, {len(left)} left out")
        for path in written.files:
            click.echo(f"  {path}")
    return 1 if left else 0


@directory_command.command("ad-schema", short_help="Write Mailferry's attributes for Active Directory.")
@options.settings
@options.as_json
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", required=True, help="Where the files go.")
def ad_schema_command(config: Path | None, as_json: bool, out: Path) -> None:
    """Write what an administrator needs to let Active Directory hold routes (coexist.route_store = "ad"): the schema
    extension as LDIF, commands for the rights, and how to use both. Connects to nothing."""
    from mailferry.config.settings import read_settings
    from mailferry.ops import ad_schema

    files = [str(path) for path in ad_schema.write(read_settings(options.settings_path(config)), out)]
    if as_json:
        _print_json({"schema": 1, "files": files})
    else:
        for path in files:
            click.echo(path)


@contextmanager
def _opened(config: Path | None, ledger: str | None) -> Iterator[Place]:
    from mailferry.ops import directory

    with directory.opened(options.settings_path(config), ledger, options.default_ledger) as place:
        yield place


def _argv() -> list[str]:
    return ["mailferry", *sys.argv[1:]]


@contextmanager
def progress_lines(quiet: bool = False) -> Iterator[Progress]:
    """Tells how far it is: on a terminal in one line that changes, in a pipe now and then."""
    terminal = sys.stderr.isatty()
    latest = time.monotonic()
    shown = False

    def tell(what: str, done: int, of: int) -> None:
        nonlocal latest, shown
        if quiet or time.monotonic() - latest < (0.2 if terminal else _PLAIN_SECONDS):
            return
        latest, shown = time.monotonic(), True
        text = f"{what} {done}" + (f" of {of}" if of else "")
        click.echo(f"\r\033[K{text}" if terminal else text, err=True, nl=not terminal)

    try:
        yield tell
    finally:
        if shown and terminal:
            click.echo("\r\033[K", err=True, nl=False)


def _teller(as_json: bool) -> Callable[[int, Stepped, float], None]:
    """A line for each step of following."""

    def tell(run_id: int, step: Stepped, seconds: float) -> None:
        if as_json:
            click.echo(json.dumps({**_step_json(step, "step", run_id), "seconds": round(seconds, 3)}))
            return
        stamp = time.strftime("%H:%M:%S")
        for line in _summary_lines(step, run_id):
            click.echo(f"{stamp} {line}")

    return tell


def _show(step: Stepped, run_id: int | None) -> None:
    """The first of those whom `clean` lists, and those who have no place in the target, of whom it knows nothing."""
    placeless = [one for one in step.planned.findings if one.severity.value == "error"]
    for findings, most in ((step.planned.cleaned.open, _SHOWN_OPEN), (placeless, _SHOWN)):
        for one in findings[:most]:
            click.echo(f"  left out: {one.where}: {one.message}", err=True)
        if len(findings) > most:
            click.echo(f"  … and {len(findings) - most} more findings", err=True)
    for line in _summary_lines(step, run_id):
        click.echo(line)


def _summary_lines(step: Stepped, run_id: int | None) -> Iterator[str]:
    from mailferry.ops.directory import summary

    counts = summary(step)
    parts = [f"{counts[name]} {name}" for name in ("add", "modify", "rename", "delete") if counts[name]]
    yield (
        (f"run {run_id}: " if run_id is not None else "")
        + f"{counts['recipients']} recipients, {counts['present']} entries; "
        + (", ".join(parts) or ("nothing has changed" if step.same else "nothing to change"))
        + (f"; {counts['left_out']} left out (see `mailferry directory clean`)" if counts["left_out"] else "")
        + (f"; {counts['excluded']} excluded" if counts["excluded"] else "")
        + (f"; {counts['failed']} failed" if counts["failed"] else "")
    )
    failed = step.written.failed if step.written else []
    shown = [(why if why.startswith(dn) else f"{dn}: {why}").partition("\n") for dn, why in failed[:_SHOWN]]
    yield from (f"  failed: {what}" for what, _, _ in shown)
    if len(failed) > _SHOWN:
        yield f"  … and {len(failed) - _SHOWN} more"
    yield from dict.fromkeys(advice for _, _, advice in shown if advice)
    if step.same and counts["wrong"] and not counts["left_out"]:
        yield "  somebody is left out: `mailferry directory sync --full` names them"


def _wrong(step: Stepped) -> bool:
    from mailferry.ops.directory import summary

    counts = summary(step)
    return bool(counts["failed"] or counts["wrong"])


def _step_json(step: Stepped, what: str, run_id: int | None) -> dict[str, Any]:
    from mailferry.ops.directory import summary

    return {
        "schema": 1,
        "kind": what,
        "run": run_id,
        **{name: value for name, value in summary(step).items() if name != "directory"},
        "changes": [_change(one) for one in step.diff.changes],
        "failures": [{"dn": dn, "why": why} for dn, why in step.written.failed] if step.written else [],
        **_findings(step.planned.cleaned, step.planned.findings),
    }


def _change(change: Change) -> dict[str, Any]:
    from mailferry.directory.writer import to_json

    return {
        "operation": change.operation.value,
        "id": change.source_id,
        "dn": change.dn,
        **({"new_dn": change.new_dn} if change.new_dn else {}),
        "before": to_json(change.before),
        "after": to_json(change.after),
    }


def _findings(cleaned: Cleaned, more: list[Any] | None = None) -> dict[str, Any]:
    rows = [(row.finding, row.outcome.value, row.is_open) for row in cleaned.rows]
    rows += [(one, "left out" if one.severity.value == "error" else "as it is", False) for one in more or ()]
    return {
        "left_out": len(cleaned.left_out),
        "findings": [
            {
                "code": one.code,
                "severity": one.severity.value,
                "id": one.about,
                "where": one.where,
                "message": one.message,
                "value": one.value,
                "proposal": one.proposal,
                "outcome": outcome,
                "open": waits,
            }
            for one, outcome, waits in rows
        ],
    }


def _print_json(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _clock(seconds: float | None) -> str:
    return "never" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
