"""`[workers]` of `mailferry.toml`: that waves are done by `mailferry worker` on any number of hosts. Opens nothing."""

from __future__ import annotations

from pydantic import Field

from mailferry.config.fields import Table


class Workers(Table):
    """Many machines: where this table is, `mailferry wave` gives its work to `mailferry worker` on any number of hosts,
    which share the ledger (PostgreSQL) and nothing else. The same on every host, but for `places`."""

    places: int = Field(default=8, ge=1, description="People at whom one process works at once.")
    lease_seconds: float = Field(
        default=10.0,
        ge=5.0,
        le=300.0,
        description="A worker that was not heard of for so long is taken for dead, and others go on with its people.",
    )
    drain_seconds: float = Field(
        default=60.0,
        ge=0,
        description="How long a worker that is to end lets people come through who are parked; after that they go back "
        "to Exchange, with all mail that waits.",
    )
