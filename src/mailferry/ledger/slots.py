"""What may be used by so many at once, over all hosts: connections to a server, places in a wave. PostgreSQL only.

A slot is (endpoint, number); who has it holds its epoch until `until`. Opens no connection. Invariants: of one endpoint
no more numbers are held at a time than its cap says; a slot is given to somebody else only after its holder had the
time to see that it has run out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from mailferry.ledger.schema import endpoint, slot

if TYPE_CHECKING:
    from mailferry.ledger.store import Ledger


class Slot(NamedTuple):
    """One that is held."""

    endpoint_id: int
    number: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Needs:
    """What a job takes while it works. `servers`, `places`: key to cap. Of each server it takes as many slots as of the
    others: `lanes`, or fewer, at least one; of each place one."""

    servers: Mapping[str, int]
    lanes: int
    places: Mapping[str, int]


class Held(NamedTuple):
    """What a job has been given."""

    lanes: int
    slots: tuple[Slot, ...]


_KEY = sa.tuple_(slot.c.endpoint_id, slot.c.number, slot.c.epoch)


def take(ledger: Ledger, job_id: int, needs: Needs, seconds: float) -> Held | None:
    """Hold what a job needs for so many seconds; None where not all of it is free now, and nothing is held."""
    caps = {**needs.servers, **needs.places}
    with ledger._write() as connection:
        ids = _endpoints(connection, caps)
        now = ledger._now(connection)
        free: dict[str, Sequence[tuple[int, int]]] = {}
        for key in sorted(caps):  # nobody waits for a row of somebody else, so nobody waits for ever
            wanted = needs.lanes if key in needs.servers else 1
            here = sa.and_(slot.c.endpoint_id == ids[key], slot.c.number < caps[key], slot.c.until <= now)
            found = sa.select(slot.c.number, slot.c.epoch).where(here).order_by(slot.c.number).limit(wanted)
            free[key] = [tuple(row) for row in connection.execute(found.with_for_update(skip_locked=True))]
        if not all(free.values()):
            return None
        lanes = min((len(free[key]) for key in needs.servers), default=needs.lanes)
        held = [
            Slot(ids[key], number, epoch + 1)
            for key, some in free.items()
            for number, epoch in (some[:lanes] if key in needs.servers else some)
        ]
        mine = sa.tuple_(slot.c.endpoint_id, slot.c.number).in_([one[:2] for one in held])
        values = {"epoch": slot.c.epoch + 1, "job_id": job_id, "until": now + seconds}
        connection.execute(slot.update().where(mine).values(values))
        return Held(lanes, tuple(held))


def renew(ledger: Ledger, held: Iterable[Slot], seconds: float) -> set[Slot]:
    """Hold them for so many seconds from now; those that are still held."""
    wanted = list(held)
    if not wanted:
        return set()
    with ledger._write() as connection:
        values = {"until": ledger._now(connection) + seconds}
        again = slot.update().where(_KEY.in_(wanted)).values(values).returning(*_KEY.clauses)
        return {Slot(*row) for row in connection.execute(again)}


def give_back(ledger: Ledger, held: Iterable[Slot]) -> None:
    """Others may have them at once."""
    wanted = list(held)
    if wanted:
        with ledger._write() as connection:
            connection.execute(slot.update().where(_KEY.in_(wanted)).values(job_id=None, until=0.0))


def in_use(ledger: Ledger) -> dict[str, int]:
    """How many are held of each endpoint."""
    with ledger._read() as connection:
        found = (
            sa.select(endpoint.c.key, sa.func.count().label("held"))
            .join_from(slot, endpoint, slot.c.endpoint_id == endpoint.c.id)
            .where(slot.c.until > ledger._now(connection))
            .group_by(endpoint.c.key)
        )
        return {row.key: row.held for row in connection.execute(found)}


def _endpoints(connection: sa.Connection, caps: Mapping[str, int]) -> dict[str, int]:
    """The endpoints' ids; what is new of them and of their slots is made."""
    there = sa.select(endpoint.c.key, endpoint.c.id, sa.func.count(slot.c.number)).outerjoin(
        slot, slot.c.endpoint_id == endpoint.c.id
    )
    there = there.where(endpoint.c.key.in_(list(caps))).group_by(endpoint.c.key, endpoint.c.id)
    known = {key: (number, slots) for key, number, slots in connection.execute(there)}
    if new := sorted(caps.keys() - known.keys()):
        rows = [{"key": key, "seen": 0.0, "facts": {}} for key in new]
        connection.execute(postgresql.insert(endpoint).on_conflict_do_nothing(), rows)
        found = sa.select(endpoint.c.key, endpoint.c.id).where(endpoint.c.key.in_(new))
        known |= {key: (number, 0) for key, number in connection.execute(found)}
    more = [
        {"endpoint_id": known[key][0], "number": number, "epoch": 0, "until": 0.0}
        for key, cap in sorted(caps.items())
        for number in range(known[key][1], cap)
    ]
    if more:
        connection.execute(postgresql.insert(slot).on_conflict_do_nothing(), more)
    return {key: number for key, (number, _) in known.items()}
