"""Rights between people, as they move: a grant is put in force when both its sides are on the open side, and taken back
when one of them goes home. A companion of a move, and what `mailferry sharing apply` runs.

Decides nothing about who may do what: the ledger's grants say it. Invariants: nobody gets a right whose account the
directory and the ledger do not agree on (law 4); a right that cannot be set stops no move: its grant says why, and the
next pass tries again; the rights to send need only the person, rights in a mailbox both.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mailferry.coexist.routes import Audit, People
from mailferry.config.coexist import Coexist
from mailferry.errors import ConfigError, Fenced, MailferryError, UserError
from mailferry.ledger import permissions
from mailferry.ledger import waves as ledger_waves
from mailferry.ledger.directory import accounts_of
from mailferry.ledger.rows import DirectoryAccount, Lease
from mailferry.ledger.store import Ledger
from mailferry.ledger.writer import LedgerThread
from mailferry.model.folder import Folder, Path
from mailferry.model.permission import SENDING, Grant, GrantState
from mailferry.model.wave import Move
from mailferry.net import ldap
from mailferry.net.ldap_errors import Refused, Result
from mailferry.stack.postfix.settings import Route
from mailferry.targets.base import OpensOthers, Target
from mailferry.waves import grants as grants_
from mailferry.waves.companion import Companion
from mailferry.waves.context import Directory
from mailferry.waves.people import Known, check_mapping, read_one, users_of

log = logging.getLogger("mailferry.waves")

_BY_HAND = "give the right to send in Exchange's own way"
_MISSING = "there is no such folder in the mailbox on the open side"


@dataclass(frozen=True, slots=True)
class Side:
    """Somebody as the open side has them. `user`: whom the stores know them as; `is_open`: their mail comes to `store`.
    `trouble`: why nothing may be given to them or by them."""

    mail: str
    dn: str = ""
    uid: str = ""
    user: str = ""
    store: str = ""
    is_open: bool = False
    trouble: str = ""


class Sharing(Companion):
    """See the module. `target`: opens a mailbox by store, user and address."""

    name = "sharing"

    def __init__(
        self,
        ledger: LedgerThread,
        directory: Directory,
        settings: Coexist,
        target: Callable[[str, str, str], Target],
    ) -> None:
        self._ledger, self._directory, self._settings, self._target = ledger, directory, settings, target

    async def activate(self, move: Move, lease: Lease) -> None:
        """What others may do here. The rest has time until the mail flows again, however many mailboxes it is about."""
        await self.settle(move.source_id, None, {move.source_id: (True, move.store)})

    async def complete(self, move: Move, lease: Lease) -> str:
        """What it may do elsewhere; and all once more, for who was switched at the same moment."""
        failed = await self.settle_about(move, is_open=True)
        return f"{failed} rights could not be given: mailferry sharing show {move.mail}" if failed else ""

    async def withdraw(self, move: Move, lease: Lease) -> None:
        await self.settle_about(move, is_open=False)

    async def settle_about(self, move: Move, *, is_open: bool) -> int:
        """All grants in whose mailbox or for whom the move is, as if its side were open, or not. How many failed."""
        found = await self._ledger.call(lambda db: permissions.grants(db, about=move.source_id))
        assumed = {move.source_id: (is_open, move.store)}
        failed = 0
        for owner in dict.fromkeys(one.owner for one in found):
            own = owner == move.source_id
            failed += await self.settle(owner, None if own else {move.source_id}, assumed)
        return failed

    async def settle(
        self, owner: str, about: set[str] | None = None, assumed: Mapping[str, tuple[bool, str]] | None = None
    ) -> int:
        """The grants of one owner, of the people in `about` (None: all). `assumed`: id → open or not, on which store,
        whatever the route says. How many could not be put in force."""
        mine = await self._ledger.call(lambda db: permissions.grants(db, about=owner))
        mine = [one for one in mine if one.owner == owner and (about is None or one.person in about)]
        sides = await self.sides([owner, *(one.person for one in mine)], assumed or {})
        failed: dict[int, str] = {}
        for some, work in (
            ([one for one in mine if one.access not in SENDING], self._rights),
            ([one for one in mine if one.access in SENDING], self._sending),
        ):
            try:
                failed |= await work(owner, some, sides, about)
            except Fenced:
                raise
            except MailferryError as error:
                failed |= {one.id: ": ".join(filter(None, (error.about, error.message))) for one in some}
        for one in mine:
            state, why = _state(one, sides[owner], sides[one.person], failed.get(one.id, ""))
            await self._ledger.write(permissions.settle, one, state, why)
        return len(failed)

    async def forecast(self, owner: str) -> list[Grant]:
        """The grants of one owner as `settle` would leave them, if nothing failed. Changes nothing."""
        found = await self._ledger.call(lambda db: permissions.grants(db, about=owner))
        mine = [one for one in found if one.owner == owner]
        sides = await self.sides([owner, *(one.person for one in mine)], {})
        states = (_state(one, sides[owner], sides[one.person], "") for one in mine)
        return [replace(one, state=state, why=why) for one, (state, why) in zip(mine, states, strict=True)]

    async def sides(self, ids: Iterable[str], assumed: Mapping[str, tuple[bool, str]]) -> dict[str, Side]:
        """Everybody by id."""
        wanted = list(dict.fromkeys(ids))
        rows = await self._ledger.call(lambda db: accounts_of(db, wanted))
        users = await self._ledger.call(lambda db: _users(db, wanted))
        known = await self._directory.call(lambda people, _: _read(people, wanted))
        made = {one: self._side(one, known.get(one), rows.get(one), assumed) for one in wanted}
        for one, user in users.items():
            if made[one].user not in ("", user):
                why = f"was moved as {user}, and would be {made[one].user} now (coexist.target_user)"
                made[one] = Side(made[one].mail, trouble=why)
        return made

    def _side(
        self, who: str, one: Known | None, row: DirectoryAccount | None, assumed: Mapping[str, tuple[bool, str]]
    ) -> Side:
        if one is None:
            return Side(who, trouble="is not in the directory any more")
        mail = one.recipient.mail or who
        try:
            check_mapping(one, row)
        except MailferryError as error:
            return Side(mail, trouble=error.message)
        if not one.uid:
            return Side(mail, trouble="has no account")
        _, user = users_of(self._settings, one.uid, mail, (row.account if row else None) or one.uid)
        is_open, store = assumed.get(who, (one.route == Route.LOCAL.value, one.store))
        return Side(mail, one.recipient.where, one.uid, user, store, is_open)

    async def _rights(
        self, owner: str, some: Sequence[Grant], sides: Mapping[str, Side], about: set[str] | None
    ) -> dict[int, str]:
        side = sides[owner]
        given, moves = await self._ledger.call(
            lambda db: (permissions.given(db, owner), ledger_waves.moves(db, source_id=owner))
        )
        given = [one for one in given if about is None or one.person in about]
        store = side.store or (moves[-1].store if moves else "")  # there, what was given is to be taken back
        force = [one for one in some if _in_force(one, side, sides[one.person])]
        if not store or side.trouble or not (force or given):
            return {}
        places = await self._ledger.call(lambda db: _places(db, moves))
        session = await self._target(store, side.user, side.mail).session()
        try:
            folders = await session.folders()
            want = grants_.wish(force, folders, lambda one: sides[one.person].user, places)
            done = await grants_.put(self._ledger, session, owner, want, folders, given)
        finally:
            await session.close()
        for who, folders_ in done.seen.items():
            await self._show(side.user, sides.get(who), store, folders_)
        failed = done.failed
        failed |= {one.id: done.kept[one.person] for one in some if one.person in done.kept and one not in force}
        return failed | {one.id: f"{one.folder}: {_MISSING}" for one in want.missing}

    async def _show(self, owner: str, person: Side | None, store: str, folders: Sequence[tuple[Folder, bool]]) -> None:
        """Mail programs show what is subscribed: what somebody can open now is, for them; they may end that as they
        like. Nothing where their own mailbox is elsewhere. What is refused is told in the log alone: the right itself
        stands."""
        if person is None or not person.is_open or person.trouble or person.store != store:
            return
        try:
            session = await self._target(store, person.user, person.mail).session()
            try:
                if isinstance(session, OpensOthers):
                    for folder, yes in folders:
                        await session.follow(owner, folder, yes=yes)
            finally:
                await session.close()
        except Fenced:
            raise
        except MailferryError as error:
            log.warning("%s is not shown what was shared with them: %s", person.mail, error.message)

    async def _sending(
        self, owner: str, some: Sequence[Grant], sides: Mapping[str, Side], about: set[str] | None
    ) -> dict[int, str]:
        side = sides[owner]
        if not some or side.trouble:
            return {}
        have: dict[str, bool] = {}
        for one in some:
            person = sides[one.person]
            if person.uid:
                force = one.wanted and person.is_open and not person.trouble
                have[person.uid] = have.get(person.uid, False) or force
        await self._directory.call(lambda people, audit: _set_senders(people, audit, side.dn, have))
        return {}


def _in_force(one: Grant, owner: Side, person: Side) -> bool:
    return one.wanted and owner.is_open and person.is_open and not (owner.trouble or person.trouble)


def _state(one: Grant, owner: Side, person: Side, failed: str) -> tuple[GrantState, str]:
    """What has become of a grant."""
    kept = f"not taken back yet: {failed}" if failed and one.state is GrantState.APPLIED else ""
    if not one.wanted:
        return (one.state, kept) if kept else (GrantState.WITHDRAWN, "a later plan does not want it")
    for side in (owner, person):
        if side.trouble:
            return GrantState.WANTED, f"{side.mail}: {side.trouble}"
    needed = (person,) if one.access in SENDING else (owner, person)
    absent = " and ".join(dict.fromkeys(side.mail for side in needed if not side.is_open))
    if absent and kept:
        return one.state, kept
    if absent:
        was = one.state in (GrantState.APPLIED, GrantState.WITHDRAWN)
        return (GrantState.WITHDRAWN if was else GrantState.WAITING), f"{absent} on Exchange"
    if failed:
        return GrantState.WANTED, failed
    other = one.access not in SENDING and owner.store != person.store
    return GrantState.APPLIED, f"{person.mail} is on another store, and cannot open it yet" if other else ""


def _read(people: People, ids: Sequence[str]) -> dict[str, Known]:
    found = {}
    for one in ids:
        try:
            found[one] = read_one(people, one)
        except UserError:  # gone; its side says so
            continue
    return found


def _users(db: Ledger, ids: Sequence[str]) -> dict[str, str]:
    """Whom the stores knew these people as when they were last moved."""
    found = ((one, ledger_waves.moves(db, source_id=one)) for one in ids)
    return {one: moves[-1].target_user for one, moves in found if moves}


def _places(db: Ledger, moves: Sequence[Move]) -> dict[Path, Path]:
    copied = [one.mailbox_id for one in moves if one.mailbox_id is not None]
    return grants_.places_of(db.folders(copied[-1])) if copied else {}


def _set_senders(people: People, audit: Audit, dn: str, wanted: Mapping[str, bool]) -> None:
    """Each uid is there, or not; others stay. Two who do this at once lose nothing of each other's. ConfigError: this
    directory has no place for it."""
    name = people.words.send_as
    if not name:
        raise ConfigError("Active Directory has no attribute for it (coexist.ad.send_as)", about=dn, advice=_BY_HAND)
    people.check_writable()
    entry = people.connection.read(dn, (name,))
    have = {one.lower() for one in entry.texts(name)} if entry is not None else set()
    for uid, there in wanted.items():
        if (uid.lower() in have) == there:
            continue
        audit.audit("sender intended", dn=dn, uid=uid, may=there)
        try:
            people.connection.modify(dn, [ldap.Change("add" if there else "delete", name, (uid.encode(),))])
        except Refused as error:
            if error.result not in (Result.VALUE_EXISTS, Result.NO_SUCH_ATTRIBUTE):
                raise
        audit.audit("sender set", dn=dn, uid=uid, may=there)
