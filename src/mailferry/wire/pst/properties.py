"""Property contexts and table contexts of a PST file ([MS-PST] §2.3.3, §2.3.4): MAPI properties by tag.

Values are decoded when they are asked for, large ones read block by block. Does not know what properties mean.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from mailferry.wire.mapi.values import Type, Value, decode
from mailferry.wire.pst.blocks import Database
from mailferry.wire.pst.damage import Damaged
from mailferry.wire.pst.heap import PROPERTIES, TABLE, Heap
from mailferry.wire.pst.pages import Node

_BROKEN = (struct.error, IndexError)
"""What a place beyond the end of what was read comes out as."""

MOST_WHOLE = 64 << 20
"""Bytes that a property may have to be taken whole; beyond it only `chunks` gives it."""

_ROW_ID = 0x67F2


class Properties:
    """The properties of one node. `codepage`: of its 8-bit texts (None: it does not say)."""

    def __init__(self, db: Database, node: Node) -> None:
        """Damaged if they cannot be read at all."""
        self.codepage: int | None = None
        self._raw: dict[int, tuple[int, int]] = {}
        try:
            self.heap = Heap(db, node)
            if self.heap.client != PROPERTIES:
                raise Damaged(f"node {node.nid:#x} holds no properties")
            for records in self.heap.records(self.heap.root, 2, 6):
                self._raw |= {tag: (kind, hnid) for tag, kind, hnid in struct.iter_unpack("<HHI", records)}
        except _BROKEN:
            raise Damaged(f"the properties of node {node.nid:#x} are damaged") from None

    def tags(self) -> list[int]:
        """The ids of the properties that are there."""
        return list(self._raw)

    def get(self, tag: int) -> Value | None:
        """The value, None where it is not there. Damaged where it cannot be read."""
        found = self._raw.get(tag)
        if found is None:
            return None
        kind, hnid = found
        width = Type.width(kind)
        if width is not None and width <= 4:
            return decode(kind, hnid.to_bytes(4, "little")[:width], self.codepage)
        try:
            return decode(kind, self.heap.value(hnid, MOST_WHOLE), self.codepage)
        except _BROKEN:
            raise Damaged(f"property {tag:#06x} is damaged") from None

    def chunks(self, tag: int) -> Iterator[bytes]:
        """The stored bytes of a property of variable size, piece by piece; none where it is not there."""
        try:
            if tag in self._raw:
                yield from self.heap.stream(self._raw[tag][1])
        except _BROKEN:
            raise Damaged(f"property {tag:#06x} is damaged") from None

    def object_node(self, tag: int) -> Node | None:
        """The subnode that a property of type Object stands for (§2.3.3.5)."""
        found = self._raw.get(tag)
        if found is None or found[0] != Type.OBJECT:
            return None
        data = self.heap.value(found[1], MOST_WHOLE)
        return self.heap.subnode(struct.unpack_from("<I", data)[0]) if len(data) >= 4 else None


class Column(NamedTuple):
    """A TCOLDESC (§2.3.4.2): where in a row the property stands, and its bit in the row's list of what is there."""

    kind: int
    tag: int
    offset: int
    width: int
    bit: int


class Table:
    """A table context. Rows are read one by one. `codepage`: of its 8-bit texts (None: it does not say)."""

    def __init__(self, db: Database, node: Node, codepage: int | None = None) -> None:
        """Damaged if its description cannot be read."""
        self.codepage = codepage
        self.nid = node.nid
        try:
            self.heap = Heap(db, node)
            info = self.heap.item(self.heap.root)
            if self.heap.client != TABLE or info[0] != TABLE or len(info) < 22 + 8 * info[1]:
                raise self._damaged()
            self._bits, self._width, self._index, self._rows = struct.unpack_from("<HHII", info, 6)
        except _BROKEN:
            raise self._damaged() from None
        self.columns = {
            one.tag: one for one in map(Column._make, struct.iter_unpack("<HHHBB", info[22 : 22 + 8 * info[1]]))
        }
        bits = max((one.bit for one in self.columns.values()), default=0)
        if self._width < max(4, self._bits + bits // 8 + 1):
            raise self._damaged()

    def _damaged(self) -> Damaged:
        return Damaged(f"the table of node {self.nid:#x} is damaged")

    def ids(self) -> list[int]:
        """The ids of its rows, which are node ids."""
        if not self._index:
            return []
        width = 4 if self.heap.db.layout.wide else 2
        try:
            leaves = self.heap.records(self._index, 4, width)
            return [nid for leaf in leaves for (nid,) in struct.iter_unpack(f"<I{width}x", leaf)]
        except _BROKEN:
            raise self._damaged() from None

    def rows(self) -> Iterator[Row]:
        """Every row as it is stored. Blocks of a large table end with what is left over (§2.3.4.4)."""
        known = set(self.ids())
        if not self._rows or not known:
            return
        try:
            for block in self.heap.stream(self._rows):
                for start in range(0, len(block) - self._width + 1, self._width):
                    row = Row(self, block[start : start + self._width])
                    if row.nid in known:
                        yield row
        except _BROKEN:
            raise self._damaged() from None

    def cell(self, row: bytes, tag: int) -> Value | None:
        """One value of a row, None where it is not there. Damaged where it cannot be read."""
        column = self.columns.get(tag)
        if column is None or not row[self._bits + column.bit // 8] & 0x80 >> column.bit % 8:
            return None
        stored = row[column.offset : column.offset + column.width]
        width = Type.width(column.kind)
        if width is not None and width <= 8:
            return decode(column.kind, stored[:width], None)
        try:
            (hnid,) = struct.unpack_from("<I", stored)
            return decode(column.kind, self.heap.value(hnid, MOST_WHOLE), self.codepage) if hnid else None
        except _BROKEN:
            raise self._damaged() from None


class Row:
    """One row of a table, with the face of a `mapi.item.Bag`."""

    def __init__(self, table: Table, data: bytes) -> None:
        self._table = table
        self._data = data
        self.nid: int = struct.unpack_from("<I", data)[0]

    def get(self, tag: int) -> Value | None:
        """The value, None where it is not there. Damaged where it cannot be read."""
        return self._table.cell(self._data, tag)
