"""Alembic's entry: runs the migrations on the connection that `ledger.migrate` hands over, in its transaction."""

from __future__ import annotations

from alembic import context

from mailferry.ledger.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=False,
)
context.run_migrations()
