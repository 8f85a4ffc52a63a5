"""Exchange's patterns as iCalendar: what an independent library makes of them over ten years is what Exchange shows.

`shown` says Exchange's rules day by day in plain Python, apart from the code that is tested; `expanded` asks
recurring-ical-events, which reads nothing but the bytes that were written.
"""

from __future__ import annotations

import calendar as days_of
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC as UTC_CLOCK
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import icalendar
import pytest
import recurring_ical_events

from mailferry.groupware import from_ical, to_ical
from mailferry.groupware.recurrence import parsed, rule
from mailferry.model.groupware import Event, Frequency, Moment, Recurrence, Text, Zone

DAILY, WEEKLY, MONTHLY, YEARLY = Frequency.DAILY, Frequency.WEEKLY, Frequency.MONTHLY, Frequency.YEARLY
MO, TU, WE, TH, FR, SA, SU = range(7)
WORKDAYS = (MO, TU, WE, TH, FR)
WEEKEND = (SA, SU)
ANY_DAY = (MO, TU, WE, TH, FR, SA, SU)
BERLIN = Zone("W. Europe Standard Time")
NEW_YORK = Zone("Eastern Standard Time")
SAMOA = Zone("Samoa Standard Time")  # left daylight time in 2021
RUSSIA = Zone("Russian Standard Time")  # other offsets until 2011 and 2014
PLACES = {BERLIN: "Europe/Berlin", NEW_YORK: "America/New_York", SAMOA: "Pacific/Apia", RUSSIA: "Europe/Moscow"}
TEN_YEARS = 3653


@dataclass(frozen=True)
class Case:
    """A series. `start`: its first date."""

    name: str
    recurrence: Recurrence
    start: date
    hour: int = 9
    minute: int = 0
    zone: Zone = BERLIN
    all_day: bool = False


def shown(recurrence: Recurrence, start: date) -> list[date]:
    """The dates that Exchange shows over ten years ([MS-OXOCAL] §2.2.1.44.1)."""
    found = [start + timedelta(number) for number in range(TEN_YEARS) if _is(recurrence, start, number)]
    if recurrence.until is not None and recurrence.until.year < 4500:
        found = [day for day in found if day <= recurrence.until]
    return found[: recurrence.count] if recurrence.count else found


def _is(recurrence: Recurrence, start: date, number: int) -> bool:
    day = start + timedelta(number)
    if recurrence.frequency is DAILY:
        return number % recurrence.interval == 0
    if recurrence.frequency is WEEKLY:
        begin = start - timedelta((start.weekday() - recurrence.first_weekday) % 7)
        return (day - begin).days // 7 % recurrence.interval == 0 and day.weekday() in recurrence.weekdays
    every = recurrence.interval * (12 if recurrence.frequency is YEARLY else 1)
    if ((day.year - start.year) * 12 + day.month - start.month) % every:
        return False
    last = days_of.monthrange(day.year, day.month)[1]
    if not recurrence.week:
        return day.day == min(recurrence.day, last)
    fitting = [one for one in range(1, last + 1) if day.replace(day=one).weekday() in recurrence.weekdays]
    return day.day == (fitting[-1] if recurrence.week == 5 else fitting[recurrence.week - 1])


def expanded(data: bytes, start: date) -> list[datetime]:
    """Starts of all occurrences in ten years, in UTC; of dates: their midnight."""
    found = recurring_ical_events.of(icalendar.Calendar.from_ical(data)).between(
        start - timedelta(1), start + timedelta(TEN_YEARS)
    )
    return sorted(_utc(one["DTSTART"].dt) for one in found)


def _utc(when: date) -> datetime:
    if isinstance(when, datetime):
        return when.astimezone(UTC_CLOCK).replace(tzinfo=None)
    return datetime(when.year, when.month, when.day)


def event(case: Case) -> Event:
    begin = datetime(case.start.year, case.start.month, case.start.day)
    if not case.all_day:
        begin += timedelta(hours=case.hour, minutes=case.minute)
    end = begin + (timedelta(days=1) if case.all_day else timedelta(minutes=45))
    return Event(
        f"uid-{case.name}",
        "A series",
        Moment(begin, case.zone),
        Moment(end, case.zone),
        all_day=case.all_day,
        recurrence=case.recurrence,
    )


def instants(case: Case, dates: Iterable[date]) -> list[datetime]:
    """When occurrences on these dates begin, in UTC."""
    found = []
    for day in dates:
        at = datetime(day.year, day.month, day.day)
        if not case.all_day:
            at += timedelta(hours=case.hour, minutes=case.minute)
            at = at.replace(tzinfo=ZoneInfo(PLACES[case.zone])).astimezone(UTC_CLOCK).replace(tzinfo=None)
        found.append(at)
    return sorted(found)


def _daily() -> Iterable[Case]:
    day = date(2024, 1, 10)
    yield Case("every day", Recurrence(DAILY, until=date(2025, 3, 1)), day)
    yield Case("every day, without end, at night", Recurrence(DAILY, interval=11), day, 2, 30)
    yield Case("every third day, ten times", Recurrence(DAILY, interval=3, count=10), day)
    yield Case(
        "every other day in New York", Recurrence(DAILY, interval=2, until=date(2024, 12, 31)), day, 23, 30, NEW_YORK
    )
    yield Case("every fifth day, whole days", Recurrence(DAILY, interval=5), day, all_day=True)
    yield Case("every day over the turn to summer", Recurrence(DAILY, until=date(2024, 4, 2)), date(2024, 3, 28), 2, 30)
    yield Case(
        "every day over the turn to winter", Recurrence(DAILY, until=date(2024, 10, 30)), date(2024, 10, 25), 2, 30
    )
    yield Case("every 99 days", Recurrence(DAILY, interval=99), day)
    yield Case("one time only", Recurrence(DAILY, count=1), day)
    yield Case("until the day it begins", Recurrence(DAILY, until=day), day)
    yield Case("every day around midnight", Recurrence(DAILY, until=date(2024, 4, 30)), day, 0, 0)
    yield Case("until late in the evening, west", Recurrence(DAILY, until=date(2024, 2, 1)), day, 22, 0, NEW_YORK)


def _weekly() -> Iterable[Case]:
    monday = date(2024, 1, 1)
    yield Case("every week", Recurrence(WEEKLY, weekdays=(MO,)), monday)
    yield Case("every workday", Recurrence(WEEKLY, weekdays=WORKDAYS, until=date(2025, 12, 31)), monday)
    yield Case("Tuesdays and Thursdays", Recurrence(WEEKLY, weekdays=(TU, TH), count=60), date(2024, 1, 2))
    yield Case("every other week", Recurrence(WEEKLY, interval=2, weekdays=(WE,)), date(2024, 1, 3))
    for first, name in ((SU, "Sunday"), (MO, "Monday"), (SA, "Saturday"), (WE, "Wednesday")):
        pattern = Recurrence(WEEKLY, interval=2, weekdays=(SU, TU), first_weekday=first, until=date(2026, 1, 1))
        yield Case(f"two days in every other week, weeks begin on {name}", pattern, date(2024, 1, 2))
    yield Case("three weeks, first on Sunday", Recurrence(WEEKLY, interval=3, weekdays=(SU, SA)), date(2024, 1, 7))
    yield Case("weekends", Recurrence(WEEKLY, weekdays=WEEKEND, until=date(2024, 12, 29)), date(2024, 1, 6))
    yield Case("every week, whole days", Recurrence(WEEKLY, weekdays=(FR,)), date(2024, 1, 5), all_day=True)
    yield Case("every week in the gap of the turn", Recurrence(WEEKLY, weekdays=(SU,)), date(2024, 1, 7), 2, 30)
    yield Case("New York, in the gap", Recurrence(WEEKLY, weekdays=(SU,)), date(2024, 1, 7), 2, 15, NEW_YORK)
    yield Case("New York, in the doubled hour", Recurrence(WEEKLY, weekdays=(SU,)), date(2024, 1, 7), 1, 30, NEW_YORK)
    yield Case("52 weeks", Recurrence(WEEKLY, interval=52, weekdays=(MO,)), monday)
    yield Case(
        "over a zone that gives daylight time up", Recurrence(WEEKLY, weekdays=(TU,)), date(2019, 1, 1), 8, 0, SAMOA
    )
    yield Case(
        "over a zone that changes its offset twice", Recurrence(WEEKLY, weekdays=(TU,)), date(2010, 1, 5), 8, 0, RUSSIA
    )
    yield Case("starts on a day that is not its own", Recurrence(WEEKLY, weekdays=(TH,), count=9), monday)
    yield Case(
        "other week, starts on another day", Recurrence(WEEKLY, interval=2, weekdays=(TH,), first_weekday=MO), monday
    )


def _monthly() -> Iterable[Case]:
    for day in (1, 15, 28, 29, 30, 31):
        start = date(2024, 1, day)
        yield Case(f"day {day} of every month", Recurrence(MONTHLY, day=day), start)
    yield Case("day 31 of every third month", Recurrence(MONTHLY, interval=3, day=31), date(2024, 8, 31))
    yield Case("day 30 of every month, from February", Recurrence(MONTHLY, day=30, count=30), date(2024, 2, 29))
    yield Case(
        "day 31, whole days, until",
        Recurrence(MONTHLY, day=31, until=date(2026, 2, 28)),
        date(2024, 1, 31),
        all_day=True,
    )
    yield Case("every 18 months", Recurrence(MONTHLY, interval=18, day=5), date(2024, 1, 5))
    for week, name in ((1, "first"), (2, "second"), (3, "third"), (4, "fourth"), (5, "last")):
        tuesday = date(2024, 1, 2 + 7 * (week - 1))
        yield Case(f"{name} Tuesday", Recurrence(MONTHLY, week=week, weekdays=(TU,)), tuesday)
    yield Case("first workday", Recurrence(MONTHLY, week=1, weekdays=WORKDAYS), date(2024, 1, 1))
    yield Case("third workday", Recurrence(MONTHLY, week=3, weekdays=WORKDAYS), date(2024, 1, 3))
    yield Case("last workday", Recurrence(MONTHLY, week=5, weekdays=WORKDAYS), date(2024, 1, 31))
    yield Case("first day of the weekend", Recurrence(MONTHLY, week=1, weekdays=WEEKEND), date(2024, 1, 6))
    yield Case("last day of the weekend", Recurrence(MONTHLY, week=5, weekdays=WEEKEND), date(2024, 1, 28))
    yield Case("second day", Recurrence(MONTHLY, week=2, weekdays=ANY_DAY), date(2024, 1, 2))
    yield Case("last day", Recurrence(MONTHLY, week=5, weekdays=ANY_DAY), date(2024, 1, 31))
    yield Case(
        "last Friday of every other month", Recurrence(MONTHLY, interval=2, week=5, weekdays=(FR,)), date(2024, 1, 26)
    )
    yield Case("last Sunday at night", Recurrence(MONTHLY, week=5, weekdays=(SU,)), date(2024, 1, 28), 2, 30)
    yield Case(
        "fourth Thursday, whole days", Recurrence(MONTHLY, week=4, weekdays=(TH,)), date(2024, 1, 25), all_day=True
    )
    yield Case("second Tuesday or Thursday", Recurrence(MONTHLY, week=2, weekdays=(TU, TH)), date(2024, 1, 4))
    yield Case("day 10, starts on the 20th", Recurrence(MONTHLY, day=10, count=12), date(2024, 1, 20))


def _yearly() -> Iterable[Case]:
    yield Case("a birthday", Recurrence(YEARLY, month=7, day=4), date(2024, 7, 4), all_day=True)
    yield Case("29 February", Recurrence(YEARLY, month=2, day=29), date(2024, 2, 29), all_day=True)
    yield Case("29 February at an hour", Recurrence(YEARLY, month=2, day=29, count=7), date(2024, 2, 29))
    yield Case("31 December, until", Recurrence(YEARLY, month=12, day=31, until=date(2029, 12, 31)), date(2024, 12, 31))
    yield Case("30 April", Recurrence(YEARLY, month=4, day=30), date(2024, 4, 30))
    yield Case(
        "Thanksgiving", Recurrence(YEARLY, month=11, week=4, weekdays=(TH,)), date(2024, 11, 28), 12, 0, NEW_YORK
    )
    yield Case(
        "last Monday of May", Recurrence(YEARLY, month=5, week=5, weekdays=(MO,)), date(2024, 5, 27), 0, 0, NEW_YORK
    )
    yield Case("first workday of the year", Recurrence(YEARLY, month=1, week=1, weekdays=WORKDAYS), date(2024, 1, 1))
    yield Case("last workday of the year", Recurrence(YEARLY, month=12, week=5, weekdays=WORKDAYS), date(2024, 12, 31))
    yield Case("last day of February", Recurrence(YEARLY, month=2, week=5, weekdays=ANY_DAY), date(2024, 2, 29))
    yield Case("every fourth year", Recurrence(YEARLY, interval=4, month=2, day=29), date(2024, 2, 29))
    yield Case("on the turn to summer", Recurrence(YEARLY, month=3, week=5, weekdays=(SU,)), date(2024, 3, 31), 2, 30)
    yield Case("an end that is none", Recurrence(YEARLY, month=6, day=1, until=date(4500, 8, 31)), date(2024, 6, 1))


CASES = [*_daily(), *_weekly(), *_monthly(), *_yearly()]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def test_the_table_is_as_long_as_it_should_be() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 60


@each_case
def test_occurrences_are_those_that_exchange_shows(case: Case) -> None:
    written = to_ical.calendar(event(case))
    assert written.losses == ()
    assert expanded(written.data, case.start) == instants(case, shown(case.recurrence, case.start))


@each_case
def test_a_rule_read_again_is_the_same_rule(case: Case) -> None:
    start = event(case).start
    text = rule(case.recurrence, start, dates=case.all_day).text
    again = parsed(text, start, dates=case.all_day)
    assert again is not None
    assert again.rule == ""
    assert rule(again, start, dates=case.all_day).text == text
    assert shown(again, case.start) == shown(case.recurrence, case.start)


@pytest.mark.parametrize(
    "case", [one for one in CASES if len(shown(one.recurrence, one.start)) >= 4], ids=lambda case: case.name
)
def test_exceptions_move_change_and_delete(case: Case) -> None:
    """The second occurrence is moved a day and changed, the third deleted, the fourth gets another text."""
    series = event(case)
    dates = shown(case.recurrence, case.start)
    at = [replace(series.start, local=datetime.combine(day, series.start.local.time())) for day in dates[:4]]
    span = series.end.local - series.start.local
    moved_to = replace(
        at[1], local=at[1].local + timedelta(hours=0 if case.all_day else 1, days=1 if case.all_day else 0)
    )
    moved = replace(
        series,
        recurrence=None,
        subject="Moved",
        start=moved_to,
        end=replace(moved_to, local=moved_to.local + span),
        original=at[1],
    )
    changed = replace(
        series,
        recurrence=None,
        text=Text("only this time"),
        start=at[3],
        end=replace(at[3], local=at[3].local + span),
        original=at[3],
    )
    written = to_ical.calendar(replace(series, exceptions=(changed, moved), deleted=(at[2],)))
    wanted = instants(case, [dates[0], *dates[3:]])
    wanted.append(_there(case, moved_to.local))
    assert expanded(written.data, case.start) == sorted(wanted)
    (again,) = from_ical.items(written.data)
    assert isinstance(again, Event)
    assert [one.subject for one in again.exceptions] == ["Moved", "A series"]
    assert [one.text.plain for one in again.exceptions] == ["", "only this time"]
    assert len(again.deleted) == 1


def _there(case: Case, local: datetime) -> datetime:
    if case.all_day:
        return local
    return local.replace(tzinfo=ZoneInfo(PLACES[case.zone])).astimezone(UTC_CLOCK).replace(tzinfo=None)


@pytest.mark.parametrize(
    "recurrence", [Recurrence(MONTHLY, day=1, calendar="Hijri"), Recurrence(DAILY, regenerates=True)]
)
def test_what_cannot_be_said_is_kept_once_with_a_loss(recurrence: Recurrence) -> None:
    case = Case("none", recurrence, date(2024, 1, 1))
    written = to_ical.calendar(event(case))
    assert expanded(written.data, case.start) == instants(case, [case.start])
    assert len(written.losses) == 1


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=MONTHLY;BYMONTHDAY=1,15",
        "FREQ=MONTHLY;BYMONTHDAY=31",
        "FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO",
        "FREQ=DAILY;BYHOUR=9,12",
        "FREQ=MONTHLY;BYDAY=1MO,3MO",
        "FREQ=MONTHLY;BYMONTHDAY=13;BYDAY=FR",
        "FREQ=DAILY;INTERVAL=2;BYDAY=MO,TU",
        "FREQ=YEARLY;BYMONTH=1,7;BYMONTHDAY=1",
    ],
)
def test_a_rule_that_no_pattern_says_keeps_its_text(text: str) -> None:
    start = Moment(datetime(2024, 1, 1, 9), BERLIN)
    found = parsed(text, start, dates=False)
    assert found is not None
    assert rule(found, start, dates=False).text == text


@pytest.mark.parametrize("text", ["", "FREQ=", "hello", "FREQ=HOURLYISH", "FREQ=DAILY;UNTIL=x", "FREQ=WEEKLY;BYDAY=XX"])
def test_a_rule_that_makes_no_sense_is_none(text: str) -> None:
    assert parsed(text, Moment(datetime(2024, 1, 1, 9), BERLIN), dates=False) is None
