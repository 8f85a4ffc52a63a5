"""VTIMEZONE components (RFC 5545 §3.6.5) from the year of an item on, from IANA's data or from given rules.

The last years' turns stand as rules without end where they follow one, so that a series without end stays right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from mailferry.model.groupware import Turn, ZoneRules
from mailferry.wire.mapi.zone_blobs import turned

LAST = 2037
"""Up to here all turns of an IANA zone are looked at; its rule of that year goes on for ever."""

_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_WHOLE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class _Change:
    """A turn of the clock. `local`: by the clock that ends then."""

    local: datetime
    before: timedelta
    after: timedelta
    name: str
    daylight: bool


@cache
def iana(tzid: str, first: int) -> bytes:
    """The component of an IANA zone, from that year on."""
    info = ZoneInfo(tzid)
    begin = datetime(min(max(first, 1900), LAST) - 1, 1, 1, tzinfo=UTC)
    changes = list(_changes(info, begin, datetime(LAST + 1, 1, 1, tzinfo=UTC)))
    at = begin.astimezone(info)
    base = _Change(at.replace(tzinfo=None), _offset(at), _offset(at), at.tzname() or "", bool(at.dst()))
    lines = list(_observance(base, ()))
    for same in _runs(changes):
        lines += _observance(same[0], same[1:], endless=same[-1].local.year == LAST)
    return _component(tzid, lines)


@cache
def of_rules(tzid: str, rules: ZoneRules, first: int) -> bytes:
    """The component of given rules, from that year on."""
    standard, daylight = timedelta(minutes=rules.standard), timedelta(minutes=rules.daylight)
    year = min(max(first, 1900), 9000) - 1
    if rules.to_daylight is None or rules.to_standard is None:
        only = _Change(datetime(year, 1, 1), standard, standard, "", False)
        return _component(tzid, list(_observance(only, ())))
    lines: list[str] = []
    for turn, before, after in ((rules.to_daylight, standard, daylight), (rules.to_standard, daylight, standard)):
        change = _Change(turned(turn, year), before, after, "", after is daylight)
        lines += _observance(change, (), rule=_rule(turn))
    return _component(tzid, lines)


def _changes(info: ZoneInfo, begin: datetime, end: datetime) -> Iterator[_Change]:
    """Every turn between two instants, found by halving."""
    step = timedelta(days=7)
    at = begin
    while at < end:
        after = at + step
        if _state(info, at) != _state(info, after):
            low, high = at, after
            while high - low > _WHOLE:
                middle = low + (high - low) / 2
                middle = middle.replace(second=0, microsecond=0)
                if middle <= low:
                    break
                low, high = (middle, high) if _state(info, middle) == _state(info, at) else (low, middle)
            before, turned_to = _offset(low.astimezone(info)), high.astimezone(info)
            local = (high + before).replace(tzinfo=None)
            yield _Change(local, before, _offset(turned_to), turned_to.tzname() or "", bool(turned_to.dst()))
        at = after


def _state(info: ZoneInfo, at: datetime) -> tuple[timedelta, str | None]:
    there = at.astimezone(info)
    return _offset(there), there.tzname()


def _offset(at: datetime) -> timedelta:
    return at.utcoffset() or timedelta()


def _runs(changes: list[_Change]) -> Iterator[list[_Change]]:
    """Turns of one kind that follow one rule, year by year."""
    open_runs: dict[tuple[timedelta, timedelta, str], list[_Change]] = {}
    done: list[list[_Change]] = []
    for change in changes:
        key = (change.before, change.after, change.name)
        run = open_runs.get(key)
        if run and change.local.year == run[-1].local.year + 1 and _shared(*run, change):
            run.append(change)
            continue
        if run:
            done.append(run)
        open_runs[key] = [change]
    return iter(sorted([*done, *open_runs.values()], key=lambda one: (one[0].local, one[0].name)))


def _shared(*run: _Change) -> Turn | None:
    """The one rule that all of these follow."""
    first = run[0].local
    if any((one.local.month, one.local.weekday(), one.local.time()) != _like(first) for one in run):
        return None
    minute = first.hour * 60 + first.minute
    for week in sorted({(first.day - 1) // 7 + 1, 5}):
        turn = Turn(first.month, week, first.weekday(), minute)
        if all(turned(turn, one.local.year) == one.local for one in run):
            return turn
    return None


def _like(at: datetime) -> tuple[object, ...]:
    return at.month, at.weekday(), at.time()


def _observance(
    change: _Change, further: tuple[_Change, ...] | list[_Change], *, endless: bool = False, rule: str = ""
) -> Iterator[str]:
    kind = "DAYLIGHT" if change.daylight else "STANDARD"
    yield f"BEGIN:{kind}"
    yield f"DTSTART:{change.local:%Y%m%dT%H%M%S}"
    turn = _shared(change, *further) if endless and further else None
    if rule or turn:
        yield f"RRULE:{rule or _rule(turn)}"
    else:
        yield from (f"RDATE:{one.local:%Y%m%dT%H%M%S}" for one in further)
    if change.name:
        yield f"TZNAME:{change.name}"
    yield f"TZOFFSETFROM:{_signed(change.before)}"
    yield f"TZOFFSETTO:{_signed(change.after)}"
    yield f"END:{kind}"


def _rule(turn: Turn | None) -> str:
    if turn is None:
        return ""
    if turn.day:
        return f"FREQ=YEARLY;BYMONTH={turn.month};BYMONTHDAY={turn.day}"
    return f"FREQ=YEARLY;BYMONTH={turn.month};BYDAY={-1 if turn.week == 5 else turn.week}{_DAYS[turn.weekday]}"


def _signed(offset: timedelta) -> str:
    seconds = int(offset.total_seconds())
    hours, rest = divmod(abs(seconds), 3600)
    text = f"{'-' if seconds < 0 else '+'}{hours:02}{rest // 60:02}"
    return f"{text}{rest % 60:02}" if rest % 60 else text


def _component(tzid: str, lines: list[str]) -> bytes:
    return "\r\n".join(["BEGIN:VTIMEZONE", f"TZID:{tzid}", *lines, "END:VTIMEZONE", ""]).encode()
