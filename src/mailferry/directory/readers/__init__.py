"""The contract of a reader: something that can tell who an organisation's mail is for. Says nothing about how.

`ad` (Active Directory) and `ldap` (any LDAP server) can also tell what changed; files cannot: they are read again.
Reading changes nothing at the source (law 1), and blocks: callers with an event loop use a thread.

Invariants of every reader. Every entry that is in scope comes out as one Recipient, or is named by a Finding that says
why not; nothing is left out silently. Ids are unique within one reading. References are ids of this reader, or
`smtp:ADDRESS` for who is not among what it reads; what leads to neither stays as the source wrote it (a DN, a name),
and cleaning tells of it. An error that ends the iteration means that what came before is not the whole: never take it
for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from mailferry.model.recipient import Finding, Recipient


class Reader(Protocol):
    """One source of recipients.

    Errors: those of errors.py. `Temporary`: another try may work, from the beginning; `AuthError`; `Permanent`
    (`net.ldap_errors.Refused` among them: size limit, referral, no such base); `UserError` for an unreadable file.
    """

    def read(self) -> Iterator[Recipient | Finding]:
        """Everything, in any order. A Recipient's findings may come before or after it."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened since a cookie.

    `changed`: the recipients concerned, whole and as they are now (whether new, changed, renamed or moved), and
    findings about them. `gone`: ids of what was deleted or left the scope; among them may be ids that never came as a
    recipient. `cookie`: what to ask with next time; to be stored once the changes are, never before.
    `full_read`: not "": why the changes cannot be told; then the rest is empty, and only `cookie()` and `read()` help.
    """

    changed: tuple[Recipient | Finding, ...] = ()
    gone: tuple[str, ...] = ()
    cookie: bytes = b""
    full_read: str = ""


class ChangeReader(Reader, Protocol):
    """A reader that can tell changes.

    The order that loses nothing: `cookie()`, then `read()`, then `changes(cookie)` again and again; what changed during
    the reading comes twice, which does no harm. What a delta cannot see (see each reader) a full read finds later.
    """

    def cookie(self) -> bytes:
        """The present moment, for `changes`. Opaque, of a few kB; outlives this process."""

    def ids(self) -> frozenset[str]:
        """The ids of everything in scope, without reading it: who is missing here was deleted or left the scope. Among
        them may be ids of entries that `read` leaves out."""

    def changes(self, cookie: bytes) -> Changes:
        """What happened since. Never empty out of ignorance: a cookie that the server refuses gives `full_read`."""
