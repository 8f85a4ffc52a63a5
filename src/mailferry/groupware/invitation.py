"""The calendar part of meeting messages (iMIP, RFC 6047), from the MAPI properties that a store keeps of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mailferry.errors import ItemError
from mailferry.groupware.to_ical import calendar
from mailferry.model.groupware import Attendee, Event, Response
from mailferry.model.message import Body, MemoryBody
from mailferry.wire.mapi import tags
from mailferry.wire.mapi.appointment import attendees, event, intended, organizer
from mailferry.wire.mapi.fields import Making
from mailferry.wire.mapi.item import Item
from mailferry.wire.mapi.named import Properties

_MEETING = "ipm.schedule.meeting."
_ANSWERS = {"resp.pos": Response.ACCEPTED, "resp.neg": Response.DECLINED, "resp.tent": Response.TENTATIVE}


def invitation(item: Item, making: Making) -> tuple[str, bytes] | None:
    """Method and bytes of the part; None for a message that needs none. ItemError: it cannot be made."""
    kind = making.text(item.properties, tags.MESSAGE_CLASS).casefold().removeprefix(_MEETING)
    method = "REQUEST" if kind.startswith("request") else "CANCEL" if kind.startswith("canceled") else ""
    answer = next((answer for start, answer in _ANSWERS.items() if kind.startswith(start)), None)
    if not method and answer is None:
        return None
    bag = Properties(replace(making, differences=[]), item)
    found = replace(event(item, bag.making, _nothing), attached=(), reminder=None, meeting=True)
    if answer is None:
        sender = organizer(bag)
        people = tuple(attendees(bag, sender))
        busy = intended(bag) or found.busy
        cancelled = method == "CANCEL"
        asked = replace(found, organizer=sender, attendees=people, mine=True, busy=busy, cancelled=cancelled)
        return method, calendar(asked, method=method).data
    return "REPLY", calendar(_reply(bag, found, answer), method="REPLY").data


def _reply(bag: Properties, found: Event, answer: Response) -> Event:
    """What an answer says: who answers, and to whom."""
    sender = organizer(bag)
    asked = next((one.party for one in attendees(bag, None)), None)
    if sender is None or asked is None:
        raise ItemError("it does not tell who answers whom")
    return replace(
        found, organizer=asked, attendees=(Attendee(sender, response=answer),), mine=True, exceptions=(), deleted=()
    )


def _nothing(pieces: Iterator[bytes]) -> Body:
    """What is attached stands in the message itself."""
    return MemoryBody(b"")
