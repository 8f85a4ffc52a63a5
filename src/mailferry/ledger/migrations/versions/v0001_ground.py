"""The first schema.

A migration is history: it never imports `schema.py`, and is not changed once released.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "endpoint",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("seen", sa.Double(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_endpoint"),
        sa.UniqueConstraint("key", name="uq_endpoint_key"),
    )
    op.create_table(
        "keyword_set",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=20), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_keyword_set"),
        sa.UniqueConstraint("digest", name="uq_keyword_set_digest"),
    )
    op.create_table(
        "message",
        sa.Column("folder_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("keywords", sa.Integer(), nullable=True),
        sa.Column("pass_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("flags", sa.SmallInteger(), nullable=False),
        sa.Column("source_uid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("target_uid", sa.BigInteger(), nullable=True),
        sa.Column("internal_date", sa.BigInteger(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("fingerprint", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=20), nullable=True),
        sa.PrimaryKeyConstraint("folder_id", "source_uid", name="pk_message"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("started", sa.Double(), nullable=False),
        sa.Column("ended", sa.Double(), nullable=True),
        sa.Column("control", sa.Text(), nullable=False),
        sa.Column("heartbeat", sa.Double(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_run"),
    )
    op.create_table(
        "wave",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_wave"),
        sa.UniqueConstraint("name", name="uq_wave_name"),
    )
    op.create_table(
        "mailbox",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("source_key", sa.Text(), nullable=False),
        sa.Column("target_key", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("wave_id", sa.Integer(), nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_epoch", sa.BigInteger(), nullable=False),
        sa.Column("lease_since", sa.Double(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["wave_id"], ["wave.id"], name="fk_mailbox_wave_id"),
        sa.PrimaryKeyConstraint("id", name="pk_mailbox"),
        sa.UniqueConstraint("source_key", "target_key", name="uq_mailbox_source_key"),
    )
    op.create_index("ix_mailbox_target_key", "mailbox", ["target_key"], unique=False)
    op.create_table(
        "event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("mailbox_id", sa.Integer(), nullable=True),
        sa.Column("data", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailbox.id"], name="fk_event_mailbox_id"),
        sa.PrimaryKeyConstraint("id", name="pk_event"),
    )
    op.create_index("ix_event_mailbox_id", "event", ["mailbox_id"], unique=False)
    op.create_table(
        "failure",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("mailbox_id", sa.Integer(), nullable=False),
        sa.Column("folder_id", sa.Integer(), nullable=False),
        sa.Column("source_uid", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("first_pass", sa.Integer(), nullable=False),
        sa.Column("last_pass", sa.Integer(), nullable=False),
        sa.Column("resolved", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailbox.id"], name="fk_failure_mailbox_id"),
        sa.PrimaryKeyConstraint("id", name="pk_failure"),
        sa.UniqueConstraint("mailbox_id", "folder_id", "source_uid", "kind", "reason", name="uq_failure_mailbox_id"),
    )
    op.create_table(
        "folder",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("mailbox_id", sa.Integer(), nullable=False),
        sa.Column("source_path", sa.Text(), nullable=False),
        sa.Column("source_name", sa.Text(), nullable=False),
        sa.Column("target_path", sa.Text(), nullable=True),
        sa.Column("target_name", sa.Text(), nullable=True),
        sa.Column("special_use", sa.Text(), nullable=True),
        sa.Column("source_uidvalidity", sa.BigInteger(), nullable=True),
        sa.Column("target_uidvalidity", sa.BigInteger(), nullable=True),
        sa.Column("source_uidnext", sa.BigInteger(), nullable=True),
        sa.Column("source_messages", sa.BigInteger(), nullable=True),
        sa.Column("source_modseq", sa.BigInteger(), nullable=True),
        sa.Column("pending_base", sa.BigInteger(), nullable=True),
        sa.Column("listed", sa.BigInteger(), nullable=False),
        sa.Column("excluded", sa.Text(), nullable=True),
        sa.Column("watch_until", sa.Double(), nullable=True),
        sa.Column("watch_base", sa.BigInteger(), nullable=True),
        sa.Column("adopted", sa.Boolean(), nullable=False),
        sa.Column("cursor_pass", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailbox.id"], name="fk_folder_mailbox_id"),
        sa.PrimaryKeyConstraint("id", name="pk_folder"),
    )
    op.create_index("ix_folder_mailbox_id", "folder", ["mailbox_id"], unique=False)
    op.create_table(
        "pass",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("mailbox_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("started", sa.Double(), nullable=False),
        sa.Column("ended", sa.Double(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailbox.id"], name="fk_pass_mailbox_id"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_pass_run_id"),
        sa.PrimaryKeyConstraint("id", name="pk_pass"),
    )
    op.create_index("ix_pass_mailbox_id", "pass", ["mailbox_id"], unique=False)
    op.create_table(
        "verification",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("mailbox_id", sa.Integer(), nullable=False),
        sa.Column("pass_id", sa.Integer(), nullable=True),
        sa.Column("folder_id", sa.Integer(), nullable=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("score", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["folder_id"], ["folder.id"], name="fk_verification_folder_id"),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailbox.id"], name="fk_verification_mailbox_id"),
        sa.ForeignKeyConstraint(["pass_id"], ["pass.id"], name="fk_verification_pass_id"),
        sa.PrimaryKeyConstraint("id", name="pk_verification"),
    )
    op.create_index("ix_verification_mailbox_id", "verification", ["mailbox_id"], unique=False)
