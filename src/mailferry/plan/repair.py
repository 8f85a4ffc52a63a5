"""Makes a message acceptable to a strict target (opt-in, law 5: each repair is listed). Pure; changes only what is
refused."""

from __future__ import annotations

import re

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


def repaired(data: bytes) -> bytes:
    """Bare CR and bare LF become CRLF (RFC 5322 §2.3); NUL bytes become spaces, which keeps every length."""
    return _BARE.sub(b"\r\n", data.replace(b"\0", b" "))
