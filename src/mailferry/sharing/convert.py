"""Permissions of Exchange → rights of RFC 4314 and of CalDAV, each with how well that goes. Pure.

Knows no directory: who somebody is, others find out. Invariants: nobody gets more than they had; an entry of which
anything is not understood gives nothing; each comes out once, with a sentence for whatever is lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mailferry.model.folder import SpecialUse
from mailferry.model.permission import SENDING, Access, Everybody, Permission
from mailferry.plan.wellknown import special_use_by_name
from mailferry.rules.names import Rating
from mailferry.sharing.names import BUSY, CREATE, FULL, READ, RIGHTS, ROLES

_DAV = frozenset((SpecialUse.CALENDAR, SpecialUse.CONTACTS, SpecialUse.TASKS))
_NOWHERE = frozenset((SpecialUse.NOTES, SpecialUse.JOURNAL, SpecialUse.OUTBOX))
_SELF = ("nt authority\\self", "self", "s-1-5-10")
_ORDER = "lrswipkxtea"


@dataclass(frozen=True, slots=True)
class Converted:
    """One entry. `rights`: letters, "" where IMAP gets nothing; `dav`: of `r` and `w`; `carried`: something is given;
    not so where there is nothing to give, or (`MANUAL`) it cannot be. `notes`: sentences."""

    permission: Permission
    rating: Rating
    rights: str = ""
    dav: str = ""
    carried: bool = False
    notes: tuple[str, ...] = ()


def convert_all(permissions: Iterable[Permission]) -> list[Converted]:
    """Each on its own, but that what is denied is given by no other entry of the same person."""
    entries = list(permissions)
    denied = {(one.mailbox.lower(), one.user, one.access): one for one in entries if one.denied}
    done = []
    for one in entries:
        made = convert(one)
        against = denied.get((one.mailbox.lower(), one.user, one.access))
        if made.carried and against is not None:
            made = _manual(one, f"{against.origin} denies it: decide which of the two counts")
        done.append(made)
    return done


def convert(one: Permission) -> Converted:
    """What an entry becomes."""
    if isinstance(one.user, str) and one.user.lower() in _SELF:
        return _nothing(one, "the owner's own")
    if one.inherited:
        return _nothing(one, "not given to this mailbox, but by the server to all (administrators, services)")
    if one.denied:
        return _nothing(one, "it only takes away what nothing here gives")
    if isinstance(one.user, str) and one.user.upper().startswith(("S-1-5-21-", "NT USER:S-1-")):
        return _manual(one, "an account that is gone from the directory: nothing to do unless somebody misses it")
    if one.access in SENDING:
        if one.access is Access.ON_BEHALF:
            return Converted(one, Rating.APPROXIMATE, carried=True, notes=("messages do not say on whose behalf",))
        return Converted(one, Rating.EXACT, carried=True)
    if one.access is Access.FULL:
        if not any(right.lower() == "fullaccess" for right in one.rights):
            return _manual(one, f"{_list(one.rights)}: a right of administrators; give it on the new servers by hand")
        return Converted(one, Rating.EXACT, FULL, "rw", True)
    return _folder(one)


def _folder(one: Permission) -> Converted:
    rights: set[str] = set()
    for word in one.rights:
        role = next((name for name in (*ROLES, *RIGHTS, *BUSY) if name.lower() == word.lower()), None)
        if role is None:
            return _manual(one, f"the right {word!r} is not known: export it as docs/sharing.md says")
        rights.update(ROLES.get(role, (role,)))
    if not rights:
        return _nothing(one, "no rights")
    use = special_use_by_name(tuple(one.folder.split("\\"))[:1])
    busy = sorted(BUSY[right] for right in rights & BUSY.keys())
    if isinstance(one.user, Everybody):
        return _everybody(one, rights, busy)
    if not one.folder or one.folder.lower() == "top of information store":
        return _nothing(one, "the root of the mailbox, which holds no messages, and which IMAP does not have")
    if use in _NOWHERE:
        return _manual(one, f"a folder of {use.name.lower()}, which nothing of the new servers shares")
    if use in _DAV:
        return _dav(one, rights, busy)
    if busy:
        return _manual(one, f"{busy[0]}: only calendars have that")
    return _messages(one, rights)


def _messages(one: Permission, rights: set[str]) -> Converted:
    letters = {letter for right in rights for letter in RIGHTS[right].letters}
    lost = [
        RIGHTS[right].loss
        for right in RIGHTS
        if right in rights and RIGHTS[right].loss and not (RIGHTS[right].unless and RIGHTS[right].unless <= rights)
    ]
    ordered = "".join(letter for letter in _ORDER if letter in letters)
    if not ordered:
        return _manual(one, "; ".join(lost) or "a right that only Exchange has")
    return Converted(one, Rating.APPROXIMATE if lost else Rating.EXACT, ordered, "", True, tuple(lost))


def _dav(one: Permission, rights: set[str], busy: list[str]) -> Converted:
    """Radicale's permissions: `r` sees all, `w` changes all; nothing between. Given by a human."""
    if READ not in rights:
        told = busy[0] if busy else "may add without reading"
        return _manual(one, f"{told}: the calendar server cannot give less than reading everything")
    lost = ["give it on the calendar server"]
    if not one.private:
        lost.append("private items would be seen, too")
    everything = {"EditAllItems", "DeleteAllItems", CREATE} <= rights
    if not everything and rights & {"EditAllItems", "DeleteAllItems", CREATE, "EditOwnedItems", "DeleteOwnedItems"}:
        lost.append("reads only, as whoever may change something may change everything")
    if one.delegate:
        lost.append("meeting requests go to the owner alone: a rule can send them on")
    return Converted(one, Rating.MANUAL, "", "rw" if everything else "r", False, tuple(lost))


def _everybody(one: Permission, rights: set[str], busy: list[str]) -> Converted:
    if busy and rights <= BUSY.keys():
        return _nothing(one, f"everybody {busy[0]}: Exchange's own default, which the calendar server does not have")
    if one.user is Everybody.ANONYMOUS:
        return _manual(one, "people outside may see it: publish it in another way, if that was meant")
    return _manual(one, "everybody of the organisation may open it: name a group or people instead")


def _nothing(one: Permission, why: str) -> Converted:
    return Converted(one, Rating.EXACT, notes=(why,))


def _manual(one: Permission, why: str) -> Converted:
    return Converted(one, Rating.MANUAL, notes=(why,))


def _list(words: Iterable[str]) -> str:
    return ", ".join(words) or "no right"
