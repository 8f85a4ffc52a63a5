"""A server that says what a test wrote down, over real sockets on loopback. Knows no IMAP but tags and literals.

A script is a list of steps: bytes are sent; a str is a regular expression that the next command (without its tag) must
match; `{tag}` in bytes is the tag of the last command. `STAY` keeps the connection open and silent; the script's end
closes it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from mailferry.model.account import ImapAccount, Tls
from mailferry.secret import Secret

STAY = object()
Step = bytes | str | object

OFFERED = b"IMAP4rev1 UIDPLUS LITERAL+ SASL-IR AUTH=PLAIN"
LOGIN: list[Step] = [
    b"* OK [CAPABILITY " + OFFERED + b"] ready\r\n",
    "AUTHENTICATE PLAIN",
    b"{tag} OK [CAPABILITY " + OFFERED + b"] in\r\n",
]
SELECTED = (
    b"* 3 EXISTS\r\n* FLAGS (\\Seen)\r\n* OK [UIDVALIDITY 1] v\r\n* OK [UIDNEXT 4] n\r\n{tag} OK [READ-ONLY] opened\r\n"
)
EXAMINE: list[Step] = ["EXAMINE INBOX", SELECTED]


class Script:
    """One connection's course. `problem`: what the client said instead of what was expected."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = steps
        self.problem: str | None = None
        self.heard: list[str] = []

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tag = b""
        try:
            for step in self.steps:
                if isinstance(step, bytes):
                    writer.write(step.replace(b"{tag}", tag))
                    await writer.drain()
                elif isinstance(step, str):
                    tag, line = await _command(reader)
                    self.heard.append(line)
                    if not re.match(step, line):
                        self.problem = f"expected {step!r}, heard {line!r}"
                        return
                else:
                    await reader.read(-1)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client had enough; the test says whether it should have
        finally:
            writer.close()


async def _command(reader: asyncio.StreamReader) -> tuple[bytes, str]:
    line = await reader.readuntil(b"\r\n")
    tag, _, rest = line.partition(b" ")
    while match := re.search(rb"~?\{(\d+)\+\}\r\n$", rest):
        rest += await reader.readexactly(int(match[1]))
        rest += await reader.readuntil(b"\r\n")
    return tag, rest.decode("latin-1").rstrip("\r\n")


@asynccontextmanager
async def server(steps: Sequence[Step], *, timeout: float = 5.0) -> AsyncIterator[tuple[ImapAccount, Script]]:
    """Serve one script; gives the account that reaches it. The script's own check is made at the end."""
    script = Script(steps)
    running: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        await script.run(reader, writer)

    listening = await asyncio.start_server(accept, "127.0.0.1", 0, limit=1 << 24)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield (
            ImapAccount("127.0.0.1", port, "anna", Secret("pass"), tls=Tls.NONE, timeout=timeout),
            script,
        )
    finally:
        listening.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await listening.wait_closed()
    assert script.problem is None, script.problem
