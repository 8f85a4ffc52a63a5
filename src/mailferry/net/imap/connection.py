"""One IMAP connection: sends tagged commands, several at once, and routes what comes back. Knows no folder, no log-in.

Invariants: commands go out whole and in the order of the calls; an untagged response goes to the first command in
flight that wants it; once anything went wrong every waiting and every later call raises the same error.

Back-pressure: who takes bodies out of a `Fetch` counts them with `hold` and gives them back with `release`; beyond
BUDGET bytes nothing more is received, unless somebody waits for an answer.
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from mailferry.errors import ItemError, LocalProtocolError, MailferryError, RemoteProtocolError, Temporary
from mailferry.model.account import ImapAccount
from mailferry.model.message import Body
from mailferry.net import tls
from mailferry.net.imap import refusal
from mailferry.net.spool import Spool
from mailferry.net.stream import Stream
from mailferry.wire.imap.events import (
    Bye,
    Capability,
    Continuation,
    Event,
    Exists,
    Fetch,
    Greeting,
    LiteralChunk,
    LiteralEnd,
    LiteralStart,
    Tagged,
)
from mailferry.wire.imap.parser import Parser
from mailferry.wire.imap.quirks import GENERIC, Quirks

BUDGET = 4 * 1024 * 1024

Sink = Callable[[Event, Sequence[Body]], bool]
"""Takes one untagged response, with the bodies that its `Streamed` fields number; False: not mine."""


@dataclass(slots=True)
class Pending:
    """A command in flight: `await conn.finish(pending)` gives its end, `events` what came for it."""

    tag: bytes
    what: str
    sink: Sink
    done: asyncio.Future[Tagged]
    events: list[Event] = field(default_factory=list)


class Connection:
    """See the module's text. `capabilities`: upper case; `quirks`: set by the log-in."""

    def __init__(self, account: ImapAccount) -> None:
        self.account = account
        self.about = f"{account.host}:{account.port}"
        self.capabilities: frozenset[str] = frozenset()
        self.greeting: Greeting | None = None
        self.quirks: Quirks = GENERIC
        self.identity: Mapping[str, str] = {}
        self.exists = 0  # in the open folder, at least
        self.stream = Stream(self._received, self._lost)
        self.on_unsolicited: Callable[[Event], None] = _ignore
        self._parser = Parser()
        self._inflight: dict[bytes, Pending] = {}
        self._tags = 0
        self._switch_tag = b""
        self._switched = False
        self.appending = asyncio.Lock()
        self._sending = asyncio.Lock()
        self._challenge: asyncio.Future[Continuation] | None = None
        self._greeted: asyncio.Future[Greeting] = asyncio.get_running_loop().create_future()
        self._failure: MailferryError | None = None
        self._bye: Bye | None = None
        self._closing = False
        self._spools: list[Spool] = []
        self._held = 0
        self._waiting = 0
        self._watch: asyncio.TimerHandle | None = None
        self._progress = (0, 0)
        self._progress_at = 0.0

    # Opening and closing.

    async def open(self) -> Greeting:
        """Connect, with implicit TLS where the account says so, and read the greeting. Raises as the contracts say."""
        account = self.account
        context = self.tls_context() if account.tls.value == "implicit" else None
        try:
            async with asyncio.timeout(account.timeout):
                await self.stream.connect(account.host, account.port, context)
        except OSError as error:
            raise tls.explain(error, account.host, account.port) from error
        try:
            async with asyncio.timeout(account.timeout):
                self.greeting = await asyncio.shield(self._greeted)
        except TimeoutError:
            late = Temporary(
                "the server did not greet us in time",
                about=self.about,
                advice="if this port expects TLS from the first byte, use imaps://; else try again",
            )
            self.fail(late)
            raise late from None
        self._tick()
        return self.greeting

    def tls_context(self) -> ssl.SSLContext:
        account = self.account
        return tls.context(
            verify=account.verify, ca_file=account.ca_file, client_certificate=account.client_certificate
        )

    async def start_tls(self) -> None:
        """STARTTLS (RFC 3501 §6.2.1). What came in clear text after its OK would be an attack, and is refused."""
        await self._switch(b"STARTTLS", "start TLS")
        try:
            async with asyncio.timeout(self.account.timeout):
                await self.stream.start_tls(self.tls_context(), self.account.host)
        except OSError as error:
            raise tls.explain(error, self.account.host, self.account.port) from error
        self.capabilities = frozenset()

    async def start_compression(self) -> None:
        """COMPRESS=DEFLATE (RFC 4978)."""
        await self._switch(b"COMPRESS DEFLATE", "compress")
        self.stream.start_compression()

    async def _switch(self, command: bytes, what: str) -> None:
        """A command after whose OK both sides speak differently: nothing may stand behind that OK."""
        async with self.sending(what) as pending:
            self._switch_tag = pending.tag
            self.write(pending.tag + b" " + command + b"\r\n")
        await self.finish(pending)
        self._check()
        if self._parser.pending:
            raise self._too_much()
        self._switched = False

    def _too_much(self) -> RemoteProtocolError:
        return RemoteProtocolError("the server sent more after it agreed to switch protocols", about=self.about)

    async def close(self) -> None:
        """LOGOUT without waiting for the answer. Never raises, may be called twice."""
        if not self.stream.closing and self._failure is None:
            self._closing = True
            if not self._sending.locked() and not self.stream.unsent:
                self.stream.write(self._next_tag() + b" LOGOUT\r\n")
        self.fail(LocalProtocolError("the session was closed", about=self.about))
        await self.stream.wait_closed()

    # Commands.

    def _next_tag(self) -> bytes:
        self._tags += 1
        return b"m%d" % self._tags

    async def send(self, command: bytes, what: str, sink: Sink | None = None) -> Pending:
        """Put one command without literals on the wire. `what`: what it does, for errors: `open the folder`."""
        async with self.sending(what, sink) as pending:
            self.write(pending.tag + b" " + command + b"\r\n")
        return pending

    @asynccontextmanager
    async def sending(self, what: str, sink: Sink | None = None) -> AsyncIterator[Pending]:
        """The right to write one command in pieces, after the tag that the pending has. The order of entry is kept."""
        async with self._sending:
            self._check()
            await self.stream.drain()
            self._check()
            pending = Pending(self._next_tag(), what, _never, asyncio.get_running_loop().create_future())
            pending.sink = sink if sink is not None else _collector(pending)
            if not self._inflight:
                self._mark_progress()
            self._inflight[pending.tag] = pending
            try:
                yield pending
            except BaseException:
                self.fail(LocalProtocolError("a command was left half sent", about=self.about))
                raise

    def write(self, data: bytes) -> None:
        """Bytes of the command that `sending` is in."""
        self._check()
        self.stream.write(data)

    async def drain(self) -> None:
        await self.stream.drain()
        self._check()

    async def challenge(self, pending: Pending) -> bytes | None:
        """Wait for `+ …`, inside `sending`. None: the command ended instead."""
        self._check()
        self._challenge = asyncio.get_running_loop().create_future()
        with self.waiting():
            try:
                waits: set[asyncio.Future[Any]] = {self._challenge, pending.done}
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                self._check()
                return self._challenge.result().text if self._challenge.done() else None
            finally:
                self._challenge = None

    async def wait(self, pending: Pending) -> Tagged:
        """The end of a command: OK, NO or BAD. Raises only if the session is of no use any more."""
        with self.waiting():
            tagged = await asyncio.shield(pending.done)
        if tagged.status != "OK":
            error = refusal.session_error(tagged.code, tagged.text, self.about)
            if error is not None:
                raise error
        return tagged

    async def finish(self, pending: Pending) -> list[Event]:
        """What came for a command that must succeed. ItemError if the server refused it."""
        tagged = await self.wait(pending)
        if tagged.status != "OK":
            raise ItemError(
                f"the server refused to {pending.what}: {tagged.text or 'it gave no reason'}", about=self.about
            )
        return pending.events

    async def run(self, command: bytes, what: str) -> list[Event]:
        """`send` and `finish`."""
        return await self.finish(await self.send(command, what))

    # Back-pressure.

    def hold(self, size: int) -> None:
        self._held += size
        if self._held > BUDGET and not self._waiting:
            self.stream.pause()

    def release(self, size: int) -> None:
        self._held -= size
        if self.stream.paused and self._held <= BUDGET // 2:
            self.resume()

    def resume(self) -> None:
        """Receive again, whatever is held: somebody cannot go on without."""
        if self.stream.paused:
            self._mark_progress()
            self.stream.resume()

    def waiting(self) -> _Waiting:
        """While entered, receiving does not stop."""
        return _Waiting(self)

    # What comes in.

    def _received(self, data: memoryview) -> None:
        self._parser.feed(data)
        try:
            for event in self._parser.events():
                self._dispatch(event)
        except RemoteProtocolError as error:
            error.about = error.about or self.about
            self.fail(error)
        except OSError as error:
            self.fail(Temporary(f"the spool file cannot be written: {error.strerror}", about=tempfile.gettempdir()))

    def _dispatch(self, event: Event) -> None:
        if self._switched:
            raise self._too_much()
        if isinstance(event, Fetch):
            self._route(event)
        elif isinstance(event, Tagged):
            pending = self._inflight.pop(event.tag, None)
            if pending is None:
                raise RemoteProtocolError("the server answered a command that was never sent", about=self.about)
            if event.code is not None and event.code.name == "CAPABILITY":
                self.capabilities = frozenset(name.upper() for name in event.code.atoms)
            self._switched = event.tag == self._switch_tag and event.status == "OK"
            pending.done.set_result(event)
        elif isinstance(event, LiteralStart):
            self._spools.append(Spool(event.size))
        elif isinstance(event, LiteralChunk):
            self._spools[-1].write(event.data)
        elif isinstance(event, LiteralEnd):
            pass
        elif isinstance(event, Continuation):
            if self._challenge is not None and not self._challenge.done():
                self._challenge.set_result(event)
        elif isinstance(event, Greeting):
            if event.code is not None and event.code.name == "CAPABILITY":
                self.capabilities = frozenset(name.upper() for name in event.code.atoms)
            if event.status == "BYE":
                self._bye = Bye(event.code, event.text)
            elif not self._greeted.done():
                self._greeted.set_result(event)
        elif isinstance(event, Bye):
            self._bye = event
        else:
            if isinstance(event, Capability):
                self.capabilities = event.names
            elif isinstance(event, Exists):
                self.exists = event.count
            self._route(event)

    def _route(self, event: Event) -> None:
        bodies: Sequence[Body] = ()
        if self._spools:
            bodies = [spool.body() for spool in self._spools]
            self._spools.clear()
        for pending in self._inflight.values():
            if pending.sink(event, bodies):
                return
        for body in bodies:
            body.close()
        self.on_unsolicited(event)

    # The end.

    def _lost(self, error: OSError | None) -> None:
        if self._bye is not None:
            words = self._bye.text
            failure = refusal.session_error(self._bye.code, words, self.about, codes=True) or Temporary(
                f"the server ended the session: {words}", about=self.about
            )
        elif error is not None:
            failure = tls.explain(error, self.account.host, self.account.port)
        else:
            failure = Temporary("the server closed the connection", about=self.about)
        self.fail(failure)

    def fail(self, error: MailferryError) -> None:
        """End the session with this error, once; everybody who waits gets it."""
        if self._failure is None:
            self._failure = error
        if self._watch is not None:
            self._watch.cancel()
        inflight, self._inflight = self._inflight, {}
        futures: list[asyncio.Future[Any]] = [self._greeted, *(pending.done for pending in inflight.values())]
        if self._challenge is not None:
            futures.append(self._challenge)
        for future in futures:
            if not future.done():
                future.set_exception(self._failure)
                future.exception()  # it may have nobody who waits
        for spool in self._spools:
            spool.close()
        self._spools.clear()
        self.stream.abort()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    # The watch: no answer and no progress for `timeout` seconds is a dead connection.

    def _mark_progress(self) -> None:
        self._progress = (self.stream.received, self.stream.sent - self.stream.unsent)
        self._progress_at = asyncio.get_running_loop().time()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = (self.stream.received, self.stream.sent - self.stream.unsent)
        if now != self._progress or not self._inflight or self.stream.paused:
            self._mark_progress()
        elif loop.time() - self._progress_at > self.account.timeout:
            self.fail(Temporary(f"the server did not answer for {self.account.timeout:g} s", about=self.about))
            return
        self._watch = loop.call_later(min(self.account.timeout / 4, 5.0), self._tick)


class _Waiting:
    """While entered, somebody waits for an answer, and receiving must not stop."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection._waiting += 1
        self._connection.resume()

    def __exit__(self, *error: object) -> None:
        self._connection._waiting -= 1


def _collector(pending: Pending) -> Sink:
    """Keeps everything but message data, which only those take who asked for it."""

    def take(event: Event, bodies: Sequence[Body]) -> bool:
        if isinstance(event, Fetch):
            return False
        pending.events.append(event)
        return True

    return take


def _never(event: Event, bodies: Sequence[Body]) -> bool:
    return False


def _ignore(event: Event) -> None:
    pass
