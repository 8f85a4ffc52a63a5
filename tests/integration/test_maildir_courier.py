"""A Maildir that we wrote, opened by Courier; one that Courier wrote, read by us."""

from __future__ import annotations

import imaplib
import os
import re
from collections.abc import Callable

import pytest

from lab.courier import Courier
from mailferry.model.account import MaildirAccount, MaildirFlavour
from mailferry.model.folder import INBOX, Path
from mailferry.model.message import Date, Listed
from mailferry.sources.imap import ImapSource
from mailferry.sources.maildir import MaildirSource
from mailferry.targets.base import Stored
from mailferry.targets.maildir import MaildirTarget
from tests.contract.stores import (
    Sample,
    fill_imap,
    imap,
    imap_account,
    message,
    named,
    reader,
    run,
    wire_name,
)
from tests.integration.test_maildir_dovecot import expected_flags, seen

Home = tuple[str, MaildirAccount]


@pytest.fixture
def home(courier: Courier, new_user: Callable[[], str]) -> Home:
    """A user of the lab's Courier and his Maildir, not made yet."""
    user = new_user()
    place = courier.maildir(user)
    place.parent.mkdir(parents=True)
    os.chown(place.parent, *courier.owner)
    return user, MaildirAccount(str(place), MaildirFlavour.COURIER, courier.owner)


SAMPLES = [
    Sample(b"Subject: %d\r\n\r\n%s\r\n" % (n, b"x" * n), n, ("Work", "$Forwarded")[: n % 3], Date(1_400_000_000 + n))
    for n in range(32)
]
FOLDERS: list[Path] = [INBOX, ("Größe & Maß",), ("Größe & Maß", "Проекты")]


def courier_name(path: Path) -> str:
    return f'"{wire_name(path, ".", "INBOX.")}"'


def test_courier_sees_what_we_wrote(courier: Courier, home: Home) -> None:
    user, account = home
    uids = [2 * n + 7 for n in range(len(SAMPLES))]

    async def write() -> None:
        session = await MaildirTarget(account).session()
        for number, path in enumerate(FOLDERS):
            folder = await session.create(path, None, 4000 + number, 900)
            await session.select(folder)
            await session.subscribe(folder)
            results = await session.append([message(uid, s) for uid, s in zip(uids, SAMPLES, strict=True)])
            assert [r.uid for r in results if isinstance(r, Stored)] == uids
        await session.finish()
        await session.close()

    run(write())
    with imap(courier.port, user) as connection:
        lsub = [line.decode() for line in connection.lsub()[1] if isinstance(line, bytes)]
        for number, path in enumerate(FOLDERS):
            assert any(courier_name(path) in line for line in lsub), (path, lsub)
            connection.select(courier_name(path), readonly=True)
            assert connection.response("UIDVALIDITY")[1] == [str(4000 + number).encode()]
            assert connection.response("UIDNEXT")[1] in ([b"900"], [None])
            found = seen(connection)
            assert sorted(found) == uids
            for uid, sample in zip(uids, SAMPLES, strict=True):
                flags, date, size, data = found[uid]
                assert flags == expected_flags(sample)
                assert date.timestamp() == sample.date.epoch
                assert data == sample.data
                assert size == len(data)
    assert "ERR" not in courier.log()


def test_courier_and_we_write_in_turns(courier: Courier, home: Home) -> None:
    user, account = home

    async def work() -> None:
        session = await MaildirTarget(account).session()
        await session.select(await session.create(INBOX, None, 4711, 1))
        await session.append([message(5, SAMPLES[2])])
        with imap(courier.port, user) as connection:
            connection.select("INBOX")
            assert sorted(seen(connection)) == [5]
            connection.append("INBOX", "(\\Flagged Theirs)", imaplib.Time2Internaldate(1_400_000_000), SAMPLES[3].data)
            results = await session.append([message(6, SAMPLES[4]), message(9, SAMPLES[5])])
            assert [r.uid for r in results if isinstance(r, Stored)] == [7, 9]
            connection.uid("STORE", "5", "+FLAGS", "(\\Answered Mine)")
            connection.noop()
            listing = {m.uid: m for m in (await session.listing()).messages}
            assert listing[5] == Listed(5, 2, ("$Forwarded", "Mine", "Work"))
            assert listing[6] == Listed(6, 4, ("Theirs",))
            await session.set_flags([Listed(5, 1, ("New",))])
            assert await session.remove([7]) == []
            connection.noop()
            found = seen(connection)
            assert sorted(found) == [5, 6, 9]
            assert found[5][0] == {"\\Seen", "New"}
        await session.close()

    run(work())


def test_a_backup_of_courier_goes_on_with_the_live_server(courier: Courier, new_user: Callable[[], str]) -> None:
    user = new_user()
    fill_imap(courier.port, user, {INBOX: SAMPLES, ("Größe",): SAMPLES[:3]}, separator=".", prefix="INBOX.")
    with imap(courier.port, user) as connection:
        connection.select("INBOX")
        connection.uid("STORE", "4,7,32", "+FLAGS", "\\Deleted")
        connection.expunge()

    async def listed(source: MaildirSource | ImapSource) -> list[tuple[Path, int, list[Listed]]]:
        session = await reader(source)
        found = []
        for path in (INBOX, ("Größe",)):
            status = (await session.select(await named(session, path))).status
            found.append((path, status.uidvalidity, (await session.listing()).messages))
        return found

    backup = MaildirSource(MaildirAccount(str(courier.maildir(user)), MaildirFlavour.COURIER))
    live = ImapSource(imap_account(courier.port, user))
    assert run(listed(backup)) == run(listed(live))


def test_uidls_in_couriers_list(home: Home) -> None:
    """Courier's POP3 server forms UIDLs from two numbers (pop3dserver.C, print_uidl); others cannot be kept."""
    _, account = home

    async def work() -> None:
        session = await MaildirTarget(account).session()
        folder = await session.create(INBOX, None, 4711, 1)
        await session.select(folder)
        await session.append([message(uid, SAMPLES[uid]) for uid in (4, 7, 9)])
        assert await session.keep_uidls(folder, {4: "UID12-1700000000", 7: "UID3", 9: "AAQk-exchange"}) == [9]
        await session.close()
        source = await MaildirSource(account).session()
        assert [u.text for u in await source.uidls(9)] == ["UID12-1700000000", "UID3"]
        await source.close()

    run(work())
    with open(f"{account.path}/courierpop3dsizelist", encoding="ascii") as file:
        lines = file.read().splitlines()
    assert re.fullmatch(r"/3 \d+ \d+", lines[0])
    assert [line.rsplit(" ", 2)[1:] for line in lines[1:]] == [
        [str(len(SAMPLES[4].data)), "12:1700000000:0"],
        [str(len(SAMPLES[7].data)), "3:0:0"],
    ]
