"""Rights in one mailbox, with replies that are lost and runs that are killed at any SETACL: in the end there is what
the grants say beside what the owner gave, and once nothing is wanted any more, what the owner gave alone."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mailferry.ledger import permissions
from mailferry.ledger.writer import LedgerThread
from mailferry.model import folder as folders_
from mailferry.model.folder import INBOX, Folder
from mailferry.model.permission import Access, Grant
from mailferry.net.memory import MemoryStore
from mailferry.targets.failing import Ending, FailingTarget, Fault, Killed, Operation, Script
from mailferry.targets.memory import MemoryTarget
from mailferry.waves import grants as grants_

PLACES: tuple[folders_.Path, ...] = (INBOX, ("Plans",), ("Plans", "Old"))
PEOPLE = ("bob", "cat")
letters = st.text("lrswite", max_size=4).map(lambda text: "".join(sorted(set(text))))
acls = st.dictionaries(st.tuples(st.sampled_from(PLACES), st.sampled_from(PEOPLE)), letters.filter(bool), max_size=4)
wishes = st.lists(
    st.builds(
        lambda person, place, rights: Grant(
            "ad:ann",
            f"ad:{person}",
            Access.FULL if place is None else Access.FOLDER,
            "" if place is None else "\\".join(place),
            rights,
            "",
            "f:1",
        ),
        st.sampled_from(PEOPLE),
        st.sampled_from((None, *PLACES)),
        letters.filter(bool),
    ),
    max_size=4,
    unique_by=lambda one: one.key,
)
faults = st.lists(st.builds(lambda skip, done: (skip, done), st.integers(0, 4), st.sampled_from((0, None))), max_size=3)


@settings(max_examples=25, deadline=None)
@given(own=acls, rounds=st.lists(st.tuples(wishes, faults), min_size=1, max_size=3))
def test_whatever_happens_on_the_way(
    own: dict[tuple[tuple[str, ...], str], str], rounds: list[tuple[list[Grant], list[tuple[int, int | None]]]]
) -> None:
    asyncio.run(_play(own, rounds))


async def _play(
    own: dict[tuple[tuple[str, ...], str], str], rounds: list[tuple[list[Grant], list[tuple[int, int | None]]]]
) -> None:
    store = MemoryStore("ann")
    for place in PLACES[1:]:
        store.add_folder(place)
    for (place, who), rights in own.items():
        store.folder(place).acl[who] = rights
    with tempfile.TemporaryDirectory() as folder:
        async with LedgerThread(Path(folder) / "ledger.db") as ledger:
            for wanted, troubles in rounds:
                for skip, done in troubles:
                    await _once(ledger, store, wanted, Fault(Operation.SET_ACL, Ending.KILLED, done=done, skip=skip))
                await _once(ledger, store, wanted, None)
                assert _shown(store) == _expected(own, wanted)
            await _once(ledger, store, [], None)
            assert _shown(store) == _expected(own, [])
            assert await ledger.call(lambda db: permissions.given(db, "ad:ann")) == []


async def _once(ledger: LedgerThread, store: MemoryStore, wanted: list[Grant], fault: Fault | None) -> None:
    """One run, which a fault may end."""
    target = FailingTarget(MemoryTarget(store), Script([fault] if fault else []))
    session = await target.session()
    folders = await session.folders()
    want = grants_.wish(wanted, folders, lambda one: one.person.removeprefix("ad:"), {})
    given = await ledger.call(lambda db: permissions.given(db, "ad:ann"))
    with contextlib.suppress(Killed):
        await grants_.put(ledger, session, "ad:ann", want, folders, given)


def _shown(store: MemoryStore) -> dict[tuple[tuple[str, ...], str], str]:
    return {
        (place, who): "".join(sorted(rights)) for place in PLACES for who, rights in store.folder(place).acl.items()
    }


def _expected(
    own: dict[tuple[tuple[str, ...], str], str], wanted: list[Grant]
) -> dict[tuple[tuple[str, ...], str], str]:
    found = {key: set(rights) for key, rights in own.items()}
    for one in wanted:
        for place in PLACES if one.access is Access.FULL else (tuple(one.folder.split("\\")),):
            found.setdefault((place, one.person.removeprefix("ad:")), set()).update(one.rights)
    return {key: "".join(sorted(rights)) for key, rights in found.items()}


def test_of_folders_that_differ_in_case_alone_the_one_that_was_meant_or_none() -> None:
    folders = [Folder(path, "/".join(path)) for path in (INBOX, ("Plans",), ("plans",), ("Sent",))]

    def found(name: str, places: dict[folders_.Path, folders_.Path] | None = None) -> list[folders_.Path]:
        one = Grant("ad:ann", "ad:bob", Access.FOLDER, name, "lr", "", "f:1")
        want = grants_.wish([one], folders, lambda one: "bob", places or {})
        assert bool(want.missing) != bool(want.letters)
        return [path for path, _ in want.letters]

    assert found("Plans") == [("Plans",)] and found("plans") == [("plans",)]
    assert found("PLANS") == [] and found("PLANS", {("plans",): ("plans",)}) == [("plans",)]
    assert found("Posteingang") == [INBOX] and found("Gesendete Elemente") == [("Sent",)]
    full = grants_.wish([Grant("ad:ann", "ad:bob", Access.FULL, "", "lr", "", "f")], folders, lambda one: "bob", {})
    assert len(full.letters) == len(folders)
