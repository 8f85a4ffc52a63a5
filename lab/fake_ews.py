"""A FAKE Exchange that speaks EWS over HTTP(S) on loopback, for tests and the bench. It is no Exchange.

It answers from memory (`fake_ews_store`, `fake_ews_answers`), asks for Basic, a bearer token or NTLM (pyspnego's own
server side, so that a whole handshake takes place; not Kerberos), and makes the troubles it is told to. Its answers
follow the published schema, and exchangelib talks to it (tests/integration/test_fake_ews.py).
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
import threading
from collections import Counter, deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from xml.sax.saxutils import escape

import spnego
from lxml import etree
from spnego.exceptions import SpnegoError

from lab.fake_ews_answers import Refused, answer, fault, soap
from lab.fake_ews_store import FakeExchange

PATH = "/EWS/Exchange.asmx"
_DISCOVER = "http://schemas.microsoft.com/exchange/autodiscover"
_BOMB = (
    '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">'
    "<s:Body><x>&c;</x></s:Body></s:Envelope>"
)


@dataclass(frozen=True)
class Trouble:
    """What goes wrong with the next request of an operation ("": any).

    `what`: `busy` (ErrorServerBusy with BackOffMilliseconds `value`), `http` (status `value`, Retry-After 0), `cut`
    (the connection ends after `value` bytes of the answer), `bomb` (XML entities), `fault` (the SOAP fault `value`),
    `html` (a page of a proxy), `hang` (nothing for `value` seconds).
    """

    what: str
    value: Any = 0
    operation: str = ""


class FakeEws:
    """The running server. `schemes`: how it asks to log in. `certificate`: it and its key, for HTTPS. `seen`: how
    often each operation was asked."""

    def __init__(
        self,
        exchange: FakeExchange | None = None,
        *,
        schemes: tuple[str, ...] = ("Basic",),
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        self.exchange = exchange or FakeExchange()
        self.schemes = schemes
        self.troubles: deque[Trouble] = deque()
        self.seen: Counter[str] = Counter()
        self.under_way = self.most_under_way = 0
        self.bodies: list[bytes] = []
        """Every request and every answer, where `keep` is set: for checks against the schema."""
        self.keep = False
        self.poison = ""
        """The connection ends when the item of this id is asked for."""
        self.lock = threading.Lock()
        self._ntlm: Path | None = None
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        self.port: int = self._server.server_address[1]
        self.tls = certificate is not None
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}{PATH}"

    def address(self, mailbox: str, options: str = "") -> str:
        """The mailbox as Mailferry names it."""
        return f"ews://{mailbox}@127.0.0.1:{self.port}?" + "&".join(
            one for one in ("" if self.tls else "tls=none", options) if one
        )

    def __enter__(self) -> FakeEws:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        if self._ntlm is not None:
            self._ntlm.unlink()

    def trouble(self, what: str, value: Any = 0, operation: str = "", times: int = 1) -> None:
        """See `Trouble`."""
        self.troubles.extend([Trouble(what, value, operation)] * times)

    def next_trouble(self, operation: str) -> Trouble | None:
        with self.lock:
            for one in self.troubles:
                if one.operation in ("", operation):
                    self.troubles.remove(one)
                    return one
        return None

    def ntlm_file(self) -> None:
        """pyspnego's server reads who may log in from a file."""
        if self._ntlm is None:
            handle, name = tempfile.mkstemp(prefix="mailferry-ntlm-")
            with os.fdopen(handle, "w") as file:
                for login, password in self.exchange.passwords.items():
                    domain, _, user = login.rpartition("\\")
                    file.write(f"{domain}:{user}:{password}\n")
            self._ntlm = Path(name)
        os.environ["NTLM_USER_FILE"] = str(self._ntlm)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    fake: FakeEws

    def handle_error(self, request: Any, client_address: Any) -> None:
        return  # a client that hangs up is what some tests are about


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 30
    disable_nagle_algorithm = True
    wbufsize = -1
    _login = ""
    _context: Any = None

    def log_message(self, format: str, *args: Any) -> None:
        return

    def do_POST(self) -> None:
        fake = self.server.fake
        data = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        login = self._who()
        if login is None:
            return
        if "autodiscover" in self.path.lower():
            self._reply(200, _discovered(fake, data))
            return
        with fake.lock:
            fake.under_way += 1
            fake.most_under_way = max(fake.most_under_way, fake.under_way)
        try:
            self._ews(fake, login, data)
        finally:
            with fake.lock:
                fake.under_way -= 1

    def _ews(self, fake: FakeEws, login: str, data: bytes) -> None:
        envelope = etree.fromstring(data)
        operation = etree.QName(envelope[-1][0]).localname
        fake.seen[operation] += 1
        if fake.poison and fake.poison.encode() in data:
            self.close_connection = True
            return
        trouble = fake.next_trouble(operation)
        if trouble is not None and self._made(fake, trouble):
            return
        status, text = answer(fake.exchange, login, envelope)
        body = text.encode()
        if fake.keep:
            fake.bodies += [data, body]
        if trouble is not None and trouble.what == "cut":
            self._head(200, len(body))
            self.end_headers()
            self.wfile.write(body[: trouble.value])
            self.close_connection = True
            return
        self._reply(status, body)

    def _made(self, fake: FakeEws, trouble: Trouble) -> bool:
        """The trouble in place of an answer; False where an answer is part of it."""
        if trouble.what == "busy":
            values = (("BackOffMilliseconds", str(trouble.value)),)
            self._reply(
                500, soap(fake.exchange, fault(Refused("ErrorServerBusy", "Try again later.", values))).encode()
            )
        elif trouble.what == "fault":
            self._reply(
                500, soap(fake.exchange, fault(Refused(trouble.value, "The fake was told to say so."))).encode()
            )
        elif trouble.what == "http":
            self._reply(trouble.value, b"busy", "text/plain", {"Retry-After": "0"})
        elif trouble.what == "bomb":
            self._reply(200, _BOMB.encode())
        elif trouble.what == "html":
            self._reply(200, b"<!DOCTYPE html><html><body>Sign in</body></html>", "text/html")
        elif trouble.what == "hang":
            threading.Event().wait(trouble.value)
            return False
        else:
            return False
        return True

    # Who is asking

    def _who(self) -> str | None:
        """The login; None where the answer was 401."""
        fake = self.server.fake
        if self._login:
            return self._login
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer" and value in fake.exchange.tokens:
            return fake.exchange.tokens[value]
        if scheme == "Basic" and "Basic" in fake.schemes:
            login, _, password = _plain(value).partition(":")
            if fake.exchange.passwords.get(login) == password:
                return login
        if scheme in ("NTLM", "Negotiate") and scheme in fake.schemes:
            return self._handshake(fake, scheme, value)
        offers = ['Bearer error="invalid_token"'] if scheme == "Bearer" else list(fake.schemes)
        self._refuse(offers)
        return None

    def _handshake(self, fake: FakeEws, scheme: str, value: str) -> str | None:
        with fake.lock:
            fake.ntlm_file()
            if self._context is None:
                self._context = spnego.server(protocol=scheme.lower() if scheme == "Negotiate" else "ntlm")
            try:
                token = self._context.step(base64.b64decode(value))
            except SpnegoError:
                self._context = None
                self._refuse(list(fake.schemes))
                return None
        if not self._context.complete:
            self._refuse([f"{scheme} {base64.b64encode(token or b'').decode()}"])
            return None
        name = str(self._context.client_principal)
        self._login = next((one for one in fake.exchange.passwords if one.lower() == name.lower()), name)
        return self._login

    def _refuse(self, offers: list[str]) -> None:
        self.send_response(401)
        for one in offers:
            self.send_header("WWW-Authenticate", one if " " in one or one != "Basic" else 'Basic realm="fake"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _head(self, status: int, length: int, kind: str = "text/xml; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))

    def _reply(
        self, status: int, body: bytes, kind: str = "text/xml; charset=utf-8", headers: dict[str, str] | None = None
    ) -> None:
        self._head(status, len(body), kind)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _plain(value: str) -> str:
    try:
        return base64.b64decode(value).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _discovered(fake: FakeEws, data: bytes) -> bytes:
    """Autodiscover's plain XML ([MS-OXDSCLI])."""
    wanted = etree.fromstring(data).findtext(".//{*}EMailAddress") or ""
    outer = f'<Autodiscover xmlns="{_DISCOVER}/responseschema/2006">'
    if wanted.lower() not in fake.exchange.mailboxes:
        inner = (
            '<Response><Error Time="10:00:00" Id="1"><ErrorCode>500</ErrorCode>'
            "<Message>The e-mail address cannot be found.</Message><DebugData/></Error></Response>"
        )
        return f"{outer}{inner}</Autodiscover>".encode()
    inner = (
        f'<Response xmlns="{_DISCOVER}/outlook/responseschema/2006a"><User><DisplayName>{escape(wanted)}</DisplayName>'
        f"<AutoDiscoverSMTPAddress>{escape(wanted)}</AutoDiscoverSMTPAddress></User><Account><AccountType>email"
        f"</AccountType><Action>settings</Action><Protocol><Type>EXCH</Type><EwsUrl>{fake.url}</EwsUrl></Protocol>"
        "</Account></Response>"
    )
    return f"{outer}{inner}</Autodiscover>".encode()
