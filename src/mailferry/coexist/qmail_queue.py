"""The queue of one qmail host: looks at it, has routes written anew, and lets parked mail go. Changes no route itself.

qmail remembers no route: each try reads the recipient's `.qmail` (dot-qmail(5)), which `apply` writes from the
directory. What is just being delivered may have read the old one; `quiet` waits for it. qmail knows no try of a single
message, so a release has everything tried (SIGALRM, qmail-send(8)), and keeps no order. Invariant: as parking.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from mailferry.coexist.parking import (
    COMMAND_SECONDS,
    GATHER_SECONDS,
    Released,
    Shared,
    Waiting,
    is_parked,
    listed,
    program,
    quiet,
    run,
)
from mailferry.errors import ConfigError, Temporary

AGAIN_SECONDS = 3.0
"""When what is still there is tried once more: it may have been met by the old `.qmail` when it was tried before."""
PAUSE_SECONDS = 0.1
RELEASE_SECONDS = 30.0
"""How long a release waits for a store or for Exchange; what is left then is qmail's to try again."""


@dataclass(frozen=True, slots=True)
class QmailHost:
    """One qmail. `queue`: the command of the kit that lists its queue; `reload`: the one that writes routes
    (`mailferry stack apply`), which reads addresses from its input. `smtp`: (host, port) where it takes a probe."""

    queue: tuple[str, ...]
    reload: tuple[str, ...]
    smtp: tuple[str, int] | None = None
    name: str = "qmail"


class QmailQueue:
    """The queue of one qmail host, for one event loop."""

    def __init__(self, mta: QmailHost) -> None:
        self.mta = mta
        self.listing = Shared(lambda: listed((*mta.queue, "list")))
        """The whole queue, as it is after the call."""
        self._retry = Shared(lambda: run((*mta.queue, "retry")))
        self._asked: dict[str, None] = {}
        self._apply = Shared(self._write, GATHER_SECONDS)

    async def waiting(self, address: str) -> list[Waiting]:
        """What is there for a person under any address, oldest first; also what is on its way to Exchange or a store,
        and deliveries at work. A parked probe that was met is there by the mark that it left."""
        return (await self.listing()).get(address.lower(), [])

    async def check(self) -> None:
        """Raise what shows that a command will not do: the queue is listed, `apply` has to be on this machine."""
        program(self.mta.reload)
        await self.listing()

    async def follow(self, address: str) -> None:
        """Have the route of one person written as the directory says, together with those of others who ask now."""
        self._asked[address] = None
        await self._apply()

    async def forget(self, address: str) -> None:
        """As `follow`: nothing else is remembered."""
        await self.follow(address)

    async def _write(self) -> str:
        asked, self._asked = self._asked, {}
        return await run((*self.mta.reload, "-"), "".join(f"{one}\n" for one in asked))

    async def forget_or_wait(self, address: str) -> None:
        """As `forget`; waiting alone would not do, so a command that is wrong is Temporary: it may be corrected."""
        try:
            await self.forget(address)
        except ConfigError as error:
            raise Temporary(error.message, about=error.about, advice=error.advice) from error

    async def quiet(self, address: str, seconds: float = COMMAND_SECONDS) -> None:
        """Return when nothing that has left for the place of an old route is still under way."""
        if any(not one.why for one in await self.waiting(address)):
            await self._retry()  # what Exchange did not take before is tried now, and not in an hour
        await quiet(self.waiting, self.mta.name, address, seconds)

    async def release(self, address: str, *, anew: bool = False, seconds: float = RELEASE_SECONDS) -> Released:
        """Have all that waits tried until nothing is left for the address, for up to `seconds`. `anew` asks for nothing
        here: forwarding stands in the `.qmail`. For a route that still says `parked` this is in vain."""
        tried: dict[str, None] = {}
        deadline = time.monotonic() + seconds
        empty, again = 0, 0.0
        while True:
            left = [one for one in await self.waiting(address) if not one.id.startswith("delivery-")]
            tried |= dict.fromkeys(one.id for one in left)
            empty = 0 if left else empty + 1
            # what passes from one part of the queue to the next is in no listing: look twice
            if empty == 2 or time.monotonic() > deadline or (left and all(is_parked(one) for one in left) and again):
                return Released(tuple(tried), tuple(left))
            if left and time.monotonic() > again:
                await self._retry()
                again = time.monotonic() + AGAIN_SECONDS
            await asyncio.sleep(PAUSE_SECONDS)

    async def remove(self, ids: Sequence[str]) -> None:
        """Take probes out of the queue, and their marks away; one that has gone by itself is no error."""
        if ids:
            await run((*self.mta.queue, "remove", *ids))
