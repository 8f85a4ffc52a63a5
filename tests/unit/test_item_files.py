"""Directories of .ics and .vcf files: as target nothing leads out of them, as source nothing in them is passed over."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

import pytest

from mailferry.errors import ItemError, UserError
from mailferry.groupware.to_ical import calendar
from mailferry.groupware.to_vcard import card
from mailferry.model.account import IcsAccount
from mailferry.model.groupware import Contact, Event, Item, Kind, Moment, NotCarried
from mailferry.net.item_files import ItemFiles
from mailferry.sources.ics import IcsItemSource
from mailferry.targets.ics import IcsTarget
from mailferry.targets.items import NotStored, Stored, Why


def event(uid: str) -> bytes:
    at = Moment(datetime(2024, 3, 1, 9))
    return calendar(Event(uid, "S", at, at)).data


@pytest.mark.parametrize("uid", ["../../evil", "a/b", "nul\0", "x" * 5000, "..", ".hidden", "ä@b", "con\\..\\x", "a b"])
def test_no_uid_leads_out_of_the_directory(tmp_path: Path, uid: str) -> None:
    async def run() -> None:
        session = await IcsTarget(IcsAccount(str(tmp_path / "out"))).items_session()
        place = await session.create("calendar", "Kalender / Team", Kind.EVENT)
        href = session.href(place, uid, Kind.EVENT)
        assert href == session.href(place, uid, Kind.EVENT)
        done = await session.put(place, href, event("u"), None)
        assert isinstance(done, Stored)
        assert (tmp_path / "out" / href).resolve().parent == (tmp_path / "out" / "calendar").resolve()
        assert await session.listing(place) == {href: done.etag}
        assert [(one.id, one.name) for one in await session.places()] == [("calendar", "Kalender / Team")]

    asyncio.run(run())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "name", ["../x.ics", "a/../../x.ics", "/etc/x.ics", "calendar/", "calendar/.x.ics", "x.ics", ""]
)
def test_names_that_are_none_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ItemError, match="no name"):
        ItemFiles(tmp_path).put(name, b"x")


def test_what_people_changed_is_not_overwritten(tmp_path: Path) -> None:
    async def run() -> None:
        session = await IcsTarget(IcsAccount(str(tmp_path))).items_session()
        place = await session.create("calendar", "C", Kind.EVENT)
        href = session.href(place, "u", Kind.EVENT)
        first = await session.put(place, href, event("u"), None)
        assert isinstance(first, Stored)
        again = await session.put(place, href, event("u"), None)
        assert isinstance(again, NotStored) and again.why is Why.CHANGED
        (tmp_path / href).write_bytes(b"theirs")
        other = await session.put(place, href, event("u"), first.etag)
        assert isinstance(other, NotStored) and other.why is Why.CHANGED
        assert not await session.delete(place, href, first.etag)
        assert (tmp_path / href).read_bytes() == b"theirs"
        (resource,) = [one async for one in session.read(place, [href, "calendar/gone.ics"])]
        assert resource.data == b"theirs"
        assert await session.delete(place, href, resource.etag)
        assert await session.delete(place, href, resource.etag)
        assert await session.listing(place) == {}

    asyncio.run(run())


Read = dict[tuple[str, ...], tuple[Kind, bool, dict[str, Item | NotCarried], list[NotCarried]]]


def read(root: Path) -> Read:
    """Path → kind, whether default, items, not carried."""

    async def run() -> Read:
        session = await IcsItemSource(IcsAccount(str(root))).items_session()
        found: Read = {}
        for one in await session.collections():
            contents = await session.contents(one)
            ids = [ref.id for ref in contents.items]
            items = {id: item async for id, item in session.items(one, ids)}
            assert list(items) == ids or set(items) == set(ids)
            found[one.path] = (one.kind, one.default, items, list(contents.not_carried))
        await session.close()
        return found

    return asyncio.run(run())


def test_exports_of_all_kinds_are_read(tmp_path: Path) -> None:
    whole = event("a").replace(b"END:VCALENDAR\r\n", b"") + event("b").partition(b"\r\n")[2]
    (tmp_path / "export.ics").write_bytes(whole)
    (tmp_path / "contacts.vcf").write_bytes(card(Contact("c", "C")).data + card(Contact("d", "D")).data)
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "1.ics").write_bytes(event("one"))
    (tmp_path / "team" / "2.ics").write_bytes(event("one"))
    (tmp_path / "team" / "3.ics").write_bytes(b"no calendar at all")
    (tmp_path / "team" / "4.ics").write_bytes(b"")
    (tmp_path / "team" / ".5.ics.new").write_bytes(event("six"))
    (tmp_path / "team" / "readme.txt").write_text("nothing")
    (tmp_path / "team" / "link.ics").symlink_to("/etc/passwd")
    found = read(tmp_path)
    assert {path: sorted(items) for path, (_, _, items, _) in found.items()} == {
        ("export",): ["a", "b"],
        ("contacts",): ["c", "d"],
        ("team",): ["one"],
    }
    assert [path for path, (_, default, _, _) in found.items() if default] == [("contacts",), ("export",)]
    left = found[("team",)][3]
    assert sorted(one.reason for one in left) == [
        "another item with its UID is in team/1.ics",
        "it is no iCalendar file",
        "it is no iCalendar file",
    ]
    assert all("team/" in one.id for one in left)


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such directory"):
        read(tmp_path / "none")
