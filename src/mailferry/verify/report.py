"""Writes the report of a run or of the whole ledger: `index.html`, a page per mailbox, `report.json`.

Reads the ledger only. Pages need no network, no script, no other file. One mailbox at a time is in memory, and a line
of each for the index, so that 40,000 mailboxes work. Invariant: every text from outside is escaped, and characters that
do not show or that turn the line around are spelled out; no subject and no body is in the ledger, so none is here.
"""

from __future__ import annotations

import json
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mailferry import __version__
from mailferry.errors import Permanent, UserError
from mailferry.ledger.rows import Run
from mailferry.model.message import Reason
from mailferry.verify.gather import NUMBERS, adds_up, mailboxes, run_dict
from mailferry.verify.score import Score
from mailferry.verify.sentences import DIFFERENCES, NOT_VERIFIED, REASONS, VERDICTS, Words, excluded

if TYPE_CHECKING:
    from jinja2 import Environment

    from mailferry.ledger.store import Ledger

SCHEMA = 1
SHOWN = 100
"""Messages of one group that a page shows; all of them are in report.json."""
ROWS = 500
"""Mailboxes of one table; where there are more, the index shows the worst, and list pages show all."""


def report_data(ledger: Ledger, run_id: int | None = None) -> dict[str, Any]:
    """The whole report as JSON values (the schema of `docs/verify.md`). UserError for a run that is not there."""
    head, total = _head(ledger, run_id), Total()
    found = []
    for mailbox in mailboxes(ledger, run_id):
        total.add(mailbox)
        found.append(mailbox)
    return {**head, "mailboxes": found, "summary": total.as_dict()}


def write_report(ledger: Ledger, directory: str | Path, run_id: int | None = None) -> Path:
    """Write the report into `directory` (made if needed); returns the path of its index.html.

    UserError for a run that is not in the ledger; Permanent where the directory cannot be written.
    """
    head = _head(ledger, run_id)
    place = Path(directory)
    try:
        (place / "mailbox").mkdir(parents=True, exist_ok=True)
        return _Writing(place, head).write(mailboxes(ledger, run_id))
    except OSError as error:
        raise Permanent(f"the report cannot be written: {error.strerror}", about=str(place)) from error


def _head(ledger: Ledger, run_id: int | None) -> dict[str, Any]:
    runs: Sequence[Run] = [one for one in ledger.runs() if one.id == run_id] if run_id is not None else []
    if run_id is not None and not runs:
        raise UserError(f"the ledger has no run {run_id}", about=ledger.name, advice="see `mailferry status`")
    return {
        "schema": SCHEMA,
        "mailferry": __version__,
        "generated": time.time(),
        "ledger": ledger.name,
        "run": run_dict(runs[0]) if runs else None,
    }


@dataclass(slots=True)
class Total:
    """Sums over mailboxes."""

    mailboxes: int = 0
    numbers: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    seconds: float = 0.0
    first: float | None = None
    last: float | None = None
    scores: Counter[str | None] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    reason_mailboxes: Counter[str] = field(default_factory=Counter)
    all_add_up: bool = True

    def add(self, mailbox: Mapping[str, Any]) -> None:
        self.mailboxes += 1
        self.numbers.update(mailbox["numbers"])
        self.bytes += mailbox["bytes"]
        self.seconds += mailbox["seconds"]
        self.scores[mailbox["score"]] += 1
        self.all_add_up = self.all_add_up and mailbox["adds_up"]
        found = Counter(one["reason"] for one in mailbox["failures"])
        self.reasons.update(found)
        self.reason_mailboxes.update(found.keys())
        for one in mailbox["passes"]:
            self.first = one["started"] if self.first is None else min(self.first, one["started"])
            if one["ended"] is not None:
                self.last = one["ended"] if self.last is None else max(self.last, one["ended"])

    @property
    def score(self) -> str | None:
        """The worst that was found; None where nothing bad was, and any mailbox is not verified."""
        worst = max((Score.of(word) for word in self.scores if word is not None), default=None)
        if worst is None or (worst < Score.INVESTIGATE and self.scores[None]):
            return None
        return worst.word

    def as_dict(self) -> dict[str, Any]:
        numbers = {name: self.numbers[name] for name in (*NUMBERS, "since", "missing")}
        return {
            "mailboxes": self.mailboxes,
            "numbers": numbers,
            "adds_up": self.all_add_up and adds_up(numbers),
            "bytes": self.bytes,
            "seconds": self.seconds,
            "first": self.first,
            "last": self.last,
            "score": self.score,
            "scores": {word.word: self.scores[word.word] for word in Score} | {"not verified": self.scores[None]},
            "reasons": {
                name: {"items": number, "mailboxes": self.reason_mailboxes[name]}
                for name, number in self.reasons.most_common()
            },
        }


@dataclass(frozen=True, slots=True)
class Line:
    """One mailbox in the index."""

    file: str
    source: str
    target: str
    score: str | None
    numbers: Mapping[str, int]
    adds_up: bool
    bytes: int
    seconds: float
    passes: int
    why: str

    @property
    def order(self) -> tuple[int, str]:
        return (-Score.of(self.score) if self.score else -2, self.source)


class _Writing:
    """The state of one call of `write_report`."""

    def __init__(self, place: Path, head: dict[str, Any]) -> None:
        self.place = place
        self.head = head
        self.environment = environment()

    def write(self, found: Iterable[dict[str, Any]]) -> Path:
        total, lines = Total(), []
        with (self.place / "report.json").open("w", encoding="ascii") as out:
            out.write("{" + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in self.head.items()))
            out.write(',\n"mailboxes": [')
            for mailbox in found:
                out.write((",\n" if total.mailboxes else "\n") + json.dumps(mailbox))
                total.add(mailbox)
                lines.append(self._mailbox(mailbox))
            out.write(f'\n],\n"summary": {json.dumps(total.as_dict())}}}\n')
        return self._index(total, lines)

    def _page(self, name: str, template: str, **values: Any) -> Path:
        path = self.place / name
        text = self.environment.get_template(template).render(head=self.head, **values)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
        return path

    def _mailbox(self, mailbox: dict[str, Any]) -> Line:
        file = f"mailbox/{file_name(mailbox['id'], mailbox['source'])}"
        failures = [one for one in mailbox["failures"] if one["kind"] == "failed"]
        others = [one for one in mailbox["failures"] if one["kind"] != "failed"]
        seen = {"failed", "folder-failed", "named"}  # shown from the ledger's own rows
        findings = [one for one in mailbox["findings"] if one["kind"] not in seen]
        tally = mailbox["verified"]["tally"] if mailbox["verified"] else {}
        groups = _groups(findings, "kind", _DIFFERENCES, tally)
        effects = [group for group in groups if group.score != Score.PERFECT.word]
        came_not, named = _groups(failures, "reason", _REASONS), _groups(others, "reason", _REASONS)
        self._page(
            file,
            "mailbox.html",
            mailbox=mailbox,
            verdict=VERDICTS[Score.of(mailbox["score"])] if mailbox["score"] else NOT_VERIFIED,
            came_not=came_not,
            named=named,
            differences=effects,
            information=[group for group in groups if group.score == Score.PERFECT.word],
            most=max((one["listed"] for one in mailbox["folders"]), default=0),
        )
        why = [f"{_count(group.number)} × {group.words.title}" for group in (*effects, *came_not)]
        return Line(
            file,
            mailbox["source"],
            mailbox["target"],
            mailbox["score"],
            mailbox["numbers"],
            mailbox["adds_up"],
            mailbox["bytes"],
            mailbox["seconds"],
            len(mailbox["passes"]),
            "; ".join(why[:3]),
        )

    def _index(self, total: Total, lines: list[Line]) -> Path:
        harmless = (Score.PERFECT.word, Score.GOOD.word)
        attention = sorted((line for line in lines if line.score not in harmless), key=lambda line: line.order)
        everything = sorted(lines, key=lambda line: line.source)
        most = max((line.bytes for line in lines), default=0)
        parts = [everything[start : start + ROWS] for start in range(0, len(everything), ROWS)]
        lists = [(f"list-{number:04}.html", part) for number, part in enumerate(parts, 1)] if len(parts) > 1 else []
        for number, (name, part) in enumerate(lists):
            before = lists[number - 1][0] if number else None
            after = lists[number + 1][0] if number + 1 < len(lists) else None
            self._page(name, "list.html", lines=part, most=most, before=before, after=after)
        return self._page(
            "index.html",
            "index.html",
            total=total.as_dict(),
            attention=attention[:ROWS],
            attention_number=len(attention),
            everything=[] if lists else everything,
            lists=[(name, part[0].source, part[-1].source, len(part)) for name, part in lists],
            most=most,
            verdicts=VERDICTS,
            reasons=[(REASONS[Reason(name)], values) for name, values in total.as_dict()["reasons"].items()],
        )


@dataclass(frozen=True, slots=True)
class Group:
    """Items of one kind: `number` of them, of which `items` are shown."""

    words: Words
    score: str | None
    number: int
    items: Sequence[Mapping[str, Any]]


_REASONS: Mapping[str, Words] = {reason.value: words for reason, words in REASONS.items()}
_DIFFERENCES: Mapping[str, Words] = {kind.value: words for kind, words in DIFFERENCES.items()}


def _groups(
    items: Sequence[Mapping[str, Any]], key: str, words: Mapping[str, Words], tally: Mapping[str, int] | None = None
) -> list[Group]:
    """By kind, the worst and the fullest first. `tally`: true numbers, where `items` are not all."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for item in items:
        found.setdefault(item[key], []).append(item)
    groups = []
    for name, some in found.items():
        scores = [Score.of(item["score"]) for item in some if "score" in item]
        number = max(len(some), (tally or {}).get(name, 0))
        groups.append(Group(words[name], max(scores).word if scores else None, number, some[:SHOWN]))
    return sorted(groups, key=lambda group: (-Score.of(group.score) if group.score else 0, -group.number))


def file_name(number: int, key: str) -> str:
    """A file name safe everywhere, whatever the account is called: its number, and what is plain of its name."""
    plain = re.sub(r"[^a-z0-9]+", "-", person(key)[0].lower()).strip("-")[:40].strip("-")
    return f"{number:06}-{plain}.html" if plain else f"{number:06}.html"


def person(key: str) -> tuple[str, str]:
    """An account key as whose mailbox, and where: `imap://user@host:993` is ("user", "host:993")."""
    scheme, _, rest = key.partition(":")
    if scheme == "imap" and "@" in rest:
        user, _, host = rest.removeprefix("//").rpartition("@")
        return user, host
    return rest or key, scheme


def shown(value: object) -> object:
    """Text with the characters spelled out that do not show or that turn the line around (hostile folder names)."""
    if type(value) is not str or value.isprintable():
        return value
    return "".join(one if one.isprintable() or one == "\n" else _spelled(one) for one in value)


def _spelled(one: str) -> str:
    return " " if unicodedata.category(one) == "Zs" else f"\\u{ord(one):04x}"


def environment(*folders: Path) -> Environment:
    """Jinja2, set up so that nothing can go into a page unescaped. Imported only here. `folders`: of templates of
    other reports, which look the same."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader([*folders, Path(__file__).with_name("templates")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )
    made.filters.update(
        count=_count, size=size_text, time=_time, span=_span, label=_label, excluded=excluded, person=person
    )
    made.globals["share"] = _share
    return made


def _count(number: int) -> str:
    return f"{number:,}"


def size_text(number: int | None) -> str:
    if number is None:
        return "–"
    value, unit = float(number), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit in ("B", "kB") or value >= 100 else f"{value:.1f} {unit}"


def _time(seconds: float | None) -> str:
    """An instant in UTC."""
    return "–" if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))


def _span(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, hours = round(seconds / 60), seconds / 3600
    return f"{minutes} min" if minutes < 120 else f"{hours:.1f} h"


def _label(path: Sequence[str] | None) -> str:
    return "–" if path is None else " / ".join(path)


def _share(part: float, whole: float, width: float = 100.0) -> str:
    """How long a bar is; what is not nothing is seen."""
    if whole <= 0 or part <= 0:
        return "0"
    return f"{max(part / whole * width, width / 150):.2f}"
