"""The contract of a source of events, contacts, tasks and notes: one mailbox whose collections can be read.

Errors, for every method, are those of `sources/base.py`. Nothing here changes the source (law 1).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from mailferry.model.groupware import Collection, Contents, Item, NotCarried


class ItemSession(Protocol):
    """One open mailbox, for reading."""

    async def collections(self) -> list[Collection]:
        """Every collection that holds items; the default ones first."""

    async def contents(self, collection: Collection) -> Contents:
        """Everything in it, without the items' content. `ItemError` if it cannot be opened."""

    def items(self, collection: Collection, ids: Sequence[str]) -> AsyncIterator[tuple[str, Item | NotCarried]]:
        """These items, each with its id, in any order, read ahead of the consumer. Items that have gone are left out;
        one that cannot be read is a `NotCarried`. The consumer closes the bodies of what is attached."""

    async def close(self) -> None:
        """Never raises, may be called twice."""


class ItemSource(Protocol):
    """One mailbox. `key`: as for `Source`."""

    key: str

    async def items_session(self) -> ItemSession:
        """Connect and authenticate."""
