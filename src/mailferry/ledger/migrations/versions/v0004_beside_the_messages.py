"""Calendars and contacts, rules, permissions, and the slots of many machines.

A migration is history: it never imports `schema.py`, and is not changed once released.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("folder", sa.Column("source_token", sa.Text(), nullable=True))
    op.create_table(
        "worker",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("places", sa.Integer(), nullable=False),
        sa.Column("started", sa.Double(), nullable=False),
        sa.Column("heartbeat", sa.Double(), nullable=False),
        sa.Column("draining", sa.Boolean(), nullable=False),
        sa.Column("ended", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_worker"),
    )
    op.create_table(
        "job",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("move_id", sa.Integer(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("queued", sa.Boolean(), nullable=False),
        sa.Column("worker_id", sa.Integer(), nullable=True),
        sa.Column("started", sa.Double(), nullable=True),
        sa.Column("heard", sa.Double(), nullable=False),
        sa.Column("ended", sa.Double(), nullable=True),
        sa.Column("lanes", sa.Integer(), nullable=False),
        sa.Column("deaths", sa.Integer(), nullable=False),
        sa.Column("doing", sa.Text(), nullable=False),
        sa.Column("expected", sa.BigInteger(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_job_run_id"),
        sa.ForeignKeyConstraint(["move_id"], ["move.id"], name="fk_job_move_id"),
        sa.ForeignKeyConstraint(["worker_id"], ["worker.id"], name="fk_job_worker_id"),
        sa.PrimaryKeyConstraint("id", name="pk_job"),
    )
    op.create_index("ix_job_run_id", "job", ["run_id"])
    op.create_index("ix_job_move_id", "job", ["move_id"])
    unended = sa.text("ended IS NULL")
    unqueued = sa.text("NOT queued")
    op.create_index("ix_job_unqueued", "job", ["id"], postgresql_where=unqueued, sqlite_where=unqueued)
    op.create_index("ix_job_open", "job", ["run_id"], postgresql_where=unended, sqlite_where=unended)
    op.create_table(
        "slot",
        sa.Column("endpoint_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.Column("until", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoint.id"], name="fk_slot_endpoint_id"),
        sa.PrimaryKeyConstraint("endpoint_id", "number", name="pk_slot"),
    )
    op.create_table(
        "item_collection",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("mailbox_id", sa.Integer(), nullable=False),
        sa.Column("target_key", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=True),
        sa.Column("source_token", sa.Text(), nullable=False),
        sa.Column("target_token", sa.Text(), nullable=False),
        sa.Column("completed", sa.Double(), nullable=True),
        sa.Column("score", sa.Text(), nullable=True),
        sa.Column("findings", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailbox.id"], name="fk_item_collection_mailbox_id"),
        sa.PrimaryKeyConstraint("id", name="pk_item_collection"),
    )
    op.create_index("ix_item_collection_mailbox_id", "item_collection", ["mailbox_id"])
    op.create_table(
        "item",
        sa.Column("collection_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("key", sa.LargeBinary(20), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("href", sa.Text(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(20), nullable=True),
        sa.PrimaryKeyConstraint("collection_id", "key", name="pk_item"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "item_note",
        sa.Column("collection_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("key", sa.LargeBinary(20), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("item_class", sa.Text(), nullable=False),
        sa.Column("happens", sa.Text(), nullable=False),
        sa.Column("seen", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("collection_id", "key", "kind", "reason", name="pk_item_note"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "sieve_upload",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("mail", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("ours", sa.Text(), nullable=False),
        sa.Column("parts", sa.Text(), nullable=False),
        sa.Column("put_off", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sieve_upload"),
        sa.UniqueConstraint("key", name="uq_sieve_upload_key"),
    )
    op.create_index("ix_sieve_upload_mail", "sieve_upload", ["mail"])
    op.create_table(
        "permission",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("access", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("rights", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("wanted", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("changed", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_permission"),
    )
    op.create_index("ix_permission_owner", "permission", ["owner"])
    op.create_index("ix_permission_person", "permission", ["person"])
    op.create_table(
        "permission_given",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("identifier", sa.Text(), nullable=False),
        sa.Column("letters", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_permission_given"),
    )
    op.create_index("ix_permission_given_owner", "permission_given", ["owner"])
