"""From samples to results (rows for results.json) and from those to docs/benchmarks.md. Measures nothing.

Invariant: the page says nothing that is not in the rows, the machine's description and the notes it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from statistics import median

from bench.measure import Usage


class Phase(Enum):
    """What the target holds when the time begins."""

    FULL = "full"
    NOTHING = "nothing to do"
    DELTA = "delta"


@dataclass(frozen=True, slots=True)
class Goal:
    """At most `times` the peer's wall time, and `plus_s` seconds; or, where `peer` is LIMIT, at most `mb`."""

    case: str
    phase: Phase
    ours: str
    peer: str
    times: float = 0.0
    plus_s: float = 0.0
    mb: float = 0.0

    def __str__(self) -> str:
        if self.mb:
            return f"{self.mb:.0f} MB"
        return f"{self.times:g} x" + (f" + {self.plus_s:g} s" if self.plus_s else "")


LIMIT, CPU_LIMIT, TIME_LIMIT, DISK_LIMIT = "memory limit", "CPU limit", "time limit", "disk limit"
_UNITS = {LIMIT: "MB", CPU_LIMIT: "s of CPU", TIME_LIMIT: "s", DISK_LIMIT: "GB"}
_OURS, _MAILDIR = "mailferry", "mailferry to Maildir"
_ONE, _FAR, _TEN, _PLAIN = (
    "one mailbox",
    "one mailbox, 40 ms away",
    "ten mailboxes",
    "one mailbox, plain IMAP4rev1 source",
)
_BIG = "a message of 200 MB"
GOALS = (
    Goal(_ONE, Phase.FULL, _OURS, "raw floor", 1.1),
    Goal(_ONE, Phase.FULL, _OURS, "mbsync", 0.9),
    Goal(_FAR, Phase.FULL, _OURS, "raw floor", 1.2),
    Goal(_FAR, Phase.FULL, _OURS, "mbsync", 0.3),
    Goal(_FAR, Phase.FULL, _OURS, "doveadm backup", 0.4),
    Goal(_TEN, Phase.FULL, _OURS, "mbsync", 0.55),
    Goal(_TEN, Phase.FULL, _OURS, "doveadm backup", 0.9),
    Goal(_ONE, Phase.FULL, _MAILDIR, "mbsync", 0.35),
    Goal(_TEN, Phase.NOTHING, _OURS, "mbsync", 1.0, 0.4),
    Goal(_FAR, Phase.NOTHING, _OURS, "mbsync", 0.5),
    *(Goal(case, Phase.FULL, _OURS, LIMIT, mb=120) for case in (_ONE, _FAR, _TEN, _PLAIN)),
    Goal(_ONE, Phase.FULL, _MAILDIR, LIMIT, mb=120),
    Goal(_BIG, Phase.FULL, _OURS, LIMIT, mb=150),
    Goal(_BIG, Phase.FULL, _MAILDIR, LIMIT, mb=150),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison, of medians. Seconds are wall clock (`_s`) or CPU; MB are 10^6 bytes, of the largest process.

    A row whose peer is a limit (of memory, CPU or time) has that as its goal: its `ratio` is of MB or seconds, and the
    peer's figures are None. `goal` is empty and `met` None where the project set no goal. `spread` is ours,
    (largest - smallest) / median.
    """

    case: str
    phase: str
    ours: str
    peer: str
    ours_s: float
    peer_s: float | None
    ratio: float
    goal: str
    met: bool | None
    ours_cpu_s: float
    peer_cpu_s: float | None
    ours_mb: float
    peer_mb: float | None
    samples: int
    spread: float
    run: str


def rows(samples: Mapping[tuple[str, Phase, str], Sequence[Usage]], run: str) -> list[Row]:
    """Compare ours with every peer that did the same. `run` says when. Memory is the highest of all samples."""
    found: list[Row] = []
    for (case, phase, ours), usages in samples.items():
        if ours not in (_OURS, _MAILDIR):
            continue
        for (other_case, other_phase, peer), others in samples.items():
            if (other_case, other_phase) == (case, phase) and peer not in (_OURS, _MAILDIR):
                found.append(_row(case, phase, ours, usages, peer, others, run))
        if any((goal.case, goal.phase, goal.ours, goal.peer) == (case, phase, ours, LIMIT) for goal in GOALS):
            every = [use for (a, _, b), uses in samples.items() if (a, b) == (case, ours) for use in uses]
            found.append(_row(case, phase, ours, every, LIMIT, (), run))
    return found


def _row(
    case: str, phase: Phase, ours: str, usages: Sequence[Usage], peer: str, others: Sequence[Usage], run: str
) -> Row:
    wall, peak = median(use.wall for use in usages), max(use.peak_mb for use in usages)
    peer_wall = median(use.wall for use in others) if others else None
    goal = next((one for one in GOALS if (one.case, one.phase, one.ours, one.peer) == (case, phase, ours, peer)), None)
    met, ratio = None, 0.0
    if peer_wall is not None:
        ratio = wall / peer_wall
        met = wall <= goal.times * peer_wall + goal.plus_s if goal else None
    elif goal is not None:
        ratio, met = peak / goal.mb, peak <= goal.mb
    return Row(
        case=case,
        phase=phase.value if peer != LIMIT else "all phases",
        ours=ours,
        peer=peer,
        ours_s=round(wall, 3),
        peer_s=None if peer_wall is None else round(peer_wall, 3),
        ratio=round(ratio, 3),
        goal=str(goal) if goal else "",
        met=met,
        ours_cpu_s=round(median(use.cpu for use in usages), 3),
        peer_cpu_s=round(median(use.cpu for use in others), 3) if others else None,
        ours_mb=round(peak, 1),
        peer_mb=round(max(use.peak_mb for use in others), 1) if others else None,
        samples=len(usages),
        spread=_spread(usages),
        run=run,
    )


def comparison(
    case: str,
    phase: str,
    ours: str,
    usages: Sequence[Usage],
    peer: str,
    others: Sequence[Usage],
    run: str,
    times: float = 0,
) -> Row:
    """Ours and a peer that did the same, outside the table of goals; the goal is `times` the peer's time, if given."""
    wall, peer_wall = median(use.wall for use in usages), median(use.wall for use in others)
    return Row(
        case=case,
        phase=phase,
        ours=ours,
        peer=peer,
        ours_s=round(wall, 3),
        peer_s=round(peer_wall, 3),
        ratio=round(wall / peer_wall, 3),
        goal=f"{times:g} x" if times else "",
        met=wall <= times * peer_wall if times else None,
        ours_cpu_s=round(median(use.cpu for use in usages), 3),
        peer_cpu_s=round(median(use.cpu for use in others), 3),
        ours_mb=round(max(use.peak_mb for use in usages), 1),
        peer_mb=round(max(use.peak_mb for use in others), 1),
        samples=len(usages),
        spread=_spread(usages),
        run=run,
    )


def within(
    case: str, phase: str, ours: str, usages: Sequence[Usage], limit: str, value: float, most: float, run: str
) -> Row:
    """Ours against a limit: `value` and `most` in its unit."""
    return Row(
        case=case,
        phase=phase,
        ours=ours,
        peer=limit,
        ours_s=round(value if limit in (TIME_LIMIT, DISK_LIMIT) else median(use.wall for use in usages), 3),
        peer_s=None,
        ratio=round(value / most, 3),
        goal=f"{most:g} {_UNITS[limit]}",
        met=value <= most,
        ours_cpu_s=round(value if limit == CPU_LIMIT else median(use.cpu for use in usages), 3),
        peer_cpu_s=None,
        ours_mb=round(max(use.peak_mb for use in usages), 1),
        peer_mb=None,
        samples=len(usages),
        spread=_spread(usages),
        run=run,
    )


def _spread(usages: Sequence[Usage]) -> float:
    walls = [use.wall for use in usages]
    return round((max(walls) - min(walls)) / median(walls), 2)


def as_json(found: Iterable[Row]) -> list[dict[str, object]]:
    """The rows as results.json holds them."""
    return [asdict(row) for row in found]


def merged(old: Iterable[Row], new: Sequence[Row]) -> list[Row]:
    """The new rows, after those old ones whose case was not run again."""
    again = {row.case for row in new}
    return [*(row for row in old if row.case not in again), *new]


def page(found: Sequence[Row], machine: Mapping[str, str], startup: Mapping[str, float], notes: str) -> str:
    """The text of docs/benchmarks.md. `startup` is in seconds by command; `notes` is Markdown."""
    goals = [row for row in found if row.met is not None]
    missed = sum(not row.met for row in goals)
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench` (`python -m bench`) from `bench/results.json`; do not edit. Ratios count, seconds",
        "depend on the machine: every line compares medians of runs that took turns, against the same two servers.",
        f"Of {len(goals)} goals {len(goals) - missed} are met.",
        "",
        "## Goals",
        "",
        "| case | who | peer | ratio | goal, at most | met | in plain words |",
        "|---|---|---|---|---|---|---|",
        *(_goal_line(row) for row in goals),
        "",
        "## All figures",
        "",
        "Wall and CPU in seconds (CPU of the client's processes only; `doveadm backup` stores the messages itself, the",
        "others leave that to the target's server), memory in MB of the largest process.",
        "",
        "| case | who | peer | wall | peer's | ratio | CPU | peer's | MB | peer's | runs | spread |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
        *(_figures(row) for row in found if row.peer_s is not None),
        "",
        "## Start-up",
        "",
        "Contained in every figure above.",
        "",
        "| command | seconds |",
        "|---|---|",
        *(f"| {name} | {seconds:.3f} |" for name, seconds in startup.items()),
        "",
        "## Machine",
        "",
        *(f"- {name}: {value}" for name, value in machine.items()),
        f"- runs: {', '.join(sorted({row.run for row in found}))}",
        "",
        notes.strip(),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _goal_line(row: Row) -> str:
    met = "yes" if row.met else "**no**"
    return (
        f"| {row.case}, {row.phase} | {row.ours} | {row.peer} | {row.ratio:.2f} | {row.goal} | {met} | {_words(row)} |"
    )


def _words(row: Row) -> str:
    value = {LIMIT: row.ours_mb, CPU_LIMIT: row.ours_cpu_s, TIME_LIMIT: row.ours_s, DISK_LIMIT: row.ours_s}.get(
        row.peer, 0.0
    )
    if row.peer == LIMIT:
        how = f"no process needs more than {row.ours_mb:.0f} MB"
    elif row.peer_s is None:
        how = f"{value:.2f} {_UNITS[row.peer]}"
    else:
        times = f"{1 / row.ratio:.1f} times as fast as" if row.ratio < 1 else f"{row.ratio:.2f} times the time of"
        how = f"{row.ours_s:.2f} s, {times} {row.peer} ({row.peer_s:.2f} s)"
    if row.met:
        return how
    limit = float(row.goal.split()[0])
    if row.peer_s is None:
        return f"{how}, {value - limit:.{0 if row.peer == LIMIT else 2}f} {_UNITS[row.peer]} too much"
    plus = float(row.goal.split()[3]) if "+" in row.goal else 0.0
    allowed = limit * row.peer_s + plus
    return f"{how}, {row.ours_s - allowed:.2f} s ({row.ours_s / allowed - 1:.0%}) too slow"


def _short(seconds: float | None) -> str:
    """With milliseconds where these are all there is."""
    assert seconds is not None
    return f"{seconds:.2f}" if seconds >= 0.1 else f"{seconds:.3f}"


def _figures(row: Row) -> str:
    return (
        f"| {row.case}, {row.phase} | {row.ours} | {row.peer} | {_short(row.ours_s)} | {_short(row.peer_s)} "
        f"| {row.ratio:.2f} "
        f"| {row.ours_cpu_s:.2f} | {row.peer_cpu_s:.2f} | {row.ours_mb:.0f} | {row.peer_mb:.0f} "
        f"| {row.samples} | {row.spread:.0%} |"
    )
