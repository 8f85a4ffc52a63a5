"""Log-in and folder lists against scripted servers: what is sent, and what is made of unusual answers."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
from collections.abc import Awaitable, Callable, Sequence

import pytest

from mailferry.errors import AuthError
from mailferry.model.account import ImapAccount, Mechanism, Tls
from mailferry.model.folder import Folder, FolderStatus, SpecialUse
from mailferry.secret import Secret
from mailferry.sources.imap import ImapSource
from tests.protocol.scripted import Script, Step, server

IN = b"{tag} OK [CAPABILITY IMAP4rev1] in\r\n"


def play(steps: Sequence[Step], act: Callable[[ImapAccount], Awaitable[object]]) -> Script:
    async def main() -> Script:
        async with server(steps) as (account, script):
            await act(account)
            return script

    return asyncio.run(asyncio.wait_for(main(), 20))


def log_in(steps: Sequence[Step], **changes: object) -> Script:
    async def act(account: ImapAccount) -> None:
        session = await ImapSource(dataclasses.replace(account, **changes)).session()  # type: ignore[arg-type]
        await session.close()

    return play(steps, act)


def greeting(offered: str) -> bytes:
    return b"* OK [CAPABILITY IMAP4rev1 %s] hi\r\n" % offered.encode()


def encoded(text: bytes) -> str:
    return base64.b64encode(text).decode().replace("+", "\\+")


def test_plain_in_one_turn() -> None:
    log_in([greeting("SASL-IR AUTH=PLAIN"), f"AUTHENTICATE PLAIN {encoded(b'%canna%cpass' % (0, 0))}$", IN, "LOGOUT"])


def test_login_command_with_what_must_be_quoted_and_what_needs_literals() -> None:
    log_in([greeting("LITERAL+"), r'LOGIN "a\\"b" "c\\\\d"$', IN], user='a"b', secret=Secret("c\\d"))
    log_in([greeting("LITERAL+"), 'LOGIN {3\\+}\r\n\xc3\xbcx "pass"$', IN], user="üx")


def test_capability_is_asked_only_where_it_was_not_told() -> None:
    log_in(
        [
            b"* OK hi\r\n",
            *("CAPABILITY$", b"* CAPABILITY IMAP4rev1\r\n{tag} OK x\r\n"),
            *('LOGIN "anna" "pass"$', b"{tag} OK in\r\n"),
            *("CAPABILITY$", b"* CAPABILITY IMAP4rev1\r\n{tag} OK x\r\n"),
            "LOGOUT",
        ]
    )


def test_preauth_needs_no_login() -> None:
    log_in([b"* PREAUTH [CAPABILITY IMAP4rev1] hi\r\n", "LOGOUT"])


class Answers:
    """A server for SASL without initial response: the scripted one only knows lines with tags."""

    def __init__(self, challenges: Sequence[bytes], end: bytes) -> None:
        self.challenges = challenges
        self.end = end
        self.heard: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN AUTH=LOGIN AUTH=XOAUTH2 AUTH=OAUTHBEARER] hi\r\n")
        line = (await reader.readline()).rstrip()
        tag, _, rest = line.partition(b" ")
        self.heard.append(rest)
        for challenge in self.challenges:
            writer.write(b"+ " + challenge + b"\r\n")
            self.heard.append((await reader.readline()).rstrip())
        writer.write(tag + b" " + self.end + b"\r\n")
        await reader.read()
        writer.close()


def exchange(answers: Answers, mechanism: Mechanism) -> list[bytes]:
    async def main() -> None:
        async with await asyncio.start_server(answers, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            account = ImapAccount(
                "127.0.0.1", port, "anna", Secret("pass"), mechanism=mechanism, tls=Tls.NONE, timeout=5
            )
            session = await ImapSource(account).session()
            await session.close()

    asyncio.run(asyncio.wait_for(main(), 20))
    return answers.heard


def test_sasl_without_initial_response() -> None:
    ok = b"OK [CAPABILITY IMAP4rev1] in"
    assert exchange(Answers([b""], ok), Mechanism.PLAIN) == [
        b"AUTHENTICATE PLAIN",
        base64.b64encode(b"\0anna\0pass"),
    ]


@pytest.mark.parametrize(
    ("mechanism", "last"), [(Mechanism.XOAUTH2, b""), (Mechanism.OAUTHBEARER, base64.b64encode(b"\1"))]
)
def test_a_refused_token_is_answered_and_reported(mechanism: Mechanism, last: bytes) -> None:
    error = base64.b64encode(b'{"status":"401"}')
    answers = Answers([b"", error], b"NO [AUTHENTICATIONFAILED] Invalid credentials")
    with pytest.raises(AuthError, match="Invalid credentials"):
        exchange(answers, mechanism)
    assert answers.heard[-1] == last


def test_a_server_that_asks_too_much_is_cancelled() -> None:
    answers = Answers([b"", b"", b""], b"BAD cancelled")
    with pytest.raises(AuthError, match="cancelled"):
        exchange(answers, Mechanism.PLAIN)
    assert answers.heard[-1] == b"*"


def list_folders(steps: Sequence[Step], offered: str) -> list[Folder]:
    found: list[Folder] = []

    async def act(account: ImapAccount) -> None:
        session = await ImapSource(account).session()
        found.extend(await session.folders())
        await session.close()

    play([b"* PREAUTH [CAPABILITY IMAP4rev1 %s] hi\r\n" % offered.encode(), *steps], act)
    return found


def test_folders_the_plain_way() -> None:
    """LIST and LSUB together, then all STATUS together; other people's folders are not ours; attributes that nobody
    advertised count."""
    found = list_folders(
        [
            *("NAMESPACE", b'* NAMESPACE (("INBOX." ".")) (("user." ".")) (("Public." "."))\r\n{tag} OK x\r\n'),
            "LIST",
            b'* LIST (\\HasChildren) "." inbox\r\n* LIST () "." INBOX.Zebra.&ANw-bung\r\n'
            b'* LIST (\\Noselect) "." INBOX.Zebra\r\n* LIST (\\Sent) "." "INBOX.Gesendete Objekte"\r\n'
            b'* LIST () "." user.other.x\r\n* LIST () "." Public\r\n* LIST (\\NonExistent) "." INBOX.gone\r\n'
            b'* LIST () "." INBOX.a&AGI-c\r\n* LIST () "." INBOX.abc\r\n* LIST () "." INBOX.INBOX\r\n{tag} OK x\r\n',
            *("LSUB", b'* LSUB () "." INBOX.abc\r\n{tag} OK x\r\n'),
            *(
                "STATUS inbox \\(MESSAGES UIDNEXT UIDVALIDITY\\)",
                b"* STATUS INBOX (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 3)\r\n",
            ),
            b"{tag} OK x\r\n",
            *("STATUS", b"{tag} NO not for you\r\n"),
            *("STATUS", b"{tag} OK nothing to say\r\n"),
            *("STATUS", b'* STATUS "INBOX.Gesendete Objekte" (MESSAGES 0 UIDNEXT 1 UIDVALIDITY 9)\r\n{tag} OK\r\n'),
            *("STATUS", b"{tag} OK x\r\n", "STATUS", b"{tag} OK x\r\n", "LOGOUT"),
        ],
        "NAMESPACE",
    )
    assert [(one.path, one.name) for one in found] == [
        (("INBOX",), "inbox"),
        (("Gesendete Objekte",), "INBOX.Gesendete Objekte"),
        (("INBOX.INBOX",), "INBOX.INBOX"),
        (("INBOX.abc",), "INBOX.abc"),
        (("Zebra",), "INBOX.Zebra"),
        (("Zebra", "Übung"), "INBOX.Zebra.&ANw-bung"),
        (("abc",), "INBOX.a&AGI-c"),
    ]
    by_path = {one.path: one for one in found}
    assert by_path[("INBOX",)].status == FolderStatus(3, 2, 1)
    assert by_path[("INBOX",)].special_use is SpecialUse.INBOX
    assert by_path[("Gesendete Objekte",)].special_use is SpecialUse.SENT
    assert not by_path[("Zebra",)].selectable
    assert [one.name for one in found if one.subscribed] == ["INBOX.abc"]


def test_folders_in_one_answer() -> None:
    found = list_folders(
        [
            *("NAMESPACE", b'* NAMESPACE (("" "/")) NIL NIL\r\n{tag} OK x\r\n'),
            r'LIST "" "\*" RETURN \(SUBSCRIBED SPECIAL-USE STATUS \(MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ\)\)$',
            b'* LIST (\\Subscribed) "/" INBOX\r\n'
            b"* STATUS INBOX (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 3 HIGHESTMODSEQ 4)\r\n"
            b'* LIST (\\Trash) "/" "Papierkorb"\r\n{tag} OK x\r\n',
            "LOGOUT",
        ],
        "NAMESPACE LIST-EXTENDED LIST-STATUS SPECIAL-USE CONDSTORE",
    )
    assert found == [
        Folder(("INBOX",), "INBOX", SpecialUse.INBOX, subscribed=True, status=FolderStatus(3, 2, 1, 4)),
        Folder(("Papierkorb",), "Papierkorb", SpecialUse.TRASH),
    ]


def test_a_flat_server() -> None:
    found = list_folders(
        [
            *('LIST "" ""', b'* LIST (\\Noselect) NIL ""\r\n{tag} OK x\r\n'),
            *('LIST "" "\\*"', b"* LIST () NIL INBOX\r\n* LIST () NIL a/b.c\r\n{tag} OK x\r\n"),
            *("LSUB", b"{tag} BAD what?\r\n"),
            *("STATUS", b"{tag} NO\r\n", "STATUS", b"{tag} NO\r\n", "LOGOUT"),
        ],
        "",
    )
    assert [one.path for one in found] == [("INBOX",), ("a/b.c",)]
