"""LDIF, both ways (RFC 2849): bytes in, records and faults out; attributes in, bytes out. Opens and decodes nothing.

What is wrong with a line becomes a `Fault` with its number, and reading goes on. Values that stand in other files
(`jpegPhoto:< file:///…`) are refused: an export must not make us read files. Entries (`changetype: add` too, as ldifde
writes them) and other change records are told apart by `Record.change`.
Invariant: `parse([HEADER, emit(dn, attributes)])` gives back `dn` and `attributes`, whatever bytes they hold; `parse`
raises nothing; memory holds one record.
"""

from __future__ import annotations

import binascii
import codecs
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mailferry.errors import LocalProtocolError

HEADER = b"version: 1\n\n"
WIDTH = 76
LIMIT = 32 * 1024 * 1024
"""Bytes of one line with its continuations; a longer one is a fault, and the rest of it is skipped."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:;[A-Za-z0-9=*_-]+)*")
_SAFE = re.compile(rb"(?![ :<])[\x20-\x7e]*(?<! )")
_MEANT = {len(name) for name in ("dn", "changetype", "control")}  # the names that mean something in a record
_TRAILER = {"search", "result", "matcheddn", "text"}  # what ldapsearch writes below the entries


@dataclass(frozen=True, slots=True)
class Value:
    """One line of a record: the attribute's name as written (with options), its bytes, its first line's number."""

    name: str
    data: bytes
    line: int


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `change`: None for an entry, else the changetype in lower case; the values of a modification are
    its lines as they come (`add`, `replace`, … and a value named `-`)."""

    dn: bytes
    line: int
    values: tuple[Value, ...]
    change: str | None = None

    @property
    def is_entry(self) -> bool:
        return self.change in (None, "add")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something unreadable. `lost`: what is not in the records because of it: "value", "record" or "" (nothing)."""

    line: int
    message: str
    text: str
    lost: str


def parse(chunks: Iterable[bytes]) -> Iterator[Record | Fault]:
    """Records and faults in the order of the file. `chunks`: its bytes, cut anywhere; UTF-16 with a byte order mark
    (ldifde -u) is read too."""
    reading = _Reading()
    for number, line in _unfolded(_lines(_utf8(chunks))):
        if isinstance(line, Fault):
            yield line
        else:
            yield from reading.line(number, line)
    yield from reading.end()


class _Reading:
    """The record being read. `dn` None: between records, or in one that is skipped."""

    def __init__(self) -> None:
        self.dn: bytes | None = None
        self.start = 0
        self.values: list[Value] = []
        self.change: str | None = None
        self.skipping = False
        self.first = True

    def line(self, number: int, line: bytes) -> Iterator[Record | Fault]:
        if not line.strip():
            yield from self.end()
            return
        if line == b"-" and self.dn is not None and self.change == "modify":
            self.values.append(Value("-", b"", number))
            return
        name, value = _split(number, line)
        if self.dn is not None and type(value) is bytes and len(name) not in _MEANT:
            self.values.append(Value(name, value, number))
            return
        lower = name.lower()
        if self.first and lower == "version":
            self.first = False
            if value != b"1":
                yield Fault(number, "this version of LDIF is not known; read as version 1", shown(line), "")
            return
        self.first = False
        if lower == "dn":
            if self.dn is not None or self.skipping:
                yield from self.end()
                yield Fault(number, "no blank line before this record", shown(line), "")
            if isinstance(value, Fault):
                self.skipping = True
                yield Fault(number, value.message, value.text, "record")
            else:
                self.dn, self.start = value, number
        elif self.skipping:
            return
        elif self.dn is None:
            self.skipping = True
            if lower not in _TRAILER:
                yield Fault(number, "this record does not begin with dn:", shown(line), "record")
        elif isinstance(value, Fault):
            yield value
        elif lower == "changetype" and not self.values:
            self.change = value.decode("ascii", "replace").strip().lower()
        elif lower != "control" or self.values:
            self.values.append(Value(name, value, number))

    def end(self) -> Iterator[Record]:
        if self.dn is not None:
            yield Record(self.dn, self.start, tuple(self.values), self.change)
        self.dn, self.values, self.change, self.skipping = None, [], None, False


@lru_cache(4096)
def _name(head: bytes) -> str:
    """What stands before the colon as an attribute's name; "" if it is none."""
    name = head.decode("latin-1").strip()
    return name if _NAME.fullmatch(name) else ""


def _split(number: int, line: bytes) -> tuple[str, bytes | Fault]:
    """`name: value` taken apart; the value decoded, or a Fault."""
    head, colon, rest = line.partition(b":")
    name = _name(head) if colon else ""
    if not name:
        return "", Fault(number, "not an attribute: a name and a colon are missing", shown(line), "value")
    if not rest.startswith((b":", b"<")):
        return name, rest.lstrip(b" ")
    if rest.startswith(b"<"):
        return name, Fault(number, "the value is in another file, which is not read", shown(line), "value")
    try:
        return name, binascii.a2b_base64(rest[1:].strip(b" "), strict_mode=True)
    except (binascii.Error, ValueError) as error:
        return name, Fault(number, f"bad base64: {error}", shown(line), "value")


def shown(data: bytes) -> str:
    """The beginning of bytes as text for a message."""
    text = data[:80].decode("utf-8", "replace")
    return text + "…" if len(data) > 80 else text


def _utf8(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes without a byte order mark; UTF-16 as UTF-8."""
    decoder: codecs.IncrementalDecoder | None = None
    head: bytes | None = b""
    for chunk in chunks:
        if head is not None:
            head += chunk
            if len(head) < 3:
                continue
            chunk, head = head, None
            for mark, name in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
                if chunk.startswith(mark):
                    decoder = codecs.getincrementaldecoder(name)("replace")
                    chunk = chunk[2:]
            chunk = chunk.removeprefix(codecs.BOM_UTF8)
        yield decoder.decode(chunk).encode("utf-8", "replace") if decoder is not None else chunk
    if head:
        yield head


def _lines(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """Lines without their ends, cut at LIMIT, and their true lengths."""
    rest: list[bytes] = []
    size = 0
    for chunk in chunks:
        *whole, last = chunk.split(b"\n")
        for line in whole:
            if size:
                size += len(line)
                line = b"".join([*rest, line])[:LIMIT]
                rest = []
                yield line.removesuffix(b"\r"), size
                size = 0
            else:
                yield line.removesuffix(b"\r"), len(line)
        if size <= LIMIT:
            rest.append(last)
        size += len(last)
    if size:
        yield b"".join(rest)[:LIMIT].removesuffix(b"\r"), size


def _unfolded(lines: Iterable[tuple[bytes, int]]) -> Iterator[tuple[int, bytes | Fault]]:
    """Logical lines with the number of their first physical one, comments left out, overlong ones as a Fault."""
    line, more = b"", [b""]
    start, size, number = 0, 0, 0
    for number, (following, length) in enumerate(lines, 1):
        if following.startswith(b" ") and line and start:
            size += length
            if size <= LIMIT:
                more.append(following[1:])
            continue
        if start and not line.startswith(b"#"):
            yield start, _joined(start, line, more, size)
        line, start, size = following, number, length
        if len(more) > 1:
            more = [b""]
    if start and not line.startswith(b"#"):
        yield start, _joined(start, line, more, size)


def _joined(start: int, line: bytes, more: list[bytes], size: int) -> bytes | Fault:
    if size > LIMIT:
        return Fault(start, f"longer than {LIMIT} bytes", shown(line), "value")
    if len(more) > 1:
        more[0] = line
        return b"".join(more)
    return line


def emit(dn: str, attributes: Mapping[str, Sequence[bytes]]) -> bytes:
    """One entry with the blank line behind it: base64 where RFC 2849 wants it or where a value does not print, lines
    folded at 76 columns. LocalProtocolError for a name that cannot be an attribute's."""
    lines = [_line("dn", dn.encode("utf-8", "surrogateescape"))]
    for name, values in attributes.items():
        if not _NAME.fullmatch(name):
            raise LocalProtocolError("not an attribute's name", about=repr(name))
        lines += [_line(name, value) for value in values]
    return b"".join(lines) + b"\n"


def emit_modification(dn: str, steps: Iterable[tuple[str, str, Sequence[bytes]]]) -> bytes:
    """One change record of `changetype: modify` with the blank line behind it. `steps`: (add, delete or replace; the
    attribute; values; none: the whole attribute). LocalProtocolError as `emit`."""
    lines = [_line("dn", dn.encode("utf-8", "surrogateescape")), b"changetype: modify\n"]
    for how, name, values in steps:
        if not _NAME.fullmatch(name):
            raise LocalProtocolError("not an attribute's name", about=repr(name))
        lines += [_line(how, name.encode("ascii")), *(_line(name, value) for value in values), b"-\n"]
    return b"".join(lines) + b"\n"


def _line(name: str, value: bytes) -> bytes:
    if _SAFE.fullmatch(value):
        line = name.encode("ascii") + b": " + value
    else:
        line = name.encode("ascii") + b":: " + binascii.b2a_base64(value, newline=False)
    folded = [line[:WIDTH], *(b" " + line[at : at + WIDTH - 1] for at in range(WIDTH, len(line), WIDTH - 1))]
    return b"\n".join(folded) + b"\n"
