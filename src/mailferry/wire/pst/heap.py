"""Heaps on nodes and B-trees on heaps of a PST file ([MS-PST] §2.3.1, §2.3.2). Knows no properties.

A heap's blocks are read as they are asked for. Invariant: a walk of a B-tree ends, as its level falls at each step and
its entries are counted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property

from mailferry.wire.pst.blocks import Database
from mailferry.wire.pst.damage import Damaged
from mailferry.wire.pst.pages import Node

PROPERTIES, TABLE = 0xBC, 0x7C
"""Clients of a heap (§2.3.1.2)."""

_SIGNATURE, _BTH = 0xEC, 0xB5
_MOST_BRANCHES = 1 << 17


class Heap:
    """One node's heap, and what it refers to by subnode."""

    def __init__(self, db: Database, node: Node) -> None:
        """Damaged if the node's data is not a heap."""
        self.db = db
        self.node = node
        self._leaves = db.leaves(node.data)
        if not self._leaves:
            raise Damaged(f"node {node.nid:#x} is empty")
        self._first = first = db.block(self._leaves[0])
        if len(first) < 12 or first[2] != _SIGNATURE:
            raise Damaged(f"node {node.nid:#x} does not begin as it should")
        self.client = first[3]
        self.root: int = struct.unpack_from("<I", first, 4)[0]

    @cached_property
    def subnodes(self) -> dict[int, Node]:
        return self.db.subnodes(self.node.subnodes)

    def _block(self, number: int) -> bytes:
        if number >= len(self._leaves):
            raise Damaged(f"node {self.node.nid:#x} refers to what it does not hold")
        return self.db.block(self._leaves[number])

    def item(self, hid: int) -> bytes:
        """The bytes of one allocation (§2.3.1.5); none for id 0."""
        if hid == 0:
            return b""
        shift = self.db.layout.hid_shift
        number, index = hid >> shift, hid >> 5 & (1 << shift - 5) - 1
        block = self._block(number) if number else self._first
        (at,) = struct.unpack_from("<H", block)
        if index == 0 or at + 6 + 2 * index > len(block):
            raise Damaged(f"node {self.node.nid:#x} refers to what it does not hold")
        start, end = struct.unpack_from("<HH", block, at + 2 + 2 * index)
        if start > end or end > len(block):
            raise Damaged(f"node {self.node.nid:#x} has a broken list of its parts")
        return block[start:end]

    def value(self, hnid: int, most: int) -> bytes:
        """The bytes behind an HNID (§2.3.3.2), whole: of an allocation, or of a subnode. Damaged beyond `most`."""
        if is_hid(hnid):
            return self.item(hnid)
        pieces, size = [], 0
        for piece in self.stream(hnid):
            pieces.append(piece)
            size += len(piece)
            if size > most:
                raise Damaged(f"a property of node {self.node.nid:#x} is too large")
        return b"".join(pieces)

    def stream(self, hnid: int) -> Iterator[bytes]:
        """The bytes behind an HNID, piece by piece."""
        if is_hid(hnid):
            yield self.item(hnid)
        else:
            yield from self.db.data(self.subnode(hnid).data)

    def subnode(self, nid: int) -> Node:
        found = self.subnodes.get(nid)
        if found is None:
            raise Damaged(f"node {self.node.nid:#x} lacks its subnode {nid:#x}")
        return found

    def records(self, hid: int, key: int, value: int) -> Iterator[bytes]:
        """The records, key and value, of the B-tree at `hid` (§2.3.2), in order, leaf by leaf. `key`, `value`: the
        widths they must have."""
        header = self.item(hid)
        if len(header) < 8 or header[0] != _BTH or (header[1], header[2]) != (key, value):
            raise Damaged(f"node {self.node.nid:#x} has a broken index")
        (root,) = struct.unpack_from("<I", header, 4)
        if root:
            yield from self._leaves_of(root, header[3], key, value, [0])

    def _leaves_of(self, hid: int, level: int, key: int, value: int, count: list[int]) -> Iterator[bytes]:
        records, width = self.item(hid), key + (4 if level else value)
        if level > 8 or len(records) % width:
            raise Damaged(f"node {self.node.nid:#x} has a broken index")
        if level == 0:
            yield records
            return
        for (child,) in struct.iter_unpack(f"<{key}xI", records):
            count[0] += 1
            if count[0] > _MOST_BRANCHES:
                raise Damaged(f"node {self.node.nid:#x} has an index without end")
            yield from self._leaves_of(child, level - 1, key, value, count)


def is_hid(hnid: int) -> bool:
    """Whether this is an allocation in the heap itself; else it is the id of a subnode."""
    return hnid & 0x1F == 0
