"""Reads people and groups from any LDAP server, whole or what changed. Changes nothing there.

Scope: what has an account or an address, and groups, below the given bases and matching the given filter. Changes come
by content synchronisation (RFC 4533), else by modifyTimestamp, which shows no deletions (`ids` does).
Invariant: an entry is known by what its server never changes (entryUUID), wherever it moves.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.parse import unquote

from mailferry.directory.codes import finding
from mailferry.directory.readers import Changes
from mailferry.directory.readers.entry import dn_key
from mailferry.directory.readers.ldap_map import Around, Names, identity, to_recipient
from mailferry.errors import ConfigError, RemoteProtocolError
from mailferry.model.recipient import Finding, Recipient
from mailferry.net.ldap import Connection, Held, Scope, Server
from mailferry.net.ldap_entry import Entry
from mailferry.net.ldap_errors import Refused, Result
from mailferry.net.ldap_sync import refresh

_BITS = re.compile(r"#'[01]*'B$")
_SCOPES = {"": Scope.BASE, "base": Scope.BASE, "one": Scope.ONE, "sub": Scope.SUBTREE}
_SYNC, _TIME = "sync", "time"


class LdapDirectory:
    """A `ChangeReader` of one server. Holds one connection while it is used; close() it, or use it as a context."""

    def __init__(self, server: Server, bases: Sequence[str] = (), filter: str = "", names: Names | None = None) -> None:
        """`bases`: below which entries to read; none: the server's only naming context. `filter`: instead of the usual
        one, which takes what has uid, mail or mailHost, and groups."""
        self._held = Held(server)
        self._names = names or Names()
        self._bases = tuple(bases)
        groups = "".join(f"(objectClass={name})" for name in self._names.groups)
        self._filter = filter or f"(|(uid=*)(mail=*)(mailHost=*){groups})"
        self._by_dn: dict[str, str] | None = None

    def __enter__(self) -> LdapDirectory:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the next call makes another."""
        self._held.close()

    def read(self) -> Iterator[Recipient | Finding]:
        """All recipients in scope, as they arrive; see the contract."""
        elsewhere: dict[str, None] = {}
        with self._using() as connection:
            self._by_dn, _ = self._listing(connection)
            references = _References(connection, self._names, self._by_dn)
            told: set[str] = set()
            for base in self._bases:
                for entry in connection.search(
                    base, self._filter, self._names.attributes(), on_reference=lambda url: elsewhere.update({url: None})
                ):
                    key = identity(entry, self._names)
                    if key is None or key not in told:  # bases may overlap
                        told.add(key or "")
                        yield from self._told(entry, references)
        for url in elsewhere:
            message = "this part of the directory lies on another server, and is not read"
            yield finding("referral-not-followed", url, message, value=url)

    def ids(self) -> frozenset[str]:
        """The ids of all that `read` would look at: a cheap way to see what was deleted."""
        with self._using() as connection:
            self._by_dn, _ = self._listing(connection)
            return frozenset(self._by_dn.values())

    def cookie(self) -> bytes:
        """Of content synchronisation where the server offers it, else the newest modifyTimestamp."""
        with self._using() as connection:
            if self._names.id[:1] == ("entryUUID",):
                try:
                    cookies = [refresh(connection, base, self._filter, ("1.1",), b"").cookie for base in self._bases]
                    return self._pack(_SYNC, [cookie.hex() for cookie in cookies])
                except Refused as error:
                    if error.result not in (Result.UNAVAILABLE_CRITICAL_EXTENSION, Result.UNWILLING):
                        raise
            return self._pack(_TIME, [self._listing(connection)[1]])

    def changes(self, cookie: bytes) -> Changes:
        """What changed since. By modifyTimestamp, entries of the newest second come again each time."""
        with self._using() as connection:
            head, _, rest = cookie.partition(b"\n")
            if head == self._head(_SYNC):
                return self._by_sync(connection, json.loads(rest))
            if head == self._head(_TIME):
                return self._by_time(connection, json.loads(rest)[0])
            return Changes(full_read="the cookie belongs to another server, base or filter")

    def _by_sync(self, connection: Connection, cookies: Sequence[str]) -> Changes:
        wanted = self._names.attributes()
        try:
            found = [
                refresh(connection, base, self._filter, wanted, bytes.fromhex(cookie))
                for base, cookie in zip(self._bases, cookies, strict=True)
            ]
        except (Refused, RemoteProtocolError) as error:
            if isinstance(error, Refused) and error.result in (Result.NO_SUCH_OBJECT, Result.SIZE_LIMIT):
                raise
            return Changes(full_read=f"the server does not take the cookie: {error.message}")
        entries = {key: entry for one in found for key, entry in one.changed.items()}
        gone = {key for one in found for key in one.deleted} - entries.keys()
        if any(one.present is not None for one in found):
            if self._by_dn is None:
                return Changes(full_read="the server tells what is there, and what was there is not known any more")
            known = {key.removeprefix("ldap:") for key in self._by_dn.values()}
            gone |= known - entries.keys() - {key for one in found for key in one.present or ()}
        new = self._pack(_SYNC, [one.cookie.hex() for one in found])
        return self._changed(connection, entries.values(), [f"ldap:{key}" for key in sorted(gone)], new)

    def _by_time(self, connection: Connection, mark: str) -> Changes:
        wanted = f"(&{self._filter}(modifyTimestamp>={mark}))"
        entries: list[Entry] = []
        for base in self._bases:
            names = (*self._names.attributes(), "modifyTimestamp")
            entries += connection.search(base, wanted, names, on_reference=_ignore)
        newest = max([mark, *(entry.text("modifyTimestamp") or "" for entry in entries)])
        return self._changed(connection, entries, [], self._pack(_TIME, [newest]))

    def _changed(
        self, connection: Connection, entries: Collection[Entry], gone: Sequence[str], cookie: bytes
    ) -> Changes:
        if not entries and not gone:
            return Changes(cookie=cookie)
        if self._by_dn is None:
            self._by_dn, _ = self._listing(connection)
        left_out = set(gone)
        self._by_dn = {dn: key for dn, key in self._by_dn.items() if key not in left_out}
        for entry in entries:
            self._by_dn[dn_key(entry.dn)] = identity(entry, self._names) or ""
        references = _References(connection, self._names, self._by_dn)
        changed = tuple(told for entry in entries for told in self._told(entry, references))
        return Changes(changed, tuple(gone), cookie)

    def _told(self, entry: Entry, references: _References) -> Iterator[Recipient | Finding]:
        recipient, findings = to_recipient(entry, self._names, references.around)
        if recipient is not None:
            yield recipient
        yield from findings

    def _listing(self, connection: Connection) -> tuple[dict[str, str], str]:
        """The ids in scope by DN, and the newest modifyTimestamp."""
        found = {}
        newest = "19700101000000Z"
        for base in self._bases:
            for entry in connection.search(
                base, self._filter, (*self._names.id, "modifyTimestamp"), on_reference=_ignore
            ):
                found[dn_key(entry.dn)] = identity(entry, self._names) or ""
                newest = max(newest, entry.text("modifyTimestamp") or "")
        return found, newest

    @contextmanager
    def _using(self) -> Iterator[Connection]:
        with self._held.use() as connection:
            if not self._bases:
                contexts = connection.root().texts("namingContexts")
                if len(contexts) != 1:
                    raise ConfigError(
                        f"the server holds {len(contexts)} naming contexts: {'; '.join(contexts)}",
                        about=self._held.server.url,
                        advice="say below which entries to read",
                    )
                self._bases = contexts
            yield connection

    def _pack(self, way: str, rest: list[str]) -> bytes:
        return self._head(way) + b"\n" + json.dumps(rest).encode()

    def _head(self, way: str) -> bytes:
        what = "\n".join([self._held.server.url, self._filter, *self._bases])
        return f"{way} {hashlib.sha256(what.encode()).hexdigest()[:32]}".encode()


class _References:
    """What entries refer to, of one reading: DNs become ids, or addresses of who is not read. Asks about each once."""

    def __init__(self, connection: Connection, names: Names, by_dn: Mapping[str, str]) -> None:
        self._connection = connection
        self._names = names
        self._by_dn = by_dn
        self._outside: dict[str, str] = {}
        self.around = Around(self.reference, self.members)

    def reference(self, dn: str) -> str:
        """As `ad_references.References.reference`. A bit string at the end (uniqueMember, RFC 4519 §2.40) is no part
        of the name."""
        bare = _BITS.sub("", dn)
        key = dn_key(bare)
        if found := self._by_dn.get(key):
            return found
        if key not in self._outside:
            self._outside[key] = self._ask(bare)
        return self._outside[key]

    def _ask(self, dn: str) -> str:
        try:
            entry = self._connection.read(dn, self._names.mail) if "=" in dn else None
        except Refused as error:
            if error.result not in (Result.INVALID_DN, Result.REFERRAL):
                raise
            entry = None
        address = next((text for name in self._names.mail if entry and (text := entry.text(name))), None)
        return f"smtp:{address}" if address else dn

    def members(self, base: str, scope: str, filter: str) -> tuple[str, ...] | str:
        """The ids that an LDAP URL finds, of those that are read; or why it cannot be told."""
        if scope not in _SCOPES:
            return f"{scope} is no scope"
        try:
            found = self._connection.search(
                unquote(base), unquote(filter), ("1.1",), scope=_SCOPES[scope], on_reference=_ignore
            )
            keys = {self._by_dn.get(dn_key(entry.dn)) for entry in found}
        except Refused as error:
            return error.message
        return tuple(sorted(key for key in keys if key))


def _ignore(url: str) -> None:
    """References beside entries are told of once, by the full reading."""
