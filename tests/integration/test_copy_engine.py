"""The engine on memory stores: seed, delta, moves, deletions, safety stops, identity, adoption, odd targets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any

import pytest

from mailferry.copy.policy import Accept
from mailferry.errors import SafetyStop
from mailferry.ledger.rows import Kind
from mailferry.model.folder import Folder, Path, Selected
from mailferry.model.message import NO_DATE, Flag, Listing, Reason
from mailferry.model.state import State
from mailferry.net.memory import MemoryOptions, MemoryStore
from mailferry.plan.folders import FolderPolicy
from mailferry.plan.messages import Deletions
from mailferry.sources.memory import MemorySource, MemorySourceSession
from mailferry.targets.memory import MemoryTarget
from tests.stateful.world import INBOX, Ending, Fault, Killed, Operation, World, bodies, fill, held, kept, same, text

WORK: Path = ("Work",)
Make = Callable[..., World]


@pytest.fixture
def world(tmp_path: FilePath) -> Make:
    def make(**options: Any) -> World:
        return World(tmp_path / "ledger.db", **options)

    return make


@pytest.fixture(params=["modseq", "plain"])
def options(request: pytest.FixtureRequest) -> MemoryOptions:
    """A source that tells what changed, and one that always lists everything."""
    return MemoryOptions(modseq=request.param == "modseq")


# Seed and delta


def test_seed_brings_everything_as_it_is(world: Make, options: MemoryOptions) -> None:
    w = world(source=options)
    fill(w.a, INBOX, range(20), flags=int(Flag.SEEN | Flag.ANSWERED), keywords=("$Forwarded", "k"))
    fill(w.a, ("Work", "Übung"), range(100, 107))
    w.a.add_folder(("Empty",))
    w.a.folder(WORK).subscribed = True
    counts = w.run()
    same(w.a, w.b)
    assert (counts.listed, counts.copied, counts.there, counts.failed) == (27, 27, 0, 0)
    assert counts.folders == 4
    assert w.b.folder(WORK).subscribed
    assert not w.b.folder(("Empty",)).subscribed
    assert not w.failures()


def test_nothing_to_do_does_nothing(world: Make, options: MemoryOptions) -> None:
    w = world(source=options)
    fill(w.a, INBOX, range(5))
    w.run()
    modseq = w.b.folder(INBOX).highestmodseq
    counts = w.run()
    assert (counts.listed, counts.copied, counts.there) == (5, 0, 5)
    assert w.b.folder(INBOX).highestmodseq == modseq


def test_delta_new_flags_and_keywords_set_and_cleared(world: Make, options: MemoryOptions) -> None:
    w = world(source=options)
    uids = fill(w.a, INBOX, range(8), flags=1, keywords=("old",))
    w.run()
    w.a.set_flags(INBOX, uids[0], 0, ("old",))
    w.a.set_flags(INBOX, uids[1], 5, ())
    w.a.set_flags(INBOX, uids[2], 1, ("new", "old"))
    fill(w.a, INBOX, ["later"])
    counts = w.run()
    same(w.a, w.b)
    assert (counts.copied, counts.flags, counts.there, counts.listed) == (1, 3, 8, 9)


def test_duplicates_without_message_id_and_empty_messages_come_as_often_as_they_are_there(
    world: Make, options: MemoryOptions
) -> None:
    w = world(source=options)
    for data in (text("twice"), text("twice"), b"", b"", b"no header at all", text("n", message_id=False)):
        w.a.add(INBOX, data)
    w.run()
    w.a.add(INBOX, b"")
    w.run()
    same(w.a, w.b)


# Moves


def test_a_move_between_folders_is_a_move(world: Make, options: MemoryOptions) -> None:
    w = world(source=options)
    uids = fill(w.a, INBOX, range(4), flags=1)
    w.a.add_folder(WORK)
    w.run()
    w.a.move(INBOX, uids[1], WORK)
    counts = w.run()
    same(w.a, w.b)
    assert (counts.moved, counts.gone, counts.copied) == (1, 0, 1)
    assert w.states()[uids[1]] is State.REMOVED


def test_a_move_within_a_folder_is_a_new_uid(world: Make, options: MemoryOptions) -> None:
    w = world(source=options)
    uids = fill(w.a, INBOX, range(4))
    w.run()
    w.a.move(INBOX, uids[1], INBOX)
    counts = w.run()
    same(w.a, w.b)
    assert (counts.moved, counts.gone) == (1, 0)


def test_one_of_two_copies_moves(world: Make, options: MemoryOptions) -> None:
    w = world(source=options)
    first, _ = fill(w.a, INBOX, ["x", "x"])
    w.a.add_folder(WORK)
    w.run()
    w.a.move(INBOX, first, WORK)
    w.run()
    assert bodies(w.b) == bodies(w.b, WORK) == {text("x"): 1}


def test_two_deleted_one_arrived_is_one_move(world: Make, options: MemoryOptions) -> None:
    w = world(source=options)
    uids = fill(w.a, INBOX, ["x", "x", "y"])
    w.a.add_folder(WORK)
    w.run()
    w.a.move(INBOX, uids[0], WORK)
    w.a.remove(INBOX, uids[1])
    counts = w.run()
    assert (counts.moved, counts.gone) == (1, 1)
    assert bodies(w.b) == {text("x"): 1, text("y"): 1}
    assert bodies(w.b, WORK) == {text("x"): 1}


def test_a_message_that_came_with_other_bytes_is_recognised_by_its_fingerprint(world: Make) -> None:
    w = world()
    (uid,) = fill(w.a, INBOX, ["x"])
    w.a.add_folder(WORK)
    w.run()
    w.a.remove(INBOX, uid)
    w.a.add(WORK, text("x", more="rendered anew"))
    assert w.run().moved == 1
    assert bodies(w.b) == {}


def test_a_move_whose_new_place_is_unreadable_at_first_is_a_move_in_the_end(world: Make) -> None:
    w = world()
    (uid,) = fill(w.a, INBOX, ["x"])
    w.a.add_folder(WORK)
    w.run()
    new = w.a.move(INBOX, uid, WORK)
    w.a.spoil(WORK, new)
    w.run()
    assert bodies(w.b) == {text("x"): 1}
    w.a.folder(WORK).messages[new].unreadable = None
    assert w.run().moved == 1
    assert (bodies(w.b), bodies(w.b, WORK)) == ({}, {text("x"): 1})


@pytest.mark.parametrize("passes", [1, 2])
def test_copies_in_several_folders_that_all_vanish_did_not_move(world: Make, passes: int) -> None:
    w = world()
    w.a.add_folder(WORK)
    fill(w.a, INBOX, ["other"])
    w.run()
    uids = {path: fill(w.a, path, ["x"]) for path in (INBOX, WORK)}
    for _ in range(passes):
        w.run()
    for path, (uid,) in uids.items():
        w.a.remove(path, uid)
    counts = w.run()
    assert (counts.moved, counts.gone) == (0, 2)
    assert bodies(w.b, WORK) == {text("x"): 1}
    assert bodies(w.b) == {text("x"): 1, text("other"): 1}


class MovesMeanwhile(MemorySource):
    """While this source is read, a person moves a message right after the folder `after` was listed, once."""

    def __init__(self, store: MemoryStore, after: Path, move: Callable[[], object]) -> None:
        super().__init__(store)
        self.after, self.move = after, move
        self.moved = False

    async def session(self) -> MemorySourceSession:
        session = await super().session()
        opening, listing = session.select, session.listing
        selected: list[Path] = []

        async def select(folder: Folder) -> Selected:
            selected.append(folder.path)
            return await opening(folder)

        async def list_and_move(changed_since: int | None = None) -> Listing:
            found = await listing(changed_since)
            if selected[-1] == self.after and not self.moved and found.messages:
                self.moved = True
                self.move()
            return found

        session.select, session.listing = select, list_and_move  # type: ignore[method-assign]
        return session


@pytest.mark.parametrize("listed_first", [INBOX, WORK])
def test_a_move_while_a_pass_is_under_way_is_a_move_in_the_end(world: Make, listed_first: Path) -> None:
    w = world()
    (uid,) = fill(w.a, INBOX, ["x"])
    w.a.add_folder(WORK)
    fill(w.a, WORK, ["other"])
    w.run()
    fill(w.a, INBOX, ["new"])
    fill(w.a, WORK, ["new too"])
    w.source = MovesMeanwhile(w.a, listed_first, lambda: w.a.move(INBOX, uid, WORK))
    for _ in range(3):
        w.run(balanced=False)
    same(w.a, w.b)


def test_a_move_interrupted_between_copy_and_removal(world: Make, options: MemoryOptions) -> None:
    for ending in (Ending.KILLED, Ending.TEMPORARY):
        w = world(source=options)
        w.place = w.place.with_name(f"{ending.value}.db")
        uids = fill(w.a, INBOX, range(4))
        w.a.add_folder(WORK)
        w.run()
        w.a.move(INBOX, uids[2], WORK)
        fault = Fault(Operation.REMOVE, ending)
        if ending is Ending.KILLED:
            with pytest.raises(Killed):
                w.run(fault)
            assert len(kept(w.b)) == 4, "killed before the removal"
            assert len(kept(w.b, WORK)) == 1
            w.run()
        else:
            w.run(fault)
        same(w.a, w.b)


# Deletions


def test_deletions_are_kept_and_listed(world: Make, options: MemoryOptions) -> None:
    w = world(source=options)
    uids = fill(w.a, INBOX, range(4))
    w.run()
    w.a.remove(INBOX, uids[0])
    counts = w.run()
    assert (counts.gone, counts.removed, counts.listed) == (1, 0, 3)
    assert bodies(w.b)[text(0)] == 1
    assert w.states()[uids[0]] is State.GONE
    assert w.run().gone == 0


def test_deletions_are_mirrored(world: Make, options: MemoryOptions) -> None:
    w = world(source=options)
    uids = fill(w.a, INBOX, range(4))
    foreign = w.b.add(WORK, text("foreign")) if w.b.add_folder(WORK) else 0
    w.run(deletions=Deletions.MIRROR)
    w.a.remove(INBOX, uids[0])
    counts = w.run(deletions=Deletions.MIRROR)
    assert (counts.gone, counts.removed) == (0, 1)
    assert held(w.a) == held(w.b)
    assert foreign in w.b.folder(WORK).messages


def test_the_brake_stops_and_an_answer_releases_it(world: Make, options: MemoryOptions) -> None:
    w = world(source=options)
    uids = fill(w.a, INBOX, range(30))
    w.run(deletions=Deletions.MIRROR)
    for uid in uids[:21]:
        w.a.remove(INBOX, uid)
    for _ in range(2):
        with pytest.raises(SafetyStop, match="21 of 30"):
            w.run(deletions=Deletions.MIRROR)
        assert len(kept(w.b)) == 30
    w.run(deletions=Deletions.MIRROR, accept=frozenset({Accept.DELETIONS}))
    same(w.a, w.b)


def test_a_suddenly_empty_folder_stops_alone(world: Make, options: MemoryOptions) -> None:
    w = world(source=options)
    uids = fill(w.a, WORK, range(12))
    fill(w.a, INBOX, range(20, 24))
    w.run(deletions=Deletions.MIRROR)
    for uid in uids:
        w.a.remove(WORK, uid)
    fill(w.a, INBOX, ["new"])
    for _ in range(2):
        counts = w.run(deletions=Deletions.MIRROR)
        assert counts.stops == 1
        assert len(kept(w.b, WORK)) == 12
        assert held(w.a) == held(w.b)
        (failure,) = w.failures()
        assert failure.reason is Reason.SAFETY
        assert "it held 12 messages" in failure.text
    counts = w.run(deletions=Deletions.MIRROR, accept=frozenset({Accept.EMPTIED}))
    assert counts.stops == 0
    assert not kept(w.b, WORK)
    assert not w.failures()


# uidvalidity and identity


def test_a_renumbered_source_folder_stops_until_accepted(world: Make, options: MemoryOptions) -> None:
    w = world(source=options)
    uids = fill(w.a, WORK, range(6))
    w.a.add(WORK, text("no id", message_id=False))
    fill(w.a, INBOX, ["i"])
    w.run()
    w.a.remove(WORK, uids[1])
    w.a.reset_uidvalidity(WORK)
    fill(w.a, INBOX, ["new"])
    counts = w.run()
    assert counts.stops == 1
    assert held(w.a) == held(w.b)
    assert "renumbered" in w.failures()[0].text
    counts = w.run(accept=frozenset({Accept.UIDVALIDITY}))
    assert (counts.stops, counts.copied) == (0, 0)
    assert bodies(w.b, WORK) == bodies(w.a, WORK) + type(bodies(w.a))({text(1): 1})
    assert not w.failures()
    assert w.run().stops == 0


def test_a_renumbered_target_folder_stops_until_accepted(world: Make, options: MemoryOptions) -> None:
    w = world(source=options)
    fill(w.a, WORK, range(6))
    w.run()
    w.b.reset_uidvalidity(WORK)
    assert w.run().stops == 1
    counts = w.run(accept=frozenset({Accept.UIDVALIDITY}))
    assert (counts.stops, counts.copied, counts.adopted) == (0, 0, 6)
    same(w.a, w.b)
    assert w.run().stops == 0


def test_a_renumbered_target_with_an_interrupted_chunk(world: Make) -> None:
    """What the ledger remembers of uids of the old numbering must not be used in the new one."""
    w = world()
    fill(w.b, WORK, [f"theirs {n}" for n in range(30)])
    fill(w.a, WORK, range(6))
    with pytest.raises(Killed):
        w.run(Fault(Operation.APPEND, Ending.KILLED, 2))
    for uid in list(w.b.folder(WORK).messages)[:30]:
        w.b.remove(WORK, uid)
    w.b.reset_uidvalidity(WORK)
    with pytest.raises(Killed):
        w.run(Fault(Operation.APPEND, Ending.KILLED, None), accept=frozenset({Accept.UIDVALIDITY}))
    w.run()
    same(w.a, w.b)


def test_a_renumbered_target_has_no_twins_by_its_old_numbers(world: Make) -> None:
    w = world()
    fill(w.b, WORK, [f"theirs {n}" for n in range(30)])
    fill(w.a, WORK, range(6))
    with pytest.raises(Killed):
        w.run(Fault(Operation.APPEND, Ending.KILLED, 0))
    w.run()
    before = bodies(w.b, WORK)
    for uid in range(1, 30):
        w.b.move(WORK, uid, INBOX)
    w.b.reset_uidvalidity(WORK)
    fill(w.b, WORK, [f"more {n}" for n in range(40)])
    assert w.run().stops == 1
    assert all(bodies(w.b, WORK)[text(n)] == before[text(n)] == 1 for n in range(6))


def test_another_mailbox_under_the_same_name_is_a_stop(world: Make) -> None:
    w = world()
    fill(w.a, INBOX, range(6))
    w.run()
    other = type(w.a)("a")
    other.folder(INBOX).uidvalidity = w.a.folder(INBOX).uidvalidity
    fill(other, INBOX, [f"of another person {n}" for n in range(9)])
    w.source = MemorySource(other)
    before = bodies(w.b)
    with pytest.raises(SafetyStop, match="other messages"):
        w.run()
    assert bodies(w.b) == before
    w.run(accept=frozenset({Accept.IDENTITY}))
    assert w.run().stops == 0


def test_a_rebuilt_source_is_a_stop_until_accepted_and_nothing_comes_twice(world: Make) -> None:
    w = world()
    fill(w.a, INBOX, range(6))
    w.run()
    w.a.reset_uidvalidity(INBOX)
    with pytest.raises(SafetyStop, match="renumbered"):
        w.run()
    counts = w.run(accept=frozenset({Accept.IDENTITY, Accept.UIDVALIDITY}))
    assert (counts.copied, counts.adopted) == (0, 6)
    same(w.a, w.b)
    assert w.run().stops == 0


def test_source_and_target_being_one_mailbox_is_a_stop(world: Make) -> None:
    w = world()
    fill(w.a, INBOX, range(3))
    w.target = MemoryTarget(w.a)
    with pytest.raises(SafetyStop, match="one mailbox"):
        w.run()
    assert len(kept(w.a)) == 3


def test_two_mailboxes_that_look_alike_are_copied_when_accepted(world: Make) -> None:
    w = world()
    fill(w.a, INBOX, range(3))
    fill(w.b, INBOX, range(3))
    w.b.folder(INBOX).uidvalidity = w.a.folder(INBOX).uidvalidity
    with pytest.raises(SafetyStop):
        w.run()
    assert w.run(accept=frozenset({Accept.SAME})).adopted == 3


# Adoption


def test_what_is_there_is_adopted_by_headers_and_flags_are_brought_in_line(world: Make, options: MemoryOptions) -> None:
    w = world(source=options)
    uids = fill(w.a, INBOX, range(6), flags=1, keywords=("k",))
    for name in range(4):
        w.b.add(INBOX, text(name).replace(b"\r\n\r\n", b"\r\nX-By: tool\r\n\r\n", 1), flags=4)
    counts = w.run()
    assert (counts.adopted, counts.copied, counts.flags) == (4, 2, 4)
    assert len(kept(w.b)) == 6
    assert {(m.flags, m.keywords) for m in kept(w.b)} == {(1, ("k",))}
    assert {w.states()[uid] for uid in uids[:4]} == {State.ADOPTED}


def test_adoption_counts_copies(world: Make) -> None:
    w = world()
    fill(w.a, INBOX, ["x", "x", "x", "y"])
    fill(w.b, INBOX, ["x", "y", "y", "y"])
    counts = w.run()
    assert (counts.adopted, counts.copied) == (2, 2)
    assert bodies(w.b) == {text("x"): 3, text("y"): 3}


def test_messages_without_message_id_are_compared_by_bytes(world: Make) -> None:
    w = world()
    uids = [
        w.a.add(INBOX, text("s", message_id=False)),
        w.a.add(INBOX, text("s", message_id=False, more="x")),
        w.a.add(INBOX, b""),
    ]
    w.b.add(INBOX, text("s", message_id=False, more="x").replace(b"\r\n", b"\n"))
    w.b.add(INBOX, b"")
    w.b.add(INBOX, text("other", message_id=False))
    counts = w.run()
    assert (counts.adopted, counts.copied) == (2, 1)
    assert [w.states()[uid] for uid in uids] == [State.COPIED, State.PROVEN, State.PROVEN]
    assert len(kept(w.b)) == 4


def test_equal_ids_with_different_headers_are_not_taken_for_each_other(world: Make) -> None:
    w = world()
    mine, theirs = (
        [text("x").replace(b"\r\n\r\n", b"\r\nX: %d\r\n\r\n" % n, 1) for n in numbers]
        for numbers in ((0, 1), (1, 2, 3))
    )
    for store, messages in ((w.a, mine), (w.b, theirs)):
        for data in messages:
            store.add(INBOX, data)
    counts = w.run()
    assert (counts.adopted, counts.copied) == (1, 1)
    assert set(bodies(w.b)) == {*mine, *theirs}


def test_adoption_leaves_what_is_only_in_the_target_alone(world: Make) -> None:
    w = world()
    fill(w.a, INBOX, range(3))
    extra = fill(w.b, INBOX, ["extra 1", "extra 2"], flags=2)
    w.run(deletions=Deletions.MIRROR)
    w.run(deletions=Deletions.MIRROR)
    assert len(kept(w.b)) == 5
    assert {w.b.folder(INBOX).messages[uid].flags for uid in extra} == {2}


def test_a_killed_adoption_goes_on(world: Make) -> None:
    w = world()
    fill(w.a, INBOX, range(8))
    fill(w.b, INBOX, range(5))
    for operation in (Operation.HEADERS, Operation.LISTING):
        with pytest.raises(Killed):
            w.run(Fault(operation, Ending.KILLED))
    assert w.run().adopted == 5
    same_bodies = bodies(w.a)
    assert bodies(w.b) == same_bodies


def test_a_headerless_message_is_not_taken_for_another_that_moved(world: Make) -> None:
    """All messages without Message-ID, Date, From and Subject have one weak fingerprint; it proves nothing."""
    w = world()
    uid = w.a.add(INBOX, b"\r\nfirst")
    w.b.add(INBOX, b"\r\nfirst")
    w.run()
    w.a.remove(INBOX, uid)
    fill(w.a, WORK, [])
    w.a.add(WORK, b"\r\nsecond")
    w.b.add_folder(WORK)
    w.b.add(WORK, b"\r\nsecond")
    counts = w.run()
    assert (counts.moved, counts.gone) == (0, 1)
    assert bodies(w.b) == {b"\r\nfirst": 1}


# A live target


def test_a_sweep_brings_only_new_messages_into_a_live_target(world: Make, options: MemoryOptions) -> None:
    w = world(source=options)
    uids = fill(w.a, INBOX, range(8), flags=1)
    w.a.add_folder(WORK)
    w.run()
    theirs = sorted(w.b.folder(INBOX).messages)
    w.b.remove(INBOX, theirs[0])
    w.b.move(INBOX, theirs[1], WORK)
    w.b.set_flags(INBOX, theirs[2], 4, ("mine",))
    w.b.add(INBOX, text("delivered here"))
    w.a.set_flags(INBOX, uids[3], 31)
    w.a.remove(INBOX, uids[4])
    fill(w.a, INBOX, ["late"])
    before = bodies(w.b)
    counts = w.run(source_wins=False)
    assert (counts.copied, counts.flags, counts.removed, counts.moved) == (1, 0, 0, 0)
    assert bodies(w.b) == before + type(before)({text("late"): 1})
    assert w.b.folder(INBOX).messages[theirs[2]].keywords == ("mine",)
    assert w.b.folder(INBOX).messages[theirs[3]].flags == 1
    for _ in range(2):
        counts = w.run(source_wins=False)
        assert (counts.copied, counts.listed) == (0, 8)
    assert bodies(w.b) == before + type(before)({text("late"): 1})


def test_before_cutover_the_source_s_changes_win_and_nothing_else_is_touched(
    world: Make, options: MemoryOptions
) -> None:
    w = world(source=options)
    uids = fill(w.a, INBOX, range(3), flags=1)
    w.run()
    theirs = sorted(w.b.folder(INBOX).messages)
    for uid in theirs:
        w.b.set_flags(INBOX, uid, 4)
    w.b.remove(INBOX, theirs[2])
    w.a.set_flags(INBOX, uids[0], 2)
    w.a.set_flags(INBOX, uids[2], 2)
    w.run()
    assert [m.flags for m in kept(w.b)] == [2, 4]


def test_rollback_swaps_the_roles(world: Make, tmp_path: FilePath) -> None:
    w = world()
    fill(w.a, INBOX, range(6), flags=1)
    w.a.add(INBOX, b"no headers")
    fill(w.a, WORK, range(10, 14))
    w.run()
    fill(w.b, INBOX, ["new since"], flags=4)
    there = sorted(w.b.folder(WORK).messages)
    w.b.set_flags(WORK, there[0], 9)
    w.source, w.target = MemorySource(w.b), MemoryTarget(w.a)
    counts = w.run()
    assert (counts.copied, counts.failed) == (1, 0)
    same(w.b, w.a)
    assert w.run().copied == 0
    same(w.b, w.a)


# Odd targets


def test_a_target_without_uidplus(world: Make, options: MemoryOptions) -> None:
    w = world(source=options, target=MemoryOptions(uidplus=False))
    fill(w.b, INBOX, ["theirs", 3])
    uids = fill(w.a, INBOX, [0, 1, 1, 3, 3, 4], flags=1)
    w.a.add_folder(WORK)
    counts = w.run()
    assert (counts.copied, counts.adopted) == (5, 1)
    assert bodies(w.b) == bodies(w.a) + type(bodies(w.a))({text("theirs"): 1})
    rows = w.rows()
    assert len({row.target_uid for row in rows.values()} - {None}) == 6
    w.a.set_flags(INBOX, uids[0], 4)
    w.a.move(INBOX, uids[5], WORK)
    counts = w.run()
    assert {m.flags for m in kept(w.b) if m.data == text(0)} == {4}
    assert [failure.reason for failure in w.failures()] == [Reason.DUPLICATE]
    assert w.states()[uids[5]] is State.GONE
    assert w.run().moved == 0


def test_a_target_without_uidplus_takes_only_its_own_new_messages_for_ours(world: Make) -> None:
    w = world(target=MemoryOptions(uidplus=False))
    fill(w.a, INBOX, ["first"])
    w.run()
    (theirs,) = fill(w.b, INBOX, ["x"], flags=8)
    fill(w.a, INBOX, ["x"], flags=1)
    w.run()
    rows = w.rows()
    assert rows[2].target_uid != theirs, "their copy was there before ours was sent"
    assert w.b.folder(INBOX).messages[theirs].flags == 8
    assert bodies(w.b)[text("x")] == 2


@pytest.mark.parametrize("uidplus", [True, False])
def test_a_target_that_changes_bytes(world: Make, uidplus: bool) -> None:
    w = world(target=MemoryOptions(uidplus=uidplus))
    uids = fill(w.a, INBOX, range(7))
    w.target = _scanning(w)
    with pytest.raises(Killed):
        w.run(Fault(Operation.APPEND, Ending.KILLED, 2))
    w.run()
    assert sorted(m.data for m in kept(w.b)) == sorted(_scanned(text(n)) for n in range(7))
    w.a.set_flags(INBOX, uids[0], 4)
    assert w.run().copied == 0
    assert {m.flags for m in kept(w.b) if m.data == _scanned(text(0))} == {4}


def test_a_message_without_a_known_place_is_not_said_to_be_removed_or_flagged(world: Make) -> None:
    """No UIDPLUS, bytes changed, no Message-ID: it came, but nobody knows where. What is asked of it is listed."""
    w = world(target=MemoryOptions(uidplus=False))
    w.target = _scanning(w)
    first = w.a.add(INBOX, text("a", message_id=False))
    second = w.a.add(INBOX, text("b", message_id=False))
    w.a.add_folder(WORK)
    assert w.run().copied == 2
    assert {row.target_uid for row in w.rows().values()} == {None}
    w.a.set_flags(INBOX, first, 4)
    w.a.move(INBOX, second, WORK)
    w.run()
    assert {(f.source_uid, f.reason, f.kind) for f in w.failures()} == {
        (first, Reason.FLAGS, Kind.DIFFERENCE),
        (second, Reason.DUPLICATE, Kind.DIFFERENCE),
    }
    assert w.states()[second] is State.GONE


def _scanned(data: bytes) -> bytes:
    return data.replace(b"\r\n\r\n", b"\r\nX-Scanned: yes\r\n\r\n", 1)


def _scanning(w: World) -> MemoryTarget:
    """The target, whose store changes what it is given."""
    real = w.b.add
    w.b.add = lambda path, data, **marks: real(path, _scanned(data), **marks)  # type: ignore[method-assign]
    return MemoryTarget(w.b)


def test_a_message_without_a_date_comes_and_is_listed(world: Make) -> None:
    w = world()
    fill(w.a, INBOX, range(2))
    uid = w.a.add(INBOX, b"Subject: no date\r\n\r\nx\r\n", date=NO_DATE)
    counts = w.run()
    assert (counts.copied, counts.different) == (3, 1)
    assert [(f.source_uid, f.kind, f.reason) for f in w.failures()] == [(uid, Kind.DIFFERENCE, Reason.DATE)]


def test_keywords_that_the_target_cannot_hold_are_listed_in_seed_and_delta(world: Make) -> None:
    w = world(target=MemoryOptions(keywords=frozenset({"known"})))
    uids = fill(w.a, INBOX, range(3), keywords=("known",))
    w.a.set_flags(INBOX, uids[0], 1, ("strange", "known"))
    counts = w.run()
    assert counts.different == 1
    assert [(f.source_uid, f.kind, f.reason) for f in w.failures()] == [(uids[0], Kind.DIFFERENCE, Reason.KEYWORDS)]
    assert {m.keywords for m in kept(w.b)} == {("known",)}
    w.a.set_flags(INBOX, uids[1], 1, ("odd",))
    counts = w.run()
    assert counts.different == 1
    assert {f.source_uid for f in w.failures()} == {uids[0], uids[1]}


def test_flags_that_the_target_does_not_keep_are_listed_in_seed_and_delta(world: Make) -> None:
    w = world()
    uids = fill(w.a, INBOX, range(3), flags=1)
    w.a.set_flags(INBOX, uids[0], int(Flag.DRAFT))
    w.target = LimitedTarget(w.b, int(Flag.SEEN | Flag.DELETED))
    assert w.run().different == 1
    w.a.set_flags(INBOX, uids[1], int(Flag.FLAGGED))
    assert w.run().different == 1
    assert {(f.source_uid, f.reason) for f in w.failures()} == {(uids[0], Reason.FLAGS), (uids[1], Reason.FLAGS)}


class LimitedTarget(MemoryTarget):
    """Keeps some flags only, and says so."""

    def __init__(self, store: Any, keeps: int) -> None:
        super().__init__(store)
        self.keeps = keeps

    async def session(self) -> Any:
        from dataclasses import replace

        session = await super().session()
        select = session.select

        async def limited(folder: Any) -> Any:
            return replace(await select(folder), permanent_flags=self.keeps)

        session.select = limited  # type: ignore[method-assign]
        return session


def test_rights_and_annotations_that_the_target_cannot_hold_stay_listed(world: Make) -> None:
    w = world(target=MemoryOptions(acl=False, metadata=False))
    fill(w.a, INBOX, range(2))
    w.a.folder(INBOX).acl["anna"] = "lr"
    w.a.folder(INBOX).metadata["/private/comment"] = b"x"
    w.run()
    for _ in range(2):
        assert {(f.reason, f.kind) for f in w.failures()} == {
            (Reason.ACL, Kind.DIFFERENCE),
            (Reason.METADATA, Kind.DIFFERENCE),
        }
        fill(w.a, INBOX, ["more"])
        w.run()


def test_rights_annotations_and_subscriptions_come_along(world: Make) -> None:
    w = world()
    w.a.add_folder(WORK)
    w.a.folder(WORK).acl["anna"] = "lr"
    w.a.folder(WORK).metadata["/private/comment"] = b"x"
    w.run()
    assert w.b.folder(WORK).acl == {"anna": "lr"}
    assert w.b.folder(WORK).metadata == {"/private/comment": b"x"}


# What cannot be brought


def test_unreadable_messages_are_failures_that_are_tried_again(world: Make, options: MemoryOptions) -> None:
    w = world(source=options)
    uids = fill(w.a, INBOX, range(8))
    w.a.spoil(INBOX, uids[3])
    for _ in range(2):
        counts = w.run()
        assert (counts.failed, counts.listed) == (1, 8)
        assert [(f.source_uid, f.reason) for f in w.failures()] == [(uids[3], Reason.UNREADABLE)]
        assert w.states()[uids[3]] is State.FAILED
    w.a.folder(INBOX).messages[uids[3]].unreadable = None
    counts = w.run()
    assert (counts.failed, counts.copied) == (0, 1)
    assert not w.failures()
    assert len(w.failures(resolved=True)) == 1
    same(w.a, w.b)


def test_an_unreadable_message_that_is_deleted_is_no_failure_any_more(world: Make, options: MemoryOptions) -> None:
    w = world(source=options)
    uids = fill(w.a, INBOX, range(3))
    w.a.spoil(INBOX, uids[1])
    w.run()
    w.a.remove(INBOX, uids[1])
    counts = w.run()
    assert (counts.failed, counts.listed) == (0, 2)
    assert not w.failures()


def test_refused_messages_are_failures_and_repair_brings_them(world: Make) -> None:
    def refuse(data: bytes) -> tuple[Reason, str] | None:
        return (Reason.NUL, "NUL") if b"\0" in data else None

    w = world(target=MemoryOptions(refuse=refuse))
    fill(w.a, INBOX, range(4))
    bad = w.a.add(INBOX, text("nul", more="\0"))
    counts = w.run()
    assert (counts.failed, counts.copied) == (1, 4)
    counts = w.run(repair=True)
    assert (counts.failed, counts.copied, counts.different) == (0, 1, 1)
    assert [(f.source_uid, f.kind, f.reason) for f in w.failures()] == [(bad, Kind.DIFFERENCE, Reason.NUL)]
    assert bodies(w.b)[text("nul", more=" ")] == 1
    assert w.run(repair=True).copied == 0


def test_copies_that_people_make_of_a_message_refused_before_stay(world: Make) -> None:
    """A refusal is no sending: a message that was refused twice and then taken has no twins of ours."""
    w = world()
    uids = fill(w.a, INBOX, range(3))
    refused = {uids[1]: (Reason.QUOTA, "full")}
    w.run(refuse=refused)
    w.run(refuse=refused)
    fill(w.a, INBOX, ["interrupted"])
    with pytest.raises(Killed):
        w.run(Fault(Operation.APPEND, Ending.KILLED, 0, skip=1), chunk_messages=1, chunks_in_flight=1)
    w.run()
    w.b.add(INBOX, text(1))
    w.run()
    w.run()
    assert bodies(w.b)[text(1)] == 2


def test_a_folder_that_cannot_be_opened_does_not_stop_the_others(world: Make) -> None:
    w = world()
    fill(w.a, WORK, range(3))
    fill(w.a, INBOX, range(10, 14))
    counts = w.run(Fault(Operation.SELECT, Ending.ITEM, skip=1))
    assert (counts.broken, counts.copied + counts.failed, counts.listed) == (1, 7, 7)
    assert [f.reason for f in w.failures()] == [Reason.FOLDER]
    w.run()
    same(w.a, w.b)
    assert not w.failures()


def test_a_folder_that_the_target_refuses_to_make(world: Make) -> None:
    w = world()
    fill(w.a, WORK, range(3))
    counts = w.run(Fault(Operation.CREATE, Ending.ITEM))
    assert (counts.broken, counts.failed) == (1, 3)
    w.run()
    same(w.a, w.b)


# Folders between passes


def test_folders_that_appear(world: Make, options: MemoryOptions) -> None:
    w = world(source=options)
    fill(w.a, INBOX, range(3))
    w.run()
    fill(w.a, ("New", "Deep"), range(10, 13))
    w.run()
    same(w.a, w.b)


@pytest.mark.parametrize("deletions", Deletions)
def test_a_renamed_folder_is_a_move_of_its_messages(world: Make, options: MemoryOptions, deletions: Deletions) -> None:
    w = world(source=options)
    fill(w.a, INBOX, range(3))
    fill(w.a, WORK, range(10, 14), flags=1)
    w.run(deletions=deletions)
    w.a.rename(WORK, ("Play",))
    counts = w.run(deletions=deletions)
    assert held(w.b, ("Play",)) == held(w.a, ("Play",))
    assert not kept(w.b, WORK)
    assert counts.moved == 4
    assert w.run(deletions=deletions).moved == 0


def test_a_removed_folder_stays_by_default_and_nothing_comes_twice_when_it_comes_back(
    world: Make, options: MemoryOptions
) -> None:
    w = world(source=options)
    fill(w.a, INBOX, range(3))
    fill(w.a, WORK, range(10, 14))
    w.run()
    folder = w.a.folder(WORK)
    w.a.remove_folder(WORK)
    w.run()
    assert len(kept(w.b, WORK)) == 4
    w.a._folders[WORK] = folder  # the server had hidden it for a while
    w.run()
    same(w.a, w.b)


def test_a_removed_folder_is_mirrored_under_the_brake(world: Make) -> None:
    w = world()
    fill(w.a, INBOX, range(3))
    fill(w.a, WORK, range(10, 35))
    w.run(deletions=Deletions.MIRROR)
    w.a.remove_folder(WORK)
    with pytest.raises(SafetyStop, match="25 of 28"):
        w.run(deletions=Deletions.MIRROR)
    assert len(kept(w.b, WORK)) == 25
    counts = w.run(deletions=Deletions.MIRROR, accept=frozenset({Accept.DELETIONS}))
    assert counts.removed == 25
    assert not kept(w.b, WORK)


def test_an_excluded_folder_counts_as_excluded_and_may_be_included_later(world: Make) -> None:
    w = world()
    fill(w.a, INBOX, range(3))
    fill(w.a, WORK, range(10, 14))
    counts = w.run(folders=FolderPolicy(exclude=("Work",)))
    assert (counts.listed, counts.excluded, counts.copied) == (7, 4, 3)
    assert w.folders()[WORK].excluded == "exclude:Work"
    w.run()
    same(w.a, w.b)
    row = w.folders()[WORK]
    assert (row.excluded, row.target_path) == (None, WORK)
    counts = w.run(folders=FolderPolicy(exclude=("Work",)))
    assert (counts.excluded, counts.there) == (4, 3)
    assert len(kept(w.b, WORK)) == 4
