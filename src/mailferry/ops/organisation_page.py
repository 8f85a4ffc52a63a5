"""Writes the migration report of an organisation: `index.html` with plots, tables as CSV, `report.json`.

The page stands alone: no network, no script, no other file; it reads in print. Invariant: every text that came from a
server is escaped; a CSV cell is never a formula.
"""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mailferry import __version__
from mailferry.errors import Permanent
from mailferry.ledger import organisation as sums
from mailferry.ledger import waves as ledger_waves
from mailferry.ledger.store import Ledger
from mailferry.model.wave import ON_EXCHANGE, WAITING_FOR_MAIL, MoveState
from mailferry.ops import plots
from mailferry.ops.organisation import Organisation, document, what_for
from mailferry.verify.report import environment, size_text
from mailferry.verify.sentences import DIFFERENCES, REASONS

TEMPLATES = Path(__file__).with_name("templates")
SHOWN = 60
"""People who wait that the page names; all are in waiting.csv."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write(ledger: Ledger, found: Organisation, folder: Path) -> Path:
    """Write all files into `folder` (made if needed); the page's path. Permanent if it cannot be written."""
    waves = {one.name: one for one in ledger_waves.waves(ledger)}
    waiting = [(one, *what_for(one, waves[one.wave])) for one in sums.people(ledger, waiting=True)]
    page = environment(TEMPLATES).get_template("organisation.html")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, head, rows in _tables(ledger, found, waiting):
            _csv(folder / name, head, rows)
        data = json.dumps(document(found), indent=1, ensure_ascii=True)
        (folder / "report.json").write_text(data + "\n", encoding="ascii")
        text = page.render(
            found=found,
            plots=_plots(found),
            waiting=waiting[:SHOWN],
            more=max(0, len(waiting) - SHOWN),
            reasons={one.value: words.title for one, words in REASONS.items()},
            kinds={one.value: words.title for one, words in DIFFERENCES.items()},
            states={one.value: _colour(one) for one in MoveState},
            bar=lambda row: _bar(row.states),
            all_states=_bar(found.states),
            date=_date,
            duration=_duration,
            version=__version__,
        )
        target = folder / "index.html"
        target.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise Permanent(f"the report cannot be written: {error.strerror}", about=str(folder)) from error
    return target


def _plots(found: Organisation) -> dict[str, str]:
    def per_hour(name: str, of: str, colour: str, unit: Any) -> str:
        points = [(one.at, float(getattr(one, of))) for one in found.rates]
        return plots.bars(name, points, found.width, colour, unit)

    return {
        "moved": plots.line(
            "People moved over time, and the forecast",
            [(one, float(number)) for one, number in _from_zero(found)],
            float(found.people),
            found.forecast.until,
            plots.short,
        ),
        "mailboxes": per_hour("Mailboxes released an hour", "mailboxes", "there", plots.short),
        "bytes": per_hour("Copied an hour", "bytes", "copied", lambda value: size_text(round(value))),
        "messages": per_hour("Messages copied an hour", "messages", "copied", plots.short),
        "parks": plots.counts("For how long people's mail waited", found.parks, "since"),
    }


def _from_zero(found: Organisation) -> Sequence[tuple[float, int]]:
    some = list(found.moved_by)
    return [(some[0][0] - found.width, 0), *some] if some else []


def _colour(state: MoveState) -> str:
    if state in (MoveState.DONE, MoveState.SWEPT, MoveState.RELEASED):
        return "there"
    if state in WAITING_FOR_MAIL:
        return "since"
    if state is MoveState.ROLLED_BACK:
        return "failed"
    return "copied" if state is MoveState.SEEDED else "excluded" if state in ON_EXCHANGE else "copied"


def _bar(states: Mapping[str, int]) -> str:
    parts = [(one.value, states[one.value], _colour(one)) for one in MoveState if one.value in states]
    return plots.stacked(", ".join(f"{number:,} {name}" for name, number, _ in parts), parts)


def _tables(
    ledger: Ledger, found: Organisation, waiting: Iterable[Any]
) -> Iterable[tuple[str, Sequence[str], Iterable[Sequence[Any]]]]:
    states = [one.value for one in MoveState]
    yield (
        "waves.csv",
        ("wave", "state", "people", "moved", "messages", "bytes", "parked_median_s", "parked_longest_s", *states),
        (
            (one.name, one.state, one.people, one.moved, one.messages, one.bytes)
            + tuple(round(value, 1) for value in one.parked or ())
            + ("", "") * (one.parked is None)
            + tuple(one.states.get(name, 0) for name in states)
            for one in found.waves
        ),
    )
    yield (
        "rates.csv",
        ("from", "mailboxes_per_hour", "messages_per_hour", "bytes_per_hour"),
        ((_stamp(one.at), one.mailboxes, one.messages, round(one.bytes)) for one in found.rates),
    )
    yield (
        "losses.csv",
        ("what", "of", "kind", "reason", "items", "mailboxes"),
        [
            *(("loss", one.of, one.kind, one.reason, one.items, one.mailboxes) for one in found.losses),
            *(("excluded folder", "messages", one.rule, "", one.messages, "") for one in found.excluded),
            *(("difference", "messages", kind, "", *numbers) for kind, numbers in found.differences.items()),
        ],
    )
    yield (
        "waiting.csv",
        ("wave", "mail", "state", "since", "what", "help", "error"),
        (
            (one.wave, one.mail, one.state.value, _stamp(one.entered), what, advice, one.error)
            for one, what, advice in waiting
        ),
    )
    yield (
        "people.csv",
        ("wave", "mail", "state", "entered", "parked_s", "store", "bytes", "score", "error"),
        (
            (
                one.wave,
                one.mail,
                one.state.value,
                _stamp(one.entered),
                round(one.released - one.parked, 1)
                if one.released and one.parked and one.released > one.parked
                else "",
                one.store,
                one.forecast.get("bytes", ""),
                one.score or "",
                one.error,
            )
            for one in sums.people(ledger)
        ),
    )


def _csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """RFC 4180, in UTF-8 with the mark that spreadsheets look for; whole, or not there."""
    scratch = path.with_suffix(".new")
    with scratch.open("w", encoding="utf-8-sig", errors="backslashreplace", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(head)
        writer.writerows([[_cell(one) for one in row] for row in rows])
    os.replace(scratch, path)


def _cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula begins with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _stamp(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def _date(at: float | None) -> str:
    return "–" if at is None else time.strftime("%d %B %Y", time.gmtime(at))


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
