"""What the ledger knows of waves: who is in which, how far each move is, who approved what.

Functions over an open `Ledger`, for one thread. Invariants: a move goes along `model.wave.NEXT` only, and only from the
state that the caller believes it to be in (compare and set); its new state and the audit's line are one transaction;
with a lease, a worker whose mailbox was taken over changes nothing. Raises what `Ledger` raises.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mailferry.errors import Fenced, LocalProtocolError, UserError
from mailferry.ledger.rows import Lease
from mailferry.ledger.schema import event, move, wave
from mailferry.model.wave import NEXT, Move, MoveState, Wave, WaveState

if TYPE_CHECKING:
    from mailferry.ledger.store import Ledger

_WAVE = tuple(wave.c[name] for name in Wave.__slots__)
_MOVE = tuple(move.c[name] for name in Move.__slots__)
_ONE_MOVE = sa.select(*_MOVE).where(move.c.id == sa.bindparam("of_move"))
_ONE_WAVE = sa.select(*_WAVE).where(wave.c.id == sa.bindparam("of_wave"))
_LIVE = [one.value for one in MoveState if one not in (MoveState.CANCELLED, MoveState.ROLLED_BACK)]


def create(ledger: Ledger, name: str, settings: Mapping[str, Any]) -> Wave:
    """A new wave without members. UserError: the name is taken."""
    with ledger.transaction():
        if any(one.name == name for one in waves(ledger)):
            raise UserError("there is a wave of this name", about=name, advice="mailferry wave status shows it")
        with ledger._write() as connection:
            new = {"name": name, "state": WaveState.OPEN.value, "created": time.time(), "settings": dict(settings)}
            connection.execute(wave.insert().values(**new))
        ledger.audit("wave created", wave=name)
        return named(ledger, name)


def waves(ledger: Ledger) -> list[Wave]:
    """Oldest first."""
    with ledger._read() as connection:
        return [_wave(row) for row in connection.execute(sa.select(*_WAVE).order_by(wave.c.id))]


def named(ledger: Ledger, name: str) -> Wave:
    """UserError: there is none of this name."""
    for one in waves(ledger):
        if one.name == name:
            return one
    known = ", ".join(one.name for one in waves(ledger)) or "none yet"
    raise UserError("there is no such wave", about=name, advice=f"waves: {known}; `mailferry wave plan` makes one")


def change(
    ledger: Ledger, wave_id: int, *, state: WaveState | None = None, settings: Mapping[str, Any] | None = None
) -> None:
    """Change what is wanted of a wave, with a line in the audit."""
    values: dict[str, Any] = {} if state is None else {"state": state.value}
    if settings is not None:
        values["settings"] = dict(settings)
    with ledger.transaction(), ledger._write() as connection:
        connection.execute(wave.update().where(wave.c.id == wave_id).values(**values))
        ledger.audit("wave changed", wave=wave_id, **values)


def add(ledger: Ledger, wave_id: int, moves: Sequence[Move]) -> None:
    """Put people (their `id` and `wave_id` do not count) into a wave. UserError: somebody is in a wave already, unless
    that move was cancelled or rolled back."""
    with ledger.transaction(), ledger._write() as connection:
        for start in range(0, len(moves), 500):
            some = moves[start : start + 500]
            ids = [one.source_id for one in some]
            taken = sa.select(move.c.mail, wave.c.name).join(wave, wave.c.id == move.c.wave_id)
            taken = taken.where(move.c.source_id.in_(ids), move.c.state.in_(_LIVE))
            other = connection.execute(taken).first()
            if other is not None:
                raise UserError(f"is in the wave {other.name} already", about=other.mail)
            now = time.time()
            connection.execute(move.insert(), [{**_values(one), "wave_id": wave_id, "entered": now} for one in some])
        ledger.audit("wave filled", wave=wave_id, people=[one.mail for one in moves])


def remove(ledger: Ledger, move_id: int) -> None:
    """Take somebody out of a wave who is still only planned. LocalProtocolError otherwise."""
    here = sa.and_(move.c.id == move_id, move.c.state == MoveState.PLANNED.value)
    with ledger.transaction(), ledger._write() as connection:
        if connection.execute(move.delete().where(here)).rowcount != 1:
            raise LocalProtocolError(f"move {move_id} is not only planned")
        ledger.audit("wave member removed", move=move_id)


def moves(ledger: Ledger, wave_id: int | None = None, *, source_id: str | None = None) -> list[Move]:
    """All moves, those of a wave, or those of a person, in the order of planning."""
    rows = sa.select(*_MOVE).order_by(move.c.id)
    if wave_id is not None:
        rows = rows.where(move.c.wave_id == wave_id)
    if source_id is not None:
        rows = rows.where(move.c.source_id == source_id)
    with ledger._read() as connection:
        return [_move(row) for row in connection.execute(rows)]


def move_of(ledger: Ledger, move_id: int) -> Move:
    with ledger._read() as connection:
        return _move(connection.execute(_ONE_MOVE, {"of_move": move_id}).one())


def wave_of(ledger: Ledger, now_in: Move) -> Wave:
    """The wave that a move belongs to, as it is now."""
    with ledger._read() as connection:
        return _wave(connection.execute(_ONE_WAVE, {"of_wave": now_in.wave_id}).one())


def enter(ledger: Ledger, now_in: Move, state: MoveState, lease: Lease | None = None, **values: Any) -> Move:
    """The move goes on to `state`; `values`: further columns. The audit gets a line. Returns the move as it now is.
    Hooks: `enter STATE`.

    Fenced: the lease is over, or somebody else has moved it on since `now_in` was read.
    """
    if state not in NEXT[now_in.state]:
        raise LocalProtocolError(f"no way from {now_in.state.value} to {state.value}", about=now_in.mail)
    return _set(ledger, now_in, lease, {"state": state.value, "entered": time.time(), **values})


def note(ledger: Ledger, now_in: Move, lease: Lease | None = None, **values: Any) -> Move:
    """Change columns (mailbox_id, error, evidence, approvals, forecast, parked, released) and stay in the state."""
    return _set(ledger, now_in, lease, values)


def intend(ledger: Ledger, now_in: Move, state: MoveState, lease: Lease | None = None, **data: Any) -> None:
    """The audit's line before something is done to reach `state`. Hooks: `intend STATE`. Fenced: the lease is over."""
    told = {"move": now_in.id, "mail": now_in.mail, "from": now_in.state.value, "to": state.value, **data}
    with ledger._write() as connection:
        if lease is not None:
            ledger._guard(connection, lease)
        ledger._points.append(f"intend {state.value}")
        ledger.audit("move intended", mailbox_id=now_in.mailbox_id, **told)


def _set(ledger: Ledger, now_in: Move, lease: Lease | None, values: Mapping[str, Any]) -> Move:
    with ledger.transaction(), ledger._write() as connection:
        if lease is not None:
            ledger._guard(connection, lease)
        here = {"of_move": now_in.id, "in_state": now_in.state.value}
        row = connection.execute(_update(frozenset(values)), {**here, **values}).one_or_none()
        if row is None:
            raise Fenced(
                f"its move is no longer {now_in.state.value}", about=now_in.mail, advice="mailferry wave status"
            )
        if "state" in values:
            ledger._points.append(f"enter {values['state']}")
            told = {"move": now_in.id, "mail": now_in.mail, "from": now_in.state.value, "to": values["state"]}
            if values.get("error"):
                told["error"] = values["error"]
            ledger.audit("move entered", mailbox_id=values.get("mailbox_id", now_in.mailbox_id), **told)
        return _move(row)


@cache
def _update(names: frozenset[str]) -> sa.sql.dml.ReturningUpdate[Any]:
    """Sets these columns of a move that is in the state it is believed to be in; its row as it is then."""
    here = sa.and_(move.c.id == sa.bindparam("of_move"), move.c.state == sa.bindparam("in_state"))
    return move.update().where(here).values({name: sa.bindparam(name) for name in sorted(names)}).returning(*_MOVE)


def history(ledger: Ledger, move_id: int) -> list[tuple[float, str, str]]:
    """(seconds since the epoch, state entered, error) of one move, oldest first."""
    wanted = sa.select(event.c.at, event.c.data).where(event.c.what == "move entered").order_by(event.c.id)
    with ledger._read() as connection:
        rows = [(row.at, row.data) for row in connection.execute(wanted)]
    return [(at, data["to"], data.get("error", "")) for at, data in rows if data["move"] == move_id]


def _values(one: Move) -> dict[str, Any]:
    values = {name: getattr(one, name) for name in Move.__slots__ if name != "id"}
    return {**values, "state": one.state.value, "evidence": dict(one.evidence), "forecast": dict(one.forecast)}


def _wave(row: sa.Row[Any]) -> Wave:
    values = row._asdict()
    return Wave(**values | {"state": WaveState(row.state)})


def _move(row: sa.Row[Any]) -> Move:
    values = row._asdict()
    return Move(**values | {"state": MoveState(row.state), "approvals": tuple(row.approvals)})
