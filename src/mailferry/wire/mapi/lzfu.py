"""Compressed RTF ([MS-OXRTFCP]): decompression only.

Invariant: never more bytes than `most`, whatever the header says.
"""

from __future__ import annotations

import struct

from mailferry.errors import ItemError

_COMPRESSED, _PLAIN = 0x75465A4C, 0x414C454D
_START = (
    b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript "
    b"\\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par "
    b"\\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"
)
"""What the dictionary begins with (§2.1.2.1)."""

MOST = 64 << 20


def decompress(data: bytes, most: int = MOST) -> bytes:
    """The RTF in PidTagRtfCompressed (§2.1.3). ItemError where it is none; what is cut off is given as far as it
    goes."""
    if len(data) < 16:
        raise ItemError("a compressed RTF body without a header")
    size, raw_size, kind, _ = struct.unpack_from("<IIII", data)
    body = data[16 : size + 4]
    if kind == _PLAIN:
        return body[: min(raw_size, most)]
    if kind != _COMPRESSED:
        raise ItemError("a compressed RTF body of an unknown kind")
    out = bytearray(_START)
    limit = len(_START) + min(raw_size, most)
    at, end = 0, len(body)
    while at < end and len(out) < limit:
        control = body[at]
        at += 1
        for bit in range(8):
            if at >= end:
                break
            if not control >> bit & 1:
                out.append(body[at])
                at += 1
                continue
            if at + 1 >= end:
                at = end
                break
            token = body[at] << 8 | body[at + 1]
            at += 2
            back = (len(out) - (token >> 4)) & 0xFFF
            if back == 0:  # refers to where it stands: the end (§2.1.3.1.4)
                at = end
                break
            _repeat(out, back, (token & 0xF) + 2)
    return bytes(out[len(_START) : limit])


def _repeat(out: bytearray, back: int, length: int) -> None:
    """Append `length` bytes from `back` bytes ago, where what is being appended may be part of them."""
    start = len(out) - back
    if start < 0:
        out += b" " * length  # before the dictionary's beginning: never written by Exchange
        return
    piece = out[start : start + length]
    while len(piece) < length:
        piece += piece[: length - len(piece)]
    out += piece
