"""Splits one complete response into values: atoms, strings, numbers as bytes, lists as lists. Knows no response.

A response is a list of pieces: lines and, between them, literals (`Literal`). Invariant: anything in gives values or
RemoteProtocolError; no recursion, so depth costs no stack.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from mailferry.errors import RemoteProtocolError
from mailferry.wire.imap.events import Streamed

MAX_DEPTH = 64

Value = Any
"""bytes (atom, number or string), Streamed, None (the atom NIL), or a list of values."""


class Literal(NamedTuple):
    """The value of a literal, kept apart from line text."""

    value: bytes | Streamed


_TOKEN = re.compile(
    rb"""[ ]*(?:
      (?P<punctuation>[()])
    | "(?P<quoted>(?:[^"\\]++|\\.)*+)"
    | (?P<section>(?:BODY|BINARY)(?:\.SIZE)?\[[^\]]*+\](?:<\d+>)?)
    | (?P<atom>[^ ()"]++)
    )""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_LITERAL_MARK = re.compile(rb"~?\{\d+\+?\}$")


def split(pieces: list[bytes | Literal]) -> list[Value]:
    """The values of one response. Raises RemoteProtocolError for unbalanced, too deep or unreadable text."""
    current: list[Value] = []
    stack: list[list[Value]] = []
    for number, piece in enumerate(pieces):
        if isinstance(piece, Literal):
            current.append(piece.value)
            continue
        line = piece
        if number + 1 < len(pieces):
            line = _LITERAL_MARK.sub(b"", line)
        position, end = 0, len(line.rstrip(b" "))
        while position < end:
            match = _TOKEN.match(line, position)
            if match is None:
                raise RemoteProtocolError("the server sent a response that cannot be read")
            position = match.end()
            kind = match.lastgroup
            if kind == "atom" or kind == "section":
                atom = match[kind]
                current.append(None if atom.upper() == b"NIL" else atom)
            elif kind == "quoted":
                text = match["quoted"]
                current.append(_ESCAPED.sub(rb"\1", text) if b"\\" in text else text)
            elif match["punctuation"] == b"(":
                if len(stack) >= MAX_DEPTH:
                    raise RemoteProtocolError("the server sent a response nested too deeply")
                stack.append(current)
                current = []
            else:
                if not stack:
                    raise RemoteProtocolError("the server sent a response with unbalanced parentheses")
                stack[-1].append(current)
                current = stack.pop()
    if stack:
        raise RemoteProtocolError("the server sent a response with unbalanced parentheses")
    return current
