"""Flags and keywords between the wire and the model (RFC 3501 §2.3.2). Does not know which a folder can store.

Invariant: `\\Recent` and system flags we do not know are never carried; keywords keep their spelling and are sorted.
"""

from __future__ import annotations

import re

from mailferry.errors import LocalProtocolError
from mailferry.model.message import Flag

NAMES = {
    Flag.SEEN: "\\Seen",
    Flag.ANSWERED: "\\Answered",
    Flag.FLAGGED: "\\Flagged",
    Flag.DRAFT: "\\Draft",
    Flag.DELETED: "\\Deleted",
}
_BITS = {name.lower().encode(): int(flag) for flag, name in NAMES.items()}
_KEYWORD = re.compile(r'[^\x00-\x20\x7f-\uffff(){%*"\\\]]+')
_CACHE_SIZE = 4096
_parsed: dict[bytes, tuple[int, tuple[str, ...]]] = {}


def parse(text: bytes) -> tuple[int, tuple[str, ...]]:
    """What stands in the parentheses: (bits, keywords)."""
    known = _parsed.get(text)
    if known is None:
        bits, keywords = 0, set()
        for word in text.split():
            if word.startswith(b"\\"):
                bits |= _BITS.get(word.lower(), 0)
            else:
                keywords.add(word.decode("ascii") if word.isascii() else word.decode("latin-1"))
        known = bits, tuple(sorted(keywords))
        if len(_parsed) > _CACHE_SIZE:
            _parsed.clear()
        _parsed[text] = known
    return known


def is_keyword(text: str) -> bool:
    """Whether IMAP can carry it: an atom, without `\\`."""
    return _KEYWORD.fullmatch(text) is not None


def format(flags: int, keywords: tuple[str, ...] = ()) -> bytes:
    """`\\Seen $Forwarded`, to be put in parentheses. LocalProtocolError for a keyword that is not an atom."""
    words = [name for flag, name in NAMES.items() if flags & flag]
    for keyword in keywords:
        if not is_keyword(keyword):
            raise LocalProtocolError("a keyword that IMAP cannot carry reached the wire", about=repr(keyword))
        words.append(keyword)
    return " ".join(words).encode("ascii")
