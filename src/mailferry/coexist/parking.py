"""Lets parked mail go: finds what waits for somebody in Postfix's queue, and has it tried again, oldest first.

Changes no route; do that before. Postfix forgets an old route within 30 seconds, or when it is reloaded: mail that is
tried earlier is parked again, and waits for the next try. Invariant: nothing is taken out of the queue, held, or sent
by us: a release is only ever another try of Postfix's own.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mailferry.errors import RemoteProtocolError, Temporary
from mailferry.stack.postfix.tables import DEFERRED, NO_ROUTE, NO_STORE, PARKED_AT

FORGOTTEN_SECONDS = 31.0
"""Postfix's processes remember the latest transport for 30 s."""
COMMAND_SECONDS = 60.0
PATIENCE_SECONDS = 5.0
"""How long the next message waits for the one before, when that is neither delivered nor refused."""

_ID = re.compile(r"[0-9A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Mta:
    """One Postfix. `postqueue`, `reload`: commands with their first arguments; no `reload`: wait instead."""

    postqueue: tuple[str, ...] = ("postqueue",)
    reload: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message in the queue that waits for one recipient. `arrived`: seconds since the epoch. `why`: Postfix's words;
    empty while it is being tried."""

    id: str
    arrived: float
    size: int
    why: str


@dataclass(frozen=True, slots=True)
class Released:
    """`tried`: queue ids, oldest first. `left`: what still waits for the recipient."""

    tried: tuple[str, ...]
    left: tuple[Waiting, ...]


def waiting(mta: Mta, address: str) -> list[Waiting]:
    """What is in the queue for an address (the primary one: aliases are resolved on the way in), oldest first."""
    found = []
    for record in _listing(mta):
        for recipient in record["recipients"]:
            if recipient["address"].lower() == address.lower():
                why = recipient.get("delay_reason", "")
                found.append(Waiting(record["queue_id"], record["arrival_time"], record["message_size"], why))
    return sorted(found, key=lambda one: (one.arrived, one.id))


def forget(mta: Mta, sleep: Callable[[float], None] = time.sleep) -> None:
    """Return when Postfix no longer remembers any route from before this call."""
    if mta.reload:
        _run(mta.reload)
    else:
        sleep(FORGOTTEN_SECONDS)


def release(mta: Mta, address: str, *, sleep: Callable[[float], None] = time.sleep, seconds: float = 120.0) -> Released:
    """Have all mail for an address tried, after `forget`, and wait up to `seconds` until none of it is parked any more.
    For a route that still says `parked` this is in vain.

    Postfix does not keep an order among messages that are tried together, so each one has to be gone before the next
    is tried; of more than 100, some together. Mail that the other side does not take now (it is down, a quota is full)
    stays in `left` and is Postfix's to retry.
    """
    tried: dict[str, None] = {}
    deadline = time.monotonic() + seconds
    empty = 0
    while True:
        left = waiting(mta, address)
        again = [one for one in left if one.id not in tried or is_parked(one)]
        empty = 0 if left else empty + 1
        # a message that is just passing from one queue to the next is in no listing: look twice
        if empty == 2 or (left and not again and all(one.why for one in left)) or time.monotonic() > deadline:
            return Released(tuple(tried), tuple(left))
        together = again[: max(1, len(again) // 100)]
        for one in together:
            _run((*mta.postqueue, "-i", one.id))
            tried[one.id] = None
        until = min(deadline, time.monotonic() + PATIENCE_SECONDS)
        while together and time.monotonic() < until:
            sleep(0.02)
            here = {one.id: one for one in waiting(mta, address)}
            together = [one for one in together if one.id in here and not _is_refused(here[one.id])]


def is_parked(one: Waiting) -> bool:
    """Whether it waits for the route, not for a server."""
    return one.why == DEFERRED or any(f"[{place}]" in one.why for place in (PARKED_AT, NO_ROUTE, NO_STORE))


def _is_refused(one: Waiting) -> bool:
    """Whether it waits for a server."""
    return bool(one.why) and not is_parked(one)


def _listing(mta: Mta) -> Iterator[dict[str, Any]]:
    """The queue, one object for each message (postqueue(1), JSON object format)."""
    command = (*mta.postqueue, "-j")
    for line in _run(command).splitlines():
        try:
            record: dict[str, Any] = json.loads(line)
            if not _ID.fullmatch(record["queue_id"]):
                raise ValueError("a queue id is letters and digits")
        except (ValueError, KeyError) as error:
            raise RemoteProtocolError(f"not a line of a queue: {error}", about=shlex.join(command)) from error
        yield record


def _run(command: Sequence[str]) -> str:
    """The standard output of a command. Temporary with its words when it fails."""
    shown = shlex.join(command)
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=COMMAND_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Temporary(f"it did not run: {error}", about=shown) from error
    if done.returncode:
        raise Temporary(f"it ended with {done.returncode}: {done.stderr.strip()[-500:]}", about=shown)
    return done.stdout
