"""Is everything there that a cutover needs? Asks each server something harmless, and tells how it answered.

Invariant: nothing is changed anywhere, and no mail is sent; what does not answer is a `Check`, never an exception.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from mailferry.coexist import parking
from mailferry.coexist.queues import MailQueue, queue_of
from mailferry.errors import LocalProtocolError, MailferryError, RemoteProtocolError, Temporary
from mailferry.ledger.store import Ledger
from mailferry.model.wave import Move
from mailferry.net import ldap
from mailferry.ops import exchange_side, wave_rules
from mailferry.ops.checking import check
from mailferry.ops.wave import Site
from mailferry.tasks import together
from mailferry.verify.report import size_text

T = TypeVar("T")
SECONDS = 15.0
"""What a server may take to answer."""
AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Check:
    """A server that a cutover needs, and whether it answered as it has to."""

    name: str
    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class Room:
    """What somebody's open mailbox holds and may hold, in bytes. `limit` None: the store tells none. `error`: why it
    did not open."""

    used: int | None = None
    limit: int | None = None
    error: str = ""


async def checks(site: Site, moves: Sequence[Move]) -> list[Check]:
    """Directory, queues, listeners, and the disks of the stores that these people go to."""
    work = [_told("directory", lambda: asyncio.to_thread(_directory, site))]
    for mta in site.mtas:
        work.append(_told(f"queue {mta.name}", partial(_queue, queue_of(mta))))
        others = {"postsuper": mta.postsuper} if isinstance(mta, parking.Mta) else {}
        for name, command in {"reload": mta.reload, **others}.items():
            work.append(_told(f"{name} {mta.name}", partial(_program, command)))
        if mta.smtp is not None:
            work.append(_told(f"listener {mta.name}", partial(_greeting, *mta.smtp)))
    if site.probe is not None and site.probe.exchange is not None:
        work.append(_told("listener Exchange", partial(_greeting, *site.probe.exchange)))
    port = exchange_side.writer(site.settings, _writes_nothing)
    for server in port.servers if port is not None else ():
        work.append(_told("domain controller", partial(asyncio.to_thread, _controller, server)))
    for store in sorted({move.store for move in moves}):
        settings = site.coexist.stores.get(store)
        if settings is not None and settings.free is not None:
            coming = sum(int(move.forecast.get("bytes") or 0) for move in moves if move.store == store)
            work.append(_told(f"disk {store}", partial(_disk, settings.free, coming)))
    if site.coexist.rules is not None:
        some = {move.store: move for move in moves}  # one of each store
        for store, move in sorted(some.items()):
            if (account := site.scripts(move)) is not None:
                work.append(_told(f"ManageSieve {store}", partial(wave_rules.answers, account)))
    return list(await asyncio.gather(*work))


async def rooms(site: Site, moves: Iterable[Move]) -> dict[int, Room]:
    """Move id → its open mailbox, by logging in."""
    waiting = iter(list(moves))
    found: dict[int, Room] = {}

    async def work() -> None:
        for move in waiting:
            try:
                done = await check(site.target(move))
            except MailferryError as error:
                found[move.id] = Room(error=error.message)
                continue
            used, limit = done.facts.get("quota") or (None, None)
            found[move.id] = Room(used, limit, done.error["message"] if done.error else "")

    await together(*(work() for _ in range(AT_ONCE)))
    return found


async def _told(name: str, ask: Callable[[], Awaitable[str]]) -> Check:
    try:
        async with asyncio.timeout(SECONDS):
            return Check(name, True, await ask())
    except MailferryError as error:
        return Check(name, False, error.message)
    except (OSError, TimeoutError) as error:
        return Check(name, False, str(error) or f"no answer in {SECONDS:.0f} s")


def _directory(site: Site) -> str:
    with ldap.Connection(site.directory) as connection:
        entry = connection.read(site.suffix, ("objectClass",))
    if entry is None:
        raise RemoteProtocolError(f"it has no {site.suffix}")
    return f"{site.directory.url} answers"


def _controller(server: ldap.Server) -> str:
    with ldap.Connection(server):
        return f"{server.url} lets us log in"


def _writes_nothing(work: Callable[[Ledger], T]) -> T:
    raise LocalProtocolError("a check writes nothing")


async def _queue(queue: MailQueue) -> str:
    listing = await queue.listing()
    return f"{sum(map(len, listing.values()))} recipients waiting in it"


async def _program(command: Sequence[str]) -> str:
    """It is looked for, and not run: that would change something."""
    if not command:
        return f"no command is set: {parking.FORGOTTEN_SECONDS:.0f} seconds are waited instead"
    return f"{parking.program(command)} is there; `{shlex.join(command)}` itself is not tried"


async def _greeting(host: str, port: int) -> str:
    """The first line of an SMTP server (RFC 5321 §4.2: 220)."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        line = (await reader.readline()).decode("ascii", "replace").strip()
    finally:
        writer.close()
    if not line.startswith("220"):
        raise RemoteProtocolError(f"it greets with {line[:100]!r}")
    return f"{host}:{port} greets"


async def _disk(line: str, coming: int) -> str:
    said = await parking.run(shlex.split(line))
    numbers = re.findall(r"\d+", said)
    if not numbers:
        raise RemoteProtocolError(f"no number in what the command said: {said.strip()[:100]!r}")
    free = int(numbers[-1])
    if coming > free:
        raise Temporary(f"{size_text(free)} are free, and {size_text(coming)} come")
    return f"{size_text(free)} free, {size_text(coming)} come in all"
