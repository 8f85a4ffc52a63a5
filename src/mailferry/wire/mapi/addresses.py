"""Addresses as Exchange keeps them: X.500 names, and how they leave into SMTP. Looks nothing up."""

from __future__ import annotations

import re

_ENCAPSULATED = re.compile(r"[^A-Za-z0-9=\-]+")


def imceaex(address: str, domain: str) -> str:
    """An X.500 address as Exchange encapsulates it in SMTP: `_` for `/`, `+XX` for what is neither letter, digit, `-`
    nor `=` (knowledge/exchange.md; Microsoft's article on IMCEAEX non-delivery reports)."""
    return f"IMCEAEX-{_ENCAPSULATED.sub(_encapsulated, address)}@{domain}"


def _encapsulated(found: re.Match[str]) -> str:
    return "".join("_" if byte == 0x2F else f"+{byte:02X}" for byte in found[0].encode("utf-8", "replace"))
