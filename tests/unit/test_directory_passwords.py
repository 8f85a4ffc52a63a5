"""When a hash that was captured from the source has to go."""

from __future__ import annotations

import pytest

from mailferry.directory.passwords import REPLACE, forget

Entry = dict[str, list[bytes]]
GONE: list[tuple[int, str, list[bytes]]] = [(REPLACE, "userPassword", [])]


def entry(who: str, changed: str = "20260101000000Z", enabled: str = "TRUE") -> Entry:
    return {
        "mailferryPasswordFrom": [who.encode()],
        "mailferryPasswordChanged": [changed.encode()],
        "mailferryEnabled": [enabled.encode()],
    }


LATER = "20260201000000Z"


@pytest.mark.parametrize(
    ("before", "after", "gone"),
    [
        (entry("capture"), entry("capture"), False),
        (entry("capture"), entry("capture", LATER), True),
        (entry("capture"), entry("capture", enabled="FALSE"), True),
        (entry("capture"), entry("source"), True),  # a rollback: the source is in charge again
        (entry("here"), entry("source"), True),
        (entry("capture"), entry("here"), False),  # what was captured is now theirs
        (entry("here"), entry("here", LATER), False),
        (entry("source"), entry("source", LATER), False),  # nothing is kept
        (entry("source"), entry("capture"), False),
        ({}, entry("source"), False),
        (entry("Capture"), {"mailferryPasswordFrom": [b"capture"]}, True),  # it may not be known any more
    ],
)
def test_a_hash_never_outlives_the_password(before: Entry, after: Entry, gone: bool) -> None:
    assert forget(before, after) == (GONE if gone else [])
