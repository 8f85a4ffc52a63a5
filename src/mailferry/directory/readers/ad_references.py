"""What the entries of Active Directory refer to: DNs become ids, or `smtp:ADDRESS` for who is not read. Asks the server
only about those. Invariant: nobody is asked about twice in one reading.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import replace

from mailferry.directory.readers import ad_entry
from mailferry.model.recipient import Recipient
from mailferry.net.ldap import Connection, Control
from mailferry.net.ldap_ad import DOMAIN_SCOPE, extended_dn
from mailferry.net.ldap_entry import Entry
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
    """Of one reading. `known`: the ids that are read, and `by_dn` the same by DN in lower case; both may grow while the
    reading goes on, and only what `settled` gives is right in the end."""

    def __init__(self, connection: Connection, base: str, known: Set[str], by_dn: Mapping[str, str]) -> None:
        self._connection = connection
        self._base = base
        self._known = known
        self._by_dn = by_dn
        self._names: dict[str, str] = {}
        self._outside: dict[str, str] = {}
        self._quotas: dict[str, int | None] = {}
        self.around = ad_entry.Around(self._noted, self.quota, self.members)

    def _noted(self, value: bytes) -> str:
        """An id or a DN, whoever it is."""
        key, dn = split(value)
        key = key or self._by_dn.get(dn.lower())
        if key is None:
            return dn
        if key not in self._known:
            self._names[key] = dn
        return key

    def is_settled(self, recipient: Recipient) -> bool:
        """Whether all that it refers to has been read by now."""
        return all(one in self._known or one.startswith("smtp:") for one in _all(recipient))

    def settled(self, recipient: Recipient) -> Recipient:
        """With the ids of who is read; `smtp:` and the address of who is not; else the DN itself, which leads nowhere
        and which cleaning will tell of."""
        final = {one: self._final(one) for one in _all(recipient)}

        def some(references: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(dict.fromkeys([final[one] for one in references]))

        forwarding = recipient.forwarding
        return replace(
            recipient,
            manager=final[recipient.manager] if recipient.manager else None,
            members=some(recipient.members),
            owners=some(recipient.owners),
            accept_from=some(recipient.accept_from),
            reject_from=some(recipient.reject_from),
            send_on_behalf=some(recipient.send_on_behalf),
            full_access=some(recipient.full_access),
            forwarding=replace(forwarding, to=final[forwarding.to]) if forwarding else None,
        )

    def _final(self, one: str) -> str:
        if one in self._known or one.startswith("smtp:"):
            return one
        if not one.startswith("ad:") and (key := self._by_dn.get(one.lower())) is not None:
            return key
        if one not in self._outside:
            asked = f"<GUID={one.removeprefix('ad:')}>" if one.startswith("ad:") else one
            self._outside[one] = self._ask(asked) or self._names.get(one, one)
        return self._outside[one]

    def _ask(self, dn: str) -> str | None:
        """The id or address of somebody; None for nobody."""
        entry = self._read(dn, _OUTSIDER)
        if entry is None:
            return None
        key = ad_entry.identity(entry)
        if key is not None and key in self._known:
            return key
        proxies = (text[5:] for text in entry.texts("proxyAddresses") if text.startswith("SMTP:"))
        address = next(proxies, None) or entry.text("mail")
        return f"smtp:{address}" if address else None

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


def _all(recipient: Recipient) -> Iterator[str]:
    yield from recipient.members
    yield from recipient.owners
    yield from recipient.accept_from
    yield from recipient.reject_from
    yield from recipient.send_on_behalf
    yield from recipient.full_access
    if recipient.manager:
        yield recipient.manager
    if recipient.forwarding:
        yield recipient.forwarding.to


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
