"""A TCP proxy on loopback that sees the wire: it delays, counts, and breaks connections at chosen bytes.

It knows nothing of IMAP and cannot look inside TLS: put it before a plain-text port. It runs in a thread of its own.
Invariant: without a rule that fires, every byte arrives unchanged, in order, each piece half a round trip after it
came in, however many pieces are under way.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal

Direction = Literal["to_server", "to_client"]

_PIECE = 1 << 18
_IN_FLIGHT = 64 << 20  # bytes under way in one direction before the sender is slowed down
_LINGER = 0.5  # seconds
_TAIL = 4096  # bytes kept to find patterns that arrive in two pieces


@dataclass(frozen=True, slots=True)
class Reset:
    """Both sides get a TCP reset."""


@dataclass(frozen=True, slots=True)
class Close:
    """Both sides get an orderly end of stream."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing more is forwarded, in either direction, for `seconds` (None: for ever).

    When the client goes away meanwhile, the server gets a reset and never sees what was under way.
    """

    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """The rest of this direction waits `seconds` and is then delivered, even if the sender has gone meanwhile.

    `first` is called (in a thread) when the waiting begins: the place to kill the client. While the client lives the
    other direction flows.
    """

    seconds: float
    first: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """`fn` is called in a thread; this direction goes on when it has returned."""

    fn: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Say:
    """The receiver gets these bytes instead of the rest, then an orderly end of stream; the sender gets a reset."""

    data: bytes


Action = Reset | Close | Stall | Hold | Call | Say


@dataclass(slots=True, eq=False)
class Rule:
    """When to act: at a pattern, or after so many bytes of one connection in one direction.

    Bytes up to the match's `where`, and `extra` more (a number, or a function of the match such as a share of an
    announced literal), are delivered first. The first `skip` matches are let pass; `times` limits how often the rule
    fires (None: no limit); `fired` counts matches as they come in, over all connections.
    """

    direction: Direction
    action: Action
    pattern: re.Pattern[bytes] | None = None
    after_bytes: int | None = None
    where: Literal["start", "end"] = "end"
    extra: int | Callable[[re.Match[bytes]], int] = 0
    skip: int = 0
    times: int | None = 1
    fired: int = 0

    @property
    def spent(self) -> bool:
        """Whether it cannot fire any more."""
        return self.times is not None and self.fired >= self.times


@dataclass(slots=True)
class Counts:
    """What has come in so far."""

    connections: int = 0
    to_server: int = 0
    to_client: int = 0


@dataclass(slots=True, eq=False)
class _Link:
    """One client's connection and the one to the server made for it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    open: asyncio.Event = field(default_factory=asyncio.Event)  # cleared by Stall
    client_gone: asyncio.Event = field(default_factory=asyncio.Event)


class TcpProxy:
    """Listens on `port` of 127.0.0.1 and forwards to `upstream_port`, from start() to stop().

    `round_trip_ms` is added to every exchange. Rules may be added and removed at any time, from any thread.
    """

    def __init__(self, upstream_port: int, *, round_trip_ms: float = 0.0) -> None:
        self.upstream_port = upstream_port
        self.round_trip_ms = round_trip_ms
        self.host = "127.0.0.1"
        self.port = 0
        self.counts = Counts()
        self.rules: list[Rule] = []
        self.refuse = False  # True: new connections get a reset at once
        self._links: set[_Link] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: asyncio.Server | None = None
        self._failure: BaseException | None = None  # of a function that a rule called

    def __enter__(self) -> TcpProxy:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> TcpProxy:
        """Begin to listen; the port stays the same over a stop and a start."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lab-proxy", daemon=True)
        self._thread.start()
        self._run(self._listen())
        return self

    def stop(self) -> None:
        """Reset every connection and stop listening; nothing happens when it is not running.

        Raises what a function called by a rule has raised, if one did.
        """
        if self._loop is None or self._thread is None:
            return
        self._run(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def add(self, rule: Rule) -> Rule:
        """Put a rule in force and return it."""
        self.rules = [*self.rules, rule]
        return rule

    def clear(self) -> None:
        """Take all rules away; what has fired goes on."""
        self.rules = []

    def at(
        self,
        direction: Direction,
        pattern: bytes,
        action: Action,
        *,
        where: Literal["start", "end"] = "end",
        extra: int | Callable[[re.Match[bytes]], int] = 0,
        skip: int = 0,
        times: int | None = 1,
    ) -> Rule:
        """Act where the regular expression `pattern` is seen (within 4096 bytes); see Rule."""
        compiled = re.compile(pattern, re.DOTALL)
        return self.add(Rule(direction, action, compiled, None, where, extra, skip, times))

    def after(self, direction: Direction, count: int, action: Action, *, times: int | None = 1) -> Rule:
        """Act when a connection has carried `count` bytes in that direction."""
        return self.add(Rule(direction, action, after_bytes=count, times=times))

    def on_pattern(self, direction: Direction, pattern: bytes, fn: Callable[[], object], *, skip: int = 0) -> Rule:
        """Call `fn` once when the pattern has arrived here, before any byte of it is passed on."""
        return self.at(direction, pattern, Call(fn), where="start", skip=skip)

    def reset_all(self) -> None:
        """Reset every connection that is open now."""
        self._run(self._reset_all())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        if self._loop is None:
            raise RuntimeError("the proxy is not running")
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, self.host, self.port, limit=_PIECE)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._reset_all()
        current = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not current]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # lets the transports end

    async def _reset_all(self) -> None:
        for link in list(self._links):
            _reset(link.client)
            _reset(link.server)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts.connections += 1
        if self.refuse:
            _reset(writer)
            return
        try:
            up_reader, up_writer = await asyncio.open_connection(self.host, self.upstream_port, limit=_PIECE)
        except OSError:  # the server is down: the client sees a connection that ends at once
            _reset(writer)
            return
        for end in (writer, up_writer):
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.transport.set_write_buffer_limits(high=0)  # drain() means sent, so that a reset takes nothing back
        link = _Link(writer, up_writer)
        link.open.set()
        self._links.add(link)
        up = asyncio.create_task(self._carry("to_server", reader, up_writer, link))
        down = asyncio.create_task(self._carry("to_client", up_reader, writer, link))
        try:
            await down  # ends when the server has ended the connection, or a fault has
            if not up_writer.transport.is_closing():
                await asyncio.wait([up], timeout=1)
        finally:
            up.cancel()
            down.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            writer.close()
            up_writer.close()
            self._links.discard(link)

    async def _carry(
        self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link
    ) -> None:
        """Take bytes in at once, and hand them on in order, each when its time has come."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes | Action | None]] = asyncio.Queue()
        room = _Room(_IN_FLIGHT)

        async def take() -> None:
            scanner = _Scanner(direction)
            while piece := await _read(reader):
                setattr(self.counts, direction, getattr(self.counts, direction) + len(piece))
                due = loop.time() + self.round_trip_ms / 2000
                for item in scanner.split(piece, self.rules):
                    queue.put_nowait((due, item))
                await room.take(len(piece))
            if direction == "to_server":
                link.client_gone.set()
            queue.put_nowait((loop.time() + self.round_trip_ms / 2000, None))

        taking = asyncio.create_task(take())
        try:
            while True:
                due, item = await queue.get()
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                await link.open.wait()
                if item is None:
                    _end(writer)
                    return
                if isinstance(item, bytes):
                    room.free(len(item))
                    await _write(writer, item)
                elif await self._act(item, link, writer):
                    return
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)

    async def _act(self, action: Action, link: _Link, writer: asyncio.StreamWriter) -> bool:
        """Do what a rule says; True when the connection is over."""
        loop = asyncio.get_running_loop()
        match action:
            case Reset():
                _reset(link.client)
                _reset(link.server)
                return True
            case Close():
                link.client.close()
                link.server.close()
                return True
            case Stall(seconds):
                link.open.clear()
                try:
                    await asyncio.wait_for(link.client_gone.wait(), seconds)
                except TimeoutError:
                    link.open.set()
                    return False
                _reset(link.server)
                return True
            case Hold(seconds, first):
                until = loop.time() + seconds
                if first is not None:
                    await self._call(first)
                await asyncio.sleep(max(0.0, until - loop.time()))
            case Call(fn):
                await self._call(fn)
            case Say(data):
                _reset(link.server if writer is link.client else link.client)
                await _write(writer, data)
                _end(writer)
                await asyncio.sleep(_LINGER)  # closing with bytes unread would be a reset, which overtakes what we said
                return True
        return False

    async def _call(self, fn: Callable[[], object]) -> None:
        work = asyncio.get_running_loop().run_in_executor(None, fn)
        await asyncio.wait([work])
        if (failure := work.exception()) is not None:
            self._failure = failure


class _Room:
    """A count of bytes with an upper bound; take() waits until there is room."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._freed = asyncio.Event()

    async def take(self, count: int) -> None:
        self._left -= count
        while self._left < 0:
            self._freed.clear()
            await self._freed.wait()

    def free(self, count: int) -> None:
        self._left += count
        self._freed.set()


class _Scanner:
    """Finds, in one direction of one connection, where rules fire."""

    def __init__(self, direction: Direction) -> None:
        self._direction = direction
        self._seen = 0  # bytes before the current piece
        self._tail = b""
        self._matches: dict[Rule, int] = {}  # so far
        self._planned: list[tuple[int, int, Action]] = []  # (absolute offset, order, action)

    def split(self, piece: bytes, rules: list[Rule]) -> list[bytes | Action]:
        """The piece cut at the places where something is to be done, with those actions in between."""
        end = self._seen + len(piece)
        mine = [rule for rule in rules if rule.direction == self._direction and not rule.spent]
        for rule in mine:
            self._plan(rule, piece, end)
        self._tail = (self._tail + piece)[-_TAIL:] if len(piece) < _TAIL else piece[-_TAIL:]
        out: list[bytes | Action] = []
        done = self._seen
        for offset, _, action in sorted(self._planned, key=lambda entry: entry[:2]):
            if offset > end:
                break
            cut = max(offset, done)
            if cut > done:
                out.append(piece[done - self._seen : cut - self._seen])
            out.append(action)
            done = cut
        self._planned = [entry for entry in self._planned if entry[0] > end]
        if end > done:
            out.append(piece[done - self._seen :])
        self._seen = end
        return out

    def _plan(self, rule: Rule, piece: bytes, end: int) -> None:
        if rule.pattern is None:
            count = rule.after_bytes or 0
            if self._seen <= count <= end and not self._matches.get(rule):
                self._matches[rule] = 1
                self._fire(rule, count)
            return
        window = self._tail + piece
        base = end - len(window)
        for match in rule.pattern.finditer(window):
            if match.end() <= len(self._tail) or rule.spent:
                continue  # seen with an earlier piece
            number = self._matches[rule] = self._matches.get(rule, 0) + 1
            if number <= rule.skip:
                continue
            extra = rule.extra(match) if callable(rule.extra) else rule.extra
            self._fire(rule, base + (match.start() if rule.where == "start" else match.end()) + extra)

    def _fire(self, rule: Rule, offset: int) -> None:
        rule.fired += 1
        self._planned.append((offset, len(self._planned), rule.action))


async def _read(reader: asyncio.StreamReader) -> bytes:
    """The next bytes; none when the other side has ended or reset the connection."""
    try:
        return await reader.read(_PIECE)
    except OSError:
        return b""


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Hand bytes on; to a side that has gone they are thrown away, as the network does."""
    if writer.transport.is_closing():
        return
    try:
        writer.write(data)
        await writer.drain()
    except OSError:
        writer.transport.abort()


def _end(writer: asyncio.StreamWriter) -> None:
    """Tell the receiver that no more comes."""
    if not writer.transport.is_closing():
        try:
            writer.write_eof()
        except OSError:
            writer.transport.abort()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a TCP reset."""
    if not writer.transport.is_closing():
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
