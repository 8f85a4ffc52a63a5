"""`mailferry stack share`: who has the whole of a mailbox in the directory gets the rights on its folders in the store.

Grants and never takes away: rights beyond the directory's are told for a human, since the owner may have given them.
Invariants: only mailboxes whose mail already comes to a store are touched; each grant stands in the ledger's audit
before and after it is made; may be repeated at any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mailferry.directory.mapping import dn_key
from mailferry.errors import ConfigError, MailferryError
from mailferry.ledger.store import Ledger
from mailferry.model.folder import Folder
from mailferry.net import ldap
from mailferry.ops.stores import target_of
from mailferry.ops.wave import Site
from mailferry.targets.base import TargetSession
from mailferry.waves.people import users_of

FULL = "lrwstipekx"
"""RFC 4314: everything in a folder but to change others' rights."""
_ATTRIBUTES = ("uid", "mail", "mailHost", "mailferryKind", "mailferryFullAccess", "member", "mailferryRoute")
_DEEP = 50
"""Groups in each other."""
INTENDED, GRANTED = "rights intended", "rights granted"


@dataclass(slots=True)
class Shared:
    """One mailbox. `granted`: member → folders that are new to them; `beyond`: who else has all rights on its INBOX;
    `elsewhere`: members whose mail does not come to this store, who cannot open it yet; `failed`: why nothing was
    done."""

    mail: str
    store: str
    granted: dict[str, list[str]] = field(default_factory=dict)
    beyond: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    failed: str = ""


@dataclass(frozen=True, slots=True)
class _Mailbox:
    """`members`: the stores' name of each → their own mailHost, "" where their mail comes to none."""

    uid: str
    mail: str
    store: str
    members: dict[str, str]


def share(site: Site, ledger: Ledger, only: Sequence[str] = (), *, dry_run: bool) -> Iterator[Shared]:
    """One mailbox after the other; `only`: those with these primary addresses. One that fails does not stop others."""
    wanted = {one.lower() for one in only}
    with ldap.Connection(site.directory) as connection:
        mailboxes = [one for one in _mailboxes(site, connection) if not wanted or one.mail.lower() in wanted]
    for one in mailboxes:
        shared = Shared(one.mail, one.store)
        shared.elsewhere = sorted(name for name, store in one.members.items() if store != one.store)
        try:
            asyncio.run(_share(site, ledger, one, shared, dry_run=dry_run))
        except MailferryError as error:
            shared.failed = str(error)
        yield shared


def lines(one: Shared, *, dry_run: bool) -> Iterator[str]:
    """What happened to a mailbox, for people."""
    head = f"{one.mail} ({one.store})"
    if one.failed:
        yield f"{head}: {one.failed}"
    for name, folders in sorted(one.granted.items()):
        yield f"{head}: {name} {'would get' if dry_run else 'has'} all rights on {len(folders)} more folders"
    if one.elsewhere:
        yield f"{head}: cannot open it yet, as their own mail is not on this store: {', '.join(one.elsewhere)}"
    if one.beyond:
        yield f"{head}: has all rights, too, but not by the directory: {', '.join(one.beyond)}"
    if not (one.failed or one.granted):
        yield f"{head}: nothing to grant"


async def _share(site: Site, ledger: Ledger, one: _Mailbox, shared: Shared, *, dry_run: bool) -> None:
    """Grant what is missing, folder by folder."""
    _, user = users_of(site.coexist, one.uid, one.mail, one.uid)
    session = await target_of(site.on_store(one.store, user, one.mail), 1).session()
    try:
        for folder in await session.folders():
            if folder.selectable:
                await _grant(ledger, one, session, folder, shared, dry_run=dry_run)
    finally:
        await session.close()


async def _grant(
    ledger: Ledger, one: _Mailbox, session: TargetSession, folder: Folder, shared: Shared, *, dry_run: bool
) -> None:
    have = {name.casefold(): rights for name, rights in (await session.acl(folder) or {}).items()}
    known = {name.casefold() for name in one.members}
    if folder.path == ("INBOX",):
        shared.beyond = sorted(name for name, rights in have.items() if set(FULL) <= set(rights) and name not in known)
    missing = {
        name: "".join(sorted({*FULL, *have.get(name.casefold(), "")}))
        for name in one.members
        if not set(FULL) <= set(have.get(name.casefold(), ""))
    }
    if missing and not dry_run:
        data: dict[str, Any] = {"mailbox": one.uid, "store": one.store, "folder": folder.label, "rights": missing}
        ledger.audit(INTENDED, **data)
        await session.set_acl(folder, missing)
        ledger.audit(GRANTED, **data)
    for name in missing:
        shared.granted.setdefault(name, []).append(folder.label)


def _mailboxes(site: Site, connection: ldap.Connection) -> Iterator[_Mailbox]:
    """Those whose mail comes to a store and whom others may open. ConfigError: Active Directory is the only directory."""
    if site.routes.words.ad:
        raise ConfigError(
            "it reads the open directory, and there is none",
            about="coexist.route_store",
            advice="mailferry sharing brings rights where Active Directory is the only directory",
        )
    found = connection.search(site.suffix, "(&(mailferryFullAccess=*)(mailferryRoute=local)(mailHost=*))", _ATTRIBUTES)
    for entry in list(found):
        members: dict[str, str] = {}
        for dn in entry.texts("mailferryFullAccess"):
            members |= _members(site, connection, dn, set(), _DEEP)
        uid, mail, store = (entry.text(name) or "" for name in ("uid", "mail", "mailHost"))
        yield _Mailbox(uid, mail, store.lower(), members)


def _members(site: Site, connection: ldap.Connection, dn: str, seen: set[str], depth: int) -> dict[str, str]:
    """The people that a DN stands for: itself, or the members of a group."""
    key = dn_key(dn)
    entry = None if key in seen or not depth else connection.read(dn, _ATTRIBUTES)
    seen.add(key)
    if entry is None:
        return {}
    uid, mail, route, store = (entry.text(name) or "" for name in ("uid", "mail", "mailferryRoute", "mailHost"))
    if uid and route:
        _, name = users_of(site.coexist, uid, mail, uid)
        return {name: store.lower() if route.lower() == "local" else ""}
    found: dict[str, str] = {}
    for member in entry.texts("member"):
        found |= _members(site, connection, member, seen, depth - 1)
    return found
