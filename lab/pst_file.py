"""Writes PST files for tests: ANSI, Unicode, or with 4 KB pages; any encoding, any size: data goes out at once.

As much of [MS-PST] as readers look at: header, both B-trees, blocks and trees of blocks, heaps, property and table
contexts, named properties, folders, items, recipients, attachments to any depth. No allocation maps: Outlook would ask
for a repair. Written from the specification apart from our reader, and read by libpff too, so that a mistake of ours
shows.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from mailferry.wire.mapi.tags import PUBLIC_STRINGS
from mailferry.wire.pst.crypt import checksum, cyclic, permuted, signature
from mailferry.wire.pst.header import ANSI, UNICODE, UNICODE_4K, Crypt, Layout

VERSIONS = {ANSI: 15, UNICODE: 23, UNICODE_4K: 36}
PUBLIC_STRINGS_INDEX = 2
PSETID_COMMON = bytes.fromhex("0820060000000000c000000000000046")
"""Some set of names: libpff does not open a file without one."""
FIRST_BLOCK = 0x4600
MOST_IN_HEAP = 3580

LONG, BOOLEAN, OBJECT, TIME, STRING8, STRING, BINARY, STRINGS = 0x3, 0xB, 0xD, 0x40, 0x1E, 0x1F, 0x102, 0x101F
DOUBLE, BINARIES = 0x5, 0x1102

Value = int | float | bool | str | bytes | list[str] | list[bytes]
Properties = Mapping[int, tuple[int, Value]]
"""Tag to type and value. A STRING is written as STRING8 (Windows-1252) in ANSI files."""


@dataclass(frozen=True, slots=True)
class Attached:
    """An attachment: its properties, and its data: pieces of bytes, or a message."""

    properties: Properties
    data: Iterable[bytes] | Mail | None = None


@dataclass(frozen=True, slots=True)
class Mail:
    """An item with its recipients and attachments."""

    properties: Properties
    recipients: Sequence[Properties] = ()
    attachments: Sequence[Attached] = ()


@dataclass(slots=True)
class _Folder:
    nid: int
    properties: Properties
    parent: int
    items: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Heap:
    """A heap on node being filled; `subnodes`: nid → (data, subnodes)."""

    layout: Layout
    client: int
    blocks: list[list[bytes]] = field(default_factory=lambda: [[]])
    used: int = 16
    subnodes: dict[int, tuple[int, int]] = field(default_factory=dict)
    next_subnode: int = 0x1000

    def put(self, data: bytes) -> int:
        """Allocate; returns the heap id."""
        need = len(data) + 2
        if self.used + need + 16 > self.layout.block or len(self.blocks[-1]) >= 1000:
            self.blocks.append([])
            self.used = 80
        self.blocks[-1].append(data)
        self.used += need
        return len(self.blocks[-1]) << 5 | len(self.blocks) - 1 << self.layout.hid_shift

    def finish(self, root: int) -> list[bytes]:
        """The blocks' bytes (§2.3.1.2 to §2.3.1.5)."""
        written = []
        for number, items in enumerate(self.blocks):
            if number == 0:
                head = struct.pack("<BBI4x", 0xEC, self.client, root)
            else:
                head = b"" if number != 8 and (number - 8) % 128 else bytes(64)
            starts, body = [], b""
            for item in items:
                starts.append(2 + len(head) + len(body))
                body += item
            end = 2 + len(head) + len(body)
            body += b"\0" * (end % 2)
            page_map = struct.pack(f"<HH{len(items) + 1}H", len(items), 0, *starts, end)
            written.append(struct.pack("<H", end + end % 2) + head + body + page_map)
        return written


class PstWriter:
    """A file being written. Folders first, then items; `close()` writes the trees."""

    def __init__(self, path: Path, layout: Layout = UNICODE, crypt: Crypt = Crypt.PERMUTE, key: bytes = b"k" * 16):
        self.layout, self.crypt, self.key = layout, crypt, key
        self._file: IO[bytes] = path.open("wb")
        self._at = FIRST_BLOCK
        self._extents: list[tuple[int, int, int]] = []
        self._nodes: dict[int, tuple[int, int, int]] = {}
        self._next_block = 4
        self._next_item = 0x10000
        self._names: list[tuple[bytes, str | int]] = [(PUBLIC_STRINGS, "Keywords")]
        self._folders: dict[int, _Folder] = {}
        self.root = self._add_folder(0x122, {0x3001: (STRING, "root")}, 0x122)
        self.top = self._add_folder(0x8022, {0x3001: (STRING, "Top of Personal Folders")}, self.root)
        self.inbox: int | None = None
        self.sent: int | None = None

    # What tests ask for

    def folder(self, name: str, parent: int | None = None, container: str = "IPF.Note", **more: bool) -> int:
        nid = 0x8042 + 32 * len(self._folders)
        properties: dict[int, tuple[int, Value]] = {0x3001: (STRING, name), 0x3613: (STRING, container)}
        if more.get("hidden"):
            properties[0x10F4] = (BOOLEAN, True)
        if more.get("inbox"):
            self.inbox = nid
        return self._add_folder(nid, properties, parent or self.top)

    def keyword_tag(self) -> int:
        """The tag of the named property Keywords in this file."""
        return self.tag(PUBLIC_STRINGS, "Keywords")

    def tag(self, space: bytes, name: str | int) -> int:
        """The tag of a named property; it gets one when it has none yet."""
        if (space, name) not in self._names:
            self._names.append((space, name))
        return 0x8000 + self._names.index((space, name))

    def add(self, folder: int, mail: Mail) -> int:
        """Put an item into a folder; returns its node id."""
        nid = self._next_item << 5 | 4
        self._next_item += 1
        data, subnodes = self._mail(mail)
        self._nodes[nid] = (data, subnodes, folder)
        self._folders[folder].items.append(nid)
        return nid

    def close(self, lose: int = 0) -> None:
        """Write what is left to write, but not the node `lose`."""
        for one in self._folders.values():
            self._write_folder(one)
        self._write_store()
        self._nodes.pop(lose, None)
        self._write_trees()

    # Messaging

    def _add_folder(self, nid: int, properties: Properties, parent: int) -> int:
        self._folders[nid] = _Folder(nid, properties, parent)
        return nid

    def _write_folder(self, one: _Folder) -> None:
        children = [f.nid for f in self._folders.values() if f.parent == one.nid and f.nid != one.nid]
        properties = {
            **one.properties,
            0x3602: (LONG, len(one.items)),
            0x3603: (LONG, 0),
            0x360A: (BOOLEAN, bool(children)),
        }
        self._nodes[one.nid] = (*self._properties(properties), one.parent)
        self._nodes[one.nid & ~31 | 0x0D] = (*self._table({}, [(nid, {}) for nid in children]), 0)
        columns = {0x0E07: LONG}
        rows: list[tuple[int, Properties]] = [(nid, {0x0E07: (LONG, 0)}) for nid in one.items]
        self._nodes[one.nid & ~31 | 0x0E] = (*self._table(columns, rows), 0)
        self._nodes[one.nid & ~31 | 0x0F] = (*self._table({}, []), 0)

    def _write_store(self) -> None:
        entry = bytes(4) + self.key + struct.pack("<I", self.top)
        about: dict[int, tuple[int, Value]] = {0x0FF9: (BINARY, self.key), 0x35E0: (BINARY, entry)}
        if self.sent is not None:
            about[0x35E4] = (BINARY, entry[:-4] + struct.pack("<I", self.sent))
        self._nodes[0x21] = (*self._properties(about), 0)
        spaces = [PSETID_COMMON, *dict.fromkeys(space for space, _ in self._names if space != PUBLIC_STRINGS)]
        strings = b""
        entries = b""
        for index, (space, name) in enumerate(self._names):
            guid = PUBLIC_STRINGS_INDEX if space == PUBLIC_STRINGS else 3 + spaces.index(space)
            if isinstance(name, int):
                entries += struct.pack("<IHH", name, guid << 1, index)
                continue
            entries += struct.pack("<IHH", len(strings), guid << 1 | 1, index)
            text = name.encode("utf-16-le")
            strings += struct.pack("<I", len(text)) + text + bytes(-len(text) % 4)
        names: Properties = {2: (BINARY, b"".join(spaces)), 3: (BINARY, entries), 4: (BINARY, strings)}
        self._nodes[0x61] = (*self._properties(names), 0)
        if self.inbox is not None:
            rows: list[tuple[int, Properties]] = [(1, {0x6605: (LONG, self.inbox)})]
            self._nodes[0x62B] = (*self._table({0x001A: STRING, 0x6605: LONG}, rows), 0)

    def _mail(self, mail: Mail) -> tuple[int, int]:
        heap = _Heap(self.layout, 0xBC)
        if mail.recipients:
            columns = {tag: kind for one in mail.recipients for tag, (kind, _) in one.items()}
            heap.subnodes[0x692] = self._table(columns, [*enumerate(mail.recipients)])
        if mail.attachments:
            nids = [0x8025 + 32 * number for number in range(len(mail.attachments))]
            heap.subnodes[0x671] = self._table({0x3705: LONG}, [(nid, {}) for nid in nids])
            for nid, one in zip(nids, mail.attachments, strict=True):
                heap.subnodes[nid] = self._attached(one)
        return self._properties(mail.properties, heap)

    def _attached(self, one: Attached) -> tuple[int, int]:
        heap = _Heap(self.layout, 0xBC)
        extra: dict[int, tuple[int, int]] = {}
        if isinstance(one.data, Mail):
            heap.subnodes[0x9004] = self._mail(one.data)
            extra[0x3701] = (OBJECT, heap.put(struct.pack("<II", 0x9004, 0)))
        elif one.data is not None:
            heap.subnodes[0x901F] = (self._tree(one.data), 0)
            extra[0x3701] = (BINARY, 0x901F)
        return self._properties(one.properties, heap, extra)

    # Properties and tables

    def _properties(
        self, properties: Properties, heap: _Heap | None = None, extra: Mapping[int, tuple[int, int]] | None = None
    ) -> tuple[int, int]:
        """A property context; returns the ids of its data and subnodes. `extra`: tag → type and HNID, ready."""
        heap = heap or _Heap(self.layout, 0xBC)
        records = dict(extra or {})
        for tag, (kind, value) in properties.items():
            kind, data = self._encoded(kind, value)
            if kind in (LONG, BOOLEAN):
                records[tag] = (kind, struct.unpack("<I", data.ljust(4, b"\0"))[0])
            else:
                records[tag] = (kind, self._stored(heap, data))
        packed = [struct.pack("<HHI", tag, *records[tag]) for tag in sorted(records)]
        return self._heap(heap, self._index(heap, packed, 2, 6))

    def _table(self, columns: Mapping[int, int], rows: Sequence[tuple[int, Properties]]) -> tuple[int, int]:
        heap = _Heap(self.layout, 0x7C)
        kinds = {0x67F2: LONG, 0x67F3: LONG} | {tag: self._encoded(kind, None)[0] for tag, kind in columns.items()}
        wide = [tag for tag in kinds if kinds[tag] != BOOLEAN and kinds[tag] != TIME]
        order = [*wide, *(tag for tag in kinds if kinds[tag] == TIME), *(tag for tag in kinds if kinds[tag] == BOOLEAN)]
        at, places = 0, {}
        for tag in order:
            width = {BOOLEAN: 1, TIME: 8}.get(kinds[tag], 4)
            places[tag] = (at, width)
            at += width
        booleans = sum(kinds[tag] == BOOLEAN for tag in order)
        ends = (at - booleans, at - booleans, at, at + -(-len(order) // 8))
        bits = {tag: number for number, tag in enumerate(order)}
        packed = []
        for number, (nid, values) in enumerate(rows):
            row = bytearray(ends[3])
            all_values = {**values, 0x67F2: (LONG, nid), 0x67F3: (LONG, number)}
            for tag, (kind, value) in all_values.items():
                kind, data = self._encoded(kind, value)
                offset, width = places[tag]
                cell = data if kind in (LONG, BOOLEAN, TIME) else struct.pack("<I", self._stored(heap, data))
                row[offset : offset + width] = cell[:width].ljust(width, b"\0")
                row[ends[2] + bits[tag] // 8] |= 0x80 >> bits[tag] % 8
            packed.append(bytes(row))
        matrix = 0
        if packed:
            per_block = self.layout.block // ends[3]
            if ends[3] * len(packed) <= MOST_IN_HEAP:
                matrix = heap.put(b"".join(packed))
            else:
                matrix = 0x801F
                pieces = [packed[start : start + per_block] for start in range(0, len(packed), per_block)]
                blocks = [b"".join(piece).ljust(self.layout.block, b"\0") for piece in pieces[:-1]]
                heap.subnodes[matrix] = (self._blocks([*blocks, b"".join(pieces[-1])]), 0)
        form = "<II" if self.layout.wide else "<IH"
        index = [struct.pack(form, nid, number) for number, (nid, _) in enumerate(rows)]
        index_id = self._index(heap, sorted(index, key=lambda one: one[:4][::-1]), 4, struct.calcsize(form) - 4)
        info = struct.pack("<BB4HIII", 0x7C, len(order), *ends, index_id, matrix, 0)
        for tag in sorted(order):
            info += struct.pack("<HHHBB", kinds[tag], tag, *places[tag], bits[tag])
        return self._heap(heap, heap.put(info))

    def _index(self, heap: _Heap, records: list[bytes], key: int, value: int) -> int:
        """A B-tree on the heap (§2.3.2); returns its id."""
        level, width = 0, key + value
        ids = []
        while records:
            per = MOST_IN_HEAP // width
            parts = [records[start : start + per] for start in range(0, len(records), per)]
            ids = [(part[0][:key], heap.put(b"".join(part))) for part in parts]
            if len(ids) == 1:
                break
            records, width, level = [first + struct.pack("<I", hid) for first, hid in ids], key + 4, level + 1
        return heap.put(struct.pack("<BBBBI", 0xB5, key, value, level, ids[0][1] if ids else 0))

    def _encoded(self, kind: int, value: Value | None) -> tuple[int, bytes]:
        """The type as this file has it, and the value's bytes."""
        if kind == STRING and not self.layout.wide:
            kind = STRING8
        if value is None:
            return kind, b""
        if kind == STRING8:
            return kind, value if isinstance(value, bytes) else str(value).encode("cp1252", "replace")
        if kind == STRING:
            return kind, str(value).encode("utf-16-le", "surrogatepass")
        if isinstance(value, list):
            texts = [one if isinstance(one, bytes) else one.encode("utf-16-le") for one in value]
            starts, at = [], 4 + 4 * len(texts)
            for text in texts:
                starts.append(at)
                at += len(text)
            return kind, struct.pack(f"<I{len(texts)}I", len(texts), *starts) + b"".join(texts)
        if isinstance(value, int | float):
            return kind, struct.pack({LONG: "<i", BOOLEAN: "<?", TIME: "<q", DOUBLE: "<d"}[kind], value)
        assert isinstance(value, bytes)
        return kind, value

    def _stored(self, heap: _Heap, data: bytes) -> int:
        """In the heap, or as a subnode where it is too large (§2.3.3.2); returns the HNID."""
        if not data:
            return 0
        if len(data) <= MOST_IN_HEAP:
            return heap.put(data)
        nid = heap.next_subnode << 5 | 0x1F
        heap.next_subnode += 1
        heap.subnodes[nid] = (self._tree([data]), 0)
        return nid

    def _heap(self, heap: _Heap, root: int) -> tuple[int, int]:
        return self._blocks(heap.finish(root)), self._subnodes(heap.subnodes)

    # Blocks

    def _tree(self, pieces: Iterable[bytes]) -> int:
        """Data of any length in full blocks; returns the id of what holds it all."""
        ids, size, held = [], 0, b""
        for piece in pieces:
            held += piece
            while len(held) >= self.layout.block:
                ids.append(self._block(held[: self.layout.block]))
                size += self.layout.block
                held = held[self.layout.block :]
        if held or not ids:
            ids.append(self._block(held))
            size += len(held)
        return self._over(ids, size)

    def _blocks(self, blocks: Sequence[bytes]) -> int:
        return self._over([self._block(block) for block in blocks], sum(map(len, blocks)))

    def _over(self, ids: list[int], size: int) -> int:
        """XBLOCK and XXBLOCK (§2.2.2.8.3.2)."""
        level, form = 1, "Q" if self.layout.wide else "I"
        per = (self.layout.block - 8) // struct.calcsize(form)
        while len(ids) > 1:
            parts = [ids[start : start + per] for start in range(0, len(ids), per)]
            ids = [
                self._block(struct.pack(f"<BBHI{len(part)}{form}", 1, level, len(part), size & 0xFFFFFFFF, *part), True)
                for part in parts
            ]
            level += 1
        return ids[0]

    def _subnodes(self, subnodes: Mapping[int, tuple[int, int]]) -> int:
        """SLBLOCK and SIBLOCK (§2.2.2.8.3.3); 0 for none."""
        if not subnodes:
            return 0
        wide = self.layout.wide
        head, form = ("<BBH4x", "<QQQ") if wide else ("<BBH", "<III")
        entries = [struct.pack(form, nid, *subnodes[nid]) for nid in sorted(subnodes)]
        per = (self.layout.block - 8) // len(entries[0])
        parts = [entries[start : start + per] for start in range(0, len(entries), per)]
        ids = [self._block(struct.pack(head, 2, 0, len(part)) + b"".join(part), True) for part in parts]
        if len(ids) == 1:
            return ids[0]
        half = 8 if wide else 4
        branches = [part[0][:half] + struct.pack(form[:2], bid) for part, bid in zip(parts, ids, strict=True)]
        return self._block(struct.pack(head, 2, 1, len(branches)) + b"".join(branches), True)

    def _block(self, data: bytes, internal: bool = False) -> int:
        """One block with its trailer (§2.2.2.8.1); returns its id."""
        bid = self._next_block | (2 if internal else 0)
        self._next_block += 4
        layout, size = self.layout, len(data)
        if not internal and self.crypt is Crypt.PERMUTE:
            data = permuted(data)
        elif not internal and self.crypt is Crypt.CYCLIC:
            data = cyclic(data, bid)
        if layout.zipped and not internal and len(zipped := zlib.compress(data)) < size:
            data = zipped
        whole = -(-(len(data) + layout.trailer) // layout.align) * layout.align
        sig = signature(self._at, bid)
        if layout.wide:
            trailer = struct.pack("<HHIQ", len(data), sig, checksum(data), bid)
        else:
            trailer = struct.pack("<HHII", len(data), sig, bid, checksum(data))
        if layout.zipped:
            trailer += struct.pack("<HHI", 2, size if size != len(data) else 0, 0)
        self._extents.append((bid, self._at, len(data)))
        self._write(data.ljust(whole - layout.trailer, b"\0") + trailer)
        return bid

    def _write(self, data: bytes) -> None:
        self._file.seek(self._at)
        self._file.write(data)
        self._at += len(data)

    # Trees and header

    def _write_trees(self) -> None:
        wide = self.layout.wide
        if wide:
            blocks = [struct.pack("<QQHHI", bid, at, size, 2, 0) for bid, at, size in sorted(self._extents)]
            nodes = [struct.pack("<QQQII", nid, *self._nodes[nid], 0) for nid in sorted(self._nodes)]
        else:
            blocks = [struct.pack("<IIHH", bid, at, size, 2) for bid, at, size in sorted(self._extents)]
            nodes = [struct.pack("<IIII", nid, *self._nodes[nid]) for nid in sorted(self._nodes)]
        self._at = -(-self._at // self.layout.page) * self.layout.page
        bbt, nbt = self._pages(blocks, 0x80), self._pages(nodes, 0x81)
        header = self._header(nbt, bbt)
        self._file.seek(0)
        self._file.write(header)
        self._file.close()

    def _pages(self, entries: list[bytes], kind: int) -> tuple[int, int]:
        """A B-tree from its leaf entries (§2.2.2.7.7); returns id and offset of its root."""
        layout, level = self.layout, 0
        key = 8 if layout.wide else 4
        while True:
            width = len(entries[0])
            per = min(layout.entries // width, 255 if layout.page == 512 else 65535)
            branches = []
            for start in range(0, len(entries), per):
                part = entries[start : start + per]
                bid, at = self._next_block, self._at
                self._next_block += 4
                self._write(self._page(part, per, level, kind, bid))
                branches.append(part[0][:key] + struct.pack("<QQ" if layout.wide else "<II", bid, at))
            if len(branches) == 1:
                return bid, at
            entries, level = branches, level + 1

    def _page(self, entries: list[bytes], most: int, level: int, kind: int, bid: int) -> bytes:
        layout, width = self.layout, len(entries[0])
        body = b"".join(entries).ljust(layout.entries, b"\0")
        if layout.page == 512:
            body += struct.pack("<BBBB", len(entries), most, width, level) + (bytes(4) if layout.wide else b"")
        else:
            body += struct.pack("<HHBB10x", len(entries), most, width, level)
        sig = signature(self._at, bid)
        if layout.wide:
            page = body + struct.pack("<BBHIQ", kind, kind, sig, checksum(body), bid)
        else:
            page = body + struct.pack("<BBHII", kind, kind, sig, bid, checksum(body))
        return page.ljust(layout.page, b"\0")

    def _header(self, nbt: tuple[int, int], bbt: tuple[int, int]) -> bytes:
        header = bytearray(564)
        struct.pack_into("<4s4xHHH", header, 0, b"!BDN", 0x4D53, VERSIONS[self.layout], 19)
        header[14:16] = b"\x01\x01"
        if self.layout.wide:
            struct.pack_into("<QQQQ", header, 216, *nbt, *bbt)
            struct.pack_into("<Q", header, 184, self._at)
            header[512:514] = bytes((0x80, self.crypt.value))
            struct.pack_into("<I", header, 524, checksum(bytes(header[8:524])))
        else:
            struct.pack_into("<IIII", header, 184, *nbt, *bbt)
            struct.pack_into("<I", header, 168, self._at)
            header[460:462] = bytes((0x80, self.crypt.value))
        struct.pack_into("<I", header, 4, checksum(bytes(header[8:479])))
        return bytes(header)
