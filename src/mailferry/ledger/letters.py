"""Which letters were sent to whom, in the audit: each was intended before it was sent, and settled after.

Functions over an open `Ledger`. Invariant: of two processes that want to send the same letter, one may.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import sqlalchemy as sa

from mailferry.ledger.schema import event
from mailferry.model.wave import Move

if TYPE_CHECKING:
    from mailferry.ledger.store import Ledger


class State(Enum):
    """How far a letter is. INTENDED that never became anything else: nobody knows whether it was taken."""

    INTENDED = "letter intended"
    SENT = "letter sent"
    REFUSED = "letter refused"


def states(ledger: Ledger, which: str, move_id: int | None = None) -> dict[int, State]:
    """Move id → state of this letter (`before`, `after`); of all moves, or of one."""
    rows = sa.select(event.c.what, event.c.data).where(event.c.what.in_([one.value for one in State]))
    if move_id is not None:
        rows = rows.where(sa.type_coerce(event.c.data, sa.Text).contains(f'"move":{move_id}'))
    with ledger._read() as connection:
        found = [(what, data) for what, data in connection.execute(rows.order_by(event.c.id))]
    return {data["move"]: State(what) for what, data in found if data["letter"] == which}


def intend(ledger: Ledger, move: Move, which: str, message_id: str, *, again: bool = False) -> bool:
    """It is going to be sent. False: it was sent, or somebody else is about to (unless `again`)."""
    with ledger.transaction():
        state = states(ledger, which, move.id).get(move.id)
        if state is State.SENT or (state is State.INTENDED and not again):
            return False
        ledger.audit(State.INTENDED.value, move=move.id, mail=move.mail, letter=which, message_id=message_id)
        return True


def settle(ledger: Ledger, move: Move, which: str, state: State, why: str = "") -> None:
    """It was taken, or refused."""
    ledger.audit(state.value, move=move.id, mail=move.mail, letter=which, why=why)
