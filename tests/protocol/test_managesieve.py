"""ManageSieve as a server may send it: whole, in pieces, too much, too little, and with TLS taken out."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailferry.errors import AuthError, MailferryError, RemoteProtocolError, Temporary
from mailferry.model.account import ImapAccount, Mechanism, Tls
from mailferry.net.managesieve import Scripts, Session, session
from mailferry.secret import Secret
from mailferry.wire.managesieve import MOST_LINE, Line, Parser, answer, command, string

CAPABILITIES = b'"IMPLEMENTATION" "Test"\r\n"SASL" "PLAIN XOAUTH2"\r\n"SIEVE" "fileinto include"\r\n"VERSION" "1.0"\r\n'
TLS_TOO = CAPABILITIES + b'"STARTTLS"\r\n'
OK = b"OK\r\n"
ANSWERS = (
    b'"SIEVE" "fileinto \\"x\\\\y\\""\r\nOK (TAG {3}\r\n"\r\n) "all \\"well\\""\r\n'
    b'{5}\r\nab\r\nc ACTIVE\r\n"plain"\r\n"" active\r\nNO (QUOTA/MAXSIZE) {4+}\r\nlong\r\n'
)
LINES: list[Line] = [
    (b"SIEVE", b'fileinto "x\\y"'),
    ("OK", "(", "TAG", b'"\r\n', ")", b'all "well"'),
    (b"ab\r\nc", "ACTIVE"),
    (b"plain",),
    (b"", "active"),
    ("NO", "(", "QUOTA/MAXSIZE", ")", b"long"),
]


@given(st.lists(st.integers(1, len(ANSWERS) - 1), max_size=40))
def test_lines_are_the_same_however_they_are_cut(cuts: list[int]) -> None:
    parser = Parser()
    places = [0, *sorted(set(cuts)), len(ANSWERS)]
    found = [line for begin, end in pairwise(places) for line in parser.feed(ANSWERS[begin:end])]
    assert found == LINES and not parser.pending
    no = answer(LINES[-1], LINES[2:5])
    assert no is not None and (no.status, no.code, no.text) == ("NO", "QUOTA/MAXSIZE", "long")
    assert answer(LINES[0], ()) is None


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    parser = Parser()
    with suppress(RemoteProtocolError):
        for number in range(len(data)):
            parser.feed(data[number : number + 1])


@given(st.text(max_size=2000))
def test_a_string_is_read_back(text: str) -> None:
    content = text.encode("utf-8", "replace")
    assert Parser().feed(string(content).replace(b"+}", b"}") + b"\r\n") == [(content,)]
    assert command("PUTSCRIPT", "a", content).endswith(string(content) + b"\r\n")


Play = Callable[[socket.socket], None]
ACCOUNT = ImapAccount("127.0.0.1", 0, "ann", Secret("very-secret"), tls=Tls.NONE, timeout=1.0)


def met(
    play: Play, account: ImapAccount = ACCOUNT, work: Callable[[Session], Awaitable[object]] | None = None
) -> object:
    """What a session with this server gives, or the error that it ends with."""

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        connection.settimeout(10)
        with connection, suppress(OSError):
            play(connection)
            while connection.recv(4096):
                pass

    async def go(port: int) -> object:
        try:
            async with session(replace(account, port=port)) as found:
                return await work(found) if work is not None else None
        except MailferryError as error:
            return error

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        served = pool.submit(serve, listening)
        found = asyncio.run(go(listening.getsockname()[1]))
        served.result()
    return found


def says(*pieces: bytes, heard: list[bytes] | None = None) -> Play:
    """Greets with the first piece, answers each command with the next."""

    def play(connection: socket.socket) -> None:
        lines = connection.makefile("rb")
        for number, piece in enumerate(pieces):
            if number:
                line = lines.readline()
                if heard is not None:
                    heard.append(line)
            connection.sendall(piece)

    return play


GREETING, LET_IN = CAPABILITIES + OK, (CAPABILITIES + OK, b"OK\r\n", CAPABILITIES + OK)


def test_a_session_and_a_token() -> None:
    heard: list[bytes] = []
    play = says(*LET_IN, b'"mine" ACTIVE\r\n"old"\r\nOK\r\n', heard=heard)
    assert met(play, work=Session.scripts) == Scripts(("mine", "old"), "mine")
    assert heard[0].startswith(b'AUTHENTICATE "PLAIN" "') and heard[1:3] == [b"CAPABILITY\r\n", b"LISTSCRIPTS\r\n"]


def test_xoauth2_answers_the_error_and_is_refused() -> None:
    """The server tells of a bad token in a challenge, which wants an empty answer (as with IMAP)."""
    heard: list[bytes] = []
    play = says(GREETING, b'"eyJzdGF0dXMiOiI0MDAifQ=="\r\n', b'NO "bad token"\r\n', heard=heard)
    found = met(play, replace(ACCOUNT, mechanism=Mechanism.XOAUTH2))
    assert isinstance(found, AuthError) and "bad token" in found.message
    assert b"XOAUTH2" in heard[0] and heard[1] == b'""\r\n'


@pytest.mark.parametrize(
    ("play", "kind", "text"),
    [
        (says(b'"' + b"x" * (3 * MOST_LINE)), RemoteProtocolError, "without an end"),
        (says(b"x " * (2 * MOST_LINE)), RemoteProtocolError, "of more than 64 KiB"),
        (says(b'"SIEVE" ""\r\n' * 20_000), RemoteProtocolError, "without an end|has no end"),
        (says(b"{9999999999}\r\nabc"), RemoteProtocolError, "announced 9999999999 bytes"),
        (says(b"{12000000}\r\n%s\r\n" % (b"x" * 12_000_000) * 3), RemoteProtocolError, "without an end"),
        (says(b"{100}\r\nabc"), Temporary, "in time"),
        (says(b'220 "smtp" ready {\r\n'), RemoteProtocolError, "does not speak ManageSieve"),
        (says(b"OK\r\n"), RemoteProtocolError, "does not tell its Sieve extensions"),
        (says(b'BYE "too many of you"\r\n'), Temporary, "too many of you"),
        (says(GREETING, b'NO (TRYLATER) "later"\r\n'), Temporary, "later"),
        (says(GREETING, b'NO "wrong"\r\n'), AuthError, "wrong"),
    ],
    ids=["string", "line", "lines", "literal", "literals", "half", "smtp", "no-sieve", "bye", "later", "refused"],
)
def test_a_hostile_server_ends_the_session(play: Play, kind: type[MailferryError], text: str) -> None:
    found = met(play)
    assert isinstance(found, kind), found
    assert any(one in found.message for one in text.split("|")), found.message
    assert "very-secret" not in str(found) + found.about


def test_half_a_script_and_a_cut_is_temporary() -> None:
    def play(connection: socket.socket) -> None:
        says(*LET_IN, b"{100}\r\nhalf")(connection)
        connection.shutdown(socket.SHUT_RDWR)

    found = met(play, work=lambda server: server.get("mine"))
    assert isinstance(found, Temporary) and "cut" in found.message


def test_no_password_where_tls_was_taken_out() -> None:
    heard: list[bytes] = []
    found = met(says(GREETING, OK, heard=heard), replace(ACCOUNT, tls=Tls.STARTTLS))
    assert isinstance(found, AuthError) and "STARTTLS" in found.message
    assert [one for one in heard if one != b"LOGOUT\r\n"] == [], "nothing was said, least of all the password"


def test_what_came_in_clear_text_before_tls_is_refused() -> None:
    found = met(says(TLS_TOO + OK, OK + TLS_TOO + OK), replace(ACCOUNT, tls=Tls.STARTTLS))
    assert isinstance(found, RemoteProtocolError) and "unencrypted" in found.message
