"""Logs in over HTTP with an access token: one that is given, or those that Entra ID gives an application.

Invariant: the token goes to the account's own host alone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import httpx

from mailferry.errors import AuthError
from mailferry.model.account import EwsAccount, GraphAccount
from mailferry.net.entra import token
from mailferry.secret import Secret


class TokenLogin(httpx.Auth):
    """The header `Authorization` of every request to `account.host`. `resource`: what the token is for, without a path;
    default: the host itself."""

    def __init__(self, account: GraphAccount | EwsAccount, resource: str = "") -> None:
        self._account = account
        self._scope = f"{resource or f'https://{account.host}'}/.default"

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        if request.url.host != self._account.host:
            raise AuthError("another host would have got the access token", about=str(request.url.host))
        request.headers["Authorization"] = f"Bearer {(await self._token(False)).reveal()}"
        response = yield request
        if response.status_code == 401 and self._account.application is not None:
            request.headers["Authorization"] = f"Bearer {(await self._token(True)).reveal()}"
            yield request

    async def _token(self, anew: bool) -> Secret:
        account = self._account
        if account.application is None and account.secret is not None:
            return account.secret
        return await token(account, self._scope, anew=anew)
