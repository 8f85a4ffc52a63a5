"""ManageSieve's words (RFC 5804): answers of a server as lines of words, commands as bytes. Sans-IO: opens nothing.

Invariant: whatever a server sends, at most `MOST_LINE` bytes of a line and `MOST_LITERAL` of a literal are kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mailferry.errors import RemoteProtocolError

MOST_LINE = 64 * 1024
MOST_LITERAL = 16 << 20
MOST_LINES = 10_000
"""Of one answer: nobody has that many scripts."""

Word = str | bytes
"""An atom or parenthesis (str), or a string (bytes)."""
Line = tuple[Word, ...]

_WORD = re.compile(
    rb'(?P<blank> +)|"(?P<quoted>(?:[^"\\\r\n]|\\[^\r\n])*)"|\{(?P<size>\d{1,10})\+?\}\r\n'
    rb"|(?P<paren>[()])|(?P<atom>[^\s\"(){}]+)"
)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_PLAIN = re.compile(rb"[^\0\r\n\"\\\x80-\xff]{0,1000}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said to one command. `status`: OK, NO or BYE. `code`: in capitals, such as QUOTA/MAXSIZE; "" if
    none. `lines`: what came before it."""

    status: str
    code: str = ""
    text: str = ""
    lines: tuple[Line, ...] = ()


class Parser:
    """Bytes in, lines out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> bool:
        """Whether part of a line is there."""
        return bool(self._buffer)

    def feed(self, data: bytes | memoryview) -> list[Line]:
        """The lines that are whole now. RemoteProtocolError: this is not ManageSieve, or too much of it."""
        self._buffer += data
        lines = []
        while self._buffer:
            line, end = _line(self._buffer)
            if line is None:
                break
            lines.append(line)
            del self._buffer[:end]
        return lines


def _line(buffer: bytearray) -> tuple[Line | None, int]:
    """The first line and where it ends; None while it is not whole."""
    words: list[Word] = []
    at = literals = 0
    while at < len(buffer) and at - literals <= MOST_LINE:
        if buffer[at : at + 2] == b"\r\n":
            return tuple(words), at + 2
        found = _WORD.match(buffer, at)
        if found is None:
            rest = buffer[at : at + MOST_LINE + 1]
            if rest == b"\r" or (rest.startswith((b'"', b"{")) and b"\n" not in rest and len(rest) <= MOST_LINE):
                return None, 0
            raise RemoteProtocolError("the server does not speak ManageSieve, or sends a line without an end")
        at = found.end()
        if found["size"] is not None:
            size = int(found["size"])
            if size > MOST_LITERAL:
                raise RemoteProtocolError(f"the server announced {size} bytes")
            words.append(bytes(buffer[at : at + size]))
            at += size
            literals += size
        elif found["quoted"] is not None:
            words.append(_ESCAPED.sub(rb"\1", found["quoted"]))
        elif found["blank"] is None:
            words.append(found[0].decode("ascii", "replace"))
    if at - literals > MOST_LINE:
        raise RemoteProtocolError(f"the server sent a line of more than {MOST_LINE >> 10} KiB")
    return None, 0


def answer(line: Line, before: Sequence[Line]) -> Answer | None:
    """The answer that ends with this line, None if it is not its last (RFC 5804 §1.3)."""
    status = line[0].upper() if line and isinstance(line[0], str) else ""
    if status not in ("OK", "NO", "BYE"):
        return None
    code, text = "", ""
    rest = line[1:]
    if rest[:1] == ("(",):
        code = rest[1].upper() if len(rest) > 1 and isinstance(rest[1], str) else ""
        rest = rest[rest.index(")") + 1 :] if ")" in rest else ()
    if rest and isinstance(rest[0], bytes):
        text = rest[0].decode("utf-8", "replace")
    return Answer(status, code, text, tuple(before))


def command(name: str, *arguments: str | bytes | int) -> bytes:
    """One command. Texts become strings; a number stands as it is."""
    words = [name.encode("ascii")]
    for one in arguments:
        words.append(str(one).encode() if isinstance(one, int) else string(one))
    return b" ".join(words) + b"\r\n"


def string(value: str | bytes) -> bytes:
    """Quoted where it may be, else a literal, which a client never waits after (RFC 5804 §4: non-synchronizing)."""
    content = value.encode() if isinstance(value, str) else value
    if _PLAIN.fullmatch(content):
        return b'"' + content + b'"'
    return b"{%d+}\r\n%s" % (len(content), content)
