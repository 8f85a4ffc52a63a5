"""Mail without pause, as an organisation gets it: from outside, from people on Exchange and from people who have moved.

To persons and to groups, each message numbered, and remembered with the people who have to get it once a server has
said 250. A 4xx or a broken connection is tried again, as mail servers do. Does not look where anything arrives
(lab/deliveries.py does). Invariant: a message that a server may have taken without our hearing of it is never sent
again; another takes its place, and it is marked `unsure`.
"""

from __future__ import annotations

import heapq
import random
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from enum import Enum

import ldap

from lab.acme import OUTSIDE, Acme, Person

AGAIN_SECONDS = 1.5
"""When a message that was put off is tried again."""
DOMAIN = "fire.example"
"""Of the Message-IDs, and of senders outside."""


class Door(Enum):
    """Where a message comes from."""

    OUTSIDE = "outside"  # the Internet, to the open Postfix
    EXCHANGE = "exchange"  # somebody on Exchange, into Exchange
    MOVED = "moved"  # somebody who has moved, into the open Postfix


@dataclass(slots=True)
class Sent:
    """One message. `expected`: the uids of those who have to get it. `began`: of the try that counts, `accepted` when
    250 was said (seconds since the epoch; None: never). `refused`: the words of a 5xx."""

    number: int
    door: Door
    sender: str
    to: str
    expected: frozenset[str]
    first: float
    began: float = 0.0
    accepted: float | None = None
    tries: int = 0
    unsure: bool = False
    refused: str = ""

    def text(self) -> bytes:
        return (
            f"From: {self.sender}\r\nTo: {self.to}\r\nSubject: fire {self.number}\r\n"
            f"Message-ID: <{self.number}@{DOMAIN}>\r\nDate: {format_datetime(datetime.now(UTC))}\r\n\r\n"
            f"This is message {self.number}.\r\n.\r\n"
        ).encode()


@dataclass(slots=True)
class _Line:
    """One connection, of one thread."""

    door: Door
    chance: random.Random
    client: smtplib.SMTP | None = None
    waiting: list[tuple[float, int, Sent]] = field(default_factory=list)


class Load:
    """`rate` messages a second altogether, in the `with` block; `groups` of them (0 to 1) to groups. `sent`: all."""

    def __init__(self, acme: Acme, people: Sequence[Person], *, rate: float = 24.0, groups: float = 0.2, seed: int = 1):
        self.acme, self.people, self.rate, self.groups = acme, tuple(people), rate, groups
        self.sent: list[Sent] = []
        self.moved: frozenset[str] = frozenset()
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._lines = [_Line(door, random.Random(f"{door.value} {seed}")) for door in Door]
        self._failure: BaseException | None = None
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._run, args=(line,), daemon=True) for line in self._lines]
        self._threads.append(threading.Thread(target=self._watch, daemon=True))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """No new messages; what was put off is tried until it is accepted (a minute at most)."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._failure is not None:
            raise self._failure

    def pace(self, since: float, until: float) -> float:
        """Messages begun a second, between two times."""
        with self._lock:
            begun = sum(since <= one.first < until for one in self.sent)
        return begun / (until - since)

    def doors(self) -> Counter[str]:
        """How many messages were accepted at each door."""
        with self._lock:
            return Counter(one.door.value for one in self.sent if one.accepted)

    def _watch(self) -> None:
        """Know who has moved."""
        while not self._stop.wait(1.0):
            try:
                self.moved = frozenset(uid for uid, route in self.acme.routes().items() if route == "local")
            except ldap.LDAPError:
                continue  # it is stopped on purpose; the next second tells

    def _run(self, line: _Line) -> None:
        try:
            due = time.monotonic()
            while not self._stop.is_set():
                self._again(line)
                if (wait := due - time.monotonic()) > 0:
                    self._stop.wait(min(wait, 0.2))
                    continue
                due += len(self._lines) / self.rate
                self._try(line, self._new(line))
            until = time.monotonic() + 60
            while line.waiting and time.monotonic() < until:
                time.sleep(0.1)
                self._again(line)
            if line.client is not None:
                line.client.close()
        except BaseException as error:  # noqa: BLE001 - raised again by stop()
            self._failure = error

    def _new(self, line: _Line, after: Sent | None = None) -> Sent:
        """A new message of this line; `after`: the one whose place it takes."""
        if after is not None:
            door, sender, to, expected = after.door, after.sender, after.to, after.expected
        else:
            door, sender = self._sender(line)
            to, expected = self._recipient(line.chance)
        with self._lock:
            one = Sent(len(self.sent) + 1, door, sender, to, expected, time.time())
            self.sent.append(one)
        return one

    def _sender(self, line: _Line) -> tuple[Door, str]:
        inside = [one.mail for one in self.people if (one.uid in self.moved) == (line.door is Door.MOVED)]
        if line.door is Door.OUTSIDE or not inside:
            return Door.OUTSIDE, f"someone{line.chance.randrange(1000)}@{DOMAIN}"
        return line.door, line.chance.choice(inside)

    def _recipient(self, chance: random.Random) -> tuple[str, frozenset[str]]:
        if chance.random() < self.groups and self.acme.groups:
            group = chance.choice(sorted(self.acme.groups))
            return group, self.acme.groups[group]
        one = chance.choice(self.people)
        return one.mail, frozenset({one.uid})

    def _again(self, line: _Line) -> None:
        while line.waiting and line.waiting[0][0] <= time.monotonic():
            self._try(line, heapq.heappop(line.waiting)[2])

    def _try(self, line: _Line, one: Sent) -> None:
        one.tries += 1
        one.began = time.time()
        given = False
        try:
            client = self._client(line, one.door)
            for command in (f"MAIL FROM:<{one.sender}>", f"RCPT TO:<{one.to}>", "DATA"):
                code, said = client.docmd(command)
                if code >= 400:
                    self._no(line, one, code, said)
                    return
            given = True
            client.send(one.text())
            code, said = client.getreply()
            if code >= 400:
                self._no(line, one, code, said)
                return
            one.accepted = time.time()
        except (OSError, smtplib.SMTPException):
            self._hang_up(line)
            if given:
                one.unsure = True
                one = self._new(line, after=one)
            self._later(line, one)

    def _no(self, line: _Line, one: Sent, code: int, said: bytes) -> None:
        """A server has said 4xx or 5xx. Its patience with errors ends with the connection."""
        self._hang_up(line)
        if code >= 500:
            one.refused = f"{code} {said.decode(errors='replace')}"
        else:
            self._later(line, one)

    def _later(self, line: _Line, one: Sent) -> None:
        heapq.heappush(line.waiting, (time.monotonic() + AGAIN_SECONDS, one.number, one))

    def _client(self, line: _Line, door: Door) -> smtplib.SMTP:
        """The line's connection; a message of another door than the line's own goes by one of its own."""
        port = self.acme.exchange.postfix.port if door is Door.EXCHANGE else self.acme.postfix.port
        address = OUTSIDE if door is Door.OUTSIDE else "127.0.0.1"
        wanted = f"{address} {port}"
        if line.client is not None and line.client.local_hostname != wanted:
            self._hang_up(line)
        if line.client is None:
            line.client = smtplib.SMTP(local_hostname=wanted, timeout=30, source_address=(address, 0))
            line.client.connect("127.0.0.1", port)
            line.client.ehlo("load.example")
        return line.client

    def _hang_up(self, line: _Line) -> None:
        if line.client is not None:
            line.client.close()
            line.client = None
