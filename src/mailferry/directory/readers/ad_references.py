"""What the entries of Active Directory refer to: DNs become ids, or `smtp:ADDRESS` for who is not read. Asks the server
only about those. Invariant: nobody is asked about twice in one reading.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Set

from mailferry.directory.readers import ad_entry
from mailferry.net.ldap import Connection, Control, Entry
from mailferry.net.ldap_ad import DOMAIN_SCOPE, extended_dn
from mailferry.net.ldap_errors import Refused, Result

_GUID = re.compile(rb"<GUID=([0-9a-fA-F-]{36})>;(?:<SID=[^>]*>;)?", re.IGNORECASE)
CONTROLS: tuple[Control, ...] = (extended_dn(), DOMAIN_SCOPE)
"""What every search of the reader carries: references with their GUIDs, no other partitions."""

_OUTSIDER = ("mail", "proxyAddresses", "objectGUID")


def split(value: bytes) -> tuple[str | None, str]:
    """An extended DN (MS-ADTS 3.1.1.3.4.1.5) as id and plain DN; no id where the server gave none."""
    found = _GUID.match(value)
    if found is None:
        return None, value.decode("utf-8", "replace")
    return f"ad:{found[1].decode().lower()}", value[found.end() :].decode("utf-8", "replace")


def plain(entry: Entry) -> str:
    """The DN of an entry without what the control puts before it."""
    return split(entry.dn.encode())[1]


class References:
    """Of one reading. `known`: the ids that are read; `by_dn`: their ids by DN in lower case, as far as known."""

    def __init__(self, connection: Connection, base: str, known: Set[str], by_dn: Mapping[str, str]) -> None:
        self._connection = connection
        self._base = base
        self._known = known
        self._by_dn = by_dn
        self._outside: dict[str, str] = {}
        self._quotas: dict[str, int | None] = {}
        self.around = ad_entry.Around(self.reference, self.quota, self.members)

    def reference(self, value: bytes) -> str:
        """The id of who is read; `smtp:` and the address of who is not; else the DN itself, which leads nowhere and
        which cleaning will tell of."""
        key, dn = split(value)
        if key is None:
            key = self._by_dn.get(dn.lower())
        if key is not None and key in self._known:
            return key
        asked = f"<GUID={key[3:]}>" if key is not None else dn
        if asked not in self._outside:
            self._outside[asked] = self._ask(asked, dn)
        return self._outside[asked]

    def _ask(self, asked: str, dn: str) -> str:
        entry = self._read(asked, _OUTSIDER)
        if entry is None:
            return dn
        key = ad_entry.identity(entry)
        if key is not None and key in self._known:
            return key
        proxies = (text[5:] for text in entry.texts("proxyAddresses") if text.startswith("SMTP:"))
        address = next(proxies, None) or entry.text("mail")
        return f"smtp:{address}" if address else dn

    def quota(self, value: bytes) -> int | None:
        """The default of a mailbox database, which stands in the configuration."""
        key, dn = split(value)
        if dn not in self._quotas:
            names = ("mDBOverHardQuotaLimit", "mDBOverQuotaLimit", "mDBStorageQuota")
            entry = self._read(f"<GUID={key[3:]}>" if key else dn, names)
            self._quotas[dn] = ad_entry.quota_limit(_numbers(entry)) if entry is not None else None
        return self._quotas[dn]

    def members(self, filter: str, base: str | None) -> tuple[str, ...] | str:
        """The ids that a dynamic group's filter finds, of those that are read; or why it cannot be told."""
        top = split(base.encode())[1] if base else self._base
        try:
            found = self._connection.search(top, filter, ("objectGUID",), controls=(DOMAIN_SCOPE,))
            keys = (ad_entry.identity(entry) for entry in found)
            return tuple(sorted({key for key in keys if key is not None and key in self._known}))
        except Refused as error:
            return error.message

    def _read(self, dn: str, names: tuple[str, ...]) -> Entry | None:
        """An entry, or None for none, and for a name that makes no sense or lies on another server."""
        try:
            return self._connection.read(dn, names, controls=(DOMAIN_SCOPE,))
        except Refused as error:
            if error.result in (Result.INVALID_DN, Result.REFERRAL, Result.INVALID_SYNTAX):
                return None
            raise


def _numbers(entry: Entry) -> Callable[[str], int | None]:
    def number(name: str) -> int | None:
        text = entry.text(name)
        return int(text) if text is not None and text.lstrip("-").isdigit() else None

    return number


def whole(connection: Connection, entry: Entry) -> Entry:
    """The entry with all values of its large attributes, fetched part by part (`member;range=0-1499` and so on,
    MS-ADTS 3.1.1.3.1.3.3). `Refused` if the entry vanishes meanwhile."""
    ranged = [name for name in entry.attrs if ";range=" in name]
    if not ranged:
        return entry
    attrs = dict(entry.attrs)
    for name in ranged:
        bare, _, span = name.partition(";range=")
        values = list(attrs.pop(name))
        while not span.endswith("*"):
            asked = f"{bare};range={int(span.partition('-')[2]) + 1}-*"
            more = connection.read(_by_guid(entry), (asked,), controls=CONTROLS)
            found = next((key for key in (more.attrs if more else ()) if key.startswith(bare + ";range=")), None)
            if more is None or found is None:
                break  # the values beyond were removed meanwhile; the change will come as one
            values += more.attrs[found]
            span = found.partition(";range=")[2]
        attrs[bare] = tuple(values)
    return Entry(entry.dn, attrs)


def _by_guid(entry: Entry) -> str:
    value = entry.first("objectGUID")
    return f"<GUID={uuid.UUID(bytes_le=value)}>" if value is not None and len(value) == 16 else plain(entry)
