"""The node database of a PST file ([MS-PST] §2.2.2): nodes, blocks, trees of blocks, subnodes. Knows no properties.

Data comes block by block, so that memory does not depend on sizes. Invariants: no block gives more than 64 KB, whatever
it is unpacked from; no tree of blocks more than the file can hold.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from mailferry.wire.pst.btree import BTree
from mailferry.wire.pst.crypt import checksum, cyclic, unpermuted
from mailferry.wire.pst.damage import Damaged, Findings
from mailferry.wire.pst.header import HEADER_SIZE, Crypt, Header, parse_header
from mailferry.wire.pst.pages import BBT, NBT, Extent, Node, Read, extent_of, node_of

MOST = 65536
"""Bytes of one block, unpacked."""

_MOST_LEAVES = 1 << 20
"""Blocks of one value: more than 4 GB need, which is what a size of 32 bits can say."""
_CACHED = 64
_AHEAD = 1 << 17
"""Bytes read at once where blocks are asked for that lie one behind the other."""


class Database:
    """A file's nodes and blocks. `size`: the file's real length."""

    def __init__(self, read: Read, size: int, about: str = "") -> None:
        """UserError, Permanent: see `parse_header`."""
        self.header: Header = parse_header(read(0, HEADER_SIZE), about)
        self.layout = self.header.layout
        self.size = size
        self.findings = Findings()
        self._read = read
        self._nbt = BTree(read, size, self.layout, NBT, self.header.nodes, self.findings)
        self._bbt = BTree(read, size, self.layout, BBT, self.header.blocks, self.findings)
        self._blocks: dict[int, bytes] = {}
        self._ahead = 0, b""
        if not self.header.intact:
            self.findings.note("a header with a wrong checksum")
        if size < self.header.size:
            self.findings.note(f"a file that ends too early ({self.header.size - size} bytes are missing)")

    # Nodes

    def node(self, nid: int) -> Node | None:
        """The node with this id, None where there is none."""
        entry = self._nbt.find(nid)
        return None if entry is None else node_of(entry, self.layout.wide)

    def nodes(self) -> Iterator[Node]:
        """Every node, by ascending id."""
        for entry in self._nbt.leaves():
            yield node_of(entry, self.layout.wide)

    # Blocks

    def data(self, bid: int) -> Iterator[bytes]:
        """The data below a block id (§2.2.2.8.3): one block, or those of an XBLOCK or XXBLOCK, in order."""
        for leaf in self.leaves(bid):
            yield self.block(leaf)

    def leaves(self, bid: int) -> list[int]:
        """The ids of the data blocks below a block id. Damaged if they cannot all fit into the file."""
        if not bid & ~1:
            return []
        if not bid & 2:
            return [bid]
        found: list[int] = []
        self._collect(bid, 2, found)
        return found

    def _collect(self, bid: int, most: int, found: list[int]) -> None:
        level, ids = self._array(bid)
        if not 1 <= level <= most:
            raise Damaged(f"block {bid:#x} stands on the wrong level")
        count = len(found) + len(ids)
        if count * self.layout.align > self.size or count > _MOST_LEAVES:
            raise Damaged(f"block {bid:#x} names more data than the file holds")
        for one in ids:
            if level == 2:
                self._collect(one, 1, found)
            elif one & 2:
                raise Damaged(f"block {bid:#x} names a block that holds no data")
            else:
                found.append(one)

    def _array(self, bid: int) -> tuple[int, list[int]]:
        """An XBLOCK or XXBLOCK (§2.2.2.8.3.2): its level, the ids it names."""
        data = self.block(bid)
        width = 8 if self.layout.wide else 4
        if len(data) < 8 or data[0] != 1:
            raise Damaged(f"block {bid:#x} is not a list of blocks")
        count = struct.unpack_from("<H", data, 2)[0]
        if 8 + count * width > len(data):
            raise Damaged(f"block {bid:#x} is shorter than the list in it")
        return data[1], list(struct.unpack_from(f"<{count}{'Q' if width == 8 else 'I'}", data, 8))

    def block(self, bid: int) -> bytes:
        """One block, unpacked and undisguised. A wrong checksum is noted, no more. Damaged if it cannot be had."""
        bid &= ~1
        data = self._blocks.pop(bid, None)
        if data is None:
            data = self._load(self.extent(bid))
            if len(self._blocks) >= _CACHED:
                del self._blocks[next(iter(self._blocks))]
        self._blocks[bid] = data
        return data

    def extent(self, bid: int) -> Extent:
        """Where the block lies."""
        entry = self._bbt.find(bid & ~1)
        if entry is None:
            raise Damaged(f"block {bid:#x} is missing from the index")
        return extent_of(entry, self.layout.wide)

    def _load(self, extent: Extent) -> bytes:
        bid, offset, size = extent
        layout = self.layout
        whole = -(-(size + layout.trailer) // layout.align) * layout.align
        stored = self._stored(offset, whole)
        if len(stored) < size:
            raise Damaged(f"block {bid:#x} lies beyond the end of the file")
        data = stored[:size]
        if len(stored) == whole:
            self._check(extent, data, stored[-layout.trailer :])
        else:
            self.findings.note("a block without its end")
        if layout.zipped and len(stored) == whole:
            (unpacked,) = struct.unpack_from("<H", stored, whole - 6)
            if unpacked and unpacked != size:
                data = _unzipped(bid, data, unpacked)
        if bid & 2:
            return data
        match self.header.crypt:
            case Crypt.PERMUTE:
                return unpermuted(data)
            case Crypt.CYCLIC:
                return cyclic(data, bid & 0xFFFFFFFF)
            case _:
                return data

    def _stored(self, offset: int, size: int) -> bytes:
        """Bytes of the file; more of them are read than asked for where it goes on from what was read last."""
        start, held = self._ahead
        at = offset - start
        if not 0 <= at <= at + size <= len(held):
            held = self._read(offset, max(size, _AHEAD) if 0 < at <= len(held) else size)
            self._ahead, at = (offset, held), 0
        return held[at : at + size]

    def _check(self, extent: Extent, data: bytes, trailer: bytes) -> None:
        """The trailer of §2.2.2.8.1. One of another block means that something else stands there: pages that are not in
        use any more lead to places that are in use again."""
        if self.layout.wide:
            _, _, crc, bid = struct.unpack_from("<HHIQ", trailer)
        else:
            _, _, bid, crc = struct.unpack_from("<HHII", trailer)
        if bid & ~1 != extent.bid & ~1:
            raise Damaged(f"at the place of block {extent.bid:#x} stands something else")
        if crc != checksum(data):
            self.findings.note("a block with a wrong checksum")

    # Subnodes

    def subnodes(self, bid: int) -> dict[int, Node]:
        """The subnodes below a block id (§2.2.2.8.3.3), by node id."""
        found: dict[int, Node] = {}
        if bid & ~1:
            self._subnodes(bid, 1, found, set())
        return found

    def _subnodes(self, bid: int, most: int, found: dict[int, Node], seen: set[int]) -> None:
        if bid in seen:
            raise Damaged(f"block {bid:#x} stands twice in a list of subnodes")
        seen.add(bid)
        data = self.block(bid)
        wide = self.layout.wide
        if len(data) < 4 or data[0] != 2 or data[1] > most:
            raise Damaged(f"block {bid:#x} is not a list of subnodes")
        level, count = data[1], struct.unpack_from("<H", data, 2)[0]
        start = 8 if wide else 4
        form = ("<QQ" if level else "<QQQ") if wide else ("<II" if level else "<III")
        end = start + count * struct.calcsize(form)
        if end > len(data):
            raise Damaged(f"block {bid:#x} is shorter than the list in it")
        for entry in struct.iter_unpack(form, data[start:end]):
            if level:
                self._subnodes(entry[1], 0, found, seen)
            else:
                nid = entry[0] & 0xFFFFFFFF
                found[nid] = Node(nid, entry[1], entry[2])


def _unzipped(bid: int, data: bytes, size: int) -> bytes:
    """Deflated data of OST files since 2013. `size` is what it ought to give."""
    try:
        found = zlib.decompressobj().decompress(data, MOST)
    except zlib.error as error:
        raise Damaged(f"block {bid:#x} cannot be unpacked: {error}") from None
    if len(found) != size:
        raise Damaged(f"block {bid:#x} unpacks to {len(found)} bytes instead of {size}")
    return found
