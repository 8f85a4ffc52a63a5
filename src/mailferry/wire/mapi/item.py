"""What a message looks like to those who rebuild it, wherever it is stored. Pure contract.

Every method may raise `ItemError` for what cannot be read; the rest of the item then still can.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from mailferry.wire.mapi.values import Value


class Bag(Protocol):
    """Properties by tag."""

    def get(self, tag: int) -> Value | None:
        """The value, None where it is not there."""


class LargeBag(Bag, Protocol):
    """Properties of which some may be too large to be taken whole."""

    def chunks(self, tag: int) -> Iterator[bytes]:
        """The stored bytes of a property, piece by piece; none where it is not there."""


class Attachment(Protocol):
    """One attachment."""

    @property
    def properties(self) -> LargeBag: ...

    def message(self) -> Item | None:
        """The message that is attached, where one is (attach method 5)."""

    def object_chunks(self) -> Iterator[bytes]:
        """The bytes of an attached object (attach method 6), piece by piece."""


class Item(Protocol):
    """One message, as it stands in a folder or is attached to another."""

    @property
    def properties(self) -> LargeBag: ...

    @property
    def key(self) -> bytes:
        """What tells this item from all others, the same at every reading: generated ids and boundaries come of it."""

    def tag(self, space: bytes, name: str | int) -> int | None:
        """The tag that a named property has in this store; None where it has none. `space`: its set's GUID as
        stored."""

    @property
    def categories(self) -> Sequence[str]: ...

    def recipients(self) -> Iterator[Bag]:
        """The recipients in order."""

    def attachments(self) -> Iterator[Attachment]:
        """The attachments in order; one that cannot be read at all is raised by its own methods."""
