"""Who is missing in Active Directory: looked for in pieces, only after changes, and never guessed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from mailferry.directory.readers.ad_missing import Missing
from mailferry.net.ldap import PAGE, Connection

NOBODY: frozenset[str] = frozenset()


class World:
    """Who is there, and the number of the latest change. `read`: how many were looked at."""

    def __init__(self, size: int) -> None:
        self.there = [f"ad:{number}" for number in range(size)]
        self.number = 1
        self.read = 0
        self.missing = Missing(self.listing, lambda _: self.number)
        self.connection = cast(Connection, object())

    def listing(self, connection: Connection) -> Iterator[str]:
        for key in list(self.there):
            self.read += 1
            yield key

    def step(self, known: set[str], pause: int = 0) -> frozenset[str]:
        return self.missing.step(self.connection, known, pause)


def test_who_is_missing_is_found_in_pieces() -> None:
    world = World(2 * PAGE + 10)
    known = {*world.there, "ad:gone"}
    assert world.step(known) == NOBODY
    assert world.read == PAGE
    assert world.step(known) == NOBODY
    assert world.step(known) == {"ad:gone"}


def test_nothing_is_looked_at_while_nothing_changes() -> None:
    world = World(10)
    known = set(world.there)
    for _ in range(3):
        assert world.step(known) == NOBODY
    assert world.read == 10
    world.there.pop()
    world.number += 1
    assert world.step(known) == {"ad:9"}


def test_a_look_is_not_repeated_at_once() -> None:
    world = World(10)
    world.step(set(), pause=10**9)
    world.number += 1
    world.step(set(), pause=10**9)
    assert world.read == 10


def test_who_came_after_the_look_began_is_not_missing() -> None:
    world = World(PAGE + 10)
    known = set(world.there)
    assert world.step(known) == NOBODY
    known.add("ad:new")
    assert world.step(known) == NOBODY
    world.number += 1
    for _ in range(2):
        found = world.step(known)
    assert found == {"ad:new"}


def test_a_look_ends_with_its_connection() -> None:
    world = World(PAGE + 10)
    known = {*world.there, "ad:gone"}
    assert world.step(known) == NOBODY
    world.connection = cast(Connection, object())
    assert world.step(known) == NOBODY
    assert world.read == 2 * PAGE
    assert world.step(known) == {"ad:gone"}
