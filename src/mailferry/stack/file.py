"""A rendered file, and a kit: all that one server's host gets. As every server's renderer gives them.

Written and run by `ops`, not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class File:
    """One file; `mode`: its permissions, closed to others where secrets are in it. `place`: where install.sh puts it on
    the host; None: it is for people or for install.sh alone."""

    name: str
    content: bytes
    mode: int = 0o644
    place: Path | None = None


@dataclass(frozen=True, slots=True)
class Kit:
    """One server on one host. `start`, `stop`: shell commands; both do nothing when it is so already."""

    server: str
    files: tuple[File, ...]
    start: str
    stop: str

    def file(self, name: str) -> File:
        """The file of that name. KeyError: it has none."""
        for one in self.files:
            if one.name == name:
                return one
        raise KeyError(name)
