"""Events, contacts and tasks of a mailbox at Microsoft Graph. Reads only.

An event is asked for in its own time zone, so that its times come as they were meant. Graph has no door to notes, and
none to personal distribution lists (`mailferry check` says so). Invariant: an item that cannot be read is a
`NotCarried`; what hangs on an item and cannot be read is one of its losses.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from mailferry.errors import ItemError
from mailferry.model.account import GraphAccount
from mailferry.model.groupware import Attached, Collection, Contents, Event, Item, Kind, NotCarried, Ref
from mailferry.net.graph import IMMUTABLE, Graph, Refused, TooLarge
from mailferry.wire.graph import items as convert
from mailferry.wire.graph.values import Json, clock, listed, obj, text

_PAGE = 200
_AT_ONCE = 20
_PHOTO_MOST = 4 << 20
_CLASS = {Kind.EVENT: "IPM.Appointment", Kind.CONTACT: "IPM.Contact", Kind.TASK: "IPM.Task"}


class GraphItemSource:
    """See `sources/items.py`."""

    def __init__(self, account: GraphAccount) -> None:
        self.account = account
        self.key = account.key

    async def items_session(self) -> GraphItemSession:
        return GraphItemSession(Graph(self.account))


class GraphItemSession:
    """One client. What `contents` has seen of events is kept, as their zone is needed to ask for them."""

    def __init__(self, client: Graph) -> None:
        self.client = client
        self._zones: dict[str, str] = {}

    async def collections(self) -> list[Collection]:
        user = self.client.user
        calendars = await self.client.all(f"{user}/calendars?$select=id,name,isDefaultCalendar,owner&$top=100")
        address = self.client.account.user.casefold()
        found = [
            Collection(
                f"calendars/{text(one.get('id'))}",
                (text(one.get("name")) or "Calendar",),
                Kind.EVENT,
                one.get("isDefaultCalendar") is True,
            )
            for one in calendars
            # what others share with the owner comes with their own mailboxes
            if one.get("isDefaultCalendar") is True
            or text(obj(one.get("owner")).get("address")).casefold() in ("", address)
        ]
        found.append(Collection("contacts", ("Contacts",), Kind.CONTACT, True))
        folders = await self.client.all(f"{user}/contactFolders?$select=id,displayName&$top=100")
        found += [
            Collection(
                f"contactFolders/{text(one.get('id'))}", (text(one.get("displayName")) or "Contacts",), Kind.CONTACT
            )
            for one in folders
        ]
        for one in await self.client.all(f"{user}/todo/lists"):
            known = text(one.get("wellknownListName"))
            if known != "flaggedEmails":  # messages, which keep their flag
                path = (text(one.get("displayName")) or "Tasks",)
                found.append(Collection(f"todo/lists/{text(one.get('id'))}", path, Kind.TASK, known == "defaultList"))
        return sorted(found, key=lambda one: not one.default)

    async def contents(self, collection: Collection) -> Contents:
        select = "id,lastModifiedDateTime"
        if collection.kind is Kind.EVENT:
            select += ",changeKey,originalStartTimeZone"
        refs = []
        query = "" if collection.kind is Kind.TASK else f"?$select={select}&$top={_PAGE}"
        for one in await self.client.all(f"{self._path(collection)}{query}"):
            name = text(one.get("id"))
            zone = text(one.get("originalStartTimeZone"))
            if zone and not zone.startswith(convert.CUSTOM_ZONE):
                self._zones[name] = zone
            refs.append(Ref(name, text(one.get("changeKey")) or text(one.get("lastModifiedDateTime"))))
        return Contents(tuple(refs))

    async def items(self, collection: Collection, ids: Sequence[str]) -> AsyncIterator[tuple[str, Item | NotCarried]]:
        for start in range(0, len(ids), _AT_ONCE):
            part = ids[start : start + _AT_ONCE]
            for name, answer in zip(part, await self._read(collection, part), strict=True):
                if isinstance(answer, Refused):
                    if not answer.gone:
                        yield name, _refused(name, collection, answer)
                    continue
                yield name, await self._item(collection, name, answer)

    async def _read(self, collection: Collection, ids: Sequence[str]) -> list[Json | Refused]:
        if collection.kind is not Kind.EVENT:
            more = "?$expand=checklistItems" if collection.kind is Kind.TASK else ""
            return await self.client.batch([f"{self._path(collection)}/{one}{more}" for one in ids])
        found: dict[str, Json | Refused] = {}
        by_zone: dict[str, list[str]] = {}
        for one in ids:
            by_zone.setdefault(self._zones.get(one, "UTC"), []).append(one)
        for zone, part in by_zone.items():
            prefer = {"Prefer": f'{IMMUTABLE["Prefer"]}, outlook.timezone="{zone}"'}
            asked = [f"{self.client.user}/events/{one}?$expand=exceptionOccurrences" for one in part]
            found |= dict(zip(part, await self.client.batch(asked, prefer), strict=True))
        return [found[one] for one in ids]

    async def _item(self, collection: Collection, name: str, data: Json) -> Item | NotCarried:
        losses = convert.Losses()
        try:
            if collection.kind is Kind.CONTACT:
                photo = await self._photo(f"{self._path(collection)}/{name}/photo/$value", losses)
                return convert.contact(data, photo, losses.said)
            if collection.kind is Kind.TASK:
                attached = await self._attached(f"{self._path(collection)}/{name}", data, losses)
                return convert.task(data, attached, losses.said)
            return await self._event(name, data, losses)
        except ValueError as error:
            return NotCarried(name, _CLASS[collection.kind], str(error), text(data.get("subject")), _when(data))

    async def _event(self, name: str, data: Json, losses: convert.Losses) -> Event:
        attached = await self._attached(f"{self.client.user}/events/{name}", data, losses)
        series = convert.event(data, attached, losses.said)
        exceptions = []
        more = convert.Losses(list(series.losses))
        for one in map(obj, listed(data.get("exceptionOccurrences"))):
            own = convert.Losses()
            files = await self._attached(f"{self.client.user}/events/{text(one.get('id'))}", one, own)
            at = convert.original(one, series)
            try:
                changed = convert.event(one, files, own.said)
            except ValueError as error:
                more.add(f"a changed occurrence is left as the pattern gives it: {error}")
                continue
            if at is None:
                more.add("a changed occurrence does not tell which one it is: it is left as the pattern gives it")
            else:
                exceptions.append(replace(changed, uid=series.uid, original=at))
        exceptions.sort(key=lambda one: one.original.local if one.original else datetime.min)
        return replace(series, exceptions=tuple(exceptions), losses=tuple(more.said))

    async def _attached(self, path: str, data: Json, losses: convert.Losses) -> list[Attached]:
        if data.get("hasAttachments") is not True:
            return []
        found = []
        for one in await self.client.all(f"{path}/attachments?$select=id,name,contentType,size"):
            name, kind = text(one.get("name")), text(one.get("@odata.type"))
            if kind == "#microsoft.graph.referenceAttachment":
                losses.add("an attachment is a link to a file in the cloud, which Graph does not tell")
                continue
            try:
                content = await self.client.content(f"{path}/attachments/{text(one.get('id'))}/$value")
            except TooLarge:
                losses.add("an attachment of more than 4 GB is left out")
                continue
            if isinstance(content, Refused):
                losses.add(f"an attachment cannot be read (HTTP {content.status}, {content.code})")
                continue
            whole = kind == "#microsoft.graph.itemAttachment"
            found.append(Attached(name, "message/rfc822" if whole else text(one.get("contentType")), content.body()))
        return found

    async def _photo(self, path: str, losses: convert.Losses) -> bytes:
        """The JPEG of a contact, b"" where it has none."""
        content = await self.client.content(path)
        if isinstance(content, Refused):
            if not content.gone:
                losses.add(f"its photo cannot be read (HTTP {content.status}, {content.code})")
            return b""
        if content.size > _PHOTO_MOST:
            content.close()
            losses.add("its photo is larger than any of Exchange's")
            return b""
        body = content.body()
        try:
            return b"".join(body.chunks())
        finally:
            body.close()

    def _path(self, collection: Collection) -> str:
        kind = {Kind.EVENT: "/events", Kind.CONTACT: "/contacts", Kind.TASK: "/tasks"}[collection.kind]
        return f"{self.client.user}/{collection.id}" + ("" if collection.id == "contacts" else kind)

    async def close(self) -> None:
        await self.client.close()


def _refused(name: str, collection: Collection, answer: Refused) -> NotCarried:
    error = answer.error(collection.id)
    if not isinstance(error, ItemError):
        raise error
    return NotCarried(name, _CLASS[collection.kind], error.message)


def _when(data: Mapping[str, object]) -> datetime | None:
    return clock(obj(data.get("start")).get("dateTime")) or clock(data.get("createdDateTime"))
