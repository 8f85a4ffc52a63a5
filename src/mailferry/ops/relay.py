"""The use cases behind `mailferry relay`: hold the mail of whole domains, watch it, let it go. On the relay's own host.

Shows nothing. Invariant: every change of what the relay does is in the ledger's audit, before and after it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mailferry.coexist import relay as draining
from mailferry.coexist.parking import Mta, Queue
from mailferry.config.settings import read_settings
from mailferry.errors import Permanent, SafetyStop, Temporary
from mailferry.ledger import open_ledger
from mailferry.ledger.store import Ledger
from mailferry.ops.stack import postfix_settings
from mailferry.ops.stack_relay import relay_settings
from mailferry.stack.postfix import relay as instance
from mailferry.stack.postfix.relay import Relay, State


@dataclass(frozen=True, slots=True)
class Place:
    """What every verb needs. `alarm_free`: bytes; `alarm_age`: seconds."""

    relay: Relay
    ledger: Ledger
    mta: Mta
    per_second: float
    alarm_free: int
    alarm_age: float


@dataclass(frozen=True, slots=True)
class Status:
    """`oldest`: seconds that the oldest message has waited; None: none waits. `free`, `size`: bytes. `alarms`: what is
    beyond its limit, for people."""

    state: str
    running: bool
    messages: int
    size: int
    oldest: float | None
    free: int
    alarms: tuple[str, ...]


@contextmanager
def opened(config: Path, ledger: str | None, default_ledger: Callable[[], str]) -> Iterator[Place]:
    """Read the settings, open the ledger."""
    whole = read_settings(config)
    relay = relay_settings(whole, postfix_settings(whole))
    assert whole.stack is not None and whole.stack.relay is not None
    wanted = whole.stack.relay
    own = ("-c", str(relay.base.config_dir))
    mta = Mta(("postqueue", *own), ("postfix", *own, "reload"), ("postsuper", *own), name=instance.NAME)
    with closing(open_ledger(ledger or whole.ledger or default_ledger())) as db:
        alarm = wanted.alarm_free_mb << 20, wanted.alarm_hours * 3600
        yield Place(relay, db, mta, wanted.per_second, *alarm)


def state(place: Place) -> State:
    """What the relay does with mail now. Permanent: it is not installed here."""
    path = place.relay.state_file
    try:
        return instance.state_of(path.read_text(encoding="utf-8"))
    except OSError as error:
        advice = "run this on the relay's host, after `mailferry stack up relay`"
        raise Permanent(f"it cannot be read: {error.strerror}", about=str(path), advice=advice) from error


def change(place: Place, wanted: State, *, dry_run: bool = False) -> tuple[State, State]:
    """Hold, or pass. Returns what it was and what it is. SafetyStop: it would pass while older mail is still held."""
    before = state(place)
    if wanted is State.PASS and (waiting := len(_messages(place))):
        raise SafetyStop(
            f"{waiting} messages are held; later ones would overtake them",
            about=instance.NAME,
            advice="mailferry relay drain lets them go first, in order, and then switches off",
        )
    if before is not wanted and not dry_run:
        _set(place, before, wanted)
    return before, wanted


def drain(place: Place, per_second: float | None, progress: Callable[[int, int], None]) -> int:
    """Let everything go in order, then pass. How many messages went. May be repeated after a Temporary."""
    rate = per_second or place.per_second
    before = state(place)
    if before is not State.DRAIN:
        _set(place, before, State.DRAIN)
    gone = asyncio.run(draining.drain(Queue(place.mta), rate, progress))
    _set(place, State.DRAIN, State.PASS)
    # what came between the last look and the change waits for a try
    return gone + asyncio.run(draining.drain(Queue(place.mta), rate, progress))


def status(place: Place) -> Status:
    """What is held, and what is beyond its limits."""
    now = state(place)
    own = ("postfix", "-c", str(place.relay.base.config_dir), "status")
    running = subprocess.run(own, check=False, capture_output=True).returncode == 0
    held = _messages(place) if running else []
    oldest = max(0.0, time.time() - held[0].arrived) if held else None
    free = shutil.disk_usage(place.relay.base.queue_dir).free
    alarms = []
    if not running:
        alarms.append("the instance does not run: senders keep their mail and come again")
    if free < place.relay.min_free:
        alarms.append(f"{free >> 20} MiB are free: no more mail is taken (452)")
    elif free < place.alarm_free:
        alarms.append(f"{free >> 20} MiB are free")
    if oldest is not None and oldest > place.alarm_age:
        alarms.append(f"the oldest message has waited {oldest / 3600:.1f} h")
    if now is State.PASS and held and oldest is not None and oldest > 600:
        alarms.append("mail waits although nothing is held: the Postfix between both sides does not take it")
    return Status(now.value, running, len(held), sum(one.size for one in held), oldest, free, tuple(alarms))


def _messages(place: Place) -> list[draining.Message]:
    return draining.messages(asyncio.run(Queue(place.mta).listing()))


def _set(place: Place, before: State, wanted: State) -> None:
    data: dict[str, Any] = {"before": before.value, "after": wanted.value, "domains": list(place.relay.base.domains)}
    place.ledger.audit("relay intended", **data)
    path = place.relay.state_file
    try:
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with open(handle, "w", encoding="utf-8") as stream:
            stream.write(instance.state(place.relay, wanted))
            os.fchmod(handle, 0o644)
            stream.flush()
            os.fsync(handle)
        os.replace(scratch, path)
    except OSError as error:
        raise Permanent(f"it cannot be written: {error.strerror}", about=str(path), advice="run it as root") from error
    try:
        asyncio.run(Queue(place.mta).forget())
    except Temporary as error:
        advice = "it is in force when Postfix runs again; see mailferry relay status"
        raise Temporary(error.message, about=error.about, advice=advice) from error
    place.ledger.audit("relay set", **data)
