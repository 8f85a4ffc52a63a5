"""What is to be done with items: pure, table by table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailferry.model.groupware import Collection, Contents, Kind, NotCarried, Ref
from mailferry.plan.items import Known, compare, display_name, place_name, suddenly_empty

OURS = Known("1", "/c/x", "e", there=True)


@pytest.mark.parametrize(
    ("known", "version", "etag", "before", "after"),
    [
        (None, "1", None, "bring", "bring"),
        (Known("1", "", ""), "1", None, "bring", "bring"),  # failed, or sent by a killed run
        (OURS, "1", "e", "there", "there"),
        (OURS, "2", "e", "bring", "bring"),
        (OURS, "1", "theirs", "bring", "there"),
        (OURS, "2", "theirs", "bring", "theirs"),
        (OURS, "1", None, "bring", "there"),
        (OURS, "2", None, "bring", "theirs"),
        (Known("1", "/c/x", "e", theirs=True), "1", "e", "bring", "there"),
        (Known("1", "/c/x", "e", theirs=True), "2", "e", "bring", "theirs"),
    ],
)
def test_who_wins(known: Known | None, version: str, etag: str | None, before: str, after: str) -> None:
    target = {} if etag is None else {"/c/x": etag}
    for source_wins, expected in ((True, before), (False, after)):
        actions = compare(Contents((Ref("x", version),)), {} if known is None else {"x": known}, target, source_wins)
        assert getattr(actions, expected) == ["x"]
        others = {"bring", "there", "theirs"} - {expected}
        assert not any(getattr(actions, one) for one in others)


def test_gone_is_only_what_was_brought_and_is_not_left_out_now() -> None:
    known = {"here": OURS, "gone": OURS, "failed": Known("1", "", ""), "left-out": OURS}
    contents = Contents((Ref("here", "1"),), (NotCarried("left-out", "IPM", "why"),))
    assert compare(contents, known, {"/c/x": "e"}, True).gone == ["gone"]


def test_an_id_that_is_listed_twice_is_one_item() -> None:
    assert compare(Contents((Ref("x", "1"), Ref("x", "2"))), {}, {}, True).bring == ["x"]


def test_a_collection_that_is_suddenly_empty_is_a_question() -> None:
    many = {str(number): OURS for number in range(10)}
    assert suddenly_empty(Contents(()), many)
    assert not suddenly_empty(Contents(()), dict(list(many.items())[:9]))
    assert not suddenly_empty(Contents((Ref("x", "1"),)), many)
    assert not suddenly_empty(Contents((), (NotCarried("x", "IPM", "why"),)), many)


def test_the_default_ones_have_plain_names_and_others_their_own() -> None:
    assert place_name(Collection("1", ("Kalender",), Kind.EVENT, default=True)) == "calendar"
    team = Collection("2", ("Calendar", "Team: Größe/Urlaub"), Kind.EVENT)
    assert place_name(team).startswith("calendar-team-groe-urlaub-")
    assert display_name(team) == "Calendar / Team: Größe/Urlaub"
    assert place_name(team) != place_name(Collection("3", team.path, Kind.EVENT))
    assert place_name(team) != place_name(Collection("2", team.path, Kind.TASK))


@given(st.text(), st.lists(st.text()))
def test_a_place_name_is_one_part_of_a_path(id: str, path: list[str]) -> None:
    name = place_name(Collection(id, tuple(path), Kind.CONTACT))
    assert name.isascii() and "/" not in name and not name.startswith((".", "-")) and 0 < len(name) < 60
