"""How a run looks: live bars on a terminal, plain lines in a pipe, one JSON document at the end with `--json`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from mailferry.copy.progress import Counts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailferry.copy.fleet import JobState, Run

PLAIN_SECONDS = 5.0


def size_text(size: float) -> str:
    """Bytes for people, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def time_text(seconds: float) -> str:
    """A duration for people."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


@contextmanager
def observer(as_json: bool) -> Iterator[Callable[[Run], None]]:
    """What to call after each change of a fleet."""
    if as_json:
        yield lambda fleet: None
    elif sys.stderr.isatty():
        with _bars() as show:
            yield show
    else:
        yield _lines()


def _sum(fleet: Run) -> tuple[Counts, int]:
    counts = Counts()
    for state in fleet.states:
        counts.add(state.counts)
    return counts, max(counts.listed, sum(state.expected for state in fleet.states))


def _lines() -> Callable[[Run], None]:
    started = last = time.monotonic()
    told: dict[str, str] = {}

    def show(fleet: Run) -> None:
        nonlocal last
        for job, state in zip(fleet.jobs, fleet.states, strict=True):
            if state.waits and told.get(job.name) != state.waits:
                told[job.name] = state.waits
                click.echo(f"{job.name}: {state.waits}", err=True)
        if time.monotonic() - last < PLAIN_SECONDS:
            return
        last = time.monotonic()
        counts, expected = _sum(fleet)
        ended = sum(1 for state in fleet.states if state.ended is not None)
        rate = counts.copied / (last - started)
        click.echo(
            f"{ended}/{len(fleet.jobs)} mailboxes, {counts.done}/{expected} messages, "
            f"{size_text(counts.bytes)} {fleet.done_word}, {counts.failed} failed, {rate:.0f} messages/s"
            + (" (paused)" if fleet.paused else ""),
            err=True,
        )

    return show


@contextmanager
def _bars() -> Iterator[Callable[[Run], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        refresh_per_second=5,
    )
    started = time.monotonic()
    bars: dict[int, Any] = {}
    with progress:
        whole = progress.add_task("all", total=1, note="connecting")

        def show(fleet: Run) -> None:
            counts, expected = _sum(fleet)
            seconds = max(0.1, time.monotonic() - started)
            rate = counts.copied / seconds
            left = expected - counts.done
            note = f"{rate:.0f}/s {size_text(counts.bytes / seconds)}/s {counts.failed} failed"
            if rate and left:
                note += f", {time_text(left / rate)} left"
            if fleet.paused:
                note = "paused"
            progress.update(whole, completed=counts.done, total=max(1, expected), note=note)
            for number, state in enumerate(fleet.states):
                if state.started is not None and state.ended is None and number not in bars and len(bars) < 12:
                    name = fleet.jobs[number].name
                    bars[number] = progress.add_task(name, total=1, note="")
                elif state.ended is not None and number in bars:
                    progress.remove_task(bars.pop(number))
            for number, bar in bars.items():
                state = fleet.states[number]
                note = state.waits or size_text(state.counts.bytes)
                progress.update(bar, completed=state.counts.done, total=max(1, state.expected), note=note)

        yield show


def result(fleet: Run, as_json: bool, seconds: float) -> None:
    """The end of a run: a line per mailbox that needs one, and the sum that adds up."""
    counts, _ = _sum(fleet)
    if as_json:
        click.echo(json.dumps(document(fleet, seconds), indent=2))
        return
    for number, state in enumerate(fleet.states):
        name = fleet.jobs[number].name
        if state.error is not None:
            click.echo(f"{name}: {error_text(state.error, name)}", err=True)
        elif state.score is not None and state.score != "Perfect":
            click.echo(f"{name}: {state.score}; see `mailferry report`", err=True)
        elif state.counts.failed or state.counts.different or state.counts.broken or state.counts.stops:
            click.echo(f"{name}: {_remarks(state)}", err=True)
    score = worst_score(fleet)
    click.echo(
        f"{len(fleet.jobs)} mailboxes, {counts.listed} listed, {counts.copied} copied, {counts.there} already there, "
        f"{counts.excluded} excluded, {counts.failed} failed; "
        + (f"score {score}; " if score else f"{size_text(counts.bytes)} copied; ")
        + f"{time_text(seconds)} (run {fleet.run_id})"
    )


def worst_score(fleet: Run) -> str | None:
    """The score of the whole run, None where nothing was verified."""
    from mailferry.verify.score import Score

    scores = [Score.of(state.score) for state in fleet.states if state.score is not None]
    return max(scores).word if scores else None


def _remarks(state: JobState) -> str:
    counts = state.counts
    parts = [
        (counts.failed, "failed"),
        (counts.broken, "folders could not be brought"),
        (counts.stops, "folders stopped for safety"),
        (counts.different, "with a difference"),
    ]
    return ", ".join(f"{number} {what}" for number, what in parts if number) + "; see `mailferry report`"


def error_text(error: dict[str, Any], subject: str = "") -> str:
    """An error for people; `subject`: what is named before it already."""
    named = error["about"] not in subject
    text = f"{error['about']}: {error['message']}" if named else str(error["message"])
    return f"{text}\n  → {error['advice']}" if error["advice"] else text


def document(fleet: Run, seconds: float) -> dict[str, Any]:
    """The `--json` document of a run (docs/json.md)."""
    counts, _ = _sum(fleet)
    return {
        "schema": 1,
        "run": fleet.run_id,
        "seconds": round(seconds, 3),
        "counts": counts.as_dict(),
        "mailboxes": [
            {
                "source": fleet.jobs[number].name,
                "counts": state.counts.as_dict(),
                "score": state.score,
                "error": state.error,
            }
            for number, state in enumerate(fleet.states)
        ],
    }


def exit_code(fleet: Run) -> int:
    """0: all well; the error's own code where all mailboxes ended with that one; 65: safety stops; 1: some failed."""
    codes = [state.error["exit_code"] for state in fleet.states if state.error is not None]
    if codes and len(codes) == len(fleet.states) and len(set(codes)) == 1:
        return int(codes[0])
    if codes:
        return 1
    counts, _ = _sum(fleet)
    if counts.stops:
        return 65
    return 1 if counts.failed or counts.broken or worst_score(fleet) in ("Investigate", "Poor") else 0
