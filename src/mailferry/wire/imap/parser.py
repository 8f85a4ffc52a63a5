"""The server's bytes to events (h11's way): `feed(data)`, then iterate `events()` until it has no more. No I/O.

Memory stays flat: a literal beyond INLINE bytes comes as LiteralStart, LiteralChunk…, LiteralEnd *before* the Fetch
that it belongs to (whose field then holds `Streamed`); everything else is bounded by MAX_LINE and MAX_RESPONSE.
Invariant: how the bytes are cut changes nothing but the cuts of LiteralChunk, and whatever comes in, out come only
events or RemoteProtocolError; after an error the parser stays failed.

Two paths: `_FETCH` reads the usual FETCH in one match (the hot path: one per message), `tokens.py` all the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mailferry.errors import RemoteProtocolError
from mailferry.wire.imap import dates, flags, tokens
from mailferry.wire.imap.events import (
    Bye,
    Continuation,
    Event,
    Fetch,
    Greeting,
    LiteralChunk,
    LiteralEnd,
    LiteralStart,
    Notice,
    Streamed,
    Tagged,
)
from mailferry.wire.imap.responses import interpret, resp_text
from mailferry.wire.imap.tokens import Literal

INLINE = 256 * 1024
MAX_LINE = 8 * 1024 * 1024
MAX_RESPONSE = 16 * 1024 * 1024
MAX_LITERAL = (1 << 32) - 1
MAX_STREAMED = 16

_FETCH = re.compile(
    rb"\* (\d{1,10}) FETCH \("
    rb"(?:UID (\d{1,10}))?"
    rb'(?: ?FLAGS \(([^(){}"\r\n]*)\))?'
    rb'(?: ?INTERNALDATE "([^"\r\n]{26})")?'
    rb"(?: ?RFC822\.SIZE (\d{1,18}))?"
    rb"(?: ?MODSEQ \((\d{1,18})\))?"
    rb"(?: ?(BODY\[\]|BODY\[HEADER\]) \{(\d{1,10})\}|\))\r\n"
)
_LITERAL = re.compile(rb"~?\{(\d+)\+?\}$")
_STATUS = re.compile(rb"(OK|NO|BAD|BYE|PREAUTH)(?: (.*))?", re.IGNORECASE | re.DOTALL)
_TAGGED = re.compile(rb"([^\s*+(){}\"\\]+) (OK|NO|BAD)(?: (.*))?", re.IGNORECASE | re.DOTALL)
_FIRST_LINE = 1024


class Parser:
    """One connection's reader. `events()` may be left and started again at any point."""

    def __init__(self, inline: int = INLINE) -> None:
        self._inline = inline
        self._buffer = bytearray()
        self._position = 0  # all before is consumed
        self._scan = 0  # no line end before
        self._need = 0  # not worth looking before the buffer is this long
        self._greeted = False
        self._pieces: list[bytes | Literal] = []
        self._kept = 0  # bytes in _pieces
        self._literal = -1  # bytes of the literal being read that are still to come, or -1
        self._streaming = False
        self._streamed = 0  # literals of this response that were streamed
        self._started = False
        self._failure: RemoteProtocolError | None = None

    @property
    def pending(self) -> int:
        """Bytes fed and not yet turned into events."""
        return len(self._buffer) - self._position

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        self._buffer += data

    def events(self) -> Iterator[Event]:
        """All events that the bytes so far complete. Raises RemoteProtocolError, and then always."""
        if self._failure is not None:
            raise self._failure
        try:
            yield from self._events()
        except RemoteProtocolError as error:
            self._failure = error
            raise

    def _events(self) -> Iterator[Event]:
        buffer = self._buffer
        while True:
            if self._literal >= 0:
                event = self._read_literal()
                if event is None:
                    break
                if event is not _KEPT:
                    yield event
                continue
            if len(buffer) < self._need:
                break
            end = buffer.find(b"\n", max(self._scan, self._position))
            if end < 0:
                self._scan = len(buffer)
                self._check_line(len(buffer))
                break
            if not self._pieces and self._greeted:
                match = _FETCH.match(buffer, self._position)
                if match is not None:
                    seq, uid, flag_words, date, size, modseq, section, length = match.groups()
                    body = header = None
                    if length is None:
                        self._position = match.end()
                    else:
                        start = match.end()
                        stop = start + int(length)
                        if stop - start > self._inline:
                            match = None
                        elif len(buffer) < stop + 3:
                            self._need = stop + 3
                            break
                        elif buffer[stop : stop + 3] != b")\r\n":
                            match = None
                        else:
                            if section == b"BODY[]":
                                body = bytes(memoryview(buffer)[start:stop])
                            else:
                                header = bytes(memoryview(buffer)[start:stop])
                            self._position = stop + 3
                    if match is not None:
                        self._need = 0
                        bits, keywords = (None, ()) if flag_words is None else flags.parse(flag_words)
                        yield Fetch(
                            int(seq),
                            None if uid is None else int(uid),
                            bits,
                            keywords,
                            None if date is None else dates.parse(date),
                            None if size is None else int(size),
                            None if modseq is None else int(modseq),
                            body,
                            header,
                        )
                        continue
            self._need = 0
            self._check_line(end)
            stop = end - 1 if end > self._position and buffer[end - 1] == 13 else end
            line = bytes(buffer[self._position : stop])
            self._position = end + 1
            event = self._line(line)
            if event is not None:
                yield event
        if self._position:
            del buffer[: self._position]
            self._scan = max(0, self._scan - self._position)
            self._need = max(0, self._need - self._position)
            self._position = 0

    def _check_line(self, end: int) -> None:
        limit = MAX_LINE if self._greeted else _FIRST_LINE
        if end - self._position > limit:
            if not self._greeted:
                raise not_imap(bytes(self._buffer[self._position : self._position + 80]))
            raise RemoteProtocolError(f"the server sent a line of more than {MAX_LINE} bytes")
        if not self._greeted and self._buffer and self._buffer[self._position] != 42:
            first = bytes(self._buffer[self._position : self._position + 80])
            if len(first) > 8 or first[0] in b"\x15\x16":
                raise not_imap(first)

    def _line(self, line: bytes) -> Event | None:
        """One line that has come whole: an event, or None if a literal follows or the line was empty."""
        if not self._pieces:
            status = self._status(line)
            if status is not None:
                return status
            if not line:
                return None  # stray empty lines follow literals of careless servers
            if not line.startswith(b"* "):
                raise RemoteProtocolError("the server sent a line that is no IMAP response")
            line = line[2:]
        mark = _LITERAL.search(line)
        if mark is not None:
            self._begin_literal(line, mark[1])
            return None
        self._keep(line)
        pieces, self._pieces, self._kept, self._streamed = self._pieces, [], 0, 0
        return interpret(tokens.split(pieces))

    def _status(self, line: bytes) -> Event | None:
        """Greeting, status and continuation lines, whose text is free and holds no literal."""
        if not self._greeted:
            match = _STATUS.fullmatch(line, 2) if line.startswith(b"* ") else None
            if match is None or match[1].upper() not in (b"OK", b"PREAUTH", b"BYE"):
                raise not_imap(line)
            self._greeted = True
            return Greeting(match[1].decode().upper(), *resp_text(match[2] or b""))
        if line.startswith(b"* "):
            match = _STATUS.fullmatch(line, 2)
            if match is None:
                return None
            code, text = resp_text(match[2] or b"")
            status = match[1].decode().upper()
            return Bye(code, text) if status == "BYE" else Notice(status, code, text)
        if line.startswith(b"+"):
            return Continuation(line[2:] if line[1:2] == b" " else line[1:])
        match = _TAGGED.fullmatch(line)
        if match is None:
            return None
        return Tagged(match[1], match[2].decode().upper(), *resp_text(match[3] or b""))

    def _keep(self, piece: bytes | Literal) -> None:
        value = piece.value if isinstance(piece, Literal) else piece
        self._kept += 64 + (len(value) if isinstance(value, bytes) else 0)
        if self._kept > MAX_RESPONSE:
            raise RemoteProtocolError(f"the server sent one response of more than {MAX_RESPONSE} bytes")
        self._pieces.append(piece)

    def _begin_literal(self, line: bytes, digits: bytes) -> None:
        size = int(digits) if len(digits) < 20 else MAX_LITERAL + 1
        if size > MAX_LITERAL:
            raise RemoteProtocolError(f"the server announced a literal of more than {MAX_LITERAL} bytes")
        self._keep(line)
        self._literal = size
        if size > self._inline:
            words = self._pieces[0].split(b" ", 2) if isinstance(self._pieces[0], bytes) else []
            if len(words) > 1 and words[1].upper() == b"FETCH" and self._streamed < MAX_STREAMED:
                self._streaming = True
                self._pieces.append(Literal(Streamed(self._streamed, size)))
                self._streamed += 1
            elif size > MAX_RESPONSE:
                raise RemoteProtocolError(f"the server announced a literal of {size} bytes where none that large fits")
        self._started = False

    def _read_literal(self) -> Event | None:
        """The next event of the literal being read; _KEPT if it went into the response; None if bytes lack."""
        have = len(self._buffer) - self._position
        if self._streaming:
            if not self._started:
                self._started = True
                return LiteralStart(self._literal)
            if self._literal == 0:
                self._streaming, self._literal = False, -1
                return LiteralEnd()
            if have == 0:
                return None
            taken = min(have, self._literal, self._inline)
            data = bytes(memoryview(self._buffer)[self._position : self._position + taken])
            self._position += taken
            self._literal -= taken
            return LiteralChunk(data)
        if have < self._literal:
            self._need = self._position + self._literal
            return None
        self._keep(Literal(bytes(memoryview(self._buffer)[self._position : self._position + self._literal])))
        self._position += self._literal
        self._literal = -1
        self._need = 0
        return _KEPT


_KEPT = LiteralEnd()


def not_imap(first: bytes) -> RemoteProtocolError:
    """What else may answer on that port, by its first bytes."""
    text = first.lstrip()
    if text[:1] in (b"\x15", b"\x16") and text[1:2] == b"\x03":
        return RemoteProtocolError("the server speaks TLS on this port", advice="use imaps:// for this port")
    if text[:3] in (b"220", b"554", b"421"):
        kind = "an FTP server" if b"FTP" in text.upper() and b"SMTP" not in text.upper() else "an SMTP server"
        advice = "IMAP is usually on port 993 (TLS) or 143"
        return RemoteProtocolError(f"this is {kind}, not an IMAP server", advice=advice)
    for start, kind in ((b"+OK", "a POP3 server"), (b"HTTP/", "a web server"), (b"SSH-", "an SSH server")):
        if text.startswith(start):
            return RemoteProtocolError(
                f"this is {kind}, not an IMAP server", advice="IMAP is usually on port 993 (TLS) or 143"
            )
    return RemoteProtocolError("the server does not speak IMAP: it sent something else in place of a greeting")
