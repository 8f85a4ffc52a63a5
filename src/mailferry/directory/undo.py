"""Takes back what a run changed in the target, from the ledger: the newest change first, only where the target still
is as the run left it. Writes what it does like any run, so that it can itself be undone.

Decides nothing about the source: the next sync would do it all again unless its cause is gone. Invariant: an entry that
somebody changed since stays as it is, and is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mailferry.directory.diff import Change, Operation, same_values
from mailferry.directory.entries import MANAGED, SPELLING, Attributes
from mailferry.directory.writer import Written, apply, digest, from_json
from mailferry.ledger import directory as records
from mailferry.ledger.rows import ChangeState, DirectoryChange
from mailferry.ledger.store import Ledger
from mailferry.net import ldap


@dataclass(slots=True)
class Undone:
    """`kept`: (DN, why it stays). `nothing`: changes that had not happened, or were taken back before."""

    written: Written = field(default_factory=Written)
    kept: list[tuple[str, str]] = field(default_factory=list)
    nothing: int = 0


def undo(
    connection: ldap.Connection,
    ledger: Ledger,
    directory_id: int,
    run_id: int,
    changes: Sequence[DirectoryChange],
    progress: Callable[[int, int], None],
    dry_run: bool = False,
) -> tuple[Undone, list[Change]]:
    """Take back `changes` (of one run, in its order) as run `run_id`; also returns what is (or would be) done.

    One at a time, because each looks at what the one before it left."""
    undone = Undone()
    made: list[Change] = []
    back = [one for one in reversed(changes) if one.state in (ChangeState.DONE, ChangeState.INTENDED)]
    for number, row in enumerate(back, 1):
        change, why = _inverse(connection, row)
        if change is not None:
            made.append(change)
            if not dry_run:
                written = apply(connection, ledger, directory_id, run_id, [change], lambda *_: None)
                undone.written.done += written.done
                undone.written.failed += written.failed
                if written.done:
                    records.settle(ledger, [(row.id, ChangeState.UNDONE, None)])
        elif why:
            undone.kept.append((row.new_dn or row.dn, why))
        else:
            undone.nothing += 1
        progress(number, len(back))
    return undone, made


def settle_unknown(connection: ldap.Connection, ledger: Ledger, directory_id: int) -> None:
    """Find out whether what killed runs were about to do has happened, before anything else is done. What cannot be
    told, because somebody has changed the entry since, counts as not done: it is not taken back."""
    results: list[tuple[int, ChangeState, str | None]] = []
    for row in records.unknown(ledger, directory_id):
        change, why = _inverse(connection, row)
        if change is not None:
            results.append((row.id, ChangeState.DONE, None))
        else:
            results.append((row.id, ChangeState.FAILED, f"the run was killed; {why or 'this had not happened'}"))
    records.settle(ledger, results)


def _inverse(connection: ldap.Connection, row: DirectoryChange) -> tuple[Change | None, str]:
    """What takes a change back, or why it cannot be; neither if there is nothing to take back."""
    operation = Operation(row.operation)
    if operation == Operation.RENAME:
        if _owner(connection, row.new_dn or "") != row.source_id:
            return None, "" if _owner(connection, row.dn) == row.source_id else "it is no longer where the run put it"
        return Change(Operation.RENAME, row.source_id, row.new_dn or "", {}, {}, row.dn), ""
    present = _read(connection, row.dn)
    if operation == Operation.DELETE:
        if present is not None:
            return None, "" if _is(present, row.source_id) else "another entry stands there now"
        return Change(Operation.ADD, row.source_id, row.dn, {}, from_json(row.before)), ""
    if present is None:
        return None, "" if operation == Operation.ADD else "the entry is gone"
    if not _is(present, row.source_id):
        return None, "another entry stands there now"
    if operation == Operation.ADD:
        everything = _read(connection, row.dn, ()) or {}
        if not (_as_left(present, row.after) and everything.keys() <= row.after.keys()):
            return None, "somebody changed the entry since"
        return Change(Operation.DELETE, row.source_id, row.dn, present, {}), ""
    before = from_json(row.before)
    now = {name: present.get(name, ()) for name in before}
    if all(set(now[name]) == set(before[name]) for name in before):
        return None, ""
    if not _as_left(present, row.after):
        return None, "somebody changed these attributes since"
    return Change(Operation.MODIFY, row.source_id, row.dn, now, before), ""


def _as_left(present: Attributes, after: Mapping[str, Any]) -> bool:
    """Whether the attributes are as a run left them."""
    for name, values in after.items():
        have = present.get(name, ())
        if name == "jpegPhoto":
            if [digest(one) for one in have] != list(values):
                return False
        elif not same_values(name, have, from_json({name: values})[name]):
            return False
    return True


def _read(
    connection: ldap.Connection, dn: str, attributes: Sequence[str] = MANAGED
) -> dict[str, tuple[bytes, ...]] | None:
    found = connection.read(dn, attributes)
    return None if found is None else {SPELLING.get(name, name): values for name, values in found.attrs.items()}


def _owner(connection: ldap.Connection, dn: str) -> str | None:
    found = connection.read(dn, ("mailferrySourceId",))
    return None if found is None else found.text("mailferrySourceId")


def _is(present: Attributes, source_id: str) -> bool:
    return present.get("mailferrySourceId", ()) == (source_id.encode(),)
