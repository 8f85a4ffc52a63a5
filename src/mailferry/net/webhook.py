"""Posts one JSON document to a webhook over HTTP/1.1 (RFC 9112). Follows no redirect, keeps no connection, reads of the
answer only its status.

Invariant: it ends within the seconds given, whatever the other side does.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from mailferry import __version__
from mailferry.errors import ConfigError, RemoteProtocolError, Temporary
from mailferry.net import tls

_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: .*)?\r?\n")
_LINE = 8192
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_TEXT = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


async def post(url: str, body: bytes, headers: Mapping[str, str], seconds: float, ca_file: str | None = None) -> int:
    """The status of the answer. Temporary: no connection, or no answer in time; RemoteProtocolError: it is not HTTP;
    ConfigError: the URL or a header cannot be sent."""
    place = urlsplit(url)
    if place.scheme not in ("http", "https") or not place.hostname:
        raise ConfigError("not the address of a webhook", about=url, advice="https://HOST/PATH")
    port = place.port or (443 if place.scheme == "https" else 80)
    target = (place.path or "/") + (f"?{place.query}" if place.query else "")
    lines = {
        "Host": place.netloc,
        "User-Agent": f"Mailferry/{__version__}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **headers,
    }
    if not _VISIBLE.fullmatch(target) or not all(map(_TEXT.fullmatch, lines.values())):
        raise ConfigError("it has characters that HTTP does not take", about=f"{place.scheme}://{place.netloc}")
    head = f"POST {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
    context = tls.context(verify=True, ca_file=ca_file) if place.scheme == "https" else None
    about = f"{place.scheme}://{place.netloc}"
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(place.hostname, port, ssl=context, limit=_LINE)
            try:
                writer.write(head.encode("ascii") + body)
                await writer.drain()
                answer = await reader.readline()
            finally:
                writer.transport.abort()
    except TimeoutError as error:
        raise Temporary(f"no answer in {seconds:g} s", about=about) from error
    except OSError as error:
        raise tls.explain(error, place.hostname, port) from error
    except ValueError as error:
        raise RemoteProtocolError("its answer is no HTTP", about=about) from error
    status = _STATUS.fullmatch(answer)
    if status is None:
        raise RemoteProtocolError("its answer is no HTTP", about=about)
    return int(status[1])
