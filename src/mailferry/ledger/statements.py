"""The ledger's frequent statements, built once per dialect. Does not execute them.

Both databases know INSERT … ON CONFLICT, but SQLAlchemy has it per dialect, hence `build`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from mailferry.ledger.schema import event, failure, folder, keyword_set, mailbox, message, pass_
from mailferry.model.state import State

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

    Insert = postgresql.Insert | sqlite.Insert

MESSAGE = (
    message.c.source_uid,
    message.c.target_uid,
    message.c.state,
    message.c.flags,
    message.c.keywords,
    message.c.internal_date,
    message.c.size,
    message.c.digest,
    message.c.fingerprint,
    message.c.attempts,
    message.c.pass_id,
)
"""A message's columns in `MessageRow`'s order, keywords by number."""

HERE = sa.and_(message.c.folder_id == sa.bindparam("of_folder"), message.c.source_uid == sa.bindparam("of_uid"))

epoch = sa.select(mailbox.c.lease_epoch).where(mailbox.c.id == sa.bindparam("of_mailbox")).with_for_update(read=True)
"""The lease's epoch, held still until the transaction ends."""

_LEASED = sa.and_(mailbox.c.id == sa.bindparam("of_mailbox"), mailbox.c.lease_epoch == sa.bindparam("of_epoch"))

renew = mailbox.update().where(_LEASED).values(lease_until=sa.bindparam("to_until"))

release = (
    mailbox.update()
    .where(_LEASED)
    .values(lease_owner=None, lease_since=None, lease_until=None, lease_epoch=mailbox.c.lease_epoch + 1)
)
"""The lease is given back, and void."""

folder_epoch = (
    sa.select(mailbox.c.lease_epoch)
    .join_from(folder, mailbox, folder.c.mailbox_id == mailbox.c.id)
    .where(folder.c.id == sa.bindparam("of_folder"), mailbox.c.id == sa.bindparam("of_mailbox"))
    .with_for_update(read=True, of=mailbox)
)
"""The same, and nothing where the folder is not the mailbox's."""

messages = sa.select(*MESSAGE).where(message.c.folder_id == sa.bindparam("of_folder")).order_by(message.c.source_uid)


confirm = message.update().where(HERE).values(state=sa.bindparam("to_state"), target_uid=sa.bindparam("to_uid"))

unsent = message.update().where(HERE).values(attempts=message.c.attempts - 1)

set_flags = message.update().where(HERE).values(flags=sa.bindparam("to_flags"), keywords=sa.bindparam("to_keywords"))

audit = event.insert()

forget = message.delete().where(HERE)

begin_pending = (
    folder.update()
    .where(folder.c.id == sa.bindparam("of_folder"), folder.c.pending_base.is_(None))
    .values(pending_base=sa.bindparam("to_base"))
)

counts = (
    sa.select(message.c.folder_id, message.c.state, sa.func.count())
    .join_from(message, folder, message.c.folder_id == folder.c.id)
    .where(folder.c.mailbox_id == sa.bindparam("of_mailbox"))
    .group_by(message.c.folder_id, message.c.state)
)

current_pass = sa.select(sa.func.coalesce(sa.func.max(pass_.c.id), 0)).where(
    pass_.c.mailbox_id == sa.bindparam("of_mailbox")
)

settled_failures = (
    failure.update()
    .where(
        failure.c.mailbox_id == sa.bindparam("of_mailbox"),
        failure.c.kind == "failed",
        failure.c.source_uid != 0,
        sa.not_(failure.c.resolved),
        sa.exists().where(
            message.c.folder_id == failure.c.folder_id,
            message.c.source_uid == failure.c.source_uid,
            message.c.state.not_in((State.FAILED, State.PENDING)),
        ),
    )
    .values(resolved=True)
)
"""Failures of messages that have since come, gone or been excluded."""


@dataclass(frozen=True, slots=True)
class Upserts:
    """Statements that insert or change, in one dialect."""

    intend: Insert
    adopt: Insert
    fail: Insert
    set_state: Insert
    keyword_set: Insert
    failure: Insert


def build(dialect: str) -> Upserts:
    """The statements for `sqlite` or `postgresql`."""
    insert: Callable[[sa.Table], Insert]
    if dialect == "postgresql":  # importing a dialect costs 50 ms: only the one that is used
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert

    key = [message.c.folder_id, message.c.source_uid]
    carried = ("target_uid", "state", "flags", "keywords", "internal_date", "size", "digest", "fingerprint", "pass_id")
    rows = insert(message)
    new = {name: rows.excluded[name] for name in carried}
    states = insert(message)
    failures = insert(failure)
    return Upserts(
        intend=rows.on_conflict_do_update(index_elements=key, set_={**new, "attempts": message.c.attempts + 1}),
        adopt=rows.on_conflict_do_update(index_elements=key, set_=new),
        fail=states.on_conflict_do_update(
            index_elements=key,
            set_={"state": states.excluded.state},
            # what both sides hold stays so: a FAILED message is sent again, which would make a twin
            where=message.c.state.in_((State.PENDING, State.FAILED)),
        ),
        set_state=states.on_conflict_do_update(index_elements=key, set_={"state": states.excluded.state}),
        keyword_set=insert(keyword_set).on_conflict_do_nothing(index_elements=[keyword_set.c.digest]),
        failure=failures.on_conflict_do_update(
            index_elements=[
                failure.c.mailbox_id,
                failure.c.folder_id,
                failure.c.source_uid,
                failure.c.kind,
                failure.c.reason,
            ],
            set_={"text": failures.excluded.text, "last_pass": failures.excluded.last_pass, "resolved": False},
        ),
    )
