"""Lets go what a relay instance of Postfix holds: in the order of arrival for each recipient, at a bounded rate.

Decides nothing about routes: what is let go is handed to the Postfix between both sides, by Postfix. Invariants: a
message is only ever tried by Postfix itself (`postqueue -i`), and stays in the queue until it has been taken; of two
messages for one recipient the later is not tried before the earlier is gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from mailferry.coexist.parking import LOOK_SECONDS, Listing, Queue, run
from mailferry.errors import Temporary
from mailferry.stack.postfix.relay import HELD_AT
from mailferry.stack.postfix.tables import DEFERRED

PATIENCE_SECONDS = 30.0
"""How long a drain goes on without any message being taken."""
TOGETHER = 1000
"""Messages that are tried between two looks at the queue, at most; all of them for different recipients. A look at a
queue of 100,000 takes seconds."""


@dataclass(frozen=True, slots=True)
class Message:
    """One in the queue. `why`: what Postfix says of the recipient that waits longest; empty while it is being tried."""

    id: str
    arrived: float
    size: int
    recipients: frozenset[str]
    why: str


def messages(listing: Listing) -> list[Message]:
    """The messages of a queue, oldest first (long queue ids grow with time, postconf(5) enable_long_queue_ids)."""
    recipients: dict[str, set[str]] = {}
    found = {}
    for address, waiting in listing.items():
        for one in waiting:
            recipients.setdefault(one.id, set()).add(address)
            found[one.id] = one
    kept = (Message(one.id, one.arrived, one.size, frozenset(recipients[one.id]), one.why) for one in found.values())
    return sorted(kept, key=lambda one: (one.arrived, one.id))


def next_ones(waiting: list[Message], most: int) -> list[Message]:
    """The oldest of which no two are for one recipient, nor for that of an older one that is not among them."""
    chosen: list[Message] = []
    taken: set[str] = set()
    for one in waiting:
        if len(chosen) == most:
            break
        if taken.isdisjoint(one.recipients):
            chosen.append(one)
        taken |= one.recipients
    return chosen


async def drain(queue: Queue, per_second: float, progress: Callable[[int, int], None]) -> int:
    """Let everything go; how many messages that were. `progress` is told how many are gone and how many wait.

    Temporary: for a time nothing was taken; what is left waits on, and another call goes on with it.
    """
    gone, empty = 0, 0
    moved = time.monotonic()
    while True:
        waiting = messages(await queue.listing())
        progress(gone, len(waiting))
        empty = 0 if waiting else empty + 1
        if empty == 2:  # a message that is just passing from one queue to the next is in no listing: look twice
            return gone
        batch = next_ones(waiting, TOGETHER)
        began = time.monotonic()
        for number, one in enumerate(batch, 1):
            await run((*queue.mta.postqueue, "-i", one.id))
            await asyncio.sleep(began + number / per_second - time.monotonic())
        left = {one.id: one for one in batch}
        until = time.monotonic() + PATIENCE_SECONDS
        while left and time.monotonic() < until:
            looked = time.monotonic()
            here = {one.id: one for one in messages(await queue.listing())}
            left = {key: here[key] for key in left if key in here}
            if left and all(one.why and not _is_held(one) for one in left.values()):
                break  # refused for now, all of them
            if left:
                await asyncio.sleep(max(LOOK_SECONDS, time.monotonic() - looked))
        if len(left) < len(batch):
            gone, moved = gone + len(batch) - len(left), time.monotonic()
        elif batch and time.monotonic() - moved > PATIENCE_SECONDS:
            said = next(iter(left.values())).why or "being tried"
            raise Temporary(f"none of {len(waiting)} messages is taken: {said}", about=queue.mta.name)
        await asyncio.sleep(1.0 if batch and len(left) == len(batch) else LOOK_SECONDS)


def _is_held(one: Message) -> bool:
    """Whether it waits for the drain, not for a server."""
    return one.why == DEFERRED or f"[{HELD_AT}]" in one.why
