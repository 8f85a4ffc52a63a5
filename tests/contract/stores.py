"""What the contract suites run on: every kind of store, each made empty or filled for one test.

Sources are filled by other hands than ours (Python's imaplib, files written here), so that a mistake shared by our
reading and our writing shows. `Traits` say what a store can hold, never that a sentence of the contract is optional.
"""

from __future__ import annotations

import asyncio
import imaplib
import os
import shutil
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path as FilePath
from typing import Any, TypeVar

from lab import process
from lab.fake_ews_store import FakeExchange, FakeFolder
from lab.fake_ews_store import message as fake_message
from mailferry.model.account import ImapAccount, MaildirAccount, MaildirFlavour, Tls
from mailferry.model.folder import INBOX, Folder, Path
from mailferry.model.message import ALL_FLAGS, Body, Date, Flag, MemoryBody, Message, digest
from mailferry.secret import Secret
from mailferry.sources.base import Source, SourceSession
from mailferry.targets.base import Target, TargetSession
from mailferry.wire.imap import utf7

T = TypeVar("T")

SUMMER = Date(1_500_000_000, 120)

FLAG_NAMES = {
    Flag.SEEN: "\\Seen",
    Flag.ANSWERED: "\\Answered",
    Flag.FLAGGED: "\\Flagged",
    Flag.DRAFT: "\\Draft",
    Flag.DELETED: "\\Deleted",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A message to put into a store."""

    data: bytes
    flags: int = 0
    keywords: tuple[str, ...] = ()
    date: Date = SUMMER


@dataclass(frozen=True, slots=True)
class SourceCase:
    """A source filled with the samples. `tree`: where its files are, if it is read from files. `flags`: those it can
    hold."""

    source: Source
    keywords: bool = True
    flags: int = ALL_FLAGS
    tree: FilePath | None = None


@dataclass(frozen=True, slots=True)
class TargetCase:
    """An empty target, and what it can hold.

    `keeps_uids`: as a store that we write ourselves. `refuses`: a body that it does not take, `refuses_kinds` odd
    messages likewise, `changes` those that it alters. `implies_parents`: a folder's parents need not be folders.
    `told_late`: a session learns only at the next listing what other sessions removed.
    """

    target: Target
    keeps_uids: bool = False
    keywords: bool = True
    acl: bool = False
    metadata: bool = False
    refuses: bytes | None = None
    refuses_kinds: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()
    implies_parents: bool = False
    told_late: bool = False
    in_memory: bool = False


_open: list[SourceSession] = []


async def reader(source: Source) -> SourceSession:
    """A session that `run` closes."""
    _open.append(await source.session())
    return _open[-1]


async def writer(target: Target) -> TargetSession:
    """A session that `run` closes."""
    session = await target.session()
    _open.append(session)
    return session


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, and close the sessions even when it fails."""

    async def whole() -> T:
        try:
            return await work
        finally:
            while _open:
                await _open.pop().close()

    return asyncio.run(whole())


def message(uid: int, sample: Sample) -> Message:
    return Message(uid, sample.flags, sample.keywords, sample.date, MemoryBody(sample.data))


def same_bytes(body: Body, data: bytes) -> bool:
    return digest(body) == digest(MemoryBody(data))


async def inbox(session: SourceSession) -> Folder:
    return next(folder for folder in await session.folders() if folder.path == INBOX)


async def named(session: SourceSession, path: Path) -> Folder:
    return next(folder for folder in await session.folders() if folder.path == path)


async def made(session: TargetSession, path: Path = INBOX, uidvalidity: int = 77, uidnext: int = 1) -> Folder:
    """The folder, created and selected."""
    folder = await session.create(path, None, uidvalidity, uidnext)
    await session.select(folder)
    return folder


def imap_account(port: int, user: str) -> ImapAccount:
    return ImapAccount("127.0.0.1", port, user, Secret(process.PASSWORD), tls=Tls.NONE)


@contextmanager
def imap(port: int, user: str) -> Iterator[imaplib.IMAP4]:
    connection = imaplib.IMAP4("127.0.0.1", port, timeout=30)
    connection.login(user, process.PASSWORD)
    try:
        yield connection
    finally:
        with suppress(imaplib.IMAP4.abort):
            connection.logout()


def wire_name(path: Path, separator: str, prefix: str) -> str:
    name = separator.join(utf7.encode(level).decode() for level in path)
    return name if path == INBOX else prefix + name


def fill_imap(
    port: int,
    user: str,
    folders: Mapping[Path, Sequence[Sample]],
    *,
    separator: str,
    prefix: str = "",
) -> None:
    """Append by imaplib; every folder but INBOX is created and subscribed."""
    with imap(port, user) as connection:
        for path, samples in folders.items():
            name = f'"{wire_name(path, separator, prefix)}"'
            if path != INBOX:
                check(connection.create(name))
                check(connection.subscribe(name))
            for sample in samples:
                flags = [text for flag, text in FLAG_NAMES.items() if sample.flags & flag]
                date = imaplib.Time2Internaldate(sample.date.epoch)
                check(connection.append(name, f"({' '.join([*flags, *sample.keywords])})", date, sample.data))


def check(answer: tuple[str, list[Any]]) -> None:
    assert answer[0] == "OK", answer


def fill_ews(exchange: FakeExchange, user: str, folders: Mapping[Path, Sequence[Sample]]) -> None:
    """Into a new mailbox of the fake Exchange; folders beside INBOX are made."""
    mailbox = exchange.add(user, process.PASSWORD)
    places: dict[Path, FakeFolder] = {INBOX: mailbox.known("inbox")}
    for path, samples in folders.items():
        for depth in range(1, len(path) + 1):
            if path[:depth] not in places:
                places[path[:depth]] = mailbox.add_folder(path[depth - 1], parent=places.get(path[: depth - 1]))
        for one in samples:
            mailbox.add(
                places[path],
                fake_message(
                    one.data,
                    received=datetime.fromtimestamp(one.date.epoch, UTC),
                    read=bool(one.flags & Flag.SEEN),
                    draft=bool(one.flags & Flag.DRAFT),
                    flagged=bool(one.flags & Flag.FLAGGED),
                    verb=102 if one.flags & Flag.ANSWERED else 104 if "$Forwarded" in one.keywords else 0,
                    categories=[word for word in one.keywords if word != "$Forwarded"],
                ),
            )


def fill_maildir(root: FilePath, folders: Mapping[Path, Sequence[Sample]]) -> None:
    """Plain Maildir++ as qmail's tools make it, without side files or sizes."""
    for number, (path, samples) in enumerate(folders.items()):
        place = root if path == INBOX else root / ("." + wire_name(path, ".", ""))
        for part in ("tmp", "new", "cur"):
            (place / part).mkdir(parents=True)
        for index, sample in enumerate(samples):
            letters = "".join(
                letter for letter, flag in zip("DFRST", (8, 4, 2, 1, 16), strict=True) if sample.flags & flag
            )
            file = place / "cur" / f"{1_600_000_000 + index}.{number}{index}.host:2,{letters}"
            file.write_bytes(sample.data.replace(b"\r\n", b"\n"))
            os.utime(file, (sample.date.epoch, sample.date.epoch))
    subscribed = [f"INBOX.{wire_name(path, '.', '')}\n" for path in folders if path != INBOX]
    (root / "courierimapsubscribed").write_text("".join(subscribed))


def snapshot(root: FilePath) -> dict[str, tuple[int, int, int]]:
    """Every file with inode, size and time: differs after any change of the tree."""
    found = {}
    for path in [root, *sorted(root.rglob("*"))]:
        stat = path.lstat()
        found[str(path)] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return found


def copy_of(tree: FilePath, to: FilePath) -> FilePath:
    """A backup of a Maildir, times kept."""
    shutil.copytree(tree, to, symlinks=True)
    return to


def maildir(path: FilePath, flavour: MaildirFlavour) -> MaildirAccount:
    return MaildirAccount(str(path), flavour)
