"""What becomes of an item that is written out, and the cleaning that all texts go through."""

from __future__ import annotations

import re
from dataclasses import dataclass

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Written:
    """One resource. `uid`: the item's, by which the target knows it. `losses`: what it does not hold of the item, as
    sentences without content of it; the item's own come first."""

    uid: str
    data: bytes
    losses: tuple[str, ...] = ()


def clean(text: str) -> str:
    """Text as RFC 5545 and RFC 6350 allow it: without control characters, lines ended by one LF."""
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
