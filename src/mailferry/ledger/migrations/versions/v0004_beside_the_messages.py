"""Calendars and contacts, rules, permissions, and the slots of many machines.

A migration is history: it never imports `schema.py`, and is not changed once released.
"""

from __future__ import annotations

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    pass
