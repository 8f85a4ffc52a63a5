"""BER as far as LDAP's controls need it (X.690, RFC 4511 §5.1): definite lengths, tags of one byte. Knows no control.

Invariant: reading never looks beyond its bytes; what does not fit is RemoteProtocolError.
"""

from __future__ import annotations

from collections.abc import Iterator

from mailferry.errors import RemoteProtocolError

INTEGER, OCTETS, ENUMERATED, SEQUENCE, SET = 0x02, 0x04, 0x0A, 0x30, 0x31


def encode(tag: int, *parts: bytes) -> bytes:
    """One element; the contents of a constructed one are given already encoded."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def integer(value: int, tag: int = INTEGER) -> bytes:
    """A whole number, negative ones in two's complement."""
    size = (value if value >= 0 else ~value).bit_length() // 8 + 1
    return encode(tag, value.to_bytes(size, "big", signed=True))


def elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element in a row."""
    position = 0
    while position < len(data):
        if position + 2 > len(data):
            raise RemoteProtocolError("a BER element is cut short")
        tag, size = data[position], data[position + 1]
        position += 2
        if size >= 0x80:
            width = size & 0x7F
            if not 1 <= width <= 4 or position + width > len(data):
                raise RemoteProtocolError("a BER length makes no sense")
            size = int.from_bytes(data[position : position + width], "big")
            position += width
        if position + size > len(data):
            raise RemoteProtocolError("a BER element is cut short")
        yield tag, data[position : position + size]
        position += size


def inside(data: bytes, tag: int = SEQUENCE) -> list[tuple[int, bytes]]:
    """The elements in the one constructed element that `data` is."""
    found = list(elements(data))
    if len(found) != 1 or found[0][0] != tag:
        raise RemoteProtocolError("a BER value is not what it should be")
    return list(elements(found[0][1]))


def number(content: bytes) -> int:
    """The content of an INTEGER, ENUMERATED or BOOLEAN."""
    return int.from_bytes(content, "big", signed=True)
