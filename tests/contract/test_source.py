"""The contract of sources, sentence by sentence, on every source."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.corpus import odd_messages
from mailferry.errors import ItemError
from mailferry.model.folder import INBOX
from mailferry.model.message import Date, Flag, Message
from mailferry.sources.base import select_listed
from tests.contract.conftest import Fill
from tests.contract.stores import Sample, inbox, named, reader, run, same_bytes, snapshot

ONE = Sample(b"Subject: one\r\nMessage-ID: <1@x>\r\n\r\nfirst\r\n", Flag.SEEN | Flag.FLAGGED, ("$Forwarded", "Work"))
TWO = Sample(b"Subject: two\r\n\r\nsecond\r\n", 0, (), Date(1_300_000_000, 0))
THREE = Sample(b"Subject: three\r\n\r\n" + b"x" * 70 + b"\r\n", Flag.ANSWERED | Flag.DRAFT | Flag.DELETED)
NESTED = ("Größe & Maß", "Проекты")


def test_folders_come_with_counters_parents_before_children(source: Fill) -> None:
    case = source({INBOX: [ONE, TWO], NESTED[:1]: [], NESTED: [THREE]})

    async def work() -> None:
        session = await reader(case.source)
        folders = await session.folders()
        paths = [folder.path for folder in folders]
        assert paths[0] == INBOX
        assert paths.index(NESTED[:1]) < paths.index(NESTED)
        assert len(set(paths)) == len(paths)
        counted = {folder.path: folder.status for folder in folders}
        for path, count in ((INBOX, 2), (NESTED[:1], 0), (NESTED, 1)):
            status = counted[path]
            if status is not None:  # where the listing tells
                assert status.messages == count
            selected = await session.select(await named(session, path))
            assert selected.status.messages == count
            assert status is None or status.uidvalidity == selected.status.uidvalidity
        assert (await named(session, NESTED)).subscribed

    run(work())


def test_select_is_read_only_and_refuses_what_is_not_there(source: Fill) -> None:
    case = source({INBOX: [ONE]})

    async def work() -> None:
        session = await reader(case.source)
        folder = await inbox(session)
        with pytest.raises(ItemError):
            await session.select(replace(folder, path=("Nowhere",), name=folder.name.replace("INBOX", ".Nowhere")))
        assert (await session.select(folder)).read_only  # the session lives

    run(work())


def test_listing_gives_uids_ascending_with_flags_and_keywords(source: Fill) -> None:
    case = source({INBOX: [ONE, TWO, THREE]})

    async def work() -> None:
        session = await reader(case.source)
        selected = await session.select(await inbox(session))
        listing = await session.listing()
        assert listing.complete
        assert not listing.vanished
        uids = [m.uid for m in listing.messages]
        assert uids == sorted(set(uids))
        assert max(uids) < selected.status.uidnext
        assert [m.flags for m in listing.messages] == [s.flags & case.flags for s in (ONE, TWO, THREE)]
        expected = [tuple(sorted(s.keywords)) if case.keywords else () for s in (ONE, TWO, THREE)]
        assert [m.keywords for m in listing.messages] == expected
        if selected.status.highestmodseq is not None:
            changes = await session.listing(selected.status.highestmodseq)
            assert not changes.messages or changes.complete

    run(work())


def test_opening_and_listing_at_once_is_as_one_after_the_other(source: Fill) -> None:
    case = source({INBOX: [ONE, TWO, THREE], NESTED: []})

    async def work() -> None:
        session = await reader(case.source)
        folders = {folder.path: folder for folder in await session.folders()}
        selected = await session.select(folders[INBOX])
        listing = await session.listing()
        assert len(listing.messages) == 3
        assert await select_listed(session, folders[INBOX]) == (selected, listing)
        since = selected.status.highestmodseq
        assert await select_listed(session, folders[INBOX], since) == (selected, await session.listing(since))
        assert (await select_listed(session, folders[NESTED]))[1].messages == []
        gone = replace(folders[INBOX], path=("Nowhere",), name=folders[INBOX].name.replace("INBOX", ".Nowhere"))
        with pytest.raises(ItemError):
            await select_listed(session, gone)
        assert await select_listed(session, folders[INBOX]) == (selected, listing)  # the session lives

    run(work())


def test_uids_are_the_same_in_every_session(source: Fill) -> None:
    case = source({INBOX: [ONE, TWO, THREE]})

    async def uids() -> tuple[int, list[int]]:
        session = await reader(case.source)
        selected = await session.select(await inbox(session))
        listing = await session.listing()
        return selected.status.uidvalidity, [m.uid for m in listing.messages]

    assert run(uids()) == run(uids())


def test_fetch_gives_each_message_once_in_order_and_leaves_out_what_has_gone(source: Fill) -> None:
    case = source({INBOX: [ONE, TWO, THREE]})

    async def work() -> None:
        session = await reader(case.source)
        selected = await session.select(await inbox(session))
        uids = [m.uid for m in (await session.listing()).messages]
        got = [m async for m in session.fetch([uids[2], uids[0], selected.status.uidnext + 5, uids[1]])]
        assert [m.uid for m in got] == uids
        for m, sample in zip(got, (ONE, TWO, THREE), strict=True):
            assert isinstance(m, Message)
            assert m.body.size == len(sample.data)
            assert same_bytes(m.body, sample.data)
            assert same_bytes(m.body, sample.data)  # readable any number of times
            assert m.flags == sample.flags & case.flags
            assert m.keywords == (tuple(sorted(sample.keywords)) if case.keywords else ())
            assert m.internal_date.epoch == sample.date.epoch
            m.body.close()
            m.body.close()
        assert [m async for m in session.fetch([])] == []

    run(work())


def test_fetch_may_be_left_early(source: Fill) -> None:
    case = source({INBOX: [ONE, TWO, THREE] * 40})

    async def work() -> None:
        session = await reader(case.source)
        await session.select(await inbox(session))
        uids = [m.uid for m in (await session.listing()).messages]
        reading = session.fetch(uids)
        first = await anext(reading)
        assert first.uid == uids[0]
        await session.close()
        await session.close()

    run(work())


def test_headers_are_the_block_before_the_empty_line(source: Fill) -> None:
    case = source({INBOX: [ONE, TWO]})

    async def work() -> None:
        session = await reader(case.source)
        selected = await session.select(await inbox(session))
        uids = [m.uid for m in (await session.listing()).messages]
        got = [h async for h in session.headers([*uids, selected.status.uidnext + 3])]
        assert [h.uid for h in got] == uids
        assert [h.block.strip() for h in got] == [s.data.partition(b"\r\n\r\n")[0] for s in (ONE, TWO)]
        assert [h.size for h in got] == [len(ONE.data), len(TWO.data)]
        assert [h.internal_date.epoch for h in got] == [ONE.date.epoch, TWO.date.epoch]

    run(work())


def test_reading_changes_nothing(source: Fill) -> None:
    case = source({INBOX: [TWO, THREE]})

    async def read() -> list[int]:
        session = await reader(case.source)
        await session.select(await inbox(session))
        listing = await session.listing()
        uids = [m.uid for m in listing.messages]
        async for m in session.fetch(uids):
            assert isinstance(m, Message)
            m.body.close()
        async for _ in session.headers(uids):
            pass
        return [m.flags for m in listing.messages]

    before = snapshot(case.tree) if case.tree else None
    assert run(read()) == run(read()) == [TWO.flags & case.flags, THREE.flags & case.flags]
    if case.tree:
        assert snapshot(case.tree) == before


def test_odd_messages_come_whole(source: Fill) -> None:
    """Messages that some server changes as it stores them are left to the tests of the targets."""
    kinds = {"nul", "bare-lf", "bare-lf-header", "bare-cr", "no-final-newline", "one-byte", "no-header-no-blank"}
    kinds.add("raw-8bit-header")
    samples = [Sample(m.body) for m in odd_messages() if m.kind not in kinds]
    case = source({INBOX: samples})

    async def work() -> None:
        session = await reader(case.source)
        await session.select(await inbox(session))
        uids = [m.uid for m in (await session.listing()).messages]
        got = [m async for m in session.fetch(uids)]
        assert len(got) == len(samples)
        for m, sample in zip(got, samples, strict=True):
            assert isinstance(m, Message), m
            assert same_bytes(m.body, sample.data), sample.data[:100]

    run(work())


def test_acl_and_metadata_are_mappings_or_none(source: Fill) -> None:
    case = source({INBOX: [], ("Work",): []})

    async def work() -> None:
        session = await reader(case.source)
        folder = await named(session, ("Work",))
        for found in (await session.acl(folder), await session.metadata(folder)):
            assert found is None or dict(found) is not None
        await session.select(folder)  # the session lives

    run(work())
