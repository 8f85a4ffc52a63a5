"""The decisions file: what a human has decided about findings, kept under version control, replayed on every run.

A CSV with the columns `code id value action new proposal where note`; a row without action waits for one. Knows nothing
of recipients. Invariant: writing keeps every decision and its note, and a reader sees the old file or the new one,
never a part.
"""

from __future__ import annotations

import csv
import io
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from mailferry.errors import Permanent, UserError
from mailferry.model.recipient import Finding

COLUMNS = ("code", "id", "value", "action", "new", "proposal", "where", "note")
ANY = "*"
Key = tuple[str, str, str]

_UNSPELL = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U(000[0-9a-fA-F]{5}|0010[0-9a-fA-F]{4})|(\\))")
_SPELLED_FIRST = "=+-@ "  # a spreadsheet takes the first four for a formula and drops the blank


class Action(Enum):
    """What is done about a finding."""

    ACCEPT = "accept"  # take the proposal
    KEEP = "keep"  # the value is right as it is
    REJECT = "reject"  # the proposal is wrong; nothing else is decided
    REPLACE = "replace"  # take `new`
    LEAVE_OUT = "leave-out"  # the recipient stays out
    MERGE = "merge"  # this recipient is the one with the id `new`


@dataclass(frozen=True, slots=True)
class Decision:
    """One row. `code`, `id` and `value` are those of the finding, or `*` for any. `line`: its line in the file."""

    code: str
    id: str
    value: str
    action: Action
    new: str = ""
    note: str = ""
    line: int = 0

    @property
    def key(self) -> Key:
        return (self.code, self.id, self.value)


@dataclass(frozen=True, slots=True)
class Decisions:
    """All decisions of a file, by (code, id, value)."""

    path: str = ""
    by_key: Mapping[Key, Decision] = field(default_factory=dict)

    def about(self, finding: Finding) -> Decision | None:
        """The decision that fits a finding: the most exact one."""
        code, about, value = finding.code, finding.about, finding.value
        for key in ((code, about, value), (code, about, ANY), (code, ANY, value), (code, ANY, ANY)):
            if key in self.by_key:
                return self.by_key[key]
        return None

    def __iter__(self) -> Iterator[Decision]:
        return iter(self.by_key.values())


def read_decisions(path: str | Path) -> Decisions:
    """The decisions of a file. UserError, with the line, for a row that makes no sense; Permanent if it cannot be
    read."""
    found: dict[Key, Decision] = {}
    for line, row in _rows(Path(path)):
        decision = _decision(Path(path), line, row)
        if decision is None:
            continue
        if decision.key in found:
            first = found[decision.key].line
            raise _wrong(path, line, f"the same finding is already decided in line {first}")
        found[decision.key] = decision
    return Decisions(str(path), found)


def add_open(path: str | Path, findings: Iterable[Finding]) -> int:
    """Append a row without action for every finding that has no row yet; returns their number.

    Rows that stand in the file stay as they are. UserError for a file that is no decisions file; Permanent if it
    cannot be written.
    """
    place = Path(path)
    rows = [row for _, row in _rows(place)] if place.exists() else []
    known = {(row["code"], unspell(row["id"]), unspell(row["value"])) for row in rows}
    added = 0
    for finding in findings:
        key = (finding.code, finding.about, finding.value)
        if key not in known:
            known.add(key)
            rows.append(_open_row(finding))
            added += 1
    if added:
        out = io.StringIO()
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(place, out.getvalue())
    return added


def write_whole(path: Path, text: str) -> None:
    """Put a text file in place of an older one, whole or not at all. Permanent if the disk says no."""
    temporary = ""
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8", newline=""
        ) as out:
            temporary = out.name
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.chmod(temporary, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise Permanent(f"cannot be written: {error.strerror}", about=str(path)) from error


def spell(text: str) -> str:
    """Text with everything spelled out (`\\x09`) that an editor or spreadsheet would not show or keep."""
    parts = [_spelled(one) if one == "\\" or not one.isprintable() else one for one in text]
    if parts and text[0] in _SPELLED_FIRST:
        parts[0] = f"\\x{ord(text[0]):02x}"
    if len(parts) > 1 and text[-1] == " ":
        parts[-1] = "\\x20"
    return "".join(parts)


def spell_hidden(text: str) -> str:
    """Text with what does not show spelled out, for people to read; line breaks stay."""
    return "".join(one if one.isprintable() or one == "\n" else _spelled(one) for one in text)


def unspell(text: str) -> str:
    """The text that `spell` was given. A backslash that starts nothing known stays."""
    return _UNSPELL.sub(lambda found: found[4] or chr(int(found[1] or found[2] or found[3], 16)), text)


def _spelled(one: str) -> str:
    code = ord(one)
    if one == "\\":
        return "\\\\"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _open_row(finding: Finding) -> dict[str, str]:
    proposal = "(without it)" if finding.proposal == "" else spell(finding.proposal or "")
    return {
        "code": finding.code,
        "id": spell(finding.about),
        "value": spell(finding.value),
        "action": "",
        "new": "",
        "proposal": proposal,
        "where": spell(finding.where),
        "note": spell(finding.message),
    }


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows with their line numbers, every column present, as written."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Permanent(f"cannot be read: {error.strerror}", about=str(path)) from error
    except UnicodeDecodeError as error:
        raise UserError("not UTF-8", about=str(path), advice="save the decisions file as CSV UTF-8") from error
    delimiter = ";" if text.partition("\n")[0].count(";") > text.partition("\n")[0].count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names: list[str] = []
    line = 1
    try:
        for cells in reader:
            if not names:
                names = [cell.strip().lower() for cell in cells]
                missing = [name for name in COLUMNS[:4] if name not in names]
                if missing:
                    raise _wrong(path, 1, f"the column {missing[0]} is missing")
            elif any(cells):
                row = dict.fromkeys(COLUMNS, "") | dict(zip(names, cells, strict=False))
                yield line, {name: row[name] for name in COLUMNS}
            line = reader.line_num + 1
    except csv.Error as error:
        raise _wrong(path, line, f"not CSV: {error}") from error


def _decision(path: Path, line: int, row: Mapping[str, str]) -> Decision | None:
    word = row["action"].strip().lower()
    if not word:
        return None
    try:
        action = Action(word)
    except ValueError:
        words = ", ".join(one.value for one in Action)
        raise _wrong(path, line, f"{word!r} is no action; there are {words}") from None
    code, about, new = row["code"].strip(), unspell(row["id"].strip()), unspell(row["new"])
    if not code:
        raise _wrong(path, line, "the code is missing")
    if action is Action.MERGE and (not new or not about or about == ANY or new.strip() == about):
        raise _wrong(path, line, "merge needs the id of one recipient, and in `new` the id of another")
    if code == ANY and (action not in (Action.MERGE, Action.LEAVE_OUT) or about in ("", ANY)):
        raise _wrong(path, line, "`*` as code goes with merge or leave-out of one recipient only")
    return Decision(code, about, unspell(row["value"]), action, new, row["note"], line)


def _wrong(path: str | Path, line: int, what: str) -> UserError:
    return UserError(what, about=f"{path}:{line}", advice="correct this line of the decisions file")
