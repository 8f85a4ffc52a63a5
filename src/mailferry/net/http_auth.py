"""Who we are, over HTTP: Basic, a bearer token, NTLM and Kerberos (Negotiate). Opens no connection.

NTLM and Negotiate (RFC 4559) say who somebody is once per connection, so whoever uses them gives each client one
connection only. Over TLS both are bound to the server's certificate (RFC 5929, tls-server-end-point), as Exchange with
Extended Protection demands.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Generator
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from spnego.channel_bindings import GssChannelBindings

from mailferry.errors import AuthError, ConfigError
from mailferry.model.account import HttpLogin
from mailferry.secret import Secret


def auth_of(login: HttpLogin, user: str, secret: Secret | None, host: str) -> httpx.Auth:
    """What httpx asks for credentials. ConfigError: a secret is needed and there is none."""
    if login is HttpLogin.KERBEROS:
        return ByConnection(user if secret else "", secret, host, ("negotiate",))
    if secret is None:
        raise ConfigError("it needs a password or a token", about=f"{user} at {host}")
    if login is HttpLogin.OAUTH:
        return _Bearer(secret)
    if login is HttpLogin.BASIC:
        return httpx.BasicAuth(user.encode(), secret.reveal().encode())
    if login is HttpLogin.NTLM:
        return ByConnection(user, secret, host, ("ntlm", "negotiate"))
    return ByConnection(user, secret, host, ("negotiate", "ntlm", "basic"))


class _Bearer(httpx.Auth):
    def __init__(self, token: Secret) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._token.reveal()}"
        yield request


class ByConnection(httpx.Auth):
    """The first of `schemes` that the server offers. A connection that is known already is not asked again."""

    def __init__(self, user: str, secret: Secret | None, host: str, schemes: tuple[str, ...]) -> None:
        self._user = user
        self._secret = secret
        self._host = host
        self._schemes = schemes
        self._basic = False

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._basic:
            request.headers["Authorization"] = self._plain()
        response = yield request
        if response.status_code != 401 or self._basic:
            return
        offered = {one.strip().split(" ")[0].lower() for one in response.headers.get_list("www-authenticate", True)}
        scheme = next((one for one in self._schemes if one in offered), None)
        if scheme is None:
            raise AuthError(
                f"the server offers {', '.join(sorted(offered)) or 'nothing'} to log in with",
                about=self._host,
                advice="name one of them: ?auth=basic, ntlm, kerberos or oauth",
            )
        if scheme == "basic":
            self._basic = True
            request.headers["Authorization"] = self._plain()
            yield request
            return
        yield from self._handshake(request, response, scheme)

    def _plain(self) -> str:
        pair = f"{self._user}:{self._secret.reveal() if self._secret else ''}"
        return "Basic " + base64.b64encode(pair.encode()).decode()

    def _handshake(
        self, request: httpx.Request, response: httpx.Response, scheme: str
    ) -> Generator[httpx.Request, httpx.Response, None]:
        import spnego
        from spnego.exceptions import SpnegoError

        shown = "Negotiate" if scheme == "negotiate" else "NTLM"
        try:
            context = spnego.client(
                self._user or None,
                self._secret.reveal() if self._secret else None,
                hostname=self._host,
                service="HTTP",
                protocol=scheme,
                channel_bindings=_binding(response),
            )
            token = context.step()
            while token is not None and response.status_code == 401:
                request.headers["Authorization"] = f"{shown} {base64.b64encode(token).decode()}"
                response = yield request
                answer = _challenge(response, shown)
                if response.status_code != 401 or answer is None:
                    break
                token = context.step(answer)
        except (SpnegoError, ImportError, ValueError) as error:
            raise AuthError(
                f"{shown} cannot log in: {type(error).__name__}",
                about=f"{self._user} at {self._host}",
                advice="check user and password; Kerberos needs a ticket (kinit) and `pip install pyspnego[kerberos]`",
            ) from error
        finally:
            request.headers.pop("Authorization", None)


def _challenge(response: httpx.Response, scheme: str) -> bytes | None:
    for one in response.headers.get_list("www-authenticate", True):
        name, _, token = one.strip().partition(" ")
        if name.lower() == scheme.lower() and token:
            return base64.b64decode(token)
    return None


def _binding(response: httpx.Response) -> GssChannelBindings | None:
    """The channel binding of the connection that the response came over; None without TLS."""
    from spnego.channel_bindings import GssChannelBindings

    stream = response.extensions.get("network_stream")
    over = stream.get_extra_info("ssl_object") if stream is not None else None
    certificate = over.getpeercert(True) if over is not None else None
    if not certificate:
        return None
    return GssChannelBindings(application_data=b"tls-server-end-point:" + _digest(certificate))


def _digest(certificate: bytes) -> bytes:
    """By the hash of the certificate's own signature, SHA-256 in place of MD5 and SHA-1 (RFC 5929 §4.1)."""
    from cryptography import x509

    algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    name = algorithm.name if algorithm is not None else "sha256"
    return hashlib.new("sha256" if name in ("md5", "sha1") else name, certificate).digest()
