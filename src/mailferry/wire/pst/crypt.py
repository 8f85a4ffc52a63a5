"""How PST files disguise their blocks ([MS-PST] §5.1, §5.2), and their checksum (§5.3). There is no key to any of it.

Cyclic decoding is done with whole-table `bytes.translate` over strides instead of byte by byte: each of its three
steps depends only on the low or the high byte of a counter.
"""

from __future__ import annotations

import zlib
from functools import cache

_R = bytes.fromhex(
    "41361362a8216ebbf416cc047f64e85d1ef2cb2a74c55e35d295479e962d9a884c7d843fdbac31b6485ff6c4d8398be7"
    "233b388ec8c1df25b120a546604e9cfbaad35651457c550007c92b9d859b09a08fadb30f63ab894bd7a7155a716642bf"
    "264a6b98faea7753b270052cfd593a867ece06eb827857c78d43afb41cd45bcde2e9274fc3087280cfb0eff5286dbe30"
    "4d3492d50e3c2232e5e4f99fc2d10a8112e1ee918376e397e6618a1779a4b7dc907a5c8c02a6ca69de501a1193b95287"
    "58fced1d37491b6ae0293399bd6cd994f340546ff0c673b8d63e6518441fdd6710f10c19ecae03a1147ba90bfff8a3c0"
    "a201f72ebc2468750dfeba2fb5d0da3d"
)
_S = bytes.fromhex(
    "14530f56b3c87a9ceb65481716159f02cc547c83000d0c0ba262a876dbd9edc7c5a4dcac8574d6d0a79bae9a967166c3"
    "6399b8dd73928e847da55ed15d93b1575150808952944f4e0a6bbc8d7f6e47464140440111cb033ff7f4e1a98f3c3af9"
    "fbf0193082092ec99da08649ee6f4d6dc42d813425871b88aafc06a11238fd4c4272641337246a757743ffe6b44b365c"
    "e4d8353d45b92cecb7312b290768a30e697b189e2139be281a5b78f523ca2ab0af3efe048ce7e5983295d3f64ae8a6ea"
    "e9f3d52f7020f21f0567ad5510cecde3273bdabad7c226d4911dd21c2233f8faf15aefcf90b68bb5bdc0bf08971e6ce2"
    "61e0c6c159abbb58de5fdf60797eb28a"
)
_I = bytes(_R.index(value) for value in range(256))
"""mpbbCrypt of §5.1: R, S (its own inverse), and I, which undoes R."""


def unpermuted(data: bytes) -> bytes:
    """What NDB_CRYPT_PERMUTE stored (§5.1)."""
    return data.translate(_I)


def permuted(data: bytes) -> bytes:
    """What NDB_CRYPT_PERMUTE stores; files made for tests need it."""
    return data.translate(_R)


def cyclic(data: bytes, key: int) -> bytes:
    """NDB_CRYPT_CYCLIC, to and fro alike (§5.2). `key`: the low 32 bits of the block's id.

    For each byte `b` and a 16-bit counter `w`: b = I[S[R[b + lo(w)] + hi(w)] - hi(w)] - lo(w).
    """
    counter = (key ^ (key >> 16)) & 0xFFFF
    out = bytearray(data)
    for start in range(min(256, len(out))):
        out[start::256] = out[start::256].translate(_first(counter + start & 0xFF))
    position = 0
    while position < len(out):
        end = position + 256 - (counter + position & 0xFF)
        out[position:end] = out[position:end].translate(_second((counter + position >> 8) & 0xFF))
        position = end
    for start in range(min(256, len(out))):
        out[start::256] = out[start::256].translate(_third(counter + start & 0xFF))
    return bytes(out)


@cache
def _first(low: int) -> bytes:
    return bytes(_R[value + low & 0xFF] for value in range(256))


@cache
def _second(high: int) -> bytes:
    return bytes(_S[value + high & 0xFF] - high & 0xFF for value in range(256))


@cache
def _third(low: int) -> bytes:
    return bytes(_I[value] - low & 0xFF for value in range(256))


def checksum(data: bytes) -> int:
    """CRC-32 without the usual inversions (§5.3)."""
    return zlib.crc32(data, 0xFFFFFFFF) ^ 0xFFFFFFFF


def signature(offset: int, bid: int) -> int:
    """What a block's or page's trailer holds as wSig (§5.5)."""
    mixed = (offset ^ bid) & 0xFFFFFFFF
    return (mixed >> 16 ^ mixed) & 0xFFFF
