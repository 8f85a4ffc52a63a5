"""What cleaning found, as CSV or as one HTML page. Builds text; writes nothing.

Invariant: every text from a directory is escaped, and characters that do not show are spelled out; no cell begins as a
spreadsheet's formula does.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mailferry.directory.clean import Cleaned
from mailferry.directory.codes import CODES
from mailferry.directory.decisions import spell, spell_hidden
from mailferry.directory.judge import Row
from mailferry.model.recipient import Severity

COLUMNS = ("severity", "code", "title", "where", "id", "message", "value", "proposal", "outcome", "open")
SHOWN = 300
"""Rows of one code on the page."""
WITHOUT = "(without it)"
_ORDER = (Severity.ERROR, Severity.WARNING, Severity.NOTE)


def line(row: Row) -> dict[str, str]:
    """One finding by COLUMNS."""
    one = row.finding
    return {
        "severity": one.severity.value,
        "code": one.code,
        "title": CODES[one.code][1] if one.code in CODES else one.code,
        "where": one.where,
        "id": one.about,
        "message": one.message,
        "value": one.value,
        "proposal": WITHOUT if one.proposal == "" else one.proposal or "",
        "outcome": row.outcome.value + (f", decided: {row.decision.action.value}" if row.decision else ""),
        "open": "yes" if row.is_open else "",
    }


def as_csv(cleaned: Cleaned) -> str:
    """All findings, the worst first."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in sorted(cleaned.rows, key=lambda one: _ORDER.index(one.finding.severity)):
        writer.writerow({name: spell(text) for name, text in line(row).items()})
    return out.getvalue()


@dataclass(frozen=True, slots=True)
class Group:
    """Findings of one code: `number` and `open` count all, `rows` are those shown."""

    code: str
    title: str
    severity: str
    number: int
    open: int
    rows: Sequence[dict[str, str]]


def groups(cleaned: Cleaned) -> list[Group]:
    """By code: the worst and the most frequent first; those that wait for a decision first in each."""
    found: dict[str, list[Row]] = {}
    for row in cleaned.rows:
        found.setdefault(row.finding.code, []).append(row)
    ordered = sorted(found.values(), key=lambda rows: (_ORDER.index(rows[0].finding.severity), -len(rows)))
    return [
        Group(
            rows[0].finding.code,
            line(rows[0])["title"],
            rows[0].finding.severity.value,
            len(rows),
            sum(row.is_open for row in rows),
            [line(row) for row in sorted(rows, key=lambda row: not row.is_open)[:SHOWN]],
        )
        for rows in ordered
    ]


def as_html(cleaned: Cleaned, title: str) -> str:
    """One page that needs nothing else."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: spell_hidden(value) if type(value) is str else value,
    )
    return environment.get_template("findings.html").render(
        title=title,
        recipients=len(cleaned.recipients),
        left_out=len(cleaned.left_out),
        merged=len(cleaned.merged),
        open=len(cleaned.open),
        groups=groups(cleaned),
    )
