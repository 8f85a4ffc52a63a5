"""A PST or OST file as a mailbox ([MS-PST] §2.4): folders, items, recipients, attachments. Rebuilds no MIME.

Items are found through their folder's contents table; where that cannot be read, through the index of all nodes, which
names each item's folder. Invariants: every folder comes once, whatever circle the file makes of them; nothing is kept
of an item once it is done with.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mailferry.errors import ItemError
from mailferry.wire.mapi import tags
from mailferry.wire.mapi.values import Value
from mailferry.wire.pst.blocks import Database
from mailferry.wire.pst.damage import Damaged
from mailferry.wire.pst.names import Name, named_tags
from mailferry.wire.pst.pages import Node, Read
from mailferry.wire.pst.properties import Properties, Row, Table

STORE, ROOT, RECEIVE_FOLDERS = 0x21, 0x122, 0x62B
"""Nodes that every file has (§2.4.1)."""

FOLDER, SEARCH_FOLDER, MESSAGE = 0x02, 0x03, 0x04
_HIERARCHY, _CONTENTS = 0x0D, 0x0E
RECIPIENTS, ATTACHMENTS = 0x692, 0x671
"""Subnodes of an item."""

_DEEPEST = 64
_SUBTREE, _PUBLIC = "IPM_SUBTREE", "public"
"""What holds a person's folders, as offline stores (OST) call it; below another root it holds public folders."""


@dataclass(frozen=True, slots=True)
class PstFolder:
    """One folder. `path`: names from the top. `container`: its class (`IPF.Note`), empty where it says none. `hidden`:
    Outlook does not show it."""

    nid: int
    path: tuple[str, ...]
    container: str
    hidden: bool = False


class PstAttachment:
    """One attachment; the face of `mapi.item.Attachment`."""

    def __init__(self, store: PstStore, node: Node, key: bytes) -> None:
        self._store = store
        self._node = node
        self._key = key

    @cached_property
    def properties(self) -> Properties:
        return self._store.properties(self._node)

    def message(self) -> PstItem | None:
        node = self.properties.object_node(tags.ATTACH_DATA)
        return None if node is None else PstItem(self._store, node, self._key)

    def object_chunks(self) -> Iterator[bytes]:
        node = self.properties.object_node(tags.ATTACH_DATA)
        if node is None:
            yield from self.properties.chunks(tags.ATTACH_DATA)
        else:
            yield from self._store.db.data(node.data)


class PstItem:
    """One item, in a folder or attached; the face of `mapi.item.Item`."""

    def __init__(self, store: PstStore, node: Node, key: bytes = b"") -> None:
        self._store = store
        self._node = node
        self._key = key

    @cached_property
    def properties(self) -> Properties:
        found = self._store.properties(self._node)
        for tag in (tags.MESSAGE_CODEPAGE, tags.INTERNET_CODEPAGE):
            value = found.get(tag)
            if isinstance(value, int) and value not in (1200, 1201, 65001):
                found.codepage = value
                break
        return found

    @cached_property
    def key(self) -> bytes:
        return self._key + struct.pack("<I", self._node.nid) + self._store.key

    def tag(self, space: bytes, name: str | int) -> int | None:
        return self._store.names.get((space, name))

    @property
    def categories(self) -> Sequence[str]:
        tag = self.tag(tags.PUBLIC_STRINGS, tags.KEYWORDS)
        value = self.properties.get(tag) if tag is not None else None
        if isinstance(value, str):
            value = [value]
        return [text for text in value if isinstance(text, str) and text.strip()] if isinstance(value, list) else []

    def recipients(self) -> Iterator[Row]:
        node = self.properties.heap.subnodes.get(RECIPIENTS)
        if node is not None:
            yield from Table(self._store.db, node, self.properties.codepage).rows()

    def attachments(self) -> Iterator[PstAttachment]:
        subnodes = self.properties.heap.subnodes
        node = subnodes.get(ATTACHMENTS)
        if node is None:
            return
        for nid in Table(self._store.db, node).ids():
            found = subnodes.get(nid)
            yield PstAttachment(self._store, found or Node(nid, 0, 0), self.key + struct.pack("<I", nid))


class PstStore:
    """The mailbox in one file. `size`: the file's length."""

    def __init__(self, read: Read, size: int, about: str = "") -> None:
        """UserError, Permanent: not a file of this kind, or not one that can be read (`parse_header`)."""
        self.db = Database(read, size, about)
        try:
            node = self.db.node(STORE)
            self._properties = None if node is None else self.properties(node)
        except ItemError:
            self.db.findings.note("a message store that cannot be read")
            self._properties = None

    @cached_property
    def key(self) -> bytes:
        """The store's record key: 16 bytes that no other file has; empty where it cannot be read."""
        value = self._stored(tags.RECORD_KEY)
        return value if isinstance(value, bytes) else b""

    @cached_property
    def names(self) -> Mapping[Name, int]:
        """The tags that named properties have in this file."""
        try:
            return named_tags(self.db)
        except ItemError:
            self.db.findings.note("a map of names that cannot be read")
            return {}

    def _stored(self, tag: int) -> Value | None:
        try:
            return self._properties.get(tag) if self._properties else None
        except ItemError:
            return None

    def properties(self, node: Node) -> Properties:
        """The properties of a node. Damaged where they cannot be read."""
        return Properties(self.db, node)

    def entry(self, tag: int) -> int | None:
        """The folder that an entry id of the store names (§2.4.3.2)."""
        return _entry(self._stored(tag))

    def inbox_entry(self, tag: int) -> int | None:
        """The folder that an entry id of the inbox names: the default calendar, contacts, … ([MS-OXOSFLD] §2.2.3)."""
        try:
            node = self.db.node(self.inbox() or ROOT)
            return None if node is None else _entry(self.properties(node).get(tag))
        except ItemError:
            return None

    def inbox(self) -> int | None:
        """Where messages are delivered, in any language (§2.4.5)."""
        try:
            node = self.db.node(RECEIVE_FOLDERS)
            if node is None:
                return None
            for row in Table(self.db, node).rows():
                if row.get(tags.MESSAGE_CLASS) in (None, ""):
                    nid = row.get(tags.RECEIVE_FOLDER)
                    return nid if isinstance(nid, int) and nid != ROOT else None
        except ItemError:
            self.db.findings.note("a list of inboxes that cannot be read")
        return None

    # Folders

    def folders(self) -> list[PstFolder]:
        """A person's folders, parents before children. A folder whose place cannot be read hangs at the top."""
        top = self._top()
        found: list[PstFolder] = []
        seen = {top}
        self._below(top, (), found, seen)
        if self.db.findings.counts:
            self._strays(found, seen)
        return found

    def _top(self) -> int:
        """The folder above a person's folders."""
        named = self.entry(tags.IPM_SUBTREE_ENTRY_ID)
        if named is not None and self.db.node(named) is not None:
            return named
        for nid in self._children(ROOT):
            for child in self._children(nid):
                if self._name(child) == _SUBTREE and not self._name(nid).casefold().endswith(_PUBLIC):
                    return child
        return ROOT

    def has_folder(self, nid: int) -> bool:
        """Whether there is a folder of this id; in a damaged file it may be known by its items only."""
        return nid & 0x1F == FOLDER and (self.db.node(nid) is not None or bool(self.db.findings.counts))

    def _name(self, nid: int) -> str:
        folder = self._folder(nid, ())
        return folder.path[-1] if folder else ""

    def _below(self, nid: int, path: tuple[str, ...], found: list[PstFolder], seen: set[int]) -> None:
        taken: set[str] = set()
        for child in self._children(nid):
            if child in seen or child & 0x1F != FOLDER:
                continue
            folder = self._folder(child, path)
            if folder is None:
                self.db.findings.note("a folder that is missing from the index")
                continue
            seen.add(child)
            folder = _distinct(folder, taken)
            found.append(folder)
            if len(path) < _DEEPEST:
                self._below(child, folder.path, found, seen)

    def _children(self, nid: int) -> list[int]:
        try:
            node = self.db.node(nid & ~0x1F | _HIERARCHY)
            return sorted(Table(self.db, node).ids()) if node else []
        except ItemError:
            self.db.findings.note("a list of folders that cannot be read")
            return [node.nid for node in self.db.nodes() if node.parent == nid and node.nid & 0x1F == FOLDER]

    def _folder(self, nid: int, path: tuple[str, ...]) -> PstFolder | None:
        name, container, hidden = "", "", False
        try:
            node = self.db.node(nid)
            if node is None:
                return None
            bag = self.properties(node)
            name = _text(bag.get(tags.DISPLAY_NAME))
            container = _text(bag.get(tags.CONTAINER_CLASS))
            hidden = bag.get(tags.ATTRIBUTE_HIDDEN) is True
        except ItemError:
            self.db.findings.note("a folder without a name")
        return PstFolder(nid, (*path, name.strip() or f"folder {nid:x}"), container, hidden)

    def _strays(self, found: list[PstFolder], seen: set[int]) -> None:
        """In a damaged file: folders that hold items, and whose parent does not know them."""
        known = {folder.nid for folder in found}
        taken = {folder.path[0].casefold() for folder in found if len(folder.path) == 1}
        holders = {node.parent for node in self.db.nodes() if node.nid & 0x1F == MESSAGE}
        for nid in sorted(holders - known - seen):
            if nid & 0x1F == FOLDER:
                found.append(_distinct(self._folder(nid, ()) or PstFolder(nid, (f"folder {nid:x}",), ""), taken))

    # Items

    def items(self, folder: int) -> list[int]:
        """The node ids of a folder's items, ascending; associated items (views, rules) are not among them."""
        node = self.db.node(folder & ~0x1F | _CONTENTS)
        try:
            if node is not None:
                return sorted({nid for nid in Table(self.db, node).ids() if nid & 0x1F == MESSAGE})
        except ItemError:
            pass
        if node is None and not self.db.findings.counts:
            return []
        self.db.findings.note("a list of items that cannot be read")
        return [node.nid for node in self.db.nodes() if node.parent == folder and node.nid & 0x1F == MESSAGE]

    def expected(self, folder: int) -> int | None:
        """How many items the folder says that it holds, where it says so."""
        try:
            node = self.db.node(folder)
            value = self.properties(node).get(tags.CONTENT_COUNT) if node else None
        except ItemError:
            return None
        return value if isinstance(value, int) else None

    def item(self, nid: int) -> PstItem:
        """The item. Damaged where the index does not lead to it."""
        node = self.db.node(nid)
        if node is None:
            raise Damaged(f"item {nid:#x} is missing from the index")
        return PstItem(self, node)


def _entry(value: Value | None) -> int | None:
    """The node that an entry id names."""
    if not isinstance(value, bytes) or len(value) < 24:
        return None
    nid: int = struct.unpack_from("<I", value, 20)[0]
    return nid


def _text(value: Value | None) -> str:
    return value if isinstance(value, str) else ""


def _distinct(folder: PstFolder, taken: set[str]) -> PstFolder:
    """The folder under a name that none beside it has."""
    name, number = folder.path[-1], 1
    while name.casefold() in taken:
        number += 1
        name = f"{folder.path[-1]} ({number})"
    taken.add(name.casefold())
    return replace(folder, path=(*folder.path[:-1], name))
