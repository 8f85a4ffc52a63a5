"""One condition of a rule → a Sieve test, or the reason why there is none. Pure.

Invariant: a test fits exactly the messages that Exchange's condition fits, or its note says what differs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mailferry.model.rule import Condition, Predicate
from mailferry.rules.names import CONDITIONS, Rating
from mailferry.wire import sieve
from mailferry.wire.sieve import Tag, all_of, any_of, not_

_MIME = frozenset({"mime"})
_BODY = frozenset({"body"})
_COUNT = frozenset({"relational", "comparator-i;ascii-numeric"})
_DATE = frozenset({"date", "relational"})
_TO, _CC, _BOTH = ("to",), ("cc",), ("to", "cc")
_SENSITIVITY = {"personal": "personal", "private": "private", "companyconfidential": "company-confidential"}
_HEADER = re.compile(r"\s*([!-9;-~]+)\s*:\s*(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose rules these are, and what stands around them. `me`: all addresses, the primary one first. `people`: from
    how an export names somebody (address, X.500, name) to addresses (several for a group), None: nobody knows. `reach`:
    likewise to the one address that reaches them all, a group's own. `folder`: from Exchange's folder (parts joined by
    `\\`) to the target's name, None: there is none. `domains`: the organisation's. `extensions`: what the server
    announces; None: whatever Pigeonhole has by itself. `redirects`: how many a script may make for one message."""

    me: tuple[str, ...]
    people: Callable[[str], tuple[str, ...] | None]
    reach: Callable[[str], str | None]
    folder: Callable[[str], str | None]
    domains: tuple[str, ...] = ()
    extensions: frozenset[str] | None = None
    redirects: int = 4
    trash: str = "Trash"
    junk: str = "Junk"


@dataclass(slots=True)
class Said:
    """What became of a part of a rule: its rating, and a sentence for each difference."""

    rating: Rating = Rating.EXACT
    notes: list[str] = field(default_factory=list)

    def note(self, rating: Rating, text: str) -> None:
        self.rating = max(self.rating, rating, key=list(Rating).index)
        if text not in self.notes:
            self.notes.append(text)


def test_of(one: Predicate, owner: Owner, said: Said) -> sieve.Test | None:
    """The Sieve test; None with a note of `said` where there is none."""
    row = CONDITIONS[one.what]
    if row.rating is Rating.MANUAL:
        said.note(Rating.MANUAL, f"{one.what.value}: {row.note}")
        return None
    if row.rating is Rating.APPROXIMATE:
        said.note(Rating.APPROXIMATE, f"{one.what.value}: {row.note}")
    values = tuple(dict.fromkeys(value for value in one.values if value.strip()))
    if one.what in _WITH_VALUES:
        if not values:
            said.note(Rating.MANUAL, f"{one.what.value} says nothing")
            return None
        return _WITH_VALUES[one.what](one if one.what in (Condition.DATES, Condition.SIZES) else values, owner, said)
    if one.what in _ABOUT_ME and not owner.me:
        said.note(Rating.MANUAL, f"{one.what.value}: whose mailbox this is is not known")
        return None
    return _PLAIN[one.what](owner)


def people_of(values: Sequence[str], owner: Owner, said: Said, what: str) -> tuple[str, ...] | None:
    """Everybody's addresses; None with a note where somebody is not known."""
    found: dict[str, None] = {}
    for value in values:
        addresses = owner.people(value)
        if not addresses:
            said.note(Rating.MANUAL, f"{what}: nobody here is {value}")
            return None
        if len(addresses) > 1:
            said.note(Rating.APPROXIMATE, f"{what}: {value} stands for its {len(addresses)} members of today")
        found.update(dict.fromkeys(addresses))
    return tuple(found)


def _contains(headers: Sequence[str], values: Sequence[str], said: Said) -> sieve.Test:
    keys = tuple(dict.fromkeys(key for value in values for key in _spellings(value, said)))
    return sieve.Test("header", (Tag(":contains"), _one(headers), _one(keys)))


def _spellings(value: str, said: Said) -> tuple[str, ...]:
    """Sieve's comparator knows A and a alike, not Ä and ä (RFC 5228 §2.7.3)."""
    if value.isascii() or value.lower() == value.upper():
        return (value,)
    said.note(Rating.APPROXIMATE, "letters beyond A to Z are found as written, in capitals, and in small letters")
    return value, value.lower(), value.upper(), value.title()


def _one(values: Sequence[str]) -> str | tuple[str, ...]:
    return values[0] if len(values) == 1 else tuple(values)


def _address(headers: Sequence[str], addresses: Sequence[str]) -> sieve.Test:
    return sieve.Test("address", (Tag(":is"), _one(headers), _one(addresses)))


def _header_words(values: Sequence[str], owner: Owner, said: Said) -> sieve.Test | None:
    tests = []
    for value in values:
        found = _HEADER.fullmatch(value)
        if found is None:
            said.note(Rating.MANUAL, f"{Condition.HEADER.value}: {value} does not say in which header")
            return None
        name, words = found[1], found[2].strip()
        tests.append(_contains([name], [words], said) if words else sieve.Test("exists", (name,)))
    return any_of(tests)


def _body(values: Sequence[str], said: Said) -> sieve.Test:
    keys = tuple(dict.fromkeys(key for value in values for key in _spellings(value, said)))
    return sieve.Test("body", (Tag(":text"), Tag(":contains"), _one(keys)), needs=_BODY)


def _from(values: Sequence[str], owner: Owner, said: Said) -> sieve.Test | None:
    """A group stands for its members, who write; a message to it has its own address."""
    addresses = people_of(values, owner, said, Condition.FROM.value)
    return None if addresses is None else _address(("from",), addresses)


def _sent_to(values: Sequence[str], owner: Owner, said: Said) -> sieve.Test | None:
    found = {value: owner.reach(value) for value in values}
    for value, address in found.items():
        if address is None:
            said.note(Rating.MANUAL, f"{Condition.SENT_TO.value}: nobody here is {value}")
    known = tuple(dict.fromkeys(address for address in found.values() if address is not None))
    return _address(_BOTH, known) if len(known) == len(set(found.values())) else None


def _importance(values: Sequence[str], owner: Owner, said: Said) -> sieve.Test | None:
    high = any_of([_is("importance", "high"), _matches("x-priority", "1*", "2*")])
    low = any_of([_is("importance", "low"), _matches("x-priority", "4*", "5*")])
    tests = {"high": high, "low": low, "normal": not_(any_of([high, low]))}
    return _words(Condition.IMPORTANCE, values, tests, said)


def _sensitivity(values: Sequence[str], owner: Owner, said: Said) -> sieve.Test | None:
    tests = {word: _is("sensitivity", value) for word, value in _SENSITIVITY.items()}
    tests["confidential"] = tests["companyconfidential"]
    tests["normal"] = not_(any_of([_is("sensitivity", value) for value in _SENSITIVITY.values()]))
    return _words(Condition.SENSITIVITY, values, tests, said)


def _words(what: Condition, values: Sequence[str], tests: Mapping[str, sieve.Test], said: Said) -> sieve.Test | None:
    unknown = [value for value in values if value.lower() not in tests]
    if unknown:
        said.note(Rating.MANUAL, f"{what.value}: {unknown[0]} is not known")
        return None
    return any_of([tests[value.lower()] for value in values])


def _is(header: str, *values: str) -> sieve.Test:
    return sieve.Test("header", (Tag(":is"), header, _one(values)))


def _matches(header: str, *values: str) -> sieve.Test:
    return sieve.Test("header", (Tag(":matches"), header, _one(values)))


def _type_is(*values: str) -> sieve.Test:
    arguments = (Tag(":mime"), Tag(":contenttype"), Tag(":is"), "content-type", _one(values))
    return sieve.Test("header", arguments, needs=_MIME)


def _parameter(name: str, value: str, *, anywhere: bool = False) -> sieve.Test:
    child = (Tag(":anychild"),) if anywhere else ()
    arguments = (Tag(":mime"), *child, Tag(":param"), name, Tag(":is"), "content-type", value)
    return sieve.Test("header", arguments, needs=_MIME)


def _only_me(owner: Owner) -> sieve.Test:
    numeric = (Tag(":comparator"), "i;ascii-numeric")
    count = sieve.Test("address", (Tag(":count"), "eq", *numeric, _BOTH, "1"), needs=_COUNT)
    return all_of([_address(_TO, owner.me), count])


def _attachments(owner: Owner) -> sieve.Test:
    arguments = (Tag(":mime"), Tag(":anychild"), Tag(":contains"), "content-disposition", "attachment")
    return sieve.Test("header", arguments, needs=_MIME)


def _classes(values: Sequence[str], owner: Owner, said: Said) -> sieve.Test | None:
    tests = []
    for value in values:
        found = next((test for start, test in _ITEM_CLASSES if value.lower().startswith(start)), None)
        if found is None:
            said.note(Rating.MANUAL, f"{Condition.ITEM_CLASSES.value}: {value} cannot be known from a message")
            return None
        tests.append(found(owner))
    return any_of(tests)


def _dates(one: Predicate, owner: Owner, said: Said) -> sieve.Test | None:
    tests = []
    for relation, value in zip(("ge", "le"), one.values, strict=True):
        if value:
            when = moment(value, said)
            if when is None:
                return None
            tests.append(current(relation, when))
    return all_of(tests)


def current(relation: str, when: str) -> sieve.Test:
    """Whether it is now before or after a time, as `utc` gives it (RFC 5260 §4.2)."""
    arguments = (Tag(":zone"), "+0000", Tag(":value"), relation, "iso8601", when)
    return sieve.Test("currentdate", arguments, needs=_DATE)


def moment(text: str, said: Said) -> str | None:
    """ISO 8601 → the moment as Sieve's `iso8601` writes it at zone +0000; None with a note: not a time. Without a zone
    it is taken for UTC, which is noted."""
    try:
        when = datetime.fromisoformat(text)
        if when.tzinfo is None:
            said.note(Rating.APPROXIMATE, f"{text} says no time zone, and is taken for UTC")
            when = when.replace(tzinfo=UTC)
        found = when.astimezone(UTC)
    except (ValueError, OverflowError):
        said.note(Rating.MANUAL, f"{text} is not a time")
        return None
    return f"{found.replace(tzinfo=None, microsecond=0).isoformat()}+00:00"


def _sizes(one: Predicate, owner: Owner, said: Said) -> sieve.Test | None:
    try:
        least, most = (int(value) if value else None for value in one.values)
    except ValueError:
        said.note(Rating.MANUAL, f"{one.what.value}: {' to '.join(one.values)} is no size")
        return None
    tests = []
    if least is not None and least > 0:
        tests.append(sieve.Test("size", (Tag(":over"), min(least - 1, _MOST))))
    if most is not None:
        tests.append(sieve.Test("size", (Tag(":under"), min(most + 1, _MOST))))
    return all_of(tests)


_MOST = 2**31 - 1
"""The largest number that every implementation takes (RFC 5228 §2.4.1)."""

_Valued = Callable[..., sieve.Test | None]
_C = Condition
_WITH_VALUES: Mapping[Condition, _Valued] = {
    _C.SUBJECT: lambda values, owner, said: _contains(("subject",), values, said),
    _C.SENDER: lambda values, owner, said: _contains(("from",), values, said),
    _C.RECIPIENT: lambda values, owner, said: _contains(_BOTH, values, said),
    _C.BODY: lambda values, owner, said: _body(values, said),
    _C.SUBJECT_OR_BODY: lambda values, owner, said: any_of(
        [_contains(("subject",), values, said), _body(values, said)]
    ),
    _C.HEADER: _header_words,
    _C.FROM: _from,
    _C.SENT_TO: _sent_to,
    _C.IMPORTANCE: _importance,
    _C.SENSITIVITY: _sensitivity,
    _C.ITEM_CLASSES: _classes,
    _C.DATES: _dates,
    _C.SIZES: _sizes,
}
_PLAIN: Mapping[Condition, Callable[[Owner], sieve.Test]] = {
    _C.TO_ME: lambda owner: _address(_TO, owner.me),
    _C.CC_ME: lambda owner: _address(_CC, owner.me),
    _C.TO_OR_CC_ME: lambda owner: _address(_BOTH, owner.me),
    _C.NOT_TO_ME: lambda owner: not_(_address(_TO, owner.me)),
    _C.ONLY_TO_ME: _only_me,
    _C.ATTACHMENTS: _attachments,
    _C.FLAGGED: lambda owner: sieve.Test("exists", ("x-message-flag",)),
    _C.MEETING_REQUEST: lambda owner: _parameter("method", "request", anywhere=True),
    _C.MEETING_RESPONSE: lambda owner: _parameter("method", "reply", anywhere=True),
    _C.NDR: lambda owner: _parameter("report-type", "delivery-status"),
    _C.READ_RECEIPT: lambda owner: _parameter("report-type", "disposition-notification"),
    _C.SIGNED: lambda owner: any_of([_type_is("multipart/signed"), _parameter("smime-type", "signed-data")]),
    _C.ENCRYPTED: lambda owner: any_of([_type_is("multipart/encrypted"), _parameter("smime-type", "enveloped-data")]),
    _C.AUTOMATIC_REPLY: lambda owner: _matches("auto-submitted", "auto-replied*"),
    _C.AUTOMATIC_FORWARD: lambda owner: any_of(
        [
            sieve.Test("exists", ("x-ms-exchange-inbox-rules-loop",)),
            _matches("auto-submitted", "auto-forwarded*"),
        ]
    ),
    _C.VOICEMAIL: lambda owner: sieve.Test("header", (Tag(":contains"), "content-class", ("voice", "um-"))),
    _C.PERMISSION_CONTROLLED: lambda owner: _is("content-class", "rpmsg.message"),
}
_ABOUT_ME = frozenset({_C.TO_ME, _C.CC_ME, _C.TO_OR_CC_ME, _C.NOT_TO_ME, _C.ONLY_TO_ME})
_ITEM_CLASSES: tuple[tuple[str, Callable[[Owner], sieve.Test]], ...] = (
    ("ipm.schedule.meeting.request", _PLAIN[_C.MEETING_REQUEST]),
    ("ipm.schedule.meeting.resp", _PLAIN[_C.MEETING_RESPONSE]),
    ("ipm.schedule.meeting.canceled", lambda owner: _parameter("method", "cancel", anywhere=True)),
    ("ipm.note.smime.multipartsigned", _PLAIN[_C.SIGNED]),
    ("ipm.note.smime", _PLAIN[_C.ENCRYPTED]),
    ("ipm.note.microsoft.voicemail", _PLAIN[_C.VOICEMAIL]),
    ("ipm.note.rules.ooftemplate", _PLAIN[_C.AUTOMATIC_REPLY]),
    ("report.ipm.note.ndr", _PLAIN[_C.NDR]),
    ("report.ipm.note.ipnrn", _PLAIN[_C.READ_RECEIPT]),
)
"""How classes begin that a message shows by itself ([MS-OXCMAIL])."""
