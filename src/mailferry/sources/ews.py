"""A mailbox at EWS as a source of messages. Reads only: no request here changes anything on Exchange.

What is listed has its uid from the item's entry id (`wire/ews/ids`), whose item id is kept for the selected folder.
What changed since a SyncState is asked by SyncFolderItems; messages come by GetItem in batches, several under way.
Invariant: one message that Exchange cannot give costs itself alone: a batch that fails is asked for one by one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from mailferry.errors import (
    ItemError,
    LocalProtocolError,
    MailferryError,
    Permanent,
    RemoteProtocolError,
    Temporary,
)
from mailferry.model.account import EwsAccount
from mailferry.model.folder import Folder, FolderStatus, Selected
from mailferry.model.message import ALL_FLAGS, Failed, Headers, LeftOut, Listed, Listing, Message, Reason
from mailferry.net.ews import Answer, Ews
from mailferry.net.ews_discover import located
from mailferry.net.ews_folders import EwsFolder, Tree, tree
from mailferry.wire.ews import answers, mail, requests
from mailferry.wire.ews.answers import Element, T, extended
from mailferry.wire.ews.ids import uid, validity
from mailferry.wire.ews.requests import Place

MESSAGES_AT_ONCE = 25
BYTES_AT_ONCE = 4 << 20
IDS_AT_ONCE = 500
MARKS_AT_ONCE = 100
_STATE_REFUSED = frozenset({"ErrorInvalidSyncStateData", "ErrorSyncFolderNotFound"})
A = TypeVar("A")

Outcome = tuple[list[Message | Failed], MailferryError | None]
"""What a batch gave, and what ended it."""


@dataclass(slots=True)
class _Open:
    """The selected folder. `known`: item ids and sizes by uid, of what has been listed in this session."""

    folder: EwsFolder
    known: dict[int, tuple[str, int]] = field(default_factory=dict)
    whole: bool = False


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


class EwsSourceSession:
    """One client with its connections. The folders are read when it opens."""

    def __init__(self, client: Ews, shown: Tree) -> None:
        self.client = client
        self._tree = shown
        self._open: _Open | None = None
        self._validity = validity(shown.guid or client.account.key)

    @property
    def identity(self) -> str:
        """As `HasIdentity`: the mailbox's GUID."""
        return self._tree.guid

    async def folders(self) -> list[Folder]:
        return [
            Folder(
                one.path,
                one.id,
                one.use,
                selectable=bool(one.id),
                subscribed=bool(one.id) and not one.hidden,
                status=FolderStatus(self._validity, 1, one.messages) if one.id else None,
            )
            for one in self._tree.folders
        ]

    async def select(self, folder: Folder) -> Selected:
        selected, _ = await self.select_changes(folder, None)
        return selected

    async def listing(self, changed_since: int | None = None) -> Listing:
        """Always complete."""
        return await self._everything(self._selected())

    async def select_changes(self, folder: Folder, token: str | None) -> tuple[Selected, Listing]:
        """As `ListsByToken`: the token is a SyncState."""
        found = next(
            (one for one in self._tree.folders if one.id and (one.id, one.path) == (folder.name, folder.path)), None
        )
        if found is None:
            raise ItemError("there is no such folder in the mailbox", about=folder.label)
        opened = self._open = _Open(found)
        listing = await self._changes(opened, token) if token else None
        if listing is None:
            listing = await self._everything(opened)
        messages = len(listing.messages) + len(listing.left_out) if listing.complete else found.messages
        top = max(opened.known, default=0)
        return Selected(FolderStatus(self._validity, top + 1, messages), ALL_FLAGS, True, read_only=True), listing

    # Listings

    async def _everything(self, opened: _Open) -> Listing:
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

    async def _changes(self, opened: _Open, token: str) -> Listing | None:
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

    async def _sync(self, opened: _Open, state: str) -> Element:
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

    async def _uids_of(self, opened: _Open, ids: Sequence[str]) -> list[int] | None:
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

    async def _known(self, uids: Sequence[int]) -> list[tuple[int, str, int]]:
        """Uid, item id and size of what is there, ascending. What an earlier session listed is listed again."""
        opened = self._selected()
        if not opened.whole and not all(number in opened.known for number in uids):
            await self._everything(opened)
        return [(number, *opened.known[number]) for number in sorted(set(uids)) if number in opened.known]

    # Messages

    async def fetch(self, uids: Sequence[int]) -> AsyncIterator[Message | Failed]:
        batches = _batches(await self._known(uids))
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
        for part in _parts(await self._known(uids), MARKS_AT_ONCE):
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

    async def acl(self, folder: Folder) -> Mapping[str, str] | None:
        return None

    async def metadata(self, folder: Folder) -> Mapping[str, bytes] | None:
        return None

    async def close(self) -> None:
        await self.client.close()

    def _selected(self) -> _Open:
        if self._open is None:
            raise LocalProtocolError("no folder is selected")
        return self._open


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
