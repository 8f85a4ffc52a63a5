"""Events and contacts into a real Radicale: what the engine of items promises."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab.process import PASSWORD
from lab.radicale import ADMIN, Radicale
from mailferry.copy.items import ItemsDone, copy_items
from mailferry.copy.items_back import Returned, bring_back
from mailferry.copy.lease import leased
from mailferry.errors import AuthError
from mailferry.ledger import items as rows
from mailferry.ledger import open_ledger
from mailferry.ledger.writer import LedgerThread
from mailferry.model.account import DavAccount, Tls
from mailferry.model.groupware import Attached, Frequency, NotCarried, Recurrence
from mailferry.model.message import MemoryBody
from mailferry.plan.items import ItemPolicy
from mailferry.plan.messages import Deletions
from mailferry.secret import Secret
from mailferry.sources.items import ItemSource
from mailferry.targets.caldav import CalDavTarget
from mailferry.targets.carddav import CardDavTarget
from mailferry.targets.items import ItemTarget
from mailferry.verify.items import CollectionVerified, verify_items
from mailferry.verify.score import Score
from tests.items import CALENDAR, CONTACTS, TEAM, MemoryItems, contact, event


def account(server: Radicale, service: str, user: str, **more: Any) -> DavAccount:
    return DavAccount(
        service, "127.0.0.1", server.port, user, Secret(PASSWORD), **{"tls": Tls.NONE, "timeout": 10.0, **more}
    )


def targets(server: Radicale, user: str, **more: Any) -> list[ItemTarget]:
    return [
        CalDavTarget(account(server, "caldav", user, **more)),
        CardDavTarget(account(server, "carddav", user, **more)),
    ]


def copy(
    place: Path, source: ItemSource, to: Sequence[ItemTarget], policy: ItemPolicy | None = None, **more: Any
) -> ItemsDone:
    async def run() -> ItemsDone:
        async with LedgerThread(place) as ledger, leased(ledger, source.key, to[0].key, 60.0) as lease:
            return await copy_items(ledger, source, to, lease, policy or ItemPolicy(), **more)

    return asyncio.run(run())


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def person(radicale: Radicale, new_user: Callable[[], str]) -> str:
    return radicale.add(new_user())


def test_everything_comes_once(radicale: Radicale, person: str, ledger: Path) -> None:
    source = MemoryItems()
    for number in range(70):
        source.put(CALENDAR, event(f"e{number}@acme.example", day=1 + number % 28))
    source.put(TEAM, event("040000008200E00074C5B7101A82E008", "Holiday"))
    source.put(CONTACTS, contact("c/1 with a slash"))
    first = copy(ledger, source, targets(radicale, person)).total()
    assert (first.copied, first.listed, first.failed, first.balanced) == (72, 72, 0, True)
    there = radicale.items(person)
    assert len(there) == 72
    assert b"UID:040000008200E00074C5B7101A82E008" in next(
        data for path, data in there.items() if path.endswith("/040000008200E00074C5B7101A82E008.ics")
    )
    again = copy(ledger, source, targets(radicale, person)).total()
    assert (again.copied, again.there, again.balanced) == (0, 72, True)
    assert source.reads == 72
    assert radicale.items(person) == there


def alter(server: Radicale, person: str, ending: str, old: bytes, new: bytes) -> None:
    """A person changes an item on the open side, with a client of theirs."""
    path = next(one for one in server.items(person) if one.endswith(ending))
    data = server.items(person)[path].replace(old, new)
    http(server, person, "PUT", path, data)


def http(server: Radicale, person: str, method: str, path: str, data: bytes | None = None) -> int:
    url = f"http://127.0.0.1:{server.port}/{person}/{path}"
    kind = "text/calendar" if path.endswith("ics") else "text/vcard"
    return httpx.request(
        method, url, content=data, auth=(person, PASSWORD), headers={"Content-Type": kind}, trust_env=False
    ).status_code


def notes(place: Path) -> list[tuple[str, str, str, str]]:
    """(kind, reason, item class, date) of all there is to tell."""
    with closing(open_ledger(place)) as ledger:
        return sorted(
            (one.kind.value, one.reason, one.item_class, one.happens)
            for row in rows.collections(ledger)
            for one in rows.notes(ledger, row.id)
        )


def test_a_delta_brings_what_changed_and_no_more(radicale: Radicale, person: str, ledger: Path) -> None:
    source = MemoryItems()
    for number in range(30):
        source.put(CALENDAR, event(f"e{number}"))
    copy(ledger, source, targets(radicale, person))
    source.put(CALENDAR, event("e3", "moved to the big room"), version="2")
    source.put(CALENDAR, event("e4"), version="2")  # its version changed, it did not
    source.put(CALENDAR, event("e99"))
    del source.held[CALENDAR]["e5"]
    source.reads = 0
    mirror = ItemPolicy(deletions=Deletions.MIRROR)
    counts = copy(ledger, source, targets(radicale, person), mirror).total()
    assert (counts.copied, counts.there, counts.removed, source.reads) == (2, 28, 1, 3)
    there = radicale.items(person)
    assert len(there) == 30
    assert not any(path.endswith("/e5.ics") for path in there)
    assert b"big room" in there["calendar/e3.ics"]


def test_what_has_gone_is_kept_and_listed_unless_it_is_to_be_mirrored(
    radicale: Radicale, person: str, ledger: Path
) -> None:
    source = MemoryItems()
    for number in range(30):
        source.put(CALENDAR, event(f"e{number}"))
    copy(ledger, source, targets(radicale, person))
    del source.held[CALENDAR]["e5"]
    copy(ledger, source, targets(radicale, person))
    assert len(radicale.items(person)) == 30
    assert notes(ledger) == [("difference", "gone-at-source", "", "")]
    for number in range(25):
        source.held[CALENDAR].pop(f"e{number}", None)
    mirror = ItemPolicy(deletions=Deletions.MIRROR)
    done = copy(ledger, source, targets(radicale, person), mirror)
    assert done.total().stops == 1
    assert "--accept deletions" in done.collections[0].note
    source.held[CALENDAR].clear()
    assert "--accept emptied" in copy(ledger, source, targets(radicale, person), mirror).collections[0].note
    assert len(radicale.items(person)) == 30


def test_after_the_switch_nothing_that_a_person_did_is_touched(radicale: Radicale, person: str, ledger: Path) -> None:
    source = MemoryItems()
    for uid in ("mine", "both", "theirs", "removed", "moved"):
        source.put(CALENDAR, event(uid, "as it was"))
    copy(ledger, source, targets(radicale, person))
    alter(radicale, person, "/both.ics", b"as it was", b"by me")
    alter(radicale, person, "/theirs.ics", b"as it was", b"by me")
    assert http(radicale, person, "DELETE", "calendar/removed.ics") == 200
    for uid in ("mine", "both", "removed"):
        source.put(CALENDAR, event(uid, "late"), version="2")
    source.put(CALENDAR, event("new", "late"))
    del source.held[CALENDAR]["moved"]
    sweep = ItemPolicy(source_wins=False, deletions=Deletions.MIRROR)
    for _ in range(2):
        copy(ledger, source, targets(radicale, person), sweep)
        there = radicale.items(person)
        said = {path: next(word for word in (b"as it was", b"by me", b"late") if word in there[path]) for path in there}
        assert said == {
            "calendar/mine.ics": b"late",
            "calendar/both.ics": b"by me",
            "calendar/theirs.ics": b"by me",
            "calendar/new.ics": b"late",
            "calendar/moved.ics": b"as it was",
        }
        assert notes(ledger) == [("difference", "changed-at-target", "", "")] * 2


def test_one_bad_item_stops_nothing_and_is_named(radicale: Radicale, person: str, ledger: Path) -> None:
    source = MemoryItems()
    source.put(CALENDAR, event("good"))
    source.put(CALENDAR, event(" ", day=2))
    source.held[CALENDAR]["unreadable"] = ("1", NotCarried("unreadable", "IPM.Appointment", "the source says no"))
    source.not_carried[CALENDAR] = (NotCarried("x", "IPM.Schedule.Inquiry", "no event", when=datetime(2026, 1, 2)),)
    source.held[CALENDAR]["twin"] = ("1", event("good", "another one"))
    source.put(CONTACTS, contact("c"))
    done = copy(ledger, source, targets(radicale, person)[:1])
    counts = done.total()
    assert (counts.copied, counts.failed, counts.excluded, counts.balanced) == (1, 3, 2, True)
    assert notes(ledger) == [
        ("excluded", "no-target", "", ""),
        ("excluded", "not-carried", "IPM.Schedule.Inquiry", "2026-01-02"),
        ("failed", "duplicate-uid", "IPM.Appointment", "2026-03-01"),
        ("failed", "unreadable", "IPM.Appointment", ""),
        ("failed", "unreadable", "IPM.Appointment", "2026-03-02"),
    ]
    source.held[CALENDAR]["unreadable"] = ("1", event("unreadable"))
    again = copy(ledger, source, targets(radicale, person)[:1]).total()
    assert (again.copied, again.failed) == (1, 2)


def test_a_target_that_is_given_later_gets_what_was_left_out(radicale: Radicale, person: str, ledger: Path) -> None:
    source = MemoryItems()
    source.put(CONTACTS, contact("c"))
    calendars, contacts = targets(radicale, person)

    async def run(to: Sequence[ItemTarget]) -> ItemsDone:
        async with LedgerThread(ledger) as thread, leased(thread, source.key, "memory:there", 60.0) as lease:
            return await copy_items(thread, source, to, lease, ItemPolicy())

    assert asyncio.run(run([calendars])).total().excluded == 1
    assert notes(ledger) == [("excluded", "no-target", "", "")]
    assert asyncio.run(run([calendars, contacts])).total().copied == 1
    assert notes(ledger) == []


def test_a_large_attachment_stays_out_and_is_listed(radicale: Radicale, person: str, ledger: Path) -> None:
    @dataclass(slots=True)
    class Huge:
        """2 GB that nobody may read."""

        size: int = 2 << 30
        closed: bool = False

        def chunks(self) -> Iterator[bytes]:
            raise AssertionError("it is read")

        def close(self) -> None:
            self.closed = True

    huge = Huge()
    small = Attached("a.txt", "text/plain", MemoryBody(b"small"))
    source = MemoryItems()
    source.put(CALENDAR, replace(event("e"), attached=(small, Attached("b.iso", "application/x", huge))))
    assert copy(ledger, source, targets(radicale, person)).total().different == 1
    assert huge.closed
    assert b"c21hbGw=" in radicale.items(person)["calendar/e.ics"]
    assert notes(ledger) == [("difference", "loss", "IPM.Appointment", "2026-03-01")]


def test_an_administrator_fills_what_its_owner_has_never_opened(
    radicale: Radicale, new_user: Callable[[], str], ledger: Path
) -> None:
    person = new_user()
    source = MemoryItems()
    source.put(CALENDAR, event("e"))
    source.put(CONTACTS, contact("c"))
    copy(ledger, source, targets(radicale, person, admin=ADMIN))
    assert set(radicale.items(person)) == {"calendar/e.ics", "contacts/c.vcf"}


def test_a_wrong_password_is_told_at_once(radicale: Radicale, person: str, ledger: Path) -> None:
    wrong = CalDavTarget(replace(account(radicale, "caldav", person), secret=Secret("wrong")))
    with pytest.raises(AuthError) as refused:
        copy(ledger, MemoryItems(), [wrong])
    assert person in refused.value.about


def verified(place: Path, source: ItemSource, to: Sequence[ItemTarget]) -> list[CollectionVerified]:
    async def run() -> list[CollectionVerified]:
        async with LedgerThread(place) as ledger, leased(ledger, source.key, to[0].key, 60.0) as lease:
            return await verify_items(ledger, source, to, lease, ItemPolicy())

    return asyncio.run(run())


def test_both_sides_are_compared_by_content(radicale: Radicale, person: str, ledger: Path) -> None:
    source = MemoryItems()
    for number in range(5):
        source.put(CALENDAR, replace(event(f"e{number}"), recurrence=Recurrence(Frequency.WEEKLY, weekdays=(6,))))
        source.put(CONTACTS, contact(f"c{number}"))
    copy(ledger, source, targets(radicale, person))
    done = verified(ledger, source, targets(radicale, person))
    assert [(one.score, one.compared, +one.findings) for one in done] == [(Score.PERFECT, 5, Counter())] * 2
    alter(radicale, person, "/e1.ics", b"a meeting", b"another")
    http(radicale, person, "DELETE", "contacts/c2.vcf")
    http(radicale, person, "PUT", "contacts/own.vcf", radicale.items(person)["contacts/c3.vcf"].replace(b"c3", b"own"))
    source.put(CONTACTS, contact("c9"))
    calendar, contacts = verified(ledger, source, targets(radicale, person))
    assert (calendar.score, +calendar.findings) == (Score.POOR, Counter(content=1))
    assert (contacts.score, +contacts.findings) == (
        Score.POOR,
        Counter({"missing": 1, "extra": 1, "arrived-since": 1}),
    )
    with closing(open_ledger(ledger)) as open_:
        assert [one.score for one in rows.collections(open_)] == ["Poor", "Poor"]


def test_what_people_did_goes_back_as_files(radicale: Radicale, person: str, ledger: Path, tmp_path: Path) -> None:
    source = MemoryItems()
    for uid in ("same", "changed", "removed"):
        source.put(CALENDAR, event(uid))
    copy(ledger, source, targets(radicale, person))
    alter(radicale, person, "/changed.ics", b"a meeting", b"by me")
    http(radicale, person, "DELETE", "calendar/removed.ics")
    http(
        radicale,
        person,
        "PUT",
        "calendar/new.ics",
        radicale.items(person)["calendar/same.ics"].replace(b"same", b"new"),
    )

    async def back() -> list[Returned]:
        to = targets(radicale, person)
        async with LedgerThread(ledger) as thread, leased(thread, source.key, to[0].key, 60.0) as lease:
            return await bring_back(thread, to, lease, tmp_path / "back")

    for _ in range(2):
        (one,) = asyncio.run(back())
        assert (one.written, one.removed) == (2, 1), "what was there before us is theirs, too"
        files = {path.name: path.read_bytes() for path in (tmp_path / "back" / "calendar").iterdir()}
        assert set(files) == {"changed.ics", "new.ics", "removed.txt"}
        assert b"by me" in files["changed.ics"]
        assert files["removed.txt"] == b"removed\n"
