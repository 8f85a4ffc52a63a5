"""`mailferry wave`: people moved together, from the first copy to the last sweep."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mailferry.cli import options, wave_plan, wave_script, wave_tell
from mailferry.cli.directory import config
from mailferry.cli.wave_plan import site_of as _site

if TYPE_CHECKING:
    from mailferry.copy.fleet import Run
    from mailferry.model.wave import Move
    from mailferry.ops.wave import Site, Status

F = TypeVar("F", bound=Callable[..., Any])


def members(command: F) -> F:
    """NAME and `--only`."""
    only = click.option("--only", multiple=True, metavar="ADDRESS", help="Only this person (may be repeated).")
    return click.argument("name")(only(command))


_dry_run = click.option("--dry-run", is_flag=True, help="Tell who would be concerned, and change nothing.")
_detach = click.option("--detach", is_flag=True, help="Go on in the background; see `mailferry status`.")


@click.group("wave")
def wave_command() -> None:
    """Move people in waves, while mail keeps coming: plan, seed, cut over, sweep, done."""


for _command in (*wave_plan.COMMANDS, *wave_tell.COMMANDS, wave_script.script_command):
    wave_command.add_command(_command)


@wave_command.command("seed")
@members
@config
@options.as_json
@_detach
@_dry_run
def seed_command(name: str, **values: Any) -> int:
    """Copy the mailboxes of the wave NAME for the first time, or bring them in step (a delta, for every night until the
    cutover). Nobody's mail goes elsewhere yet."""
    return _run("seed", name, **values)


@wave_command.command("cutover")
@members
@config
@options.as_json
@_detach
@_dry_run
def cutover_command(name: str, **values: Any) -> int:
    """Move the people of the wave NAME: park their mail, copy what is new, verify, switch, release. Whoever cannot be
    moved stays on Exchange, with all mail. Run again it goes on with who is left; also after it was killed."""
    return _run("cutover", name, **values)


@wave_command.command("sweep")
@members
@config
@options.as_json
@_detach
@_dry_run
def sweep_command(name: str, **values: Any) -> int:
    """Fetch what came into the old mailboxes after the switch: nightly, for as long as `coexist.sweep_hours` says."""
    return _run("sweep", name, **values)


@wave_command.command("rollback")
@members
@config
@options.as_json
@_detach
@_dry_run
def rollback_command(name: str, **values: Any) -> int:
    """Take the people of the wave NAME who were switched back to Exchange, with what they received, sent and drafted
    since. Nothing is removed from the open side. Run again it goes on where it was killed, and brings what has come
    into the open mailboxes since."""
    return _run("rollback", name, **values)


@wave_command.command("done")
@members
@config
@options.as_json
@_dry_run
@click.option("--early", is_flag=True, help="Although `coexist.sweep_hours` are not over.")
def done_command(
    name: str,
    only: tuple[str, ...],
    config: Path | None,
    ledger: str | None,
    as_json: bool,
    dry_run: bool,
    early: bool,
) -> int:
    """Say of those who are swept that nothing more is to come: no sweep and no rollback any more."""
    from mailferry.ops import wave

    moves = wave.done(_site(config, ledger), name, only, early=early, dry_run=dry_run)
    _tell(name, moves, as_json, "would be done" if dry_run else "done")
    return 0


@wave_command.command("status")
@click.argument("name", required=False)
@config
@options.as_json
def status_command(name: str | None, config: Path | None, ledger: str | None, as_json: bool) -> int:
    """Tell how far the wave NAME is, or all waves. Exit code 1: somebody's last attempt failed."""
    from mailferry.ops import wave

    site = _site(config, ledger)
    with wave.opened(site) as db:
        found = wave.status(db, name, site.coexist.together)
    if as_json:
        click.echo(json.dumps({"schema": 1, "waves": [wave.document(one) for one in found]}, indent=2))
    else:
        for one in found:
            show(one)
        if not found:
            click.echo("there is no wave yet: mailferry wave plan")
    return 1 if any(move.error for one in found for move in one.moves) else 0


@wave_command.command("pause")
@click.argument("name")
@config
@options.as_json
@_dry_run
def pause_command(name: str, **values: Any) -> int:
    """Park nobody new of the wave NAME; whoever is parked is finished."""
    return _steer(name, "paused", **values)


@wave_command.command("resume")
@click.argument("name")
@config
@options.as_json
@_dry_run
def resume_command(name: str, **values: Any) -> int:
    """Let the wave NAME go on; `wave seed` and `wave cutover` take it up again."""
    return _steer(name, "open", **values)


@wave_command.command("cancel")
@click.argument("name")
@config
@options.as_json
@_dry_run
def cancel_command(name: str, **values: Any) -> int:
    """Give the wave NAME up: whoever is still on Exchange stays there, and may be planned anew. Nobody is sent back."""
    return _steer(name, "cancelled", **values)


def show(one: Status) -> None:
    """A wave for people."""
    from mailferry.cli.show import time_text
    from mailferry.model.wave import WAITING_FOR_MAIL, MoveState
    from mailferry.ops.wave import next_step

    states = ", ".join(f"{number} {state}" for state, number in one.states.items()) or "nobody in it"
    click.echo(f"{one.wave.name} ({one.wave.state.value}): {states}")
    if one.parked_seconds is not None:
        median, longest = map(time_text, one.parked_seconds)
        click.echo(f"  parked for {median} (median), {longest} (longest)")
    if one.eta_seconds:
        click.echo(f"  about {time_text(one.eta_seconds)} left")
    for move in one.moves:
        if move.state is MoveState.RETURNING and move.parked is None:
            click.echo(f"  {move.mail}: {move.state.value}, mail goes to the open side")
        elif move.state in WAITING_FOR_MAIL:
            since = time_text(time.time() - (move.parked or move.entered))
            click.echo(f"  {move.mail}: {move.state.value}, mail waits for {since}")
        if move.error:
            click.echo(f"  {move.mail}: {move.state.value}: {move.error}")
        if move.error or move.state in WAITING_FOR_MAIL:
            click.echo(f"    next: {next_step(one.wave, move)}")


def _run(
    verb: str,
    name: str,
    only: tuple[str, ...],
    config: Path | None,
    ledger: str | None,
    as_json: bool,
    detach: bool,
    dry_run: bool,
) -> int:
    from mailferry.ops import wave

    started = time.monotonic()
    site = _site(config, ledger)
    if dry_run:
        fleet = wave.fleet(site, verb, name, only, sys.argv, lambda _: None)
        if as_json:
            click.echo(json.dumps({"schema": 1, "wave": name, "people": [job.name for job in fleet.jobs]}, indent=2))
        else:
            click.echo(f"{len(fleet.jobs)} people" + "".join(f"\n  {job.name}" for job in fleet.jobs))
        return 0

    def result(fleet: Run, as_json: bool, seconds: float) -> None:
        _result(site, name, fleet, as_json, seconds)

    return options.run_fleet(
        lambda observe: wave.fleet(site, verb, name, only, sys.argv, observe),
        site.ledger,
        as_json=as_json,
        detach=detach,
        report=None,
        started=started,
        result=result,
    )


def _result(site: Site, name: str, fleet: Run, as_json: bool, seconds: float) -> None:
    from mailferry.cli import show as shown
    from mailferry.ops import wave

    with wave.opened(site) as db:
        (now,) = wave.status(db, name, site.coexist.together)
    if as_json:
        run = {**shown.document(fleet, seconds), "wave": wave.document(now)}
        click.echo(json.dumps(run, indent=2))
        return
    for job, state in zip(fleet.jobs, fleet.states, strict=True):
        if state.error is not None:
            click.echo(f"{job.name}: {shown.error_text(state.error, job.name)}", err=True)
    well = sum(1 for state in fleet.states if state.error is None)
    click.echo(f"{well} of {len(fleet.jobs)} people; {shown.time_text(seconds)} (run {fleet.run_id})")
    show(now)


def _steer(name: str, wanted: str, config: Path | None, ledger: str | None, as_json: bool, dry_run: bool) -> int:
    from mailferry.model.wave import WaveState
    from mailferry.ops import wave

    ended = wave.steer(_site(config, ledger), name, WaveState(wanted), dry_run=dry_run)
    word = "resumed" if wanted == "open" else wanted
    _tell(name, ended, as_json, f"would be {word}" if dry_run else word)
    return 0


def _tell(name: str, moves: Sequence[Move], as_json: bool, word: str) -> None:
    if as_json:
        click.echo(
            json.dumps({"schema": 1, "wave": name, "what": word, "people": [one.mail for one in moves]}, indent=2)
        )
    else:
        click.echo(f"{name}: {word}" + (f" ({len(moves)} people)" if moves else ""))
