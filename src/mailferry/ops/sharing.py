"""The use cases behind `mailferry sharing`: exports → report, → grants in the ledger, → rights on the open side.

Shows nothing. Invariant: an entry becomes a grant only where both sides are known for certain; all others are lines of
the report, with what to do.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mailferry.coexist.routes import People
from mailferry.directory.readers import ad_send_as
from mailferry.errors import UserError
from mailferry.ledger import permissions
from mailferry.ledger.directory import accounts_of
from mailferry.ledger.permissions import Planned
from mailferry.ledger.store import Ledger
from mailferry.ledger.writer import LedgerThread
from mailferry.model.permission import Access, Grant, Permission
from mailferry.net import ldap
from mailferry.ops.directory import server_of
from mailferry.ops.files import read_export, table, write
from mailferry.ops.sharing_people import Finder
from mailferry.ops.wave import Site, opened
from mailferry.ops.wave_sharing import companion
from mailferry.rules.names import Rating
from mailferry.sharing import convert, powershell
from mailferry.sharing.convert import Converted
from mailferry.waves.context import Directory, LedgerDoor
from mailferry.waves.people import Everybody, read_everybody

REPORT = "sharing.csv"
DIRECTORY = "directory"
"""The origin of grants that `directory sync` has brought."""


@dataclass(frozen=True, slots=True)
class Line:
    """One entry with what becomes of it. `grants`: the people who get it; `group`: through which, "" for none."""

    entry: Converted
    grants: tuple[Grant, ...] = ()
    group: str = ""


def convert_files(files: Sequence[Path], output: Path | None) -> list[Converted]:
    """Read all files and convert each entry; the report goes into `output`. UserError names a file that is none."""
    found = [entry for path in files for entry in powershell.permissions(str(path), read_export(path))]
    done = convert.convert_all(found)
    if output is not None:
        write(output / REPORT, report(done))
    return done


def ratings(done: Iterable[Converted]) -> dict[str, int]:
    """How many of each rating; `nothing`: there is nothing to give."""
    counts = Counter(one.rating.value if one.carried or one.rating is Rating.MANUAL else "nothing" for one in done)
    return {name: counts[name] for name in (*(rating.value for rating in Rating), "nothing")}


def report(done: Iterable[Converted]) -> bytes:
    """The CSV of all entries."""
    head = ("mailbox", "who", "access", "folder", "rights in Exchange", "rating", "IMAP", "DAV", "what to know or do")
    rows = [
        (
            *(one.permission.mailbox, user_of(one), one.permission.access.value, one.permission.folder),
            *(" ".join(one.permission.rights), one.rating.value, one.rights, one.dav, "; ".join(one.notes)),
        )
        for one in done
    ]
    return table(head, rows)


def user_of(one: Converted) -> str:
    """Whom an entry is for, for people."""
    user = one.permission.user
    return user if isinstance(user, str) else user.value


def plan(
    site: Site, ledger: Ledger, files: Sequence[Path], *, send_as: bool, by_name: bool, dry_run: bool
) -> tuple[list[Line], Planned]:
    """What the directory and these files want goes into the ledger. A mailbox that a file tells about is wanted as the
    file says; those of earlier plans stay. `send_as`: Active Directory's access lists are read, too."""
    entries = convert_files(files, None)
    if send_as:
        entries += convert.convert_all(_send_as(site))
    with ldap.Connection(site.directory) as connection:
        everybody = read_everybody(_people_of(site, connection))
    finder = Finder(everybody, accounts_of(ledger, list(everybody.by_id)), by_name=by_name)
    lines = [_line(one, finder) for one in entries]
    known = list(_directory(everybody, finder))
    wanted = _wanted((*known, *lines))
    lines += [line for line in known if not line.entry.carried]
    told: set[tuple[str, Access]] = {
        (owner.recipient.id, one.permission.access)
        for one in entries
        if not isinstance(owner := finder.mailbox(one.permission.mailbox), str)
    }

    def replaces(grant: Grant) -> bool:
        everywhere = grant.origin == DIRECTORY or (send_as and grant.access is Access.SEND_AS)
        return everywhere or (grant.owner, grant.access) in told

    return lines, permissions.plan(ledger, wanted, replaces, dry_run=dry_run)


def _send_as(site: Site) -> list[Permission]:
    source = site.settings.directory.source if site.settings.directory else None
    if source is None or source.kind != "ad":
        raise UserError("the source directory is no Active Directory", about="--send-as", advice="export it instead")
    with ldap.Connection(server_of(source)) as connection:
        return ad_send_as.permissions(connection, source.base, source.filter or "")


def _line(one: Converted, finder: Finder) -> Line:
    """Who gets it; or the same entry for a human, with the reason."""
    if not one.carried:
        return Line(one)
    asked = one.permission
    owner, found = finder.mailbox(asked.mailbox), finder.person(user_of(one))
    why = owner if isinstance(owner, str) else found.why
    if why or isinstance(owner, str):
        return Line(replace(one, rating=Rating.MANUAL, carried=False, notes=(*one.notes, why)))
    if found.group:
        member = f"as a member of {found.group}, as it is today"
        one = replace(
            one, rating=max(one.rating, Rating.APPROXIMATE, key=list(Rating).index), notes=(*one.notes, member)
        )
    note = "; ".join(one.notes)
    people = [who for who in found.ids if who != owner.recipient.id]
    where = asked.folder if asked.access is Access.FOLDER else ""
    some = [Grant(owner.recipient.id, who, asked.access, where, one.rights, note, asked.origin) for who in people]
    return Line(one, tuple(some), found.group)


def _wanted(lines: Iterable[Line]) -> list[Grant]:
    """One grant for each key: what a person has by name counts before what they have through groups, which adds up."""
    found: dict[Any, Grant] = {}
    direct: set[Any] = set()
    for line in lines:
        for one in line.grants:
            if not line.group:
                direct.add(one.key)
                found[one.key] = one
            elif one.key not in direct:
                before = found.get(one.key, one)
                found[one.key] = replace(one, rights="".join(sorted({*before.rights, *one.rights})))
    return list(found.values())


def _directory(everybody: Everybody, finder: Finder) -> Iterator[Line]:
    """Full access, as `directory sync` has brought it."""
    for who, known in everybody.by_id.items():
        for one in known.recipient.full_access:
            asked = Permission(who, one, Access.FULL, DIRECTORY, rights=("FullAccess",))
            yield _line(convert.convert(asked), finder)


@dataclass(frozen=True, slots=True)
class Shown:
    """A grant with the addresses of both sides."""

    grant: Grant
    owner: str
    person: str


def show(site: Site, ledger: Ledger, only: Sequence[str] = ()) -> list[Shown]:
    """The grants, or those in whose mailboxes or for whom these addresses are. UserError: nobody has one of them."""
    return _shown(site, permissions.grants(ledger), only)


def apply(site: Site, only: Sequence[str], say: Callable[[str], None], *, dry_run: bool) -> list[Shown]:
    """Put in force whatever can be, take back what is not wanted any more; one mailbox after the other. What the
    directory says of full access is noted first. `only`: as for `show`. `say`: told whose mailbox it is. The grants as
    they are then, or would be."""
    with opened(site) as ledger:
        plan(site, ledger, (), send_as=False, by_name=False, dry_run=dry_run)
        owners = {one.grant.owner: one.owner for one in show(site, ledger, only)}
    expected = asyncio.run(_apply(site, owners, say, dry_run=dry_run))
    with opened(site) as ledger:
        return _shown(site, expected, only) if dry_run else show(site, ledger, only)


def _shown(site: Site, grants: Sequence[Grant], only: Sequence[str]) -> list[Shown]:
    with ldap.Connection(site.directory) as connection:
        everybody = read_everybody(_people_of(site, connection))
    ids = {everybody.at(one).recipient.id for one in only}

    def mail(who: str) -> str:
        known = everybody.by_id.get(who)
        return (known.recipient.mail if known else None) or who

    chosen = [one for one in grants if not ids or ids & {one.owner, one.person}]
    return [Shown(one, mail(one.owner), mail(one.person)) for one in chosen]


async def _apply(site: Site, owners: Mapping[str, str], say: Callable[[str], None], *, dry_run: bool) -> list[Grant]:
    expected: list[Grant] = []
    async with LedgerThread(site.ledger) as ledger:
        directory = Directory(site.directory, lambda connection: _people_of(site, connection), LedgerDoor(ledger))
        sharing = companion(site, ledger, directory)
        for owner, mail in owners.items():
            if dry_run:
                expected += await sharing.forecast(owner)
                continue
            say(mail)
            await sharing.settle(owner)
    return expected


def _people_of(site: Site, connection: ldap.Connection) -> People:
    return site.routes.people(connection)
