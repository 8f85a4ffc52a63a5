"""Probe messages: one for somebody who is parked has to be seen waiting, and is then taken out of the queue again.

Changes no route. Each probe has a sender of its own, by which it is found (queue ids do not survive another server in
between). Invariant: nothing but messages with such a sender for this very recipient is ever removed from a queue.
"""

from __future__ import annotations

import asyncio
import secrets
import smtplib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import format_datetime, localtime

from mailferry.coexist.parking import LOOK_SECONDS, Waiting, is_parked
from mailferry.coexist.queues import MailQueue
from mailferry.errors import SafetyStop, Temporary
from mailferry.tasks import finished

_TEXT = "A test of Mailferry whether mail waits while this mailbox is moved. It may be deleted."
SMTP_SECONDS = 30.0
CLEAR_TRIES = 3
MISSED_LOOKS = 5
"""What is just passing from one of Postfix's queues to the next is in no listing; after so many looks it is gone."""


@dataclass(frozen=True, slots=True)
class Probe:
    """`sender`: LOCAL@DOMAIN; each probe adds to LOCAL. `exchange`: (host, port) from where one comes, too. `seconds`:
    how long it may take until it is seen waiting."""

    sender: str
    exchange: tuple[str, int] | None = None
    seconds: float = 30.0

    def is_one(self, sender: str) -> bool:
        local, _, domain = self.sender.partition("@")
        return sender.startswith(f"{local}-") and sender.endswith(f"@{domain}")

    def new_sender(self) -> str:
        local, _, domain = self.sender.partition("@")
        return f"{local}-{secrets.token_hex(8)}@{domain}"


async def prove(queues: Sequence[MailQueue], probe: Probe, address: str) -> None:
    """Return when a probe from each side was parked for the address (the primary one). SafetyStop: one was not;
    Temporary: one could not be sent."""
    await clear(queues, probe, address)
    places = [(queue.mta.name, queue.mta.smtp, [queue]) for queue in queues if queue.mta.smtp is not None]
    if probe.exchange is not None:
        places.append(("Exchange", probe.exchange, list(queues)))
    try:
        await asyncio.gather(*(_one(name, at, where, probe, address) for name, at, where in places))
    finally:
        await clear(queues, probe, address)


async def clear(queues: Sequence[MailQueue], probe: Probe, address: str) -> None:
    """Remove every probe for the address, also what a killed run has left."""

    async def one(queue: MailQueue) -> None:
        for _ in range(CLEAR_TRIES):
            found = [each.id for each in await queue.waiting(address) if probe.is_one(each.sender)]
            if not found:
                return
            await queue.remove(found)

    await asyncio.gather(*(one(queue) for queue in queues))


async def _one(name: str, at: tuple[str, int], queues: Sequence[MailQueue], probe: Probe, address: str) -> None:
    sender = probe.new_sender()
    # who is stopped here waits until it is sent, or it would come into the queue after `clear` has looked there
    await finished(asyncio.ensure_future(asyncio.to_thread(_send, name, at, sender, address)))
    deadline = time.monotonic() + probe.seconds
    seen, missed = False, 0
    while True:
        found: list[Waiting] = []
        for queue in queues:
            found += [one for one in await queue.waiting(address) if one.sender == sender]
        if any(is_parked(one) for one in found):
            return
        missed = 0 if found else missed + 1
        gone = seen and missed >= MISSED_LOOKS
        if time.monotonic() > deadline or gone:
            why = "it was delivered" if gone else f"it is not in {_named(queues)}"
            raise SafetyStop(
                f"a probe message from {name} did not wait: {found[0].why if found else why}",
                about=address,
                advice=f"mailferry route show {address}; where does this host read its routes?",
            )
        seen = seen or bool(found)
        await asyncio.sleep(LOOK_SECONDS)


def _named(queues: Sequence[MailQueue]) -> str:
    return "the queue of " + ", ".join(queue.mta.name for queue in queues)


def _send(name: str, at: tuple[str, int], sender: str, address: str) -> None:
    text = (
        f"From: Mailferry <{sender}>\r\nTo: <{address}>\r\nSubject: Test of mail routing\r\n"
        f"Date: {format_datetime(localtime())}\r\nMessage-ID: <{sender}>\r\nAuto-Submitted: auto-generated\r\n"
        f"\r\n{_TEXT}\r\n"
    )
    try:
        with smtplib.SMTP(*at, timeout=SMTP_SECONDS) as client:
            client.sendmail(sender, [address], text)
    except smtplib.SMTPRecipientsRefused as error:
        code, said = next(iter(error.recipients.values()))
        raise Temporary(
            f"{name} does not take a probe: {code} {said.decode(errors='replace')}", about=address
        ) from None
    except (OSError, smtplib.SMTPException) as error:
        raise Temporary(f"{name} does not take a probe: {error}", about=address) from error
