"""A mailbox at Microsoft Graph as a source of messages. Reads only: no request here changes anything.

Uids come of entry ids, as over EWS (`wire/ews/ids`), so that a mailbox keeps them whichever way it is read. What a
folder holds is listed with them; what changed since, a delta query tells by Graph's ids alone, which are translated.
Invariant: one message that Graph cannot give costs itself alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence

from mailferry.errors import ItemError, Permanent
from mailferry.model.account import GraphAccount
from mailferry.model.message import Failed, Headers, LeftOut, Listed, Listing, Message, Reason
from mailferry.net.graph import Graph, Refused, TooLarge
from mailferry.net.graph_folders import GraphFolder, Tree, tree
from mailferry.sources.by_token import Opened, TokenSession
from mailferry.wire.ews.ids import uid
from mailferry.wire.graph.mail import MESSAGE_QUERY, FoundMessage, binary, message
from mailferry.wire.graph.values import listed, obj, text

PAGE = 500
TRANSLATED_AT_ONCE = 1000


_Opened = Opened[GraphFolder, FoundMessage]


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


class GraphSourceSession(TokenSession[GraphFolder, FoundMessage]):
    """One client with its connections. The tokens are delta links."""

    def __init__(self, client: Graph, shown: Tree) -> None:
        super().__init__(shown.guid, client.account.key, shown.folders)
        self.client = client

    # Listings

    async def everything(self, opened: _Opened) -> Listing:
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

    async def changes(self, opened: _Opened, token: str) -> Listing | None:
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

    # Messages

    async def fetch(self, uids: Sequence[int]) -> AsyncIterator[Message | Failed]:
        waiting = deque(await self.known(uids))
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
        for number, one in await self.known(uids):
            block = await self.client.header(self._value(one))
            if block:
                yield Headers(number, one.date, one.size, block)

    async def close(self) -> None:
        await self.client.close()

    def _folder_path(self, folder: GraphFolder) -> str:
        return f"{self.client.user}/mailFolders/{folder.id}"

    def _value(self, one: FoundMessage) -> str:
        return f"{self.client.user}/messages/{one.id}/$value"


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
