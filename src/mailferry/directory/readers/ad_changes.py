"""Which objects of Active Directory changed: by DirSync (MS-ADTS 3.1.1.3.4.1.3), or by uSNChanged if that is refused.

Tells ids, not what they are now. DirSync is asked with the right to replicate first, which shows deletions too, else
for what the account may see. Invariant: a cookie that does not fit (another domain, scope or controller, or one that
the server refuses) is answered by "full read", never by "nothing changed".
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass

from mailferry.directory.readers.ad_entry import ATTRIBUTES, identity
from mailferry.errors import RemoteProtocolError
from mailferry.net.ldap import Connection
from mailferry.net.ldap_ad import DOMAIN_SCOPE, SHOW_DELETED, DirSync, dirsync
from mailferry.net.ldap_errors import Refused, Result

_CONTAINERS = ("organizationalUnit", "container", "builtinDomain")
_CLASSES = ("user", "contact", "group", "publicFolder", "msExchDynamicDistributionList", *_CONTAINERS)
_FILTER = "(|" + "".join(f"(objectClass={name})" for name in _CLASSES) + ")"
_ATTRIBUTES = tuple(dict.fromkeys([*(name.partition(";")[0] for name in ATTRIBUTES), "isDeleted", "parentGUID"]))
_FLAGS = {"replicate": DirSync.INCREMENTAL_VALUES, "visible": DirSync.INCREMENTAL_VALUES | DirSync.OBJECT_SECURITY}
_REFUSALS = (Result.INSUFFICIENT_ACCESS, Result.UNAVAILABLE_CRITICAL_EXTENSION, Result.UNWILLING)


@dataclass(frozen=True, slots=True)
class Found:
    """The ids that something happened to. `moved_containers`: DNs of organisational units that got another name or
    place, whose contents are not reported. `told_deletions`: whether what was deleted is among the ids."""

    ids: tuple[str, ...] = ()
    moved_containers: tuple[str, ...] = ()
    cookie: bytes = b""
    told_deletions: bool = False
    full_read: str = ""


def start(connection: Connection, domain: str, key: str) -> bytes:
    """The present moment. `key`: what is read; a cookie holds only for that. `Refused` where not even uSNs are told."""
    for way, flags in _FLAGS.items():
        cookie = b""
        try:
            for step in dirsync(connection, domain, "(objectClass=*)", ("objectGUID",), b"", flags):
                cookie = step.cookie
        except Refused as error:
            if error.result not in _REFUSALS:
                raise
            continue
        return _pack(way, key, cookie)
    return _pack("usn", key, f"{_controller(connection)} {highest(connection)}".encode())


def since(connection: Connection, domain: str, key: str, cookie: bytes) -> Found:
    """What happened since."""
    head, _, rest = cookie.partition(b"\n")
    way, _, digest = head.decode("utf-8", "replace").partition(" ")
    if digest != _digest(key) or way not in (*_FLAGS, "usn"):
        return Found(full_read="the cookie belongs to another domain, base or filter")
    if way == "usn":
        return _by_usn(connection, domain, key, rest)
    found: dict[str, None] = {}
    moved = []
    try:
        for step in dirsync(connection, domain, _FILTER, _ATTRIBUTES, rest, _FLAGS[way]):
            rest = step.cookie
            for entry in step.entries:
                changed = identity(entry)
                if changed is None:
                    continue
                if "name" in entry.attrs and "objectclass" not in entry.attrs and _is_container(connection, changed):
                    moved.append(entry.dn)  # a new name or place; of what is new, the class is told as well
                found[changed] = None
    except (Refused, RemoteProtocolError) as error:
        if isinstance(error, Refused) and error.result == Result.NO_SUCH_OBJECT:
            raise
        return Found(full_read=f"the server does not take the cookie: {error.message}")
    return Found(tuple(found), tuple(moved), _pack(way, key, rest), told_deletions=way == "replicate")


def octets(key: str) -> str:
    """An id as the value of an objectGUID filter."""
    return "".join(f"\\{byte:02x}" for byte in uuid.UUID(key.removeprefix("ad:")).bytes_le)


def _is_container(connection: Connection, key: str) -> bool:
    entry = connection.read(f"<GUID={key.removeprefix('ad:')}>", ("objectClass",), controls=(DOMAIN_SCOPE,))
    return entry is not None and not set(_CONTAINERS).isdisjoint(entry.texts("objectClass"))


def _by_usn(connection: Connection, domain: str, key: str, rest: bytes) -> Found:
    controller, _, mark = rest.decode("utf-8", "replace").rpartition(" ")
    if controller != _controller(connection) or not mark.isdigit():
        return Found(full_read="another domain controller answers than the one whose numbers the cookie holds")
    upto = highest(connection)
    if upto < int(mark):
        return Found(full_read="the domain controller counts from an earlier number: it was restored from a backup")
    found: dict[str, None] = {}
    wanted = f"(&{_FILTER}(uSNChanged>={int(mark) + 1}))"
    for entry in connection.search(domain, wanted, ("objectGUID",), controls=(DOMAIN_SCOPE, SHOW_DELETED)):
        changed = identity(entry)
        if changed is not None:
            found[changed] = None
    return Found(tuple(found), (), _pack("usn", key, f"{controller} {upto}".encode()))


def _controller(connection: Connection) -> str:
    """Which database of which controller the numbers are of: its name, and the invocationId where it may be seen."""
    service = connection.root().text("dsServiceName") or ""
    settings = connection.read(service, ("invocationId",)) if service else None
    invocation = settings.first("invocationId") if settings is not None else None
    return f"{service}|{invocation.hex() if invocation is not None else ''}"


def highest(connection: Connection) -> int:
    """The number of the controller's latest change, of whatever kind."""
    text = connection.root().text("highestCommittedUSN") or ""
    if not text.isdigit():
        raise RemoteProtocolError("the server does not tell its highest uSN", about=connection.server.url)
    return int(text)


def _pack(way: str, key: str, rest: bytes) -> bytes:
    return f"{way} {_digest(key)}\n".encode() + rest


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]
