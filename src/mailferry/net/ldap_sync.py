"""What changed on an LDAP server since a cookie: the content synchronisation of RFC 4533, its refresh-only mode.

Gives what the server said, decides nothing. Invariant: a cookie comes only with the whole answer that it stands for.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from mailferry.errors import RemoteProtocolError
from mailferry.net.ldap import Connection, Control
from mailferry.net.ldap_entry import Entry
from mailferry.wire import ber

_REQUEST, _STATE, _DONE = (f"1.3.6.1.4.1.4203.1.9.1.{number}" for number in (1, 2, 3))
_BOOLEAN, _PRESENT, _DELETE = 0x01, 0, 3
_NEW_COOKIE, _ID_SET = 0x80, 0xA3


@dataclass(slots=True)
class Refreshed:
    """`changed`: entries by entryUUID. `deleted`: entryUUIDs. `present`: entryUUIDs of what is as it was; who is in
    none of the three is gone; None where the server told every deletion in `deleted`."""

    changed: dict[str, Entry] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    present: set[str] | None = None
    cookie: bytes = b""


def refresh(connection: Connection, base: str, filter: str, attributes: Sequence[str], cookie: bytes) -> Refreshed:
    """Everything since `cookie`; b"": all there is. `Refused` by a server that cannot, or not with this cookie
    (SYNC_REFRESH_REQUIRED, or whatever it has for one that makes no sense)."""
    mode = ber.integer(1, ber.ENUMERATED)  # refreshOnly
    value = ber.encode(ber.SEQUENCE, mode, ber.encode(ber.OCTETS, cookie) if cookie else b"")
    result = Refreshed(cookie=cookie)
    present: set[str] = set()
    by_present = True
    for message in connection.messages(base, filter, attributes, controls=(Control(_REQUEST, value),)):
        values = {control.oid: control.value for control in message.controls if control.value is not None}
        if message.entry is not None and _STATE in values:
            _state(values[_STATE], message.entry, result, present)
        elif message.info is not None:
            _info(message.info, result, present)
        elif _DONE in values:  # refreshDeletes, if true: all that is gone was told
            by_present = not _take(ber.inside(values[_DONE]), result)
    if not result.cookie:
        raise RemoteProtocolError("the server's answer holds no cookie", about=base)
    result.present = present if by_present else None
    return result


def _state(value: bytes, entry: Entry, result: Refreshed, present: set[str]) -> None:
    """One entry and what is with it (RFC 4533 §2.3): still there, new, changed or deleted."""
    parts = ber.inside(value)
    if len(parts) < 2:
        raise RemoteProtocolError("an entry without its entryUUID", about=entry.dn)
    state, key = ber.number(parts[0][1]), _uuid(parts[1][1])
    if state == _DELETE:
        result.deleted.add(key)
    elif state == _PRESENT:
        present.add(key)
    else:
        result.changed[key] = entry
    _take(parts[2:], result)


def _info(value: bytes, result: Refreshed, present: set[str]) -> None:
    """A message between entries (RFC 4533 §2.5): a cookie, the end of a phase, or ids of what is there or gone."""
    for tag, content in ber.elements(value):
        if tag == _NEW_COOKIE:
            result.cookie = content
            continue
        parts = list(ber.elements(content))
        deletes = _take(parts, result)
        if tag == _ID_SET:
            some = {_uuid(one) for kind, ids in parts if kind == ber.SET for _, one in ber.elements(ids)}
            (result.deleted if deletes else present).update(some)


def _take(parts: Sequence[tuple[int, bytes]], result: Refreshed) -> bool:
    """The cookie goes into the result; the flag, false where there is none, comes back."""
    flag = False
    for tag, content in parts:
        if tag == ber.OCTETS:
            result.cookie = content
        elif tag == _BOOLEAN:
            flag = any(content)
    return flag


def _uuid(value: bytes) -> str:
    if len(value) != 16:
        raise RemoteProtocolError("an entryUUID that has not 16 bytes")
    return str(uuid.UUID(bytes=value))
