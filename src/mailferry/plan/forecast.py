"""How long a wave takes, from what past passes took, and who fits into one. Pure.

A mailbox is copied no faster than one mailbox ever was, all together no faster than all together were; of bytes and
messages, the slower one counts. Invariants: a forecast says whether its rates were measured; `packed` divides no
cluster of people who share unless told to, and gives back everybody once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

GB = 10**9
ABOUT_A_MESSAGE = 75_000
"""Bytes of a message where a server tells only how many there are: the mean of published moves."""
PROBE_SECONDS = 3.0
ROOM = 100_000_000
"""What a mailbox counts for at its store besides what is in it: it grows, and has somebody who reads."""
SMALL_SAMPLE = 100
"""A pass that brought fewer messages says how long looking takes, not how fast copying is."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is in a mailbox. None: nobody knows."""

    messages: int | None = None
    bytes: int | None = None

    @property
    def weight(self) -> int:
        """Bytes, or about that."""
        return self.bytes if self.bytes is not None else (self.messages or 0) * ABOUT_A_MESSAGE


@dataclass(frozen=True, slots=True)
class Sample:
    """A past pass over one mailbox. `run`: passes of one run went on at once."""

    run: int | None
    started: float
    ended: float
    messages: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Rates:
    """Per second: of one mailbox, and of all together. `passes`: from how many they were measured; 0: documented."""

    one_bytes: float
    one_messages: float
    all_bytes: float
    all_messages: float
    delta_seconds: float
    passes: int = 0

    @property
    def how(self) -> str:
        """Where they come from, for people."""
        if self.passes:
            return f"measured in {self.passes} earlier passes"
        published = "published rates of other tools (1.3 GB and 31,000 messages an hour per mailbox)"
        return f"no large pass was made yet: {published}"


DOCUMENTED = Rates(1.3 * GB / 3600, 31_000 / 3600, 8 * 1.3 * GB / 3600, 8 * 31_000 / 3600, 10.0)
"""knowledge/coexistence.md, figures to beat; eight mailboxes at once."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a wave may be at most. None: as much as there is."""

    people: int | None = None
    bytes: int | None = None
    seconds: float | None = None


def rates(samples: Sequence[Sample]) -> Rates:
    """From these passes; as DOCUMENTED where none of them brought enough to tell."""
    told = [one for one in samples if one.messages >= SMALL_SAMPLE and one.ended > one.started]
    small = [one.ended - one.started for one in samples if one.messages < SMALL_SAMPLE and one.ended > one.started]
    delta = median(small) if small else DOCUMENTED.delta_seconds
    if not told:
        return replace(DOCUMENTED, delta_seconds=delta)
    spent = sum(one.ended - one.started for one in told)
    runs: dict[int | None, list[Sample]] = {}
    for one in told:
        runs.setdefault(one.run, []).append(one)
    busy = sum(_union(some) for some in runs.values())
    copied, messages = sum(one.bytes for one in told), sum(one.messages for one in told)
    return Rates(copied / spent, messages / spent, copied / busy, messages / busy, delta, len(told))


def _union(samples: Iterable[Sample]) -> float:
    """Seconds in which at least one of them went on."""
    total, until = 0.0, -math.inf
    for one in sorted(samples, key=lambda each: each.started):
        total += max(0.0, one.ended - max(one.started, until))
        until = max(until, one.ended)
    return total


def seconds_of(load: Load, rate: Rates) -> float:
    """The first copy of one mailbox."""
    return max(load.weight / rate.one_bytes, (load.messages or 0) / rate.one_messages, rate.delta_seconds)


def seconds_of_all(loads: Sequence[Load], rate: Rates) -> float:
    """The first copy of all of them, from the first to the last."""
    longest = max((seconds_of(one, rate) for one in loads), default=0.0)
    weight, messages = sum(one.weight for one in loads), sum(one.messages or 0 for one in loads)
    return max(longest, weight / rate.all_bytes, messages / rate.all_messages)


def parked_seconds(rate: Rates, before: Sequence[float], forget: float, probe: bool) -> float:
    """How long one person's mail waits. `before`: how long it did for others; else what is known of each step.
    `forget`: seconds until every MTA has forgotten a route, which is waited for before the copy and at the release."""
    if before:
        return median(before)
    return 2 * forget + 2 * rate.delta_seconds + (PROBE_SECONDS if probe else 0.0)


@dataclass(slots=True)
class _Filling:
    """A wave that is being filled; sums, so that adding somebody costs the same however many there are."""

    rate: Rates
    members: list[str] = field(default_factory=list)
    weight: int = 0
    messages: int = 0
    longest: float = 0.0

    def after(self, part: Sequence[str], loads: Mapping[str, Load]) -> _Filling:
        some = [loads[who] for who in part]
        return _Filling(
            self.rate,
            self.members,
            self.weight + sum(one.weight for one in some),
            self.messages + sum(one.messages or 0 for one in some),
            max(self.longest, *(seconds_of(one, self.rate) for one in some)),
        )

    def within(self, people: int, budget: Budget) -> bool:
        spent = max(self.longest, self.weight / self.rate.all_bytes, self.messages / self.rate.all_messages)
        return (
            (budget.people is None or people <= budget.people)
            and (budget.bytes is None or self.weight <= budget.bytes)
            and (budget.seconds is None or spent <= budget.seconds)
        )


def packed(
    clusters: Iterable[Sequence[str]],
    loads: Mapping[str, Load],
    rate: Rates,
    budget: Budget,
    *,
    split: bool = False,
) -> list[list[str]]:
    """People in waves, in the order given, each wave within the budget. A cluster that is too large for any is a wave
    of its own; with `split` it is divided."""
    waves: list[_Filling] = []
    for cluster in clusters:
        whole = not split or _Filling(rate).after(cluster, loads).within(len(cluster), budget)
        for part in [cluster] if whole else [[one] for one in cluster]:
            grown = waves[-1].after(part, loads) if waves else None
            if grown is None or not grown.within(len(grown.members) + len(part), budget):
                grown = _Filling(rate).after(part, loads)
                waves.append(grown)
            else:
                waves[-1] = grown
            grown.members += part
    return [one.members for one in waves]


def spread(
    clusters: Iterable[Sequence[str]],
    loads: Mapping[str, Load],
    filled: Mapping[str, int],
    bound: Mapping[str, str],
) -> dict[str, str]:
    """Who goes to which store: a cluster to one, where somebody of theirs is already (`bound`), else to the emptiest.
    `filled`: store → bytes that are there or planned."""
    weights = dict(filled)
    found: dict[str, str] = {}
    for cluster in clusters:
        theirs = next((bound[who] for who in cluster if bound.get(who) in weights), None)
        store = theirs or min(weights, key=lambda one: (weights[one], one))
        for who in cluster:
            if who in loads:
                found[who] = store
                weights[store] += ROOM + loads[who].weight
    return found
