"""Reads people, groups, contacts and the rest from Active Directory, whole or what changed. Changes nothing there.

Scope: people (not computers, not the domain's own accounts), contacts, groups and public folders with an address, and
dynamic groups, below the given bases and matching the given filter; the rest of the directory is not read. Nested
groups stay references. Invariant: an object is known by its objectGUID alone, wherever it moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from mailferry.directory.readers import Changes, ad_changes, ad_entry
from mailferry.directory.readers.ad_missing import Missing
from mailferry.directory.readers.ad_references import CONTROLS, References, plain, whole
from mailferry.errors import ConfigError
from mailferry.model.recipient import Finding, Recipient
from mailferry.net.ldap import Connection, Held, Server
from mailferry.net.ldap_ad import DOMAIN_SCOPE
from mailferry.net.ldap_entry import Entry
from mailferry.wire import dn as names

RECIPIENTS = (
    "(|(&(objectCategory=person)(objectClass=user)(!(isCriticalSystemObject=TRUE)))"
    "(&(objectCategory=person)(objectClass=contact))"
    "(&(objectClass=group)(|(mail=*)(proxyAddresses=*)(mailNickname=*)))"
    "(&(objectClass=publicFolder)(|(mail=*)(proxyAddresses=*)))"
    "(objectClass=msExchDynamicDistributionList))"
)
_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Scope:
    """What is read: below which entries (none: the whole domain), and only what matches the filter, if given."""

    bases: tuple[str, ...] = ()
    filter: str = ""

    @property
    def search(self) -> str:
        """The filter of recipients in scope."""
        own = self.filter if self.filter.startswith("(") or not self.filter else f"({self.filter})"
        return f"(&{RECIPIENTS}{own})" if own else RECIPIENTS


class ActiveDirectory:
    """A `ChangeReader` of one domain. Holds one connection while it is used; close() it, or use it as a context."""

    def __init__(self, server: Server, scope: Scope | None = None) -> None:
        self._held = Held(server)
        self._scope = scope or Scope()
        self._domain = ""
        self._known: set[str] | None = None
        self._missing = Missing(self._listing, ad_changes.highest)

    def __enter__(self) -> ActiveDirectory:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the next call makes another."""
        self._held.close()

    def read(self) -> Iterator[Recipient | Finding]:
        """All recipients in scope; see the contract. One pass: who refers to somebody not yet read comes at the end, as
        do dynamic groups."""
        known: set[str] = set()
        by_dn: dict[str, str] = {}
        waiting: list[Recipient] = []
        dynamic: dict[str, Entry] = {}
        with self._using() as connection:
            references = References(connection, self._domain, known, by_dn)
            for base in self._bases():
                for entry in connection.search(base, self._scope.search, ad_entry.ATTRIBUTES, controls=CONTROLS):
                    key = ad_entry.identity(entry)
                    if key in known or key in dynamic:
                        continue  # bases may overlap
                    if key is not None and entry.get("msExchDynamicDLFilter"):
                        dynamic[key] = entry
                        continue
                    recipient, findings = _told(connection, entry, references)
                    yield from findings
                    if recipient is not None:
                        known.add(recipient.id)
                        by_dn[recipient.where.lower()] = recipient.id
                        if references.is_settled(recipient):
                            yield recipient
                        else:
                            waiting.append(recipient)
            known.update(dynamic)
            by_dn.update((plain(entry).lower(), key) for key, entry in dynamic.items())
            for entry in dynamic.values():
                recipient, findings = _told(connection, entry, references)
                yield from findings
                if recipient is not None:
                    waiting.append(recipient)
            self._known = known
            while waiting:
                yield references.settled(waiting.pop())

    def ids(self) -> frozenset[str]:
        """The ids of all that `read` would look at: a cheap way to see what was deleted."""
        with self._using() as connection:
            self._known = set(self._listing(connection))
        return frozenset(self._known)

    def cookie(self) -> bytes:
        """DirSync's where the server grants it, else one by uSNChanged, which holds for this domain controller."""
        with self._using() as connection:
            return ad_changes.start(connection, self._domain, self._key())

    def changes(self, cookie: bytes) -> Changes:
        """What changed since. An account that may not see deleted objects learns of deletions by looking who is
        missing (`ad_missing`), and so, less often, do all: Samba tells even an account with the right to replicate
        of no deletion. What this cannot see, and a full reading finds: who is matched by dynamic groups."""
        with self._using() as connection:
            found = ad_changes.since(connection, self._domain, self._key(), cookie)
            if found.full_read:
                return Changes(full_read=found.full_read)
            if found.moved_containers and self._scope.bases:
                return Changes(full_read=f"{found.moved_containers[0]} was renamed or moved, with all below it")
            changed, gone = self._read_again(connection, found.ids)
            missing = self._missing.step(connection, self._known or set(), 200 if found.told_deletions else 20)
            still, missed = self._read_again(connection, sorted(missing - set(gone)))
            return Changes(changed + still, gone + missed, found.cookie)

    def _read_again(
        self, connection: Connection, ids: Sequence[str]
    ) -> tuple[tuple[Recipient | Finding, ...], tuple[str, ...]]:
        """What these objects are now, and which of them are not in scope any more."""
        entries = {}
        for start in range(0, len(ids), _AT_ONCE):
            some = "".join(f"(objectGUID={ad_changes.octets(key)})" for key in ids[start : start + _AT_ONCE])
            wanted = f"(&{self._scope.search}(|{some}))"
            for base in self._bases():
                for entry in connection.search(base, wanted, ad_entry.ATTRIBUTES, controls=CONTROLS):
                    entries[ad_entry.identity(entry)] = entry
        gone = tuple(key for key in ids if key not in entries)
        if self._known is None:
            self._known = set(self._listing(connection))
        self._known.difference_update(gone)
        self._known.update(key for key in entries if key is not None)
        references = References(connection, self._domain, self._known, {})
        changed: list[Recipient | Finding] = []
        for entry in entries.values():
            recipient, findings = _told(connection, entry, references)
            changed += findings
            if recipient is not None:
                changed.append(references.settled(recipient))
        return tuple(changed), gone

    def _listing(self, connection: Connection) -> Iterator[str]:
        """The ids in scope."""
        for base in self._bases():
            for entry in connection.search(base, self._scope.search, ("objectGUID",), controls=(DOMAIN_SCOPE,)):
                key = ad_entry.identity(entry)
                if key is not None:
                    yield key

    def _bases(self) -> Iterable[str]:
        return self._scope.bases or (self._domain,)

    def _key(self) -> str:
        return "\n".join([self._domain, *self._scope.bases, self._scope.search])

    @contextmanager
    def _using(self) -> Iterator[Connection]:
        with self._held.use() as connection:
            if not self._domain:
                domain = connection.root().text("defaultNamingContext")
                if domain is None:
                    raise ConfigError(
                        "the server does not say which domain it holds: it is no Active Directory",
                        about=self._held.server.url,
                        advice="for another LDAP server use the source kind `ldap`",
                    )
                for base in self._scope.bases:
                    if not _below(base, domain):
                        raise ConfigError(f"it is not below {domain}, the domain of this server", about=base)
                self._domain = domain
            yield connection


def _told(connection: Connection, entry: Entry, references: References) -> tuple[Recipient | None, list[Finding]]:
    return ad_entry.to_recipient(whole(connection, entry), plain(entry), references.around)


def _below(base: str, domain: str) -> bool:
    inner, outer = names.parse(base.lower()), names.parse(domain.lower())
    return inner[len(inner) - len(outer) :] == outer
