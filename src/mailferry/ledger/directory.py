"""What the ledger knows of directories: whose entry is whose, up to where the source was read, what each run changed.

Functions over an open `Ledger`, for one thread. Invariant: whoever writes holds the directory, and is fenced when
another took it; a change is recorded before it is made. Raises what `Ledger` raises.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mailferry.errors import Busy, Fenced
from mailferry.ledger.owner import dead, host_and_pid, owner_text
from mailferry.ledger.rows import ChangeState, Directory, DirectoryAccount, DirectoryChange
from mailferry.ledger.schema import directory, directory_account, directory_change

if TYPE_CHECKING:
    from mailferry.ledger.store import Ledger

HOLD_SECONDS = 60.0

_DIRECTORY = tuple(directory.c[name] for name in Directory.__slots__)
_ACCOUNT = tuple(directory_account.c[name] for name in DirectoryAccount._fields)
_CHANGE = tuple(directory_change.c[name] for name in DirectoryChange.__slots__)


def bind(ledger: Ledger, source_key: str, target_key: str) -> Directory:
    """The pair's row, made where it is new."""
    mine = sa.and_(directory.c.source_key == source_key, directory.c.target_key == target_key)
    with ledger._write() as connection:
        row = connection.execute(sa.select(*_DIRECTORY).where(mine)).one_or_none()
        if row is None:
            connection.execute(directory.insert().values(source_key=source_key, target_key=target_key))
            row = connection.execute(sa.select(*_DIRECTORY).where(mine)).one()
    return Directory(*row)


def directories(ledger: Ledger) -> list[Directory]:
    with ledger._read() as connection:
        return [Directory(*row) for row in connection.execute(sa.select(*_DIRECTORY).order_by(directory.c.id))]


@contextmanager
def held(ledger: Ledger, directory_id: int) -> Iterator[None]:
    """Hold the directory: Busy while another living process does. Renew with `renew` at least each 30 s."""
    me = owner_text()
    here = directory.c.id == directory_id
    with ledger._write() as connection:
        row = connection.execute(sa.select(*_DIRECTORY).where(here).with_for_update()).one()
        if row.lease_owner is not None and row.lease_until > time.time() and not dead(row.lease_owner):
            host, pid = host_and_pid(row.lease_owner)
            raise Busy(
                f"process {pid} on {host} is working on this directory",
                about=row.target_key,
                advice="wait for it, or stop it; `mailferry directory status` shows it",
            )
        connection.execute(directory.update().where(here).values(**_lease(me)))
    try:
        yield
    finally:
        with ledger._write() as connection:
            mine = sa.and_(here, directory.c.lease_owner == me)
            connection.execute(directory.update().where(mine).values(lease_owner=None, lease_until=None))


def renew(ledger: Ledger, directory_id: int) -> None:
    """Hold it for another minute. Fenced if somebody else took it."""
    with ledger._write() as connection:
        _guard(connection, directory_id)


def _lease(owner: str) -> dict[str, Any]:
    return {"lease_owner": owner, "lease_until": time.time() + HOLD_SECONDS}


def _guard(connection: sa.Connection, directory_id: int) -> None:
    me = owner_text()
    mine = sa.and_(directory.c.id == directory_id, directory.c.lease_owner == me)
    if connection.execute(directory.update().where(mine).values(**_lease(me))).rowcount != 1:
        raise Fenced("another process took this directory over", advice="see `mailferry directory status`")


def accounts(ledger: Ledger, directory_id: int) -> list[DirectoryAccount]:
    """Everybody who ever got an entry, in the order of that."""
    mine = directory_account.c.directory_id == directory_id
    rows = sa.select(*_ACCOUNT).where(mine).order_by(directory_account.c.id)
    with ledger._read() as connection:
        return [DirectoryAccount(*row) for row in connection.execute(rows)]


def accounts_of(ledger: Ledger, source_ids: Sequence[str]) -> dict[str, DirectoryAccount]:
    """Source id → what it got, of those who ever got an entry; of several directories, the one bound last."""
    found: dict[str, DirectoryAccount] = {}
    for start in range(0, len(source_ids), 500):
        some = directory_account.c.source_id.in_(source_ids[start : start + 500])
        with ledger._read() as connection:
            rows = connection.execute(sa.select(*_ACCOUNT).where(some).order_by(directory_account.c.id))
            found |= {row.source_id: DirectoryAccount(*row) for row in rows}
    return found


def put_accounts(ledger: Ledger, directory_id: int, rows: Sequence[DirectoryAccount]) -> None:
    """Add these, or change those that have the same `source_id`."""
    if not rows:
        return
    values = [{"directory_id": directory_id, **row._asdict()} for row in rows]
    key = [directory_account.c.directory_id, directory_account.c.source_id]
    with ledger._write() as connection:
        _guard(connection, directory_id)
        if connection.dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import insert
        else:
            from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
        new = insert(directory_account)
        changed = {name: new.excluded[name] for name in DirectoryAccount._fields if name != "source_id"}
        connection.execute(new.on_conflict_do_update(index_elements=key, set_=changed), values)


def set_reconciled(ledger: Ledger, directory_id: int, cookie: bytes | None, mark: Mapping[str, Any] | None) -> None:
    """Everything was compared; `mark` tells how both sides then were."""
    now = time.time()
    _set(ledger, directory_id, {"cookie": cookie, "cookie_at": now, "reconciled": now, "mark": mark})


def set_cookie(ledger: Ledger, directory_id: int, cookie: bytes | None) -> None:
    """Everything up to `cookie` is in the target."""
    _set(ledger, directory_id, {"cookie": cookie, "cookie_at": time.time()})


def _set(ledger: Ledger, directory_id: int, values: Mapping[str, Any]) -> None:
    with ledger._write() as connection:
        _guard(connection, directory_id)
        connection.execute(directory.update().where(directory.c.id == directory_id).values(**values))


def intend(ledger: Ledger, directory_id: int, run_id: int, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """These changes (`operation source_id dn new_dn before after`) are about to be made; returns their ids."""
    now = time.time()
    own = {"run_id": run_id, "directory_id": directory_id, "at": now, "state": ChangeState.INTENDED.value}
    values = [{**own, **row} for row in rows]
    with ledger._write() as connection:
        _guard(connection, directory_id)
        ledger._points.append("intend")
        new = directory_change.insert().returning(directory_change.c.id, sort_by_parameter_order=True)
        return list(connection.execute(new, values).scalars())


def settle(ledger: Ledger, results: Sequence[tuple[int, ChangeState, str | None]]) -> None:
    """(id, state, error) of changes that have been made, refused or undone."""
    if not results:
        return
    values = [{"of": number, "to_state": state.value, "to_error": error} for number, state, error in results]
    here = directory_change.c.id == sa.bindparam("of")
    to: dict[str, Any] = {"state": sa.bindparam("to_state"), "error": sa.bindparam("to_error")}
    with ledger._write() as connection:
        ledger._points.append("confirm")
        connection.execute(directory_change.update().where(here).values(**to), values)


def changes(ledger: Ledger, directory_id: int, run_id: int) -> list[DirectoryChange]:
    """What a run changed, in order."""
    return _changes(ledger, directory_change.c.directory_id == directory_id, directory_change.c.run_id == run_id)


def unknown(ledger: Ledger, directory_id: int) -> list[DirectoryChange]:
    """What killed runs were about to change, in order."""
    state = directory_change.c.state == ChangeState.INTENDED.value
    return _changes(ledger, directory_change.c.directory_id == directory_id, state)


def _changes(ledger: Ledger, *conditions: sa.ColumnElement[bool]) -> list[DirectoryChange]:
    rows = sa.select(*_CHANGE).where(*conditions).order_by(directory_change.c.id)
    with ledger._read() as connection:
        return [
            DirectoryChange(**row._asdict() | {"state": ChangeState(row.state)}) for row in connection.execute(rows)
        ]


def change_counts(ledger: Ledger) -> dict[int, dict[str, dict[str, int]]]:
    """Run → operation → state → how many."""
    columns = (directory_change.c.run_id, directory_change.c.operation, directory_change.c.state)
    found: dict[int, dict[str, dict[str, int]]] = {}
    with ledger._read() as connection:
        for run_id, operation, state, count in connection.execute(
            sa.select(*columns, sa.func.count()).group_by(*columns)
        ):
            found.setdefault(run_id, {}).setdefault(operation, {})[state] = count
    return found
