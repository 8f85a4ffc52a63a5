"""Writes a rehearsal: one page to sign (`index.html`), the same as text and as JSON.

The page stands alone: no network, no script, no other file. Invariant: every text that came from a server is escaped.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from mailferry import __version__
from mailferry.errors import Permanent
from mailferry.ops.wave_rehearse import Person, Rehearsal, document
from mailferry.verify.report import environment, size_text

TEMPLATES = Path(__file__).with_name("templates")
SIGNATURES = ("Planned by", "Mail systems", "For the people concerned")


def write_rehearsal(found: Rehearsal, folder: Path) -> Path:
    """Write all three files into `folder` (made if needed); the page's path. Permanent if it cannot be written."""
    page = environment(TEMPLATES).get_template("rehearsal.html")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        data = json.dumps(document(found), indent=1, ensure_ascii=True)
        (folder / "rehearsal.json").write_text(data + "\n", encoding="ascii")
        text = "\n".join(lines(found))
        (folder / "rehearsal.txt").write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
        target = folder / "index.html"
        target.write_text(
            page.render(
                found=found,
                when=_clock(found.at),
                begins=_begins(found),
                signatures=SIGNATURES,
                unsure=[one for one in found.people if one.verdict != "confirmed"],
                most=max((one.bytes for one in found.people), default=0),
                messages=sum(one.messages for one in found.people),
                size=sum(one.bytes for one in found.people),
                version=__version__,
            ),
            encoding="utf-8",
            errors="backslashreplace",
        )
    except OSError as error:
        raise Permanent(f"the rehearsal cannot be written: {error.strerror}", about=str(folder)) from error
    return target


def lines(found: Rehearsal) -> Iterator[str]:
    """The page as text."""
    yield f"Rehearsal of the wave {found.name}, {_clock(found.at)}, by {found.by}"
    verdict = "READY" if found.ready else "NOT READY"
    yield f"{verdict}: {len(found.people)} people to move, {found.moved} moved or on the way"
    yield ""
    waits = (
        f"Each one's mail waits for about {_span(found.parked)}; all of them, {found.together} at a time, take about"
    )
    yield from textwrap.wrap(f"{waits} {_span(found.seconds)}. {_begins(found)} Forecast: {found.rates}.", 100)
    if found.problems:
        yield from ("", "What stops it:")
        for text in found.problems:
            yield from textwrap.wrap(text, 100, initial_indent="  - ", subsequent_indent="    ")
    yield from ("", "People:")
    for one in found.people:
        yield from _person(one)
    yield from ("", "Servers:")
    yield from (f"  {'ok ' if one.ok else 'NOT'} {one.name}: {one.text}" for one in found.checks)
    if found.separated:
        yield from ("", "Separated from whom they share a mailbox with:")
        yield from (f"  {one.one} and {one.other} ({one.why}; {one.where})" for one in found.separated)
    yield from ("", *(f"{title}: ______________________________  Date: ____________" for title in SIGNATURES))


def _person(one: Person) -> Iterator[str]:
    size = f"{one.messages} messages, {size_text(one.bytes)}"
    yield f"  {one.mail} → {one.store}: {size}; {one.score or 'not compared yet'}"
    yield f"    right person: {one.verdict or 'not looked at'} ({one.evidence})"
    for text in one.approved_by:
        yield f"    approved by {text}"
    for loss in one.losses:
        yield f"    {loss.score}: {loss.folder or 'mailbox'}: {loss.text}"
    if one.lost > len(one.losses):
        yield f"    … and {one.lost - len(one.losses)} more differences: mailferry report"


def _begins(found: Rehearsal) -> str:
    if math.isinf(found.park_from):
        return "Nobody can ever be parked."
    return f"Nobody is parked before {_clock(found.park_from)}." if found.park_from > found.at else "It may begin now."


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M %Z")


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
