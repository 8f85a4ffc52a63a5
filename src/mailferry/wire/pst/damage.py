"""What is wrong inside a PST file: raised where something cannot be read, counted where it could be read yet."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from mailferry.errors import ItemError


class Damaged(ItemError):
    """A page, block, table or property that cannot be read."""


@dataclass(slots=True)
class Findings:
    """How often each kind of damage was met and read over."""

    counts: Counter[str] = field(default_factory=Counter)

    def note(self, what: str) -> None:
        self.counts[what] += 1

    @property
    def structural(self) -> bool:
        """Whether something is missing, not only a checksum wrong."""
        return any("checksum" not in kind for kind in self.counts)

    def since(self, before: Counter[str]) -> list[str]:
        """The kinds that came up after `before` (a copy of `counts`) was taken."""
        return sorted(kind for kind, count in self.counts.items() if count > before[kind])
