"""MAPI property values from their stored bytes ([MS-OXCDATA] §2.11). Knows no property's meaning."""

from __future__ import annotations

import codecs
import struct
from functools import cache
from itertools import pairwise

from mailferry.errors import ItemError

Value = int | float | bool | str | bytes | list["Value"]
"""Times are FILETIME ints (`epoch` converts); GUIDs 16 bytes as stored."""


class Type:
    """Property types (§2.11.1)."""

    SHORT, LONG, FLOAT, DOUBLE, CURRENCY, APPTIME = 0x0002, 0x0003, 0x0004, 0x0005, 0x0006, 0x0007
    ERROR, BOOLEAN, OBJECT, LONGLONG = 0x000A, 0x000B, 0x000D, 0x0014
    STRING8, STRING, TIME, GUID, BINARY = 0x001E, 0x001F, 0x0040, 0x0048, 0x0102
    MULTIPLE = 0x1000

    @staticmethod
    def width(kind: int) -> int | None:
        """Bytes of a value of this type; None where they vary."""
        return _WIDTHS.get(kind)


_FORMS = {
    Type.SHORT: "<h",
    Type.LONG: "<i",
    Type.FLOAT: "<f",
    Type.DOUBLE: "<d",
    Type.CURRENCY: "<q",
    Type.APPTIME: "<d",
    Type.ERROR: "<I",
    Type.BOOLEAN: "<?",
    Type.LONGLONG: "<q",
    Type.TIME: "<q",
}
_WIDTHS = {kind: struct.calcsize(form) for kind, form in _FORMS.items()} | {Type.GUID: 16}


def _malformed(kind: int) -> ItemError:
    return ItemError(f"a property of type {kind:#06x} is not what it says")


def decode(kind: int, data: bytes, codepage: int | None) -> Value:
    """A value of this type. `codepage`: of 8-bit texts. Texts are decoded with replacement; bytes too few for a number
    are an ItemError."""
    form = _FORMS.get(kind)
    if form is not None:
        if len(data) < _WIDTHS[kind]:
            raise _malformed(kind)
        number: int | float | bool = struct.unpack_from(form, data)[0]
        return number
    if kind == Type.STRING:
        return data.decode("utf-16-le", "replace").rstrip("\0")
    if kind == Type.STRING8:
        return text_of(data, codepage).rstrip("\0")
    if kind & Type.MULTIPLE and kind != Type.MULTIPLE:
        return _several(kind & ~Type.MULTIPLE, data, codepage)
    return data


def _several(kind: int, data: bytes, codepage: int | None) -> list[Value]:
    """A multivalued property as PST files store it ([MS-PST] §2.3.3.4)."""
    width = Type.width(kind)
    if width is not None:
        return [decode(kind, data[at : at + width], codepage) for at in range(0, len(data) - width + 1, width)]
    if len(data) < 4:
        return []
    count: int = struct.unpack_from("<I", data)[0]
    if 4 + 4 * count > len(data):
        raise _malformed(kind)
    starts = [*struct.unpack_from(f"<{count}I", data, 4), len(data)]
    if any(start > end for start, end in pairwise(starts)):
        raise _malformed(kind)
    return [decode(kind, data[start:end], codepage) for start, end in pairwise(starts)]


def text_of(data: bytes, codepage: int | None) -> str:
    """8-bit text of a Windows code page; what cannot be decoded is replaced."""
    return data.decode(codec(codepage), "replace")


_CODECS = {
    10000: "mac-roman",
    20127: "cp1252",  # ASCII: what is beyond it is Windows's in practice
    20866: "koi8-r",
    20932: "euc-jp",
    20936: "gb2312",
    21866: "koi8-u",
    28591: "cp1252",
    38598: "iso-8859-8",
    50220: "iso-2022-jp",
    50221: "iso-2022-jp",
    50222: "iso-2022-jp",
    50225: "iso-2022-kr",
    51932: "euc-jp",
    51936: "gb2312",
    51949: "euc-kr",
    52936: "hz",
    54936: "gb18030",
    65000: "utf-7",
    65001: "utf-8",
    1200: "utf-16-le",
    1201: "utf-16-be",
    936: "gb18030",
} | {28590 + part: f"iso-8859-{part}" for part in range(2, 16) if part not in (12,)}


@cache
def codec(codepage: int | None) -> str:
    """Python's codec for a Windows code page; Western European for what is not known."""
    name = _CODECS.get(codepage or 1252, f"cp{codepage}")
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "cp1252"


_EPOCH = 116_444_736_000_000_000


def epoch(filetime: int) -> int:
    """Seconds since 1970 of a FILETIME (100 ns since 1601)."""
    return (filetime - _EPOCH) // 10_000_000
