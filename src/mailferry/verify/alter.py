"""Which known alteration by a target explains that its bytes differ. Pure.

Some servers cannot store certain bytes and replace them while they accept the message. Invariant: an explanation is
given only if undoing nothing but that replacement makes both sides equal, line endings aside.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_RAW = re.compile(rb"[\x80-\xff]")
_HEADER = re.compile(rb"\A.*?(?:\n\n|\Z)", re.DOTALL)


def alteration(source: bytes, target: bytes) -> str | None:
    """What the target replaced, as a sentence, or None if that does not explain it."""
    ours, theirs = _lines(source), _lines(target)
    for text, replaced in _KNOWN:
        if replaced(ours) == theirs:
            return text
    return None


def _lines(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n")


def _header_x(data: bytes) -> bytes:
    return _HEADER.sub(lambda found: _RAW.sub(b"X", found[0]), data, count=1)


_KNOWN: Sequence[tuple[str, Callable[[bytes], bytes]]] = (
    (
        "The target stores NUL bytes as bytes of value 128; all others are equal.",
        lambda data: data.replace(b"\0", b"\x80"),
    ),
    ("The target stores raw 8-bit characters in headers as X; all other bytes are equal.", _header_x),
)
"""Seen in the lab: Dovecot, Courier, Cyrus; Cyrus (imapd.conf munge8bit)."""
