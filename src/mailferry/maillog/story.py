"""Puts together what was found about a message: for each recipient a timeline, and in one sentence where it is. Pure.

Invariant: nothing of a message is told but its Message-ID, envelope, size, times and places; what strangers wrote in a
log (client names, replies) is shown without control characters, and cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from mailferry.maillog.events import Event, Kind
from mailferry.maillog.find import Journey

TEXT = 300
_Who = Callable[[str], str]
"""From an address or a user name to the recipient's primary address."""


class Place(Enum):
    """Where a message is for one recipient. The value is what JSON shows."""

    STORED = "stored"
    WAITING = "waiting"
    HANDED_ON = "handed on"  # another server took it, whose log was not seen
    REFUSED = "refused"
    RETURNED = "returned"  # a notification went to the sender
    DELETED = "deleted"  # it was stored, or waited; somebody has removed it since
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a timeline. `at` None: now. `host`: whose log, or which store or queue. `what`: one or two words."""

    at: float | None
    host: str
    what: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Queued:
    """It waits in a queue now. `since`: when it arrived there."""

    queue: str
    id: str
    recipient: str
    since: float
    why: str
    parked: bool


@dataclass(frozen=True, slots=True)
class Held:
    """It is in a store now. `brought`: by which pass of ours, and when; "" if it was delivered there."""

    store: str
    folder: str
    uid: int
    brought: str = ""


@dataclass(slots=True)
class Recipient:
    address: str
    place: Place = Place.UNKNOWN
    where: str = ""
    since: float | None = None
    entries: list[Entry] = field(default_factory=list)


@dataclass(slots=True)
class Told:
    """One message. `message_id`: "" for one that was refused before it gave any."""

    message_id: str
    sender: str
    size: int | None
    begun: float | None
    recipients: list[Recipient]


def shown(text: str, most: int = TEXT) -> str:
    """What strangers wrote, fit for a terminal."""
    clean = "".join(one if one.isprintable() else "\ufffd" for one in text)
    return clean if len(clean) <= most else clean[: most - 1] + "…"


def tell(
    message_id: str,
    journeys: Sequence[Journey],
    stored: Sequence[Event],
    queued: Sequence[Queued],
    held: Mapping[str, Sequence[Held]],
    names: Mapping[str, str],
    further: Iterable[str] = (),
) -> Told:
    """`held`: by recipient. `names`: address or user name in small letters → the recipient's primary address.
    `further`: recipients to speak of even if no log names them."""

    def who(text: str) -> str:
        return names.get(text.lower(), text)

    own = [one for journey in journeys for one in journey.events]
    order: dict[str, None] = {}
    for one in own:
        if one.kind in (Kind.TRIED, Kind.REFUSED) and one.recipient:
            order[who(one.recipient)] = None
    order |= dict.fromkeys(who(one.recipient) for one in queued)
    if not order:
        order |= dict.fromkeys(who(one.recipient) for one in stored if one.kind is Kind.STORED)
    order |= dict.fromkeys(further)
    recipients = [
        _recipient(
            address,
            [one for one in journeys if _is_for(one, address, who)],
            [one for one in stored if who(one.recipient) == address],
            [one for one in queued if who(one.recipient) == address],
            held.get(address, ()),
            who,
        )
        for address in order
    ]
    sender = next((one.sender for one in own if one.sender), "")
    size = next((one.size for one in own if one.size is not None), None)
    times = [one.at for one in (*own, *stored)]
    return Told(shown(message_id), shown(sender), size, min(times, default=None), recipients)


def _is_for(journey: Journey, address: str, who: _Who) -> bool:
    """A queue's message without any recipient yet is everybody's."""
    to = {who(one.recipient) for one in journey.events if one.recipient}
    return not to or address in to


def _recipient(
    address: str,
    journeys: Sequence[Journey],
    stored: Sequence[Event],
    queued: Sequence[Queued],
    held: Sequence[Held],
    who: _Who,
) -> Recipient:
    entries: list[Entry] = []
    for journey in journeys:
        for number, one in enumerate(journey.events):
            if not one.recipient or who(one.recipient) == address:
                entries += _entry(one, journey.repeated.get(number, 0))
    for one in stored:
        entries += _entry(one, 0)
    entries.sort(key=lambda one: one.at or 0.0)
    for waits in queued:
        entries.append(Entry(None, waits.queue, "waits", f"queue id {waits.id}: {shown(waits.why) or 'being tried'}"))
    for one_held in held:
        brought = f", {one_held.brought}" if one_held.brought else ""
        entries.append(Entry(None, one_held.store, "is there", f"in {one_held.folder}, uid {one_held.uid}{brought}"))
    place, where, since = _place(address, journeys, stored, queued, held, who)
    return Recipient(shown(address), place, where, since, entries)


def _place(
    address: str,
    journeys: Sequence[Journey],
    stored: Sequence[Event],
    queued: Sequence[Queued],
    held: Sequence[Held],
    who: _Who,
) -> tuple[Place, str, float | None]:
    """What is seen now counts more than what logs say; of these, the latest."""
    tried = [
        one
        for journey in journeys
        for one in journey.events
        if (one.recipient and who(one.recipient) == address) or one.kind is Kind.RETURNED
    ]
    if queued:
        first = min(queued, key=lambda one: one.since)
        why = "parked: its route says so" if first.parked else shown(first.why) or "being delivered"
        return Place.WAITING, f"in the queue of {first.queue}: {why}", first.since
    if held:
        kept = [one for one in stored if one.kind is Kind.STORED]
        where = "; ".join(f"in {one.folder} of {one.store}" for one in held)
        return Place.STORED, where, kept[-1].at if kept else None
    last = max((*tried, *stored), key=lambda one: one.at, default=None)
    if stored and last is not None:
        latest = stored[-1]
        if latest.kind is Kind.CHANGED and latest.status in ("expunge", "delete"):
            return Place.DELETED, f"from {shown(latest.where)} by a client of {shown(latest.recipient)}", latest.at
        return Place.STORED, f"in {shown(latest.where)} of {shown(latest.recipient)}", latest.at
    if last is None:
        return Place.UNKNOWN, "no trace of it", None
    if last.status == "deferred" and (
        taken := [one for journey in journeys for one in journey.events if _is_taken(one)]
    ):
        return Place.DELETED, "from the queue, by postsuper", taken[-1].at
    return _by_log(last)


def _is_taken(one: Event) -> bool:
    """Whether somebody took it out of a queue."""
    return one.kind is Kind.LEFT and bool(one.status)


def _by_log(last: Event) -> tuple[Place, str, float]:
    if last.kind is Kind.REFUSED:
        return Place.REFUSED, shown(last.text), last.at
    if last.kind is Kind.RETURNED or last.status in ("bounced", "expired"):
        return Place.RETURNED, shown(last.text) or "the sender was told", last.at
    if last.status == "sent":
        return Place.HANDED_ON, f"to {shown(last.where)}: {shown(last.text)}", last.at
    return Place.WAITING, shown(last.text) or last.status, last.at


def _entry(one: Event, repeated: int) -> list[Entry]:
    number = f"queue id {one.queue_id}" if one.queue_id else ""
    match one.kind:
        case Kind.NAMED:
            return []
        case Kind.LEFT:
            return [Entry(one.at, shown(one.host), "deleted", "from the queue")] if one.status else []
        case Kind.ACCEPTED:
            text = f"from {shown(one.where)}, {number}"
        case Kind.QUEUED:
            text = f"from <{shown(one.sender)}>, {one.size} bytes"
        case Kind.TRIED:
            again = f" ({repeated + 1} times the same)" if repeated > 1 else ""
            alias = f"as <{shown(one.original)}> " if one.original else ""
            to = "" if one.where == "none" else f"to {shown(one.where)}: "
            return [Entry(one.at, shown(one.host), shown(one.status), f"{alias}{to}{shown(one.text)}{again}")]
        case Kind.REFUSED:
            text = f"{shown(one.text)} (from {shown(one.where)})"
        case Kind.RETURNED:
            text = f"{one.status} {shown(one.where)}".strip()
        case Kind.STORED:
            text = f"in {shown(one.where)} of {shown(one.recipient)}"
        case Kind.CHANGED:
            return [
                Entry(one.at, shown(one.host), shown(one.status), f"in {shown(one.where)} of {shown(one.recipient)}")
            ]
    return [Entry(one.at, shown(one.host), one.kind.value, text)]
