"""Events and contacts for tests, and a source that holds them in memory: `ItemSource` as an Exchange would show it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from mailferry.model.groupware import (
    Collection,
    Contact,
    Contents,
    Event,
    Item,
    Kind,
    Moment,
    NotCarried,
    Party,
    Ref,
    Zone,
)

CALENDAR = Collection("cal", ("Calendar",), Kind.EVENT, default=True)
TEAM = Collection("cal-2", ("Calendar", "Team: Größe/Urlaub"), Kind.EVENT)
CONTACTS = Collection("con", ("Contacts",), Kind.CONTACT, default=True)


def event(uid: str, subject: str = "a meeting", day: int = 1) -> Event:
    start = datetime(2026, 3, day, 9, 30)
    berlin = Zone("Europe/Berlin")
    return Event(uid, subject, Moment(start, berlin), Moment(start + timedelta(hours=1), berlin))


def contact(uid: str, name: str = "Berta Beispiel") -> Contact:
    return Contact(uid, name, given="Berta", family="Beispiel", mails=(Party(name, "berta@y.example"),))


@dataclass(slots=True)
class MemoryItems:
    """`held`: collection → id → (version, item). Its sessions count what is read."""

    held: dict[Collection, dict[str, tuple[str, Item | NotCarried]]] = field(default_factory=dict)
    not_carried: dict[Collection, tuple[NotCarried, ...]] = field(default_factory=dict)
    key: str = "memory:items"
    listings: int = 0
    reads: int = 0

    def put(self, collection: Collection, item: Item, version: str = "1") -> None:
        """Under its UID as id."""
        self.held.setdefault(collection, {})[item.uid] = (version, item)

    async def items_session(self) -> MemoryItems:
        return self

    async def collections(self) -> list[Collection]:
        return list(self.held)

    async def contents(self, collection: Collection) -> Contents:
        self.listings += 1
        refs = tuple(Ref(id, version) for id, (version, _) in self.held[collection].items())
        return Contents(refs, self.not_carried.get(collection, ()))

    async def items(self, collection: Collection, ids: Sequence[str]) -> AsyncIterator[tuple[str, Item | NotCarried]]:
        for id in ids:
            if id in self.held[collection]:
                self.reads += 1
                yield id, self.held[collection][id][1]

    async def close(self) -> None:
        pass
