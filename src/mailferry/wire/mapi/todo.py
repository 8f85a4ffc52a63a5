"""Tasks ([MS-OXOTASK]) and sticky notes ([MS-OXONOTE]) from their properties."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from mailferry.errors import ItemError
from mailferry.model.groupware import Importance, Moment, Note, Recurrence, Task
from mailferry.wire.mapi import tags
from mailferry.wire.mapi.appointment import IMPORTANCES, sensitivity
from mailferry.wire.mapi.attached import Keep, attached
from mailferry.wire.mapi.fields import Making, subject, token
from mailferry.wire.mapi.item import Item
from mailferry.wire.mapi.named import COMMON, TASK, Properties
from mailferry.wire.mapi.rebuild import text
from mailferry.wire.mapi.recurrence import stored

STATUS, DONE, START, DUE = (TASK, 0x8101), (TASK, 0x8102), (TASK, 0x8104), (TASK, 0x8105)
COMPLETED, SPENT, WORK = (TASK, 0x810F), (TASK, 0x8110), (TASK, 0x8111)
RECURRENCE, COMPLETE, OWNER, DEAD = (TASK, 0x8116), (TASK, 0x811C), (TASK, 0x811F), (TASK, 0x8109)
REMINDER_SET, REMINDER_TIME, REMINDER_SIGNAL = (COMMON, 0x8503), (COMMON, 0x8502), (COMMON, 0x8560)
_STATUS = {0: "not-started", 1: "in-progress", 2: "completed", 3: "waiting", 4: "deferred"}
_MOST_MINUTES = 60 * 24 * 366 * 100


def task(item: Item, making: Making, keep: Keep) -> Task:
    """A task. `keep` holds what is attached."""
    bag = Properties(making, item)
    start, due = bag.instant(START), bag.instant(DUE)
    complete = bag.true(COMPLETE) or bag.number(STATUS) == 2
    remind = bag.instant(REMINDER_SIGNAL) or bag.instant(REMINDER_TIME) if bag.true(REMINDER_SET) else None
    weight = bag.number(tags.IMPORTANCE)
    found = Task(
        token(item, "uid"),
        subject(making, item.properties),
        text(making, item),
        start=start.date() if start else None,
        due=due.date() if due else None,
        completed=bag.instant(COMPLETED) if complete else None,
        status="completed" if complete else _STATUS.get(bag.number(STATUS) or 0, "not-started"),
        done=round(min(max(bag.real(DONE), 0.0), 1.0) * 100),
        importance=IMPORTANCES.get(1 if weight is None else weight, Importance.NORMAL),
        sensitivity=sensitivity(bag),
        categories=tuple(item.categories),
        reminder=Moment(remind) if remind else None,
        owner=bag.text(OWNER),
        work=_span(bag.number(WORK)),
        spent=_span(bag.number(SPENT)),
        recurrence=None if bag.true(DEAD) else _recurrence(bag),
        attached=tuple(attached(item, making, keep)),
        created=bag.instant(tags.CREATION_TIME),
        modified=bag.instant(tags.LAST_MODIFICATION_TIME),
    )
    return replace(found, losses=tuple(making.differences))


def _span(minutes: int | None) -> timedelta | None:
    return timedelta(minutes=min(minutes, _MOST_MINUTES)) if minutes and minutes > 0 else None


def _recurrence(bag: Properties) -> Recurrence | None:
    blob = bag.blob(RECURRENCE)
    if not blob:
        return None
    try:
        return stored(blob, appointment=False).recurrence
    except ItemError as error:
        bag.making.lost(f"{error.message}; it is kept without its repetition")
        return None


def note(item: Item, making: Making) -> Note:
    """A sticky note."""
    bag = Properties(making, item)
    return Note(
        token(item, "uid"),
        subject(making, item.properties),
        text(making, item),
        categories=tuple(item.categories),
        modified=bag.instant(tags.LAST_MODIFICATION_TIME),
        losses=tuple(making.differences),
    )
