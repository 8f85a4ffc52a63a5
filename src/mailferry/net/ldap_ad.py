"""Active Directory's own controls (MS-ADTS 3.1.1.3.4.1) over a connection of `net.ldap`: DirSync, and those without
values that a search may carry. Knows no attribute and no recipient.

Invariant: what one DirSync answer says is given whole, with its cookie, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntFlag

from mailferry.errors import RemoteProtocolError
from mailferry.net.ldap import Connection, Control, Entry
from mailferry.wire import ber

DIRSYNC = "1.2.840.113556.1.4.841"
SHOW_DELETED = Control("1.2.840.113556.1.4.417")
"""Tombstones are found too."""

DOMAIN_SCOPE = Control("1.2.840.113556.1.4.1339", critical=False)
"""No references to the other partitions, which every search of a whole domain would otherwise meet."""


class DirSync(IntFlag):
    """What a DirSync request may ask for (MS-ADTS 3.1.1.3.4.1.3)."""

    OBJECT_SECURITY = 0x1  # only what the account may see; without it, "replicating directory changes" is needed
    INCREMENTAL_VALUES = 0x80000000  # of linked attributes, only what was added or removed


@dataclass(frozen=True, slots=True)
class Step:
    """One answer. `more`: ask again at once with this cookie."""

    entries: list[Entry]
    cookie: bytes
    more: bool


def dirsync(
    connection: Connection, base: str, filter: str, attributes: Sequence[str], cookie: bytes, flags: DirSync
) -> Iterator[Step]:
    """What changed below `base` (a whole naming context) since `cookie`; b"": everything there is.

    `Refused` for a cookie or a right that the server does not accept; its code differs between servers.
    """
    flag = flags - (1 << 32) if flags & DirSync.INCREMENTAL_VALUES else int(flags)  # a signed 32-bit INTEGER
    more = True
    while more:
        value = (ber.integer(flag), ber.integer(0x7FFFFFFF), ber.encode(ber.OCTETS, cookie))
        asked = [Control(DIRSYNC, ber.encode(ber.SEQUENCE, *value))]
        answer = list(connection.messages(base, filter, attributes, controls=asked))
        entries = [message.entry for message in answer if message.entry is not None]
        found = next((control.value for control in answer[-1].controls if control.oid == DIRSYNC), None)
        parts = ber.inside(found) if found else []
        if len(parts) != 3:
            raise RemoteProtocolError("the server's DirSync answer holds no cookie", about=base)
        more, cookie = bool(ber.number(parts[0][1])), parts[2][1]
        yield Step(entries, cookie, more)


def extended_dn() -> Control:
    """References come as `<GUID=…>;<SID=…>;DN`, so that nothing has to be looked up by its DN."""
    dashed = ber.encode(ber.SEQUENCE, ber.integer(1))  # GUIDs with dashes, SIDs as S-1-…
    return Control("1.2.840.113556.1.4.529", dashed)
