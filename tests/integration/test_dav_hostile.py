"""A DAV server that answers what it should not: what Mailferry makes of it, and where the password goes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pytest

from mailferry.errors import AuthError, MailferryError, Permanent, RemoteProtocolError, Temporary
from mailferry.model.account import DavAccount, Tls
from mailferry.model.groupware import Kind
from mailferry.net import http
from mailferry.net.dav import DavConnection
from mailferry.plan.items import ItemPolicy
from mailferry.secret import Secret
from mailferry.targets.caldav import CalDavTarget
from mailferry.targets.items import NotStored, Place, Why
from tests.integration.test_copy_items import copy
from tests.items import CALENDAR, MemoryItems, event
from tests.protocol.test_dav import BOMB

T = TypeVar("T")
Answers = Mapping[str, bytes]
"""`METHOD path` (or `METHOD`) → the raw answer; closed after it."""

_MULTI = '<D:multistatus xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">{}</D:multistatus>'


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\n{lines}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


def multi(*responses: str) -> bytes:
    return answer(207, _MULTI.format("".join(responses)).encode())


def prop(href: str, content: str) -> str:
    return (
        f"<D:response><D:href>{href}</D:href><D:propstat><D:prop>{content}</D:prop>"
        "<D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"
    )


HOME = multi(prop("/", "<C:calendar-home-set><D:href>/h/</D:href></C:calendar-home-set>"))
PLACES = multi(
    prop("/h/c/", "<D:resourcetype><D:collection/><C:calendar/></D:resourcetype><D:displayname>c</D:displayname>")
)
GOOD = {"PROPFIND /.well-known/caldav": HOME, "PROPFIND /h/": PLACES, "PROPFIND /h/c/": multi()}


def with_server(answers: Answers, work: Callable[[DavAccount], Awaitable[T]]) -> tuple[T, list[str]]:
    """`work` with a server that answers so; and the requests that it saw (`METHOD path`)."""
    seen: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, path, _ = head.split(" ", 2)
            length = next(
                (int(one[16:]) for one in head.lower().split("\r\n") if one.startswith("content-length: ")), 0
            )
            await reader.readexactly(length)
            seen.append(f"{method} {path}")
            writer.write(answers.get(f"{method} {path}") or answers.get(method) or answer(404))
            await writer.drain()
        finally:
            writer.close()

    async def run() -> T:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await work(
                DavAccount("caldav", "127.0.0.1", port, "alice", Secret("secret"), tls=Tls.NONE, timeout=5.0)
            )

    return asyncio.run(run()), seen


async def opened(account: DavAccount) -> list[Place]:
    session = await CalDavTarget(account).items_session()
    try:
        return await session.places()
    finally:
        await session.close()


@pytest.mark.parametrize(
    ("answers", "error", "says"),
    [
        ({"PROPFIND": answer(401)}, AuthError, "log-in"),
        ({**GOOD, "PROPFIND /h/": PLACES[:-40]}, Temporary, "cut"),
        ({**GOOD, "PROPFIND /h/": b"nonsense"}, Temporary, "cut"),
        ({**GOOD, "PROPFIND /h/": answer(207, BOMB)}, RemoteProtocolError, "document type"),
        ({**GOOD, "PROPFIND /h/": answer(207, b"<html/>")}, RemoteProtocolError, "multistatus"),
        ({**GOOD, "PROPFIND /h/": answer(200, b"<html/>")}, RemoteProtocolError, "200"),
        ({**GOOD, "PROPFIND /h/": answer(207, b"x", Content_Encoding="gzip")}, RemoteProtocolError, "compress"),
        ({**GOOD, "PROPFIND /h/": answer(302, Location="/h/")}, RemoteProtocolError, "circle"),
        ({**GOOD, "PROPFIND /h/": answer(502)}, Temporary, "502"),
        ({"PROPFIND": answer(200, b"a page")}, Permanent, "where the collections of alice are"),
    ],
)
def test_each_bad_answer_is_an_error_of_ours(answers: Answers, error: type[MailferryError], says: str) -> None:
    with pytest.raises(error, match=says):
        with_server(answers, opened)


@pytest.mark.parametrize("how", ["redirect", "home"])
def test_the_password_goes_to_no_other_server(how: str) -> None:
    async def work(other: DavAccount) -> None:
        there = f"http://127.0.0.1:{other.port}/h/"
        home = f"<C:calendar-home-set><D:href>{there}</D:href></C:calendar-home-set>"
        answers = {
            "redirect": {"PROPFIND": answer(307, Location=there)},
            "home": {"PROPFIND /.well-known/caldav": multi(prop("/", home))},
        }[how]
        with pytest.raises(Permanent, match=str(other.port)):
            await asyncio.to_thread(with_server, answers, opened)

    _, seen = with_server({}, work)
    assert seen == []


def test_what_others_share_is_not_theirs_to_fill() -> None:
    def place(name: str, owner: str) -> str:
        kind = "<D:resourcetype><D:collection/><C:calendar/></D:resourcetype>"
        return prop(f"/h/{name}/", f"{kind}<D:owner><D:href>{owner}</D:href></D:owner>")

    home = prop("/h/", "<D:resourcetype><D:collection/></D:resourcetype><D:owner><D:href>/p/alice/</D:href></D:owner>")
    shown = multi(home, place("a-bobs", "/p/bob/"), place("mine", "/p/alice"))
    places, _ = with_server({**GOOD, "PROPFIND /h/": shown}, opened)
    assert [(one.id, one.default) for one in places] == [("/h/mine/", True)]


def test_a_pause_that_is_asked_for_is_made_and_told_if_it_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MOST_PAUSE", 1.0)
    with pytest.raises(Temporary) as busy:
        with_server({"PROPFIND": answer(503, Retry_After="7")}, opened)
    assert busy.value.retry_after == 7


@pytest.mark.parametrize(
    ("said", "etag", "why"),
    [
        (answer(412), None, Why.TOO_LARGE),  # nothing is there: Radicale's word for too large
        (answer(412), "other", Why.CHANGED),
        (answer(413), None, Why.TOO_LARGE),
        (answer(403, b"<C:max-resource-size/>"), None, Why.TOO_LARGE),
        (answer(409, b"<C:no-uid-conflict/>"), None, Why.UID),
        (answer(400), None, Why.REFUSED),
        (answer(500), None, Why.REFUSED),
    ],
)
def test_a_refusal_is_told_apart(said: bytes, etag: str | None, why: Why) -> None:
    there = answer(404) if etag is None else multi(prop("/h/c/e.ics", f"<D:getetag>{etag}</D:getetag>"))

    async def work(account: DavAccount) -> object:
        session = await CalDavTarget(account).items_session()
        place = Place("/h/c/", "c", frozenset({Kind.EVENT}))
        try:
            return await session.put(place, "/h/c/e.ics", b"x", None)
        finally:
            await session.close()

    done, _ = with_server({**GOOD, "PUT": said, "PROPFIND /h/c/e.ics": there}, work)
    assert isinstance(done, NotStored)
    assert done.why is why


def test_a_full_server_ends_the_mailbox_and_a_refused_item_does_not(tmp_path: Path) -> None:
    source = MemoryItems()
    for number in range(3):
        source.put(CALENDAR, event(f"e{number}"))

    def run(answers: Answers) -> None:
        async def work(account: DavAccount) -> None:
            await asyncio.to_thread(copy, tmp_path / "ledger.db", source, [CalDavTarget(account)], ItemPolicy())

        with_server(answers, work)

    with pytest.raises(Permanent, match="room"):
        run({**GOOD, "PUT": answer(507)})


def test_a_server_without_etags_in_its_answers_is_asked(tmp_path: Path) -> None:
    async def work(account: DavAccount) -> object:
        async with DavConnection(account) as dav:
            return await dav.etag("/x")

    there = multi(prop("/x", '<D:getetag>"1"</D:getetag>'))
    assert with_server({"PROPFIND /x": there}, work)[0] == '"1"'
    assert with_server({}, work)[0] is None
