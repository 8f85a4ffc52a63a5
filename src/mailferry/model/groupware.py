"""What a mailbox holds besides messages: events, contacts, tasks, notes, whatever said them. Plain data.

Neutral between EWS, Graph, MAPI, iCalendar and vCard. Times are wall-clock times with their zone, as the person meant
them, never converted. Invariant: what a reader could not give stands in `losses`, as sentences without content of the
item; nothing is dropped silently (law 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from typing import TypeAlias

from mailferry.model.message import Body


class Kind(Enum):
    """What a collection holds. The value is what ledger and reports show."""

    EVENT = "event"
    CONTACT = "contact"
    TASK = "task"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Party:
    """Somebody named in an item. `address`: SMTP, "" where the source knows none; X.500 ones have been resolved."""

    name: str
    address: str


class Role(Enum):
    REQUIRED = "required"
    OPTIONAL = "optional"
    RESOURCE = "resource"


class Response(Enum):
    """What somebody answered; `NONE`: nothing yet, or not known."""

    NONE = "none"
    ORGANIZER = "organizer"
    TENTATIVE = "tentative"
    ACCEPTED = "accepted"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class Attendee:
    party: Party
    role: Role = Role.REQUIRED
    response: Response = Response.NONE


class Busy(Enum):
    """How the time shows to others ([MS-OXOCAL] PidLidBusyStatus)."""

    FREE = "free"
    TENTATIVE = "tentative"
    BUSY = "busy"
    AWAY = "away"  # out of office
    ELSEWHERE = "elsewhere"  # working elsewhere


class Sensitivity(Enum):
    NORMAL = "normal"
    PERSONAL = "personal"
    PRIVATE = "private"
    CONFIDENTIAL = "confidential"


class Importance(Enum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Turn:
    """When a year's standard or daylight time begins, as Windows says it: in `month` (1-12), on the `week`-th (1-5, 5:
    last) `weekday` (0: Monday), or on `day` of the month where that is not 0; `minute` of the day, by the clock that
    ends then."""

    month: int
    week: int
    weekday: int
    minute: int
    day: int = 0


@dataclass(frozen=True, slots=True)
class ZoneRules:
    """Offsets in minutes east of UTC; without `to_daylight` and `to_standard` there is no daylight time."""

    standard: int
    daylight: int = 0
    to_daylight: Turn | None = None
    to_standard: Turn | None = None


@dataclass(frozen=True, slots=True)
class Zone:
    """A time zone as the source names it: an IANA name, Windows' id or display name, or "" (then `rules` say it; both
    missing: floating). Choosing the IANA zone is `groupware/zones`' work."""

    name: str = ""
    rules: ZoneRules | None = None


UTC = Zone("UTC")


@dataclass(frozen=True, slots=True)
class Moment:
    """A wall-clock time (naive) in a zone."""

    local: datetime
    zone: Zone = UTC


class Frequency(Enum):
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"


@dataclass(frozen=True, slots=True)
class Recurrence:
    """Exchange's patterns ([MS-OXOCAL] §2.2.1.44, EWS RecurrencePattern), which RFC 5545 can all say.

    `weekdays` (0: Monday): of WEEKLY; of MONTHLY and YEARLY with `week` (1-4, 5: last): the week-th day of the month
    that is one of them. `day`: of the month (31 in a shorter month: its last, as Exchange does it), without `week`.
    `month`: of YEARLY. `first_weekday`: where weeks begin, for WEEKLY with interval > 1. `until`: the last date, by
    the series' clock; `count`: occurrences; neither: without end. `calendar`: "" for the Gregorian, else its name
    (Exchange's lunar and other calendars, which iCalendar cannot say). `regenerates`: a task's next one begins when
    the last was done. `rule`: RFC 5545's own text where a series that came as iCalendar follows none of these patterns;
    only `frequency`, `until` and `count` then hold beside it.
    """

    frequency: Frequency
    interval: int = 1
    weekdays: tuple[int, ...] = ()
    week: int = 0
    day: int = 0
    month: int = 0
    first_weekday: int = 6
    until: date | None = None
    count: int | None = None
    calendar: str = ""
    regenerates: bool = False
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Attached:
    """A file of an item. `reference`: its URL where it is a link to a file elsewhere, else "" ."""

    name: str
    content_type: str
    body: Body
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """A body: `plain` always, `html` where the source has one."""

    plain: str = ""
    html: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """One event, a whole series, or (in `exceptions`) one changed occurrence, which is complete in itself.

    `uid`: the iCalendar UID, from GlobalObjectId where the source has one, so that later invitations find the event.
    `all_day`: `start` and `end` are dates (midnight, end exclusive) in the creator's zone. `original`: of an exception,
    the start that the pattern gives. `deleted`: original starts of occurrences that are gone. `further`: starts beside
    those of the pattern. `reminder`: minutes before the start; None: none. `sequence`: RFC 5545's. `meeting`: it has
    been sent to others, or came from them. `mine`: the mailbox's owner is the organizer; else `my_response` is what the
    owner answered. `online`: the URL to join.
    """

    uid: str
    subject: str
    start: Moment
    end: Moment
    all_day: bool = False
    text: Text = Text()
    location: str = ""
    busy: Busy = Busy.BUSY
    sensitivity: Sensitivity = Sensitivity.NORMAL
    importance: Importance = Importance.NORMAL
    categories: tuple[str, ...] = ()
    reminder: int | None = None
    organizer: Party | None = None
    mine: bool = True
    meeting: bool = False
    cancelled: bool = False
    attendees: tuple[Attendee, ...] = ()
    my_response: Response = Response.NONE
    online: str = ""
    recurrence: Recurrence | None = None
    exceptions: tuple[Event, ...] = ()
    deleted: tuple[Moment, ...] = ()
    further: tuple[Moment, ...] = ()
    original: Moment | None = None
    attached: tuple[Attached, ...] = ()
    sequence: int = 0
    created: datetime | None = None
    modified: datetime | None = None
    losses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Postal:
    """An address on paper. `kind`: `work`, `home`, `other`."""

    kind: str
    street: str = ""
    city: str = ""
    region: str = ""
    code: str = ""
    country: str = ""


@dataclass(frozen=True, slots=True)
class Contact:
    """A person, or a company, in somebody's own address book. Phones: (`work home mobile fax-work fax-home pager car
    assistant callback company isdn other primary radio telex tty`, number). `mails`: in Outlook's order. `links`:
    (`work`, `home`, `blog`…, URL). `im`: addresses of chats. `related`: (`spouse manager assistant child`, name)."""

    uid: str
    name: str
    given: str = ""
    middle: str = ""
    family: str = ""
    prefix: str = ""
    suffix: str = ""
    nickname: str = ""
    initials: str = ""
    file_as: str = ""
    phonetic: tuple[str, str] = ("", "")
    company: str = ""
    department: str = ""
    title: str = ""
    profession: str = ""
    office: str = ""
    mails: tuple[Party, ...] = ()
    phones: tuple[tuple[str, str], ...] = ()
    postal: tuple[Postal, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    im: tuple[str, ...] = ()
    related: tuple[tuple[str, str], ...] = ()
    birthday: date | None = None
    anniversary: date | None = None
    notes: Text = Text()
    photo: bytes = b""
    certificates: tuple[bytes, ...] = ()
    categories: tuple[str, ...] = ()
    sensitivity: Sensitivity = Sensitivity.NORMAL
    attached: tuple[Attached, ...] = ()
    modified: datetime | None = None
    losses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContactList:
    """A personal distribution list."""

    uid: str
    name: str
    members: tuple[Party, ...] = ()
    notes: Text = Text()
    categories: tuple[str, ...] = ()
    modified: datetime | None = None
    losses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """A thing to do. `done`: per cent. `status`: `not-started in-progress completed waiting deferred`."""

    uid: str
    subject: str
    text: Text = Text()
    start: date | None = None
    due: date | None = None
    completed: datetime | None = None
    status: str = "not-started"
    done: int = 0
    importance: Importance = Importance.NORMAL
    sensitivity: Sensitivity = Sensitivity.NORMAL
    categories: tuple[str, ...] = ()
    reminder: Moment | None = None
    owner: str = ""
    work: timedelta | None = None
    spent: timedelta | None = None
    recurrence: Recurrence | None = None
    attached: tuple[Attached, ...] = ()
    created: datetime | None = None
    modified: datetime | None = None
    losses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Note:
    """A sticky note; its first line is its subject."""

    uid: str
    subject: str
    text: Text = Text()
    categories: tuple[str, ...] = ()
    modified: datetime | None = None
    losses: tuple[str, ...] = ()


Item: TypeAlias = Event | Contact | ContactList | Task | Note


@dataclass(frozen=True, slots=True)
class Collection:
    """A folder of items. `id`: the store's own and stable name of it. `path`: for people, and for the target's name.
    `default`: it is the person's calendar, contacts, … and not a further one. `token`: changes when anything in it
    does, "" where the store has none."""

    id: str
    path: tuple[str, ...]
    kind: Kind
    default: bool = False
    token: str = ""


@dataclass(frozen=True, slots=True)
class Ref:
    """One item of a listing. `id`: stable; `version`: changes whenever the item does (change key, ETag, digest)."""

    id: str
    version: str


@dataclass(frozen=True, slots=True)
class NotCarried:
    """An item that will not come, with the reason for people. `item_class`, `when`: what a report names it by; the
    subject is withheld unless asked for."""

    id: str
    item_class: str
    reason: str
    subject: str = ""
    when: datetime | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """What a collection holds: always complete."""

    items: tuple[Ref, ...]
    not_carried: tuple[NotCarried, ...] = ()
