"""The one durable state: what has been done, on SQLite or PostgreSQL. Does not decide what to do.

`rows` is pure; everything that needs SQLAlchemy is imported only when a ledger is opened, so that importing this
package costs nothing. Invariant: what a method of `Ledger` wrote is on disk when it returns (or when the enclosing
`transaction()` ends), and nobody whose lease was taken over can write.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailferry.ledger.store import Ledger


def open_ledger(place: str | Path) -> Ledger:
    """Open, and create where it is not there yet, the ledger at a file path or URL (`sqlite:///…`, `postgresql://…`).

    Raises UserError (unusable place, newer schema), IntegrityError (damaged), Temporary, Permanent (disk full).
    """
    from mailferry.ledger.store import Ledger

    return Ledger(place)
