"""One item as the resource that CalDAV and CardDAV servers, and files, hold; and two resources compared by content.

What becomes of each field is decided by `to_ical` and `to_vcard`. Invariant: the bodies of what is attached are closed
when `write` is done, however that ended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from mailferry.errors import ItemError
from mailferry.groupware import from_ical, from_vcard
from mailferry.groupware.to_ical import calendar
from mailferry.groupware.to_vcard import card
from mailferry.groupware.written import Written
from mailferry.model.groupware import (
    Attached,
    Contact,
    ContactList,
    Event,
    Item,
    Kind,
    NotCarried,
    Party,
    Task,
)
from mailferry.model.message import DIGEST_SIZE


def write(item: Item, *, owner: Party | None = None, most: int, since: date | None = None) -> Written:
    """The item's resource, and what it lost. `most`: bytes that may be attached to it; `since`: what is attached to
    events that ended before is left out. ItemError: it cannot be one."""
    try:
        light, lost = lighten(item, most)
        if isinstance(light, Contact | ContactList):
            made = card(light, version="3.0")  # which every CardDAV server takes (RFC 6352 §5.1)
        else:
            made = calendar(light, owner=owner, attachments_since=since)
        return replace(made, losses=(*made.losses, *lost))
    except OSError as error:
        raise ItemError(f"what is attached to it cannot be read: {error.strerror or error}") from error
    finally:
        for one in _attached(item):
            one.body.close()


def digest(data: bytes) -> bytes:
    """Of a resource's bytes."""
    return hashlib.sha256(data).digest()[:DIGEST_SIZE]


def read(data: bytes, kind: Kind) -> Item | None:
    """The one item of a resource; None where there is none, or several."""
    found = from_vcard.cards(data) if kind is Kind.CONTACT else from_ical.items(data)
    return found[0] if len(found) == 1 and not isinstance(found[0], NotCarried) else None


def same(one: bytes, other: bytes, kind: Kind) -> bool:
    """Whether two resources say the same, however servers spell them. Times of writing do not count."""
    if one == other:
        return True
    first, second = read(one, kind), read(other, kind)
    return first is not None and second is not None and _bare(first) == _bare(second)


def _bare(item: Item) -> Item:
    if isinstance(item, Event):
        exceptions = tuple(replace(one, created=None, modified=None, losses=()) for one in item.exceptions)
        return replace(item, created=None, modified=None, losses=(), exceptions=exceptions)
    if isinstance(item, Task):
        return replace(item, created=None, modified=None, losses=())
    return replace(item, modified=None, losses=())


def lighten(item: Item, most: int) -> tuple[Item, list[str]]:
    """The item without what is too large to be attached, and what is lost by that, in words. The largest go first until
    the rest is within `most` bytes."""
    held = [one for one in _attached(item) if not one.reference]
    total = sum(one.body.size for one in held)
    out: list[Attached] = []
    for one in sorted(held, key=lambda one: one.body.size, reverse=True):
        if total <= most:
            break
        out.append(one)
        total -= one.body.size
    if not out:
        return item, []
    lost = f"{len(out)} attachments with {sum(one.body.size for one in out)} bytes were left out: too large"
    return _without(item, out), [lost]


def _attached(item: Item) -> list[Attached]:
    """With those of a series' exceptions."""
    own: Sequence[Attached] = getattr(item, "attached", ())
    exceptions: Sequence[Event] = getattr(item, "exceptions", ())
    return [*own, *(one for exception in exceptions for one in exception.attached)]


def _without(item: Item, out: Sequence[Attached]) -> Item:
    def left(attached: tuple[Attached, ...]) -> tuple[Attached, ...]:
        return tuple(one for one in attached if not any(one is other for other in out))

    if isinstance(item, Event):
        exceptions = tuple(replace(one, attached=left(one.attached)) for one in item.exceptions)
        return replace(item, attached=left(item.attached), exceptions=exceptions)
    if isinstance(item, Contact | Task):
        return replace(item, attached=left(item.attached))
    return item
