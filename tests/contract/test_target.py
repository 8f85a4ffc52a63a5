"""The contract of targets, sentence by sentence, on every target."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lab.corpus import odd_messages
from mailferry.errors import ItemError
from mailferry.model.folder import INBOX
from mailferry.model.message import ALL_FLAGS, Date, Failed, Flag, Listed, Message
from mailferry.targets.base import Stored, TargetSession
from tests.contract.stores import Sample, TargetCase, inbox, made, message, named, reader, run, same_bytes, writer

ONE = Sample(b"Subject: one\r\nMessage-ID: <1@x>\r\n\r\nfirst\r\n", Flag.SEEN | Flag.FLAGGED, ("$Forwarded", "Work"))
TWO = Sample(b"Subject: two\r\n\r\nsecond\r\n", 0, (), Date(1_300_000_000, -480))
THREE = Sample(b"Subject: three\r\n\r\n" + b"x" * 70 + b"\r\n", Flag.ANSWERED | Flag.DRAFT | Flag.DELETED)
NESTED = ("Größe & Maß", "Проекты")


async def uids_of(session: TargetSession) -> list[int]:
    return [m.uid for m in (await session.listing()).messages]


async def stored(session: TargetSession, *samples: Sample) -> list[int]:
    """Append in one call; the uids as the listing then has them."""
    before = set(await uids_of(session))
    results = await session.append([message(n, sample) for n, sample in enumerate(samples, start=1)])
    assert [type(result) for result in results] == [Stored] * len(samples)
    return [uid for uid in await uids_of(session) if uid not in before]


def test_limits_allow_what_the_mapping_needs(target: TargetCase) -> None:
    async def work() -> None:
        session = await writer(target.target)
        limits = session.limits()
        assert not limits.forbidden.intersection("abcXYZ019 =()~-")
        assert limits.max_name >= 60
        if limits.separator:
            assert limits.separator in limits.forbidden

    run(work())


def test_create_makes_a_folder_with_its_parents_and_gives_back_one_that_is_there(target: TargetCase) -> None:
    async def work() -> None:
        session = await writer(target.target)
        await session.create(INBOX, None, 5, 1)
        folder = await session.create(NESTED, None, 4711, 1)
        assert folder.path == NESTED
        again = await session.create(NESTED, None, 4712, 1)
        assert (again.path, again.name) == (folder.path, folder.name)
        other = await reader(target.target)
        paths = [found.path for found in await other.folders()]
        assert paths[0] == INBOX
        assert paths.count(NESTED) == 1
        if NESTED[:1] in paths or not target.implies_parents:
            assert paths.index(NESTED[:1]) < paths.index(NESTED)
        selected = await session.select(folder)
        assert selected.status.messages == 0
        assert not selected.read_only
        assert selected.permanent_flags == ALL_FLAGS
        if target.keeps_uids:
            assert selected.status.uidvalidity == 4711

    run(work())


def test_sessions_make_folders_at_the_same_time(target: TargetCase) -> None:
    paths = [("Shared parent", f"child {n}") for n in range(6)]

    async def one(path: tuple[str, ...]) -> None:
        session = await writer(target.target)
        folder = await session.create(path, None, 1, 1)
        await session.select(folder)
        assert [type(r) for r in await session.append([message(1, ONE)])] == [Stored]

    async def work() -> None:
        await made(await writer(target.target))
        for start in range(0, len(paths), target.target.lanes):
            await asyncio.gather(*(one(path) for path in paths[start : start + target.target.lanes]))
        other = await reader(target.target)
        found = {folder.path: folder for folder in await other.folders()}
        for path in paths:
            assert (await other.select(found[path])).status.messages == 1

    run(work())


def test_create_refuses_names_that_cannot_be_and_lives(target: TargetCase) -> None:
    async def work() -> None:
        session = await writer(target.target)
        limits = session.limits()
        harmless = {"*", "%", "\x7f"}  # forbidden for the sake of clients; a server that takes them does no harm
        bad = [("",), ("a", ""), *((f"x{character}y",) for character in sorted(limits.forbidden - harmless))]
        bad.append(("x" * (limits.max_name + 300),))
        if limits.separator:
            bad.append((f"..{limits.separator}etc",))
        for path in bad:
            with pytest.raises(ItemError):
                await session.create(path, None, 1, 1)
        await made(session, ("still alive",))

    run(work())


def test_subscribe_shows_in_the_folder_list(target: TargetCase) -> None:
    async def work() -> None:
        session = await writer(target.target)
        folder = await session.create(NESTED, None, 1, 1)
        other = await session.create(("Other",), None, 1, 1)
        await session.subscribe(folder)
        await session.subscribe(folder)
        again = await reader(target.target)
        subscribed = {found.path: found.subscribed for found in await again.folders()}
        assert subscribed[folder.path]
        assert not subscribed[other.path]

    run(work())


def test_select_refuses_what_is_not_there_and_lives(target: TargetCase) -> None:
    async def work() -> None:
        session = await writer(target.target)
        folder = await made(session)
        with pytest.raises(ItemError):
            await session.select(replace(folder, path=("Nowhere",), name=folder.name + ".Nowhere"))
        await session.select(folder)

    run(work())


def test_append_keeps_bytes_flags_keywords_and_dates(target: TargetCase) -> None:
    samples = (ONE, TWO, THREE)

    async def work() -> None:
        session = await writer(target.target)
        folder = await made(session, ("Round trip",))
        uidnext = (await session.select(folder)).status.uidnext
        results = await session.append([message(n, s) for n, s in enumerate(samples, start=1)])
        other = await reader(target.target)
        selected = await other.select(await named(other, ("Round trip",)))
        assert selected.status.messages == 3
        listing = (await other.listing()).messages
        for result, listed in zip(results, listing, strict=True):
            assert isinstance(result, Stored)
            assert result.uid in (None, listed.uid)
            assert uidnext <= listed.uid < selected.status.uidnext
        got = [m async for m in other.fetch([m.uid for m in listing])]
        for listed, m, sample in zip(listing, got, samples, strict=True):
            assert isinstance(m, Message)
            assert (m.flags, m.keywords) == (listed.flags, listed.keywords)
            assert m.flags == sample.flags
            assert m.keywords == (tuple(sorted(sample.keywords)) if target.keywords else ())
            assert m.internal_date.epoch == sample.date.epoch
            assert same_bytes(m.body, sample.data)
            m.body.close()
        blocks = [h.block.strip() async for h in other.headers([m.uid for m in listing])]
        assert blocks == [s.data.partition(b"\r\n\r\n")[0] for s in samples]

    run(work())


def test_overlapping_appends_are_stored_in_the_order_of_the_calls(target: TargetCase) -> None:
    chunks = [[Sample(b"Subject: %d.%d\r\n\r\nx\r\n" % (c, n)) for n in range(7)] for c in range(6)]

    async def work() -> None:
        session = await writer(target.target)
        await made(session)
        calls = []
        for number, chunk in enumerate(chunks):
            messages = [message(number * 7 + n + 1, sample) for n, sample in enumerate(chunk)]
            calls.append(asyncio.create_task(session.append(messages)))
        results = [result for call in calls for result in await call]
        uids = await uids_of(session)
        assert [r.uid for r in results if isinstance(r, Stored) and r.uid is not None] in (uids, [])
        got = [m.body async for m in session.fetch(uids) if isinstance(m, Message)]
        for body, sample in zip(got, [sample for chunk in chunks for sample in chunk], strict=True):
            assert same_bytes(body, sample.data)

    run(work())


def test_uids_are_kept_where_promised_and_never_given_again(target: TargetCase) -> None:
    async def work() -> None:
        session = await writer(target.target)
        folder = await made(session, ("Kept",), 4711)
        first = await session.append([message(uid, ONE) for uid in (10, 20, 21)])
        second = await session.append([message(20, TWO), message(4000, TWO), message(5, TWO)])
        uids = await uids_of(session)
        assert len(uids) == 6
        assert uids == sorted(set(uids))
        if target.keeps_uids:
            assert [r.uid for r in [*first, *second] if isinstance(r, Stored)] == [10, 20, 21, 22, 4000, 4001]
        assert await session.remove([uids[-1]]) == []
        await session.finish()
        await session.append([message(3, THREE)])
        assert (await uids_of(session))[-1] > uids[-1]
        other = await reader(target.target)
        status = (await other.select(await named(other, folder.path))).status
        if target.keeps_uids:
            assert (status.uidvalidity, status.uidnext) == (4711, 4003)

    run(work())


def test_a_refused_message_does_not_keep_the_others_out(target: TargetCase) -> None:
    if target.refuses is None:  # nothing that this target refuses
        return
    bad = Sample(target.refuses)

    async def work() -> None:
        session = await writer(target.target)
        await made(session)
        results = await session.append([message(7, ONE), message(8, bad), message(9, TWO)])
        assert [type(result) for result in results] == [Stored, Failed, Stored]
        failed = results[1]
        assert isinstance(failed, Failed)
        assert failed.uid == 8
        assert failed.text
        uids = await uids_of(session)
        got = [m.body async for m in session.fetch(uids) if isinstance(m, Message)]
        assert [same_bytes(b, s.data) for b, s in zip(got, (ONE, TWO), strict=True)] == [True, True]

    run(work())


def test_odd_messages_are_stored_whole_or_named(target: TargetCase) -> None:
    """What a server itself changes is named in `TargetCase.changes`."""
    odd = list(odd_messages())

    async def work() -> None:
        session = await writer(target.target)
        await made(session, ("Odd",))
        refused, changed = set(), set()
        for number, m in enumerate(odd, start=1):
            before = await uids_of(session)
            (result,) = await session.append([message(number, Sample(m.body))])
            new = [uid for uid in await uids_of(session) if uid not in before]
            if isinstance(result, Failed):
                assert not new, m.kind
                refused.add(m.kind)
                continue
            assert len(new) == 1, m.kind
            (got,) = [x async for x in session.fetch(new)]
            assert isinstance(got, Message)
            if not same_bytes(got.body, m.body):
                changed.add(m.kind)
        assert refused == set(target.refuses_kinds)
        assert changed == set(target.changes)

    run(work())


def test_set_flags_makes_them_exactly_so(target: TargetCase) -> None:
    async def work() -> None:
        session = await writer(target.target)
        await made(session)
        uids = await stored(session, ONE, TWO, THREE)
        wanted = [
            Listed(uids[0], Flag.ANSWERED, ("Work",)),
            Listed(uids[1], ALL_FLAGS, ("$Forwarded", "New")),
            Listed(uids[2], 0, ()),
            Listed(uids[2] + 1000, Flag.SEEN, ("Gone",)),
        ]
        await session.set_flags(wanted)
        other = await reader(target.target)
        await other.select(await inbox(other))
        found = (await other.listing()).messages
        expected = wanted[:3] if target.keywords else [replace(change, keywords=()) for change in wanted[:3]]
        assert found == expected

    run(work())


def test_remove_takes_exactly_these(target: TargetCase) -> None:
    async def work() -> None:
        session = await writer(target.target)
        await made(session)
        uids = await stored(session, THREE, ONE, THREE, TWO)  # THREE is flagged \Deleted
        assert await session.remove([uids[1], uids[2], uids[3] + 1000]) == []
        assert await uids_of(session) == [uids[0], uids[3]]
        assert await session.remove([uids[1]]) == []
        other = await reader(target.target)
        await other.select(await inbox(other))
        assert [m.flags for m in (await other.listing()).messages] == [THREE.flags, TWO.flags]

    run(work())


def test_what_has_gone_is_left_out(target: TargetCase) -> None:
    async def work() -> None:
        session = await writer(target.target)
        await made(session)
        uids = await stored(session, ONE, TWO, THREE)
        behind = await writer(target.target)
        await behind.select(await inbox(behind))
        await behind.remove([uids[1]])
        if target.told_late:
            await session.listing()
        assert [m.uid async for m in session.fetch(uids)] == [uids[0], uids[2]]
        assert [h.uid async for h in session.headers(uids)] == [uids[0], uids[2]]
        await session.set_flags([Listed(uids[1], Flag.SEEN)])
        assert await session.remove([uids[1]]) == []
        assert await uids_of(session) == [uids[0], uids[2]]

    run(work())


def test_flags_changed_behind_our_back_are_seen(target: TargetCase) -> None:
    async def work() -> None:
        session = await writer(target.target)
        await made(session)
        (uid,) = await stored(session, ONE)
        behind = await writer(target.target)
        await behind.select(await inbox(behind))
        await behind.set_flags([Listed(uid, Flag.DRAFT)])
        if target.told_late:
            await session.listing()
        assert [m.flags async for m in session.fetch([uid]) if isinstance(m, Message)] == [Flag.DRAFT]
        await session.set_flags([Listed(uid, Flag.SEEN)])
        assert (await session.listing()).messages == [Listed(uid, Flag.SEEN)]

    run(work())


def test_acl_is_kept_or_refused(target: TargetCase) -> None:
    async def work() -> None:
        session = await writer(target.target)
        folder = await made(session, ("Shared",))
        if target.acl:
            await session.set_acl(folder, {"boss": "lrs"})
            rights = await session.acl(folder)
            assert rights is not None
            assert set(rights["boss"]) >= set("lrs")
            await session.set_acl(folder, {"boss": ""})
            assert "boss" not in (await session.acl(folder) or {})
        else:
            with pytest.raises(ItemError):
                await session.set_acl(folder, {"boss": "lrs"})
        await session.select(folder)  # the session lives

    run(work())


def test_metadata_is_kept_or_refused(target: TargetCase) -> None:
    async def work() -> None:
        session = await writer(target.target)
        folder = await made(session, ("Noted",))
        if target.metadata:
            await session.set_metadata(folder, {"/private/comment": "für später".encode()})
            found = await session.metadata(folder)
            assert found is not None
            assert found["/private/comment"] == "für später".encode()
        else:
            with pytest.raises(ItemError):
                await session.set_metadata(folder, {"/private/comment": b"x"})
        await session.select(folder)  # the session lives

    run(work())


def test_close_may_be_called_twice_and_what_was_stored_stays(target: TargetCase) -> None:
    async def work() -> None:
        session = await writer(target.target)
        await made(session)
        await session.append([message(1, ONE)])
        await session.finish()
        await session.close()
        await session.close()
        other = await reader(target.target)
        assert (await other.select(await inbox(other))).status.messages == 1

    run(work())


class _Long:
    """A body of `lines` lines that is never in memory whole."""

    def __init__(self, lines: int) -> None:
        self._lines = lines

    @property
    def size(self) -> int:
        return 19 + self._lines * 1000

    def chunks(self) -> Iterator[bytes]:
        yield b"Subject: long\r\n\r\n\r\n"
        for start in range(0, self._lines, 200):
            yield (b"y" * 998 + b"\r\n") * min(200, self._lines - start)

    def close(self) -> None:
        """Holds nothing."""


def test_a_long_message_passes_in_flat_memory(target: TargetCase) -> None:
    body = _Long(24_000)

    async def work() -> int:
        session = await writer(target.target)
        await made(session)
        tracemalloc.start()
        (result,) = await session.append([Message(1, 0, (), Date(1_500_000_000), body)])
        assert isinstance(result, Stored)
        (uid,) = await uids_of(session)
        (got,) = [m async for m in session.fetch([uid])]
        assert isinstance(got, Message)
        assert got.body.size == body.size
        assert sum(map(len, got.body.chunks())) == body.size
        got.body.close()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak = run(work())
    if not target.in_memory:
        assert peak < 8_000_000
