"""Follows messages through the events of a log: those with a Message-ID, or the latest of an address.

Reads nothing. Invariant: memory is bounded whatever the log holds: queue ids that are not (yet) known to be wanted are
forgotten when they leave the queue, or when `LIVE` others came since; of wanted messages the latest are kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from mailferry.maillog.events import Event, Kind

LIVE = 50_000
EVENTS = 400
"""Most of one message in one queue; of tries that say the same the first and the latest are kept."""
LOOSE = 10_000
"""Most of Dovecot's events."""


@dataclass(slots=True)
class Journey:
    """One message in one queue. `times`: how often each try was repeated, by its place in `events`."""

    events: list[Event] = field(default_factory=list)
    wanted: bool = False
    left: bool = False
    repeated: dict[int, int] = field(default_factory=dict)

    @property
    def message_id(self) -> str:
        return next((one.message_id for one in self.events if one.message_id), "")

    def add(self, event: Event) -> None:
        if event.kind is Kind.TRIED:
            for place in range(len(self.events) - 1, -1, -1):
                other = self.events[place]
                if (other.recipient, other.status, other.text) == (event.recipient, event.status, event.text):
                    if self.repeated.get(place):
                        self.events[place] = event
                        self.repeated[place] += 1
                        return
                    self.repeated[len(self.events)] = 1
                    break
        if len(self.events) < EVENTS:
            self.events.append(event)


@dataclass(frozen=True, slots=True)
class Wanted:
    """`message_id` with its brackets, or "". `names`: addresses and user names in small letters; what fits either is
    wanted. `since`: seconds since the epoch. `latest`: with `names`, so many messages."""

    message_id: str = ""
    names: frozenset[str] = frozenset()
    since: float = 0.0
    latest: int = 20

    @property
    def most(self) -> int:
        """Messages that are kept. A Message-ID alone is wanted wherever it is, but not more often than a loop makes."""
        return self.latest if self.names else 1000

    def fits(self, event: Event) -> bool:
        if self.message_id and event.message_id == self.message_id:
            return True
        return any(one.lower() in self.names for one in (event.recipient, event.original, event.sender) if one)


@dataclass(slots=True)
class Found:
    """`journeys` through queues; `stored`: what Dovecot tells."""

    journeys: list[Journey] = field(default_factory=list)
    stored: list[Event] = field(default_factory=list)


class Finder:
    """Takes events in the order of each host's log; `found()` at the end."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self._live: OrderedDict[tuple[str, str], Journey] = OrderedDict()
        self._kept: list[Journey] = []
        self._stored: list[Event] = []

    def take(self, event: Event) -> None:
        if event.kind in (Kind.STORED, Kind.CHANGED) or not event.queue_id:
            self._loose(event)
            return
        key = (event.host, event.queue_id)
        journey = self._live.get(key)
        if journey is None:
            journey = self._live[key] = Journey()
            if len(self._live) > LIVE:
                _, oldest = self._live.popitem(last=False)
                self._keep(oldest)
        journey.add(event)
        journey.wanted = journey.wanted or (event.at >= self.wanted.since and self.wanted.fits(event))
        if event.kind is Kind.LEFT:
            journey.left = True
            self._keep(self._live.pop(key))

    def found(self) -> Found:
        for journey in self._live.values():
            self._keep(journey)
        self._live.clear()
        self._trim(0)
        return Found(sorted(self._kept, key=_begun), sorted(self._stored, key=lambda one: one.at))

    def _loose(self, event: Event) -> None:
        if event.at < self.wanted.since or not self.wanted.fits(event):
            return
        if event.kind is Kind.REFUSED:
            self._keep(Journey([event], wanted=True, left=True))
        else:
            self._stored.append(event)
            if len(self._stored) > 2 * LOOSE:
                self._stored = sorted(self._stored, key=lambda one: one.at)[-LOOSE:]

    def _keep(self, journey: Journey) -> None:
        if journey.wanted:
            self._kept.append(journey)
            self._trim(1000)

    def _trim(self, slack: int) -> None:
        """The latest are kept."""
        most = self.wanted.most
        if len(self._kept) > most + slack:
            self._kept = sorted(self._kept, key=_begun)[-most:]


def _begun(journey: Journey) -> float:
    return journey.events[0].at


def mine(events: Iterable[Event], names: Collection[str]) -> list[Event]:
    """Those about one of these users."""
    return [one for one in events if one.recipient.lower() in names]
