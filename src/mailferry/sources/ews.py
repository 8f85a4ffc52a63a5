"""A mailbox at EWS as a source of messages. Reads only: no request here changes anything on Exchange.

What is listed has its uid from the item's entry id (`wire/ews/ids`), whose item id is kept for the selected folder.
What changed since a SyncState is asked by SyncFolderItems; messages come by GetItem in batches, several under way.
Invariant: one message that Exchange cannot give costs itself alone: a batch that fails is asked for one by one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from mailferry.errors import (
    ItemError,
    MailferryError,
    Permanent,
    RemoteProtocolError,
    Temporary,
)
from mailferry.model.account import EwsAccount
from mailferry.model.message import Failed, Headers, LeftOut, Listed, Listing, Message, Reason
from mailferry.net.ews import Answer, Ews
from mailferry.net.ews_discover import located
from mailferry.net.ews_folders import EwsFolder, Tree, tree
from mailferry.sources.by_token import Opened, TokenSession
from mailferry.wire.ews import answers, mail, requests
from mailferry.wire.ews.answers import Element, T, extended
from mailferry.wire.ews.ids import uid
from mailferry.wire.ews.requests import Place

MESSAGES_AT_ONCE = 25
BYTES_AT_ONCE = 4 << 20
IDS_AT_ONCE = 500
MARKS_AT_ONCE = 100
_STATE_REFUSED = frozenset({"ErrorInvalidSyncStateData", "ErrorSyncFolderNotFound"})
A = TypeVar("A")

Outcome = tuple[list[Message | Failed], MailferryError | None]
"""What a batch gave, and what ended it."""


_Opened = Opened[EwsFolder, tuple[str, int]]


class EwsSource:
    """See `sources/base.py`."""

    def __init__(self, account: EwsAccount, lanes: int = 2) -> None:
        self.account = account
        self.key = account.key
        self.lanes = lanes

    async def session(self) -> EwsSourceSession:
        client = Ews(await located(self.account))
        try:
            return EwsSourceSession(client, await tree(client))
        except BaseException:
            await client.close()
            raise


class EwsSourceSession(TokenSession[EwsFolder, tuple[str, int]]):
    """One client with its connections. Of a message are known its item id and its size."""

    def __init__(self, client: Ews, shown: Tree) -> None:
        super().__init__(shown.guid, client.account.key, shown.folders)
        self.client = client

    # Listings

    async def everything(self, opened: _Opened) -> Listing:
        """SyncFolderItems from the beginning."""
        listed, left_out, lost, state = {}, [], [], ""
        opened.known.clear()
        while True:
            page = mail.changes(await self._sync(opened, state))
            for one in page.there:
                number = uid(one.entry_id or one.id.encode())
                if opened.known.get(number, (one.id, 0))[0] != one.id:
                    lost.append("two of its items cannot be told apart, one of them is not brought")
                    continue
                opened.known[number] = (one.id, one.size)
                out = one.left_out(number)
                if out is None:
                    listed[number] = Listed(number, one.flags, one.keywords)
                else:
                    left_out.append(out)
            for gone in page.gone:
                number = next((at for at, (name, _) in opened.known.items() if name == gone), -1)
                opened.known.pop(number, None)
                listed.pop(number, None)
            state = page.state
            if page.last:
                break
        opened.whole = True
        messages = [listed[number] for number in sorted(listed)]
        return Listing(messages, left_out=tuple(left_out), lost=tuple(lost), token=state)

    async def changes(self, opened: _Opened, token: str) -> Listing | None:
        """What changed since the token; None where only a whole listing can tell."""
        there: dict[str, mail.FoundItem] = {}
        read: set[str] = set()
        gone: set[str] = set()
        state = token
        while True:
            try:
                page = mail.changes(await self._sync(opened, state))
            except _StateRefused:
                return None
            for one in page.there:
                there[one.id] = one
                gone.discard(one.id)
            read.update(page.read)
            for name in page.gone:
                there.pop(name, None)
                gone.add(name)
            state = page.state
            if page.last:
                break
        for part in _parts(sorted(read - gone - there.keys()), MARKS_AT_ONCE):
            there.update(await self._items(part))
        vanished = await self._uids_of(opened, sorted(gone))
        if vanished is None:
            return None
        listed: list[Listed] = []
        left_out: list[LeftOut] = []
        for one in there.values():
            number = uid(one.entry_id or one.id.encode())
            opened.known[number] = (one.id, one.size)
            out = one.left_out(number)
            if out is None:
                listed.append(Listed(number, one.flags, one.keywords))
            else:
                left_out.append(out)
        listed.sort(key=lambda one: one.uid)
        return Listing(listed, complete=False, vanished=tuple(vanished), left_out=tuple(left_out), token=state)

    async def _sync(self, opened: _Opened, state: str) -> Element:
        asked = requests.sync_items(Place(id=opened.folder.id), state, mail.LIST_FIELDS)
        answer = await self.client.call(asked)
        if not answer.messages:
            raise RemoteProtocolError("an answer to SyncFolderItems is empty", about=self.client.about)
        refused = answers.refusal(answer.messages[0])
        if refused is not None:
            if state and refused.code in _STATE_REFUSED:
                raise _StateRefused
            error = refused.error("/".join(opened.folder.path))
            raise ItemError(error.message, about=error.about) if isinstance(error, Permanent) else error
        return answer.messages[0]

    async def _items(self, ids: Sequence[str]) -> dict[str, mail.FoundItem]:
        """These items as a listing shows them; what has gone is left out."""
        answer = await self.client.call(requests.get_items(ids, mail.LIST_FIELDS))
        found = {}
        for name, message in zip(ids, answer.messages, strict=False):
            if answers.refusal(message) is None:
                for element in mail.items(message):
                    found[name] = mail.item(element)
        return found

    async def _uids_of(self, opened: _Opened, ids: Sequence[str]) -> list[int] | None:
        """Uids of items that are gone, from their ids alone; None where the server cannot convert one."""
        numbers = []
        for part in _parts(ids, IDS_AT_ONCE):
            asked = requests.convert_ids(part, self.client.account.user, archive=opened.folder.archive)
            answer = await self.client.call(asked)
            entries = [mail.converted(one) for one in answer.messages if answers.refusal(one) is None]
            if len(entries) < len(part) or not all(entries):
                return None
            numbers += [uid(one) for one in entries]
        return sorted(numbers)

    # Messages

    async def fetch(self, uids: Sequence[int]) -> AsyncIterator[Message | Failed]:
        batches = _batches([(number, *one) for number, one in await self.known(uids)])
        ahead: deque[asyncio.Task[Outcome]] = deque()
        items: list[Message | Failed] = []
        try:
            while batches or ahead:
                while batches and len(ahead) < self.client.account.requests:
                    ahead.append(asyncio.create_task(self._batch(batches.popleft())))
                items, error = await ahead[0]
                ahead.popleft()
                while items:
                    yield items.pop(0)
                if error is not None:
                    raise error
        finally:
            for task in ahead:
                task.cancel()
            for done in await asyncio.gather(*ahead, return_exceptions=True):
                if not isinstance(done, BaseException):
                    _close(done[0])
            _close(items)

    async def _batch(self, batch: Sequence[tuple[int, str]]) -> Outcome:
        """What a batch gives. Where it fails as a whole and no pause was asked for, each message by itself."""
        try:
            return await self._messages(batch), None
        except (RemoteProtocolError, Permanent, Temporary) as error:
            if len(batch) == 1 or (isinstance(error, Temporary) and error.retry_after is not None):
                return [], error
        items: list[Message | Failed] = []
        for one in batch:
            found, failure = await self._batch([one])
            items += found
            if failure is not None:
                return items, failure
        return items, None

    async def _messages(self, batch: Sequence[tuple[int, str]]) -> list[Message | Failed]:
        answer = await self.client.call(requests.get_items([name for _, name in batch], mail.MARK_FIELDS, mime=True))
        taken: list[Message | Failed] = []
        try:
            if len(answer.messages) != len(batch):
                raise RemoteProtocolError(f"{len(batch)} items asked for, {len(answer.messages)} answers came")
            for (number, _), message in zip(batch, answer.messages, strict=True):
                found = message_of(answer, number, message)
                if found is not None:
                    taken.append(found)
        except BaseException:
            answer.close()
            raise
        return taken

    async def headers(self, uids: Sequence[int]) -> AsyncIterator[Headers]:
        for part in _parts([(number, *one) for number, one in await self.known(uids)], MARKS_AT_ONCE):
            answer = await self.client.call(
                requests.get_items([name for _, name, _ in part], ("0x007d", "0x0e06", "item:DateTimeReceived"))
            )
            for (number, _, size), message in zip(part, answer.messages, strict=False):
                element = next(mail.items(message), None)
                if element is None:
                    continue
                more = extended(element)
                block = more.get("0x007d", "").replace("\n", "\r\n").encode(errors="replace")  # XML knows no CRLF
                if b"message-id:" not in block.lower():  # what was never sent has no transport headers
                    block = await self._header_of(number)
                yield Headers(number, mail.internal_date(element, more), size, block)

    async def _header_of(self, number: int) -> bytes:
        block = b""
        async for one in self.fetch([number]):
            if isinstance(one, Message):
                block = next(iter(one.body.chunks()), b"").partition(b"\r\n\r\n")[0]
                one.body.close()
        return block

    async def close(self) -> None:
        await self.client.close()


class _StateRefused(Exception):
    """The server does not know the SyncState any more."""


def message_of(answer: Answer, number: int, message: Element) -> Message | Failed | None:
    """One message of a batch; None for one that has gone. Temporary: the server cannot give it for now."""
    refused = answers.refusal(message)
    if refused is not None:
        if refused.code in answers.GONE:
            return None
        error = refused.error("")
        if isinstance(error, Temporary):
            raise error
        return Failed(number, Reason.UNREADABLE, error.message)
    element = next(mail.items(message), None)
    content = answer.content(element.find(f"{T}MimeContent")) if element is not None else None
    if element is None or content is None:
        return Failed(number, Reason.UNREADABLE, "Exchange gives no MIME for it")
    if content.too_large:
        return Failed(number, Reason.TOO_LARGE, "it has more than 4 GB")
    more = extended(element)
    flags, words = mail.marks(element, more)
    return Message(number, flags, words, mail.internal_date(element, more), content.spool.body())


def _batches(wanted: Sequence[tuple[int, str, int]]) -> deque[Sequence[tuple[int, str]]]:
    batches: deque[Sequence[tuple[int, str]]] = deque()
    batch: list[tuple[int, str]] = []
    size = 0
    for number, name, bytes_ in wanted:
        if batch and (len(batch) >= MESSAGES_AT_ONCE or size + bytes_ > BYTES_AT_ONCE):
            batches.append(batch)
            batch, size = [], 0
        batch.append((number, name))
        size += bytes_
    if batch:
        batches.append(batch)
    return batches


def _parts(whole: Sequence[A], size: int) -> list[Sequence[A]]:
    return [whole[start : start + size] for start in range(0, len(whole), size)]


def _close(items: Sequence[Message | Failed]) -> None:
    for one in items:
        if isinstance(one, Message):
            one.body.close()
