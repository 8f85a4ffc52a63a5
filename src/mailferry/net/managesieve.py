"""A logged-in ManageSieve session (RFC 5804): a person's scripts listed, read, checked, put, activated, deleted.

Knows no rule and no ledger, retries nothing. Own client, since sievelib's takes no authority of the organisation's for
STARTTLS, keeps what came in clear text before it, reads endless lines, and gives scripts back with other line ends.
Invariant: no password crosses an unprotected connection unless the account says `tls=none`.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mailferry.errors import AuthError, MailferryError, Permanent, RemoteProtocolError, Temporary
from mailferry.model.account import ImapAccount, Tls
from mailferry.net import tls
from mailferry.net.stream import Stream
from mailferry.wire.imap import sasl
from mailferry.wire.managesieve import MOST_LINES, MOST_LITERAL, Answer, Line, Parser, answer, command, string

MOST_ANSWER = 2 * MOST_LITERAL
"""Bytes that one command is answered with, at most."""


class Refused(Permanent):
    """The server said NO. `code`: RFC 5804's, such as QUOTA/MAXSIZE, NONEXISTENT, ACTIVE; "" if it gave none."""

    def __init__(self, message: str, code: str, *, about: str, advice: str = "") -> None:
        super().__init__(message, about=about, advice=advice)
        self.code = code


@dataclass(frozen=True, slots=True)
class Scripts:
    """What is there. `active`: the one that runs, "" if none does."""

    names: tuple[str, ...]
    active: str


def key_of(account: ImapAccount) -> str:
    """Names server and person, never the secret: the ledger's name for somebody's scripts."""
    return f"sieve://{account.user}@{account.host}:{account.port}"


@asynccontextmanager
async def session(account: ImapAccount) -> AsyncIterator[Session]:
    """Connect, STARTTLS, log in (as `account.user`, also through an `admin`), until the block ends.

    Raises AuthError, Temporary, Permanent, RemoteProtocolError, ConfigError.
    """
    made = Session(account)
    try:
        await made.open()
        yield made
    finally:
        await made.close()


class Session:
    """See the module's text. `extensions`: the Sieve ones announced. `redirects`: how many a script may make for one
    message, None if the server does not say. All methods raise Refused, Temporary and RemoteProtocolError."""

    def __init__(self, account: ImapAccount) -> None:
        self.account = account
        self.about = key_of(account)
        self.extensions: frozenset[str] = frozenset()
        self.redirects: int | None = None
        self.can_check = False
        self._offered: dict[str, str | None] = {}
        self._stream = Stream(self._received, self._lost)
        self._parser = Parser()
        self._lines: deque[Line] = deque()
        self._more = asyncio.Event()
        self._failure: MailferryError | None = None
        self._received_since = 0  # bytes, since the latest command

    async def open(self) -> None:
        account = self.account
        try:
            async with asyncio.timeout(account.timeout):
                context = self._context() if account.tls is Tls.IMPLICIT else None
                await self._stream.connect(account.host, account.port, context)
        except OSError as error:
            raise tls.explain(error, account.host, account.port) from error
        self._learn(await self._answer("greet us"))
        if account.tls is Tls.STARTTLS:
            await self._start_tls()
        await self._log_in()
        self._learn(await self._do("tell what it can", "CAPABILITY"))

    async def close(self) -> None:
        """LOGOUT without waiting for the answer. Never raises."""
        if not self._stream.closing and self._failure is None:
            self._stream.write(command("LOGOUT"))
        self._failure = self._failure or Temporary("the session was closed", about=self.about)
        self._stream.abort()
        await self._stream.wait_closed()

    # A person's scripts.

    async def scripts(self) -> Scripts:
        found = await self._do("list the scripts", "LISTSCRIPTS")
        names, active = [], ""
        for line in found.lines:
            if not line or not isinstance(line[0], bytes):
                raise self._broken("the list of scripts holds something else")
            name = line[0].decode("utf-8", "replace")
            names.append(name)
            if len(line) > 1 and isinstance(line[1], str) and line[1].upper() == "ACTIVE":
                active = name
        return Scripts(tuple(names), active)

    async def get(self, name: str) -> bytes:
        """A script, byte for byte."""
        found = await self._do(f"give the script {name}", "GETSCRIPT", name)
        content = next((line[0] for line in found.lines if line), None)
        if not isinstance(content, bytes):
            raise self._broken(f"the script {name} did not come")
        return content

    async def has_space(self, name: str, size: int) -> bool:
        """Whether a script of so many bytes may be put. False: none of that size may. Refused: a quota."""
        try:
            await self._do(f"take a script of {size} bytes", "HAVESPACE", name, size)
        except Refused as error:
            if error.code == "QUOTA/MAXSIZE":
                return False
            raise
        return True

    async def check(self, content: bytes) -> None:
        """Refused with the compiler's words where the script does not compile (on a server without CHECKSCRIPT, `put`
        tells)."""
        if self.can_check:
            await self._do("accept the script", "CHECKSCRIPT", content)

    async def put(self, name: str, content: bytes) -> None:
        await self._do(f"take the script {name}", "PUTSCRIPT", name, content)

    async def activate(self, name: str) -> None:
        """The script that runs from now on; "": none does."""
        await self._do(f"activate {name or 'no script'}", "SETACTIVE", name)

    async def delete(self, name: str) -> None:
        await self._do(f"delete the script {name}", "DELETESCRIPT", name)

    # How it is said.

    async def _start_tls(self) -> None:
        if "STARTTLS" not in self._offered:
            raise AuthError(
                "the server offers no STARTTLS, and a password must not go out unencrypted",
                about=self.about,
                advice="switch TLS on there; somebody in between may also have taken the offer out",
            )
        await self._do("start TLS", "STARTTLS")
        if self._parser.pending or self._lines:
            raise self._broken("it sent more, unencrypted, after it agreed to start TLS")
        try:
            async with asyncio.timeout(self.account.timeout):
                await self._stream.start_tls(self._context(), self.account.host)
        except OSError as error:
            raise tls.explain(error, self.account.host, self.account.port) from error
        self._offered = {}
        self._learn(await self._answer("tell what it can after TLS"))

    async def _log_in(self) -> None:
        offered = (self._offered.get("SASL") or "").upper().split()
        mechanism = sasl.choose(self.account, frozenset({"LOGINDISABLED", *(f"AUTH={one}" for one in offered)}))
        exchange = sasl.exchange(mechanism, self.account)
        answers = list(exchange.answers)
        first = () if exchange.initial is None else (base64.b64encode(exchange.initial),)
        self._write(command("AUTHENTICATE", mechanism, *first))
        while True:
            line = await self._next("log us in")
            done = answer(line, ())
            if done is not None:
                break
            self._write(string(base64.b64encode(answers.pop(0)) if answers else b"*") + b"\r\n")
        if done.status == "OK":
            return
        if done.code == "TRYLATER" or done.status == "BYE":
            raise Temporary(f"the server does not log anybody in now: {done.text}", about=self.about)
        raise AuthError(f"the log-in was refused: {done.text or 'no reason given'}", about=self.about)

    def _context(self) -> ssl.SSLContext:
        one = self.account
        return tls.context(verify=one.verify, ca_file=one.ca_file, client_certificate=one.client_certificate)

    def _learn(self, found: Answer) -> None:
        """Capabilities (RFC 5804 §1.7)."""
        if found.status != "OK":
            raise Temporary(f"the server does not serve us: {found.text or found.status}", about=self.about)
        for line in found.lines:
            words = [word.decode("utf-8", "replace") if isinstance(word, bytes) else word for word in line]
            if words:
                self._offered[words[0].upper()] = words[1] if len(words) > 1 else None
        if "SIEVE" not in self._offered:
            raise self._broken("it does not tell its Sieve extensions")
        self.extensions = frozenset((self._offered["SIEVE"] or "").lower().split())
        most = self._offered.get("MAXREDIRECTS") or ""
        self.redirects = int(most) if most.isdigit() else None
        self.can_check = "VERSION" in self._offered

    async def _do(self, what: str, name: str, *arguments: str | bytes | int) -> Answer:
        """One command that has to succeed."""
        self._write(command(name, *arguments))
        found = await self._answer(what)
        if found.status == "OK":
            return found
        said = found.text or "it gave no reason"
        if found.status == "BYE" or found.code == "TRYLATER":
            raise Temporary(f"the server does not {what} now: {said}", about=self.about)
        advice = "make room in that mailbox, or raise the quota for scripts" if found.code.startswith("QUOTA") else ""
        raise Refused(f"the server refused to {what}: {said}", found.code, about=self.about, advice=advice)

    async def _answer(self, what: str) -> Answer:
        lines: list[Line] = []
        while True:
            line = await self._next(what)
            found = answer(line, lines)
            if found is not None:
                return found
            lines.append(line)
            if len(lines) > MOST_LINES:
                raise self._broken("its answer has no end")

    async def _next(self, what: str) -> Line:
        try:
            async with asyncio.timeout(self.account.timeout):
                while not self._lines:
                    if self._failure is not None:
                        raise self._failure
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise Temporary(f"the server did not {what} in time", about=self.about) from None
        return self._lines.popleft()

    def _write(self, data: bytes) -> None:
        if self._failure is not None:
            raise self._failure
        self._received_since = 0
        self._stream.write(data)

    def _received(self, data: memoryview) -> None:
        self._received_since += len(data)
        try:
            self._lines.extend(self._parser.feed(data))
            if len(self._lines) > MOST_LINES or self._received_since > MOST_ANSWER:
                raise RemoteProtocolError("it sends without an end")
        except RemoteProtocolError as error:
            self._failure = RemoteProtocolError(error.message, about=self.about)
            self._stream.abort()
        self._more.set()

    def _lost(self, error: OSError | None) -> None:
        if self._failure is None:
            self._failure = Temporary("the connection was cut by the other side", about=self.about)
        self._more.set()

    def _broken(self, message: str) -> RemoteProtocolError:
        return RemoteProtocolError(message, about=self.about)
