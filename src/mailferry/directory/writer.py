"""Reads what the target holds and applies changes to it over LDAP, each recorded in the ledger before it is made.

Decides nothing. Invariants: a change that was made stands in the ledger with its old and new values (passwords never,
photos that came by their digest), at worst as intended and unknown after a kill; what the server refuses is recorded
and does not stop the others; a lost connection does, and the next run compares anew.
"""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mailferry.directory.diff import Change, Operation
from mailferry.directory.entries import MANAGED, SPELLING, Attributes, Entry
from mailferry.directory.mapping import dn_key
from mailferry.errors import IntegrityError, Permanent, UserError, explain
from mailferry.ledger import directory as records
from mailferry.ledger.rows import ChangeState
from mailferry.ledger.store import Ledger
from mailferry.net import ldap
from mailferry.net.ldap_errors import Refused, Result
from mailferry.wire import dn as names
from mailferry.wire.ldif import emit

BATCH = 100
"""Changes recorded together, and at most so many unknown after a kill."""

_TOGETHER = 1000
"""The same for a bulk load, which is whole or not at all."""

_CHUNK = 1 << 18

_MANY = 200
"""From so many values on, only the differing ones are sent."""

_HOPELESS = (Result.INSUFFICIENT_ACCESS, Result.UNWILLING, Result.REFERRAL)
_TRIES = 20
"""So many changes refused for one of these reasons, and none made: none will be."""

_STALE = (Result.NO_SUCH_ATTRIBUTE, Result.VALUE_EXISTS)


@dataclass(slots=True)
class Written:
    """What became of changes. `failed`: (DN, why)."""

    done: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


def read_present(connection: ldap.Connection, suffix: str, foreign: set[str]) -> Iterator[tuple[str, Entry]]:
    """The entries of ours below the suffix, with their source ids; the folded DNs of all others go into `foreign`.

    IntegrityError if two entries claim to be the same recipient."""
    seen: dict[str, str] = {}
    for found in connection.search(suffix, attributes=MANAGED):
        source_id = found.text("mailferrySourceId")
        if source_id is None:
            foreign.add(dn_key(found.dn))
        else:
            _once(seen, source_id, found.dn)
            yield source_id, _entry(found)


def read_some(connection: ldap.Connection, suffix: str, source_ids: Sequence[str]) -> Iterator[tuple[str, Entry]]:
    """The entries of these recipients, as far as there are any."""
    seen: dict[str, str] = {}
    for at in range(0, len(source_ids), 50):
        parts = "".join(f"(mailferrySourceId={names.in_filter(one)})" for one in source_ids[at : at + 50])
        for found in connection.search(suffix, f"(|{parts})", MANAGED):
            source_id = found.text("mailferrySourceId") or ""
            _once(seen, source_id, found.dn)
            yield source_id, _entry(found)


def _once(seen: dict[str, str], source_id: str, dn: str) -> None:
    other = seen.setdefault(source_id, dn)
    if other != dn:
        raise IntegrityError(
            f"it has the same mailferrySourceId as {other}",
            about=dn,
            advice="one of both was copied by hand: remove its mailferrySourceId, or the entry",
        )


def _entry(found: ldap.Entry) -> Entry:
    return Entry(found.dn, {SPELLING.get(name, name): values for name, values in found.attrs.items()})


def make_branches(connection: ldap.Connection, dns: Sequence[str]) -> list[str]:
    """Add those of these `ou` entries that are missing; returns them. UserError if one is to be of another class."""
    added = []
    for dn in dict.fromkeys(dns):
        if connection.read(dn, ("1.1",)) is not None:
            continue
        kind, value = names.parse(dn)[0][0]
        if kind.lower() != "ou":
            raise UserError("there is no such branch, and only an ou can be added", about=dn, advice="add it by hand")
        connection.add(dn, {"objectClass": [b"organizationalUnit"], "ou": [value.encode()]})
        added.append(dn)
    return added


def apply(
    connection: ldap.Connection,
    ledger: Ledger,
    directory_id: int,
    run_id: int,
    changes: Sequence[Change],
    progress: Callable[[int, int], None],
) -> Written:
    """Make the changes in their order. `progress` is told how many of all are behind. Temporary if the server goes
    away, Permanent if it refuses whatever is asked: what was done is recorded."""
    written = Written()
    for at in range(0, len(changes), BATCH):
        batch = changes[at : at + BATCH]
        ids = records.intend(ledger, directory_id, run_id, [_row(change) for change in batch])
        results: list[tuple[int, ChangeState, str | None]] = []
        try:
            for number, change in zip(ids, batch, strict=True):
                try:
                    make(connection, change)
                    results.append((number, ChangeState.DONE, None))
                    written.done += 1
                except Refused as error:
                    results.append((number, ChangeState.FAILED, explain(error)))
                    written.failed.append((change.dn, explain(error)))
                    if error.result in _HOPELESS and not written.done and len(written.failed) >= _TRIES:
                        message = f"the target refuses every change: {error.message}"
                        raise Permanent(message, about=error.about, advice=error.advice) from error
        finally:
            records.settle(ledger, results)
        progress(at + len(batch), len(changes))
    return written


@dataclass(frozen=True, slots=True)
class Bulk:
    """`load` puts LDIF into the target's database without the server, which it stops and starts again: all of it, or
    nothing and Permanent. `connect`: to the server afterwards."""

    load: Callable[[Iterable[bytes]], None]
    connect: Callable[[], ldap.Connection]


def load(
    bulk: Bulk,
    ledger: Ledger,
    directory_id: int,
    run_id: int,
    changes: Sequence[Change],
    progress: Callable[[int, int], None],
) -> Written:
    """Make these changes, all of them additions, at once. Permanent if one entry is refused: nothing is then there,
    and `apply` tells which one it is."""
    ids: list[int] = []
    with tempfile.TemporaryFile() as made:  # each entry is made once, for the ledger and for slapadd
        for at in range(0, len(changes), _TOGETHER):
            rows = []
            for change in changes[at : at + _TOGETHER]:
                rows.append(_row(change))
                made.write(emit(change.dn, change.after))
            ids += records.intend(ledger, directory_id, run_id, rows)
            progress(len(ids), len(changes))
        made.seek(0)
        try:
            bulk.load(iter(lambda: made.read(_CHUNK), b""))
        except Permanent as error:
            records.settle(ledger, [(number, ChangeState.FAILED, explain(error)) for number in ids])
            raise
    records.settle(ledger, [(number, ChangeState.DONE, None) for number in ids])
    return Written(len(changes))


def make(connection: ldap.Connection, change: Change) -> None:
    """Make one change. Refused if the server does not want it."""
    if change.operation == Operation.ADD:
        connection.add(change.dn, change.after)
    elif change.operation == Operation.DELETE:
        connection.delete(change.dn)
    elif change.operation == Operation.RENAME:
        _rename(connection, change)
    else:
        try:
            connection.modify(change.dn, list(_steps(change, whole=False)))
        except Refused as error:
            if error.result not in _STALE:
                raise
            connection.modify(change.dn, list(_steps(change, whole=True)))


def _rename(connection: ldap.Connection, change: Change) -> None:
    new = names.parse(change.new_dn or "")
    parent = names.join(new[1:])
    moved = dn_key(parent) != dn_key(names.join(names.parse(change.dn)[1:]))
    connection.rename(change.dn, names.join(new[:1]), parent if moved else None)


def _steps(change: Change, whole: bool) -> Iterator[ldap.Change]:
    """The steps of one modification: whole attributes; of very long ones only the differences, unless `whole`."""
    for name in dict.fromkeys((*change.before, *change.after)):
        have, want = change.before.get(name, ()), change.after.get(name, ())
        if whole or len(want) < _MANY or not have:
            yield ldap.Change("replace", name, want)
            continue
        fewer, more = tuple(set(have) - set(want)), tuple(set(want) - set(have))
        if fewer:
            yield ldap.Change("delete", name, fewer)
        if more:
            yield ldap.Change("add", name, more)
    if change.forget:
        yield ldap.Change("replace", "userPassword")


def _row(change: Change) -> dict[str, Any]:
    return {
        "operation": change.operation.value,
        "source_id": change.source_id,
        "dn": change.dn,
        "new_dn": change.new_dn,
        "before": to_json(change.before),
        "after": {**to_json(change.after), **_digests(change.after)},
    }


def to_json(attributes: Attributes) -> dict[str, Any]:
    """Attributes as JSON: values as text, or `{"base64": …}` where they are none."""
    return {name: [_value(one) for one in values] for name, values in attributes.items() if name != "userPassword"}


def from_json(attributes: Mapping[str, Any]) -> dict[str, tuple[bytes, ...]]:
    """The opposite of `to_json`."""
    return {
        name: tuple(one.encode() if isinstance(one, str) else base64.b64decode(one["base64"]) for one in values)
        for name, values in attributes.items()
    }


def _value(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode("ascii")}


def _digests(attributes: Attributes) -> dict[str, Any]:
    """New photos are told by their digest: the source still has them."""
    return {"jpegPhoto": [digest(one) for one in attributes["jpegPhoto"]]} if attributes.get("jpegPhoto") else {}


def digest(value: bytes) -> dict[str, str]:
    return {"sha256": hashlib.sha256(value).hexdigest()}
