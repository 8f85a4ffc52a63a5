"""One item as a resource: what it weighs, and whether two say the same."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from mailferry.errors import ItemError
from mailferry.groupware.resource import lighten, same, write
from mailferry.model.groupware import Attached, Event, Kind
from mailferry.model.message import MemoryBody
from tests.items import contact, event


def attached(name: str, size: int, reference: str = "") -> Attached:
    return Attached(name, "text/plain", MemoryBody(b"x" * size), reference)


def test_the_largest_attachments_go_first_until_the_rest_is_light_enough() -> None:
    item = replace(
        event("e"),
        attached=(attached("a", 10), attached("b", 50), attached("link", 0, "https://x.example/y")),
        exceptions=(replace(event("e"), attached=(attached("c", 30), attached("d", 5))),),
    )
    light, lost = lighten(item, 20)
    assert isinstance(light, Event)
    assert [one.name for one in light.attached] == ["a", "link"]
    assert [one.name for one in light.exceptions[0].attached] == ["d"]
    assert lost == ["2 attachments with 80 bytes were left out: too large"]
    assert lighten(item, 100) == (item, [])


def test_bodies_are_closed_whatever_happens() -> None:
    @dataclass(slots=True)
    class Broken:
        size: int = 3
        closed: bool = False

        def chunks(self) -> object:
            raise OSError("the disk is gone")

        def close(self) -> None:
            self.closed = True

    body = Broken()
    with pytest.raises(ItemError, match="cannot be read"):
        write(replace(event("e"), attached=(Attached("a", "text/plain", body),)), most=100)  # type: ignore[arg-type]
    assert body.closed


def test_two_resources_are_compared_by_what_they_say() -> None:
    data = write(event("e"), most=0).data
    lines = data.split(b"\r\n")
    other = [one for one in lines if not one.startswith((b"DTSTAMP", b"CREATED", b"LAST-MODIFIED", b"PRODID"))]
    at = next(number for number, one in enumerate(other) if one.startswith(b"SUMMARY"))
    other.insert(at + 3, other.pop(at))
    stamped = b"\r\n".join(other).replace(b"UID:e", b"DTSTAMP:20010101T000000Z\r\nUID:e").split(b"\r\n")
    assert same(data, b"\r\n".join(stamped), Kind.EVENT)
    assert not same(data, data.replace(b"a meeting", b"another"), Kind.EVENT)
    assert not same(data, b"nonsense", Kind.EVENT)
    card = write(contact("c"), most=0).data
    assert not same(card, card.replace(b"berta@", b"other@"), Kind.CONTACT)
