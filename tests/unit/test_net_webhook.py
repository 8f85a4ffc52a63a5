"""A webhook that answers, one that is slow, and some that are none."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import pytest

from mailferry.errors import ConfigError, MailferryError, RemoteProtocolError, Temporary
from mailferry.net.webhook import post

Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def posted(server: Server, body: bytes = b"{}", seconds: float = 5.0, headers: dict[str, str] | None = None) -> int:
    async def run() -> int:
        serving = await asyncio.start_server(server, "127.0.0.1", 0)
        port = serving.sockets[0].getsockname()[1]
        try:
            return await post(f"http://127.0.0.1:{port}/a?b=c", body, headers or {}, seconds)
        finally:
            serving.close()
            async with asyncio.timeout(10):
                while len(asyncio.all_tasks()) > 1:  # the server's own
                    await asyncio.sleep(0.01)

    return asyncio.run(run())


def saying(answer: bytes) -> Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    return serve


def test_the_request_is_whole() -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heard.extend((head, await reader.readexactly(100_000)))
        writer.write(b"HTTP/1.1 202 Accepted\r\n\r\n")
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    assert posted(serve, b"x" * 100_000, headers={"Authorization": "Bearer t"}) == 202
    assert heard[0].startswith(b"POST /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"Content-Length: 100000\r\n" in heard[0] and b"Authorization: Bearer t\r\n" in heard[0]
    assert heard[1] == b"x" * 100_000


@pytest.mark.parametrize(("answer", "status"), [(b"HTTP/1.0 500\r\n", 500), (b"HTTP/1.1 301 Moved\n", 301)])
def test_the_status_is_told_whatever_it_is(answer: bytes, status: int) -> None:
    assert posted(saying(answer)) == status


@pytest.mark.parametrize("answer", [b"", b"220 mx ESMTP\r\n", b"HTTP/1.1 2", b"\x00" * 100_000, b"HTTP/2 200\r\n"])
def test_what_is_no_http_is_told(answer: bytes) -> None:
    with pytest.raises((RemoteProtocolError, Temporary)):
        posted(saying(answer))


def test_a_server_that_drips_is_left_in_time() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()

    began = time.monotonic()
    with pytest.raises(Temporary, match=r"no answer in 0\.3 s"):
        posted(serve, seconds=0.3)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("ftp://x.example/", {}),
        ("http:///path", {}),
        ("http://x.example/a b", {}),
        ("http://x.example/ü", {}),
        ("http://x.example/", {"Authorization": "Bearer a\r\nX: y"}),
    ],
)
def test_what_cannot_be_sent_is_refused_before(url: str, headers: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        asyncio.run(post(url, b"", headers, 1.0))


def test_nobody_listens() -> None:
    with pytest.raises(MailferryError, match="refused the connection"):
        asyncio.run(post("http://127.0.0.1:9/", b"", {}, 5.0))
