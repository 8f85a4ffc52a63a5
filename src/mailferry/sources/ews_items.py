"""Events, contacts, tasks and notes of a mailbox at EWS. Reads only, from the structured fields.

Changed occurrences are items of their own and are asked for one by one, so that each keeps its own text and attendees;
what is attached comes by GetAttachment. Invariants: an item that cannot be read is a `NotCarried`; what hangs on an
item and cannot be read is one of its losses.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Literal, TypeVar

from mailferry.errors import ItemError, MailferryError, Permanent, RemoteProtocolError, Temporary
from mailferry.model.account import EwsAccount
from mailferry.model.folder import SpecialUse
from mailferry.model.groupware import (
    Attached,
    Collection,
    Contact,
    Contents,
    Event,
    Item,
    Kind,
    NotCarried,
    Ref,
    Task,
)
from mailferry.model.message import MemoryBody
from mailferry.net.ews import Answer, Ews
from mailferry.net.ews_discover import located
from mailferry.net.ews_folders import EwsFolder, tree
from mailferry.wire.ews import answers, events, mail, people, requests, values
from mailferry.wire.ews.answers import Element, M, T, text
from mailferry.wire.ews.requests import Place
from mailferry.wire.ews.zones import Definition, definition
from mailferry.wire.mapi.classes import within

ITEMS_AT_ONCE = 20
ATTACHMENTS_AT_ONCE = 5
_PHOTO_MOST = 4 << 20

_KINDS = {
    SpecialUse.CALENDAR: Kind.EVENT,
    SpecialUse.CONTACTS: Kind.CONTACT,
    SpecialUse.TASKS: Kind.TASK,
    SpecialUse.NOTES: Kind.NOTE,
}
_CLASSES = {
    Kind.EVENT: ("ipm.appointment",),
    Kind.CONTACT: ("ipm.contact", "ipm.distlist"),
    Kind.TASK: ("ipm.task",),
    Kind.NOTE: ("ipm.stickynote",),
}
_FIELDS = {
    Kind.EVENT: events.FIELDS,
    Kind.CONTACT: people.CONTACT_FIELDS,
    Kind.TASK: people.TASK_FIELDS,
    Kind.NOTE: people.NOTE_FIELDS,
}
_LIST_FIELDS = ("item:ItemClass", "item:Subject", "item:DateTimeCreated")
_F = TypeVar("_F", Event, Task, Contact)
_NOTHING = MemoryBody(b"")


class EwsItemSource:
    """See `sources/items.py`."""

    def __init__(self, account: EwsAccount) -> None:
        self.account = account
        self.key = account.key

    async def items_session(self) -> EwsItemSession:
        client = Ews(await located(self.account))
        try:
            shown = await tree(client)
        except BaseException:
            await client.close()
            raise
        return EwsItemSession(client, shown.folders, shown.guid)


class EwsItemSession:
    """One client. Definitions of time zones are asked for once each."""

    def __init__(self, client: Ews, folders: Sequence[EwsFolder], guid: str) -> None:
        self.client = client
        self.identity = guid
        """As `HasIdentity`."""
        self._folders = folders
        self._zones: dict[str, Definition | None] = {}

    async def collections(self) -> list[Collection]:
        """Outlook's own caches of contacts (classes below IPF.Contact) are none."""
        found = [
            Collection(one.id, one.path, _KINDS[one.use], one.default)
            for one in self._folders
            if one.id and one.use in _KINDS and not one.hidden and not one.folder_class.startswith("IPF.Contact.")
        ]
        return sorted(found, key=lambda one: not one.default)

    async def contents(self, collection: Collection) -> Contents:
        refs, others = [], []
        offset: int | None = 0
        while offset is not None:
            asked = requests.find_items(Place(id=collection.id), _LIST_FIELDS, offset=offset)
            root = (await self.client.one(asked)).find(f"{M}RootFolder")
            if root is None:
                raise RemoteProtocolError("an answer to FindItem has no folder", about=self.client.about)
            for element in root.iterfind(f"{T}Items/*"):
                found = mail.item(element)
                if within(found.item_class, *_CLASSES[collection.kind]):
                    refs.append(Ref(found.id, found.change_key))
                else:
                    reason = f"not a kind of item that belongs here ({found.item_class})"
                    others.append(_not_carried(found.id, element, reason))
            after = mail.next_page(root)
            offset = after if after is not None and after > offset else None
        return Contents(tuple(refs), tuple(others))

    async def items(self, collection: Collection, ids: Sequence[str]) -> AsyncIterator[tuple[str, Item | NotCarried]]:
        for start in range(0, len(ids), ITEMS_AT_ONCE):
            part = ids[start : start + ITEMS_AT_ONCE]
            for name, found in await self._read(part, collection.kind):
                if isinstance(found, NotCarried):
                    yield name, found
                else:
                    yield name, await self._item(name, found, collection.kind)

    async def close(self) -> None:
        await self.client.close()

    async def _read(self, ids: Sequence[str], kind: Kind) -> list[tuple[str, Element | NotCarried]]:
        """What is there of these. A request that fails as a whole is made for each by itself."""
        try:
            base: Literal["IdOnly", "AllProperties"] = "AllProperties" if kind is Kind.CONTACT else "IdOnly"
            answer = await self.client.call(requests.get_items(ids, _FIELDS[kind], best_body=True, base=base))
        except (RemoteProtocolError, Permanent) as error:
            if len(ids) == 1:
                return [(ids[0], NotCarried(ids[0], "", error.message))]
            return [one for name in ids for one in await self._read([name], kind)]
        if len(answer.messages) != len(ids):
            raise RemoteProtocolError(f"{len(ids)} items asked for, {len(answer.messages)} answers came")
        found: list[tuple[str, Element | NotCarried]] = []
        for name, message in zip(ids, answer.messages, strict=True):
            refused = answers.refusal(message)
            element = next(mail.items(message), None)
            if refused is not None:
                if refused.code in answers.GONE:
                    continue
                failure = refused.error("")
                if isinstance(failure, Temporary):
                    raise failure
                found.append((name, NotCarried(name, "", failure.message)))
            elif element is not None:
                found.append((name, element))
        return found

    async def _item(self, name: str, element: Element, kind: Kind) -> Item | NotCarried:
        try:
            if kind is Kind.EVENT:
                return await self._series(name, element)
            uid = f"{hashlib.sha256(name.encode()).hexdigest()[:32]}@{self.identity or 'exchange'}"
            if kind is Kind.TASK:
                return await self._with_files(people.task(element, uid), element)
            if kind is Kind.NOTE:
                return people.note(element, uid)
            if within(text(element, "ItemClass"), "ipm.distlist"):
                return people.contact_list(element, uid)
            return await self._with_files(people.contact(element, uid), element)
        except ItemError as error:
            return _not_carried(name, element, error.message)

    # Events

    async def _series(self, name: str, element: Element) -> Event:
        await self._learn_zones(element)
        made, own = events.event(element, self._zones.get)
        uid = made.uid or f"{hashlib.sha256(name.encode()).hexdigest()[:32]}@{self.identity or 'exchange'}"
        made = await self._with_files(replace(made, uid=uid), element)
        changed = {one.id: one.original for one in events.changed(element)}
        if not changed:
            return made
        exceptions, losses = [], list(made.losses)
        ids = list(changed)
        for start in range(0, len(ids), ITEMS_AT_ONCE):
            part = ids[start : start + ITEMS_AT_ONCE]
            answered = dict(await self._read(part, Kind.EVENT))
            for one in part:
                found = answered.get(one)
                if found is None or isinstance(found, NotCarried):
                    why = found.reason if found is not None else "Exchange does not find it"
                    losses.append(f"a changed occurrence is left as the pattern gives it: {why}")
                    continue
                await self._learn_zones(found)
                try:
                    exception, _ = events.event(found, self._zones.get, own, changed[one])
                except ItemError as error:
                    losses.append(f"a changed occurrence is left as the pattern gives it: {error.message}")
                    continue
                exceptions.append(await self._with_files(replace(exception, uid=uid), found))
        exceptions.sort(key=lambda one: one.original.local if one.original is not None else datetime.min)
        return replace(made, exceptions=tuple(exceptions), losses=tuple(losses))

    async def _learn_zones(self, element: Element) -> None:
        """Ask for the zones that the item names and does not define; one that the server does not know is known by its
        name alone."""
        wanted = sorted(events.zone_ids(element) - self._zones.keys())
        if not wanted:
            return
        self._zones |= dict.fromkeys(wanted)
        try:
            message = await self.client.one(requests.server_time_zones(wanted))
        except (Permanent, ItemError):
            return
        for one in message.iterfind(f"{M}TimeZoneDefinitions/{T}TimeZoneDefinition"):
            self._zones[one.get("Id", "")] = definition(one)

    # What is attached

    async def _with_files(self, item: _F, element: Element) -> _F:
        named = values.attachments(element)
        if not named:
            return item
        losses = list(item.losses)
        photo = b""
        attached = [Attached(one.name, one.content_type, _NOTHING, one.reference) for one in named if one.reference]
        files = [one for one in named if not one.reference]
        for start in range(0, len(files), ATTACHMENTS_AT_ONCE):
            part = files[start : start + ATTACHMENTS_AT_ONCE]
            answer = await self.client.call(requests.get_attachments([one.id for one in part]))
            for one, message in zip(part, answer.messages, strict=False):
                try:
                    found = _attached(answer, one, message)
                except ItemError as error:
                    losses.append(f"an attachment cannot be had: {error.message}")
                    continue
                if one.photo and isinstance(item, Contact) and found.body.size <= _PHOTO_MOST:
                    photo = b"".join(found.body.chunks())
                    found.body.close()
                else:
                    attached.append(found)
        if isinstance(item, Contact) and photo:
            item = replace(item, photo=photo)
        return replace(item, attached=tuple(attached), losses=tuple(losses))


def _attached(answer: Answer, named: values.Named, message: Element) -> Attached:
    """ItemError: it cannot be had. Temporary: not now."""
    refused = answers.refusal(message)
    if refused is not None:
        error: MailferryError = refused.error("")
        raise error if isinstance(error, Temporary) else ItemError(error.message)
    content = answer.content(next(message.iter(f"{T}Content", f"{T}MimeContent"), None))
    if content is None or content.too_large:
        raise ItemError("it has more than 4 GB" if content is not None else "Exchange gives no content")
    kind = "message/rfc822" if named.item else named.content_type or "application/octet-stream"
    name = f"{named.name or 'item'}.eml" if named.item else named.name
    return Attached(name, kind, content.spool.body())


def _not_carried(name: str, element: Element, reason: str) -> NotCarried:
    when = mail.instant(text(element, "Start") or text(element, "DateTimeCreated"))
    return NotCarried(name, text(element, "ItemClass"), reason, text(element, "Subject"), when)
