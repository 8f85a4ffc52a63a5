"""A directory of .ics and .vcf files as a source: exports of other programs, of a calendar server, or our own.

A directory is a collection of each kind that its files hold; a file directly below the top that holds several items is
one as well, under its own name. Invariant: what no item can be made of is not carried, with the file's name.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mailferry.errors import ItemError
from mailferry.groupware import from_ical, from_vcard
from mailferry.model.account import IcsAccount
from mailferry.model.groupware import (
    Collection,
    Contact,
    ContactList,
    Contents,
    Event,
    Item,
    Kind,
    NotCarried,
    Note,
    Ref,
    Task,
)
from mailferry.net.item_files import ItemFiles

_KINDS: dict[type, Kind] = {
    Event: Kind.EVENT,
    Contact: Kind.CONTACT,
    ContactList: Kind.CONTACT,
    Task: Kind.TASK,
    Note: Kind.NOTE,
}
_USUAL = ("calendar", "contacts", "tasks", "notes")
"""Names that exports, ours among them, give to what is no further collection."""


@dataclass(slots=True)
class _Found:
    """A collection being put together. `files`: the file of each item, by the item's id."""

    path: tuple[str, ...]
    kind: Kind
    refs: list[Ref] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)
    left: list[NotCarried] = field(default_factory=list)


class IcsItemSession:
    """One open directory. The files are read once for the index, and again for what is asked of it."""

    def __init__(self, files: ItemFiles) -> None:
        self._files = files
        self._index: dict[str, _Found] | None = None

    async def collections(self) -> list[Collection]:
        index = await self._indexed()
        defaults: dict[Kind, str] = {}
        for id in sorted(index, key=lambda id: _likely(id, index[id])):
            defaults.setdefault(index[id].kind, id)
        found = [Collection(id, one.path, one.kind, default=defaults[one.kind] == id) for id, one in index.items()]
        return sorted(found, key=lambda one: (not one.default, one.id))

    async def contents(self, collection: Collection) -> Contents:
        found = await self._found(collection)
        return Contents(tuple(found.refs), tuple(found.left))

    async def items(self, collection: Collection, ids: Sequence[str]) -> AsyncIterator[tuple[str, Item | NotCarried]]:
        found = await self._found(collection)
        by_file: dict[Path, set[str]] = defaultdict(set)
        for id in ids:
            if id in found.files:
                by_file[found.files[id]].add(id)
        for file, wanted in by_file.items():
            for id, item in await asyncio.to_thread(self._read, file):
                if id in wanted and not isinstance(item, NotCarried):
                    yield id, item

    async def close(self) -> None:
        pass

    async def _found(self, collection: Collection) -> _Found:
        found = (await self._indexed()).get(collection.id)
        if found is None:
            raise ItemError("there is no such collection", about=collection.id)
        return found

    async def _indexed(self) -> dict[str, _Found]:
        if self._index is None:
            self._index = await asyncio.to_thread(self._build)
        return self._index

    def _build(self) -> dict[str, _Found]:
        self._files.check()
        index: dict[str, _Found] = {}
        for file in self._files.files():
            items = self._read(file)
            alone = len(items) == 1
            place = file.parent if file.parent != Path() or alone else file.with_suffix("")
            kinds = [_KINDS[type(item)] for _, item in items if not isinstance(item, NotCarried)]
            usual = kinds[0] if kinds else Kind.CONTACT if file.suffix.lower() == ".vcf" else Kind.EVENT
            for id, item in items:
                kind = usual if isinstance(item, NotCarried) else _KINDS[type(item)]
                name = place.as_posix() if place != Path() else self._files.root.name
                one = index.setdefault(f"{kind.value}:{name}", _Found(self._path(place, name), kind))
                if isinstance(item, NotCarried):
                    one.left.append(item)
                elif id in one.files:
                    reason = f"another item with its UID is in {one.files[id]}"
                    one.left.append(NotCarried(f"{file}#{id}", kind.value, reason))
                else:
                    one.files[id] = file
                    one.refs.append(Ref(id, _version(item)))
        return index

    def _path(self, place: Path, name: str) -> tuple[str, ...]:
        """What people call the collection: as our own export notes it, else the directories' names."""
        if len(place.parts) != 1:
            return Path(name).parts
        return tuple(part for part in self._files.shown_name(name).split(" / ") if part.strip()) or (name,)

    def _read(self, file: Path) -> list[tuple[str, Item | NotCarried]]:
        """Every item of a file with its id, which is its UID."""
        try:
            data = self._files.read(file) or b""
        except ItemError as error:
            return [(str(file), NotCarried(str(file), "file", error.message))]
        found = from_vcard.cards(data) if file.suffix.lower() == ".vcf" else from_ical.items(data)
        if not found:
            return [(str(file), NotCarried(str(file), "file", "there is no item in it"))]
        return [
            (f"{file}, {one.id}", NotCarried(f"{file}, {one.id}", one.item_class, one.reason, one.subject, one.when))
            if isinstance(one, NotCarried)
            else (one.uid, one)
            for one in found
        ]


def _likely(id: str, found: _Found) -> tuple[bool, int, int, str]:
    """Sorts the collection first that is most likely a person's own of its kind."""
    return id.partition(":")[2] not in _USUAL, len(found.path), -len(found.refs), id


def _version(item: Item) -> str:
    return hashlib.sha256(repr(item).encode("utf-8", "surrogatepass")).hexdigest()[:32]


class IcsItemSource:
    """An `ItemSource` over one directory."""

    def __init__(self, account: IcsAccount) -> None:
        self.key = account.key
        self._files = ItemFiles(Path(account.path))

    async def items_session(self) -> IcsItemSession:
        await asyncio.to_thread(self._files.check)
        return IcsItemSession(self._files)
