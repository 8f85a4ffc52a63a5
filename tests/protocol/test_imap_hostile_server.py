"""Our sessions against servers that fail in the ways seen in the field, and in ways nobody wants to see."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from lab.process import make_certificate
from mailferry.errors import AuthError, ItemError, MailferryError, Permanent, RemoteProtocolError, Temporary
from mailferry.model.account import ImapAccount, Tls
from mailferry.model.folder import INBOX, Folder
from mailferry.model.message import Date, Failed, MemoryBody, Message, Reason
from mailferry.secret import Secret
from mailferry.sources.imap import ImapSource, ImapSourceSession
from mailferry.targets.base import Stored
from mailferry.targets.imap import ImapTarget
from tests.protocol.scripted import EXAMINE, LOGIN, OFFERED, STAY, Script, Step, server

INBOX_FOLDER = Folder(INBOX, "INBOX")


def message(uid: int, text: bytes = b"Subject: x\r\n\r\n") -> bytes:
    return b'* %d FETCH (UID %d FLAGS () INTERNALDATE "17-Jul-1996 02:44:25 -0700" BODY[] {%d}\r\n%s)\r\n' % (
        uid,
        uid,
        len(text),
        text,
    )


async def read(account: ImapAccount, uids: Sequence[int] = (1, 2, 3)) -> list[Message | Failed]:
    session = await ImapSource(account).session()
    try:
        await session.select(INBOX_FOLDER)
        return [item async for item in session.fetch(uids)]
    finally:
        await session.close()


def play(steps: Sequence[Step], act: Callable[[ImapAccount], Awaitable[object]], timeout: float = 5.0) -> object:
    async def main() -> object:
        async with server(steps, timeout=timeout) as (account, _):
            return await act(account)

    return asyncio.run(asyncio.wait_for(main(), 20))


def fails(steps: Sequence[Step], error: type[MailferryError], words: str, *, timeout: float = 5.0) -> MailferryError:
    """The steps must end a reading session with this error."""
    with pytest.raises(error, match=words) as caught:
        play(steps, read, timeout)
    assert caught.value.about, "an error says which server it was"
    return caught.value


def test_smtp() -> None:
    error = fails([b"220 mail.example.org ESMTP Postfix\r\n", STAY], RemoteProtocolError, "an SMTP server")
    assert "993" in error.advice


def test_silence_before_the_greeting() -> None:
    error = fails([STAY], Temporary, "did not greet", timeout=0.3)
    assert "imaps" in error.advice


def test_bye_as_greeting() -> None:
    fails([b"* BYE too many connections from you\r\n"], Temporary, "too many connections")


def test_closed_at_once() -> None:
    fails([], Temporary, "closed the connection|cut by the other side")


def test_no_to_the_login() -> None:
    error = fails([LOGIN[0], LOGIN[1], b"{tag} NO [AUTHENTICATIONFAILED] Nope.\r\n", STAY], AuthError, "Nope")
    assert "pass" not in f"{error.message} {error.about}".replace("password", "")


def test_login_refused_for_now() -> None:
    fails([LOGIN[0], LOGIN[1], b"{tag} NO [UNAVAILABLE] Directory is down.\r\n", STAY], Temporary, "Directory is down")


def test_authenticated_but_not_connected() -> None:
    steps = [*LOGIN, "EXAMINE INBOX", b"{tag} BAD User is authenticated but not connected.\r\n", STAY]
    error = fails(steps, AuthError, "gives no mailbox")
    assert "delegated" in error.advice


@pytest.mark.parametrize(
    "answer",
    [
        b"{tag} BAD Request is throttled. Suggested Backoff Time: 299961 milliseconds\r\n",
        b"* BYE Request is throttled. Suggested Backoff Time: 299961 milliseconds\r\n",
    ],
)
def test_throttled(answer: bytes) -> None:
    error = fails([*LOGIN, *EXAMINE, "UID FETCH", answer], Temporary, "throttles us")
    assert isinstance(error, Temporary)
    assert error.retry_after == pytest.approx(299.961)


def test_folder_that_cannot_be_opened_leaves_the_session_alive() -> None:
    async def act(account: ImapAccount) -> None:
        session = await ImapSource(account).session()
        with pytest.raises(ItemError, match=r"Calendar.*no mail here"):
            await session.select(Folder(("Calendar",), "Calendar"))
        await session.select(INBOX_FOLDER)
        await session.close()

    play([*LOGIN, "EXAMINE Calendar", b"{tag} NO no mail here\r\n", *EXAMINE, "LOGOUT"], act)


def test_garbage_instead_of_an_answer() -> None:
    fails([*LOGIN, *EXAMINE, "UID FETCH", b"\x80\x81 what\r\n", STAY], RemoteProtocolError, "no IMAP response")


def test_endless_line() -> None:
    steps = [*LOGIN, *EXAMINE, "UID FETCH", b"* 1 FETCH (UID 1 FLAGS (" + b"x" * (9 << 20), STAY]
    fails(steps, RemoteProtocolError, "a line of more than")


def test_literal_of_2_to_the_63() -> None:
    steps = [*LOGIN, *EXAMINE, "UID FETCH", b"* 1 FETCH (UID 1 BODY[] {9223372036854775808}\r\n", STAY]
    fails(steps, RemoteProtocolError, "literal of more than")


def test_response_10000_deep() -> None:
    steps = [*LOGIN, *EXAMINE, "UID FETCH", b"* 1 FETCH " + b"(" * 10_000 + b"\r\n", STAY]
    fails(steps, RemoteProtocolError, "nested too deeply")


def test_answer_to_a_command_never_sent() -> None:
    fails([*LOGIN, *EXAMINE, "UID FETCH", b"zz OK done\r\n", STAY], RemoteProtocolError, "never sent")


def test_silence_in_the_middle() -> None:
    steps = [*LOGIN, *EXAMINE, "UID FETCH", message(1)[:-20], STAY]
    fails(steps, Temporary, "did not answer for 0.4 s", timeout=0.4)


def test_slow_is_not_silent() -> None:
    """A server that needs longer than the time-out in all, but says something in between."""

    async def act(account: ImapAccount) -> object:
        ends: list[bytes] = []

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"* PREAUTH [CAPABILITY IMAP4rev1] hi\r\n")
            tag = (await reader.readline()).split()[0]
            for _ in range(6):
                await asyncio.sleep(0.2)
                writer.write(b"* OK Hang in there..\r\n")
            writer.write(b"* 0 EXISTS\r\n* OK [UIDVALIDITY 1] v\r\n* OK [UIDNEXT 4] n\r\n" + tag + b" OK x\r\n")
            ends.append(await reader.read())
            writer.close()

        slow = await asyncio.start_server(accept, "127.0.0.1", 0)
        account = ImapAccount(
            "127.0.0.1", slow.sockets[0].getsockname()[1], "u", Secret("x"), tls=Tls.NONE, timeout=0.5
        )
        session = await ImapSource(account).session()
        selected = await session.select(INBOX_FOLDER)
        await session.close()
        slow.close()
        await slow.wait_closed()
        return selected.status.uidnext

    assert play([STAY], act) == 4


@pytest.mark.parametrize("cut", [5, 40, 100, -3])
def test_bye_in_the_middle_of_a_literal_gives_what_came_whole(cut: int) -> None:
    text = b"Subject: x\r\n\r\n" + b"y" * 400
    steps = [*LOGIN, *EXAMINE, "UID FETCH", message(1, text) + message(2, text)[:cut] + b"\r\n* BYE shutting down\r\n"]

    async def act(account: ImapAccount) -> None:
        session = await ImapSource(account).session()
        await session.select(INBOX_FOLDER)
        found = []
        with pytest.raises((Temporary, RemoteProtocolError)):
            async for item in session.fetch([1, 2, 3]):
                found.append(item.uid)
        await session.close()
        assert found == [1]

    play(steps, act)


def test_no_on_one_message_costs_one_message() -> None:
    steps = [
        *LOGIN,
        *EXAMINE,
        *("UID FETCH 1:4 ", message(1) + b"{tag} NO Message could not be retrieved\r\n"),
        *("UID FETCH 2:4 \\(UID\\)", b"* 2 FETCH (UID 2)\r\n* 3 FETCH (UID 3)\r\n{tag} OK done\r\n"),
        *("UID FETCH 2 ", b"{tag} NO [SERVERBUG] corrupt\r\n"),
        *("UID FETCH 3 ", message(3) + b"{tag} OK done\r\n"),
    ]
    found = play(steps, lambda account: read(account, [1, 2, 3, 4]))
    assert isinstance(found, list)
    assert [item.uid for item in found] == [1, 2, 3]
    assert found[1] == Failed(2, Reason.UNREADABLE, "corrupt")
    assert isinstance(found[0], Message) and isinstance(found[2], Message)


def test_listed_without_content_is_a_failure_not_a_loss() -> None:
    nil = b"* 2 FETCH (UID 2 BODY[] NIL)\r\n{tag} OK done\r\n"
    steps = [
        *LOGIN,
        *EXAMINE,
        *("UID FETCH 1:3 ", message(1) + message(3) + nil),
        *("UID FETCH 2 \\(UID\\)", b"* 2 FETCH (UID 2)\r\n{tag} OK done\r\n"),
        *("UID FETCH 2 ", nil),
    ]
    found = play(steps, read)
    assert isinstance(found, list)
    assert [(item.uid, type(item)) for item in found] == [(1, Message), (2, Failed), (3, Message)]


def test_out_of_order_answers_come_out_in_order() -> None:
    steps = [
        *LOGIN,
        *EXAMINE,
        "UID FETCH 1:3 ",
        message(3) + message(2) + message(2) + message(1) + b"{tag} OK done\r\n",
    ]
    found = play(steps, read)
    assert isinstance(found, list)
    assert [item.uid for item in found] == [1, 2, 3]


def test_messages_nobody_asked_for_are_dropped() -> None:
    steps = [*LOGIN, *EXAMINE, "UID FETCH 1,3 ", message(1) + message(2) + message(3) + b"{tag} OK done\r\n"]
    found = play(steps, lambda account: read(account, [1, 3]))
    assert isinstance(found, list)
    assert [item.uid for item in found] == [1, 3]


def test_exchange_stand_in_is_listed_as_failed() -> None:
    fake = (
        b"Subject: Retrieval using the IMAP4 protocol failed for the following message: 2\r\n\r\nThe server could\r\n"
    )
    greeting = b"* OK [CAPABILITY " + OFFERED + b"] The Microsoft Exchange IMAP4 service is ready.\r\n"
    steps = [greeting, *LOGIN[1:], *EXAMINE, "UID FETCH", message(1) + message(2, fake) + b"{tag} OK done\r\n"]
    found = play(steps, lambda account: read(account, [1, 2]))
    assert isinstance(found, list)
    assert isinstance(found[0], Message)
    assert isinstance(found[1], Failed) and found[1].reason is Reason.FAKE


def test_the_same_words_from_another_server_are_a_message() -> None:
    fake = (
        b"Subject: Retrieval using the IMAP4 protocol failed for the following message: 2\r\n\r\nThe server could\r\n"
    )
    found = play([*LOGIN, *EXAMINE, "UID FETCH", message(1, fake) + b"{tag} OK done\r\n"], lambda a: read(a, [1]))
    assert isinstance(found, list) and isinstance(found[0], Message)


def test_plain_text_before_starttls_is_refused() -> None:
    """CVE-2011-0411's client side: what stands in clear text behind the OK is not from whom it seems."""
    steps = [b"* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n", "STARTTLS", b"{tag} OK go\r\n* PREAUTH mine\r\n", STAY]

    async def act(account: ImapAccount) -> None:
        account = ImapAccount(account.host, account.port, "u", Secret("x"), tls=Tls.STARTTLS, timeout=5)
        await ImapSource(account).session()

    with pytest.raises(RemoteProtocolError, match="switch protocols"):
        play(steps, act)


def test_no_starttls_means_no_password() -> None:
    async def act(account: ImapAccount) -> None:
        account = ImapAccount(account.host, account.port, "u", Secret("x"), tls=Tls.STARTTLS, timeout=5)
        await ImapSource(account).session()

    with pytest.raises(AuthError, match="no STARTTLS"):
        play([LOGIN[0], STAY], act)


def test_tls_to_a_port_that_answers_in_clear() -> None:
    async def act(account: ImapAccount) -> None:
        await ImapSource(ImapAccount(account.host, account.port, "u", Secret("x"), timeout=5)).session()

    with pytest.raises(RemoteProtocolError, match="does not speak TLS"):
        play([LOGIN[0], STAY], act)


def test_nothing_listens() -> None:
    async def act(account: ImapAccount) -> None:
        closed = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = closed.sockets[0].getsockname()[1]
        closed.close()
        await closed.wait_closed()
        await ImapSource(ImapAccount("127.0.0.1", port, "u", Secret("x"), tls=Tls.NONE)).session()

    with pytest.raises(Temporary, match="nothing listens"):
        play([STAY], act)


def test_no_such_host() -> None:
    with pytest.raises((Permanent, Temporary), match="host"):
        asyncio.run(ImapSource(ImapAccount("no-such-host.invalid", 993, "u", Secret("x"))).session())


def test_certificate_of_somebody_else(tmp_path: Path) -> None:
    import ssl

    certificate, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def act(account: ImapAccount) -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        secured = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
        port = secured.sockets[0].getsockname()[1]
        try:
            await ImapSource(ImapAccount("127.0.0.1", port, "u", Secret("x"))).session()
        finally:
            secured.close()

    with pytest.raises(Permanent, match="certificate cannot be trusted"):
        play([STAY], act)


TARGET = [
    b"* PREAUTH [CAPABILITY IMAP4rev1 UIDPLUS LITERAL+ MULTIAPPEND] hi\r\n",
    *('LIST "" ""', b'* LIST (\\Noselect) "/" ""\r\n{tag} OK done\r\n'),
    *('LIST "" "\\*"', b'* LIST () "/" INBOX\r\n{tag} OK done\r\n'),
    *('LSUB "" "\\*"', b"{tag} OK done\r\n"),
    *("STATUS INBOX", b"* STATUS INBOX (MESSAGES 0 UIDNEXT 1 UIDVALIDITY 1)\r\n{tag} OK done\r\n"),
    *("SELECT INBOX", b"* 0 EXISTS\r\n* OK [UIDVALIDITY 1] v\r\n* OK [UIDNEXT 1] n\r\n{tag} OK done\r\n"),
]


def outgoing(uid: int, text: bytes = b"Subject: x\r\n\r\n") -> Message:
    return Message(uid, 1, (), Date(0), MemoryBody(text))


def store(steps: Sequence[Step], messages: Sequence[Message]) -> tuple[list[Stored | Failed], Script]:
    async def main() -> tuple[list[Stored | Failed], Script]:
        async with server([*TARGET, *steps]) as (account, script):
            session = await ImapTarget(account).session()
            await session.folders()
            await session.select(INBOX_FOLDER)
            results = await session.append(messages)
            await session.close()
            return results, script

    return asyncio.run(asyncio.wait_for(main(), 20))


def test_a_refused_multiappend_is_taken_apart() -> None:
    results, script = store(
        [
            *(
                'APPEND INBOX .*\\(\\\\Seen\\) "01-Jan-1970 00:00:00 \\+0000" \\{14\\+\\}',
                b"{tag} NO Message contains NUL characters\r\n",
            ),
            *("APPEND", b"{tag} OK [APPENDUID 1 7] done\r\n"),
            *("APPEND", b"{tag} NO Message contains NUL characters\r\n"),
            *("APPEND", b"{tag} OK [APPENDUID 1 8] done\r\n"),
        ],
        [outgoing(1), outgoing(2), outgoing(3)],
    )
    assert results == [Stored(7), Failed(2, Reason.NUL, "Message contains NUL characters"), Stored(8)]
    assert script.heard[-4].count("Subject") == 3


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"NO [OVERQUOTA] Quota exceeded (mailbox for user is full)", Reason.QUOTA),
        (b"NO Over quota", Reason.QUOTA),
        (b"NO [TOOBIG] no", Reason.TOO_LARGE),
        (b"NO Message size exceeds fixed limit", Reason.TOO_LARGE),
        (b"NO Message contains bare newlines", Reason.BARE_NEWLINE),
        (b"NO Message contains NUL characters", Reason.NUL),
        (b"NO just so", Reason.REFUSED),
        (b"BAD Invalid arguments", Reason.REFUSED),
    ],
)
def test_why_a_message_was_refused(answer: bytes, reason: Reason) -> None:
    results, _ = store(["APPEND", b"{tag} " + answer + b"\r\n"], [outgoing(5)])
    assert [(result.uid, result.reason) for result in results if isinstance(result, Failed)] == [(5, reason)]


def test_a_folder_that_went_away() -> None:
    with pytest.raises(ItemError, match="INBOX has gone"):
        store(["APPEND", b"{tag} NO [TRYCREATE] Mailbox does not exist\r\n"], [outgoing(5)])


def test_session_lost_while_storing() -> None:
    with pytest.raises(Temporary, match="maintenance"):
        store(["APPEND", b"* BYE maintenance\r\n"], [outgoing(5)])


def test_closing_twice_and_after_the_end() -> None:
    async def act(account: ImapAccount) -> ImapSourceSession:
        session = await ImapSource(account).session()
        with pytest.raises(Temporary):
            await session.folders()
        await session.close()
        await session.close()
        return session

    play(LOGIN, act)
