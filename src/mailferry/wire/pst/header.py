"""The first 564 bytes of a PST or OST file ([MS-PST] §2.2.2.6): which format, how disguised, where the two trees are.

Reads nothing itself. Invariant: a `Header` is of a format that the rest of the package reads.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum

from mailferry.errors import Permanent, UserError
from mailferry.wire.pst.crypt import checksum

HEADER_SIZE = 564
_MAGIC = b"!BDN"
_MAILBOXES = (b"SM", b"SO")
_ADDRESS_BOOK = b"AB"
_OST_2013 = 36


class Crypt(Enum):
    """bCryptMethod (§2.2.2.6). WIP: Windows Information Protection, whose keys are not in the file."""

    NONE = 0
    PERMUTE = 1
    CYCLIC = 2
    WIP = 0x10


@dataclass(frozen=True, slots=True)
class Layout:
    """What differs between the three formats. Sizes in bytes.

    `wide`: 64-bit ids and offsets (Unicode). `page`: a B-tree page; `entries`: its part for entries, where its footer
    begins. `trailer`: what follows a block's data; `align`: blocks begin and end at multiples of it. `block`: data in a
    full block. `hid_shift`: where in a heap id the block's number begins. `zipped`: a block may be compressed.
    """

    wide: bool
    page: int
    entries: int
    trailer: int
    align: int
    block: int
    hid_shift: int
    zipped: bool = False


ANSI = Layout(wide=False, page=512, entries=496, trailer=12, align=64, block=8180, hid_shift=16)
UNICODE = Layout(wide=True, page=512, entries=488, trailer=16, align=64, block=8176, hid_shift=16)
UNICODE_4K = Layout(wide=True, page=4096, entries=4056, trailer=24, align=512, block=65512, hid_shift=19, zipped=True)


@dataclass(frozen=True, slots=True)
class Header:
    """`version`: wVer. `nodes`, `blocks`: file offsets of the roots of the two B-trees (NBT, BBT). `size`: what the
    file ought to have, bytes. `intact`: the header's own checksum is right."""

    version: int
    layout: Layout
    crypt: Crypt
    nodes: int
    blocks: int
    size: int
    intact: bool


def parse_header(data: bytes, about: str = "") -> Header:
    """The header from the first bytes of a file.

    UserError: not a PST or OST file. Permanent: one that cannot be read, with the reason.
    """
    if len(data) < HEADER_SIZE or data[:4] != _MAGIC or data[8:10] not in _MAILBOXES:
        if data[:4] == _MAGIC and data[8:10] == _ADDRESS_BOOK:
            raise UserError("it is an offline address book of Outlook, not a mailbox", about=about)
        raise UserError("it is not a PST or OST file", about=about, advice="pst:FILE needs a file that Outlook wrote")
    version = struct.unpack_from("<H", data, 10)[0]
    if version in (14, 15):
        layout = ANSI
        method, (size, nodes, blocks) = data[461], (_u32(data, offset) for offset in (168, 188, 196))
    elif version >= 23 or version == 21:
        layout = UNICODE_4K if version == _OST_2013 else UNICODE
        method, (size, nodes, blocks) = data[513], (_u64(data, offset) for offset in (184, 224, 240))
    else:
        raise Permanent(f"its format has the number {version}, which nobody knows", about=about)
    if method == Crypt.WIP.value:
        raise Permanent(
            "it is encrypted by a policy (Windows Information Protection): its keys are not in the file",
            about=about,
            advice="open it in Outlook on a managed machine and export it to a new PST there",
        )
    try:
        crypt = Crypt(method)
    except ValueError:
        raise Permanent(f"its contents are encoded in a way that nobody knows ({method})", about=about) from None
    intact = checksum(data[8:479]) == _u32(data, 4)
    return Header(version, layout, crypt, nodes, blocks, size, intact)


def _u32(data: bytes, offset: int) -> int:
    value: int = struct.unpack_from("<I", data, offset)[0]
    return value


def _u64(data: bytes, offset: int) -> int:
    value: int = struct.unpack_from("<Q", data, offset)[0]
    return value
