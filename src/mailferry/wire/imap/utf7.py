"""Modified UTF-7, the mailbox names of RFC 3501 §5.1.3, both ways. Knows nothing of separators or folders.

Invariant: `decode(encode(text)) == text` for every text without lone surrogates, and `decode` never fails: a part that
is not valid modified UTF-7 stays in the text as it came.
"""

from __future__ import annotations

import binascii
import re

_SHIFTED = re.compile(rb"&([A-Za-z0-9+,]*)-")
_UNPRINTABLE = re.compile(r"&|[^\x20-\x7e]+")


def encode(text: str) -> bytes:
    """A name as the wire wants it. Lone surrogates (not text) are written as `?`."""
    return _UNPRINTABLE.sub(_shift, text).encode("ascii")


def decode(name: bytes) -> str:
    """A name from the wire as text. Raw 8-bit bytes are read as UTF-8, or else as Latin-1."""
    parts: list[str] = []
    position = 0
    for match in _SHIFTED.finditer(name):
        text = _unshift(match[1])
        if text is not None:
            parts += [_plain(name[position : match.start()]), text]
            position = match.end()
    parts.append(_plain(name[position:]))
    return "".join(parts)


def _shift(match: re.Match[str]) -> str:
    if match[0] == "&":
        return "&-"
    units = match[0].encode("utf-16-be", "replace")
    return "&" + binascii.b2a_base64(units, newline=False).rstrip(b"=").replace(b"/", b",").decode("ascii") + "-"


def _unshift(base64: bytes) -> str | None:
    if not base64:
        return "&"
    try:
        units = binascii.a2b_base64(base64.replace(b",", b"/") + b"=" * (-len(base64) % 4))
        return units.decode("utf-16-be") or None
    except (binascii.Error, UnicodeDecodeError):
        return None


def _plain(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
