"""One TCP connection as bytes, with or without TLS and DEFLATE. Knows no protocol and never retries.

Receives through a BufferedProtocol into one buffer of its own (a StreamReader copies large literals once more and is
40 % slower); hands every piece to `on_data` at once. Invariant: after `on_lost` was called nothing else is.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Callable
from typing import Any

RECEIVE_BUFFER = 256 * 1024
HIGH_WATER = 1024 * 1024


class Stream(asyncio.BufferedProtocol):
    """`on_data(view)`: bytes, valid only during the call. `on_lost(error)`: the end, by the other side or by us."""

    def __init__(self, on_data: Callable[[memoryview], None], on_lost: Callable[[OSError | None], None]) -> None:
        self._on_data = on_data
        self._on_lost = on_lost
        self._buffer = bytearray(RECEIVE_BUFFER)
        self._view = memoryview(self._buffer)
        self._transport: Any = None  # asyncio.Transport; its TLS flavour has no common type with the plain one
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = asyncio.Event()
        self._paused = False
        self._failure: OSError | None = None
        self._inflate: Any = None
        self._deflate: Any = None
        self.received = 0
        self.sent = 0

    async def connect(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        """OSError (ssl.SSLError, socket.gaierror among them) if it fails."""
        loop = asyncio.get_running_loop()
        await loop.create_connection(
            lambda: self,
            host,
            port,
            ssl=context,
            server_hostname=host if context is not None else None,
            happy_eyeballs_delay=0.25,
        )

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Go over to TLS in place. The caller has seen to it that nothing is under way in either direction."""
        loop = asyncio.get_running_loop()
        try:
            upgraded = await loop.start_tls(self._transport, self, context, server_hostname=host)
            if upgraded is None:
                raise ConnectionResetError("the connection was lost during the TLS handshake")
        except BaseException:
            self._transport.abort()
            self._ended.set()  # asyncio does not call connection_lost for a handshake that failed
            raise
        self._transport = upgraded
        self._limits()

    def start_compression(self) -> None:
        """Raw DEFLATE both ways from the next byte on (RFC 4978)."""
        self._inflate = zlib.decompressobj(-15)
        self._deflate = zlib.compressobj(1, zlib.DEFLATED, -15)

    @property
    def tls_version(self) -> str | None:
        tls = self._transport.get_extra_info("ssl_object")
        return tls.version() if tls is not None else None

    @property
    def peer(self) -> str:
        """The address of the other side."""
        name = self._transport.get_extra_info("peername")
        return str(name[0]) if name else ""

    @property
    def unsent(self) -> int:
        return int(self._transport.get_write_buffer_size())

    @property
    def closing(self) -> bool:
        return self._transport is None or bool(self._transport.is_closing())

    def write(self, data: bytes) -> None:
        if self._deflate is not None:
            data = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        self.sent += len(data)
        self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the other side has taken most of what was written."""
        await self._writable.wait()

    def pause(self) -> None:
        """Receive nothing more until `resume`; the other side is slowed down by TCP."""
        if not self._paused and not self.closing:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            if not self.closing:
                self._transport.resume_reading()

    @property
    def paused(self) -> bool:
        return self._paused

    def abort(self) -> None:
        """Close at once; what is unsent is lost."""
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        if self._transport is not None:
            await self._ended.wait()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._limits()

    def _limits(self) -> None:
        self._transport.set_write_buffer_limits(high=HIGH_WATER)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        self.received += nbytes
        if self._inflate is None:
            self._on_data(self._view[:nbytes])
            return
        data: bytes | memoryview = self._view[:nbytes]
        while not self.closing:
            try:
                plain = self._inflate.decompress(data, RECEIVE_BUFFER)
            except zlib.error:
                self._failure = OSError("the compressed stream is damaged")
                self._transport.abort()
                return
            data = self._inflate.unconsumed_tail
            if plain:
                self._on_data(memoryview(plain))
            if not data and len(plain) < RECEIVE_BUFFER:
                return

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._writable.set()
        self._ended.set()
        self._on_lost(self._failure or (error if isinstance(error, OSError) else None))
