"""Active Directory's own controls (MS-ADTS 3.1.1.3.4.1) over a connection of `net.ldap`: DirSync, and those without
values that a search may carry. Knows no attribute and no recipient.

Invariant: what one DirSync answer says is given whole, with its cookie, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntFlag

from pyasn1.codec.ber import decoder, encoder
from pyasn1.error import PyAsn1Error
from pyasn1.type import namedtype, univ

from mailferry.errors import RemoteProtocolError
from mailferry.net.ldap import Connection, Control, Entry

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


class _Value(univ.Sequence):  # type: ignore[misc]
    """The control's value: flags, most bytes wanted, cookie; in an answer: more to come, 0, cookie."""

    componentType = namedtype.NamedTypes(
        namedtype.NamedType("flag", univ.Integer()),
        namedtype.NamedType("size", univ.Integer()),
        namedtype.NamedType("cookie", univ.OctetString()),
    )


def dirsync(
    connection: Connection, base: str, filter: str, attributes: Sequence[str], cookie: bytes, flags: DirSync
) -> Iterator[Step]:
    """What changed below `base` (a whole naming context) since `cookie`; b"": everything there is.

    `Refused` for a cookie or a right that the server does not accept; its code differs between servers.
    """
    more = True
    while more:
        value = _Value()
        # a signed 32-bit INTEGER
        value["flag"] = flags - (1 << 32) if flags & DirSync.INCREMENTAL_VALUES else int(flags)
        value["size"] = 0x7FFFFFFF
        value["cookie"] = cookie
        asked = [Control(DIRSYNC, encoder.encode(value))]
        entries, answer = connection.search_once(base, filter, attributes, asked)
        found = next((control.value for control in answer if control.oid == DIRSYNC), None)
        if not found:
            raise RemoteProtocolError("the server's DirSync answer holds no cookie", about=base)
        try:
            decoded = decoder.decode(found, asn1Spec=_Value())[0]
        except PyAsn1Error as error:
            raise RemoteProtocolError("the server's DirSync cookie makes no sense", about=base) from error
        more, cookie = bool(int(decoded["flag"])), bytes(decoded["cookie"])
        yield Step(entries, cookie, more)


def extended_dn() -> Control:
    """References come as `<GUID=…>;<SID=…>;DN`, so that nothing has to be looked up by its DN."""
    value = univ.Sequence(componentType=namedtype.NamedTypes(namedtype.NamedType("form", univ.Integer())))
    value["form"] = 1  # GUIDs with dashes, SIDs as S-1-…
    return Control("1.2.840.113556.1.4.529", encoder.encode(value))
