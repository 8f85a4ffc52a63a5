"""A directory of .ics and .vcf files as a target: what there is without a server. A file is one item, named by its UID.

Invariant: nothing outside the directory is written, whatever an item's UID is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from mailferry.model.account import IcsAccount
from mailferry.model.groupware import Kind
from mailferry.net.item_files import ItemFiles
from mailferry.targets.items import NotStored, Place, Resource, Stored, Why
from mailferry.wire.dav import resource_name

KINDS = frozenset(Kind)


class IcsSession:
    """One open directory. Every call is a few system calls in a thread of its own."""

    def __init__(self, files: ItemFiles) -> None:
        self._files = files

    async def places(self) -> list[Place]:
        return await asyncio.to_thread(self._places)

    def _places(self) -> list[Place]:
        return [Place(name, self._files.shown_name(name), KINDS) for name in self._files.directories()]

    async def create(self, name: str, display_name: str, kind: Kind) -> Place:
        await asyncio.to_thread(self._files.make, name, display_name)
        return Place(name, display_name, KINDS)

    async def listing(self, place: Place) -> Mapping[str, str]:
        return await asyncio.to_thread(self._listing, place)

    def _listing(self, place: Place) -> Mapping[str, str]:
        states = ((name, self._files.state(Path(place.id) / name)) for name in self._files.names(place.id))
        return {f"{place.id}/{name}": state for name, state in states if state is not None}

    def href(self, place: Place, uid: str, kind: Kind) -> str:
        return f"{place.id}/{resource_name(uid, 'vcf' if kind is Kind.CONTACT else 'ics')}"

    async def put(self, place: Place, href: str, data: bytes, etag: str | None) -> Stored | NotStored:
        return await asyncio.to_thread(self._put, href, data, etag)

    def _put(self, href: str, data: bytes, etag: str | None) -> Stored | NotStored:
        file = Path(href)
        if self._files.state(file) != etag:
            return NotStored(Why.CHANGED, "it was changed there meanwhile")
        self._files.put(href, data)
        return Stored(href, self._files.state(file) or "")

    async def read(self, place: Place, hrefs: Sequence[str]) -> AsyncIterator[Resource]:
        for href in hrefs:
            path = self._files.place(href).relative_to(self._files.root)
            state = await asyncio.to_thread(self._files.state, path)
            data = await asyncio.to_thread(self._files.read, path)
            if state is not None and data is not None:
                yield Resource(href, state, data)

    async def delete(self, place: Place, href: str, etag: str) -> bool:
        return await asyncio.to_thread(self._delete, href, etag)

    def _delete(self, href: str, etag: str) -> bool:
        state = self._files.state(Path(href))
        if state is not None and state != etag:
            return False
        self._files.remove(href)
        return True

    async def close(self) -> None:
        pass


class IcsTarget:
    """One directory. It is made when something is written."""

    def __init__(self, account: IcsAccount) -> None:
        self.key = account.key
        self.kinds = KINDS
        self._files = ItemFiles(Path(account.path))

    async def items_session(self) -> IcsSession:
        return IcsSession(self._files)
