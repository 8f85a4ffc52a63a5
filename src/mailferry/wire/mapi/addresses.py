"""Addresses as Exchange keeps them: X.500 names, how they leave into SMTP, and entry ids. Looks nothing up."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

_ONE_OFF = bytes.fromhex("812b1fa4bea310199d6e00dd010f5402")
_EXCHANGE = bytes.fromhex("dca740c8c042101ab4b908002b2fe182")
_UNICODE = 0x8000
_MOST_ENTRIES = 1000

_ENCAPSULATED = re.compile(r"[^A-Za-z0-9=\-]+")


def imceaex(address: str, domain: str) -> str:
    """An X.500 address as Exchange encapsulates it in SMTP: `_` for `/`, `+XX` for what is neither letter, digit, `-`
    nor `=` (knowledge/exchange.md; Microsoft's article on IMCEAEX non-delivery reports)."""
    return f"IMCEAEX-{_ENCAPSULATED.sub(_encapsulated, address)}@{domain}"


def _encapsulated(found: re.Match[str]) -> str:
    return "".join("_" if byte == 0x2F else f"+{byte:02X}" for byte in found[0].encode("utf-8", "replace"))


def flat_entries(data: bytes) -> Iterator[tuple[str, str, str]]:
    """Name, kind and address of each entry of a FLATENTRYLIST ([MS-OXCDATA] §2.3.3); what is none of a person is left
    out."""
    (count,) = struct.unpack_from("<I", data) if len(data) >= 8 else (0,)
    at = 8
    for _ in range(min(count, _MOST_ENTRIES)):
        if at + 4 > len(data):
            return
        (size,) = struct.unpack_from("<I", data, at)
        found = entry(data[at + 4 : at + 4 + size])
        if found is not None:
            yield found
        at += 4 + -(-size // 4) * 4


def entry(data: bytes) -> tuple[str, str, str] | None:
    """A one-off entry id (§2.2.5.1) or a person of Exchange's address book (§2.2.5.2)."""
    provider, rest = data[4:20], data[24:]
    if provider == _EXCHANGE:
        return "", "EX", rest[4:].partition(b"\0")[0].decode("latin-1")
    if provider != _ONE_OFF or len(data) < 24:
        return None
    (flags,) = struct.unpack_from("<H", data, 22)
    text = rest.decode("utf-16-le", "replace") if flags & _UNICODE else rest.decode("cp1252", "replace")
    parts = text.split("\0")
    return (parts[0], parts[1], parts[2]) if len(parts) >= 3 else None
