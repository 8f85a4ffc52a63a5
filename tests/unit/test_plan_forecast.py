"""Rates from past passes, predicted durations, and who fits into a wave."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailferry.plan.forecast import (
    DOCUMENTED,
    GB,
    ROOM,
    Budget,
    Load,
    Rates,
    Sample,
    packed,
    rates,
    seconds_of,
    seconds_of_all,
    spread,
)

RATE = Rates(1000.0, 10.0, 4000.0, 40.0, 2.0, 5)


def test_rates_are_those_of_one_mailbox_and_of_all_together() -> None:
    found = rates(
        [
            Sample(1, 0.0, 100.0, 1000, 10_000_000),
            Sample(1, 50.0, 150.0, 1000, 10_000_000),  # beside the first: 150 s for both
            Sample(2, 1000.0, 1050.0, 500, 5_000_000),
            Sample(2, 2000.0, 2007.0, 3, 10),  # a delta
        ]
    )
    assert (found.one_bytes, found.one_messages) == (100_000.0, 10.0)
    assert (found.all_bytes, found.all_messages) == (125_000.0, 12.5)
    assert (found.delta_seconds, found.passes) == (7.0, 3)
    assert found.how == "measured in 3 earlier passes"


def test_before_any_pass_the_published_rates_are_said_to_be_that() -> None:
    assert rates([]) == rates([Sample(1, 9.0, 9.0, 5000, 100)]) == DOCUMENTED
    assert rates([Sample(1, 0.0, 5.0, 3, 100)]) == replace(DOCUMENTED, delta_seconds=5.0)
    assert "no large pass was made yet" in DOCUMENTED.how
    assert seconds_of(Load(1000, int(1.3 * GB)), DOCUMENTED) == pytest.approx(3600)


def test_the_slower_of_bytes_and_messages_counts() -> None:
    assert seconds_of(Load(10, 5000), RATE) == 5.0
    assert seconds_of(Load(100, 5000), RATE) == 10.0
    assert seconds_of(Load(), RATE) == RATE.delta_seconds
    assert seconds_of(Load(10, None), RATE) == 750.0  # no size: about that of published moves
    assert seconds_of_all([Load(10, 5000)] * 8, RATE) == 10.0
    assert seconds_of_all([Load(10, 50_000), Load(1, 10)], RATE) == 50.0
    assert seconds_of_all([], RATE) == 0.0


def test_a_cluster_is_not_divided_unless_told() -> None:
    loads = {who: Load(1, 1000) for who in "abcdefgh"}
    two = Budget(people=2)
    assert packed(["a", "b", "cde", "f"], loads, RATE, two) == [["a", "b"], ["c", "d", "e"], ["f"]]
    assert packed(["a", "bc", "d"], loads, RATE, two) == [["a"], ["b", "c"], ["d"]]
    assert packed(["a", "bcd", "e"], loads, RATE, two, split=True) == [["a", "b"], ["c", "d"], ["e"]]
    assert packed(["a", "bc"], loads, RATE, Budget()) == [["a", "b", "c"]]
    assert packed([], loads, RATE, two) == []


def test_budgets_of_size_and_time() -> None:
    loads = {"a": Load(1, 6000), "b": Load(1, 5000), "c": Load(1, 1000), "d": Load(900, 10)}
    assert packed("abcd", loads, RATE, Budget(bytes=10_000)) == [["a"], ["b", "c", "d"]]
    assert packed("abcd", loads, RATE, Budget(seconds=6.0)) == [["a", "b", "c"], ["d"]]


@given(
    st.lists(st.integers(1, 6), max_size=30),
    st.lists(st.integers(0, 9000), min_size=180, max_size=180),
    st.integers(1, 5),
    st.booleans(),
)
def test_everybody_is_in_one_wave_once(sizes: list[int], bytes_: list[int], most: int, split: bool) -> None:
    names = iter(range(180))
    clusters = [[str(next(names)) for _ in range(size)] for size in sizes]
    loads = {str(number): Load(1, size) for number, size in enumerate(bytes_)}
    waves = packed(clusters, loads, RATE, Budget(people=most, bytes=20_000), split=split)
    assert list(itertools.chain(*waves)) == list(itertools.chain(*clusters))
    for wave in waves:
        whole = any(wave == cluster for cluster in clusters)
        assert len(wave) <= most or (whole and not split)
        assert sum(loads[who].weight for who in wave) <= 20_000 or (whole and not split)


def test_who_shares_goes_to_one_store_and_the_emptiest_comes_first() -> None:
    loads = {who: Load(1, 1000) for who in "abcde"}
    found = spread(["ab", "c", "dex"], loads, {"one": 0, "two": 5 * ROOM // 2}, {"x": "two", "c": "elsewhere"})
    assert found == {"a": "one", "b": "one", "c": "one", "d": "two", "e": "two"}
