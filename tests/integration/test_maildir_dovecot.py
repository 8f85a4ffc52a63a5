"""A Maildir that we wrote, opened by Dovecot; a Maildir that Dovecot wrote, read by us; both at once."""

from __future__ import annotations

import imaplib
import os
import poplib
import re
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path as FilePath

import pytest

from lab.corpus import dovecot_view, messages, odd_messages
from lab.dovecot import Dovecot
from lab.process import PASSWORD
from mailferry.model.account import MaildirAccount
from mailferry.model.folder import INBOX, Path
from mailferry.model.message import Date, Listed, Message
from mailferry.sources.imap import ImapSource
from mailferry.sources.maildir import MaildirSource
from mailferry.targets.base import Stored
from mailferry.targets.maildir import MaildirTarget, MaildirTargetSession
from tests.contract.stores import (
    FLAG_NAMES,
    Sample,
    fill_imap,
    imap,
    imap_account,
    inbox,
    message,
    named,
    reader,
    run,
    same_bytes,
    wire_name,
)

Home = tuple[str, MaildirAccount]

FOLDERS: list[Path] = [INBOX, ("Größe & Maß",), ("Größe & Maß", "Проекты"), ("Empty",)]


def corpus() -> list[Sample]:
    """Ordinary and odd messages with every flag and several keywords."""
    found = [*messages(7, 40, scale=0.2, big=False), *odd_messages()]
    words = ("Work", "$Forwarded", "x-1")
    return [
        Sample(m.body, n % 32, tuple(w for k, w in enumerate(words) if n >> k & 1), Date(m.internal_date))
        for n, m in enumerate(found)
    ]


@pytest.fixture
def home(dovecot_open: Dovecot, new_user: Callable[[], str]) -> Home:
    """A user of the lab's Dovecot and his Maildir, not made yet."""
    user = new_user()
    place = dovecot_open.maildir(user)
    place.parent.mkdir(parents=True)
    os.chown(place.parent, *dovecot_open.owner)
    return user, MaildirAccount(str(place), owner=dovecot_open.owner)


@pytest.fixture
def quiet(dovecot_open: Dovecot) -> Callable[[], None]:
    """Asserts that Dovecot has complained of nothing since the test began."""
    start = len(dovecot_open.log())

    def check() -> None:
        said = dovecot_open.log()[start:]
        assert not re.search(r"Error|Warning|Panic|Fatal|uidlist|Broken|corrupt", said), said

    return check


async def target(account: MaildirAccount) -> MaildirTargetSession:
    return await MaildirTarget(account).session()


def seen(connection: imaplib.IMAP4, uids: str = "1:*") -> dict[int, tuple[set[str], datetime, int, bytes]]:
    """Flags, internal date, size and bytes by uid, as Dovecot tells them to imaplib."""
    found = {}
    answers = connection.uid("FETCH", uids, "(FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])")[1]
    for answer in answers:
        if isinstance(answer, tuple):
            line = answer[0].decode()
            uid, size = re.search(r"UID (\d+)", line), re.search(r"RFC822.SIZE (\d+)", line)
            flags, date = re.search(r"FLAGS \(([^)]*)\)", line), re.search(r'INTERNALDATE "([^"]+)"', line)
            assert uid and size and flags and date
            when = parsedate_to_datetime(date[1].strip().replace("-", " "))
            found[int(uid[1])] = (set(flags[1].split()) - {"\\Recent"}, when, int(size[1]), answer[1])
    return found


def expected_flags(sample: Sample) -> set[str]:
    return {name for flag, name in FLAG_NAMES.items() if sample.flags & flag} | set(sample.keywords)


def test_dovecot_sees_what_we_wrote(dovecot_open: Dovecot, home: Home, quiet: Callable[[], None]) -> None:
    user, account = home
    samples = corpus()
    uids = [3 * n + 5 for n in range(len(samples))]

    async def write() -> None:
        session = await target(account)
        for number, path in enumerate(FOLDERS):
            folder = await session.create(path, None, 4000 + number, 900)
            await session.select(folder)
            await session.subscribe(folder)
            if path != ("Empty",):
                half = len(samples) // 2
                given = [message(uid, sample) for uid, sample in zip(uids, samples, strict=True)]
                results = [*await session.append(given[:half]), *await session.append(given[half:])]
                assert [r.uid for r in results if isinstance(r, Stored)] == uids
        await session.finish()
        await session.close()

    run(write())
    with imap(dovecot_open.port, user) as connection:
        lsub = [line.decode() for line in connection.lsub()[1] if isinstance(line, bytes)]
        for number, path in enumerate(FOLDERS):
            name = f'"{wire_name(path, ".", "")}"'
            assert any(wire_name(path, ".", "") in line for line in lsub), (path, lsub)
            connection.select(name, readonly=True)
            assert connection.response("UIDVALIDITY")[1] == [str(4000 + number).encode()]
            assert connection.response("UIDNEXT")[1] == [b"900"]
            if path == ("Empty",):
                continue
            found = seen(connection)
            assert sorted(found) == uids
            for uid, sample in zip(uids, samples, strict=True):
                flags, date, size, data = found[uid]
                assert flags == expected_flags(sample)
                assert date == datetime.fromtimestamp(sample.date.epoch, UTC)
                assert data == dovecot_view(sample.data)
                assert size == len(data)
    quiet()


def test_dovecot_and_we_write_in_turns(dovecot_open: Dovecot, home: Home, quiet: Callable[[], None]) -> None:
    user, account = home
    one, two = Sample(b"Subject: one\r\n\r\n1\r\n", 0, ("Work",)), Sample(b"Subject: two\r\n\r\n2\r\n", 1, ("Later",))

    async def work() -> None:
        session = await target(account)
        folder = await session.create(INBOX, None, 4711, 1)
        await session.select(folder)
        await session.append([message(5, one)])
        with imap(dovecot_open.port, user) as connection:
            connection.select("INBOX")
            assert sorted(seen(connection)) == [5]
            connection.append("INBOX", "(\\Flagged Theirs)", imaplib.Time2Internaldate(1_400_000_000), two.data)
            results = await session.append([message(6, two), message(9, one)])
            assert [r.uid for r in results if isinstance(r, Stored)] == [7, 9]
            connection.uid("STORE", "5", "+FLAGS", "(\\Answered Mine)")
            connection.noop()
            assert sorted(seen(connection)) == [5, 6, 7, 9]
            listing = {m.uid: m for m in (await session.listing()).messages}
            assert listing[5] == Listed(5, 2, ("Mine", "Work"))
            assert listing[6] == Listed(6, 4, ("Theirs",))
            await session.set_flags([Listed(5, 1, ("Theirs", "New"))])
            assert await session.remove([7]) == []
            connection.noop()
            found = seen(connection)
            assert found[5][0] == {"\\Seen", "Theirs", "New"}
            assert sorted(found) == [5, 6, 9]
            connection.uid("STORE", "9", "+FLAGS", "\\Deleted")
            connection.expunge()
        assert [m.uid for m in (await session.listing()).messages] == [5, 6]
        assert [m.uid async for m in session.fetch([5, 6, 7, 9])] == [5, 6]
        await session.finish()
        await session.close()

    run(work())
    quiet()


def test_what_a_killed_run_left_is_entered_or_removed(
    dovecot_open: Dovecot, home: Home, quiet: Callable[[], None]
) -> None:
    """State 1 and state 2 of `net/maildir_write`, and a uidlist whose last line is cut short."""
    user, account = home
    root = FilePath(account.path)

    async def fill() -> None:
        session = await target(account)
        await session.select(await session.create(INBOX, None, 4711, 1))
        await session.append([message(uid, Sample(b"Subject: %d\r\n\r\nx\r\n" % uid)) for uid in (3, 5, 8, 9)])
        await session.close()

    async def resume() -> list[int]:
        session = await target(account)
        selected = await session.select(await inbox(session))
        uids = [m.uid for m in (await session.listing()).messages]
        assert selected.status.uidnext == 10
        for m, uid in zip([m async for m in session.fetch(uids)], uids, strict=True):
            assert isinstance(m, Message)
            assert same_bytes(m.body, b"Subject: %d\r\n\r\nx\r\n" % uid)
        await session.close()
        return uids

    run(fill())
    uidlist = root / "dovecot-uidlist"
    header, first, second, *_ = uidlist.read_bytes().splitlines(keepends=True)
    uidlist.write_bytes(header + first + second[:20])
    names = [re.sub(r"P\d+F", f"P{_dead_pid()}F", file.name) for file in (root / "cur").iterdir()]
    for file, name in zip(list((root / "cur").iterdir()), names, strict=True):
        file.rename(root / "cur" / name)
    uidlist.write_bytes(header + re.sub(rb"P\d+F", b"P%dF" % _dead_pid(), first) + second[:20])
    (root / "tmp" / names[0].partition(",")[0].replace("U3.", "U77.")).write_bytes(b"half a mess")
    (root / "tmp" / f"1.M1P{os.getpid()}F1U1.{os.uname().nodename}").write_bytes(b"of a living process")
    (root / "tmp" / "1.M1P1.other").write_bytes(b"of another program")
    assert run(resume()) == [3, 5, 8, 9]
    assert sorted(file.read_bytes()[:9] for file in (root / "tmp").iterdir()) == [b"of a livi", b"of anothe"]
    with imap(dovecot_open.port, user) as connection:
        connection.select("INBOX", readonly=True)
        assert sorted(seen(connection)) == [3, 5, 8, 9]
    quiet()


def _dead_pid() -> int:
    return 2**22 - 2  # above any pid that Linux gives by default on the lab's machines


def test_a_backup_of_dovecot_goes_on_with_the_live_server(
    dovecot_open: Dovecot, new_user: Callable[[], str], tmp_path: FilePath
) -> None:
    user = new_user()
    samples = [Sample(b"Subject: %d\r\n\r\nx\r\n" % n, n % 32, ("Work",) * (n % 2)) for n in range(20)]
    fill_imap(dovecot_open.port, user, {INBOX: samples, ("Größe",): samples[:3]}, separator=".")
    with imap(dovecot_open.port, user) as connection:
        connection.select("INBOX")
        connection.uid("STORE", "4,7,20", "+FLAGS", "\\Deleted")
        connection.expunge()

    async def listed(source: MaildirSource | ImapSource) -> list[tuple[Path, int, int, list[Listed]]]:
        session = await reader(source)
        found = []
        for path in (INBOX, ("Größe",)):
            status = (await session.select(await named(session, path))).status
            found.append((path, status.uidvalidity, status.uidnext, (await session.listing()).messages))
        return found

    backup = MaildirSource(MaildirAccount(str(dovecot_open.maildir(user))))
    live = ImapSource(imap_account(dovecot_open.port, user))
    assert run(listed(backup)) == run(listed(live))


def test_uidls_are_kept_for_pop3_clients(dovecot_open: Dovecot, home: Home, quiet: Callable[[], None]) -> None:
    user, account = home
    wanted = {4: "AAQkADU4-exchange.1", 7: "AAQkADU4-exchange.2"}

    async def work() -> None:
        session = await target(account)
        folder = await session.create(INBOX, None, 4711, 1)
        await session.select(folder)
        await session.append([message(uid, Sample(b"Subject: %d\r\n\r\nx\r\n" % uid)) for uid in (4, 7, 9)])
        assert await session.keep_uidls(folder, {**wanted, 9: "has a space", 11: "gone"}) == [9, 11]
        await session.append([message(12, Sample(b"Subject: 12\r\n\r\nx\r\n"))])
        await session.close()
        source = await MaildirSource(account).session()
        found = await source.uidls(3)
        assert [(u.text, u.block.strip()) for u in found] == [(wanted[7], b"Subject: 7")]
        assert [u.text for u in await source.uidls(100)] == list(wanted.values())
        await source.close()

    run(work())
    with closing(poplib.POP3("127.0.0.1", dovecot_open.pop3_port, timeout=30)) as pop:
        pop.user(user)
        pop.pass_(PASSWORD)
        uidls = [line.decode().split(" ", 1)[1] for line in pop.uidl()[1]]
        pop.quit()
    assert uidls[:2] == list(wanted.values())
    assert len(set(uidls)) == 4
    quiet()


def test_acls_that_we_write_are_dovecots(dovecot_open: Dovecot, home: Home, quiet: Callable[[], None]) -> None:
    user, account = home

    async def work() -> None:
        session = await target(account)
        folder = await session.create(("Shared",), None, 4711, 1)
        await session.set_acl(folder, {"boss": "lrs", "anyone": "l", "$staff": "lrwst"})
        await session.close()

    run(work())
    with imap(dovecot_open.port, user) as connection:
        answer = connection.getacl("Shared")[1][0]
        assert isinstance(answer, bytes)
    found = answer.decode().replace('"', "").split()
    rights = dict(zip(found[1::2], found[2::2], strict=True))
    assert (rights["boss"], rights["anyone"], set(rights["$staff"]) - {"d"}) == ("lrs", "l", set("lrwst"))
    quiet()


def test_more_keywords_than_dovecot_can_hold(dovecot_open: Dovecot, home: Home, quiet: Callable[[], None]) -> None:
    user, account = home

    async def work() -> None:
        session = await target(account)
        folder = await session.create(INBOX, None, 4711, 1)
        assert (await session.select(folder)).new_keywords
        await session.append([message(n + 1, Sample(b"Subject: x\r\n\r\nx\r\n", 1, (f"word{n}",))) for n in range(30)])
        selected = await session.select(folder)
        assert not selected.new_keywords
        assert selected.keywords == {f"word{n}" for n in range(26)}
        await session.close()

    run(work())
    with imap(dovecot_open.port, user) as connection:
        connection.select("INBOX", readonly=True)
        found = seen(connection)
    assert [found[n + 1][0] for n in range(30)] == [{"\\Seen", f"word{n}"} if n < 26 else {"\\Seen"} for n in range(30)]
    quiet()
