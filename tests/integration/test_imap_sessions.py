"""IMAP sessions against real servers, for what the contract's suite does not ask: log-ins, TLS, COMPRESS, servers that
offer little, large messages, memory, round trips."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest

from lab.cyrus import Cyrus
from lab.dovecot import MASTER, MASTER_PASSWORD, Dovecot
from lab.process import PASSWORD
from mailferry.errors import AuthError
from mailferry.model.account import ImapAccount, Mechanism, Tls
from mailferry.model.folder import INBOX, Folder, SpecialUse
from mailferry.model.message import Date, Failed, Listed, MemoryBody, Message, Reason
from mailferry.net.imap import connection as connecting
from mailferry.net.imap.probe import probe
from mailferry.net.spool import FileBody, Spool
from mailferry.secret import Secret
from mailferry.sources.imap import ImapSource
from mailferry.targets.base import Stored
from mailferry.targets.imap import ImapTarget, ImapTargetSession

A = TypeVar("A")
NewUser = Callable[[], str]
INBOX_FOLDER = Folder(INBOX, "INBOX")

PLAIN_REV1 = "IMAP4rev1 UIDPLUS"
"""A server without LITERAL+, MULTIAPPEND, NAMESPACE, CONDSTORE: it must still work."""


@pytest.fixture(scope="module")
def dovecot_plain() -> Iterator[Dovecot]:
    with Dovecot(flavour="open", capability=PLAIN_REV1) as server:
        yield server


def account(server: Dovecot, user: str, tls: Tls = Tls.NONE) -> ImapAccount:
    port = server.tls_port if tls is Tls.IMPLICIT else server.port
    return ImapAccount(server.host, port, user, Secret(PASSWORD), tls=tls, ca_file=str(server.ca_file), timeout=20)


def run(work: Awaitable[A]) -> A:
    async def main() -> A:
        return await work

    return asyncio.run(asyncio.wait_for(main(), 60))


def message(uid: int, body: bytes, flags: int = 0, keywords: tuple[str, ...] = ()) -> Message:
    return Message(uid, flags, keywords, Date(1_700_000_000 + uid, 120), MemoryBody(body))


def text(number: int, size: int = 100) -> bytes:
    return b"Subject: number %d\r\n\r\n%s\r\n" % (number, b"x" * size)


async def opened(who: ImapAccount) -> ImapTargetSession:
    session = await ImapTarget(who).session()
    await session.select(INBOX_FOLDER)
    return session


async def bodies(session: ImapTargetSession) -> dict[int, bytes]:
    found = {}
    uids = [listed.uid for listed in (await session.listing()).messages]
    async for item in session.fetch(uids):
        assert isinstance(item, Message)
        found[item.uid] = b"".join(item.body.chunks())
        item.body.close()
    return found


@pytest.mark.parametrize("tls", list(Tls))
def test_each_way_to_protect_a_connection(dovecot_open: Dovecot, new_user: NewUser, tls: Tls) -> None:
    seen = run(probe(account(dovecot_open, new_user(), tls)))
    assert seen.quirks == "dovecot"
    assert (seen.tls is None) == (tls is Tls.NONE)
    assert any("not encrypted" in warning for warning in seen.warnings) == (tls is Tls.NONE)
    assert (seen.folders, seen.messages, seen.separator) == (1, 0, ".")


@pytest.mark.parametrize("mechanism", [Mechanism.AUTO, Mechanism.PLAIN, Mechanism.LOGIN])
@pytest.mark.parametrize("user", ["plain", "with space", 'q"uote\\', "ümläut"])
def test_each_mechanism(dovecot_open: Dovecot, mechanism: Mechanism, user: str) -> None:
    who = dataclasses.replace(account(dovecot_open, user), mechanism=mechanism)
    assert run(probe(who)).folders == 1


def test_an_admin_for_somebody_else(dovecot_exchange: Dovecot) -> None:
    own = account(dovecot_exchange, "u41")

    async def work() -> list[dict[int, bytes]]:
        session = await opened(own)
        await session.append([message(1, text(41))])
        await session.close()
        found = []
        secret = Secret(MASTER_PASSWORD)
        for who in (
            dataclasses.replace(own, admin=MASTER, secret=secret),
            dataclasses.replace(own, user=f"LAB\\{MASTER}\\u41", secret=secret),
        ):
            session = await opened(who)
            found.append(await bodies(session))
            await session.close()
        return found

    assert run(work()) == [{1: text(41)}] * 2


def test_a_wrong_password(dovecot_open: Dovecot) -> None:
    who = dataclasses.replace(account(dovecot_open, "u1"), secret=Secret("wrong-secret"))
    for mechanism in (Mechanism.PLAIN, Mechanism.LOGIN):
        with pytest.raises(AuthError) as caught:
            run(ImapSource(dataclasses.replace(who, mechanism=mechanism)).session())
        assert "wrong-secret" not in f"{caught.value} {caught.value.about} {caught.value.advice}"


def test_compression(dovecot_open: Dovecot, new_user: NewUser) -> None:
    who = account(dovecot_open, new_user(), Tls.IMPLICIT)
    sent = {number: text(number, 50_000) for number in range(1, 40)}

    async def work() -> tuple[dict[int, bytes], int]:
        session = await ImapTarget(who, compress=True).session()
        await session.select(INBOX_FOLDER)
        await session.append([message(uid, body) for uid, body in sent.items()])
        found = await bodies(session)
        await session.close()
        return found, session.connection.stream.received + session.connection.stream.sent

    found, moved = run(work())
    assert found == sent
    assert moved < 200_000, "four megabytes of x are few bytes on the wire"


def test_a_server_that_offers_little(dovecot_plain: Dovecot, new_user: NewUser) -> None:
    async def work() -> None:
        session = await ImapTarget(account(dovecot_plain, new_user())).session()
        assert "LITERAL+" not in session.connection.capabilities
        made = await session.create(("Größe", "x"), SpecialUse.SENT, None, None)
        await session.subscribe(made)
        await session.select(made)
        first, second = await asyncio.gather(
            session.append([message(1, text(1), 1, ("$Forwarded",)), message(2, b""), message(3, text(3))]),
            session.append([message(4, text(4))]),
        )
        assert [one.uid for one in first if isinstance(one, Stored)] == [1, 2]
        assert isinstance(first[1], Failed)
        assert second == [Stored(3)]
        assert await bodies(session) == {1: text(1), 2: text(3), 3: text(4)}
        folder = next(one for one in await session.folders() if one.path == ("Größe", "x"))
        assert folder.subscribed
        assert folder.status is not None
        assert folder.status.messages == 3
        await session.close()

    run(work())


def test_overlapping_appends_keep_their_order(dovecot_open: Dovecot, new_user: NewUser) -> None:
    async def work() -> None:
        session = await opened(account(dovecot_open, new_user()))
        chunks = [[message(10 * chunk + n, text(10 * chunk + n, 30_000)) for n in range(7)] for chunk in range(9)]
        results = await asyncio.gather(*(session.append(chunk) for chunk in chunks))
        uids = [one.uid for result in results for one in result if isinstance(one, Stored) and one.uid]
        assert uids == list(range(1, 64))
        found = await bodies(session)
        assert [found[uid] for uid in uids] == [b"".join(one.body.chunks()) for chunk in chunks for one in chunk]
        await session.close()

    run(work())


def test_one_refused_message_does_not_keep_the_others_out(new_user: NewUser) -> None:
    user = new_user()
    with Dovecot(flavour="open", quota={user: 60_000}) as server:

        async def work() -> None:
            session = await opened(account(server, user))
            results = await session.append(
                [message(1, text(1)), message(2, text(2, 100_000)), message(3, text(3)), message(4, text(4, 90_000))]
            )
            assert [type(one) for one in results] == [Stored, Failed, Stored, Failed]
            assert [one.reason for one in results if isinstance(one, Failed)] == [Reason.QUOTA] * 2
            assert list((await bodies(session)).values()) == [text(1), text(3)]
            await session.close()

        run(work())


def test_special_use_is_seen_where_the_server_decides_it(dovecot_open: Dovecot, new_user: NewUser) -> None:
    """Dovecot marks the names that its configuration says, and lets no client change that."""

    async def work() -> None:
        session = await ImapTarget(account(dovecot_open, new_user())).session()
        assert (await session.create(("Old mail",), SpecialUse.ARCHIVE, None, None)).special_use is None
        assert (await session.create(("Archive",), SpecialUse.ARCHIVE, None, None)).special_use is SpecialUse.ARCHIVE
        await session.folders()
        assert (session.limits().special_uses or {})[SpecialUse.ARCHIVE] == ("Archive",)
        await session.close()

    run(work())


def test_special_use_is_set_where_the_server_lets_us(cyrus: Cyrus, new_user: NewUser) -> None:
    who = ImapAccount("127.0.0.1", cyrus.port, new_user(), Secret(PASSWORD), tls=Tls.NONE, timeout=20)

    async def work() -> None:
        session = await ImapTarget(who).session()
        assert "CREATE-SPECIAL-USE" in session.connection.capabilities
        made = await session.create(("Old mail",), SpecialUse.ARCHIVE, None, None)
        assert (made.name, made.special_use) == ("INBOX.Old mail", SpecialUse.ARCHIVE)
        twin = await session.create(("Older mail",), SpecialUse.ARCHIVE, None, None)
        assert twin.path == ("Older mail",)
        listed = {folder.path: folder.special_use for folder in await session.folders()}
        assert listed[("Old mail",)] is SpecialUse.ARCHIVE
        await session.close()

    run(work())


def test_changes_only_where_the_server_can(dovecot_open: Dovecot, dovecot_exchange: Dovecot, new_user: NewUser) -> None:
    async def work(server: Dovecot) -> tuple[bool, list[Listed], tuple[int, ...]]:
        who = account(server, new_user())
        session = await opened(who)
        await session.append([message(uid, text(uid)) for uid in range(1, 11)])
        selected = await session.select(INBOX_FOLDER)
        await session.set_flags([Listed(2, 5, ("$A",)), Listed(99, 1)])
        assert await session.remove([4, 5, 77]) == []
        source = await ImapSource(who).session()
        await source.select(INBOX_FOLDER)
        listing = await source.listing(selected.status.highestmodseq)
        await source.close()
        await session.close()
        return listing.complete, listing.messages, listing.vanished

    assert run(work(dovecot_open)) == (False, [Listed(2, 5, ("$A",))], (4, 5))
    complete, messages, vanished = run(work(dovecot_exchange))
    assert (complete, vanished, [one.uid for one in messages]) == (True, (), [1, 2, 3, 6, 7, 8, 9, 10])
    assert messages[1] == Listed(2, 5, ("$A",))


def test_only_what_was_asked_is_removed(dovecot_open: Dovecot, new_user: NewUser) -> None:
    async def work() -> None:
        session = await opened(account(dovecot_open, new_user()))
        await session.append([message(1, text(1), 16), message(2, text(2))])
        assert await session.remove([2]) == []
        assert list(await bodies(session)) == [1]
        await session.close()

    run(work())


def test_a_reader_that_stops_early_can_go_on_otherwise(dovecot_open: Dovecot, new_user: NewUser) -> None:
    async def work() -> None:
        session = await opened(account(dovecot_open, new_user()))
        await session.append([message(uid, text(uid, 200_000)) for uid in range(1, 121)])
        reading = session.fetch(range(1, 121))
        async for item in reading:
            assert item.uid == 1
            break
        await reading.aclose()  # type: ignore[attr-defined]
        assert len((await session.listing()).messages) == 120
        assert len(await bodies(session)) == 120
        await session.close()

    run(work())


def test_a_slow_consumer_slows_the_server(dovecot_open: Dovecot, new_user: NewUser) -> None:
    who = account(dovecot_open, new_user())

    async def work() -> None:
        session = await opened(who)
        for _ in range(8):
            await session.append([message(uid, text(uid, 800_000)) for uid in range(1, 11)])
        before = session.connection.stream.received
        reading = session.fetch(range(1, 81))
        first = await anext(reading)
        await asyncio.sleep(1)
        ahead = session.connection.stream.received - before
        assert ahead < connecting.BUDGET + 4_000_000, "64 MB wait, and no more than the budget came"
        assert ahead > connecting.BUDGET // 2, "it reads ahead"
        assert isinstance(first, Message)
        assert len([item async for item in reading]) == 79
        await session.close()

    run(work())


def test_a_large_message_is_spooled_and_arrives_whole(dovecot_open: Dovecot, new_user: NewUser) -> None:
    """200 MB through a process of its own, which must stay under 150 MB."""
    who = account(dovecot_open, new_user())
    line = b"0123456789" * 7 + b"\r\n"
    count = 200_000_000 // len(line)
    expected = hashlib.sha256(b"Subject: large\r\n\r\n")
    spool = Spool(200_000_000)
    spool.write(b"Subject: large\r\n\r\n")
    for _ in range(count // 10_000):
        spool.write(line * 10_000)
        expected.update(line * 10_000)
    body = spool.body()
    assert isinstance(body, FileBody)

    async def put() -> None:
        session = await opened(who)
        assert await session.append([Message(1, 0, (), Date(0), body)]) == [Stored(1)]
        await session.close()

    run(put())
    body.close()
    program = f"""
import asyncio, hashlib
from mailferry.model.account import ImapAccount, Tls
from mailferry.model.folder import Folder
from mailferry.secret import Secret
from mailferry.sources.imap import ImapSource
from mailferry.targets.imap import ImapTarget
who = ImapAccount({who.host!r}, {who.port}, {who.user!r}, Secret({PASSWORD!r}), tls=Tls.NONE)
async def main():
    source, target = await ImapSource(who).session(), await ImapTarget(who).session()
    await source.select(Folder(("INBOX",), "INBOX"))
    await target.select(await target.create(("Copy",), None, None, None))
    async for message in source.fetch([1]):
        state = hashlib.sha256()
        for chunk in message.body.chunks():
            state.update(chunk)
        print(state.hexdigest(), await target.append([message]))
        message.body.close()
    await source.close()
    await target.close()
    peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))
    print(int(peak.split()[1]) // 1024)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    first, peak = done.stdout.splitlines()
    assert first == f"{expected.hexdigest()} [Stored(uid=1)]"
    assert int(peak) < 150


def test_few_round_trips(dovecot_open: Dovecot, new_user: NewUser) -> None:
    """Each delayed turn of the conversation is counted by a relay: what goes out before an answer is one turn."""
    who = account(dovecot_open, new_user())

    async def turns(kind: type[ImapSource] | type[ImapTarget]) -> int:
        count = 0
        last = "server"

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal count
            inner_reader, inner_writer = await asyncio.open_connection(who.host, who.port)

            async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, side: str) -> None:
                nonlocal count, last
                while data := await source.read(65536):
                    if side == "client":
                        await asyncio.sleep(0.02)  # what the client says at once is one turn
                        if last == "server":
                            count += 1
                    last = side
                    sink.write(data)
                sink.close()

            await asyncio.gather(
                pump(reader, inner_writer, "client"), pump(inner_reader, writer, "server"), return_exceptions=True
            )
            await asyncio.gather(inner_writer.wait_closed(), writer.wait_closed(), return_exceptions=True)
            ended.set()

        ended = asyncio.Event()
        async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
            session = await kind(dataclasses.replace(who, port=server.sockets[0].getsockname()[1])).session()
            await session.folders()
            found = count
            await session.close()
            await ended.wait()
        return found

    assert run(turns(ImapSource)) == 2, "the log-in, and everything else"
    assert run(turns(ImapTarget)) == 2


def test_a_port_with_nobody_behind_it_is_named(dovecot_open: Dovecot) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        who = dataclasses.replace(account(dovecot_open, "u1"), port=port)
        with pytest.raises(Exception, match="nothing listens") as caught:
            run(ImapSource(who).session())
        assert getattr(caught.value, "about", "") == f"127.0.0.1:{port}"
