"""Fingerprints from header blocks, and the matching of two folders by them."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailferry.plan.fingerprint import (
    HEADER_LIMIT,
    Ambiguous,
    Candidate,
    Fingerprint,
    Key,
    Matches,
    candidate,
    fingerprint,
    header_block,
    match,
)

DATE = b"Date: Mon, 1 Jan 2024 10:00:00 +0100\r\n"
PLAIN = b"Message-ID: <a@b>\r\n" + DATE + b"From: A <a@b>\r\nSubject: hi\r\n"


def test_the_value_is_stable_over_runs_and_releases() -> None:
    assert fingerprint(PLAIN) == Fingerprint(-8147184241233315289, True)
    assert fingerprint(b"") == Fingerprint(-6855850911976489147, False)


@pytest.mark.parametrize(
    "same",
    [
        PLAIN.replace(b"\r\n", b"\n"),
        PLAIN.replace(b"Message-ID: <a@b>", b"message-id:\r\n\t<a@b> "),
        PLAIN.replace(b"<a@b>\r\nDate", b"a@b\r\nDate"),
        PLAIN.replace(b"10:00:00 +0100", b"09:00:00 GMT"),
        PLAIN.replace(b"Mon, 1 Jan", b"01 JAN"),
        PLAIN.replace(b"10:00:00 +0100", b"04:00:00 EST (winter)"),
        PLAIN.replace(b"10:00:00 +0100", b"09:00:00 -0000"),
        b"Received: from x\r\n\tby y; date: no\r\nX-Date: never\r\n" + PLAIN + b"To: c@d\r\n",
        PLAIN + b"Message-ID: <second@b>\r\n",
        PLAIN.replace(b"Subject: hi", b"Subject: other"),
    ],
)
def test_what_makes_no_difference(same: bytes) -> None:
    assert fingerprint(same) == fingerprint(PLAIN)


@pytest.mark.parametrize(
    "other",
    [
        PLAIN.replace(b"<a@b>\r\nDate", b"<A@b>\r\nDate"),
        PLAIN.replace(b"10:00:00", b"10:00:01"),
        PLAIN.replace(b"10:00:00 +0100", b"whenever"),
        PLAIN.replace(DATE, b""),
        PLAIN.replace(b"Message-ID: <a@b>\r\n", b""),
        PLAIN.replace(b"<a@b>\r\nDate", b"<>\r\nDate"),
    ],
)
def test_what_makes_a_difference(other: bytes) -> None:
    assert fingerprint(other).value != fingerprint(PLAIN).value


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b"Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=", b"Subject: =?iso-8859-1?b?R3L832U=?=", True),
        (b"Subject: Gr\xc3\xbc\xc3\x9fe", b"Subject: Gr\xfc\xdfe", True),
        (b"Subject: =?UTF-8?Q?a?= =?UTF-8?Q?b?=", b"Subject: ab", True),
        (b"Subject: a\r\n  b", b"Subject: a b", True),
        (b"From: X <A@b>", b"From: =?UTF-8?Q?Y?= <a@B>", True),
        (b"Subject: =?nonsense?Q?a?=", b"Subject: a", False),
        (b"Subject: =?UTF-8?B?a?=", b"Subject: ", False),
        (b"Subject: a", b"Subject: b", False),
        (b"From: a@b", b"From: c@b", False),
        (b"X-Other: 1", b"X-Other: 2", True),
    ],
)
def test_without_a_message_id_date_from_and_subject_count(one: bytes, other: bytes, same: bool) -> None:
    assert (fingerprint(one) == fingerprint(other)) is same
    assert not fingerprint(one).by_id
    assert (candidate(1, one).key.tie == candidate(1, other).key.tie) is same


@pytest.mark.parametrize(
    ("message", "block"),
    [
        (b"", b""),
        (b"\r\nbody", b""),
        (b"\nbody", b""),
        (b"A: b\r\n\r\nbody\r\n\r\n", b"A: b\r\n"),
        (b"A: b\n\nbody", b"A: b\n"),
        (b"A: b\n\r\nbody", b"A: b\n"),
        (b"A: b\r\nC: d", b"A: b\r\nC: d"),
        (b"x" * (HEADER_LIMIT + 9) + b"\n\n", b"x" * HEADER_LIMIT),
    ],
)
def test_header_block(message: bytes, block: bytes) -> None:
    assert header_block(message) == block


@given(
    st.datetimes(datetime(1900, 3, 1), datetime(2200, 1, 1)),
    st.integers(-14 * 60, 14 * 60),
    st.integers(-14 * 60, 14 * 60),
)
def test_an_instant_is_the_same_in_every_zone(naive: datetime, here: int, there: int) -> None:
    instant = naive.replace(microsecond=0, tzinfo=UTC)
    dates = [format_datetime(instant.astimezone(timezone(timedelta(minutes=zone)))) for zone in (here, there)]
    prints = [fingerprint(b"Message-ID: <1>\nDate: %b\n" % date.encode()) for date in dates]
    slowly = fingerprint(b"Message-ID: <1>\nDate: %b\n" % dates[0].replace(", ", ",").encode())
    assert prints == [slowly, slowly]


FIELDS = st.sampled_from(
    [
        *(
            b"Message-ID:",
            b"Date:",
            b"From:",
            b"Subject:",
            b"\n",
            b"\r\n",
            b" ",
            b"\t",
            b"<",
            b">",
            b"=?utf-8?B?",
            b"?=",
        ),
        *(
            b"=?x?q?",
            b"Mon, 1 Jan 2024 10:00:00 ",
            b"99 Feb 0000 99:99:99 +9999",
            b"+0100",
            b"\0",
            b"\xff",
            b"\xc3\xa9",
        ),
    ]
)


@given(st.lists(FIELDS | st.binary(max_size=8)).map(b"".join))
def test_any_bytes_have_a_fingerprint(block: bytes) -> None:
    one = candidate(7, header_block(block))
    assert one == candidate(7, header_block(block))
    assert one.fingerprint == fingerprint(header_block(block))
    assert all(-(2**63) <= value < 2**63 for value in (one.fingerprint.value, one.key.tie, one.key.head))


def message(uid: int, value: int = 1, tie: int = 0, head: int = 0, by_id: bool = True) -> Candidate:
    return Candidate(uid, Fingerprint(value, by_id), Key(tie, head))


def test_one_against_one_needs_no_more_than_the_fingerprint() -> None:
    assert match([message(1, head=1)], [message(9, tie=5, head=2)]) == Matches([(1, 9)], [], [], [])


def test_two_identical_at_the_source_one_at_the_target() -> None:
    assert match([message(2), message(1)], [message(9)]) == Matches([(1, 9)], [2], [], [])
    assert match([message(1)], [message(8), message(9)]) == Matches([(1, 8)], [], [9], [])


def test_copies_need_not_have_the_same_head_on_the_other_side() -> None:
    ours = [message(1, head=1), message(2, head=1)]
    assert match(ours, [message(9, head=7)]) == Matches([(1, 9)], [2], [], [])


def test_the_list_copy_and_the_direct_copy_are_told_apart() -> None:
    """Same Message-ID, Date, From and Subject, different Received lines: taking one for the other would lose it."""
    ours = [message(1, head=1), message(2, head=2)]
    assert match(ours, [message(9, head=2)]) == Matches([(2, 9)], [1], [], [])
    assert match(ours, [message(9, head=7)]) == Matches([], [], [], [Ambiguous((1, 2), (9,))])


def test_from_and_subject_break_ties() -> None:
    ours = [message(1, tie=1, head=1), message(2, tie=2, head=2)]
    theirs = [message(8, tie=2, head=8), message(9, tie=1, head=9)]
    assert match(ours, theirs) == Matches([(1, 9), (2, 8)], [], [], [])
    assert match(ours, [message(8, tie=3)]) == Matches([], [], [], [Ambiguous((1, 2), (8,))])


def test_without_a_message_id_nothing_is_certain() -> None:
    assert match([message(1, by_id=False)], [message(9, by_id=False)]) == Matches([], [], [], [Ambiguous((1,), (9,))])
    assert match([message(1, by_id=False)], []) == Matches([], [1], [], [])
    assert match([message(1, by_id=False)], [message(9)]) == Matches([], [1], [9], [])


SIDE = st.lists(
    st.builds(
        message,
        st.integers(1, 99),
        st.integers(0, 2),
        st.integers(0, 1),
        st.integers(0, 2),
        st.sampled_from([True, True, False]),
    ),
    max_size=12,
    unique_by=lambda one: one.uid,
)


@given(SIDE, SIDE)
def test_every_message_comes_out_once_and_pairs_agree(ours: list[Candidate], theirs: list[Candidate]) -> None:
    result = match(ours, theirs)
    assert result == match(ours[::-1], theirs[::-1])
    left = (
        [our for our, _ in result.pairs] + result.to_copy + [uid for group in result.ambiguous for uid in group.source]
    )
    right = (
        [their for _, their in result.pairs]
        + result.extra
        + [uid for group in result.ambiguous for uid in group.target]
    )
    assert sorted(left) == sorted(one.uid for one in ours)
    assert sorted(right) == sorted(one.uid for one in theirs)
    source, target = ({one.uid: one for one in side} for side in (ours, theirs))
    for our, their in result.pairs:
        assert source[our].fingerprint == target[their].fingerprint
        assert source[our].fingerprint.by_id
    assert all(group.source and group.target for group in result.ambiguous)


@given(SIDE)
def test_a_folder_matches_its_own_copy_wholly(ours: list[Candidate]) -> None:
    certain = [one for one in ours if one.fingerprint.by_id]
    result = match(certain, certain)
    assert len(result.pairs) == len(certain)
    keys = {one.uid: one.key.head for one in certain}
    assert Counter(keys[our] for our, _ in result.pairs) == Counter(keys.values())
