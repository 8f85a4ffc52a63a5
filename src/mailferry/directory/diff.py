"""Wanted entries against present ones → changes, in an order in which no step clashes with another. Pure.

Only entries of ours (with mailferrySourceId) are changed or deleted, and in them only attributes that we manage and
that the target does not own. Invariants: applying the changes in order makes the target what is wanted, and doing all
of it again changes nothing; at no step do two entries have one DN or one unique address; a deletion is never guessed
from an empty source.

The order: (1) entries of the target that have an address which another gets give it up, (2) deletions, (3) renames,
those into a DN that is still taken after those that free it, cycles by way of a name of their own, (4) additions,
in the order of `wanted`, (5) modifications, groups last.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from mailferry.config.settings import Brake
from mailferry.directory import passwords
from mailferry.directory.entries import DN_ATTRIBUTES, MANAGED, OUR_CLASSES, SPELLING, Attributes, Entry
from mailferry.directory.mapping import dn_key
from mailferry.errors import SafetyStop
from mailferry.wire import dn as names

UNIQUE = ("mail", "mailLocalAddress", "mailAlternateAddress")
_SHOWN = 10


class _Made(Mapping[str, tuple[bytes, ...]]):
    """The attributes of a wanted entry, not held here."""

    __slots__ = ("_source_id", "_wanted")

    def __init__(self, wanted: Mapping[str, Entry], source_id: str) -> None:
        self._wanted, self._source_id = wanted, source_id

    def __getitem__(self, name: str) -> tuple[bytes, ...]:
        return self._wanted[self._source_id].attributes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._wanted[self._source_id].attributes)

    def __len__(self) -> int:
        return len(self._wanted[self._source_id].attributes)


class Operation(Enum):
    ADD = "add"
    MODIFY = "modify"
    RENAME = "rename"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one entry. `before`, `after`: of an addition or deletion all attributes, of a modification those
    that differ (empty: not there). `new_dn`: of a rename. `forget`: a password kept for the source's goes with it."""

    operation: Operation
    source_id: str
    dn: str
    before: Attributes
    after: Attributes
    new_dn: str | None = None
    forget: bool = False


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
    present: Iterable[tuple[str, Entry]],
    *,
    foreign: Collection[str] = (),
    owned: Collection[str] = (),
    keep: Collection[str] = (),
    partial: bool = False,
    dn_of: Callable[[str], str] | None = None,
) -> Diff:
    """The changes that make `present` (the entries of ours, with their source ids) what is `wanted`.

    `present` may be a stream, and `wanted` made on demand: those to be added are looked at only when they are written,
    and `dn_of` tells their DNs. `foreign`: folded DNs of entries that are not ours, complete once `present` is through.
    `owned`: attributes that the target side owns. `keep`: ids that are not wanted but stay as they are, because the
    source has them and something is wrong with them. `partial`: only some entries are looked at, so an empty `wanted`
    means nothing.
    SafetyStop if everything would be deleted.
    """
    fixed = frozenset(name.lower() for name in owned) | {"userpassword"}
    managed = tuple(name for name in MANAGED if name.lower() not in fixed)
    seen, deleted, modified = set(), [], []
    renamed: dict[str, tuple[str, str]] = {}
    for source_id, old in present:
        seen.add(source_id)
        if source_id in keep:
            continue
        if source_id not in wanted:
            deleted.append(Change(Operation.DELETE, source_id, old.dn, old.attributes, {}))
            continue
        new = wanted[source_id]
        if old.dn != new.dn and dn_key(old.dn) != dn_key(new.dn):
            renamed[source_id] = (old.dn, new.dn)
            old = _as_renamed(old, new.dn)
        change = _modification(source_id, old, new, managed)
        if change is not None:
            modified.append(change)
    if deleted and not wanted and not partial:
        raise SafetyStop(
            f"the source gives nobody, while the target holds {len(seen)} entries of ours; nothing is deleted",
            about="the source",
            advice="look at its base, filter and the rights of the bind account",
        )
    added = []
    blocked = [(source_id, new) for source_id, (_, new) in renamed.items() if dn_key(new) in foreign]
    for source_id in wanted:
        if source_id in seen or source_id in keep:
            continue
        dn = dn_of(source_id) if dn_of else wanted[source_id].dn
        if dn_key(dn) in foreign:
            blocked.append((source_id, dn))
        else:
            added.append(Change(Operation.ADD, source_id, dn, {}, _Made(wanted, source_id)))
    stay = {source_id for source_id, _ in blocked}
    modified = [change for change in modified if change.source_id not in stay]
    moved = {source_id: dns for source_id, dns in renamed.items() if source_id not in stay}
    released, modified = _release(modified, added, moved)
    modified.sort(key=_groups_last)
    changes = (*released, *deleted, *_ordered_renames(moved), *added, *modified)
    return Diff(changes, len(wanted), len(seen), tuple(blocked))


def brake(diff: Diff, limits: Brake, allowed: int | None = None, *, total: int = 0, before: int = 0) -> None:
    """SafetyStop if more entries would be changed or deleted than the limits allow. `allowed`: explicit override.

    Where `diff` is of some entries only, `total` says how many there are, and `before` how many of them were changed
    or deleted a short while ago."""
    present, disturbed = max(total, diff.present), diff.disturbed + before
    limit = max(limits.entries, int(present * limits.percent / 100)) if allowed is None else allowed
    if not diff.disturbed or disturbed <= limit:
        return
    parts = ", ".join(f"{diff.count(one)} {one.value}" for one in Operation)
    lately = f", and {before} were lately" if before else ""
    raise SafetyStop(
        f"{diff.disturbed} of {present} entries would be changed or deleted{lately} ({parts}); "
        f"the brake stops at {limit}",
        about="the target",
        advice=f"look at `mailferry directory diff`; if it is right: `directory sync --allow-changes {disturbed}`",
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
    forget = bool(passwords.forget(was, {**was, **after}))
    return Change(Operation.MODIFY, source_id, new.dn, before, after, forget=forget)


def _as_renamed(entry: Entry, dn: str) -> Entry:
    """The entry as a rename leaves it: the values of the old RDN gone, those of the new one there (RFC 4511 §4.9)."""
    attributes = dict(entry.attributes)
    for name, value in names.parse(entry.dn)[0]:
        spelled = SPELLING.get(name.lower(), name)
        key = value.casefold()
        kept = (one for one in attributes.get(spelled, ()) if one.decode("utf-8", "replace").casefold() != key)
        attributes[spelled] = tuple(kept)
    for name, value in names.parse(dn)[0]:
        spelled = SPELLING.get(name.lower(), name)
        attributes[spelled] = tuple(dict.fromkeys((*attributes.get(spelled, ()), value.encode())))
    return Entry(dn, attributes)


def same_values(name: str, have: tuple[bytes, ...], want: tuple[bytes, ...]) -> bool:
    """Whether an attribute holds the same, in whatever order; DNs are compared as names."""
    if name in DN_ATTRIBUTES:
        return {dn_key(one.decode("utf-8", "replace")) for one in have} == {dn_key(one.decode()) for one in want}
    return set(have) == set(want)


def _release(
    modified: list[Change], added: list[Change], renamed: Mapping[str, tuple[str, str]]
) -> tuple[list[Change], list[Change]]:
    """First steps that take contested addresses away from those who lose them, and the modifications after these."""
    holders: dict[bytes, str] = {}
    for change in modified:
        for name in UNIQUE:
            for value in set(change.before.get(name, ())) - set(change.after.get(name, ())):
                holders[value.lower()] = change.source_id
    contested: dict[str, set[bytes]] = {}
    if not holders:
        return [], modified
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
        old_dn = renamed.get(change.source_id, (change.dn, ""))[0]
        before, between = {}, {}
        for name in UNIQUE:
            have = change.before.get(name, ())
            left = tuple(value for value in have if value.lower() not in given_up)
            if left != have:
                before[name] = have
                between[name] = left or (_stand_in(change.source_id) if name == "mail" else ())
        first.append(Change(Operation.MODIFY, change.source_id, old_dn, before, between))
        rest.append(replace(change, before={**change.before, **between}))
    return first, rest


def _stand_in(source_id: str) -> tuple[bytes, ...]:
    """A primary address for the moment between two steps: qmailUser must have one. RFC 2606: nobody is invalid."""
    return (f"{source_id.replace(':', '-')}@moving.invalid".encode(),)


def _ordered_renames(renamed: Mapping[str, tuple[str, str]]) -> Iterator[Change]:
    """Renames (source id → old and new DN) such that each new DN is free when its turn comes."""
    taken = {dn_key(old): source_id for source_id, (old, _) in renamed.items()}
    waiting = dict(renamed)
    while waiting:
        ready = [one for one, (_, new) in waiting.items() if taken.get(dn_key(new), one) == one]
        if not ready:  # a cycle: one of them steps aside
            source_id, (old, new) = next(iter(waiting.items()))
            aside = _aside(old, source_id)
            yield Change(Operation.RENAME, source_id, old, {}, {}, aside)
            del taken[dn_key(old)]
            waiting[source_id] = (aside, new)
            continue
        for source_id in ready:
            old, new = waiting.pop(source_id)
            taken.pop(dn_key(old), None)
            yield Change(Operation.RENAME, source_id, old, {}, {}, new)


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
