"""What a wave needs to take people's rules along: where they are read, and whom and which folders they name.

Shows and uploads nothing (waves/behaviour.py does). Invariant: rules are somebody's only by an address of theirs, or by
a line of the file of owners: never by a name.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path as Files
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from mailferry.coexist import named
from mailferry.coexist.people import People, addresses, find_id
from mailferry.config.accounts import parse_address
from mailferry.config.rules import RulesSettings
from mailferry.config.settings import Source
from mailferry.errors import ConfigError, UserError
from mailferry.ledger import uploads
from mailferry.ledger.rows import FolderRow, Lease
from mailferry.ledger.store import Ledger
from mailferry.ledger.writer import LedgerThread
from mailferry.model.account import EwsAccount, ImapAccount
from mailferry.model.folder import INBOX, Path, SpecialUse
from mailferry.model.rule import Behaviour, Deed, Upload
from mailferry.model.wave import Move
from mailferry.net import ldap
from mailferry.net.managesieve import Session, key_of, session
from mailferry.ops.directory import server_of
from mailferry.ops.rules import merged, read_owners
from mailferry.plan.folders import PREFERRED
from mailferry.plan.wellknown import folded, special_use_by_name
from mailferry.rules import ews, ldap_attributes
from mailferry.rules.convert import Converted, Script, convert, mentioned
from mailferry.rules.names import ACTIONS, Rating, Shape
from mailferry.rules.predicates import Owner
from mailferry.rules.values import INBOXES
from mailferry.secret import Secret
from mailferry.waves.behaviour import Rules
from mailferry.waves.companion import Companion
from mailferry.waves.context import Directory
from mailferry.wire import dn as names
from mailferry.wire.imap import utf7

if TYPE_CHECKING:
    from mailferry.ops.wave import Site

REDIRECTS = 4
"""What a server that does not tell is taken to allow."""
_UNKNOWN = "nothing is known of them: neither a file nor an entry is this person's"
_EXPORTS = frozenset({".json", ".xml", ".clixml", ".csv"})
_DISTINGUISHED = {
    "deleteditems": SpecialUse.TRASH,
    "junkemail": SpecialUse.JUNK,
    "sentitems": SpecialUse.SENT,
    "drafts": SpecialUse.DRAFTS,
}
"""EWS's names of folders (DistinguishedFolderIdNameType) that rules file into."""

Reader = Callable[[Move, Sequence[str]], Awaitable[Behaviour | None]]
"""Somebody, and all their addresses → what their mailbox does; None: nothing is known of it."""


def companions(site: Site, ledger: LedgerThread, directory: Directory) -> list[Companion]:
    """The companion that brings rules; none where `[coexist.rules]` is not set."""
    settings = site.coexist.rules
    if settings is None:
        return []
    reader = reader_of(site)
    domains = site.settings.directory.mapping.domains if site.settings.directory else ()

    async def script(move: Move, lease: Lease, session: Session) -> Script:
        return await converted(reader, ledger, directory, domains, move, lease.mailbox_id, session)

    return [Rules(ledger, script, site.scripts, wait=settings.when_away == "wait")]


def upload_of(site: Site, ledger: Ledger, move: Move) -> Upload | None:
    """What was uploaded of somebody's rules; None: nothing, or none are to be."""
    account = None if site.coexist.rules is None else site.scripts(move)
    return None if account is None else uploads.upload_of(ledger, key_of(account))


async def answers(account: ImapAccount) -> str:
    """For people, that a store's ManageSieve lets us log in. Raises what `session` raises."""
    async with session(account) as server:
        return f"{len(server.extensions)} Sieve extensions"


async def converted(
    reader: Reader,
    ledger: LedgerThread,
    directory: Directory,
    domains: Sequence[str],
    move: Move,
    mailbox_id: int,
    session: Session,
) -> Script:
    """Somebody's rules for this server, with the people of the directory and the folders as they were copied."""
    mine, forwards = await directory.call(lambda people, _: _theirs(people, move.source_id))
    behaviour = await reader(move, mine)
    if behaviour is None:
        return Script("", (Converted("Rules", "", Rating.MANUAL, (_UNKNOWN,)),))
    if forwards:  # Postfix does that already, by the directory
        behaviour = replace(behaviour, forwarding=None)
    texts = mentioned(behaviour)
    known = await directory.call(lambda people, _: named.resolved(people, texts))
    rows = await ledger.call(lambda db: db.folders(mailbox_id))
    owner = Owner(
        me=mine,
        people=lambda text: known[text].members if text in known else None,
        reach=lambda text: known[text].address if text in known else None,
        folder=partial(folder_of, rows),
        domains=tuple(domains),
        extensions=session.extensions,
        redirects=REDIRECTS if session.redirects is None else session.redirects,
        trash=_special(rows, SpecialUse.TRASH),
        junk=_special(rows, SpecialUse.JUNK),
    )
    return await asyncio.to_thread(convert, replace(behaviour, owner=move.mail), owner)


def _theirs(people: People, source_id: str) -> tuple[tuple[str, ...], bool]:
    """All SMTP addresses, the main one first; whether the directory forwards their mail."""
    found = find_id(people, source_id)
    every = dict.fromkeys([found.mail, *addresses(people, source_id)])
    return tuple(one for one in every if one and not one.upper().startswith("IMCEAEX-")), bool(found.forward_to)


def folder_of(rows: Sequence[FolderRow], path: str) -> str | None:
    """A folder of Exchange (parts joined by `\\`) → the name on the target, as the copy mapped it. None: it did not
    come."""
    parts = tuple(part for part in path.split("\\") if part)
    if not parts:
        return None
    use = _DISTINGUISHED.get(path.lower()) or special_use_by_name(parts[:1])
    if folded(parts[0]) in INBOXES:
        parts = (*INBOX, *parts[1:])
    wanted = tuple(map(folded, parts))
    for row in rows:
        if row.target_name is not None and row.excluded is None and tuple(map(folded, row.source_path)) == wanted:
            return _shown(row)
    if use is not None and len(parts) == 1:
        return next((_shown(row) for row in rows if row.special_use is use and row.target_name is not None), None)
    return None


def _special(rows: Sequence[FolderRow], use: SpecialUse) -> str:
    return next((_shown(row) for row in rows if row.special_use is use and row.target_name), PREFERRED[use])


def _shown(row: FolderRow) -> str:
    """As Sieve wants it: UTF-8 (RFC 5228 §4.1), where IMAP has modified UTF-7."""
    return utf7.decode((row.target_name or "").encode())


def reader_of(site: Site) -> Reader:
    """Where `[coexist.rules]` says that rules are read. ConfigError: there is nothing there."""
    settings = site.coexist.rules
    assert settings is not None
    if settings.source == "ews":
        return partial(_of_ews, site, settings)
    if settings.source == "ldap":
        source = site.settings.directory.source if site.settings.directory else None
        if source is None or source.kind != "ldap":
            raise ConfigError("it is not read over LDAP", about="[directory.source]", advice='rules.source = "exports"')
        return _in_thread(partial(of_ldap, source))
    assert settings.folder is not None
    return _in_thread(Exports(settings.folder, read_owners(settings.owners) if settings.owners else {}).of)


def _in_thread(read: Callable[[Sequence[str]], Behaviour | None]) -> Reader:
    async def reader(move: Move, mine: Sequence[str]) -> Behaviour | None:
        return await asyncio.to_thread(read, mine)

    return reader


async def _of_ews(site: Site, settings: RulesSettings, move: Move, mine: Sequence[str]) -> Behaviour:
    from mailferry.net.ews_behaviour import read_behaviour  # its packages are an extra

    address = settings.ews or site.coexist.source
    reference = settings.ews_password or site.coexist.source_password
    account = parse_address(address, user=move.mail, secret=Secret.from_reference(reference) if reference else None)
    if not isinstance(account, EwsAccount):
        raise ConfigError("it is no ews:// address", about="[coexist.rules] ews", advice="docs/addresses.md")
    told = await read_behaviour(account)
    return of_answers(move.mail, told.rules, told.away, told.folders)


def of_answers(owner: str, rules: bytes, away: bytes, folders: Mapping[str, Path]) -> Behaviour:
    """EWS's two answers as one behaviour, with paths in place of the ids of folders."""
    found = ews.behaviour(owner, "EWS", ElementTree.fromstring(rules))
    replies = ews.behaviour(owner, "EWS", ElementTree.fromstring(away))

    def placed(deed: Deed) -> Deed:
        if ACTIONS[deed.what].shape is not Shape.FOLDER:
            return deed
        return replace(deed, values=tuple("\\".join(folders[one]) if one in folders else one for one in deed.values))

    here = tuple(replace(rule, actions=tuple(map(placed, rule.actions))) for rule in found.rules)
    return replace(found, rules=here, out_of_office=replies.out_of_office)


def of_ldap(source: Source, mine: Sequence[str]) -> Behaviour | None:
    """What the one entry with one of these addresses says; None: there is none, or several."""
    key = "".join(f"(mail={names.in_filter(one)})" for one in mine)
    with ldap.Connection(server_of(source)) as connection:
        bases = source.base or ("",)
        found = [one for base in bases for one in connection.search(base, f"(|{key})", ldap_attributes.ATTRIBUTES)]
    if len(found) != 1:
        return None
    (entry,) = found
    given = {name: entry.texts(name) for name in ldap_attributes.ATTRIBUTES}
    return ldap_attributes.behaviour(mine[0], entry.dn, given)


@dataclass(slots=True)
class Exports:
    """A folder of exports of many people, read once, by the first who asks."""

    folder: Files
    owners: Mapping[str, tuple[str, ...]]
    _found: dict[str, Behaviour] | None = None
    _reading: threading.Lock = field(default_factory=threading.Lock)

    def of(self, mine: Sequence[str]) -> Behaviour | None:
        """UserError: a file is no export, or two mailboxes in them are this one."""
        with self._reading:
            if self._found is None:
                self._found = {one.owner.lower(): one for one in self.read()}
        found = {id(one): one for address in mine if (one := self._found.get(address.lower())) is not None}
        if len(found) > 1:
            both = " and ".join(one.owner for one in found.values())
            raise UserError(f"its rules are exported as those of {both}", about=mine[0], advice="keep one of them")
        return next(iter(found.values()), None)

    def read(self) -> list[Behaviour]:
        """Everybody in it, by an address where one is known."""
        try:
            files = [one for one in sorted(self.folder.iterdir()) if one.suffix.lower() in _EXPORTS]
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror}", about=str(self.folder)) from error
        main = {name: theirs[0] for name, theirs in self.owners.items()}
        return merged(files, main)
