"""Reads out of the ledger what the report says of a mailbox, a run, everything. Writes nothing; knows no HTML.

The values are JSON values: the schema of `report.json`, documented in `docs/verify.md`. One mailbox is in memory at a
time. Never holds a subject or a body: the ledger has none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mailferry.ledger import items
from mailferry.ledger.items import CollectionRow, ItemState
from mailferry.ledger.rows import Failure, FolderRow, Kind, Mailbox, Pass, Run, Verification
from mailferry.model.folder import INBOX, Path
from mailferry.model.state import State

if TYPE_CHECKING:
    from mailferry.ledger.store import Ledger

NUMBERS = ("listed", "copied", "there", "excluded", "failed")
_FINDING = dict.fromkeys(("uid", "target_uid", "date", "size", "reason"))
"""What the ledger leaves out where there is nothing."""

STATES = {
    "copied": (State.COPIED,),
    "there": (State.ADOPTED, State.PROVEN),
    "failed": (State.FAILED,),
    "kept": (State.GONE,),
}


def mailboxes(ledger: Ledger, run_id: int | None = None) -> Iterator[dict[str, Any]]:
    """Every mailbox of the ledger, or those that a run worked on, one by one in the order they were first seen."""
    for mailbox in ledger.mailboxes():
        passes = ledger.passes(mailbox.id, kind=None)
        if run_id is not None:
            passes = [one for one in passes if one.run_id == run_id]
            if not passes:
                continue
        yield _mailbox(ledger, mailbox, [one for one in passes if one.kind == "copy"], run_id is not None)


def run_dict(run: Run) -> dict[str, Any]:
    return {"id": run.id, "command": run.command, "host": run.host, "started": run.started, "ended": run.ended}


def _mailbox(ledger: Ledger, mailbox: Mailbox, passes: Sequence[Pass], of_run: bool) -> dict[str, Any]:
    rows = ledger.folders(mailbox.id)
    failures = ledger.failures(mailbox.id)
    states = ledger.counts(mailbox.id)
    verified, compared = _latest(ledger.verifications(mailbox.id))
    last = passes[-1] if passes else None
    current = verified is not None and (last is None or verified.at >= (last.ended or last.started))
    numbers = _of_run(last) if of_run else _numbers(last, states, verified if current else None)
    paths = {row.id: list(row.source_path) for row in rows}
    left_out = Counter(one.folder_id for one in failures if one.kind is Kind.EXCLUDED)
    return {
        "id": mailbox.id,
        "source": mailbox.source_key,
        "target": mailbox.target_key,
        "state": mailbox.state,
        "score": verified.score if verified is not None and current else None,
        "verified": _verified(verified, current) if verified is not None else None,
        "numbers": numbers,
        "adds_up": adds_up(numbers),
        "bytes": sum(one.bytes for one in passes),
        "seconds": sum(one.ended - one.started for one in passes if one.ended is not None),
        "passes": [_pass(one) for one in passes],
        "folders": [
            _folder(row, states.get(row.id, {}), compared.get(row.id), left_out[row.id])
            for row in sorted(rows, key=_place)
        ],
        "failures": _failures(ledger, failures, paths),
        "findings": _findings(verified, compared, paths),
        "collections": [_collection(ledger, row) for row in items.collections(ledger, mailbox.id)],
    }


def _collection(ledger: Ledger, row: CollectionRow) -> dict[str, Any]:
    """A calendar, an address book: how many items are where, and what is to be told of each that did not come, or came
    otherwise."""
    states = items.counts(ledger, row.id)
    return {
        "path": list(row.path),
        "kind": row.kind.value,
        "place": row.place,
        "completed": row.completed,
        "score": row.score,
        "verified": row.findings,
        **{state.name.lower(): states.get(state, 0) for state in ItemState},
        "notes": [
            {
                "kind": one.kind.value,
                "reason": one.reason,
                "text": one.text,
                "item_class": one.item_class,
                "happens": one.happens,
            }
            for one in items.notes(ledger, row.id)
        ],
    }


def _place(row: FolderRow) -> tuple[bool, Path]:
    return row.source_path != INBOX, row.source_path


def adds_up(numbers: Mapping[str, int]) -> bool:
    """Law 2: listed = copied + already there + excluded + failed (+ what arrived after the last pass)."""
    return numbers["listed"] == sum(numbers[name] for name in (*NUMBERS[1:], "since"))


def of_companion(row: Verification) -> bool:
    """Whether it is about what goes with the messages of a mailbox (`waves/companion.py`), and not about those."""
    return "companion" in row.result


def _latest(verifications: Sequence[Verification]) -> tuple[Verification | None, dict[int, Verification]]:
    """The last verification of the whole mailbox, and its folders' rows, which stand before it."""
    folders: dict[int, Verification] = {}
    done: tuple[Verification | None, dict[int, Verification]] = (None, {})
    for one in verifications:
        if of_companion(one):
            continue
        if one.folder_id is not None:
            folders[one.folder_id] = one
        else:
            done, folders = (one, folders), {}
    return done


def _of_run(last: Pass | None) -> dict[str, int]:
    return {name: last.counts.get(name, 0) if last else 0 for name in NUMBERS} | {"since": 0, "missing": 0}


def _numbers(
    last: Pass | None, states: Mapping[int, Mapping[State, int]], verified: Verification | None
) -> dict[str, int]:
    """The five numbers, `since` and `missing`. From the verification where there is one; else from the last pass, whose
    "already there" is told apart, where the ledger's rows agree: copied by an earlier pass, or there before."""
    if verified is not None:
        counts = verified.result["counts"]
        return {name: counts[name] for name in (*NUMBERS, "since", "missing")}
    numbers = _of_run(last)
    total: Counter[State] = Counter()
    for one in states.values():
        total.update(one)
    there = total[State.ADOPTED] + total[State.PROVEN]
    if total[State.COPIED] + there == numbers["copied"] + numbers["there"]:
        numbers |= {"copied": total[State.COPIED], "there": there}
    return numbers


def _verified(verified: Verification, current: bool) -> dict[str, Any]:
    result = verified.result
    return {
        "at": verified.at,
        "score": verified.score,
        "current": current,
        "content": result["content"],
        "share": result["share"],
        "counts": result["counts"],
        "tally": result["tally"],
    }


def _pass(one: Pass) -> dict[str, Any]:
    return {
        "id": one.id,
        "kind": one.kind,
        "started": one.started,
        "ended": one.ended,
        "outcome": one.outcome,
        "bytes": one.bytes,
        **{name: one.counts.get(name, 0) for name in (*NUMBERS, "flags", "gone", "moved", "removed")},
    }


def _folder(
    row: FolderRow, states: Mapping[State, int], compared: Verification | None, left_out: int
) -> dict[str, Any]:
    numbers = {name: sum(states.get(state, 0) for state in of) for name, of in STATES.items()}
    numbers["listed"] = row.listed
    numbers["excluded"] = row.listed if row.excluded is not None else left_out
    if compared is not None:
        numbers = {name: compared.result["counts"][name] for name in (*NUMBERS, "kept")}
    return {
        "source": list(row.source_path),
        "target": list(row.target_path) if row.target_path is not None else None,
        "special_use": row.special_use.value if row.special_use is not None else None,
        "rule": row.excluded,
        "score": compared.score if compared is not None else None,
        **{name: numbers[name] for name in (*NUMBERS, "kept")},
    }


def _failures(ledger: Ledger, failures: Sequence[Failure], paths: Mapping[int, list[str]]) -> list[dict[str, Any]]:
    """Every open failure and difference; messages with their date and size, where the ledger has them."""
    folders = {one.folder_id for one in failures if one.folder_id is not None and one.source_uid is not None}
    known = {folder: {row.source_uid: row for row in ledger.messages(folder)} for folder in sorted(folders)}
    found = []
    for one in failures:
        row = known.get(one.folder_id or 0, {}).get(one.source_uid or 0)
        found.append(
            {
                "kind": one.kind.value,
                "reason": one.reason.value,
                "text": one.text,
                "folder": paths.get(one.folder_id) if one.folder_id is not None else None,
                "uid": one.source_uid,
                "target_uid": row.target_uid if row is not None else None,
                "date": row.internal_date if row is not None else None,
                "size": row.size if row is not None else None,
            }
        )
    return sorted(found, key=lambda one: one["kind"] != Kind.FAILED.value)


def _findings(
    verified: Verification | None, compared: Mapping[int, Verification], paths: Mapping[int, list[str]]
) -> list[dict[str, Any]]:
    """What the last verification found, with the folder of each."""
    if verified is None:
        return []
    found = [{"folder": None, **_FINDING, **one} for one in verified.result["findings"]]
    for folder in verified.result["unknown_folders"]:
        found += [{"folder": folder["source"], **_FINDING, **one} for one in folder["findings"]]
    for folder_id, row in compared.items():
        found += [{"folder": paths.get(folder_id), **_FINDING, **one} for one in row.result["findings"]]
    return found
