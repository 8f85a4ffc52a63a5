"""Maildir trees under hard conditions: hostile links, no room, locks, a live server, kill -9. No server needed."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path as FilePath

import pytest

from mailferry.errors import ItemError, LocalProtocolError, Permanent, Temporary
from mailferry.model.account import MaildirAccount, MaildirFlavour
from mailferry.model.folder import INBOX, Folder
from mailferry.model.message import Date, Failed, Listed, Message, Reason
from mailferry.net.maildir_disk import Owner, dotlock
from mailferry.sources.maildir import MaildirSource
from mailferry.targets.base import Stored
from mailferry.targets.maildir import MaildirTarget, MaildirTargetSession
from tests.contract.stores import Sample, inbox, message, named, run, same_bytes, snapshot

ONE = Sample(b"Subject: one\r\n\r\nfirst\r\n", 1, ("Work",))


async def filled(account: MaildirAccount, *uids: int) -> MaildirTargetSession:
    session = await MaildirTarget(account).session()
    await session.select(await session.create(INBOX, None, 4711, 1))
    if uids:
        await session.append([message(uid, ONE) for uid in uids])
    return session


@pytest.fixture
def account(tmp_path: FilePath) -> MaildirAccount:
    return MaildirAccount(str(tmp_path / "Maildir"))


def test_links_do_not_lead_out_of_the_tree(account: MaildirAccount, tmp_path: FilePath) -> None:
    outside = tmp_path / "outside"
    for part in ("cur", "new", "tmp"):
        (outside / part).mkdir(parents=True)
    (outside / "cur" / "1.secret:2,").write_bytes(b"Subject: not his\n\n")
    root = FilePath(account.path)

    async def work() -> None:
        session = await filled(account, 1)
        (root / ".Linked").symlink_to(outside)
        (root / ".Half").mkdir()
        (root / ".Half" / "cur").symlink_to(outside / "cur")
        (root / ".Half" / "new").mkdir()
        (root / "cur" / "2.link:2,S").symlink_to(outside / "cur" / "1.secret:2,")
        before = snapshot(outside)
        folders = {folder.path: folder for folder in await session.folders()}
        for path in (("Linked",), ("Half",)):
            with pytest.raises(ItemError):
                await session.select(folders[path])
            with pytest.raises(ItemError):
                await session.create(path, None, 1, 1)
        for name in ("..", "../outside", "/etc", ".Linked/cur", "cur", ".a\0b"):
            with pytest.raises(ItemError):
                await session.select(Folder(("x",), name))
        await session.select(folders[INBOX])
        items = [item async for item in session.fetch([m.uid for m in (await session.listing()).messages])]
        assert [type(item) for item in items] == [Message, Failed]
        assert isinstance(items[1], Failed)
        assert items[1].reason is Reason.UNREADABLE
        assert snapshot(outside) == before
        await session.close()

    run(work())


def test_no_room_leaves_nothing_half_written(account: MaildirAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    left = 3

    def write(fd: int, data: memoryview) -> int:
        nonlocal left
        if len(data) > 10_000:
            left -= 1
            if left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.pwrite(fd, data, os.fstat(fd).st_size)

    async def work() -> None:
        session = await filled(account, 1)
        long = Sample(b"Subject: long\r\n\r\n" + b"x" * 20_000 + b"\r\n")
        with monkeypatch.context() as patch:
            patch.setattr("mailferry.net.maildir_disk.os.write", write)
            with pytest.raises(Permanent, match="no room"):
                await session.append([message(uid, long) for uid in range(2, 9)])
        await session.close()
        assert len(list((FilePath(account.path) / "cur").iterdir())) == 1
        assert not list((FilePath(account.path) / "tmp").iterdir())
        again = await filled(account)
        assert [m.uid for m in (await again.listing()).messages] == [1]
        results = await again.append([message(2, long)])
        assert results == [Stored(2)]
        await again.close()

    run(work())


def test_no_room_for_a_lock(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = os.open(tmp_path, os.O_DIRECTORY)
    owner = Owner(os.geteuid(), os.getegid(), 0o700)
    try:
        with monkeypatch.context() as patch:
            patch.setattr("mailferry.net.maildir_disk.os.write", write)
            with pytest.raises(OSError, match="No space left"), dotlock(folder, "a.lock", "a", owner):
                raise AssertionError("it has the lock")
        assert not list(tmp_path.iterdir())
    finally:
        os.close(folder)


@pytest.mark.parametrize(
    "data",
    [
        b"Subject: x\r\n\r\nodd\r\r\nend\r\n",
        b"Subject: x\r\n\r\n" + b"y" * 300_000 + b"\r\r\n" + b"z" * 300_000 + b"\r\nend",
        b"Subject: x\n\nbare\nlf\n",
        b"Subject: x\r\n\r\n\r",
        b"\r\n",
        b"",
        b"\0",
        b"Subject: x\r\n\r\n" + b"".join(b"%d\r\n" % n for n in range(200_000)),
    ],
)
def test_bytes_come_back_whatever_their_line_ends(account: MaildirAccount, data: bytes) -> None:
    async def work() -> None:
        session = await filled(account)
        (result,) = await session.append([message(1, Sample(data))])
        assert result == Stored(1)
        (got,) = [m async for m in session.fetch([1])]
        assert isinstance(got, Message)
        assert same_bytes(got.body, data)
        (headers,) = [h async for h in session.headers([1])]
        assert headers.size == got.body.size == len(b"".join(got.body.chunks()))
        got.body.close()
        await session.close()

    run(work())


class _Pieces:
    """A body that comes in the given pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    @property
    def size(self) -> int:
        return sum(map(len, self._pieces))

    def chunks(self) -> Iterator[bytes]:
        return iter(self._pieces)

    def close(self) -> None:
        """Holds nothing."""


def test_line_ends_cut_between_pieces(account: MaildirAccount) -> None:
    cases = [
        (b"Subject: a\r", b"\n\r", b"\nx\r", b"\n"),
        (b"Subject: a\r\n\r\nx\r", b"\r", b"\ny\r\n"),
        (b"Subject: a\r\n\r\nx\r", b"y\r"),
    ]

    async def work() -> None:
        session = await filled(account)
        bodies = [_Pieces(*pieces) for pieces in cases]
        await session.append([Message(n + 1, 0, (), Date(1), body) for n, body in enumerate(bodies)])
        got = [m async for m in session.fetch([1, 2, 3])]
        for m, pieces in zip(got, cases, strict=True):
            assert isinstance(m, Message)
            assert same_bytes(m.body, b"".join(pieces))
        names = sorted(file.name for file in (FilePath(account.path) / "cur").iterdir())
        stored = [(FilePath(account.path) / "cur" / name).stat().st_size for name in names]
        assert [f",S={size}," in name for size, name in zip(stored, names, strict=True)] == [True] * 3
        await session.close()

    run(work())


def test_a_live_server_renames_and_removes_meanwhile(account: MaildirAccount) -> None:
    root = FilePath(account.path)

    async def work() -> None:
        session = await filled(account, 1, 2, 3)
        source = await MaildirSource(account).session()
        await source.select(await inbox(source))
        listing = (await source.listing()).messages
        first, second, _ = sorted((root / "cur").iterdir())
        first.rename(first.with_name(first.name + "R"))
        second.unlink()
        got = [m async for m in source.fetch([m.uid for m in listing])]
        assert [(m.uid, m.flags) for m in got if isinstance(m, Message)] == [(1, 3), (3, 1)]
        assert [h.uid async for h in source.headers([1, 2, 3])] == [1, 3]
        await session.set_flags([Listed(1, 4), Listed(2, 4)])
        assert [(m.uid, m.flags) for m in (await session.listing()).messages] == [(1, 4), (3, 1)]
        await source.close()
        await session.close()

    run(work())


def test_a_lock_of_a_living_program_is_waited_for_and_one_of_a_dead_is_not(account: MaildirAccount) -> None:
    lock = FilePath(account.path) / "dovecot-uidlist.lock"

    async def append(uid: int) -> float:
        session = await filled(account)
        if uid == 2:
            threading.Timer(0.5, lock.unlink).start()
            lock.write_text(f"{os.getpid()}:{os.uname().nodename}")
        else:
            lock.write_text(f"{2**22 - 2}:{os.uname().nodename}")
        began = time.monotonic()
        assert await session.append([message(uid, ONE)]) == [Stored(uid)]
        waited = time.monotonic() - began
        await session.close()
        return waited

    assert run(append(2)) >= 0.4
    run(append(3))
    assert not lock.exists()


def test_a_lock_of_a_zombie_or_without_a_name_is_not_waited_for_long(account: MaildirAccount) -> None:
    lock = FilePath(account.path) / "dovecot-uidlist.lock"
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)

    async def append(uid: int, text: str) -> float:
        session = await filled(account)
        lock.write_text(text)
        began = time.monotonic()
        assert await session.append([message(uid, ONE)]) == [Stored(uid)]
        waited = time.monotonic() - began
        await session.close()
        return waited

    assert run(append(2, f"{zombie.pid}:{os.uname().nodename}")) < 60
    assert 1.5 < run(append(3, "")) < 60
    zombie.wait()
    assert not lock.exists()


def test_maildirsize_is_told(account: MaildirAccount) -> None:
    FilePath(account.path).mkdir()
    size = FilePath(account.path) / "maildirsize"
    size.write_text("1000000S\n")
    stored = len(ONE.data.replace(b"\r\n", b"\n"))

    async def work() -> None:
        session = await filled(account, 1, 2, 3)
        await session.remove([2])
        await session.close()

    run(work())
    assert size.read_text() == f"1000000S\n{3 * stored} 3\n{-stored} -1\n"


def test_owner_and_mode_are_the_trees_own(account: MaildirAccount) -> None:
    root = FilePath(account.path)
    root.mkdir(mode=0o750)
    owner = (10001, 10002) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(root, *owner)
    root.chmod(0o750)

    async def work() -> None:
        session = await filled(account, 1)
        folder = await session.create(("A", "B"), None, 1, 1)
        await session.subscribe(folder)
        await session.select(folder)
        await session.append([message(1, ONE)])
        await session.finish()
        await session.close()

    run(work())
    for path in root.rglob("*"):
        found = path.lstat()
        assert (found.st_uid, found.st_gid) == owner, path
        assert stat.S_IMODE(found.st_mode) == (0o750 if path.is_dir() else 0o640), path


def test_uids_of_a_plain_maildir_outlive_changes(tmp_path: FilePath) -> None:
    """The whole of law 3 for a source without any numbering: nothing remembered, nothing mixed up."""
    account = MaildirAccount(str(tmp_path), MaildirFlavour.QMAIL)
    for part in ("cur", "new", "tmp"):
        (tmp_path / part).mkdir()
    for n in range(50):
        (tmp_path / ("new" if n % 3 else "cur") / f"{1_700_000_000 + n // 5}.{n}.host").write_bytes(b"%d\n" % n)

    async def texts() -> dict[int, bytes]:
        source = await MaildirSource(account).session()
        await source.select(await inbox(source))
        uids = [m.uid for m in (await source.listing()).messages]
        got = {m.uid: b"".join(m.body.chunks()) async for m in source.fetch(uids) if isinstance(m, Message)}
        await source.close()
        return got

    before = run(texts())
    assert len(before) == 50
    for number, file in enumerate(sorted((tmp_path / "new").iterdir())):
        if number % 2:
            file.rename(tmp_path / "cur" / f"{file.name}:2,S")
        elif number % 3:
            file.unlink()
    (tmp_path / "new" / "1700000003.9999.host").write_bytes(b"later\n")
    after = run(texts())
    assert {uid: text for uid, text in after.items() if text != b"later\r\n"}.items() <= before.items()
    assert len(after) == len(list((tmp_path / "cur").iterdir())) + len(list((tmp_path / "new").iterdir()))


CHILD = """
import asyncio, sys
from mailferry.model.account import MaildirAccount, MaildirFlavour
from mailferry.model.folder import INBOX
from mailferry.model.message import Date, MemoryBody, Message
from mailferry.targets.maildir import MaildirTarget

async def main():
    session = await MaildirTarget(MaildirAccount(sys.argv[1], MaildirFlavour(sys.argv[2]))).session()
    await session.select(await session.create(INBOX, None, 4711, 1))
    for start in range(1, 10**6, 20):
        data = b"Subject: %d\\r\\n\\r\\n" + b"x" * 3000 + b"\\r\\n"
        chunk = [Message(uid, uid % 32, (), Date(uid), MemoryBody(data % uid)) for uid in range(start, start + 20)]
        for stored in await session.append(chunk):
            print(stored.uid, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("flavour", [MaildirFlavour.DOVECOT, MaildirFlavour.COURIER])
@pytest.mark.parametrize("moment", [0.05, 0.11, 0.17])
def test_kill_at_any_moment_loses_nothing_that_was_confirmed(
    account: MaildirAccount, flavour: MaildirFlavour, moment: float
) -> None:
    argv = [sys.executable, "-c", CHILD, account.path, flavour.value]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "src"}) as child:
        assert child.stdout is not None
        confirmed = [int(child.stdout.readline())]
        time.sleep(moment)
        child.send_signal(signal.SIGKILL)
        confirmed += [int(line) for line in child.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")]

    async def work() -> None:
        session = await MaildirTarget(MaildirAccount(account.path, flavour)).session()
        status = (await session.select(await inbox(session))).status
        listing = (await session.listing()).messages
        uids = [m.uid for m in listing]
        assert uids == list(range(1, len(uids) + 1))  # each once, in order, none left out
        assert set(confirmed) <= set(uids)
        assert (status.uidvalidity, status.uidnext) == (4711, uids[-1] + 1)
        async for m in session.fetch(uids):
            assert isinstance(m, Message)
            assert same_bytes(m.body, b"Subject: %d\r\n\r\n" % m.uid + b"x" * 3000 + b"\r\n")
            assert (m.flags, m.internal_date.epoch) == (m.uid % 32, m.uid)
        assert not list((FilePath(account.path) / "tmp").iterdir())
        await session.close()

    run(work())


class _Liar(_Pieces):
    @property
    def size(self) -> int:
        return 5


def test_a_chunk_after_a_failed_one_does_not_overtake_it(account: MaildirAccount) -> None:
    async def work() -> None:
        session = await filled(account, 1)
        bad = asyncio.create_task(session.append([Message(2, 0, (), Date(1), _Liar(b"only"))]))
        good = asyncio.create_task(session.append([message(3, ONE)]))
        with pytest.raises(LocalProtocolError, match="5 bytes gave 4"):
            await bad
        with pytest.raises((Temporary, LocalProtocolError)):
            await good
        with pytest.raises(Temporary, match="earlier"):
            await session.append([message(4, ONE)])
        await session.close()
        again = await filled(account)
        assert [m.uid for m in (await again.listing()).messages] == [1]
        await again.close()

    run(work())


def test_no_folder_is_left_out(account: MaildirAccount) -> None:
    """Names that no server makes, and two that mean the same, are shown; another layout is refused."""
    root = FilePath(account.path)

    async def work() -> None:
        session = await filled(account, 1)
        for name in (".a..b", ".Entw&APw-rfe", ".Entwürfe", ".no folder"):
            for part in ("cur", "new", "tmp") if name != ".no folder" else ("other",):
                (root / name / part).mkdir(parents=True)
        source = await MaildirSource(account).session()
        folders = await source.folders()
        assert {f.path for f in folders} == {INBOX, (".a..b",), ("Entwürfe",), (".Entwürfe",)}
        for folder in folders:
            await source.select(folder)
        (root / "Folder" / "cur").mkdir(parents=True)
        with pytest.raises(Permanent, match=r"Maildir\+\+"):
            await source.folders()
        await source.close()
        await session.close()

    run(work())


def test_named_folders_are_found_again(account: MaildirAccount) -> None:
    async def work() -> None:
        session = await filled(account)
        made = await session.create(("Ä", "B & C"), None, 9, 1)
        assert (await named(session, ("Ä", "B & C"))).name == made.name
        await session.close()

    run(work())
