"""Wanted entries against present ones → changes, in an order in which no step clashes with another. Pure.

Only entries of ours (with mailferrySourceId) are changed or deleted, and in them only attributes that we manage and
that the target does not own. Invariants: applying the changes in order makes the target what is wanted, and doing all
of it again changes nothing; at no step do two entries have one DN or one unique address; a deletion is never guessed
from an empty source.

The order: (1) entries of the target that have an address which another gets give it up, (2) deletions, (3) renames,
those into a DN that is still taken after those that free it, cycles by way of a name of their own, (4) additions,
(5) modifications, groups last.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from mailferry.config.settings import Brake
from mailferry.directory.entries import DN_ATTRIBUTES, MANAGED, OUR_CLASSES, Attributes, Entry
from mailferry.directory.mapping import dn_key
from mailferry.errors import SafetyStop
from mailferry.wire import dn as names

UNIQUE = ("mail", "mailLocalAddress", "mailAlternateAddress")
_SHOWN = 10


class Operation(Enum):
    ADD = "add"
    MODIFY = "modify"
    RENAME = "rename"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one entry. `before`, `after`: of an addition or deletion all attributes, of a modification those
    that differ (empty: not there). `new_dn`: of a rename."""

    operation: Operation
    source_id: str
    dn: str
    before: Attributes
    after: Attributes
    new_dn: str | None = None


@dataclass(frozen=True, slots=True)
class Diff:
    """The changes in order. `wanted`, `present`: how many entries were compared. `foreign`: DNs that are wanted, but
    are somebody else's in the target; they stay as they are."""

    changes: tuple[Change, ...]
    wanted: int
    present: int
    foreign: tuple[tuple[str, str], ...] = ()

    def count(self, operation: Operation) -> int:
        """Entries so changed: a modification in two steps counts once."""
        return len({one.source_id for one in self.changes if one.operation == operation})

    @property
    def disturbed(self) -> int:
        """How many entries that were there are changed or deleted."""
        return len({one.source_id for one in self.changes if one.operation != Operation.ADD})


def compare(
    wanted: Mapping[str, Entry],
    present: Mapping[str, Entry],
    *,
    foreign: Collection[str] = (),
    owned: Collection[str] = (),
    keep: Collection[str] = (),
    partial: bool = False,
) -> Diff:
    """The changes that make `present` (the entries of ours, by source id) what is `wanted`.

    `foreign`: folded DNs of entries that are not ours. `owned`: attributes that the target side owns. `keep`: ids that
    are not wanted but stay as they are, because the source has them and something is wrong with them. `partial`: only
    some entries were looked at, so an empty `wanted` means nothing.
    SafetyStop if everything would be deleted.
    """
    if present and not wanted and not partial and set(present) - set(keep):
        raise SafetyStop(
            f"the source gives nobody, while the target holds {len(present)} entries of ours; nothing is deleted",
            about="the source",
            advice="look at its base, filter and the rights of the bind account",
        )
    fixed = frozenset(name.lower() for name in owned) | {"userpassword"}
    managed = tuple(name for name in MANAGED if name.lower() not in fixed)
    coming, blocked = {}, []
    for source_id, entry in wanted.items():
        if dn_key(entry.dn) in foreign:
            blocked.append((source_id, entry.dn))
        else:
            coming[source_id] = entry
    kept = set(keep) | {source_id for source_id, _ in blocked}
    deleted = [
        Change(Operation.DELETE, source_id, entry.dn, entry.attributes, {})
        for source_id, entry in present.items()
        if source_id not in coming and source_id not in kept
    ]
    added = [
        Change(Operation.ADD, source_id, entry.dn, {}, entry.attributes)
        for source_id, entry in coming.items()
        if source_id not in present
    ]
    renamed, modified = {}, []
    for source_id, entry in coming.items():
        old = present.get(source_id)
        if old is None:
            continue
        if old.dn != entry.dn and dn_key(old.dn) != dn_key(entry.dn):
            renamed[source_id] = (old, entry)
        change = _modification(source_id, old, entry, managed)
        if change is not None:
            modified.append(change)
    released, modified = _release(modified, added, present)
    added.sort(key=_groups_last)
    modified.sort(key=_groups_last)
    moves = _ordered_renames(renamed)
    changes = (*released, *deleted, *moves, *added, *modified)
    return Diff(changes, len(wanted), len(present), tuple(blocked))


def brake(diff: Diff, limits: Brake, allowed: int | None = None) -> None:
    """SafetyStop if more entries would be changed or deleted than the limits allow. `allowed`: explicit override."""
    limit = max(limits.entries, int(diff.present * limits.percent / 100)) if allowed is None else allowed
    if diff.disturbed <= limit:
        return
    parts = ", ".join(f"{diff.count(one)} {one.value}" for one in Operation)
    raise SafetyStop(
        f"{diff.disturbed} of {diff.present} entries would be changed or deleted ({parts}); the brake stops at {limit}",
        about="the target",
        advice=f"look at `mailferry directory diff`; if it is right, run with --allow-changes {diff.disturbed}",
    )


def _groups_last(change: Change) -> bool:
    return "member" in change.after or "member" in change.before


def _modification(source_id: str, old: Entry, new: Entry, managed: Iterable[str]) -> Change | None:
    before: dict[str, tuple[bytes, ...]] = {}
    after: dict[str, tuple[bytes, ...]] = {}
    was, now = old.attributes, new.attributes
    for name in managed:
        have, want = was.get(name, ()), now.get(name, ())
        if have == want or (len(have) == len(want) and same_values(name, have, want)):
            continue
        if name == "objectClass":
            want = (*want, *(one for one in have if one.decode() not in OUR_CLASSES and one not in want))
            if same_values(name, have, want):
                continue
        before[name], after[name] = have, want
    if not before:
        return None
    return Change(Operation.MODIFY, source_id, new.dn, before, after)


def same_values(name: str, have: tuple[bytes, ...], want: tuple[bytes, ...]) -> bool:
    """Whether an attribute holds the same, in whatever order; DNs are compared as names."""
    if name in DN_ATTRIBUTES:
        return {dn_key(one.decode("utf-8", "replace")) for one in have} == {dn_key(one.decode()) for one in want}
    return set(have) == set(want)


def _release(
    modified: list[Change], added: list[Change], present: Mapping[str, Entry]
) -> tuple[list[Change], list[Change]]:
    """First steps that take contested addresses away from those who lose them, and the modifications after these."""
    holders: dict[bytes, str] = {}
    for change in modified:
        for name in UNIQUE:
            for value in set(change.before.get(name, ())) - set(change.after.get(name, ())):
                holders[value.lower()] = change.source_id
    contested: dict[str, set[bytes]] = {}
    for change in (*modified, *added):
        for name in UNIQUE:
            for value in change.after.get(name, ()):
                holder = holders.get(value.lower(), change.source_id)
                if holder != change.source_id:
                    contested.setdefault(holder, set()).add(value.lower())
    first, rest = [], []
    for change in modified:
        given_up = contested.get(change.source_id)
        if not given_up:
            rest.append(change)
            continue
        old_dn = present[change.source_id].dn
        before, between = {}, {}
        for name in UNIQUE:
            have = change.before.get(name, ())
            left = tuple(value for value in have if value.lower() not in given_up)
            if left != have:
                before[name] = have
                between[name] = left or (_stand_in(change.source_id) if name == "mail" else ())
        first.append(Change(Operation.MODIFY, change.source_id, old_dn, before, between))
        rest.append(Change(Operation.MODIFY, change.source_id, change.dn, {**change.before, **between}, change.after))
    return first, rest


def _stand_in(source_id: str) -> tuple[bytes, ...]:
    """A primary address for the moment between two steps: qmailUser must have one. RFC 2606: nobody is invalid."""
    return (f"{source_id.replace(':', '-')}@moving.invalid".encode(),)


def _ordered_renames(renamed: Mapping[str, tuple[Entry, Entry]]) -> Iterator[Change]:
    """Renames such that each new DN is free when its turn comes."""
    taken = {dn_key(old.dn): source_id for source_id, (old, _) in renamed.items()}
    waiting = dict(renamed)
    while waiting:
        ready = [
            source_id for source_id, (_, new) in waiting.items() if taken.get(dn_key(new.dn), source_id) == source_id
        ]
        if not ready:  # a cycle: one of them steps aside
            source_id, (old, new) = next(iter(waiting.items()))
            aside = _aside(old.dn, source_id)
            yield Change(Operation.RENAME, source_id, old.dn, {}, {}, aside)
            del taken[dn_key(old.dn)]
            waiting[source_id] = (Entry(aside, old.attributes), new)
            continue
        for source_id in ready:
            old, new = waiting.pop(source_id)
            taken.pop(dn_key(old.dn), None)
            yield Change(Operation.RENAME, source_id, old.dn, {}, {}, new.dn)


def _aside(dn: str, source_id: str) -> str:
    """A DN beside this one that nobody has."""
    parsed = names.parse(dn)
    kind = parsed[0][0][0]
    return names.join((((kind, f"moving {source_id}"),), *parsed[1:]))


def shown(diff: Diff) -> Iterator[str]:
    """The changes as lines for people."""
    for change in diff.changes:
        if change.operation == Operation.RENAME:
            yield f"rename {change.dn} → {change.new_dn}"
            continue
        yield f"{change.operation.value} {change.dn}"
        for name in dict.fromkeys((*change.before, *change.after)):
            have, want = change.before.get(name, ()), change.after.get(name, ())
            yield from (f"  - {name}: {text_of(value)}" for value in _some([one for one in have if one not in want]))
            yield from (f"  + {name}: {text_of(value)}" for value in _some([one for one in want if one not in have]))


def _some(values: list[bytes]) -> list[bytes]:
    more = len(values) - _SHOWN
    return values if more <= 0 else [*values[:_SHOWN], f"… and {more} more".encode()]


def text_of(value: bytes) -> str:
    """A value on one line: as text, or its size where it is none."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return f"({len(value)} bytes)"
    shown = "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text)
    return shown if len(shown) <= 200 else f"{shown[:200]}… ({len(value)} bytes)"
