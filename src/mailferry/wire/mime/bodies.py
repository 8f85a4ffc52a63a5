"""Bodies of MIME parts as bytes: which transfer encoding, and encoded piece by piece (RFC 2045 §6). Pure."""

from __future__ import annotations

import binascii
import struct
from collections.abc import Iterable, Iterator
from functools import cache

_LINE_BYTES = 57
"""What gives a line of 76 characters in base64 (RFC 2045 §6.8)."""

_LINES_AT_ONCE = 256


def crlf(data: bytes) -> bytes:
    """With every line ended by CRLF, however it was before."""
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def text_body(data: bytes) -> tuple[str, bytes]:
    """The transfer encoding for a text, and the text in it: as it is, else quoted-printable, else base64 where that
    is shorter. `data` has lines of any kind; a line end stands at the end."""
    data = crlf(data)
    if not data.endswith(b"\r\n"):
        data += b"\r\n"
    if data.isascii() and b"\0" not in data and max(map(len, data.split(b"\r\n"))) <= 998:
        return "7bit", data
    beyond = len(data) - len(data.decode("ascii", "ignore"))
    if beyond * 3 > len(data):
        return "base64", base64_whole(data)
    return "quoted-printable", binascii.b2a_qp(data, istext=True)


def base64_whole(data: bytes) -> bytes:
    return b"".join(base64_lines([data]))


def base64_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Base64 in lines of 76, from pieces of any size; memory is that of a piece."""
    held = b""
    for piece in pieces:
        data = held + piece if held else piece
        whole = len(data) - len(data) % _LINE_BYTES
        held = data[whole:]
        if whole:
            yield _lines(data[:whole])
    if held:
        yield binascii.b2a_base64(held, newline=False) + b"\r\n"


def _lines(data: bytes) -> bytes:
    """Of whole lines."""
    encoded = binascii.b2a_base64(data, newline=False)
    lines: list[bytes] = []
    for at in range(0, len(encoded), 76 * _LINES_AT_ONCE):
        lines += _cut(min(_LINES_AT_ONCE, (len(encoded) - at) // 76)).unpack_from(encoded, at)
    return b"\r\n".join([*lines, b""])


@cache
def _cut(lines: int) -> struct.Struct:
    """Takes so many encoded lines apart, faster than slices do."""
    return struct.Struct("76s" * lines)
