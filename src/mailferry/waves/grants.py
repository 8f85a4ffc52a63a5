"""Makes the rights in one mailbox of the open side what its grants say: folder by folder, over its own session.

Knows no directory and no move: who is on the open side, the caller says. Invariants: only letters that Mailferry has
added are ever taken away, and they stand in the ledger before they are set; what is as it should be is not touched; one
folder or identifier that the target refuses costs only itself, and its grants tell why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mailferry.errors import ItemError
from mailferry.ledger import permissions
from mailferry.ledger.permissions import Given
from mailferry.ledger.rows import FolderRow
from mailferry.ledger.writer import LedgerThread
from mailferry.model.folder import INBOX, Folder, Path, SpecialUse
from mailferry.model.permission import Access, Grant
from mailferry.plan.folders import PREFERRED
from mailferry.plan.names import INBOX_NAMES
from mailferry.plan.wellknown import folded, special_use_by_name
from mailferry.targets.base import TargetSession

_OBSOLETE, _NEW = frozenset("cd"), frozenset("kxte")
"""RFC 4314 §2.1.1: a server tells the old letters beside the new ones that they stand for; setting them gives those."""
_INBOX = frozenset(map(folded, INBOX_NAMES))
_READS = frozenset("lr")
Key = tuple[Path, str]
"""A folder of the target, and an identifier."""


@dataclass(slots=True)
class Wish:
    """What is to be in force in one mailbox. `letters`: folder and identifier → letters; `people`: identifier → whose
    it is; `of`: which grants want it; `missing`: grants whose folder is not in the target."""

    letters: dict[Key, str] = field(default_factory=dict)
    people: dict[str, str] = field(default_factory=dict)
    of: dict[Key, list[Grant]] = field(default_factory=dict)
    missing: list[Grant] = field(default_factory=list)


def wish(
    grants: Iterable[Grant],
    folders: Sequence[Folder],
    identifier: Callable[[Grant], str],
    places: Mapping[Path, Path],
) -> Wish:
    """What these grants want of these folders. `places`: where the copy has put a folder, by `key_of` its path in
    Exchange."""
    made = Wish()
    everywhere = [folder.path for folder in folders if folder.selectable]
    by_key: dict[Path, list[Path]] = {}
    for path in everywhere:
        by_key.setdefault(key_of(path), []).append(path)
    for one in grants:
        who = identifier(one)
        made.people[who] = one.person
        paths = everywhere
        if one.access is not Access.FULL:
            place = _place(tuple(one.folder.split("\\")), places)
            alike = by_key.get(key_of(place), [])
            paths = [place] if place in alike else alike if len(alike) == 1 else []
            if not paths:
                made.missing.append(one)
        for path in paths:
            made.letters[path, who] = _joined(made.letters.get((path, who), ""), one.rights)
            made.of.setdefault((path, who), []).append(one)
    return made


def places_of(rows: Iterable[FolderRow]) -> dict[Path, Path]:
    """Where the copy has put each folder."""
    return {key_of(row.source_path): row.target_path for row in rows if row.target_path is not None}


def key_of(path: Path) -> Path:
    """A path as it is compared: without case."""
    first = INBOX if special_use_by_name(path[:1]) is SpecialUse.INBOX else path[:1]
    return tuple(folded(level) for level in (*first, *path[1:]))


def _place(path: Path, places: Mapping[Path, Path]) -> Path:
    """The target's path of a folder of Exchange: as the copy mapped it, else by the names that it prefers."""
    known = places.get(key_of(path))
    if known is None and folded(path[0]) in _INBOX:
        path = (*INBOX, *path[1:])
        known = places.get(key_of(path))
    if known is not None:
        return known
    use = special_use_by_name(path[:1])
    return (PREFERRED[use], *path[1:]) if use is not None and use in PREFERRED else path


@dataclass(slots=True)
class Put:
    """What came of it. `failed`: grant id → why it could not be set; `kept`: person → why something could not be taken
    back; `seen`: person → folders that they can read now and could not before (True), or the other way round."""

    failed: dict[int, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    seen: dict[str, list[tuple[Folder, bool]]] = field(default_factory=dict)


async def put(
    ledger: LedgerThread,
    session: TargetSession,
    owner: str,
    want: Wish,
    folders: Sequence[Folder],
    given: Sequence[Given],
) -> Put:
    """Set what is missing, and take back what is ours (`given`) and not wanted any more."""
    ours = {(one.folder, one.identifier): one for one in given}
    by_path = {folder.path: folder for folder in folders if folder.selectable}
    there: dict[Path, list[Given]] = {}
    for path, who in dict.fromkeys((*want.letters, *ours)):
        mine = ours.get((path, who)) or Given(owner, want.people[who], path, who, "")
        there.setdefault(path, []).append(mine)
    done = Put()
    for path, some in there.items():
        if path in by_path:
            await _folder(ledger, session, by_path[path], some, want, done)
        else:  # it was removed, with all rights in it
            await ledger.write(permissions.give, owner, [one._replace(letters="") for one in some])
    return done


@dataclass(frozen=True, slots=True)
class _Change:
    """One identifier on one folder. `ours`: with the letters that are; `have`, `others`, `new`: letters that it has,
    that are not ours, and that ours are to be."""

    ours: Given
    have: frozenset[str]
    others: frozenset[str]
    new: frozenset[str]

    @property
    def wanted(self) -> frozenset[str]:
        return self.others | self.new

    @property
    def changes_ours(self) -> bool:
        return self.new != set(self.ours.letters)


async def _folder(
    ledger: LedgerThread, session: TargetSession, folder: Folder, some: Sequence[Given], want: Wish, done: Put
) -> None:
    """All identifiers of one folder at once; where something of it is refused, one by one."""
    now = {name.casefold(): rights for name, rights in (await session.acl(folder) or {}).items()}
    changes = [_change(one, now.get(one.identifier.casefold(), ""), want) for one in some]
    due = [one for one in changes if one.have != one.wanted]
    refused: set[str] = set()
    if due:
        about_to = [one.ours._replace(letters=_joined(one.ours.letters, one.new)) for one in due]
        await ledger.write_durably(permissions.give, about_to[0].owner, about_to)
        try:
            await session.set_acl(folder, {one.ours.identifier: _joined("", one.wanted) for one in due})
        except ItemError:
            for one in due:
                try:
                    await session.set_acl(folder, {one.ours.identifier: _joined("", one.wanted)})
                except ItemError as error:
                    refused.add(one.ours.identifier)
                    _refused(one, folder, error, want, done)
    set_now = [one for one in changes if one.ours.identifier not in refused]
    rows = [one.ours._replace(letters=_joined("", one.new)) for one in set_now if one in due or one.changes_ours]
    rows += [one.ours for one in due if one.ours.identifier in refused]
    if rows:
        await ledger.write(permissions.give, rows[0].owner, rows)
    for one in set_now:
        before, after = one.have >= _READS, one.wanted >= _READS
        if before != after:
            done.seen.setdefault(one.ours.person, []).append((folder, after))


def _change(ours: Given, rights: str, want: Wish) -> _Change:
    have = set(rights)
    if have & _NEW:
        have -= _OBSOLETE
    others = have - set(ours.letters)
    wanted = set(want.letters.get((ours.folder, ours.identifier), ""))
    return _Change(ours, frozenset(have), frozenset(others), frozenset(wanted - others))


def _refused(one: _Change, folder: Folder, error: ItemError, want: Wish, done: Put) -> None:
    text = f"{folder.label}: {error.message}"
    grants = want.of.get((folder.path, one.ours.identifier), [])
    done.failed |= {grant.id: text for grant in grants}
    if not grants:
        done.kept[one.ours.person] = text


def _joined(letters: str, more: Iterable[str]) -> str:
    return "".join(sorted({*letters, *more}))
