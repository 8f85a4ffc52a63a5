"""Who may send outside (mailferrySendOutside of a person or a group), and the gates before recipients that say who may
send to them (mailferryGate).

Postfix enforces both where people hand in mail (stack/postfix/tables.py). Of a group the mark holds for direct
members; a group within a group needs a mark of its own, and `restriction` names those that have none. Invariants: a
change stands in the ledger's audit before and after it is made; no two recipients have one gate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mailferry.coexist.people import People, find, read, search
from mailferry.coexist.routes import Audit
from mailferry.errors import UserError
from mailferry.net import ldap
from mailferry.wire import dn as names

_IN_CHAIN = "memberOf:1.2.840.113556.1.4.1941:"
INTENDED, SET = "restriction intended", "restriction set"
GATES_INTENDED, GATES_SET = "gates intended", "gates set"


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
    name = people.words.outside
    entry = read(people, found.dn, (name,))
    forbids = f"(&{people.words.group}({name}=FALSE)(member={names.in_filter(found.dn)}))"
    groups = tuple(sorted(one.dn for one in search(people, forbids, ("cn",))))
    outside = entry is None or entry.text(name) != "FALSE"
    return Restriction(found.dn, found.id, outside, groups, () if outside else _unmarked(people, found.members))


def set_outside(people: People, ledger: Audit, address: str, allowed: bool, *, dry_run: bool = False) -> Restriction:
    """Allow or forbid; what then holds. May be repeated."""
    before = restriction(people, address)
    data = {"id": before.id, "dn": before.dn, "before": before.outside, "after": allowed}
    if before.outside != allowed and not dry_run:
        people.check_writable()
        ledger.audit(INTENDED, **data)
        step = ldap.Change("replace", people.words.outside, () if allowed else (b"FALSE",))
        people.connection.modify(before.dn, [step])
        ledger.audit(SET, **data)
        return restriction(people, address)
    return before


@dataclass(frozen=True, slots=True)
class Gates:
    """What `gates` did: DNs and the numbers given to them; who has no gate any more; for whom there is none left;
    whose lists of accounts were written anew (in Active Directory alone, where no sync writes them)."""

    given: dict[str, int]
    taken: tuple[str, ...]
    without: tuple[str, ...]
    listed: tuple[str, ...] = ()


def gates(people: People, ledger: Audit, count: int, *, dry_run: bool = False) -> Gates:
    """Give each recipient that names people who may or may not send to it a gate of its own, of those from 1 to
    `count`; take it from those that name nobody any more. May be repeated; gates that fit stay."""
    name = people.words.gate
    if not name:
        raise UserError("no attribute is named for gates", about="coexist.ad.gate", advice="see docs/route-store.md")
    wanted = {one.dn for one in search(people, people.words.names_people, ("cn",))}
    held = {one.dn: int(one.text(name) or 0) for one in search(people, f"({name}=*)", (name,))}
    kept: dict[int, str] = {}
    for dn in sorted(held, key=lambda one: (held[one], one)):
        if dn in wanted and 0 < held[dn] <= count:
            kept.setdefault(held[dn], dn)
    taken = tuple(dn for dn in sorted(held) if kept.get(held[dn]) != dn)
    lacking = sorted(wanted - set(kept.values()))
    free = [number for number in range(1, count + 1) if number not in kept]
    given = dict(zip(lacking, free, strict=False))
    lists = dict(_lists(people)) if people.words.ad else {}
    found = Gates(given, taken, tuple(lacking[len(free) :]), tuple(lists))
    if dry_run or not (given or taken or lists):
        return found
    people.check_writable()
    data = {"given": given, "taken": list(taken), "listed": list(lists)}
    ledger.audit(GATES_INTENDED, **data)
    for dn, steps in lists.items():  # before somebody looks at them
        people.connection.modify(dn, steps)
    for dn in taken:  # before they are given to others
        people.connection.modify(dn, [ldap.Change("replace", name)])
    for dn, number in given.items():
        people.connection.modify(dn, [ldap.Change("replace", name, (str(number).encode(),))])
    ledger.audit(GATES_SET, **data)
    return found


def _lists(people: People) -> Iterator[tuple[str, list[ldap.Change]]]:
    """For each recipient that names people: how its lists of accounts have to change, if they do. Groups are resolved
    by Active Directory (LDAP_MATCHING_RULE_IN_CHAIN, MS-ADTS 3.1.1.3.4.4.3)."""
    sides = {
        people.words.accept: ("authOrig", "dLMemSubmitPerms"),
        people.words.reject: ("unauthOrig", "dLMemRejectPerms"),
    }
    asked = (*sides, *(name for names_ in sides.values() for name in names_))
    for entry in search(people, people.words.names_people, asked):
        steps = []
        for name, (persons, groups) in sides.items():
            accounts = {
                account for dn in entry.texts(persons) for account in _accounts(people, "distinguishedName", dn)
            }
            accounts |= {account for dn in entry.texts(groups) for account in _accounts(people, _IN_CHAIN, dn)}
            if accounts != set(entry.texts(name)):
                steps.append(ldap.Change("replace", name, tuple(one.encode() for one in sorted(accounts))))
        if steps:
            yield entry.dn, steps


def _accounts(people: People, name: str, dn: str) -> Iterator[str]:
    for one in search(
        people, f"(&({name}={names.in_filter(dn)})({people.words.uid}=*)(!{people.words.group}))", (people.words.uid,)
    ):
        yield (one.text(people.words.uid) or "").lower()


def _unmarked(people: People, members: tuple[str, ...]) -> tuple[str, ...]:
    """The groups among these, and within them, that have no mark."""
    found: list[str] = []
    name = people.words.outside
    waiting, seen = list(members), set[str]()
    while waiting:
        dn = waiting.pop()
        entry = read(people, dn, ("objectClass", "member", name)) if dn not in seen else None
        seen.add(dn)
        if entry is None or not {"mailferryGroup", "group"} & set(entry.texts("objectClass")):
            continue
        waiting += entry.texts("member")
        if entry.text(name) != "FALSE":
            found.append(dn)
    return tuple(sorted(found))
