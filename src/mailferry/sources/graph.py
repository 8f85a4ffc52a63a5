"""A mailbox at Microsoft Graph as a source of messages. Reads only: no request here changes anything.

Uids come of entry ids, as over EWS (`wire/ews/ids`), so that a mailbox keeps them whichever way it is read. What a
folder holds is listed with them; what changed since, a delta query tells by Graph's ids alone, which are translated.
Invariant: one message that Graph cannot give costs itself alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from mailferry.errors import ItemError, LocalProtocolError, Permanent
from mailferry.model.account import GraphAccount
from mailferry.model.folder import Folder, FolderStatus, Selected
from mailferry.model.message import ALL_FLAGS, Failed, Headers, LeftOut, Listed, Listing, Message, Reason
from mailferry.net.graph import Graph, Refused, TooLarge
from mailferry.net.graph_folders import GraphFolder, Tree, tree
from mailferry.wire.ews.ids import uid, validity
from mailferry.wire.graph.mail import MESSAGE_QUERY, FoundMessage, binary, message
from mailferry.wire.graph.values import listed, obj, text

PAGE = 500
TRANSLATED_AT_ONCE = 1000


@dataclass(slots=True)
class _Open:
    """The selected folder. `known`: what has been listed in this session, by uid."""

    folder: GraphFolder
    known: dict[int, FoundMessage] = field(default_factory=dict)
    whole: bool = False


class GraphSource:
    """See `sources/base.py`."""

    def __init__(self, account: GraphAccount, lanes: int = 1) -> None:
        self.account = account
        self.key = account.key
        self.lanes = min(lanes, 2)  # four requests at once are all that Graph takes for one mailbox

    async def session(self) -> GraphSourceSession:
        client = Graph(self.account)
        try:
            return GraphSourceSession(client, await tree(client))
        except BaseException:
            await client.close()
            raise


class GraphSourceSession:
    """One client with its connections. The folders are read when it opens."""

    def __init__(self, client: Graph, shown: Tree) -> None:
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
            Folder(one.path, one.id, one.use, subscribed=not one.hidden, status=self._status(1, one.messages))
            for one in self._tree.folders
        ]

    async def select(self, folder: Folder) -> Selected:
        selected, _ = await self.select_changes(folder, None)
        return selected

    async def listing(self, changed_since: int | None = None) -> Listing:
        """Always complete."""
        return await self._everything(self._selected())

    async def select_changes(self, folder: Folder, token: str | None) -> tuple[Selected, Listing]:
        """As `ListsByToken`: the token is a delta link."""
        found = next((one for one in self._tree.folders if one.id == folder.name), None)
        if found is None:
            raise ItemError("there is no such folder in the mailbox", about=folder.label)
        opened = self._open = _Open(found)
        listing = await self._changes(opened, token) if token else None
        if listing is None:
            listing = await self._everything(opened)
        messages = len(listing.messages) + len(listing.left_out) if listing.complete else found.messages
        top = max(opened.known, default=0)
        return Selected(self._status(top + 1, messages), ALL_FLAGS, True, read_only=True), listing

    def _status(self, uidnext: int, messages: int) -> FolderStatus:
        return FolderStatus(self._validity, uidnext, messages)

    # Listings

    async def _everything(self, opened: _Open) -> Listing:
        """Every message. The delta link is from before, so that what comes meanwhile is told again later."""
        folder = opened.folder
        _, _, link = await self._delta(self._folder_path(folder) + "/messages/delta?$select=id", folder)
        opened.known.clear()
        shown, lost = [], []
        try:
            async for page in self.client.pages(f"{self._folder_path(folder)}/messages?$top={PAGE}&{MESSAGE_QUERY}"):
                for one in map(message, map(obj, listed(page.get("value")))):
                    number = _uid(one)
                    if opened.known.get(number, one).id != one.id:
                        lost.append("two of its items cannot be told apart, one of them is not brought")
                    elif number not in opened.known:
                        opened.known[number] = one
                        shown.append(one)
        except Permanent as error:
            raise ItemError(error.message, about="/".join(folder.path)) from error
        opened.whole = True
        messages, left_out = _told(shown)
        return Listing(messages, left_out=left_out, lost=tuple(lost), token=link)

    async def _changes(self, opened: _Open, token: str) -> Listing | None:
        """What changed since the token; None where only a whole listing can tell."""
        try:
            there, gone, link = await self._delta(token, opened.folder)
        except ItemError:  # Graph keeps the state of a delta for some days, and answers 410 then
            return None
        if link is None:
            return None
        numbers = await self._uids_of(gone)
        if numbers is None:
            return None
        asked = [f"{self.client.user}/messages/{one}?{MESSAGE_QUERY}" for one in there]
        shown = []
        for answer in await self.client.batch(asked):
            if isinstance(answer, Refused):
                if answer.gone:
                    continue
                raise answer.error(self.client.account.key)
            shown.append(message(answer))
        opened.known.update((_uid(one), one) for one in shown)
        messages, left_out = _told(shown)
        return Listing(messages, complete=False, vanished=tuple(numbers), left_out=left_out, token=link)

    async def _delta(self, path: str, folder: GraphFolder) -> tuple[list[str], list[str], str | None]:
        """Ids of what came or changed, ids of what went, and the link for the next time."""
        there: dict[str, None] = {}
        gone: dict[str, None] = {}
        link = None
        try:
            async for page in self.client.pages(path, _DELTA):
                for one in map(obj, listed(page.get("value"))):
                    name = text(one.get("id"))
                    came, went = (gone, there) if "@removed" in one else (there, gone)
                    came[name] = None
                    went.pop(name, None)
                link = text(page.get("@odata.deltaLink")) or None
        except Permanent as error:
            raise ItemError(error.message, about="/".join(folder.path)) from error
        return list(there), list(gone), link

    async def _uids_of(self, ids: Sequence[str]) -> list[int] | None:
        """Uids of messages that are gone, from their ids alone; None where Graph does not translate one."""
        numbers: list[int] = []
        for start in range(0, len(ids), TRANSLATED_AT_ONCE):
            part = list(ids[start : start + TRANSLATED_AT_ONCE])
            asked = {"inputIds": part, "sourceIdType": "restImmutableEntryId", "targetIdType": "entryId"}
            answer = await self.client.ask("POST", f"{self.client.user}/translateExchangeIds", asked)
            if isinstance(answer, Refused):
                return None
            entries = [binary(text(obj(one).get("targetId"))) for one in listed(answer.get("value"))]
            if len(entries) < len(part) or not all(entries):
                return None
            numbers += map(uid, entries)
        return sorted(numbers)

    async def _known(self, uids: Sequence[int]) -> list[tuple[int, FoundMessage]]:
        """What is there of these, ascending. What an earlier session listed is listed again."""
        opened = self._selected()
        if not opened.whole and not all(number in opened.known for number in uids):
            await self._everything(opened)
        return [(number, opened.known[number]) for number in sorted(set(uids)) if number in opened.known]

    # Messages

    async def fetch(self, uids: Sequence[int]) -> AsyncIterator[Message | Failed]:
        waiting = deque(await self._known(uids))
        ahead: deque[asyncio.Task[Message | Failed | None]] = deque()
        try:
            while waiting or ahead:
                while waiting and len(ahead) < self.client.account.requests:
                    ahead.append(asyncio.create_task(self._message(*waiting.popleft())))
                found = await ahead[0]
                ahead.popleft()
                if found is not None:
                    yield found
        finally:
            for task in ahead:
                task.cancel()
            for done in await asyncio.gather(*ahead, return_exceptions=True):
                if isinstance(done, Message):
                    done.body.close()

    async def _message(self, number: int, one: FoundMessage) -> Message | Failed | None:
        """None: it has gone."""
        try:
            content = await self.client.content(self._value(one))
        except TooLarge:
            return Failed(number, Reason.TOO_LARGE, "it has more than 4 GB")
        if not isinstance(content, Refused):
            return Message(number, one.flags, one.keywords, one.date, content.body())
        if content.gone:
            return None
        refused = content.error(self.client.account.key)
        if isinstance(refused, ItemError):
            return Failed(number, Reason.UNREADABLE, refused.message)
        raise refused

    async def headers(self, uids: Sequence[int]) -> AsyncIterator[Headers]:
        for number, one in await self._known(uids):
            block = await self.client.header(self._value(one))
            if block:
                yield Headers(number, one.date, one.size, block)

    async def acl(self, folder: Folder) -> Mapping[str, str] | None:
        return None

    async def metadata(self, folder: Folder) -> Mapping[str, bytes] | None:
        return None

    async def close(self) -> None:
        await self.client.close()

    def _folder_path(self, folder: GraphFolder) -> str:
        return f"{self.client.user}/mailFolders/{folder.id}"

    def _value(self, one: FoundMessage) -> str:
        return f"{self.client.user}/messages/{one.id}/$value"

    def _selected(self) -> _Open:
        if self._open is None:
            raise LocalProtocolError("no folder is selected")
        return self._open


_DELTA = {"Prefer": f'IdType="ImmutableId", odata.maxpagesize={PAGE}'}


def _uid(one: FoundMessage) -> int:
    return uid(one.entry_id or one.id.encode())


def _told(shown: Sequence[FoundMessage]) -> tuple[list[Listed], tuple[LeftOut, ...]]:
    """Messages by uid, and what is none."""
    messages, left_out = [], []
    for one in shown:
        number = _uid(one)
        out = one.left_out(number)
        if out is None:
            messages.append(Listed(number, one.flags, one.keywords))
        else:
            left_out.append(out)
    return sorted(messages, key=lambda one: one.uid), tuple(left_out)
