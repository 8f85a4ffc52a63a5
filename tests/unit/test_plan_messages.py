"""plan/messages: the comparison of a listing with the ledger, settling after a crash, twins, the safety stops."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mailferry.model.message import Listed, Listing
from mailferry.model.state import HELD, State
from mailferry.plan.messages import (
    Bytes,
    Known,
    Sent,
    beyond_brake,
    compare,
    late_twins,
    settle,
    suddenly_empty,
)

uids = st.integers(1, 30)
marks = st.tuples(st.integers(0, 31), st.sampled_from([(), ("a",), ("a", "b")]))
known_rows = st.builds(
    lambda state, mark, target: Known(int(state), mark[0], mark[1], target),
    st.sampled_from(State),
    marks,
    st.none() | st.integers(1, 99),
)
ledgers = st.dictionaries(uids, known_rows, max_size=20)
digests = st.sampled_from([b"a", b"b", b"c"])


@st.composite
def listings(draw: st.DrawFn) -> Listing:
    listed = draw(st.dictionaries(uids, marks, max_size=20))
    messages = [Listed(uid, *mark) for uid, mark in sorted(listed.items())]
    if draw(st.booleans()):
        return Listing(messages)
    return Listing(messages, False, tuple(sorted(draw(st.sets(uids)) - listed.keys())))


def held(count: int, start: int = 1) -> dict[int, Known]:
    return {uid: Known(State.COPIED, 0, (), uid) for uid in range(start, start + count)}


def found(*pairs: tuple[int, bytes]) -> list[Bytes]:
    return [Bytes(*pair) for pair in pairs]


def unique(draw_uids: st.SearchStrategy[int]) -> st.SearchStrategy[list[Bytes]]:
    return st.dictionaries(draw_uids, digests, max_size=12).map(lambda d: [Bytes(*item) for item in d.items()])


# compare


@given(listings(), ledgers)
def test_every_listed_uid_is_in_exactly_one_place(listing: Listing, known: dict[int, Known]) -> None:
    actions = compare(listing, known)
    listed = [item.uid for item in listing.messages]
    done = [uid for uid in listed if uid in known and known[uid].state in HELD]
    assert sorted(actions.copy + done) == sorted(listed)
    assert actions.there == len(done)
    assert {uid for uid, _ in actions.flags} <= set(done)


@given(listings(), ledgers)
def test_gone_is_what_is_not_there_and_was_not_known_to_be_gone(listing: Listing, known: dict[int, Known]) -> None:
    actions = compare(listing, known)
    listed = {item.uid for item in listing.messages}
    missing = known.keys() - listed if listing.complete else known.keys() & set(listing.vanished)
    assert actions.gone == sorted(uid for uid in missing if known[uid].state not in (State.GONE, State.REMOVED))


@given(listings(), ledgers)
def test_marks_are_carried_exactly_where_the_source_changed(listing: Listing, known: dict[int, Known]) -> None:
    carried = dict(compare(listing, known).flags)
    for item in listing.messages:
        row = known.get(item.uid)
        differs = row is not None and (row.flags, row.keywords) != (item.flags, item.keywords)
        if row is not None and row.state in HELD and row.target_uid is not None and differs:
            assert carried[item.uid] == Listed(row.target_uid, item.flags, item.keywords)
        else:
            assert item.uid not in carried


def test_pending_and_failed_messages_are_tried_again() -> None:
    known = {1: Known(State.PENDING, 0, (), None), 2: Known(State.FAILED, 0, (), None)}
    assert compare(Listing([Listed(1, 0), Listed(2, 0)]), known).copy == [1, 2]


def test_a_pending_message_that_vanished_is_gone() -> None:
    known = {1: Known(State.PENDING, 0, (), None)}
    assert compare(Listing([]), known).gone == [1]
    assert compare(Listing([], False, (1,)), known).gone == [1]


def test_a_partial_listing_says_nothing_of_the_others() -> None:
    assert compare(Listing([], False), held(3)).gone == []


# suddenly empty, the brake


def test_a_full_folder_that_is_empty_is_a_stop() -> None:
    assert suddenly_empty(Listing([]), held(10))
    assert not suddenly_empty(Listing([]), held(9))
    assert not suddenly_empty(Listing([Listed(99, 0)]), held(50))


def test_a_full_folder_that_vanished_by_a_partial_listing_is_a_stop_too() -> None:
    assert suddenly_empty(Listing([], False, tuple(range(1, 11))), held(10))
    assert not suddenly_empty(Listing([], False, tuple(range(1, 10))), held(10))
    assert not suddenly_empty(Listing([], False), held(10))


def test_what_had_gone_before_does_not_count_as_sudden() -> None:
    gone = {uid: Known(State.GONE, 0, (), uid) for uid in range(1, 40)}
    assert not suddenly_empty(Listing([]), gone)


def test_the_brake() -> None:
    assert not beyond_brake(20, 20)
    assert beyond_brake(21, 21)
    assert not beyond_brake(21, 210)
    assert beyond_brake(101, 1000)


# settle


@given(unique(uids), unique(st.integers(100, 130)))
def test_settle_pairs_by_digest_each_once_and_all_it_can(pending: list[Bytes], there: list[Bytes]) -> None:
    settled = settle(pending, there)
    sent, seen = dict(pending), dict(there)
    assert len(set(settled.values())) == len(settled)
    assert all(sent[source] == seen[target] for source, target in settled.items())
    possible = Counter(sent.values()) & Counter(seen.values())
    assert Counter(sent[source] for source in settled) == possible


@given(unique(uids), unique(st.integers(100, 130)), st.randoms(use_true_random=False))
def test_settle_does_not_depend_on_the_order(pending: list[Bytes], there: list[Bytes], random: object) -> None:
    mixed, mixed_there = list(pending), list(there)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    random.shuffle(mixed_there)  # type: ignore[attr-defined]
    assert settle(mixed, mixed_there) == settle(pending, there)


def test_identical_copies_are_paired_in_order() -> None:
    assert settle(found((1, b"x"), (2, b"x"), (3, b"x")), found((9, b"x"), (8, b"x"))) == {1: 8, 2: 9}


# late twins


@given(st.lists(st.builds(Sent, digests, st.integers(0, 4)), max_size=6), unique(st.integers(100, 130)))
def test_late_twins_never_exceed_what_was_sent_again(sent: list[Sent], unrecorded: list[Bytes]) -> None:
    twins = late_twins(sent, unrecorded)
    there = dict(unrecorded)
    assert len(set(twins)) == len(twins)
    assert set(twins) <= there.keys()
    again: Counter[bytes] = Counter()
    for one in sent:
        again[one.digest] += max(0, one.attempts - 1)
    removed = Counter(there[uid] for uid in twins)
    assert removed <= again
    assert removed == again & Counter(there.values())


def test_what_was_sent_once_has_no_twin() -> None:
    assert late_twins([Sent(b"x", 1)], found((5, b"x"))) == []


def test_a_person_s_own_copy_beyond_the_number_sent_stays() -> None:
    assert late_twins([Sent(b"x", 2)], found((6, b"x"), (5, b"x"))) == [5]
