"""Directories: which source feeds which target, whose entry is whose, and what each run changed.

A migration is history: it never imports `schema.py`, and is not changed once released.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "directory",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("source_key", sa.Text(), nullable=False),
        sa.Column("target_key", sa.Text(), nullable=False),
        sa.Column("cookie", sa.LargeBinary(), nullable=True),
        sa.Column("cookie_at", sa.Double(), nullable=True),
        sa.Column("reconciled", sa.Double(), nullable=True),
        sa.Column("mark", sa.Text(), nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_directory"),
        sa.UniqueConstraint("source_key", "target_key", name="uq_directory_source_key"),
    )
    op.create_table(
        "directory_account",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("directory_id", sa.Integer(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=True),
        sa.Column("mailbox_guid", sa.Text(), nullable=True),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("dn", sa.Text(), nullable=False),
        sa.Column("gone", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["directory_id"], ["directory.id"], name="fk_directory_account_directory_id"),
        sa.PrimaryKeyConstraint("id", name="pk_directory_account"),
        sa.UniqueConstraint("directory_id", "source_id", name="uq_directory_account_directory_id"),
    )
    op.create_table(
        "directory_change",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("directory_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("dn", sa.Text(), nullable=False),
        sa.Column("new_dn", sa.Text(), nullable=True),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_directory_change_run_id"),
        sa.ForeignKeyConstraint(["directory_id"], ["directory.id"], name="fk_directory_change_directory_id"),
        sa.PrimaryKeyConstraint("id", name="pk_directory_change"),
    )
    op.create_index("ix_directory_change_run_id", "directory_change", ["run_id"], unique=False)
