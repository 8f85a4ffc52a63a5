"""One entry of an LDAP server as it came. Needs no python-ldap, so that what only looks at entries does not either.

Invariant: names of attributes are in lower case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. `attrs`: names in lower case (options included: `member;range=0-1499`), values as sent."""

    dn: str
    attrs: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)

    def get(self, name: str) -> tuple[bytes, ...]:
        return self.attrs.get(name.lower(), ())

    def first(self, name: str) -> bytes | None:
        values = self.attrs.get(name.lower())
        return values[0] if values else None

    def texts(self, name: str) -> tuple[str, ...]:
        """Values as text; bytes that are no UTF-8 become U+FFFD, which cleaning finds."""
        values = self.attrs.get(name.lower())
        return tuple([value.decode("utf-8", "replace") for value in values]) if values else ()

    def text(self, name: str) -> str | None:
        values = self.attrs.get(name.lower())
        return values[0].decode("utf-8", "replace") if values else None
