"""The migration of a whole organisation as numbers: how far it is, how fast, until when, what is lost, what waits.

From the ledger alone, added up there (ledger/organisation.py), so that 40,000 mailboxes take seconds. Shows nothing.
Invariant: a person who was in several waves counts once in the whole, as their latest wave has them.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mailferry.directory.sharing import MOVERS
from mailferry.ledger import organisation as sums
from mailferry.ledger import waves as ledger_waves
from mailferry.ledger.organisation import Excluded, Loss, Someone
from mailferry.ledger.store import Ledger
from mailferry.model.wave import MOVED, WAITING_FOR_MAIL, Move, MoveState, Wave
from mailferry.ops.wave import next_step
from mailferry.verify.score import Score

WIDTHS = (60.0, 300.0, 900.0, 3600.0, 6 * 3600.0, 86_400.0, 7 * 86_400.0)
SPANS = 96
"""Of so many bars a picture has at most."""
DAYS = 14
"""Over so many days back the pace is taken that the forecast goes on with."""
PARKS = (("under 10 s", 10), ("10 to 30 s", 30), ("30 to 60 s", 60), ("1 to 2 min", 120), ("2 to 5 min", 300))
LONGER = "over 5 min"


@dataclass(frozen=True, slots=True)
class WaveRow:
    """One wave. `states`: those that somebody is in; `parked`: median and longest seconds, None: nobody yet."""

    name: str
    state: str
    people: int
    moved: int
    messages: int
    bytes: int
    states: Mapping[str, int]
    parked: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Rate:
    """One span of time: what was brought and released, in an hour of it."""

    at: float
    mailboxes: float
    messages: float
    bytes: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """`left`: people who are planned and not moved; `bytes`, `hours`: what their waves' forecasts say of them, one
    mailbox at a time. `per_day`: releases a day over the last DAYS days, or since the first; None: there was none.
    `until`: when that pace has moved all who are left, and `all_until` those also who are in no wave."""

    left: int
    bytes: int
    hours: float
    per_day: float | None
    until: float | None
    all_until: float | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """People who cannot go on by themselves: what for, how many, and the command or person that helps the first."""

    what: str
    people: int
    advice: str


@dataclass(frozen=True, slots=True)
class Organisation:
    """`states`: of everybody once. `unplanned`: mailboxes that the directory has and no wave. `width`: of a span, in
    seconds. `parks`: label → people. `differences`: kind → (how many, mailboxes)."""

    at: float
    ledger: str
    mailboxes: int
    states: Mapping[str, int]
    unplanned: int
    messages: int
    bytes: int
    waves: Sequence[WaveRow]
    width: float
    rates: Sequence[Rate]
    moved_by: Sequence[tuple[float, int]]
    forecast: Forecast
    parked: tuple[float, float] | None
    parks: Mapping[str, int]
    losses: Sequence[Loss]
    excluded: Sequence[Excluded]
    scores: Mapping[str, int]
    differences: Mapping[str, tuple[int, int]]
    waiting: Sequence[Waiting]

    @property
    def people(self) -> int:
        return sum(self.states.values())

    @property
    def moved(self) -> int:
        return sum(self.states.get(one.value, 0) for one in MOVED)


def organisation(ledger: Ledger, now: float | None = None) -> Organisation:
    """Everything that the report says."""
    at = time.time() if now is None else now
    standings, waves, parks = sums.standings(ledger), ledger_waves.waves(ledger), sums.parks(ledger)
    by_wave: dict[int, list[float]] = {}
    for of, seconds in parks:
        by_wave.setdefault(of, []).append(seconds)
    whole = [one for one in standings if one.wave_id is None]
    states = {state.value: one.people for state in MoveState for one in whole if one.state is state}
    unplanned = sums.unplanned(ledger, [one.value for one in MOVERS])
    between = sums.first_and_last(ledger)
    width = _width(between)
    copied, released = sums.copied(ledger, width), sums.released(ledger, width)
    differences: dict[str, list[int]] = {}
    for tally in sums.differences(ledger, Score.PERFECT.word):
        for kind, number in tally.items():
            found = differences.setdefault(kind, [0, 0])
            found[0] += number
            found[1] += 1
    by_score = dict(sums.scores(ledger))
    all_parks = [seconds for _, seconds in parks]
    return Organisation(
        at=at,
        ledger=ledger.name,
        mailboxes=sums.mailboxes(ledger),
        states=states,
        unplanned=unplanned,
        messages=sum(one.messages for one in copied),
        bytes=sum(one.bytes for one in copied),
        waves=[_wave(one, standings, by_wave.get(one.id, [])) for one in waves],
        width=width,
        rates=_rates(copied, released, width),
        moved_by=_moved_by(released, width),
        forecast=_forecast(ledger, whole, unplanned, at),
        parked=_median_and_longest(all_parks),
        parks=_parks(all_parks),
        losses=sums.losses(ledger),
        excluded=sums.excluded(ledger),
        scores={one.word: by_score.get(one.word, 0) for one in Score},
        differences={
            kind: (number, boxes) for kind, (number, boxes) in sorted(differences.items(), key=lambda one: -one[1][0])
        },
        waiting=_waiting(ledger, {one.name: one for one in waves}),
    )


def document(found: Organisation) -> dict[str, Any]:
    """As JSON values (docs/json.md)."""
    values = asdict(found)
    values["losses"] = [one._asdict() for one in found.losses]
    values["excluded"] = [one._asdict() for one in found.excluded]
    return {"schema": 1, "people": found.people, "moved": found.moved, **values}


def what_for(one: Someone, wave: Wave) -> tuple[str, str]:
    """What somebody waits for, in general words, and what helps."""
    move = Move(0, wave.id, "", one.mail, "", "", "", "", one.store, state=one.state, error=one.error)
    advice = next_step(wave, move)
    if one.state in WAITING_FOR_MAIL:
        return "mail for them is parked now", advice
    if "approve" in one.error:
        return "a second person has to approve", advice
    if one.state in MOVED:
        return "moved, and something is left to do", advice
    return "the latest attempt failed, and they are on Exchange", advice


def _waiting(ledger: Ledger, waves: Mapping[str, Wave]) -> list[Waiting]:
    people: Counter[str] = Counter()
    advice: dict[str, str] = {}
    for one in sums.people(ledger, waiting=True):
        what, helps = what_for(one, waves[one.wave])
        people[what] += 1
        advice.setdefault(what, helps)
    return [Waiting(what, number, advice[what]) for what, number in people.most_common()]


def _wave(wave: Wave, standings: Sequence[sums.Standing], parks: Sequence[float]) -> WaveRow:
    mine = [one for one in standings if one.wave_id == wave.id]
    return WaveRow(
        wave.name,
        wave.state.value,
        sum(one.people for one in mine),
        sum(one.people for one in mine if one.state in MOVED),
        sum(one.messages for one in mine),
        sum(one.bytes for one in mine),
        {state.value: one.people for state in MoveState for one in mine if one.state is state},
        _median_and_longest(parks),
    )


def _median_and_longest(seconds: Sequence[float]) -> tuple[float, float] | None:
    return (statistics.median(seconds), max(seconds)) if seconds else None


def _width(between: tuple[float, float] | None) -> float:
    if between is None:
        return WIDTHS[0]
    return next((one for one in WIDTHS if (between[1] - between[0]) / one <= SPANS), WIDTHS[-1])


def _rates(copied: Sequence[sums.Span], released: Sequence[tuple[int, int]], width: float) -> list[Rate]:
    """For every span from the first to the last, also those in which nothing happened."""
    brought, moved = {one.number: one for one in copied}, dict(released)
    numbers = [*brought, *moved]
    if not numbers:
        return []
    an_hour = 3600 / width
    found = []
    for number in range(min(numbers), max(numbers) + 1):
        one = brought.get(number)
        messages, size = (one.messages, one.bytes) if one is not None else (0, 0)
        found.append(Rate(number * width, moved.get(number, 0) * an_hour, messages * an_hour, size * an_hour))
    return found


def _moved_by(released: Sequence[tuple[int, int]], width: float) -> list[tuple[float, int]]:
    """(end of a span, people moved until then)."""
    found, total = [], 0
    for number, people in released:
        total += people
        found.append(((number + 1) * width, total))
    return found


def _forecast(ledger: Ledger, whole: Sequence[sums.Standing], unplanned: int, now: float) -> Forecast:
    to_come = [one for one in whole if one.state not in MOVED]
    left = sum(one.people for one in to_come)
    days = [(number, people) for number, people in sums.released(ledger, 86_400.0) if number > now / 86_400 - DAYS]
    per_day = None
    if days:
        since = max(now - days[0][0] * 86_400, 86_400.0)
        per_day = sum(people for _, people in days) / (math.ceil(since / 86_400))
    return Forecast(
        left,
        sum(one.bytes for one in to_come),
        sum(one.seconds for one in to_come) / 3600,
        per_day,
        now + left / per_day * 86_400 if per_day else None,
        now + (left + unplanned) / per_day * 86_400 if per_day else None,
    )


def _parks(seconds: Sequence[float]) -> dict[str, int]:
    found = {label: 0 for label, _ in PARKS} | {LONGER: 0}
    for one in seconds:
        found[next((label for label, most in PARKS if one < most), LONGER)] += 1
    return found
