"""Where a mailbox's EWS is: asks Autodiscover of its domain. Reads no mailbox.

Source: [MS-OXDSCLI] §3.1.5: the domain itself, then `autodiscover.` below it, over HTTPS, and where they redirect
to over HTTPS. Not asked: plain HTTP, the service record in DNS, the connection point in Active Directory; where only
these would tell, the address names the server. Credentials go to verified HTTPS servers only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from mailferry.errors import AuthError, MailferryError, Permanent, RemoteProtocolError
from mailferry.model.account import EwsAccount
from mailferry.net import tls
from mailferry.net.http import Http
from mailferry.net.http_auth import auth_of
from mailferry.wire.ews import autodiscover

_PATH = "/autodiscover/autodiscover.xml"
_HOPS = 5


async def located(account: EwsAccount) -> EwsAccount:
    """The account with its server's real address; as it is where the address names the server. The key of the first
    goes on naming the mailbox."""
    if not account.discover:
        return account
    places = [f"https://{name}:{account.port}{_PATH}" for name in (account.host, f"autodiscover.{account.host}")]
    url = await _ask(account, places)
    found = urlsplit(url)
    if found.scheme != "https" or not found.hostname:
        raise RemoteProtocolError(f"Autodiscover names {url}, which is no HTTPS address", about=account.host)
    return replace(account, host=found.hostname, port=found.port or 443, path=found.path or account.path)


async def _ask(account: EwsAccount, places: Sequence[str]) -> str:
    said: list[str] = []
    waiting, asked, address = list(places), 0, account.user
    while waiting and asked < len(places) + _HOPS:
        place, asked = waiting.pop(0), asked + 1
        try:
            told = await _once(account, place, address)
        except AuthError:
            raise
        except MailferryError as error:
            said.append(f"{urlsplit(place).hostname}: {error.message}")
            continue
        if told.ews:
            return told.ews
        if told.address:
            address, waiting = told.address, list(places)
        elif told.url.startswith("https://"):
            waiting.insert(0, told.url)
        else:
            said.append(f"{urlsplit(place).hostname}: {told.error or 'it names no server'}")
    raise Permanent(
        f"Autodiscover finds no server for it ({'; '.join(said)})",
        about=account.user,
        advice="name the server: ews://mailbox@domain@server",
    )


async def _once(account: EwsAccount, url: str, address: str) -> autodiscover.Told:
    host = urlsplit(url).hostname or ""
    context = tls.context(verify=account.verify, ca_file=account.ca_file, client_certificate=account.client_certificate)
    login = account.login or account.admin or account.user
    http = Http(host, context, auth_of(account.mechanism, login, account.secret, host), timeout=account.timeout)
    headers = {"Content-Type": "text/xml; charset=utf-8"}
    try:
        async with http.send("POST", url, content=autodiscover.question(address), headers=headers) as response:
            if response.is_redirect:
                return autodiscover.Told(url=response.headers.get("location", ""))
            if response.status_code != 200:
                raise RemoteProtocolError(f"HTTP {response.status_code}")
            data = b""
            async for piece in response.aiter_bytes():
                data += piece
                if len(data) > autodiscover.MOST:
                    raise RemoteProtocolError("an answer without end")
            return autodiscover.answer(data)
    finally:
        await http.close()
