"""Up to which line of the audit somebody outside has been told, and the next lines for them.

Functions over an open `Ledger`. Invariant: the mark moves forward only, and only past lines that were taken; so a line
is told at least once. On PostgreSQL lines can become visible out of order; they are given SETTLE seconds for that.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from mailferry.ledger.rows import Event
from mailferry.ledger.schema import endpoint, event

if TYPE_CHECKING:
    from mailferry.ledger.store import Ledger

SETTLE = 5.0
_EVENT = tuple(event.c[name] for name in Event.__slots__)


def mark(ledger: Ledger, listener: str, *, from_start: bool = False) -> int:
    """The id of the last line that the listener has taken. A new one begins with what comes from now on, or with the
    first line of all."""
    with ledger._write() as connection:
        known = connection.execute(sa.select(endpoint.c.facts).where(endpoint.c.key == listener)).scalar_one_or_none()
        if known is not None and not from_start:
            return int(known["after"])
        newest = connection.execute(sa.select(sa.func.max(event.c.id))).scalar_one() or 0
        facts = {"after": 0 if from_start else newest}
        if known is None:
            connection.execute(endpoint.insert().values(key=listener, seen=time.time(), facts=facts))
        else:
            connection.execute(endpoint.update().where(endpoint.c.key == listener).values(facts=facts))
        return facts["after"]


def taken(ledger: Ledger, listener: str, after: int) -> None:
    """The listener has taken everything up to this line."""
    with ledger._write() as connection:
        facts = connection.execute(sa.select(endpoint.c.facts).where(endpoint.c.key == listener)).scalar_one()
        values = {"seen": time.time(), "facts": {"after": max(after, int(facts["after"]))}}
        connection.execute(endpoint.update().where(endpoint.c.key == listener).values(**values))


def following(ledger: Ledger, after: int, kinds: Sequence[str], most: int) -> list[Event]:
    """The next lines of these kinds, oldest first."""
    rows = sa.select(*_EVENT).where(event.c.id > after, event.c.what.in_(kinds)).order_by(event.c.id).limit(most)
    if not ledger._sqlite:
        rows = rows.where(event.c.at < time.time() - SETTLE)
    with ledger._read() as connection:
        return [Event(*row) for row in connection.execute(rows)]
