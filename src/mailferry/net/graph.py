"""One mailbox at Microsoft Graph: asks, follows pages, sends batches, spools what is large. Knows no folders, no items.

Invariants: an answer's memory is bounded; a link that the server gives is followed on its own host alone; what Graph
asks to wait (429 with Retry-After, for the whole or for one part of a batch) is waited for.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from mailferry.errors import ItemError, MailferryError, Permanent, RemoteProtocolError, Temporary
from mailferry.model.account import GraphAccount
from mailferry.net import tls
from mailferry.net.entra_login import TokenLogin
from mailferry.net.http import DEFAULT_PAUSE, Http, status_error
from mailferry.net.maildir_disk import error_of
from mailferry.net.spool import Spool
from mailferry.wire.graph.values import Json, listed, number, obj, text

MOST_JSON = 64 << 20
"""Bytes of one JSON answer."""
MOST = 4 << 30
"""Bytes of one message or attachment: more than any mail server takes."""
BATCH = 20
"""Requests of one batch (Graph's own limit)."""
IMMUTABLE = {"Prefer": 'IdType="ImmutableId"'}
"""Ids stay the same when an item moves within the mailbox."""


class TooLarge(Exception):
    """More than `MOST` bytes."""


@dataclass(frozen=True, slots=True)
class Refused:
    """What Graph says instead of giving something."""

    status: int
    code: str
    said: str

    @property
    def gone(self) -> bool:
        return self.status == 404

    def error(self, about: str) -> MailferryError:
        """In our words. ItemError: this one thing."""
        if self.status == 403 or self.code in ("ErrorAccessDenied", "Authorization_RequestDenied"):
            return Permanent(
                f"Graph refuses access: {self.code}",
                about=about,
                advice="give the application the permission and an administrator's consent: mailferry check names it",
            )
        if self.code in ("MailboxNotEnabledForRESTAPI", "MailboxNotSupportedForRESTAPI"):
            return Permanent(
                "its mailbox is not in Exchange Online",
                about=about,
                advice="take ews:// for it",
            )
        if self.status >= 500 or self.status in (408, 409, 423):
            return Temporary(f"Graph answers with an error (HTTP {self.status}, {self.code})", about=about)
        return ItemError(f"Graph refuses it (HTTP {self.status}, {self.code})", about=about)


class Graph:
    """A client for one mailbox."""

    def __init__(self, account: GraphAccount) -> None:
        self.account = account
        self.about = f"{account.host}:{account.port}"
        self.user = f"/users/{quote(account.user, safe='@')}"
        context = tls.context(verify=account.verify, ca_file=account.ca_file)
        login = TokenLogin(account)
        self._http = Http(self.about, context, login, timeout=account.timeout, slots=account.requests, no_entry=(401,))

    async def get(self, path: str, headers: Mapping[str, str] = IMMUTABLE) -> Json:
        """A resource. Raises what a refusal means."""
        found = await self.ask("GET", path, headers=headers)
        if isinstance(found, Refused):
            raise found.error(self.account.key)
        return found

    async def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] = IMMUTABLE
    ) -> Json | Refused:
        """`path`: below the version, or a link that Graph gave."""
        content = None if body is None else json.dumps(body).encode()
        sent = {**headers, **({"Content-Type": "application/json"} if content is not None else {})}
        async with self._http.send(method, self._url(path), content=content, headers=sent) as response:
            data = bytearray()
            async for piece in response.aiter_bytes(1 << 18):
                data += piece
                if len(data) > MOST_JSON:
                    raise RemoteProtocolError("an answer is longer than any of Graph's is", about=self.about)
            return self._read(response, bytes(data))

    async def pages(self, path: str, headers: Mapping[str, str] = IMMUTABLE) -> AsyncIterator[Json]:
        """Each page of a collection. Raises what a refusal means."""
        link, seen = path, set[str]()
        while link:
            if link in seen:
                raise RemoteProtocolError("the pages of an answer go round in a circle", about=self.about)
            seen.add(link)
            page = await self.get(link, headers)
            yield page
            link = text(page.get("@odata.nextLink"))

    async def all(self, path: str, headers: Mapping[str, str] = IMMUTABLE) -> list[Json]:
        """A whole collection."""
        return [obj(one) async for page in self.pages(path, headers) for one in listed(page.get("value"))]

    async def batch(self, paths: Sequence[str], headers: Mapping[str, str] = IMMUTABLE) -> list[Json | Refused]:
        """The answers to these GETs, in their order. Parts that Graph throttles are asked for again."""
        found: dict[int, Json | Refused] = {}
        waiting = list(range(len(paths)))
        waited = 0.0
        while waiting:
            now, waiting = waiting[:BATCH], waiting[BATCH:]
            requests = [{"id": str(at), "method": "GET", "url": paths[at], "headers": dict(headers)} for at in now]
            answer = await self.ask("POST", "/$batch", {"requests": requests})
            if isinstance(answer, Refused):
                raise answer.error(self.account.key)
            pause = 0.0
            for one in map(obj, listed(answer.get("responses"))):
                name, status = text(one.get("id")), number(one.get("status")) or 0
                if not name.isdigit() or int(name) not in now:
                    raise RemoteProtocolError("a batch answers what was not asked for", about=self.about)
                if status in (429, 503):
                    named = {key.lower(): str(value) for key, value in obj(one.get("headers")).items()}
                    asked = named.get("retry-after", "")
                    pause = max(pause, float(asked) if asked.isdigit() else DEFAULT_PAUSE)
                    waiting.append(int(name))
                    continue
                body = obj(one.get("body"))
                found[int(name)] = body if status < 300 else _refused(status, body)
            if len(found) + len(waiting) < len(paths):
                raise RemoteProtocolError("a batch does not answer everything that was asked", about=self.about)
            if pause:
                waited += pause
                self._http.hold(pause, waited, "a part of a batch")
        return [found[at] for at in range(len(paths))]

    async def content(self, path: str) -> Spool | Refused:
        """What a `$value` holds. TooLarge: more than `MOST` bytes."""
        async with self._http.send("GET", self._url(path), headers=dict(IMMUTABLE)) as response:
            if response.status_code != 200:
                data = await self._start(response, 1 << 16)
                return _refused(response.status_code, _parsed(data))
            spool = Spool()
            try:
                async for piece in response.aiter_bytes(1 << 18):
                    if spool.size + len(piece) > MOST:
                        raise TooLarge
                    spool.write(piece)
            except OSError as error:
                spool.close()
                raise error_of(error, self.account.key) from error
            except BaseException:
                spool.close()
                raise
            return spool

    async def header(self, path: str, most: int = 256 << 10) -> bytes:
        """The first bytes of a `$value` up to the empty line, or `most` of them; b"" where Graph refuses it."""
        async with self._http.send("GET", self._url(path), headers=dict(IMMUTABLE)) as response:
            if response.status_code != 200:
                return b""
            data = bytearray()
            async for piece in response.aiter_bytes(1 << 14):
                data += piece
                if b"\r\n\r\n" in data or len(data) > most:
                    break
            return bytes(data).partition(b"\r\n\r\n")[0][:most]

    async def _start(self, response: httpx.Response, most: int) -> bytes:
        data = bytearray()
        async for piece in response.aiter_bytes(1 << 14):
            data += piece
            if len(data) > most:
                break
        return bytes(data)

    def _url(self, path: str) -> str:
        if path.startswith("/"):
            return f"https://{self.account.host}:{self.account.port}/v1.0{path}"
        link = urlsplit(path)
        if link.scheme != "https" or link.hostname != self.account.host:
            raise RemoteProtocolError(f"the answer leads to another host: {link.hostname}", about=self.about)
        return path

    def _read(self, response: httpx.Response, data: bytes) -> Json | Refused:
        body = _parsed(data)
        if response.status_code < 300:
            if not body:
                raise RemoteProtocolError("an answer is no JSON", about=self.about)
            return body
        if "error" not in body and response.status_code != 404:
            raise status_error(response, self.about)
        return _refused(response.status_code, body)

    async def close(self) -> None:
        """May be called twice."""
        await self._http.close()


def _parsed(data: bytes) -> Json:
    try:
        return obj(json.loads(data))
    except (ValueError, RecursionError):
        return {}


def _refused(status: int, body: Json) -> Refused:
    error = obj(body.get("error"))
    return Refused(status, text(error.get("code"))[:100] or "no code", text(error.get("message"))[:300])
