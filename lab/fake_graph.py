"""A FAKE Microsoft Graph and Entra ID over HTTPS on loopback, for tests. It is neither.

Mail comes from the same mailboxes as the fake EWS has (`fake_ews_store`), so that one mailbox can be read through both
doors; events, contacts and tasks are JSON that a test gives. It answers what Mailferry asks for and nothing else, pages
everything, and makes the troubles that it is told to.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

from lab.fake_ews_store import FakeExchange, FakeFolder, FakeItem, FakeMailbox, entry_of

TENANT, CLIENT, SECRET = "acme.example", "11111111-2222-3333-4444-555555555555", "fake-client-secret"
_NOT_MAIL = ("IPF.Appointment", "IPF.Contact", "IPF.Task", "IPF.StickyNote")
_TYPES = "http://schemas.microsoft.com/exchange/services/2006/types"


@dataclass
class FakeGroupware:
    """What one mailbox holds beside mail: Graph's own JSON, by collection (`calendars/ID`, `contacts`,
    `contactFolders/ID`, `todo/lists/ID`), and files by the path below the user (`events/ID/attachments/ID`)."""

    calendars: list[dict[str, Any]] = field(default_factory=list)
    contact_folders: list[dict[str, Any]] = field(default_factory=list)
    task_lists: list[dict[str, Any]] = field(default_factory=list)
    items: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    rules: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=lambda: {"automaticRepliesSetting": {"status": "disabled"}})
    files: dict[str, bytes] = field(default_factory=dict)
    attachments: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Trouble:
    """What goes wrong with the next request whose path holds `where`: `status` (with Retry-After 0 for 429), `cut`
    (the answer ends after that many bytes)."""

    where: str
    status: int = 0
    code: str = "fake"
    cut: int = 0


class FakeGraph:
    """The running server. `seen`: how often each kind of request came; `page`: items of one page."""

    def __init__(self, exchange: FakeExchange, certificate: Path, key: Path, page: int = 3) -> None:
        self.exchange = exchange
        self.groupware: dict[str, FakeGroupware] = {}
        self.page = page
        self.troubles: deque[Trouble] = deque()
        self.seen: Counter[str] = Counter()
        self.tokens_given = 0
        self.good_tokens: set[str] = set()
        self.denied: set[str] = set()
        """Mailboxes that the application may not open."""
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        self.port: int = self._server.server_address[1]
        self.certificate = certificate
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def address(self, mailbox: str, options: str = "") -> str:
        """The mailbox as Mailferry names it."""
        more = f"&{options}" if options else ""
        return (
            f"graph:{mailbox}?host=127.0.0.1:{self.port}&authority=127.0.0.1:{self.port}&tenant={TENANT}"
            f"&client={CLIENT}&ca={self.certificate}{more}"
        )

    def __enter__(self) -> FakeGraph:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def next_trouble(self, path: str) -> Trouble | None:
        with self.lock:
            for one in self.troubles:
                if one.where in path:
                    self.troubles.remove(one)
                    return one
        return None

    def token(self) -> str:
        with self.lock:
            self.tokens_given += 1
            token = f"fake-token-{self.tokens_given}-{time.monotonic_ns()}"
            self.good_tokens.add(token)
            return token


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    fake: FakeGraph

    def handle_error(self, request: Any, client_address: Any) -> None:
        return  # a client that hangs up is what some tests are about


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Any] | bytes
    headers: tuple[tuple[str, str], ...] = ()


def refused(status: int, code: str) -> Answer:
    return Answer(status, {"error": {"code": code, "message": "The fake was told to say so."}})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 30
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: Any) -> None:
        return

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        fake = self.server.fake
        data = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if not self.path.startswith("/v1.0/"):
            self._reply(_entra(fake, self.path, data))
            return
        if self.headers.get("Authorization", "").removeprefix("Bearer ") not in fake.good_tokens:
            self._reply(refused(401, "InvalidAuthenticationToken"))
            return
        path = self.path.removeprefix("/v1.0")
        trouble = fake.next_trouble(path)
        if path == "/$batch":
            fake.seen["$batch"] += 1
            answers = []
            for one in json.loads(data)["requests"]:
                inner = fake.next_trouble(one["url"])
                answer = _troubled(inner) if inner else None
                answer = answer or _graph(fake, one["method"], one["url"], one.get("headers", {}), b"")
                answers.append(
                    {"id": one["id"], "status": answer.status, "headers": dict(answer.headers), "body": answer.body}
                )
            self._reply(Answer(200, {"responses": answers[::-1]}))  # in any order, as Graph does
            return
        answer = _troubled(trouble) if trouble else None
        answer = answer or _graph(fake, method, path, dict(self.headers), data)
        self._reply(answer, trouble.cut if trouble else 0)

    def _reply(self, answer: Answer, cut: int = 0) -> None:
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if cut:
            self.wfile.write(body[:cut])
            self.close_connection = True
            return
        self.wfile.write(body)


def _troubled(trouble: Trouble) -> Answer | None:
    if not trouble.status:
        return None
    answer = refused(trouble.status, trouble.code)
    return Answer(answer.status, answer.body, (("Retry-After", "0"),)) if trouble.status == 429 else answer


def _entra(fake: FakeGraph, path: str, data: bytes) -> Answer:
    """OpenID discovery and the token endpoint."""
    base = f"https://127.0.0.1:{fake.port}/{TENANT}"
    if path.endswith("/.well-known/openid-configuration"):
        found = {
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        }
        return Answer(200, {**found, "issuer": f"{base}/v2.0"})
    form = {name: values[0] for name, values in parse_qs(data.decode()).items()}
    fake.seen["token"] += 1
    proven = form.get("client_secret") == SECRET or "client_assertion" in form
    if form.get("client_id") != CLIENT or not proven or form.get("grant_type") != "client_credentials":
        return Answer(401, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret."})
    return Answer(200, {"token_type": "Bearer", "expires_in": 3599, "access_token": fake.token()})


def _graph(fake: FakeGraph, method: str, url: str, headers: dict[str, str], data: bytes) -> Answer:
    parts = urlsplit(url)
    path, query = unquote(parts.path), {key: one[0] for key, one in parse_qs(parts.query).items()}
    found = re.fullmatch(r"/users/([^/]+)/(.*)", path)
    if found is None:
        return refused(404, "ResourceNotFound")
    user, rest = found[1], found[2]
    if user in fake.denied:
        return refused(403, "ErrorAccessDenied")
    mailbox = fake.exchange.mailboxes.get(user)
    if mailbox is None:
        return refused(404, "ErrorInvalidUser")
    fake.seen[re.sub(r"/[A-Za-z0-9+=_-]{12,}", "/ID", rest)] += 1
    if method == "POST" and rest == "translateExchangeIds":
        asked = json.loads(data)["inputIds"]
        values = [
            {"sourceId": one, "targetId": base64.urlsafe_b64encode(entry_of(_ews_id(one))).decode()} for one in asked
        ]
        return Answer(200, {"value": values})
    held = fake.groupware.get(user, FakeGroupware())
    if rest == "mailFolders/inbox/messageRules":
        return _paged(fake, held.rules, query, url)
    if rest == "mailboxSettings":
        return Answer(200, held.settings)
    if rest.startswith(("mailFolders", "messages")):
        return _mail(fake, mailbox, rest, query, url)
    return _groupware(fake, held, rest, query, url, headers)


# Mail


def _graph_id(name: str) -> str:
    return name.replace("+", "-").replace("/", "_")


def _ews_id(name: str) -> str:
    return name.replace("-", "+").replace("_", "/")


def _mail(fake: FakeGraph, mailbox: FakeMailbox, rest: str, query: dict[str, str], url: str) -> Answer:
    shown = [
        one
        for one in mailbox.folders.values()
        if one.distinguished not in ("root", "msgfolderroot") and one.folder_class not in _NOT_MAIL
    ]
    levels = rest.split("/")
    if levels[0] == "messages":
        item = mailbox.by_id.get(_ews_id(levels[1]))
        if item is None:
            return refused(404, "ErrorItemNotFound")
        if item.refuses:
            return refused(400, item.refuses)
        return Answer(200, item.mime) if levels[-1] == "$value" else Answer(200, _message(item))
    if len(levels) == 1:
        top = mailbox.known("msgfolderroot").id
        return _paged(fake, [_folder(one, shown) for one in shown if one.parent == top], query, url)
    name = _ews_id(levels[1])
    folder = next((one for one in shown if name == one.id or levels[1] == one.distinguished), None)
    if folder is None:
        return refused(404, "ErrorItemNotFound")
    if len(levels) == 2:
        return Answer(200, _folder(folder, shown))
    if levels[2] == "childFolders":
        return _paged(fake, [_folder(one, shown) for one in shown if one.parent == folder.id], query, url)
    if levels[-1] == "delta":
        return _delta(fake, folder, query, url)
    return _paged(fake, [_message(one) for one in folder.items.values()], query, url)


def _delta(fake: FakeGraph, folder: FakeFolder, query: dict[str, str], url: str) -> Answer:
    start = int(query.get("$deltatoken", query.get("$skiptoken", "0:0")).partition(":")[0])
    if start < 0 or start > len(folder.log):
        return refused(410, "SyncStateNotFound")
    part = folder.log[start : start + fake.page]
    value = []
    for what, name in part:
        one: dict[str, Any] = {"id": _graph_id(name)}
        if what == "gone":
            one["@removed"] = {"reason": "deleted"}
        elif name not in folder.items:
            continue
        value.append(one)
    base = f"https://127.0.0.1:{fake.port}/v1.0{url.partition('?')[0]}"
    after = start + len(part)
    if after < len(folder.log):
        return Answer(200, {"value": value, "@odata.nextLink": f"{base}?$skiptoken={after}"})
    return Answer(200, {"value": value, "@odata.deltaLink": f"{base}?$deltatoken={after}"})


def _folder(folder: FakeFolder, shown: list[FakeFolder]) -> dict[str, Any]:
    return {
        "id": _graph_id(folder.id),
        "displayName": folder.name,
        "parentFolderId": _graph_id(folder.parent),
        "childFolderCount": sum(one.parent == folder.id for one in shown),
        "totalItemCount": len(folder.items),
        "isHidden": folder.hidden,
        "singleValueExtendedProperties": [
            {"id": "Binary 0xfff", "value": base64.b64encode(folder.entry_id).decode()},
            {"id": "String 0x3613", "value": folder.folder_class},
        ],
    }


def _message(item: FakeItem) -> dict[str, Any]:
    def texts(uri: str) -> list[str]:
        tree = ElementTree.fromstring(f'<a xmlns:t="{_TYPES}">{item.fields.get(uri, "")}</a>')
        return [one.text or "" for one in tree.iter() if one is not tree and not len(one)]

    def field_of(uri: str) -> str:
        return next(iter(texts(uri)), "")

    categories = texts("item:Categories")
    extended = {key: value for key, (_, value) in item.extended.items()}
    return {
        "id": _graph_id(item.id),
        "isRead": field_of("message:IsRead") == "true",
        "isDraft": field_of("item:IsDraft") == "true",
        "flag": {"flagStatus": "flagged" if extended.get("0x1090") == "2" else "notFlagged"},
        "categories": categories,
        "receivedDateTime": field_of("item:DateTimeReceived"),
        "internetMessageId": field_of("message:InternetMessageId") or None,
        "singleValueExtendedProperties": [
            {"id": "Binary 0xfff", "value": extended["0x0fff"]},
            {"id": "String 0x1a", "value": field_of("item:ItemClass")},
            {"id": "Integer 0xe08", "value": field_of("item:Size")},
            *([{"id": "Integer 0x1081", "value": extended["0x1081"]}] if "0x1081" in extended else []),
        ],
    }


# Events, contacts, tasks


def _groupware(
    fake: FakeGraph, held: FakeGroupware, rest: str, query: dict[str, str], url: str, headers: dict[str, str]
) -> Answer:
    lists = {"calendars": held.calendars, "contactFolders": held.contact_folders, "todo/lists": held.task_lists}
    if rest in lists:
        return _paged(fake, lists[rest], query, url)
    if rest in held.files:
        return Answer(200, held.files[rest])
    if rest in held.attachments:
        return _paged(fake, held.attachments[rest], query, url)
    collection = rest.removesuffix("/events").removesuffix("/tasks")
    if collection != "contacts":
        collection = collection.removesuffix("/contacts")
    if collection in held.items:
        return _paged(fake, held.items[collection], query, url)
    everything = [one for part in held.items.values() for one in part]
    one = next((one for one in everything if one["id"] == rest.rpartition("/")[2]), None)
    if one is None:
        return refused(404, "ErrorItemNotFound")
    wanted = {key.lower(): value for key, value in headers.items()}.get("prefer", "")
    zone = re.search(r'outlook\.timezone="([^"]*)"', wanted)
    if rest.startswith("events/") and "start" in one and (zone[1] if zone else "UTC") != one["start"]["timeZone"]:
        return refused(400, "the fake knows each event in its own zone alone")
    return Answer(200, one)


def _paged(fake: FakeGraph, values: list[dict[str, Any]], query: dict[str, str], url: str) -> Answer:
    start = int(query.get("$skip", "0"))
    page: dict[str, Any] = {"value": values[start : start + fake.page]}
    if start + fake.page < len(values):
        path = url.partition("?")[0]
        page["@odata.nextLink"] = f"https://127.0.0.1:{fake.port}/v1.0{path}?$skip={start + fake.page}"
    return Answer(200, page)
