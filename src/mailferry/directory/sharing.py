"""Who works in whose mailbox: ties between mailboxes, and clusters of those that should move together. Pure.

Two kinds of ties. A *strong* one breaks when both ends are on different sides: full access, sending on behalf. Strong
ties make clusters. A *loose* one (manager, owners of one group) works across both sides by mail; it only decides who
comes next to whom. Rights given to a group are its members'; a group larger than WIDE ties nobody, and is listed.
Invariant: every mailbox is in exactly one cluster; near-linear in mailboxes and ties.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from mailferry.model.recipient import Recipient, RecipientKind

MOVERS = frozenset((RecipientKind.MAILBOX, RecipientKind.SHARED, RecipientKind.ROOM, RecipientKind.EQUIPMENT))
"""What has a mailbox here, which moves."""
GROUPS = frozenset((RecipientKind.GROUP, RecipientKind.DYNAMIC_GROUP))
WIDE = 100
_HUBS = 3


class Tie(Enum):
    """Why two mailboxes belong together."""

    FULL_ACCESS = "full access"
    ON_BEHALF = "send on behalf"
    MANAGER = "manager"
    OWNERS = "owners of one group"


STRONG = frozenset((Tie.FULL_ACCESS, Tie.ON_BEHALF))


class Edge(NamedTuple):
    """`one` and `other` are ids; of a strong tie, `other` may work in the mailbox of `one`."""

    one: str
    other: str
    tie: Tie


@dataclass(frozen=True, slots=True)
class Cluster:
    """Mailboxes that should move together. `members`: ids, those with most ties first. `edges`: the strong ties among
    them. `hubs`: (id, mailboxes tied to it, size of the largest part that is left without it), for the first members of
    a cluster of more than two."""

    number: int
    members: tuple[str, ...]
    edges: tuple[Edge, ...] = ()
    hubs: tuple[tuple[str, int, int], ...] = ()


@dataclass(slots=True)
class Sharing:
    """All ties. `wide`: (whose mailbox, the group with rights in it, how many members it has)."""

    strong: list[Edge] = field(default_factory=list)
    loose: list[Edge] = field(default_factory=list)
    wide: list[tuple[str, str, int]] = field(default_factory=list)


def ties(recipients: Mapping[str, Recipient]) -> Sharing:
    """The ties between mailboxes. References to who has no mailbox here tie nobody."""
    found = Sharing()
    movers = {who for who, one in recipients.items() if one.kind in MOVERS}
    for who, one in recipients.items():
        if who in movers:
            for tie, references in ((Tie.FULL_ACCESS, one.full_access), (Tie.ON_BEHALF, one.send_on_behalf)):
                for other in _people(who, references, recipients, found.wide):
                    if other in movers and other != who:
                        found.strong.append(Edge(who, other, tie))
            if one.manager in movers and one.manager != who:
                found.loose.append(Edge(who, one.manager, Tie.MANAGER))
        elif one.kind in GROUPS:
            owners = [owner for owner in one.owners if owner in movers]
            found.loose += [Edge(first, second, Tie.OWNERS) for first, second in itertools.pairwise(owners)]
    return found


def _people(
    who: str, references: Iterable[str], recipients: Mapping[str, Recipient], wide: list[tuple[str, str, int]]
) -> Iterator[str]:
    for reference in references:
        one = recipients.get(reference)
        if one is None or one.kind not in GROUPS:
            yield reference
            continue
        members = expanded(reference, recipients, WIDE + 1)
        if len(members) > WIDE:
            wide.append((who, reference, len(expanded(reference, recipients))))
        else:
            yield from members


def expanded(group: str, recipients: Mapping[str, Recipient], enough: int | None = None) -> set[str]:
    """Who a group reaches in the end: ids and `smtp:` addresses, groups within it opened, loops cut. `enough`: stop
    when so many are found."""
    found: set[str] = set()
    seen = {group}
    waiting = [group]
    while waiting and (enough is None or len(found) < enough):
        for member in recipients[waiting.pop()].members:
            inner = recipients.get(member)
            if inner is None or inner.kind not in GROUPS:
                found.add(member)
            elif member not in seen:
                seen.add(member)
                waiting.append(member)
    return found


def clusters(movers: Iterable[str], strong: Sequence[Edge]) -> list[Cluster]:
    """The connected parts, the largest first, single mailboxes (one-member clusters) last; numbers from 1 on."""
    parent = {who: who for who in movers}
    for edge in strong:
        one, other = _root(parent, edge.one), _root(parent, edge.other)
        if one != other:
            parent[other] = one
    parts: dict[str, list[str]] = {}
    for who in parent:
        parts.setdefault(_root(parent, who), []).append(who)
    inside: dict[str, list[Edge]] = {}
    for edge in strong:
        inside.setdefault(_root(parent, edge.one), []).append(edge)
    ordered = sorted(parts.items(), key=lambda part: (-len(part[1]), min(part[1])))
    return [_cluster(number, part, inside.get(root, [])) for number, (root, part) in enumerate(ordered, 1)]


def _cluster(number: int, members: list[str], edges: list[Edge]) -> Cluster:
    if len(members) == 1:
        return Cluster(number, tuple(members))
    pairs = {frozenset((edge.one, edge.other)) for edge in edges}
    degrees = Counter(who for pair in pairs for who in pair)
    ranked = sorted(members, key=lambda who: (-degrees[who], who))
    hubs = []
    if len(members) > 2:
        for who in ranked[:_HUBS]:
            rest = [edge for edge in edges if who not in (edge.one, edge.other)]
            hubs.append((who, degrees[who], _largest([one for one in members if one != who], rest)))
    return Cluster(number, tuple(ranked), tuple(edges), tuple(hubs))


def _largest(members: Iterable[str], edges: Iterable[Edge]) -> int:
    parent = {who: who for who in members}
    for edge in edges:
        parent[_root(parent, edge.other)] = _root(parent, edge.one)
    return max(Counter(_root(parent, who) for who in parent).values())


def _root(parent: dict[str, str], who: str) -> str:
    """Whose set it is in; the way there gets shorter each time."""
    while parent[who] != who:
        parent[who] = parent[parent[who]]
        who = parent[who]
    return who
