"""What the ledger knows of grants: who is to have which right in whose mailbox, and what was set for it in the target.

Functions over an open `Ledger`, for one thread. Invariants: one row for each `Grant.key`; a change has its line in the
audit; letters stand in `given` before they are set. Raises what `Ledger` raises.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from mailferry.ledger.schema import permission, permission_given
from mailferry.model.folder import Path
from mailferry.model.permission import Access, Grant, GrantState

if TYPE_CHECKING:
    from mailferry.ledger.store import Ledger

_GRANT = tuple(permission.c[name] for name in Grant.__slots__)
_SOME = 500


class Given(NamedTuple):
    """The letters that Mailferry added to what `identifier` may do in `folder` of the target's mailbox of `owner`."""

    owner: str
    person: str
    folder: Path
    identifier: str
    letters: str


class Planned(NamedTuple):
    """How many grants a plan added, changed, left as they were, and does not want any more."""

    added: int
    changed: int
    same: int
    dropped: int


def grants(ledger: Ledger, *, about: str | None = None) -> list[Grant]:
    """All, or those in whose mailbox or for whom `about` is; oldest first."""
    rows = sa.select(*_GRANT).order_by(permission.c.id)
    if about is not None:
        rows = rows.where(sa.or_(permission.c.owner == about, permission.c.person == about))
    with ledger._read() as connection:
        return [_grant(row) for row in connection.execute(rows)]


def plan(ledger: Ledger, wanted: Iterable[Grant], replaces: Callable[[Grant], bool], *, dry_run: bool) -> Planned:
    """These are wanted; of those that are there and that the plan `replaces`, no others. What is not wanted any more
    stays until it is taken back."""
    have = {one.key: one for one in grants(ledger)}
    new, changed, same = [], [], 0
    asked = {one.key: one for one in wanted}
    for key, one in asked.items():
        old = have.get(key)
        if old is None:
            new.append(one)
        elif (old.rights, old.note, old.wanted) == (one.rights, one.note, True):
            same += 1
        else:
            changed.append((old, one))
    dropped = [one for key, one in have.items() if key not in asked and one.wanted and replaces(one)]
    if not dry_run and (new or changed or dropped):
        with ledger.transaction(), ledger._write() as connection:
            for start in range(0, len(new), _SOME):
                connection.execute(permission.insert(), [_values(one) for one in new[start : start + _SOME]])
            for old, one in changed:
                connection.execute(permission.update().where(permission.c.id == old.id).values(**_values(one)))
            for one in dropped:
                connection.execute(permission.update().where(permission.c.id == one.id).values(wanted=False))
            ledger.audit("sharing planned", added=len(new), changed=len(changed), dropped=len(dropped))
    return Planned(len(new), len(changed), same, len(dropped))


def settle(ledger: Ledger, one: Grant, state: GrantState, why: str = "") -> None:
    """How far a grant is now."""
    if (one.state, one.why) == (state, why):
        return
    with ledger.transaction(), ledger._write() as connection:
        values = {"state": state.value, "why": why, "changed": time.time()}
        connection.execute(permission.update().where(permission.c.id == one.id).values(**values))
        if one.state is not state:
            ledger.audit(
                f"grant {state.value}",
                owner=one.owner,
                person=one.person,
                access=one.access.value,
                folder=one.folder,
            )


def given(ledger: Ledger, owner: str) -> list[Given]:
    """What was set in somebody's mailbox."""
    rows = sa.select(*(permission_given.c[name] for name in Given._fields)).where(permission_given.c.owner == owner)
    with ledger._read() as connection:
        return [Given(*row)._replace(folder=tuple(row.folder)) for row in connection.execute(rows)]


def give(ledger: Ledger, owner: str, rows: Sequence[Given]) -> None:
    """Note letters that are about to be set, or are set now; none: there are none of ours any more."""
    with ledger.transaction(), ledger._write() as connection:
        for row in rows:
            here = sa.and_(
                permission_given.c.owner == owner,
                permission_given.c.identifier == row.identifier,
                permission_given.c.folder == list(row.folder),
            )
            connection.execute(permission_given.delete().where(here))
            if row.letters:
                connection.execute(permission_given.insert().values(**row._asdict() | {"folder": list(row.folder)}))


def _values(one: Grant) -> dict[str, object]:
    values = {name: getattr(one, name) for name in Grant.__slots__ if name != "id"}
    return {**values, "access": one.access.value, "state": one.state.value, "changed": time.time()}


def _grant(row: sa.Row[tuple[object, ...]]) -> Grant:
    values = row._asdict()
    return Grant(**values | {"access": Access(values["access"]), "state": GrantState(values["state"])})
