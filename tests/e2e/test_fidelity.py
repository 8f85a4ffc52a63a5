"""Nothing is lost, and what is different is named: docs/fidelity.md's run, with fewer messages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab import fidelity
from lab.fidelity import Case
from lab.likeness import Aspect, compare
from lab.snapshot import FolderView, Item, Snapshot

PLACE = ("Work",)
ITEM = Item(1, "e1", "d1", "r1", 10, frozenset({"\\seen"}), frozenset({"Label"}), 1_500_000_000, 60)
FOLDER = FolderView(
    PLACE,
    (ITEM, replace(ITEM, uid=2, digest="d2", rough="r2")),
    7,
    3,
    True,
    frozenset({"\\Sent"}),
    {"ann": "lr"},
    {"/private/comment": b"x"},
)


def aspects(copy: FolderView | None) -> set[Aspect]:
    copied = Snapshot({} if copy is None else {PLACE: copy})
    found = compare(Snapshot({PLACE: FOLDER}), copied, {PLACE: PLACE}, {PLACE: FOLDER.uses}, same_uids=True)
    return {one.aspect for one in found.differences}


def test_the_same_is_the_same() -> None:
    assert aspects(FOLDER) == set()


@pytest.mark.parametrize(
    ("item", "aspect"),
    [
        (replace(ITEM, digest="other", exact="other"), Aspect.BYTES),
        (replace(ITEM, flags=frozenset()), Aspect.FLAGS),
        (replace(ITEM, keywords=frozenset({"Label", "Other"})), Aspect.KEYWORDS),
        (replace(ITEM, instant=1_500_000_001), Aspect.DATE),
        (replace(ITEM, zone=0), Aspect.ZONE),
    ],
)
def test_a_changed_message_is_seen(item: Item, aspect: Aspect) -> None:
    assert aspects(replace(FOLDER, items=(item, FOLDER.items[1]))) == {aspect}


def test_a_lost_an_extra_and_a_doubled_message_are_seen() -> None:
    assert aspects(replace(FOLDER, items=FOLDER.items[:1])) == {Aspect.LOST}
    assert aspects(replace(FOLDER, items=(*FOLDER.items, replace(ITEM, uid=3)))) == {Aspect.EXTRA}
    assert aspects(None) == {Aspect.FOLDER, Aspect.LOST}
    turned = tuple(replace(item, uid=3 - item.uid) for item in FOLDER.items)
    assert aspects(replace(FOLDER, items=turned)) == {Aspect.ORDER, Aspect.UID}


def test_a_changed_folder_is_seen() -> None:
    assert aspects(replace(FOLDER, subscribed=False)) == {Aspect.SUBSCRIPTION}
    assert aspects(replace(FOLDER, uses=frozenset())) == {Aspect.SPECIAL_USE}
    assert aspects(replace(FOLDER, uidvalidity=8)) == {Aspect.UIDVALIDITY}
    assert aspects(replace(FOLDER, entries={})) == {Aspect.METADATA}
    assert aspects(replace(FOLDER, rights={"ann": "l"})) == {Aspect.ACL}
    assert aspects(replace(FOLDER, rights={"ann": "lr", "stranger": "lr"})) == {Aspect.ACL}


def wanted(case: Case) -> bool:
    return case.verify is not None and (case.origin.name == "Dovecot" or case.target == "Dovecot over IMAP")


@pytest.mark.timeout(900)
def test_every_message_comes_and_every_difference_is_named() -> None:
    cases = fidelity.run(40, lambda text: None, wanted)
    assert len(cases) == 7
    for case in cases:
        assert fidelity.faults_of(case) == []
        first, last = case.results
        assert first.likeness.listed > 70
        assert last.likeness.listed > first.likeness.listed
        for result in case.results:
            found = result.likeness
            refused = 2 if case.target.startswith("Cyrus") else 0  # messages without a header
            assert found.listed - found.came == refused, case.target
            altered = {"Courier over IMAP": 3, "Cyrus over IMAP": 1}.get(case.target, 0)
            assert found.came - found.equal == altered, case.target
            assert found.number(Aspect.EXTRA) == found.number(Aspect.ORDER) == 0, case.target
            assert found.number(Aspect.FLAGS) == found.number(Aspect.DATE) == 0, case.target
            assert found.number(Aspect.SUBSCRIPTION) == 0, case.target
            if case.same_uids:
                assert (found.uids, found.uidvalidities) == (found.came, found.folders), case.target
