"""The pair of mailboxes that is copied in the other direction. Functions over an open `Ledger`; changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from mailferry.ledger.rows import Mailbox
from mailferry.ledger.schema import mailbox

if TYPE_CHECKING:
    from mailferry.ledger.store import Ledger

_MAILBOX = tuple(mailbox.c[name] for name in Mailbox.__slots__)
_HERE = mailbox.alias()
_OPPOSITE = (
    sa.select(*_MAILBOX)
    .join_from(
        mailbox, _HERE, sa.and_(mailbox.c.source_key == _HERE.c.target_key, mailbox.c.target_key == _HERE.c.source_key)
    )
    .where(_HERE.c.id == sa.bindparam("of_mailbox"), mailbox.c.id != _HERE.c.id)
)


def opposite(ledger: Ledger, mailbox_id: int) -> Mailbox | None:
    """The mailbox whose source is the target of this one, and whose target is its source; None if nothing was ever
    copied that way."""
    with ledger._read() as connection:
        row = connection.execute(_OPPOSITE, {"of_mailbox": mailbox_id}).one_or_none()
    return None if row is None else Mailbox(*row)
