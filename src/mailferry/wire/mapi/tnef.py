"""winmail.dat: what Outlook wraps its messages in for the way through SMTP ([MS-OXTNEF]), as an item to rebuild from.

Reads attributes and MAPI properties; attached messages are TNEF in TNEF. Invariant: time and memory grow with the
length only; a stream that makes no sense is an ItemError, never anything else.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mailferry.errors import ItemError
from mailferry.wire.mapi import tags
from mailferry.wire.mapi.values import Type, Value, decode

MOST = 64 << 20
"""Bytes of a stream; it is taken whole."""

_SIGNATURE = 0x223E9F78
_MESSAGE, _ATTACHMENT = 1, 2
_PROPERTIES, _RECIPIENTS, _CODEPAGE = 0x00069003, 0x00069004, 0x00069007
_SUBJECT, _BODY = 0x00018004, 0x0002800C
_BEGIN, _DATA, _TITLE, _MORE = 0x00069002, 0x0006800F, 0x00018010, 0x00069005
_STRINGS = (Type.STRING, Type.STRING8, Type.BINARY, Type.OBJECT)
_ID, _NAMED = 0, 0x8000
_DEEPEST = 16

Name = tuple[bytes, str | int]


class TnefBag:
    """MAPI properties of one thing."""

    def __init__(self, values: Mapping[int, Value]) -> None:
        self._values = values

    def get(self, tag: int) -> Value | None:
        return self._values.get(tag)

    def chunks(self, tag: int) -> Iterator[bytes]:
        value = self._values.get(tag)
        if isinstance(value, bytes):
            yield value
        elif isinstance(value, str):
            yield value.encode("utf-16-le", "replace")


@dataclass(frozen=True, slots=True)
class TnefAttachment:
    """One attachment; the face of `mapi.item.Attachment`."""

    properties: TnefBag
    key: bytes
    depth: int

    def message(self) -> TnefItem | None:
        data = self.properties.get(tags.ATTACH_DATA)
        if not isinstance(data, bytes):
            return None
        return read(data[16:], self.key, self.depth + 1)  # behind the interface's id (§2.1.3.4.1)

    def object_chunks(self) -> Iterator[bytes]:
        for piece in self.properties.chunks(tags.ATTACH_DATA):
            yield piece[16:]


@dataclass(frozen=True, slots=True)
class TnefItem:
    """The message in a stream; the face of `mapi.item.Item`."""

    properties: TnefBag
    key: bytes
    names: Mapping[Name, int]
    people: Sequence[TnefBag]
    files: Sequence[TnefAttachment]

    def tag(self, space: bytes, name: str | int) -> int | None:
        return self.names.get((space, name))

    @property
    def categories(self) -> Sequence[str]:
        tag = self.tag(tags.PUBLIC_STRINGS, tags.KEYWORDS)
        value = self.properties.get(tag) if tag is not None else None
        return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []

    def recipients(self) -> Iterator[TnefBag]:
        return iter(self.people)

    def attachments(self) -> Iterator[TnefAttachment]:
        return iter(self.files)


def read(data: bytes, key: bytes, depth: int = 0) -> TnefItem:
    """The message in a stream. `key`: what tells it from others. ItemError for what is no TNEF, or broken."""
    if len(data) < 6 or struct.unpack_from("<I", data)[0] != _SIGNATURE or depth > _DEEPEST:
        raise ItemError("winmail.dat is none")
    try:
        return _read(data, key, depth)
    except (struct.error, IndexError):
        raise ItemError("winmail.dat breaks off, or makes no sense") from None


def _read(data: bytes, key: bytes, depth: int) -> TnefItem:
    values: dict[int, Value] = {}
    names: dict[Name, int] = {}
    people: list[TnefBag] = []
    files: list[dict[int, Value]] = []
    codepage: int | None = None
    for level, attribute, content in _attributes(data):
        if attribute == _CODEPAGE:
            codepage = struct.unpack_from("<I", content)[0]
        elif attribute == _PROPERTIES:
            values |= _Properties(content, names, codepage).all()
        elif attribute == _RECIPIENTS:
            rows = _Properties(content, names, codepage)
            people = [TnefBag(rows.all()) for _ in range(min(rows.number(), 100_000))]
        elif attribute in (_SUBJECT, _BODY):
            tag = tags.SUBJECT if attribute == _SUBJECT else tags.BODY
            values.setdefault(tag, decode(Type.STRING8, content, codepage))
        elif level == _ATTACHMENT:
            if attribute == _BEGIN:
                files.append({tags.ATTACH_METHOD: 1})
            if files:
                _attached(files[-1], attribute, content, names, codepage)
    marks = [hashlib.sha256(key + struct.pack("<I", number)).digest() for number in range(len(files))]
    attachments = [TnefAttachment(TnefBag(one), mark, depth) for one, mark in zip(files, marks, strict=True)]
    return TnefItem(TnefBag(values), hashlib.sha256(key + b"tnef").digest(), names, people, attachments)


def _attached(
    found: dict[int, Value], attribute: int, content: bytes, names: dict[Name, int], codepage: int | None
) -> None:
    if attribute == _TITLE:
        found.setdefault(tags.ATTACH_LONG_FILENAME, decode(Type.STRING8, content, codepage))
    elif attribute == _DATA:
        found[tags.ATTACH_DATA] = content
    elif attribute == _MORE:
        found |= _Properties(content, names, codepage).all()


def _attributes(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Level, id and bytes of each attribute (§2.1.1)."""
    at = 6
    while at < len(data):
        level, attribute, size = struct.unpack_from("<BII", data, at)
        at += 9
        if level not in (_MESSAGE, _ATTACHMENT) or at + size + 2 > len(data):
            raise ItemError("winmail.dat breaks off")
        content = data[at : at + size]
        if sum(content) & 0xFFFF != struct.unpack_from("<H", data, at + size)[0]:
            raise ItemError("winmail.dat has a wrong checksum")
        yield level, attribute, content
        at += size + 2


class _Properties:
    """MAPI properties one after the other (§2.1.3.4). `names`: grows by the named ones, which get tags of our own."""

    def __init__(self, data: bytes, names: dict[Name, int], codepage: int | None) -> None:
        self.data, self.at, self.names, self.codepage = data, 0, names, codepage

    def number(self) -> int:
        (found,) = struct.unpack_from("<I", self.data, self.at)
        self.at += 4
        return int(found)

    def bytes(self, size: int, padded: int = 4) -> bytes:
        if self.at + size > len(self.data):
            raise ItemError("winmail.dat breaks off")
        found = self.data[self.at : self.at + size]
        self.at += -(-size // padded) * padded
        return found

    def all(self) -> dict[int, Value]:
        found: dict[int, Value] = {}
        for _ in range(self.number()):
            kind, tag = struct.unpack_from("<HH", self.data, self.at)
            self.at += 4
            if tag >= _NAMED:
                tag = self._named()
            found[tag] = self._value(kind)
        return found

    def _named(self) -> int:
        space, kind = self.bytes(16), self.number()
        number = self.number()
        name: str | int = number
        if kind != _ID:
            name = self.bytes(number).decode("utf-16-le", "replace").rstrip("\0")
        return self.names.setdefault((space, name), _NAMED + len(self.names))

    def _value(self, kind: int) -> Value:
        base = kind & ~Type.MULTIPLE
        several = bool(kind & Type.MULTIPLE)
        count = self.number() if several or base in _STRINGS else 1
        if count > len(self.data):
            raise ItemError("winmail.dat breaks off")
        values = [self._one(base) for _ in range(count)]
        return values if several else values[0]

    def _one(self, base: int) -> Value:
        width = Type.width(base)
        if base not in _STRINGS and width is None:
            raise ItemError(f"winmail.dat has a property of the unknown type {base:#x}")
        return decode(base, self.bytes(self.number() if width is None else width), self.codepage)
