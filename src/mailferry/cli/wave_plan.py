"""`mailferry wave plan|show|approve`: who moves when, and who has agreed to it."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mailferry.cli import options
from mailferry.cli.directory import config, progress_lines

if TYPE_CHECKING:
    from mailferry.copy.fleet import Run
    from mailferry.model.wave import Move
    from mailferry.ops.wave import Site
    from mailferry.ops.wave_plan import Planned
    from mailferry.ops.wave_show import Shown

F = TypeVar("F", bound=Callable[..., Any])
_SHOWN = 20
_WHEN = click.DateTime(["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d"])
_TIME = "'YYYY-MM-DD HH:MM'"
GB, HOUR = 10**9, 3600
dry_run = click.option("--dry-run", is_flag=True, help="Tell what would be done, and write nothing.")


def site_of(config: Path | None, ledger: str | None) -> Site:
    """What `wave` needs to know of the organisation, by the settings."""
    from mailferry.ops import wave

    return wave.site_of(options.settings_path(config), ledger, options.default_ledger)


def _many(name: str, metavar: str, text: str, *, path: bool = False) -> Callable[[F], F]:
    kind = click.Path(path_type=Path, exists=True, dir_okay=False) if path else str
    return click.option(name, type=kind, multiple=True, metavar=metavar, help=f"{text} (may be repeated).")


@click.command("plan", short_help="Decide who moves together, and when.")
@click.argument("name")
@config
@options.as_json
@_many("--people", "ADDRESS", "This person or shared mailbox")
@_many("--csv", "FILE", "Everybody whose address is in this file, one a line", path=True)
@_many("--group", "ADDRESS", "Everybody whom this group reaches")
@_many("--ou", "DN", "Everybody below this entry, of the source's directory or of ours")
@click.option("--all", "everybody", is_flag=True, help="Everybody with a mailbox on Exchange who is in no wave.")
@_many("--add", "ADDRESS", "Put this person into the wave NAME, which exists")
@_many("--remove", "ADDRESS", "Take this person out of it again, if nothing was done yet")
@click.option("--most-people", type=click.IntRange(1), metavar="N", help="At most so many in a wave: NAME-1, NAME-2 …")
@click.option("--most-gb", type=click.FloatRange(0, min_open=True), metavar="N", help="At most so many GB in a wave.")
@click.option(
    "--most-hours", type=click.FloatRange(0, min_open=True), metavar="H", help="At most so long a first copy of a wave."
)
@click.option("--store", metavar="HOST", help="The store they go to. Without it, they are spread over all.")
@click.option("--bring", is_flag=True, help="Whoever shares a mailbox with them comes along.")
@click.option("--split", is_flag=True, help="People who share a mailbox may be separated.")
@click.option("--start", type=_WHEN, metavar=_TIME, help="Nothing is copied before.")
@click.option("--complete", type=_WHEN, metavar=_TIME, help="Nobody is parked before.")
@_many("--blackout", "HOURS", "Nobody new is parked then, such as 'Mon-Fri 08:00-18:00'")
@click.option("--together", type=click.IntRange(1), metavar="N", help="At most so many of the wave parked at once.")
@click.option("--no-sizes", is_flag=True, help="Do not ask Exchange how large mailboxes are.")
@dry_run
def plan_command(
    name: str,
    config: Path | None,
    ledger: str | None,
    as_json: bool,
    people: tuple[str, ...],
    csv: tuple[Path, ...],
    group: tuple[str, ...],
    ou: tuple[str, ...],
    everybody: bool,
    add: tuple[str, ...],
    remove: tuple[str, ...],
    most_people: int | None,
    most_gb: float | None,
    most_hours: float | None,
    store: str | None,
    bring: bool,
    split: bool,
    start: datetime | None,
    complete: datetime | None,
    blackout: tuple[str, ...],
    together: int | None,
    no_sizes: bool,
    dry_run: bool,
) -> int:
    """Plan the wave NAME: who is in it, where they go, how long it takes. Moves nobody and copies nothing.

    People who share a mailbox are kept together. With a budget, several waves are made. For a wave that exists, --add,
    --remove and the times change it."""
    from mailferry.errors import UserError
    from mailferry.ops import wave_plan
    from mailferry.ops.wave_people import Wanted
    from mailferry.plan.forecast import Budget

    path = options.settings_path(config)
    site = site_of(config, ledger)
    times = {"start": start and start.timestamp(), "complete": complete and complete.timestamp()}
    settings = {**times, "blackout": list(blackout) or None, "together": together}
    settings = {key: value for key, value in settings.items() if value is not None}
    budget = Budget(most_people, round(most_gb * GB) if most_gb else None, most_hours and most_hours * HOUR)
    how = wave_plan.Options(budget, store, split, bring, not no_sizes, settings, dry_run)
    wanted = Wanted(people, csv, group, ou, everybody)
    changes = [bool(add), bool(remove), wanted != Wanted()]
    if sum(changes) > 1:
        advice = "one at a time: --add, --remove, or who a new wave is made of"
        raise UserError("too much at once", about=name, advice=advice)
    if remove:
        gone = wave_plan.remove(site, name, remove, dry_run=dry_run)
        _tell_gone(name, gone, as_json, dry_run)
        return 0
    if settings and not any(changes):
        wave_plan.retime(site, name, settings, dry_run=dry_run)
        _tell_gone(name, [], as_json, dry_run)
        return 0
    with progress_lines() as progress:
        if add:
            done = wave_plan.add(path, site, name, Wanted(people=add), how, progress)
        else:
            done = wave_plan.plan(path, site, name, wanted, how, progress)
    if as_json:
        click.echo(json.dumps(_planned(done, dry_run), indent=2, ensure_ascii=False))
    else:
        _show_planned(done, dry_run)
    return 0


@click.command("show", short_help="Show who is in a wave, and what is known of them.")
@click.argument("name")
@config
@options.as_json
def show_command(name: str, config: Path | None, ledger: str | None, as_json: bool) -> int:
    """Show the wave NAME: its people, their stores, the forecast, who shares with whom, and whether each mailbox is
    the right person's."""
    from mailferry.ops import wave_show

    found = wave_show.show(site_of(config, ledger), name)
    if as_json:
        click.echo(json.dumps(wave_show.document(found), indent=2, ensure_ascii=False))
    else:
        _show(found)
    return 0


@click.command("approve", short_help="As a second person, approve what nobody can prove.")
@click.argument("name")
@click.argument("address", nargs=-1)
@config
@options.as_json
@click.option("--why", metavar="TEXT", help="The reason, for the audit.")
@click.option("--as", "who", metavar="PERSON", help="Who approves, where several people share one account.")
@dry_run
def approve_command(
    name: str,
    address: tuple[str, ...],
    config: Path | None,
    ledger: str | None,
    as_json: bool,
    why: str | None,
    who: str | None,
    dry_run: bool,
) -> int:
    """Approve what waits for a second person in the wave NAME: that a mailbox without evidence is the right one, and
    differences of the score Investigate. Without ADDRESS: list what waits; exit code 1 if something does.

    Whoever planned the wave cannot approve, nor can who starts the cutover. An approval holds for what you were shown:
    when that changes, it is void."""
    from mailferry.errors import UserError
    from mailferry.ops import wave_show

    site = site_of(config, ledger)
    if not address:
        found = wave_show.waiting(site, name)
    elif why is None:
        raise UserError("an approval needs a reason", about=address[0], advice="--why TEXT")
    else:
        found = wave_show.approve(site, name, address, why, who, dry_run=dry_run)
    rows = [(move.mail, one) for move, doubts in found for one in doubts]
    if as_json:
        listed = [{"mail": mail, "what": one.what.value, "text": one.text} for mail, one in rows]
        key = "waiting" if not address or dry_run else "approved"
        click.echo(json.dumps({"schema": 1, "wave": name, key: listed}, indent=2, ensure_ascii=False))
    else:
        word = "waits" if not address else "would be approved" if dry_run else "approved"
        for mail, one in rows:
            click.echo(f"{mail}: {one.what.value} {word}: {one.text}")
        if not rows:
            click.echo("nothing waits for an approval")
    return 1 if rows and not address else 0


@click.command("rehearse", short_help="Do everything but the switch, and write one page to sign.")
@click.argument("name")
@_many("--only", "ADDRESS", "Only this person")
@config
@options.as_json
@click.option("--no-copy", is_flag=True, help="Copy and compare nothing: only ask the servers, and tell what is known.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the page goes, also as JSON and as text (default: rehearsal-NAME).",
)
def rehearse_command(
    name: str,
    only: tuple[str, ...],
    config: Path | None,
    ledger: str | None,
    as_json: bool,
    no_copy: bool,
    out: Path | None,
) -> int:
    """Rehearse the cutover of the wave NAME: copy what is new, compare both sides, look whether each mailbox is the
    right person's, and ask every server; then write one page to sign. Nobody's mail goes elsewhere.

    Exit code 1: something would stop the cutover of somebody."""
    from mailferry.ledger.owner import person
    from mailferry.ops import wave, wave_page, wave_rehearse

    site = site_of(config, ledger)
    errors: dict[str, str] = {}

    def result(fleet: Run, as_json: bool, seconds: float) -> None:
        for job, state in zip(fleet.jobs, fleet.states, strict=True):
            if state.error is not None:
                errors[job.name] = str(state.error["message"])

    if not no_copy:
        code = options.run_fleet(
            lambda observe: wave.fleet(site, "rehearse", name, only, sys.argv, observe),
            site.ledger,
            as_json=as_json,
            detach=False,
            report=None,
            started=time.monotonic(),
            result=result,
        )
        if code and not errors:
            return code
    found = wave_rehearse.rehearsed(site, name, only, errors, person())
    folder = out or Path(f"rehearsal-{name}")
    page = wave_page.write_rehearsal(found, folder)
    if as_json:
        click.echo(json.dumps(wave_rehearse.document(found), indent=2, ensure_ascii=False))
    else:
        for line in wave_page.lines(found):
            click.echo(line)
        click.echo(f"\nTo sign: {page}")
    return 0 if found.ready else 1


COMMANDS = (plan_command, show_command, approve_command, rehearse_command)


def _tell_gone(name: str, gone: list[Move], as_json: bool, dry_run: bool) -> None:
    mails = [one.mail for one in gone]
    if as_json:
        click.echo(json.dumps({"schema": 1, "wave": name, "dry_run": dry_run, "removed": mails}, indent=2))
    else:
        word = "would be changed" if dry_run else "changed"
        click.echo(f"{name}: {word}" + (f"; without {', '.join(mails)}" if mails else ""))


def _planned(done: Planned, dry_run: bool) -> dict[str, Any]:
    from mailferry.ops.wave_show import tied_document

    return {
        "schema": 1,
        "dry_run": dry_run,
        "rates": {"measured": done.rates.passes > 0, "how": done.rates.how},
        "waves": [
            {
                "name": one.name,
                "seconds": round(one.seconds, 1),
                "over_budget": one.over,
                "people": [{"mail": move.mail, "store": move.store, **move.forecast} for move in one.moves],
            }
            for one in done.waves
        ],
        "passed_over": [{"who": who, "why": why} for who, why in done.passed_over],
        "separated": [tied_document(one) for one in done.separated],
        "size_unknown": [{"mail": who, "why": why} for who, why in done.unknown],
    }


def _show_planned(done: Planned, dry_run: bool) -> None:
    from mailferry.cli.show import time_text

    for one in done.waves:
        over = "; larger than the budget, since they share" if one.over else ""
        click.echo(f"{one.name}: {_people(one.moves)}; first copy about {time_text(one.seconds)}{over}")
        for move in one.moves[:_SHOWN]:
            click.echo(f"  {move.mail} → {move.store}: {_load(move)}")
        if len(one.moves) > _SHOWN:
            click.echo(f"  … and {len(one.moves) - _SHOWN} more: mailferry wave show {one.name}")
    for title, rows in (
        ("passed over", done.passed_over),
        ("size unknown", done.unknown),
        ("separated from", [(one.one, f"{one.other} ({one.why}; {one.where})") for one in done.separated]),
    ):
        for who, why in rows[:_SHOWN]:
            click.echo(f"  {title}: {who}: {why}")
        if len(rows) > _SHOWN:
            click.echo(f"  {title}: … and {len(rows) - _SHOWN} more")
    click.echo(f"Forecast: {done.rates.how}.")
    if not dry_run:
        click.echo(f"Next: mailferry wave seed {done.waves[0].name}")


def _people(moves: tuple[Move, ...]) -> str:
    from mailferry.cli.show import size_text

    size = sum(move.forecast.get("bytes") or 0 for move in moves)
    messages = sum(move.forecast.get("messages") or 0 for move in moves)
    stores = sorted({move.store for move in moves})
    unknown = sum(move.forecast.get("messages") is None for move in moves)
    told = [f"{len(moves)} people", f"{messages} messages", *([size_text(size)] if size else [])]
    told += [f"{unknown} of unknown size"] if unknown else []
    return ", ".join(told) + f" → {', '.join(stores)}"


def _load(move: Move) -> str:
    from mailferry.cli.show import size_text, time_text

    forecast = move.forecast
    parts = [
        f"{forecast['messages']} messages" if forecast.get("messages") is not None else "size unknown",
        size_text(forecast["bytes"]) if forecast.get("bytes") is not None else "",
    ]
    size = ", ".join(filter(None, parts))
    seconds, parked = forecast.get("seconds"), forecast.get("parked")
    times = f", copied in {time_text(seconds)}, parked for {time_text(parked)}" if seconds and parked else ""
    return f"{size}{times}"


def _show(found: Shown) -> None:
    wave = found.wave
    click.echo(f"{wave.name} ({wave.state.value}): {_people(found.moves)}")
    for key in ("start", "complete"):
        if wave.settings.get(key):
            click.echo(f"  {key}: {_clock(wave.settings[key])}")
    if math.isinf(found.park_from):
        click.echo("  nobody can be parked: the blackout hours have no end")
    elif found.park_from > time.time():
        click.echo(f"  nobody is parked before {_clock(found.park_from)}")
    for move in found.moves:
        click.echo(f"  {move.mail} ({move.state.value}) {move.source_user} → {move.target_user} on {move.store}")
        click.echo(f"    {_load(move)}")
        if move.evidence:
            others = f"; others: {', '.join(move.evidence['others'])}" if move.evidence["others"] else ""
            click.echo(f"    right person: {move.evidence['verdict']} ({move.evidence['how']}{others})")
        for doubt in found.open.get(move.id, ()):
            click.echo(f"    waits for an approval: {doubt.what.value}: {doubt.text}")
        for one in move.approvals:
            click.echo(f"    {one['what']} approved by {one['who']} on {_clock(one['at'])}: {one['why']}")
    for cluster in found.clusters:
        click.echo(f"  share a mailbox: {', '.join(cluster)}")
    for tie in found.separated:
        click.echo(f"  separated: {tie.one} and {tie.other} ({tie.why}; {tie.where})")


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
