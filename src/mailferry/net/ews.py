"""One mailbox at an Exchange, over EWS: sends requests, gives answers whose large contents are spooled.

Knows no folders and no items. Invariants: an answer's memory is bounded whatever the server sends (`wire/ews/stream`);
what the server cannot do for now it is asked again only when it named the pause itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mailferry.errors import MailferryError, RemoteProtocolError
from mailferry.model.account import Access, EwsAccount
from mailferry.net import tls
from mailferry.net.entra_login import TokenLogin
from mailferry.net.http import DEFAULT_PAUSE, Http, status_error
from mailferry.net.http_auth import auth_of
from mailferry.net.maildir_disk import error_of
from mailferry.net.spool import Spool
from mailferry.wire.ews import answers, requests
from mailferry.wire.ews.answers import Element, Refusal
from mailferry.wire.ews.requests import Place
from mailferry.wire.ews.stream import Splitter

MOST = 4 << 30
"""Bytes of one content: more than any mail server takes."""


RESOURCE = "https://outlook.office365.com"
"""What an application's token for EWS is for, whatever host answers ([MS Learn, Authenticate an EWS application])."""


class Content:
    """One large content of an answer, in memory or in a nameless file. Beyond `MOST` only that is remembered."""

    def __init__(self, about: str) -> None:
        self.spool = Spool()
        self.too_large = False
        self._about = about

    def write(self, data: bytes) -> None:
        if self.too_large:
            return
        if self.spool.size + len(data) > MOST:
            self.too_large = True
            self.spool.close()
            return
        try:
            self.spool.write(data)
        except OSError as error:
            raise error_of(error, self._about) from error


@dataclass(slots=True)
class Answer:
    """`messages`: the response messages in the order of what was asked for, refusals among them."""

    payload: Element
    messages: Sequence[Element]
    contents: Sequence[Content]

    def content(self, element: Element | None) -> Content | None:
        """The content that an element (`MimeContent`, `Content`) of the answer stands for."""
        number = "" if element is None else element.text or ""
        return self.contents[int(number)] if number.isdigit() and int(number) < len(self.contents) else None

    def close(self) -> None:
        """Drop the contents that nobody took."""
        for one in self.contents:
            one.spool.close()


class Reading:
    """An answer that arrives. `about` names the server in errors."""

    def __init__(self, about: str) -> None:
        self._about = about
        self._contents: list[Content] = []
        self._splitter = Splitter(self._begin)

    def _begin(self) -> Callable[[bytes], None]:
        self._contents.append(Content(self._about))
        return self._contents[-1].write

    def feed(self, data: bytes) -> None:
        """RemoteProtocolError, Permanent: no answer of EWS, no room on the disk."""
        self._splitter.feed(data)

    def answer(self) -> Answer:
        """When all has been fed."""
        payload = answers.tree(self._splitter.skeleton(), self._about)
        return Answer(payload, list(answers.messages(payload)), self._contents)

    def close(self) -> None:
        """Drop what arrived."""
        for one in self._contents:
            one.spool.close()


class Ews:
    """A client for one mailbox. `server`: its version, once it has answered."""

    def __init__(self, account: EwsAccount) -> None:
        self.account = account
        self.about = f"{account.host}:{account.port}"
        self.server: tuple[int, ...] = ()
        of_another = account.admin is not None or account.application is not None
        self._as = account.user if of_another and account.access is Access.IMPERSONATION else ""
        context = None
        if account.tls:
            context = tls.context(
                verify=account.verify, ca_file=account.ca_file, client_certificate=account.client_certificate
            )
        self._headers = {"Content-Type": "text/xml; charset=utf-8"}
        if account.user.isascii():
            self._headers["X-AnchorMailbox"] = account.user  # so that a front end finds the mailbox's server at once
        login = account.login or account.admin or account.user
        self._http = Http(
            self.about,
            context,
            TokenLogin(account, RESOURCE)
            if account.application is not None
            else auth_of(account.mechanism, login, account.secret, account.host),
            timeout=account.timeout,
            slots=account.requests,
        )

    def place(self, distinguished: str) -> Place:
        """A distinguished folder of this mailbox, which must be named under delegate access."""
        as_delegate = self.account.admin is not None and not self._as
        return Place(distinguished=distinguished, mailbox=self.account.user if as_delegate else "")

    async def call(self, body: str) -> Answer:
        """Ask. Pauses that the server asks for are waited for. Raises what a refusal of the whole request means;
        refusals of single items stand in the answer."""
        data = requests.envelope(body, impersonate=self._as)
        waited = 0.0
        while True:
            answer = await self._once(data)
            refused = answers.fault(answer.payload)
            busy = _busy(answer, refused)
            if busy is not None:
                answer.close()
                pause = busy.back_off if busy.back_off is not None else DEFAULT_PAUSE
                waited += pause
                self._http.hold(pause, waited, busy.code)
                continue
            if refused is not None:
                answer.close()
                raise refused.error(self.account.key)
            return answer

    async def one(self, body: str) -> Element:
        """The only response message of a request without contents. Raises what its refusal means."""
        answer = await self.call(body)
        if not answer.messages:
            raise RemoteProtocolError("the answer holds nothing", about=self.about)
        refused = answers.refusal(answer.messages[0])
        if refused is not None:
            raise refused.error(self.account.key)
        return answer.messages[0]

    async def _once(self, data: bytes) -> Answer:
        reading = Reading(self.about)
        try:
            async with self._http.send("POST", self.account.url, content=data, headers=self._headers) as response:
                if response.status_code not in (200, 500) or "xml" not in response.headers.get("content-type", ""):
                    raise status_error(response, self.about)
                async for piece in response.aiter_bytes(1 << 18):
                    reading.feed(piece)
            answer = reading.answer()
            self.server = answers.server_version(answer.payload) or self.server
            return answer
        except BaseException as error:
            reading.close()
            if isinstance(error, MailferryError):
                error.about = error.about or self.about
            raise

    async def close(self) -> None:
        """May be called twice."""
        await self._http.close()


def _busy(answer: Answer, refused: Refusal | None) -> Refusal | None:
    """The refusal that asks to come again later, of the whole or of a part."""
    found = [refused] if refused is not None else [answers.refusal(one) for one in answer.messages]
    return next((one for one in found if one is not None and one.code in answers.BUSY), None)
