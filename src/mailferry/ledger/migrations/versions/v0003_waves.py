"""Waves: what is wanted of each, and how far each person's move is.

A migration is history: it never imports `schema.py`, and is not changed once released.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("wave", sa.Column("settings", sa.Text(), nullable=False, server_default="{}"))
    op.create_table(
        "move",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("wave_id", sa.Integer(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("mail", sa.Text(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source_user", sa.Text(), nullable=False),
        sa.Column("target_user", sa.Text(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("mailbox_id", sa.Integer(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("entered", sa.Double(), nullable=False),
        sa.Column("parked", sa.Double(), nullable=True),
        sa.Column("released", sa.Double(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("approvals", sa.Text(), nullable=False),
        sa.Column("forecast", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["wave_id"], ["wave.id"], name="fk_move_wave_id"),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailbox.id"], name="fk_move_mailbox_id"),
        sa.PrimaryKeyConstraint("id", name="pk_move"),
        sa.UniqueConstraint("wave_id", "source_id", name="uq_move_wave_id"),
    )
    op.create_index("ix_move_source_id", "move", ["source_id"])
    op.create_index("ix_move_mailbox_id", "move", ["mailbox_id"])
