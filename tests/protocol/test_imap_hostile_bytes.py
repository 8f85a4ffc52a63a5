"""What must never come out of a server, fed to the parser: RemoteProtocolError and nothing else, in bounded memory."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailferry.errors import RemoteProtocolError
from mailferry.wire.imap import parser as parsing
from mailferry.wire.imap.events import LiteralChunk
from mailferry.wire.imap.parser import Parser

HELLO = b"* OK ready\r\n"

BROKEN = {
    "literal-2^63": b"* 1 FETCH (UID 1 BODY[] {9223372036854775808}\r\n",
    "literal-5000-digits": b"* 1 FETCH (UID 1 BODY[] {" + b"9" * 5000 + b"}\r\n",
    "literal-in-list": b"* LIST () NIL {99999999}\r\n",
    "deep": b"* 1 FETCH " + b"(" * 10_000 + b"\r\n",
    "deep-closed": b"* X " + b"(" * 10_000 + b")" * 10_000 + b"\r\n",
    "unbalanced": b'* LIST (\\Sent "/" x\r\n',
    "unbalanced-right": b'* LIST ()) "/" x\r\n',
    "unterminated": b'* LIST () "/" "x\r\n',
    "garbage": b"\x00\x01\x02\x03garbage\xff\r\n",
    "not-a-number": b"* 1 FETCH (UID x)\r\n",
    "number-20-digits": b"* 1 FETCH (UID 99999999999999999999)\r\n",
    "number-5000-digits": b"* " + b"1" * 5000 + b" EXISTS\r\n",
    "odd-fetch": b"* 1 FETCH (UID)\r\n",
    "no-list": b"* 1 FETCH UID 5\r\n",
    "list-in-string": b'* LIST () ("/") x\r\n',
    "short-list": b"* LIST\r\n",
    "status-without": b"* STATUS x\r\n",
    "status-odd": b"* STATUS x (MESSAGES)\r\n",
    "search-words": b"* SEARCH one two\r\n",
    "namespace-words": b"* NAMESPACE a b c\r\n",
    "vanished-star": b"* VANISHED *\r\n",
    "vanished-nothing": b"* VANISHED\r\n",
    "quota-odd": b"* QUOTA x (STORAGE 1)\r\n",
    "id-atom": b"* ID name\r\n",
    "esearch-odd": b"* ESEARCH ALL\r\n",
    "empty-response": b"* \r\n",
    "second-star": b"* (a)\r\n",
    "appenduid": b"a OK [APPENDUID x y] done\r\n",
    "literal-after-literal": b"* 1 FETCH (BODY[] {1}\r\nx{3}\r\nabcY\r\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_it_is_a_protocol_error_and_stays_one(name: str) -> None:
    for pieces in ([BROKEN[name]], [bytes([byte]) for byte in BROKEN[name]]):
        parser = Parser()
        parser.feed(HELLO)
        assert len(list(parser.events())) == 1
        with pytest.raises(RemoteProtocolError):
            for piece in pieces:
                parser.feed(piece)
                list(parser.events())
        parser.feed(b"* 1 EXISTS\r\n")
        with pytest.raises(RemoteProtocolError):
            list(parser.events())


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"220 mail.example.org ESMTP Postfix\r\n", "an SMTP server"),
        (b"220-mail.example.org ESMTP\r\n", "an SMTP server"),
        (b"554 no\r\n", "an SMTP server"),
        (b"220 ProFTPD FTP Server\r\n", "an FTP server"),
        (b"+OK POP3 ready\r\n", "a POP3 server"),
        (b"HTTP/1.1 400 Bad Request\r\n", "a web server"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "an SSH server"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "speaks TLS"),
        (b"* LIST () NIL x\r\n", "does not speak IMAP"),
        (b"* NO\r\n", "does not speak IMAP"),
        (b"\x00" * 20, "does not speak IMAP"),
        (b"* OK " + b"x" * 2000, "does not speak IMAP"),
    ],
)
def test_another_protocol_is_named(raw: bytes, words: str) -> None:
    parser = Parser()
    parser.feed(raw)
    with pytest.raises(RemoteProtocolError, match=words):
        list(parser.events())


def test_an_endless_line_is_refused_before_it_fills_the_memory() -> None:
    parser = Parser()
    parser.feed(HELLO)
    list(parser.events())
    with pytest.raises(RemoteProtocolError, match="a line of more than"):
        for _ in range(parsing.MAX_LINE // 65536 + 2):
            parser.feed(b"x" * 65536)
            list(parser.events())


def test_an_endless_response_is_refused_before_it_fills_the_memory() -> None:
    parser = Parser()
    parser.feed(HELLO + b"* LIST (")
    literal = b" {65536}\r\n" + b"x" * 65536
    with pytest.raises(RemoteProtocolError, match="one response of more than"):
        for _ in range(parsing.MAX_RESPONSE // 65536 + 2):
            parser.feed(literal)
            list(parser.events())


def test_a_large_message_needs_little_memory() -> None:
    size = 64 * 1024 * 1024
    piece = b"x" * 65536
    parser = Parser()
    parser.feed(HELLO + b"* 1 FETCH (UID 1 BODY[] {%d}\r\n" % size)
    got = 0
    tracemalloc.start()
    try:
        for _ in range(size // len(piece)):
            parser.feed(piece)
            got += sum(len(event.data) for event in parser.events() if isinstance(event, LiteralChunk))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert got == size
    assert peak < 1024 * 1024


ATOMS = st.sampled_from(
    [
        *(
            b"* ",
            b"* 1 FETCH (",
            b"UID ",
            b"1",
            b"18446744073709551616",
            b"FLAGS (",
            b"BODY[] ",
            b"{3}\r\nabc",
            b"{300}",
        ),
        *(b"~{2}\r\n\0\0", b"(", b")", b'"', b"\\", b"\r\n", b"\n", b"NIL ", b"LIST () NIL ", b"STATUS x (", b"* OK ["),
        *(b"SEARCH ", b'ESEARCH (TAG "a") ', b"VANISHED ", b"1:*", b"1:4294967295", b"NAMESPACE ", b"ID (", b"a OK "),
        *(
            b"[APPENDUID 1 ",
            b"] ",
            b"+ ",
            b"* BYE ",
            b"METADATA x (",
            b"QUOTA x (",
            b"ACL x ",
            b"\xff",
            b"\0",
            b"BODY[",
        ),
        *(b'INTERNALDATE "17-Jul-1996 02:44:25 -0700" ', b"MODSEQ (", b"RFC822.SIZE ", b"HEADER] ", b"ANNOTATION "),
    ]
)


@settings(max_examples=1500, deadline=None)
@given(st.lists(st.one_of(ATOMS, st.binary(max_size=8)), max_size=30), st.integers(1, 40))
def test_anything_gives_events_or_a_protocol_error_however_it_is_cut(parts: list[bytes], step: int) -> None:
    raw = HELLO + b"".join(parts)
    outcomes = []
    for size in (len(raw), step):
        parser = Parser(inline=64)
        found: list[object] = []
        failed = False
        try:
            for start in range(0, len(raw), size):
                parser.feed(raw[start : start + size])
                found += [event for event in parser.events() if not isinstance(event, LiteralChunk)]
        except RemoteProtocolError:
            failed = True
        outcomes.append((found if not failed else None, failed))
    assert outcomes[0] == outcomes[1]
