"""Says in what one mailbox is not a copy of another, message by message. Pure; reads nothing, knows no product.

Invariant: every message of the source is matched with at most one of the copy, and comes out as kept, changed or lost;
every message of the copy that is left over is extra.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from lab.snapshot import FolderView, Item, Path, Snapshot


class Aspect(Enum):
    """What can differ. The value is what the page calls it."""

    FOLDER = "folder"
    LOST = "lost"
    EXTRA = "too many"
    BYTES = "bytes"
    FLAGS = "flags"
    KEYWORDS = "keywords"
    DATE = "internal date"
    ZONE = "zone of the internal date"
    ORDER = "order"
    UID = "uid"
    UIDVALIDITY = "uidvalidity"
    SUBSCRIPTION = "subscription"
    SPECIAL_USE = "special use"
    ACL = "access rights"
    METADATA = "annotations"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same. `path`: the source's folder. `uid`: the source's, None for the folder itself or
    an extra message."""

    aspect: Aspect
    path: Path
    uid: int | None
    text: str


@dataclass(slots=True)
class Likeness:
    """The outcome. `listed`: the source's messages, `came`: those that the copy holds; `exact`: equal to the byte as
    fetched from both servers, `equal`: equal with line ends aside."""

    folders: int = 0
    empty: int = 0
    listed: int = 0
    came: int = 0
    exact: int = 0
    equal: int = 0
    subscribed: int = 0
    keywords: int = 0
    uses: int = 0
    rights: int = 0
    entries: int = 0
    uids: int = 0
    uidvalidities: int = 0
    differences: list[Difference] = field(default_factory=list)

    def number(self, aspect: Aspect) -> int:
        return sum(1 for one in self.differences if one.aspect is aspect)


def compare(
    source: Snapshot,
    copy: Snapshot,
    places: Mapping[Path, Path],
    uses: Mapping[Path, frozenset[str]],
    *,
    same_uids: bool,
) -> Likeness:
    """Compare every folder of `places` (source to copy). `uses`: the special uses that each source folder has.

    `same_uids`: uids and uidvalidity are to be the same. Folders of the copy that stand in no place must be empty.
    """
    found = Likeness()
    for path, place in sorted(places.items()):
        ours, theirs = source.folders[path], copy.folders.get(place)
        found.folders += 1
        found.empty += not ours.items
        found.listed += len(ours.items)
        if theirs is None:
            _note(found, Aspect.FOLDER, path, None, f"there is no folder {'/'.join(place)}")
            for item in ours.items:
                _note(found, Aspect.LOST, path, item.uid, "its folder is not there")
            continue
        _folder(found, ours, theirs, uses.get(path, frozenset()))
        _messages(found, ours, theirs, same_uids)
    for place, view in sorted(copy.folders.items()):
        if place not in places.values() and view.items:
            _note(found, Aspect.EXTRA, place, None, f"{len(view.items)} messages in a folder that the source has not")
    return found


def _note(found: Likeness, aspect: Aspect, path: Path, uid: int | None, text: str) -> None:
    found.differences.append(Difference(aspect, path, uid, text))


def _folder(found: Likeness, ours: FolderView, theirs: FolderView, uses: frozenset[str]) -> None:
    if ours.subscribed != theirs.subscribed:
        words = "is not subscribed" if ours.subscribed else "is subscribed, and was not"
        _note(found, Aspect.SUBSCRIPTION, ours.path, None, words)
    found.subscribed += ours.subscribed and theirs.subscribed
    if uses and not uses <= theirs.uses:
        _note(found, Aspect.SPECIAL_USE, ours.path, None, f"lacks {' '.join(sorted(uses - theirs.uses))}")
    found.uses += bool(uses) and uses <= theirs.uses
    for who, rights in sorted((ours.rights or {}).items()):
        there = (theirs.rights or {}).get(who, "")
        if not set(rights) <= set(there):
            lacking = "".join(sorted(set(rights) - set(there)))
            _note(found, Aspect.ACL, ours.path, None, f"{who} lacks {lacking} of {rights}")
        else:
            found.rights += 1
    for who in sorted((theirs.rights or {}).keys() - (ours.rights or {}).keys()):
        _note(found, Aspect.ACL, ours.path, None, f"{who} has rights, and had none")
    for entry, value in sorted((ours.entries or {}).items()):
        if (theirs.entries or {}).get(entry) != value:
            _note(found, Aspect.METADATA, ours.path, None, f"{entry} is not there")
        else:
            found.entries += 1


def _messages(found: Likeness, ours: FolderView, theirs: FolderView, same_uids: bool) -> None:
    pairs, lost, extra = match(ours.items, theirs.items)
    for item in lost:
        _note(found, Aspect.LOST, ours.path, item.uid, "it is not in the copy")
    for item in extra:
        _note(found, Aspect.EXTRA, ours.path, None, f"message {item.uid} of the copy is none of the source's")
    for mine, yours in pairs:
        found.came += 1
        found.exact += mine.exact == yours.exact
        found.equal += mine.digest == yours.digest
        _message(found, ours.path, mine, yours)
        if same_uids:
            found.uids += mine.uid == yours.uid
            if mine.uid != yours.uid:
                _note(found, Aspect.UID, ours.path, mine.uid, f"has uid {yours.uid}")
    found.uidvalidities += same_uids and ours.uidvalidity == theirs.uidvalidity
    if same_uids and ours.uidvalidity != theirs.uidvalidity:
        _note(found, Aspect.UIDVALIDITY, ours.path, None, f"is {theirs.uidvalidity} instead of {ours.uidvalidity}")
    order = [yours.uid for _, yours in pairs]
    for (mine, yours), before in zip(pairs[1:], order, strict=False):
        if yours.uid < before:
            _note(found, Aspect.ORDER, ours.path, mine.uid, "stands before what it came after")


def _message(found: Likeness, path: Path, mine: Item, yours: Item) -> None:
    def check(aspect: Aspect, same: bool, text: str) -> None:
        if not same:
            _note(found, aspect, path, mine.uid, text)

    found.keywords += len(mine.keywords & yours.keywords)
    check(Aspect.BYTES, mine.digest == yours.digest, f"{mine.size} bytes were sent, {yours.size} are there")
    check(Aspect.FLAGS, mine.flags == yours.flags, _sets(mine.flags, yours.flags))
    check(Aspect.KEYWORDS, mine.keywords == yours.keywords, _sets(mine.keywords, yours.keywords))
    check(Aspect.DATE, mine.instant == yours.instant, f"{yours.instant - mine.instant:+} s")
    check(Aspect.ZONE, mine.zone == yours.zone, f"{_zone(mine.zone)} became {_zone(yours.zone)}")


def _sets(mine: frozenset[str], yours: frozenset[str]) -> str:
    parts = [f"lacks {' '.join(sorted(mine - yours))}"] * bool(mine - yours)
    parts += [f"has {' '.join(sorted(yours - mine))} more"] * bool(yours - mine)
    return ", ".join(parts)


def _zone(minutes: int) -> str:
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"


_KEYS: Sequence[Callable[[Item], Hashable]] = (
    lambda item: (item.digest, item.flags, item.keywords, item.instant),
    lambda item: (item.digest, item.flags, item.instant),
    lambda item: (item.digest, item.instant),
    lambda item: item.digest,
    lambda item: (item.rough, item.flags, item.keywords, item.instant),
    lambda item: (item.rough, item.flags, item.instant),
    lambda item: (item.rough, item.instant),
    lambda item: item.rough,
)


def match(ours: Sequence[Item], theirs: Sequence[Item]) -> tuple[list[tuple[Item, Item]], list[Item], list[Item]]:
    """Pairs in the order of `ours`; what is lost; what is extra. By bytes and marks first, then ever more roughly."""
    pairs: list[tuple[Item, Item]] = []
    left, right = list(ours), list(theirs)
    for key in _KEYS:
        waiting: defaultdict[Hashable, list[Item]] = defaultdict(list)
        for item in reversed(right):
            waiting[key(item)].append(item)
        unmatched = []
        for item in left:
            places = waiting[key(item)]
            if places:
                pairs.append((item, places.pop()))
            else:
                unmatched.append(item)
        taken = Counter(pair[1].uid for pair in pairs)
        left, right = unmatched, [item for item in right if not taken[item.uid]]
    return sorted(pairs, key=lambda pair: pair[0].uid), left, right
