"""Tells a webhook or a command of each change of a wave and its people: the use case behind `mailferry wave events`.

A process of its own, which reads the ledger's audit: no move ever waits for it, and what it could not tell now it tells
later, in order. Invariant: each line is told at least once; it holds addresses, states and reasons, no secret and
nothing of a message.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shlex
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from mailferry.config.waves import Events
from mailferry.errors import MailferryError, Temporary, UserError
from mailferry.ledger import telling
from mailferry.ledger import waves as ledger_waves
from mailferry.ledger.rows import Event
from mailferry.ledger.store import Ledger
from mailferry.net.webhook import post
from mailferry.ops.wave import Site, opened
from mailferry.secret import Secret

KINDS = (
    *("wave created", "wave changed", "wave filled", "wave member removed", "wave rehearsed"),
    *("move entered", "move approved", "letter sent"),
)
AT_ONCE = 200
POLL_SECONDS = 1.0
WAIT_MOST = 60.0


@dataclass(slots=True)
class Told:
    """`count`: how many lines were taken; `trouble`: why the next one was not, "" if all were."""

    count: int = 0
    trouble: str = ""


def tell(site: Site, *, from_start: bool = False) -> Told:
    """Tell everything that is new. What is not taken stays for the next call."""
    settings = _settings(site)
    with opened(site) as ledger:
        telling.mark(ledger, _listener(settings), from_start=from_start)
        return asyncio.run(_tell(ledger, settings))


def follow(site: Site, say: Callable[[Told], None], *, from_start: bool = False) -> NoReturn:
    """Go on telling until interrupted. After a refusal it waits, longer each time, at most a minute."""
    settings = _settings(site)
    with opened(site) as ledger:
        telling.mark(ledger, _listener(settings), from_start=from_start)
        pause = POLL_SECONDS
        while True:
            told = asyncio.run(_tell(ledger, settings))
            if told.count or told.trouble:
                say(told)
            pause = min(pause * 2, WAIT_MOST) if told.trouble else POLL_SECONDS
            time.sleep(pause)


async def _tell(ledger: Ledger, settings: Events) -> Told:
    listener, told = _listener(settings), Told()
    token = Secret.from_reference(settings.token) if settings.token else None
    while found := telling.following(ledger, telling.mark(ledger, listener), KINDS, AT_ONCE):
        names = {one.id: one.name for one in ledger_waves.waves(ledger)}
        wave_of = {one.id: names[one.wave_id] for one in ledger_waves.moves(ledger)}
        for one in found:
            body = json.dumps(document(one, names, wave_of), ensure_ascii=False).encode()
            try:
                if settings.url is not None:
                    await _post(settings, settings.url, body, token)
                else:
                    await _run(settings, body)
            except MailferryError as error:
                told.trouble = f"{error.about}: {error.message}"
                return told
            telling.taken(ledger, listener, one.id)
            told.count += 1
    return told


def document(one: Event, names: Mapping[int, str], wave_of: Mapping[int, str]) -> dict[str, Any]:
    """One line as JSON values (docs/json.md). `id` grows; who gets one twice knows it by that. `names`: wave id → name;
    `wave_of`: move id → name."""
    data = dict(one.data)
    wave = data.pop("wave", None)
    name = names.get(wave) if isinstance(wave, int) else wave or wave_of.get(data.get("move", 0))
    told = {"schema": 1, "id": one.id, "at": one.at, "who": one.who, "what": one.what}
    return told | ({"wave": name} if name else {}) | data


async def _post(settings: Events, url: str, body: bytes, token: Secret | None) -> None:
    headers = {"Authorization": f"Bearer {token.reveal()}"} if token is not None else {}
    ca_file = str(settings.ca_file) if settings.ca_file else None
    status = await post(url, body, headers, settings.seconds, ca_file)
    if not 200 <= status < 300:
        raise Temporary(f"the webhook answered with {status}", about="coexist.events")


async def _run(settings: Events, body: bytes) -> None:
    """The command, with the line on its standard input; it and what it started ends in time."""
    assert settings.command is not None
    try:
        process = await asyncio.create_subprocess_exec(
            *shlex.split(settings.command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise Temporary(f"the command did not run: {error}", about="coexist.events") from error
    try:
        async with asyncio.timeout(settings.seconds):
            await process.communicate(body + b"\n")
    except TimeoutError as error:
        raise Temporary(f"the command did not end in {settings.seconds:g} s", about="coexist.events") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if process.returncode:
        raise Temporary(f"the command ended with {process.returncode}", about="coexist.events")


def _settings(site: Site) -> Events:
    if site.coexist.events is None:
        raise UserError("nobody is to be told", about="coexist.events", advice="docs/waves.md shows how to set it")
    return site.coexist.events


def _listener(settings: Events) -> str:
    """What the ledger calls whoever is told. A webhook's path may hold a token, so it is a digest."""
    where = settings.url or settings.command or ""
    return f"events {hashlib.sha256(where.encode()).hexdigest()[:16]}"
