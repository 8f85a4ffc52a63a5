"""Who we are to Microsoft Graph: tokens of an application (client credentials, RFC 6749 §4.4), by MSAL.

Invariant: a token goes to Graph's host alone, and is asked for again before it expires, or when Graph says that it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from mailferry.errors import AuthError, ConfigError, Temporary
from mailferry.model.account import GraphAccount
from mailferry.secret import Secret


class GraphLogin(httpx.Auth):
    """The header `Authorization` of every request to `account.host`."""

    def __init__(self, account: GraphAccount) -> None:
        self._account = account
        self._application: Any = None
        self._asked = asyncio.Lock()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        if request.url.host != self._account.host:
            raise AuthError("another host would have got the access token", about=str(request.url.host))
        request.headers["Authorization"] = f"Bearer {(await self._token()).reveal()}"
        response = yield request
        if response.status_code == 401 and not self._account.by_token:
            request.headers["Authorization"] = f"Bearer {(await self._token(anew=True)).reveal()}"
            yield request

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        raise NotImplementedError("Graph is asked asynchronously")

    async def _token(self, *, anew: bool = False) -> Secret:
        if self._account.by_token and self._account.secret:
            return self._account.secret
        async with self._asked:
            return await asyncio.to_thread(self._ask, anew)

    def _ask(self, anew: bool) -> Secret:
        """From MSAL's cache while it is valid. AuthError, Temporary: none is to be had."""
        account = self._account
        try:
            if self._application is None:
                self._application = _application(account)
            if anew:
                self._application.remove_tokens_for_client()
            given = self._application.acquire_token_for_client(scopes=[f"https://{account.host}/.default"])
        except ValueError as error:
            raise ConfigError(
                f"the tenant cannot be asked for a token: {error}", about=account.authority, advice="check ?tenant="
            ) from error
        except OSError as error:  # requests' errors are
            raise Temporary(
                f"no token could be had: {type(error).__name__}", about=account.authority, advice="check the network"
            ) from error
        token = given.get("access_token")
        if isinstance(token, str) and token:
            return Secret(token)
        said = str(given.get("error_description") or given.get("error") or "no reason given").splitlines()[0]
        raise AuthError(
            f"Entra ID gives no token: {said[:300]}",
            about=f"{account.client} at {account.tenant}",
            advice="check tenant, client and its secret or certificate (docs/graph.md)",
        )


def _application(account: GraphAccount) -> Any:
    """ConfigError: the account has no credential, or its certificate cannot be read."""
    try:
        import msal
        import requests
    except ImportError as error:
        raise ConfigError(
            "Graph needs a further package", about="msal", advice="pipx inject mailferry 'mailferry[graph]'"
        ) from error
    session = requests.Session()
    session.trust_env = False  # the environment's CA file would come before the account's
    session.verify = account.ca_file if account.ca_file and account.verify else account.verify
    session.request = partial(session.request, timeout=account.timeout)  # type: ignore[method-assign]
    return msal.ConfidentialClientApplication(
        account.client,
        authority=account.authority,
        client_credential=_credential(account),
        http_client=session,
        instance_discovery=None if account.login.startswith("login.") else False,
    )


def _credential(account: GraphAccount) -> str | dict[str, str]:
    if account.certificate is None:
        if account.secret is None:
            raise ConfigError(
                "it needs the application's secret, or ?certificate=FILE", about=account.key, advice="docs/graph.md"
            )
        return account.secret.reveal()
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    try:
        pem = Path(account.certificate).read_text(encoding="ascii")
        certificate = x509.load_pem_x509_certificate(pem.encode())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"it holds no certificate that can be read: {error}",
            about=account.certificate,
            advice="a PEM file with the private key and the certificate is wanted",
        ) from error
    credential = {
        "private_key": pem,
        "thumbprint": certificate.fingerprint(hashes.SHA1()).hex(),
    }
    return credential | ({"passphrase": account.secret.reveal()} if account.secret else {})
