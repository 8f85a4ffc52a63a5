"""Which known alterations by a target explain that its bytes differ. Pure.

Some servers cannot store certain bytes and replace them while they accept the message. Invariant: an explanation is
given only if these replacements and nothing else make both sides equal, line endings aside.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import combinations

_RAW = re.compile(rb"[\x80-\xff]")
_HEADER = re.compile(rb"\A.*?(?:\n\n|\Z)", re.DOTALL)


def alteration(source: bytes, target: bytes) -> str | None:
    """What the target replaced, as a sentence, or None if that does not explain it. The fewest that do are named."""
    ours, theirs = _lines(source), _lines(target)
    for number in range(1, len(_KNOWN) + 1):
        for some in combinations(_KNOWN, number):
            changed = ours
            for _, replace in some:
                changed = replace(changed)
            if changed == theirs:
                return f"The target {' and '.join(text for text, _ in some)}; all other bytes are equal."
    return None


def _lines(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n")


def _header_x(data: bytes) -> bytes:
    return _HEADER.sub(lambda found: _RAW.sub(b"X", found[0]), data, count=1)


_KNOWN: Sequence[tuple[str, Callable[[bytes], bytes]]] = (
    ("stores NUL bytes as bytes of value 128", lambda data: data.replace(b"\0", b"\x80")),
    ("stores raw 8-bit characters in headers as X", _header_x),
    ("drops carriage returns that end no line", lambda data: data.replace(b"\r", b"")),
    ("ends the last line", lambda data: data if data.endswith(b"\n") else data + b"\n"),
)
"""Seen in the lab: Dovecot; Cyrus; Courier; Courier."""
