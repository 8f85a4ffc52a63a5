"""HTTP to one server, for sources that speak it: connections, log-in, errors in our words, pauses that were asked for.

Knows no format of what is sent. Invariants: at most `slots` requests are under way, each on a connection of its own;
a body is bounded by who reads it, never collected here. A pause that the server asks for (429, 503
with Retry-After) is obeyed here, for all requests of this client: the server has not done what was asked, so that is
flow control and no second attempt. What failed is not tried again here.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import logging
import ssl
import time
from collections.abc import AsyncIterator

from mailferry.errors import AuthError, ConfigError, MailferryError, Permanent, RemoteProtocolError, Temporary
from mailferry.net.tls import explain

try:
    import httpx
except ImportError as error:
    raise ConfigError("it needs httpx, which is not installed", advice="pip install 'mailferry[ews]'") from error

log = logging.getLogger("mailferry.net")

MOST_PAUSE = 300.0
"""Seconds of pauses for one request, before the caller hears of it."""

DEFAULT_PAUSE = 10.0


class Pause:
    """What one client waits for: no request begins before."""

    def __init__(self) -> None:
        self._until = 0.0

    def extend(self, seconds: float) -> None:
        self._until = max(self._until, time.monotonic() + seconds)

    async def wait(self) -> None:
        while (left := self._until - time.monotonic()) > 0:
            await asyncio.sleep(left)


class Http:
    """One server and one way to log in there. `about` names it in errors. `no_entry`: the statuses that refuse who we
    are, and not what was asked for."""

    def __init__(
        self,
        about: str,
        context: ssl.SSLContext | None,
        auth: httpx.Auth,
        *,
        timeout: float,
        slots: int = 1,
        no_entry: tuple[int, ...] = (401, 403),
    ) -> None:
        self.about = about
        self._no_entry = no_entry
        self.pause = Pause()
        self._free: asyncio.LifoQueue[httpx.AsyncClient] = asyncio.LifoQueue()
        self._clients = [
            httpx.AsyncClient(
                auth=auth,
                verify=context if context is not None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # trusts nobody
                timeout=timeout,
                limits=httpx.Limits(max_connections=1, keepalive_expiry=60),
                trust_env=False,
                headers={"User-Agent": "Mailferry", "Accept-Encoding": "identity"},
            )
            for _ in range(slots)
        ]
        for client in self._clients:
            self._free.put_nowait(client)

    @contextlib.asynccontextmanager
    async def send(
        self, method: str, url: str, *, content: bytes | None = None, headers: dict[str, str] | None = None
    ) -> AsyncIterator[httpx.Response]:
        """The response, its body unread, of any status but 401, 403, 429 and a 503 that asks for a pause.

        Temporary: no connection, a cut one, or the server still asks for pauses after `MOST_PAUSE` seconds. AuthError:
        401, 403.
        """
        client = await self._free.get()
        waited = 0.0
        try:
            while True:
                await self.pause.wait()
                async with client.stream(method, url, content=content, headers=headers) as response:
                    asked = _asked_pause(response)
                    if asked is None:
                        await self._refused(response)
                        yield response
                        return
                waited += asked
                self.hold(asked, waited, f"HTTP {response.status_code}")
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise self._explained(error) from error
        finally:
            self._free.put_nowait(client)

    def hold(self, seconds: float, waited: float, why: str) -> None:
        """The server asked everybody here to wait. `waited`: by one request altogether."""
        if waited > MOST_PAUSE:
            raise Temporary(f"the server is busy ({why})", about=self.about, retry_after=seconds)
        log.info("%s: waits %.1f s as the server asks (%s)", self.about, seconds, why)
        self.pause.extend(seconds)

    async def _refused(self, response: httpx.Response) -> None:
        if response.status_code not in self._no_entry:
            return
        said = response.headers.get("x-ms-diagnostics") or response.headers.get("www-authenticate", "")
        expired = "invalid_token" in said or "expired" in said
        raise AuthError(
            "the access token is no longer valid"
            if expired
            else f"the server refused the log-in (HTTP {response.status_code})",
            about=self.about,
            advice="get a new token and run the same command again: it continues where it stopped" if expired else "",
        )

    def _explained(self, error: httpx.HTTPError | httpx.StreamError) -> MailferryError:
        if isinstance(error, httpx.TimeoutException):
            return Temporary("the server did not answer in time", about=self.about)
        if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError):
            return Temporary("the connection was cut in the middle of an answer", about=self.about)
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__cause__ or cause.__context__
        if isinstance(cause, OSError):
            host, _, port = self.about.rpartition(":")
            return explain(cause, host, int(port) if port.isdigit() else 443)
        return RemoteProtocolError(f"HTTP failed: {type(error).__name__}", about=self.about)

    async def close(self) -> None:
        """May be called twice."""
        for client in self._clients:
            await client.aclose()


def _asked_pause(response: httpx.Response) -> float | None:
    """The seconds that a response asks to wait (RFC 9110 §10.2.3); None where it does not."""
    if response.status_code == 429 or (response.status_code == 503 and "retry-after" in response.headers):
        value = response.headers.get("retry-after", "")
        if value.isdigit():
            return float(value)
        when = email.utils.parsedate_tz(value)
        if when is not None:
            return max(0.0, email.utils.mktime_tz(when) - time.time())
        return DEFAULT_PAUSE
    return None


def status_error(response: httpx.Response, about: str) -> MailferryError:
    """An unexpected status as one of ours."""
    status = response.status_code
    if status >= 500:
        return Temporary(f"the server answers with an error (HTTP {status})", about=about)
    if status == 404:
        return Permanent("there is nothing of this kind at this address (HTTP 404)", about=about)
    return RemoteProtocolError(f"an answer that this protocol does not know (HTTP {status})", about=about)
