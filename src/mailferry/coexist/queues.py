"""The queues that take mail for people, whichever program's: what a wave asks of each (`MailQueue`).

Two kinds are known: Postfix (parking.py) and qmail (qmail_queue.py). Invariant: nothing but our own probes is ever
taken out of one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from mailferry.coexist.parking import Listing, Mta, Queue, Released, Waiting
from mailferry.coexist.qmail_queue import QmailHost, QmailQueue

Place = Mta | QmailHost
"""How a queue is reached."""


class MailQueue(Protocol):
    """One queue, for one event loop. Addresses are primary ones."""

    @property
    def mta(self) -> Place:
        """How it is reached."""

    @property
    def listing(self) -> Callable[[], Awaitable[Listing]]:
        """The whole queue, as it is after the call."""

    async def waiting(self, address: str) -> list[Waiting]:
        """What is there for an address, oldest first."""

    async def check(self) -> None:
        """Raise what shows, without a change anywhere, that it is out of reach."""

    async def follow(self, address: str) -> None:
        """Return when the next message for the address is met by the route of now (one may be remembered)."""

    async def forget(self, address: str) -> None:
        """Return when mail for the address follows no route from before this call."""

    async def forget_or_wait(self, address: str) -> None:
        """As `forget`; where the command for that does not work, after the time in which it happens by itself, or
        Temporary."""

    async def quiet(self, address: str) -> None:
        """Return when nothing that is there now is still being tried for an address. Temporary: it takes too long."""

    async def release(self, address: str, *, anew: bool = False) -> Released:
        """Have all mail for an address tried, after `forget`. `anew`: it has to be forwarded, too."""

    async def remove(self, ids: Sequence[str]) -> None:
        """Take probes out; one that has gone by itself is no error."""


def queue_of(place: Place) -> MailQueue:
    """The queue there."""
    return QmailQueue(place) if isinstance(place, QmailHost) else Queue(place)
