"""One connection pool to a CalDAV or CardDAV server, as one person: requests, discovery, and what goes wrong.

Knows no iCalendar. Invariants: the password goes to the account's own scheme, host and port and nowhere else, whatever
redirects and hrefs say; an answer is never held in memory beyond the bounds of `wire/dav`; every failure is one of
`errors.py`. Retries nothing; pauses that the server asks for are waited for by `http`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import quote, unquote, urljoin, urlsplit

import httpx

from mailferry.errors import ItemError, Permanent, RemoteProtocolError
from mailferry.model.account import DavAccount, Tls
from mailferry.net import tls
from mailferry.net.http import Http, status_error
from mailferry.wire import dav

MOST_BODY = 64 << 20
"""Bytes of one answer that is no multistatus."""
CONNECTIONS = 4
_REDIRECTS = (301, 302, 303, 307, 308)
_IN_PATHS = "/~!$&'()*+,;=:@-._"


def canonical(href: str) -> str:
    """One spelling of the path of an href, so that two can be compared."""
    return quote(unquote(urlsplit(href).path), safe=_IN_PATHS)


class DavConnection:
    """`async with DavConnection(account) as dav: await dav.propfind(…)`. For several tasks at once."""

    def __init__(self, account: DavAccount) -> None:
        self.account = account
        login = account.admin or account.user
        self.about = f"{account.service}://{login}@{account.host}:{account.port}"
        encrypted = account.tls is not Tls.NONE
        scheme = "https" if encrypted else "http"
        host = f"[{account.host}]" if ":" in account.host else account.host
        self._origin = f"{scheme}://{host}:{account.port}"
        self._http = Http(
            self.about,
            tls.context(verify=account.verify, ca_file=account.ca_file) if encrypted else None,
            httpx.BasicAuth(login, account.secret.reveal() if account.secret else ""),
            timeout=account.timeout,
            slots=CONNECTIONS,
            no_entry=(401,),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.close()

    # Requests

    @asynccontextmanager
    async def _answer(
        self, method: str, href: str, body: bytes, headers: dict[str, str]
    ) -> AsyncIterator[httpx.Response]:
        """The answer with its body still to be read; redirects on the same server are followed."""
        for _ in range(5):
            url = self._url(href)
            try:
                async with self._http.send(method, url, content=body, headers=headers) as answer:
                    if answer.status_code in _REDIRECTS and "location" in answer.headers:
                        href = urljoin(url, answer.headers["location"])
                        continue
                    self._check(answer)
                    yield answer
                    return
            except httpx.InvalidURL as error:
                raise RemoteProtocolError("it names an address that is none", about=self.about) from error
        raise RemoteProtocolError("it redirects in a circle", about=self.about)

    def _url(self, href: str) -> str:
        """Permanent: it is not on this server."""
        url = urljoin(self._origin + "/", href)
        place, own = urlsplit(url), urlsplit(self._origin)
        port = place.port or (443 if place.scheme == "https" else 80)
        if (place.scheme, place.hostname, port) != (own.scheme, own.hostname, own.port):
            raise Permanent(
                f"it sends us on to {place.scheme}://{place.hostname}:{port}, where the password is not sent",
                about=self.about,
                advice="if that is the right server, give its address instead",
            )
        return url

    def _check(self, answer: httpx.Response) -> None:
        status = answer.status_code
        if status in (502, 503, 504):
            raise status_error(answer, self.about)
        if status == 507:
            raise Permanent("it has no room left (507)", about=self.about, advice="make room there, then run again")
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise RemoteProtocolError("it compresses though nobody asked for it", about=self.about)

    async def request(
        self, method: str, href: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """(status, headers, body). For answers that are no multistatus."""
        async with self._answer(method, href, body, dict(headers or {})) as answer:
            held = bytearray()
            async for piece in answer.aiter_raw():
                held += piece
                if len(held) > MOST_BODY:
                    raise ItemError(f"it is larger than {MOST_BODY >> 20} MiB", about=canonical(href))
            return answer.status_code, answer.headers, bytes(held)

    async def multistatus(
        self, method: str, href: str, body: bytes, depth: int | None = None
    ) -> AsyncIterator[dav.Response]:
        """Its responses, their hrefs canonical, as they come. ItemError: there is nothing, or we may not see it."""
        headers = {"Content-Type": "application/xml; charset=utf-8"} | ({} if depth is None else {"Depth": str(depth)})
        async with self._answer(method, href, body, headers) as answer:
            status = answer.status_code
            if status in (403, 404, 409, 410):
                raise ItemError(f"the server says {status} to {method}", about=canonical(href))
            if status != 207:
                raise RemoteProtocolError(f"it answers {method} with {status}", about=self.about)
            parser = dav.Multistatus()
            try:
                async for piece in answer.aiter_raw():
                    for one in parser.feed(piece):
                        one.href = canonical(one.href)
                        yield one
                parser.end()
            except RemoteProtocolError as error:
                raise RemoteProtocolError(error.message, about=self.about) from error

    async def propfind(self, href: str, properties: Sequence[str], depth: int) -> list[dav.Response]:
        """All responses at once; for what is small."""
        return [one async for one in self.multistatus("PROPFIND", href, dav.propfind(properties), depth)]

    async def etag(self, href: str) -> str | None:
        """The version of one resource; None: there is none."""
        try:
            found = await self.propfind(href, [dav.ETAG], 0)
        except ItemError:
            return None
        return next((one.text(dav.ETAG) for one in found if one.status == 200), None) or None

    # Discovery (RFC 6764 §6)

    async def home(self, service: str, home_set: str) -> str:
        """Where the person's collections are. `service`: `caldav` or `carddav`; `home_set`: the property that says it.
        Permanent: the server does not tell."""
        account = self.account
        if account.admin:
            home = account.path or f"/{quote(account.user, safe='@')}/"
            try:
                await self.propfind(home, [dav.RESOURCE_TYPE], 0)
            except ItemError:
                status, _, _ = await self.request("MKCOL", home)
                if status not in (201, 405):
                    raise Permanent(
                        f"{account.admin} can neither see nor make {home} ({status})",
                        about=self.about,
                        advice="give the person's home as path, and the rights on it to the administrator",
                    ) from None
            return home if home.endswith("/") else f"{home}/"
        for start in [account.path] if account.path else [f"/.well-known/{service}", "/"]:
            home = await self._home_from(start, home_set)
            if home:
                return home
        raise Permanent(
            f"it does not tell where the collections of {account.user} are",
            about=self.about,
            advice=f"give the address of the {service} service with its path",
        )

    async def _home_from(self, start: str, home_set: str) -> str:
        try:
            found = await self.propfind(start, [dav.PRINCIPAL, home_set], 0)
        except (ItemError, RemoteProtocolError):  # no such place, or a web page: the next one is tried
            return ""
        for one in found:
            if home_set in one.properties and (hrefs := one.properties[home_set].hrefs):
                return canonical(self._url(hrefs[0]))
        for one in found:
            if dav.PRINCIPAL in one.properties and (hrefs := one.properties[dav.PRINCIPAL].hrefs):
                for principal in await self.propfind(self._url(hrefs[0]), [home_set], 0):
                    if home_set in principal.properties and (homes := principal.properties[home_set].hrefs):
                        return canonical(self._url(homes[0]))
        return ""
