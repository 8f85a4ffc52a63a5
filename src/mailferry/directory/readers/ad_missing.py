"""Who is not in Active Directory any more, found by looking who is there: for accounts that see no deleted objects.

Looks in pieces, so that no step takes long, only when the controller has changed anything at all, and seldom. Decides
nothing: the caller asks again for those who seem to be missing. Invariant: a look that was begun on a connection that
is gone is forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from itertools import islice

from mailferry.net.ldap import PAGE, Connection


@dataclass(slots=True)
class _Look:
    connection: Connection
    there: Iterator[str]
    before: frozenset[str]
    number: int
    seen: set[str] = field(default_factory=set)
    spent: float = 0.0


class Missing:
    """`listing`: gives the ids in scope; `number`: the controller's latest change."""

    def __init__(self, listing: Callable[[Connection], Iterator[str]], number: Callable[[Connection], int]) -> None:
        self._listing = listing
        self._number = number
        self._look: _Look | None = None
        self._looked_at = -1
        self._next = 0.0

    def step(self, connection: Connection, known: Set[str], pause: int) -> frozenset[str]:
        """Those of `known` that a look did not find, once it is through. The next one begins after `pause` times the
        seconds that this one took."""
        look = self._look
        if look is None or look.connection is not connection:
            self._look = None
            if time.monotonic() < self._next or (number := self._number(connection)) == self._looked_at:
                return frozenset()
            look = self._look = _Look(connection, self._listing(connection), frozenset(known), number)
        began = time.monotonic()
        some = list(islice(look.there, PAGE))
        look.seen.update(some)
        look.spent += time.monotonic() - began
        if len(some) == PAGE:
            return frozenset()
        self._look = None
        self._looked_at = look.number
        self._next = time.monotonic() + pause * look.spent
        return look.before - look.seen
