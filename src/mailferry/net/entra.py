"""Access tokens of an application from Entra ID (client credentials, RFC 6749 §4.4), by MSAL.

One token serves every mailbox of this process until shortly before it expires. Invariant: what proves the application
goes to its authority alone.
"""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from pathlib import Path
from typing import Any

from mailferry.errors import AuthError, ConfigError, Temporary
from mailferry.model.account import Application, EwsAccount, GraphAccount, ImapAccount
from mailferry.secret import Secret

_Account = GraphAccount | ImapAccount | EwsAccount
_known: dict[tuple[Application, Secret | None], Any] = {}
"""MSAL's applications, which keep the tokens."""
_asking = threading.Lock()


async def token(account: _Account, scope: str, *, anew: bool = False) -> Secret:
    """For what `scope` names. `anew`: the last one was refused. AuthError, ConfigError, Temporary: there is none."""
    return await asyncio.to_thread(_token, account, scope, anew)


def _token(account: _Account, scope: str, anew: bool) -> Secret:
    application = account.application
    if application is None:
        raise ConfigError("no application is named to get an access token", about=account.key, advice="docs/graph.md")
    try:
        with _asking:
            key = (application, account.secret)
            asked = _known.get(key)
            if asked is None:
                asked = _known[key] = _client(account, application)
            if anew:
                asked.remove_tokens_for_client()
            given = asked.acquire_token_for_client(scopes=[scope])
    except ValueError as error:
        raise ConfigError(
            f"the tenant cannot be asked for a token: {error}", about=application.authority, advice="check ?tenant="
        ) from error
    except OSError as error:  # requests' errors are
        raise Temporary(
            f"no token could be had: {type(error).__name__}", about=application.authority, advice="check the network"
        ) from error
    found = given.get("access_token")
    if isinstance(found, str) and found:
        return Secret(found)
    said = str(given.get("error_description") or given.get("error") or "no reason given").splitlines()[0]
    raise AuthError(
        f"Entra ID gives no token: {said[:300]}",
        about=f"{application.client} at {application.tenant}",
        advice="check tenant, client and its secret or certificate (docs/graph.md)",
    )


def _client(account: _Account, application: Application) -> Any:
    """ConfigError: there is no credential, its certificate cannot be read, or a package is missing."""
    try:
        import msal
        import requests
    except ImportError as error:
        raise ConfigError(
            "Entra ID needs a further package", about="msal", advice="pipx inject mailferry 'mailferry[graph]'"
        ) from error
    session = requests.Session()
    session.trust_env = False  # the environment's CA file would come before the account's
    session.verify = account.ca_file if account.ca_file and account.verify else account.verify
    session.request = partial(session.request, timeout=account.timeout)  # type: ignore[method-assign]
    return msal.ConfidentialClientApplication(
        application.client,
        authority=application.authority,
        client_credential=_credential(application, account.secret, account.key),
        http_client=session,
        instance_discovery=None if application.login.startswith("login.") else False,
    )


def _credential(application: Application, secret: Secret | None, about: str) -> str | dict[str, str]:
    if application.certificate is None:
        if secret is None:
            raise ConfigError(
                "it needs the application's secret, or ?certificate=FILE", about=about, advice="docs/graph.md"
            )
        return secret.reveal()
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    try:
        pem = Path(application.certificate).read_text(encoding="ascii")
        certificate = x509.load_pem_x509_certificate(pem.encode())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"it holds no certificate that can be read: {error}",
            about=application.certificate,
            advice="a PEM file with the private key and the certificate is wanted",
        ) from error
    found = {"private_key": pem, "thumbprint": certificate.fingerprint(hashes.SHA1()).hex()}
    return found | ({"passphrase": secret.reveal()} if secret else {})
