"""EWS: what it costs to decode messages out of answers of GetItem, against exchangelib's decoding of the same bytes.

The answers are the fake Exchange's (lab/fake_ews.py), asked for as a copy asks; both sides start with the bytes of an
answer and end with every message's content, flags and date. One process, rounds that take turns, CPU time alone.
Invariant: both give the same bytes for every message, or the bench ends.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from lxml import etree

from bench.measure import BenchError, Usage
from bench.results import Row, comparison
from lab import corpus
from lab.fake_ews_answers import answer
from lab.fake_ews_store import FakeExchange, message
from mailferry.model.message import Message
from mailferry.net.ews import Reading
from mailferry.sources.ews import MESSAGES_AT_ONCE, message_of
from mailferry.wire.ews import mail, requests

MESSAGES, QUICK_MESSAGES = 2000, 200
GOAL = 0.2
"""Of exchangelib's CPU: five times less."""
_WHO = "bench@acme.example"


def decode(rounds: int, place: Path, when: str, say: Callable[[str], None], *, quick: bool = False) -> list[Row]:
    """Run the case. `place` is not needed."""
    count = QUICK_MESSAGES if quick else MESSAGES
    found = []
    for what, scale in (("corpus of 60 kB on average", 1.0), ("small messages", 0.02)):
        taken = _answers(count, scale)
        ours, theirs = [], []
        for _ in range(max(3, rounds)):
            ours.append(_timed(_ours, taken))
            theirs.append(_timed(_exchangelib(), taken))
        if ours[0][1] != theirs[0][1]:
            raise BenchError("EWS: the two do not decode the same bytes")
        usages, others = [use for use, _ in ours], [use for use, _ in theirs]
        row = comparison(f"EWS decode, {count:,} {what}", "CPU", "mailferry", usages, "exchangelib", others, when, GOAL)
        ours_ms, theirs_ms = row.ours_s / count * 1000, (row.peer_s or 0) / count * 1000
        say(f"{row.case}: {ours_ms:.3f} ms a message, exchangelib {theirs_ms:.3f} ms")
        found.append(row)
    return found


def _answers(count: int, scale: float) -> list[bytes]:
    """What GetItem answers, in batches as a copy asks for them."""
    exchange = FakeExchange()
    mailbox = exchange.add(_WHO, "pw")
    inbox = mailbox.known("inbox")
    ids = [
        mailbox.add(inbox, message(one.body, read=True, categories=["Red"])).id
        for one in corpus.messages(7, count, scale=scale, big=False)
    ]
    taken = []
    for start in range(0, count, MESSAGES_AT_ONCE):
        asked = requests.get_items(ids[start : start + MESSAGES_AT_ONCE], mail.MARK_FIELDS, mime=True)
        status, text = answer(exchange, _WHO, etree.fromstring(requests.envelope(asked)))
        if status != 200:
            raise BenchError(f"EWS: the fake answers {status}")
        taken.append(text.encode())
    return taken


def _timed(decoder: Callable[[bytes], Iterable[bytes]], taken: Sequence[bytes]) -> tuple[Usage, bytes]:
    """CPU seconds for all answers, and the digest of all messages (made outside the time)."""
    cpu = 0.0
    digest = hashlib.sha256()
    for data in taken:
        began = time.process_time()
        bodies = list(decoder(data))
        cpu += time.process_time() - began
        for body in bodies:
            digest.update(body)
    return Usage(cpu, cpu, 0.0), digest.digest()


def _ours(data: bytes) -> Iterable[bytes]:
    reading = Reading("bench")
    for start in range(0, len(data), 1 << 18):
        reading.feed(data[start : start + (1 << 18)])
    done = reading.answer()
    for number, one in enumerate(done.messages):
        found = message_of(done, number, one)
        if not isinstance(found, Message):
            raise BenchError("EWS: a message did not come")
        yield b"".join(found.body.chunks())
        found.body.close()


def _exchangelib() -> Callable[[bytes], Iterable[bytes]]:
    import exchangelib
    from exchangelib.services import GetItem
    from exchangelib.version import EXCHANGE_2016

    logging.getLogger("exchangelib").setLevel(logging.ERROR)

    class _Account:
        """As much of an account as decoding asks for."""

        version = exchangelib.Version(build=EXCHANGE_2016)
        protocol: Any = None

    service = GetItem(account=_Account())

    def decode_one(data: bytes) -> Iterable[bytes]:
        for item in service.parse(data):
            yield item.mime_content

    return decode_one
