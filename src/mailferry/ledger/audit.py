"""Looks the audit up by what a line is about. Writes nothing; `Ledger.audit` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from mailferry.ledger.rows import Event
from mailferry.ledger.schema import event, to_json

if TYPE_CHECKING:
    from mailferry.ledger.store import Ledger

_EVENT = tuple(event.c[name] for name in Event.__slots__)


def latest(ledger: Ledger, what: str, id: str) -> Event | None:
    """The newest line of this kind whose data has this `id`. Reads all lines of the kind: for what is rare."""
    has = sa.type_coerce(event.c.data, sa.Text).contains(f'"id":{to_json(id)}', autoescape=True)
    rows = sa.select(*_EVENT).where(event.c.what == what, has).order_by(event.c.id.desc())
    with ledger._read() as connection:
        found = [Event(*row) for row in connection.execute(rows)]
    return next((one for one in found if one.data.get("id") == id), None)
