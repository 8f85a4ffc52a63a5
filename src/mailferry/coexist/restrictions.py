"""Reads and changes who may send outside the organisation: mailferrySendOutside of a person or a group.

Postfix enforces it where people hand in mail (stack/postfix/tables.py). Of a group it holds for direct members; a group
within a group needs a mark of its own, and `restriction` names those that have none. Invariant: a change stands in the
ledger's audit before and after it is made.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailferry.coexist.routes import Audit, People, find
from mailferry.net import ldap
from mailferry.wire import dn as names

INTENDED, SET = "restriction intended", "restriction set"
_NAME = "mailferrySendOutside"


@dataclass(frozen=True, slots=True)
class Restriction:
    """Of one recipient. `outside`: whether it itself may send outside; `by_groups`: DNs of groups of which none may;
    `unmarked`: DNs of groups within this group whose members still may."""

    dn: str
    id: str
    outside: bool
    by_groups: tuple[str, ...] = ()
    unmarked: tuple[str, ...] = ()

    @property
    def effective(self) -> bool:
        """Whether a message of theirs to somebody outside is taken."""
        return self.outside and not self.by_groups


def restriction(people: People, address: str) -> Restriction:
    """What holds for whoever has this address. UserError: nobody."""
    found = find(people, address)
    entry = people.connection.read(found.dn, (_NAME,))
    forbids = f"(&(objectClass=mailferryGroup)({_NAME}=FALSE)(member={names.in_filter(found.dn)}))"
    groups = tuple(sorted(one.dn for one in people.connection.search(people.suffix, forbids, ("cn",))))
    outside = entry is None or entry.text(_NAME) != "FALSE"
    return Restriction(found.dn, found.id, outside, groups, () if outside else _unmarked(people, found.members))


def set_outside(people: People, ledger: Audit, address: str, allowed: bool, *, dry_run: bool = False) -> Restriction:
    """Allow or forbid; what then holds. May be repeated."""
    before = restriction(people, address)
    data = {"id": before.id, "dn": before.dn, "before": before.outside, "after": allowed}
    if before.outside != allowed and not dry_run:
        ledger.audit(INTENDED, **data)
        step = ldap.Change("replace", _NAME, () if allowed else (b"FALSE",))
        people.connection.modify(before.dn, [step])
        ledger.audit(SET, **data)
        return restriction(people, address)
    return before


def _unmarked(people: People, members: tuple[str, ...]) -> tuple[str, ...]:
    """The groups among these, and within them, that have no mark."""
    found: list[str] = []
    waiting, seen = list(members), set[str]()
    while waiting:
        dn = waiting.pop()
        entry = people.connection.read(dn, ("objectClass", "member", _NAME)) if dn not in seen else None
        seen.add(dn)
        if entry is None or "mailferryGroup" not in entry.texts("objectClass"):
            continue
        waiting += entry.texts("member")
        if entry.text(_NAME) != "FALSE":
            found.append(dn)
    return tuple(sorted(found))
