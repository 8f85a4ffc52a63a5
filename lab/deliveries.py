"""Reads every mailbox of both sides, and judges where the messages of lab/load.py have arrived.

Reads the stores' files themselves, so that nothing of the product judges itself. Which mailbox counts says the
directory: on the open side for whom it routes there, on Exchange for everybody else; what lies in somebody's other
mailbox is an old copy. Invariant: nothing is changed.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lab.acme import Acme
from lab.load import DOMAIN, Sent

EXCHANGE = "exchange"
MOST_PASSES = 2
"""How often a message may pass one Postfix: a second time where the other side knew of a change before."""

STOP_SECONDS = 15.0
"""When a message is stored, before or after Postfix was stopped, of which that does not know whether it was taken."""

_HEADER = 16384
_NUMBER = re.compile(rb"^Message-ID: <(\d+)@" + DOMAIN.encode() + rb">\s*$", re.MULTILINE | re.IGNORECASE)
_CAME = re.compile(r"(\d+)\.(?:M(\d+)P)?")
"""How a Maildir name begins: Dovecot's, or qmail's, which tells whole seconds alone."""
_BOUNCE = re.compile(rb"^(From: .*(MAILER-DAEMON|mailferry-probe)|Return-Path: <>)", re.MULTILINE | re.IGNORECASE)
_PASSED = {
    "open": re.compile(rb"by mx\.acme\.example (\(Postfix|with SMTP)"),
    "exchange": re.compile(rb"by exchange\.acme\.internal \(Postfix"),
}


@dataclass(frozen=True, slots=True)
class Copy:
    """A message of the load in somebody's mailbox. `place`: `exchange` or a store's mailHost. `came`: seconds since the
    epoch, when that store wrote the file. `passes`: how often it went through the Postfix that it saw most. `header`:
    a hash of what stands there: of two deliveries of one message they differ, of two copies of one they do not."""

    number: int
    uid: str
    place: str
    came: float
    passes: int
    header: int


@dataclass(slots=True)
class Verdict:
    """What is wrong, in words, by kind; nothing if all is well. `seconds`: (uid, accepted, how long it took). `resent`:
    messages that Postfix handed on twice, since it was stopped before it had heard the next server's 250."""

    messages: int = 0
    deliveries: int = 0
    resent: int = 0
    wrong: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    seconds: list[tuple[str, float, float]] = field(default_factory=list)

    def __str__(self) -> str:
        counts = ", ".join(f"{len(some)} {what}" for what, some in self.wrong.items()) or "nothing wrong"
        first = "".join(f"\n  {what}: {one}" for what, some in self.wrong.items() for one in some[:5])
        resent = f", {self.resent} handed on twice by a Postfix that was stopped" if self.resent else ""
        return f"{self.messages} messages, {self.deliveries} deliveries: {counts}{resent}{first}"

    def median(self, uids: Collection[str], since: float, until: float) -> float:
        """Of the seconds that a delivery to these people took that was accepted between two times; nan if none."""
        some = [took for uid, at, took in self.seconds if uid in uids and since <= at < until]
        return statistics.median(some) if some else float("nan")


def copies(acme: Acme) -> tuple[list[Copy], list[str]]:
    """All messages of the load in all mailboxes; and what else there is that nobody should have got (bounces, probes),
    as `uid: file`."""
    by_mail = {one.mail: one.uid for one in acme.people} | {one.uid: one.uid for one in acme.people}
    found, strays = [], []
    places = {EXCHANGE: acme.exchange.store.root / "mail"}
    places |= {name: store.mail_dir for name, store in acme.stores.items()}
    for place, root in places.items():
        for user, path in _files(root):
            with path.open("rb") as file:
                header = file.read(_HEADER).replace(b"\r\n", b"\n").partition(b"\n\n")[0]
            uid = by_mail.get(user.lower(), user)
            number = _NUMBER.search(header)
            if number is None:
                if _BOUNCE.search(header):
                    strays.append(f"{uid} in {place}: {path.name}")
                continue
            came = _CAME.match(path.name)
            assert came is not None, path
            passes = max(len(pattern.findall(header)) for pattern in _PASSED.values())
            when = int(came[1]) + int(came[2] or 0) / 1e6
            found.append(Copy(int(number[1]), uid, place, when, passes, hash(header)))
    return found, strays


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    """(user, file) of every message in every mailbox of a store."""
    for home in root.iterdir() if root.exists() else ():
        for folder in home.rglob("*"):
            if folder.name in ("cur", "new") and folder.is_dir():
                yield from ((home.name, path) for path in folder.iterdir())


def homes(acme: Acme) -> dict[str, str]:
    """uid → the place of the mailbox that counts; a route that leads to neither side is its own name."""
    return {uid: store or "no store" if route == "local" else route for uid, (route, store) in acme.placed().items()}


def _resent(acme: Acme, message: Sent, mine: list[Copy], place: str) -> bool:
    """Whether somebody has a message as often as it was delivered, the first time about when Postfix was stopped."""
    headers = [one.header for one in mine if one.place == place]
    first = min(one.came for one in mine)
    cut_off = any(message.began < at and abs(first - at) < STOP_SECONDS for at in acme.stopped)
    return cut_off and len(set(headers)) == len(headers)


def judge(acme: Acme, sent: Iterable[Sent]) -> Verdict:
    """Whether every accepted message is in the right mailboxes exactly once, and nowhere else."""
    places = homes(acme)
    found, strays = copies(acme)
    verdict = Verdict()
    wrong = verdict.wrong
    there: dict[int, list[Copy]] = defaultdict(list)
    for one in found:
        there[one.number].append(one)
    for message in sent:
        mine = there.pop(message.number, [])
        what = f"{message.number} from {message.sender} ({message.door.value}) to {message.to}"
        if message.refused:
            wrong["refused"].append(f"{what}: {message.refused}")
        if message.accepted is None and not message.unsure and not message.refused:
            wrong["never accepted"].append(f"{what}, {message.tries} tries")
        verdict.messages += message.accepted is not None
        for one in mine:
            if one.uid not in message.expected:
                wrong["seen by another person"].append(f"{what}: {one.uid} in {one.place}")
            if one.passes > MOST_PASSES:
                wrong["looped"].append(f"{what}: {one.passes} times, {one.uid}")
        at_home = Counter(one.uid for one in mine if one.place == places[one.uid])
        elsewhere = {one.uid: one.place for one in mine if one.place != places[one.uid]}
        for uid in message.expected:
            number = at_home[uid]
            if number > 1 and _resent(acme, message, [one for one in mine if one.uid == uid], places[uid]):
                verdict.resent += 1
            elif number > 1:
                wrong["twice"].append(f"{what}: {number} in {places[uid]}")
            if number == 0 and message.accepted is not None:
                where = f"only in {elsewhere[uid]}" if uid in elsewhere else "nowhere"
                wrong["lost"].append(f"{what}: {uid}, {where}, not in {places[uid]}")
            arrived = [one.came for one in mine if one.uid == uid]
            if arrived and message.accepted is not None:
                verdict.deliveries += 1
                verdict.seconds.append((uid, message.began, min(arrived) - message.began))
    for number in there:
        wrong["of nobody"].append(str(number))
    for uid, place in places.items():
        if place not in (EXCHANGE, *acme.stores):
            wrong["left without a mailbox"].append(f"{uid}: {place}")
    for stray in strays:
        wrong["bounces and probes"].append(stray)
    for name, postfix in (("open side", acme.postfix), ("exchange", acme.exchange.postfix)):
        for line in postfix.log().splitlines():
            if any(word in line for word in ("status=bounced", "status=expired", ": failure: ")):
                wrong["bounced"].append(f"{name}: {line[-300:]}")
    return verdict
