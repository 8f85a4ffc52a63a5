"""How servers differ from the book, by name. Decides nothing but which name; what follows from it is data here.

Facts: knowledge/imap.md and docs/servers/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quirks:
    """`depth`: commands in flight. `batch`: messages in one FETCH. `max_command`: bytes of one command line.
    `trust_size`: RFC822.SIZE is exact. `fakes`: it may send stand-ins for messages it cannot render.
    `forbidden`: characters that no folder name may hold (LIST's wildcards, where nothing is known).
    `bmp_names`: nor any above U+FFFF."""

    name: str
    depth: int = 4
    batch: int = 50
    max_command: int = 4000
    trust_size: bool = True
    fakes: bool = False
    forbidden: str = "*%"
    bmp_names: bool = False


GENERIC = Quirks("generic")
EXCHANGE = Quirks("exchange", depth=2, batch=50, max_command=2000, trust_size=False, fakes=True)
DOVECOT = Quirks("dovecot", forbidden="")
COURIER = Quirks("courier", forbidden="", bmp_names=True)
CYRUS = Quirks("cyrus", forbidden='!"%;<>\\^`{|}')

_BY_WORD = (
    (re.compile(r"exchange|microsoft|outlook\.office", re.IGNORECASE), EXCHANGE),
    (re.compile(r"dovecot", re.IGNORECASE), DOVECOT),
    (re.compile(r"courier", re.IGNORECASE), COURIER),
    (re.compile(r"cyrus", re.IGNORECASE), CYRUS),
)
_FAKE = re.compile(
    rb"^Subject: ?Retrieval using the IMAP4 protocol failed for the following message", re.IGNORECASE | re.MULTILINE
)
_FAKE_HEAD = 8192


def recognise(greeting: str, identity: Mapping[str, str], capabilities: frozenset[str]) -> Quirks:
    """The server's quirks by what it calls itself: ID first, then the greeting, then capabilities only it has."""
    for text in (" ".join((identity.get("name", ""), identity.get("vendor", ""))), greeting):
        for pattern, quirks in _BY_WORD:
            if pattern.search(text):
                return quirks
    if any(name.startswith("XCOURIER") for name in capabilities) or "XMAGICTRASH" in capabilities:
        return COURIER
    return GENERIC


def is_fake(body: bytes) -> bool:
    """Whether this is Exchange's stand-in for a message that it could not render. `body`: the message or its start."""
    return _FAKE.search(body, 0, _FAKE_HEAD) is not None
