"""`mailferry trace`: where a message is. Asks logs, queues, directory, ledger and stores, and changes nothing.

Invariants: what could not be asked is told, and keeps nobody else from being asked; a store is searched for people of
the directory only, as the administrator that the settings name, folder by folder, within `STORE_SECONDS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from mailferry.coexist import routes
from mailferry.coexist.explain import Step, explain
from mailferry.coexist.parking import is_parked
from mailferry.coexist.queues import Place, queue_of
from mailferry.errors import ConfigError, MailferryError, UserError
from mailferry.ledger import directory as accounts
from mailferry.ledger import waves
from mailferry.ledger.opposite import opposite
from mailferry.ledger.rows import FolderRow
from mailferry.ledger.store import Ledger
from mailferry.maillog.events import Event, event
from mailferry.maillog.find import Finder, Found, Journey, Wanted
from mailferry.maillog.lines import split
from mailferry.maillog.read import Looked, read
from mailferry.maillog.story import Entry, Held, Queued, Recipient, Told, tell
from mailferry.model.account import Account, ImapAccount
from mailferry.model.state import HELD, State
from mailferry.model.wave import Move
from mailferry.net import ldap
from mailferry.net.imap import folders, login, searching
from mailferry.ops.queues import sides
from mailferry.ops.stack_qmail import is_qmail
from mailferry.ops.wave import Site, opened
from mailferry.waves.people import read_one, users_of

STORE_SECONDS = 120.0
PEOPLE = 20
"""Recipients whose mailboxes are searched."""


@dataclass(frozen=True, slots=True)
class Person:
    """A recipient of ours. `move`: the latest, or one made up of what the directory says, for the stores."""

    address: str
    names: frozenset[str]
    move: Move
    planned: bool


@dataclass(slots=True)
class Result:
    """`kind`: `message` or `address`. `route`: where a new message for the address (or the message's recipients) would
    go. `history`: what our own moves did, by address."""

    asked: str
    kind: str
    since: float
    messages: list[Told] = field(default_factory=list)
    route: list[Step] = field(default_factory=list)
    history: dict[str, list[Entry]] = field(default_factory=dict)
    looked: list[Looked] = field(default_factory=list)


def trace(
    site: Site, what: str, *, to: Sequence[str] = (), since: float | None = None, latest: int = 20, stores: bool = True
) -> Result:
    """Everything about a Message-ID (`<…>`, or what is no address of ours), or the `latest` messages of an address.
    `to`: further recipients of a Message-ID whose mailboxes are searched. `since`: seconds since the epoch."""
    begin = time.time() - site.settings.trace.hours * 3600 if since is None else since
    result = Result(what, "message", begin)
    with opened(site) as ledger, _directory(site, result) as people:
        known = _People(site, people, ledger, result)
        asked = None if what.startswith("<") else known.person(what, strict=known.is_ours(what))
        if asked is not None or (known.is_ours(what) and not what.startswith("<")):
            result.kind = "address"
            names = asked.names if asked else frozenset({what.lower()})
            wanted = Wanted(names=names, since=begin, latest=latest)
        elif what.startswith("<"):
            wanted = Wanted(what, since=begin)
        else:  # a Message-ID without its brackets, or an address of somebody else
            wanted = Wanted(f"<{what}>", frozenset({what.lower()}), begin, latest)
        found = _logs(site.settings.trace.logs, wanted, result)
        if is_qmail(site.settings):
            problem = "lines of qmail are not understood: queue, directory, ledger and stores are asked"
            result.looked.append(Looked("the log of qmail", problem=problem))
        if wanted.message_id and found.journeys and all(one.message_id != wanted.message_id for one in found.journeys):
            result.kind = "address"
        recipients = [*to, *([asked.address] if asked else [])] or _recipients(found)
        for address in recipients[:PEOPLE]:
            known.person(address)
        queued = asyncio.run(_queues(site.mtas, found, wanted, known, result))
        for waits in queued:
            known.person(waits.recipient)
        for group in _groups(found, wanted, queued):
            further = [known.primary(one) for one in to]
            held: dict[str, list[Held]] = {}
            if stores and group.message_id and result.kind == "message":
                held = asyncio.run(_stores(site, known, group.message_id, ledger, result))
            result.messages.append(
                tell(group.message_id, group.journeys, group.stored, group.queued, held, known.names, further)
            )
        _tell_people(known, result)
    if asked is not None:
        for told in result.messages:  # of what they sent, all; of what they got, only their part
            told.recipients = [one for one in told.recipients if one.address == asked.address] or told.recipients
        result.messages = [one for one in result.messages if one.recipients]  # others were copied, not sent
    result.messages.sort(key=lambda one: one.begun or 0.0)
    return result


class _People:
    """Recipients that are looked up once."""

    def __init__(self, site: Site, people: routes.People | None, ledger: Ledger, result: Result) -> None:
        self.site, self.people, self.ledger, self.result = site, people, ledger, result
        self.names: dict[str, str] = {}
        self.found: dict[str, Person] = {}
        self._moves = {one.source_id: one for one in waves.moves(ledger)}

    def is_ours(self, address: str) -> bool:
        directory = self.site.settings.directory
        domains = [*(directory.mapping.domains if directory else ()), self.site.open_domain]
        return address.rpartition("@")[2].lower() in {one.lower() for one in domains if one} and "@" in address

    def primary(self, address: str) -> str:
        return self.names.get(address.lower(), address)

    def person(self, address: str, strict: bool = False) -> Person | None:
        """None: nobody of ours. `strict`: then that is told."""
        if address.lower() in self.names:
            return self.found.get(self.names[address.lower()])
        if self.people is None:
            return None
        try:
            routed = routes.find(self.people, address)
            one = read_one(self.people, routed.id)
        except UserError as error:
            if strict:
                self.result.looked.append(Looked(f"the directory for {address}", problem=error.message))
            return None
        except MailferryError as error:
            self.result.looked.append(Looked("the directory", problem=error.message))
            return None
        mail = one.recipient.mail or address
        move = self._moves.get(one.recipient.id)
        planned = move is not None
        if move is None:
            row = accounts.accounts_of(self.ledger, [one.recipient.id]).get(one.recipient.id)
            source, target = users_of(self.site.coexist, one.uid, mail, (row.account if row else None) or "")
            move = Move(0, 0, one.recipient.id, mail, one.uid, one.recipient.kind.value, source, target, one.store)
        names = {mail, *one.recipient.aliases, move.source_user, move.target_user, one.uid, address}
        if self.site.open_domain and one.uid:
            names.add(f"{one.uid}@{self.site.open_domain}")
        person = Person(mail, frozenset(name.lower() for name in names if name), move, planned)
        self.found[mail] = person
        for name in person.names:
            self.names.setdefault(name, mail)
        return person


@contextlib.contextmanager
def _directory(site: Site, result: Result) -> Iterator[routes.People | None]:
    with contextlib.ExitStack() as stack:
        people = None
        try:
            connection = stack.enter_context(ldap.Connection(site.directory))
            people = site.routes.people(connection)
        except MailferryError as error:
            result.looked.append(Looked("the directory", problem=error.message))
        yield people


def _logs(entries: Sequence[str], wanted: Wanted, result: Result) -> Found:
    finder, now = Finder(wanted), time.time()
    for entry in entries:
        for raw in read(entry, wanted.since, result.looked):
            line = split(raw, now)
            if line is not None and (told := event(line)) is not None:
                finder.take(told)
    return finder.found()


def _recipients(found: Found) -> list[str]:
    events = [one for journey in found.journeys for one in journey.events] + found.stored
    return list(dict.fromkeys(one.recipient for one in events if one.recipient))


async def _queues(mtas: Iterable[Place], found: Found, wanted: Wanted, known: _People, result: Result) -> list[Queued]:
    """What waits now: of the queue ids that the logs gave, or for the address."""
    ids = {one.queue_id for journey in found.journeys if not journey.left for one in journey.events}
    waits: list[Queued] = []
    for mta in mtas:
        looked = Looked(f"the queue of {mta.name}")
        result.looked.append(looked)
        try:
            listing = await queue_of(mta).listing()
        except MailferryError as error:
            looked.problem = error.message
            continue
        looked.lines = sum(map(len, listing.values()))
        for recipient, some in listing.items():
            for one in some:
                if one.id in ids or recipient in wanted.names:
                    waits.append(Queued(mta.name, one.id, recipient, one.arrived, one.why, is_parked(one)))
    return waits


@dataclass(slots=True)
class _Group:
    message_id: str
    journeys: list[Journey] = field(default_factory=list)
    stored: list[Event] = field(default_factory=list)
    queued: list[Queued] = field(default_factory=list)


def _groups(found: Found, wanted: Wanted, queued: Sequence[Queued]) -> list[_Group]:
    """By Message-ID; what has none, by queue id."""
    groups: dict[str, _Group] = {}

    def group(message_id: str, key: str) -> _Group:
        return groups.setdefault(message_id or key, _Group(message_id))

    by_queue: dict[str, str] = {}
    for number, journey in enumerate(found.journeys):
        first = journey.events[0].queue_id or f"refused {number}"
        group(journey.message_id, first).journeys.append(journey)
        by_queue[first] = journey.message_id
    for one in found.stored:
        group(one.message_id, "").stored.append(one)
    for waits in queued:
        group(by_queue.get(waits.id, ""), waits.id).queued.append(waits)
    if wanted.message_id and not groups:
        groups[wanted.message_id] = _Group(wanted.message_id)
    return sorted(groups.values(), key=_latest)[-wanted.most :]


def _latest(group: _Group) -> float:
    times = [one.at for journey in group.journeys for one in journey.events] + [one.at for one in group.stored]
    return max(times + [one.since for one in group.queued], default=0.0)


async def _stores(site: Site, known: _People, message_id: str, ledger: Ledger, result: Result) -> dict[str, list[Held]]:
    """In which folders it stands now, on both sides, for everybody known."""
    found: dict[str, list[Held]] = {}
    for address, person in list(known.found.items())[:PEOPLE]:
        places: list[tuple[str, Account]] = [("Exchange", site.source(person.move))]
        with contextlib.suppress(ConfigError):  # no store of the settings is theirs
            places.append((person.move.store, site.target(person.move)))
        for name, account in places:
            looked = Looked(f"{name} for {address}")
            result.looked.append(looked)
            held: list[tuple[str, int, int]] = []
            try:
                async with asyncio.timeout(STORE_SECONDS):
                    async for one in _search(account, message_id, looked):
                        held.append(one)
            except TimeoutError:
                looked.problem = f"not all of it in {STORE_SECONDS:.0f} s"
            except MailferryError as error:
                looked.problem = error.message
            brought = _brought(ledger, site, person.move, name == "Exchange")
            found.setdefault(address, []).extend(
                Held(name, folder, uid, brought(folder, uidvalidity, uid)) for folder, uidvalidity, uid in held
            )
    return found


async def _search(account: Account, message_id: str, looked: Looked) -> AsyncIterator[tuple[str, int, int]]:
    """(folder, its uidvalidity, uid)."""
    if not isinstance(account, ImapAccount):
        looked.problem = "only stores that are reached over IMAP are searched"
        return
    connection = await login.connect(account)
    try:
        _, all_of_them = await folders.list_folders(connection)
        looked.lines = len(all_of_them)
        async for folder, uidvalidity, uids in searching.find(connection, all_of_them, message_id):
            if isinstance(uids, str):
                looked.problem = f"{folder.label}: {uids}"
                continue
            for uid in uids:
                yield folder.label, uidvalidity, uid
    finally:
        await connection.close()


def _brought(ledger: Ledger, site: Site, move: Move, on_exchange: bool) -> Callable[[str, int, int], str]:
    """Tells of a message in a store which pass of ours brought it: of the way back, for one on Exchange."""
    rows: dict[str, FolderRow] = {}
    mailbox = None if move.mailbox_id is None else ledger.mailbox_by_id(move.mailbox_id)
    if mailbox is not None and on_exchange:
        mailbox = opposite(ledger, mailbox.id)
    if mailbox is not None:
        rows = {"/".join(row.target_path or ()): row for row in ledger.folders(mailbox.id)}
    passes = {one.id: one.started for one in ledger.passes(mailbox.id)} if mailbox is not None else {}

    def tell(folder: str, uidvalidity: int, uid: int) -> str:
        row = rows.get(folder)
        if row is None or row.target_uidvalidity != uidvalidity:
            return ""
        for one in ledger.messages(row.id):
            if one.target_uid == uid and one.state in HELD and one.pass_id in passes:
                began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(passes[one.pass_id]))
                verb = "copied" if one.state == State.COPIED else "found there"
                return f"{verb} by the pass of {began}"
        return ""

    return tell


def _tell_people(known: _People, result: Result) -> None:
    """Where their mail would go now, and what our moves did with it meanwhile."""
    for address, person in known.found.items():
        if person.planned:
            past = waves.history(known.ledger, person.move.id)
            result.history[address] = [Entry(at, "ledger", "move", state + _why(error)) for at, state, error in past]
    for told in result.messages:
        for one in told.recipients:
            begun = told.begun or 0.0
            one.entries += [entry for entry in result.history.get(one.address, ()) if (entry.at or 0.0) >= begun]
            one.entries.sort(key=lambda entry: (entry.at is None, entry.at or 0.0))
    if known.people is None:
        return
    try:
        settings = sides(known.site.settings)
        for address in list(known.found)[:PEOPLE] or ([result.asked] if result.kind == "address" else []):
            result.route += explain(known.people, settings, address)
    except MailferryError as error:
        result.looked.append(Looked("where mail would go now", problem=error.message))


def _why(error: str) -> str:
    return f": {error}" if error else ""


def document(result: Result) -> dict[str, Any]:
    """As JSON values (docs/json.md)."""
    return {
        "asked": result.asked,
        "kind": result.kind,
        "since": result.since,
        "messages": [
            asdict(told) | {"recipients": [_document(one) for one in told.recipients]} for told in result.messages
        ],
        "route": [asdict(step) for step in result.route],
        "moves": {address: [asdict(one) for one in entries] for address, entries in result.history.items()},
        "looked_at": [asdict(one) for one in result.looked],
    }


def _document(one: Recipient) -> dict[str, Any]:
    return asdict(one) | {"place": one.place.value}
