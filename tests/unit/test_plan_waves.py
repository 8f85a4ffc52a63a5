"""Blackout hours, start and complete times."""

from __future__ import annotations

import math
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from mailferry.errors import ConfigError
from mailferry.plan.waves import park_from, parse_blackout, seed_from, times

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).timestamp()


@pytest.mark.parametrize(
    ("blackout", "now", "then"),
    [
        # 2026-11-23 is a Monday
        (["Mon-Fri 08:00-18:00"], "2026-11-23T07:59", "2026-11-23T07:59"),
        (["Mon-Fri 08:00-18:00"], "2026-11-23T08:00", "2026-11-23T18:00"),
        (["Mon-Fri 08:00-18:00"], "2026-11-22T12:00", "2026-11-22T12:00"),
        (["22:00-06:00"], "2026-11-23T23:00", "2026-11-24T06:00"),
        (["22:00-06:00"], "2026-11-23T05:59", "2026-11-23T06:00"),
        (["sun 22:00-06:00"], "2026-11-23T05:00", "2026-11-23T06:00"),
        (["Mon 22:00-06:00"], "2026-11-23T05:00", "2026-11-23T05:00"),
        (["Fri-Mon 00:00-24:00"], "2026-11-27T09:00", "2026-12-01T00:00"),
        (["2026-12-24..2027-01-02"], "2026-12-31T12:00", "2027-01-03T00:00"),
        (["2026-12-24"], "2026-12-25T00:00", "2026-12-25T00:00"),
        (["2026-12-24", "Fri 00:00-09:00"], "2026-12-24T00:00", "2026-12-25T09:00"),
        (["08:00-12:00", "11:00-13:00", "13:00-14:00"], "2026-11-23T08:30", "2026-11-23T14:00"),
        # the clocks go forward on 2026-03-29 at 02:00, back on 2026-10-25 at 03:00
        (["00:00-06:00"], "2026-03-29T01:00", "2026-03-29T06:00"),
        (["00:00-06:00"], "2026-10-25T01:00", "2026-10-25T06:00"),
        (["Sat-Sun 00:00-24:00"], "2026-10-24T12:00", "2026-10-26T00:00"),
    ],
)
def test_nobody_is_parked_in_blackout_hours(blackout: list[str], now: str, then: str) -> None:
    assert park_from(at(now), times({"blackout": blackout}), BERLIN) == at(then)
    assert park_from(at(now), times({}, blackout), BERLIN) == at(then)


def test_the_hour_that_comes_twice_is_in_the_window_both_times() -> None:
    night = times({"blackout": ["02:00-03:00"]})
    for fold in (0, 1):
        assert park_from(at("2026-10-25T02:30", fold), night, BERLIN) == at("2026-10-25T03:00")


def test_start_and_complete() -> None:
    when = times({"start": 1000.0, "complete": 5000.0})
    assert (seed_from(10.0, when), seed_from(2000.0, when)) == (1000.0, 2000.0)
    assert (park_from(2000.0, when), park_from(6000.0, when)) == (5000.0, 6000.0)
    assert park_from(10.0, times({"start": 1000.0})) == 1000.0
    assert park_from(10.0, times({})) == seed_from(10.0, times({})) == 10.0


def test_blackout_hours_without_an_end_are_told() -> None:
    assert park_from(at("2026-11-23T08:00"), times({}, ["00:00-24:00"]), BERLIN) == math.inf


@pytest.mark.parametrize(
    "text",
    [
        *("", "8-18", "Mo 08:00-18:00", "Mon-Fri 25:00-26:00", "08:60-09:00", "09:00-09:00", "24:00-08:00"),
        *("2026-13-01", "2026-12-24..2026-12-23", "Mon- 08:00-18:00", "Mon 08:00", ",Mon 08:00-09:00"),
    ],
)
def test_what_is_no_blackout_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="not blackout hours") as caught:
        parse_blackout(text)
    assert "for example" in caught.value.advice
