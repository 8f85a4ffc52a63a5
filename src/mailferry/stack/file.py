"""A rendered file, as every server's renderer gives it. Written by `ops`, not here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class File:
    """One file; `mode`: its permissions, closed to others where secrets are in it."""

    name: str
    content: bytes
    mode: int = 0o644
