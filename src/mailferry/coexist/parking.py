"""Looks at Postfix's queue, makes it forget old routes, and lets parked mail go, oldest first. Changes no route.

Postfix forgets an old route within 30 seconds, or when it is reloaded: mail that is tried earlier is parked again, and
waits for the next try. Many who ask at once share one listing and one reload. Invariant: nothing is taken out of the
queue, held, or sent by us but our own probes (probe.py): a release is only ever another try of Postfix's own.

Mail for somebody whose forwarding keeps a copy waits without having been forwarded, as Exchange would forward what goes
back there. Released into a store it has to pass Postfix's aliases: such mail is queued anew (`postsuper -r`).
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from mailferry.errors import ConfigError, RemoteProtocolError, Temporary
from mailferry.stack.postfix.tables import DEFERRED, NO_ROUTE, NO_STORE, PARKED_AT

T = TypeVar("T")

FORGOTTEN_SECONDS = 31.0
"""Postfix's processes remember the latest transport for 30 s."""
COMMAND_SECONDS = 60.0
PATIENCE_SECONDS = 5.0
"""How long the next message waits for the one before, when that is neither delivered nor refused."""
LOOK_SECONDS = 0.02
"""Between two looks at the queue."""
GATHER_SECONDS = 0.1
"""How long a reload waits for others who want one, too."""

_RESTS = {"hold": "on hold", "deferred": "not tried since Postfix was started"}
"""Why a message waits that Postfix gives no reason for, by its queue; those in the others are on their way."""
_NOT_RUN = {126: "may not be run", 127: "is not there"}
"""What a shell's exit code says of the program (POSIX.1-2017, Shell & Utilities 2.8.2); ssh passes it on."""
_ID = re.compile(r"[0-9A-Za-z]+(-[0-9a-f]+)?")


@dataclass(frozen=True, slots=True)
class Mta:
    """One Postfix. `postqueue`, `postsuper`, `reload`: commands with their first arguments; no `reload`: wait instead.
    `smtp`: (host, port) where it takes a probe."""

    postqueue: tuple[str, ...] = ("postqueue",)
    reload: tuple[str, ...] = ()
    postsuper: tuple[str, ...] = ("postsuper",)
    smtp: tuple[str, int] | None = None
    name: str = "postfix"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message in the queue that waits for one recipient. `arrived`: seconds since the epoch. `why`: Postfix's words;
    empty while it is being tried. `sender`: of the envelope."""

    id: str
    arrived: float
    size: int
    why: str
    sender: str = ""


@dataclass(frozen=True, slots=True)
class Released:
    """`tried`: queue ids, oldest first. `left`: what still waits for the recipient."""

    tried: tuple[str, ...]
    left: tuple[Waiting, ...]


Listing = dict[str, list[Waiting]]
"""Who waits for what, by the recipient's address in small letters, oldest first."""


@dataclass(slots=True)
class Shared(Generic[T]):
    """An action that is done once for all who ask before it begins; who asks while it runs waits for the next."""

    action: Callable[[], Awaitable[T]]
    gather: float = 0.0
    _next: asyncio.Future[T] | None = None
    _busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def __call__(self) -> T:
        if self._next is None:
            self._next = asyncio.ensure_future(self._round())
        return await asyncio.shield(self._next)

    async def _round(self) -> T:
        async with self._busy:
            if self.gather:
                await asyncio.sleep(self.gather)
            self._next = None
            return await self.action()


class Queue:
    """The queue of one Postfix, for one event loop."""

    def __init__(self, mta: Mta) -> None:
        self.mta = mta
        self.listing = Shared(lambda: listed((*mta.postqueue, "-j")))
        """The whole queue, as it is after the call."""
        self._reload = Shared(lambda: run(self.mta.reload), GATHER_SECONDS)

    async def waiting(self, address: str) -> list[Waiting]:
        """What is there for an address (the primary one: aliases are resolved on the way in), oldest first."""
        return (await self.listing()).get(address.lower(), [])

    async def follow(self, address: str) -> None:
        """Nothing is to be done: Postfix asks the directory whenever it takes a message."""

    async def forget(self, address: str = "") -> None:
        """Return when Postfix no longer remembers any route from before this call, whoever's."""
        if self.mta.reload:
            await self._reload()
        else:
            await asyncio.sleep(FORGOTTEN_SECONDS)

    async def forget_or_wait(self, address: str = "") -> None:
        """As `forget`, also where the command to reload does not work: then it has taken as long as without one."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(FORGOTTEN_SECONDS):
                await self.forget(address)
        except (ConfigError, Temporary, TimeoutError):
            await asyncio.sleep(started + FORGOTTEN_SECONDS - time.monotonic())

    async def check(self) -> None:
        """Raise what shows, without a change anywhere, that a command will not do: its queue is listed, and the
        programs of the others have to be on this machine (what `ssh HOST …` runs there is not tried)."""
        for command in (self.mta.reload, self.mta.postsuper):
            if command:
                program(command)
        await self.listing()

    async def quiet(self, address: str, seconds: float = COMMAND_SECONDS) -> None:
        """Return when nothing that is there now is still being tried for an address: it may be on its way to the place
        of an old route. Temporary after so many `seconds`."""
        await quiet(self.waiting, self.mta.name, address, seconds)

    async def release(self, address: str, *, anew: bool = False, seconds: float = 120.0) -> Released:
        """Have all mail for an address tried, after `forget`, and wait up to `seconds` until none of it is parked any
        more. For a route that still says `parked` this is in vain.

        Postfix does not keep an order among messages that are tried together, so each one has to be gone before the
        next is tried; of more than 100, some together. Mail that the other side does not take now (it is down, a quota
        is full) stays in `left` and is Postfix's to retry. `anew`: it has to be forwarded, too; then all go together.
        """
        tried: dict[str, None] = {}
        deadline = time.monotonic() + seconds
        empty = 0
        while True:
            left = await self.waiting(address)
            again = [one for one in left if one.id not in tried or is_parked(one)]
            empty = 0 if left else empty + 1
            # a message that is just passing from one queue to the next is in no listing: look twice
            if empty == 2 or (left and not again and all(one.why for one in left)) or time.monotonic() > deadline:
                return Released(tuple(tried), tuple(left))
            together = again if anew else again[: max(1, len(again) // 100)]
            for one in together:
                retry = (*self.mta.postsuper, "-r") if anew and is_parked(one) else (*self.mta.postqueue, "-i")
                await run((*retry, one.id))
                tried[one.id] = None
            until = min(deadline, time.monotonic() + PATIENCE_SECONDS)
            while together and time.monotonic() < until:
                await asyncio.sleep(LOOK_SECONDS)
                here = {one.id: one for one in await self.waiting(address)}
                together = [one for one in together if one.id in here and not _is_refused(here[one.id])]

    async def remove(self, ids: Sequence[str]) -> None:
        """Take probes out of the queue; one that has gone by itself is no error."""
        for one in ids:
            await run((*self.mta.postsuper, "-d", one))


async def quiet(
    waiting: Callable[[str], Awaitable[list[Waiting]]], name: str, address: str, seconds: float = COMMAND_SECONDS
) -> None:
    """Return when nothing that `waiting` gives now for an address is still being tried. `name`: of the queue."""
    under_way = {one.id for one in await waiting(address) if not one.why}
    deadline = time.monotonic() + seconds
    while under_way:
        if time.monotonic() > deadline:
            raise Temporary(f"a message is being delivered for {seconds:.0f} s", about=f"{name}: {address}")
        await asyncio.sleep(LOOK_SECONDS)
        under_way &= {one.id for one in await waiting(address) if not one.why}


async def listed(command: Sequence[str]) -> Listing:
    """A queue as a command tells it in postqueue(1)'s JSON format: one object for each message."""
    found: Listing = {}
    for line in (await run(command)).splitlines():
        try:
            record: dict[str, Any] = json.loads(line)
            if not _ID.fullmatch(record["queue_id"]):
                raise ValueError("a queue id is letters and digits")
            for recipient in record["recipients"]:
                one = Waiting(
                    record["queue_id"],
                    record["arrival_time"],
                    record["message_size"],
                    recipient.get("delay_reason") or _RESTS.get(record["queue_name"], ""),
                    record.get("sender", ""),
                )
                found.setdefault(recipient["address"].lower(), []).append(one)
        except (ValueError, KeyError) as error:
            raise RemoteProtocolError(f"not a line of a queue: {error}", about=shlex.join(command)) from error
    for some in found.values():
        some.sort(key=lambda one: (one.arrived, one.id))
    return found


def is_parked(one: Waiting) -> bool:
    """Whether it waits for the route, not for a server."""
    return one.why == DEFERRED or any(f"[{place}]" in one.why for place in (PARKED_AT, NO_ROUTE, NO_STORE))


def _is_refused(one: Waiting) -> bool:
    """Whether it waits for a server."""
    return bool(one.why) and not is_parked(one)


def program(command: Sequence[str]) -> str:
    """The path of the program that a command begins with. ConfigError: there is none that may be run."""
    found = shutil.which(command[0])
    if found is None:
        raise _misconfigured(command, f"{command[0]} is not there, or may not be run")
    return found


def _misconfigured(command: Sequence[str], why: str) -> ConfigError:
    shown = shlex.join(command)
    return ConfigError(
        f"the command `{shown}` cannot work: {why}",
        about=shown,
        advice="correct it in mailferry.toml, [[coexist.queues]] (`free`: [coexist.stores]), or [stack.postfix] or "
        "[stack.qmail] where no queues are set; then mailferry wave rehearse",
    )


async def run(command: Sequence[str], text: str = "") -> str:
    """The standard output of a command that is given `text` as its input. Temporary with its words when it fails;
    ConfigError: there is no such program, here or where a shell or ssh was to run it."""
    shown = shlex.join(command)
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    except (FileNotFoundError, PermissionError) as error:
        raise _misconfigured(command, str(error)) from error
    except OSError as error:
        raise Temporary(f"it did not run: {error}", about=shown) from error
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            output, said = await process.communicate(text.encode())
    except TimeoutError as error:
        raise Temporary(f"it did not end within {COMMAND_SECONDS:.0f} s", about=shown) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        words = said.decode(errors="replace").strip()[-500:]
        if process.returncode in _NOT_RUN:
            raise _misconfigured(command, words or f"the program {_NOT_RUN[process.returncode]}")
        raise Temporary(f"it ended with {process.returncode}: {words}", about=shown)
    return output.decode(errors="replace")
