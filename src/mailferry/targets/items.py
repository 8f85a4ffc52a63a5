"""The contract of a target of events, contacts, tasks and notes: one mailbox's collections, written and read again.

What travels is a *resource*: the bytes of one iCalendar object or vCard, as `groupware/` makes them, so that a target
that wants fields (EWS) reads them from there. A *place* is a collection at the target. Errors, for every method, are
those of `sources/base.py`; in addition `Permanent` when the whole target is full or refuses everything. The target may
be live: people change and delete there while we write.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from mailferry.model.groupware import Kind


@dataclass(frozen=True, slots=True)
class Place:
    """A collection. `id`: the target's own and stable name. `default`: new items of people go there. `token`: changes
    when anything in it does, "" where the target tells none."""

    id: str
    name: str
    kinds: frozenset[Kind]
    default: bool = False
    token: str = ""


class Why(Enum):
    """Why a resource was not stored. The value is what ledger, JSON and reports show."""

    REFUSED = "refused"
    TOO_LARGE = "too-large"
    CHANGED = "changed-at-target"  # what is there is not what was expected
    UID = "duplicate-uid"  # another resource of the collection has its UID


@dataclass(frozen=True, slots=True)
class Stored:
    """It is durably there, under this href, in this version."""

    href: str
    etag: str


@dataclass(frozen=True, slots=True)
class NotStored:
    """It is not there, or not as it was to be; `text` for people, without content of the item."""

    why: Why
    text: str


@dataclass(frozen=True, slots=True)
class Resource:
    """One item as a target gives it back."""

    href: str
    etag: str
    data: bytes


class ItemTargetSession(Protocol):
    """One open mailbox, for writing and reading. Used by several tasks at once."""

    async def places(self) -> list[Place]:
        """Every collection that the person has there."""

    async def create(self, name: str, display_name: str, kind: Kind) -> Place:
        """Make a collection, or return the one that was made under this name before."""

    async def listing(self, place: Place) -> Mapping[str, str]:
        """href → ETag of everything in it."""

    def href(self, place: Place, uid: str, kind: Kind) -> str:
        """Where the item of this UID belongs."""

    async def put(self, place: Place, href: str, data: bytes, etag: str | None) -> Stored | NotStored:
        """Store it: in place of the version `etag`, or as a new one (None). CHANGED where that is not so; then nothing
        was changed."""

    def read(self, place: Place, hrefs: Sequence[str]) -> AsyncIterator[Resource]:
        """These resources, in any order; those that have gone are left out."""

    async def delete(self, place: Place, href: str, etag: str) -> bool:
        """Remove this version. False: somebody has changed it. True also where it has gone already."""

    async def close(self) -> None:
        """Never raises, may be called twice."""


class ItemTarget(Protocol):
    """One mailbox at a target. `key`: as for `Source`. `kinds`: what it can hold."""

    key: str
    kinds: frozenset[Kind]

    async def items_session(self) -> ItemTargetSession:
        """Connect, authenticate, find the person's collections."""
