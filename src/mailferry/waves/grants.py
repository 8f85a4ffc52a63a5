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
from mailferry.plan.wellknown import folded, special_use_by_name
from mailferry.targets.base import TargetSession

_OBSOLETE, _NEW = frozenset("cd"), frozenset("kxte")
"""RFC 4314 §2.1.1: a server tells the old letters beside the new ones that they stand for; setting them gives those."""
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
    by_path = {key_of(folder.path): folder.path for folder in folders if folder.selectable}
    for one in grants:
        who = identifier(one)
        made.people[who] = one.person
        if one.access is Access.FULL:
            paths: list[Path] = list(by_path.values())
        else:
            found = by_path.get(key_of(_place(tuple(one.folder.split("\\")), places)))
            paths = [] if found is None else [found]
            if found is None:
                made.missing.append(one)
        for path in paths:
            made.letters[path, who] = _joined(made.letters.get((path, who), ""), one.rights)
            made.of.setdefault((path, who), []).append(one)
    return made


def places_of(rows: Iterable[FolderRow]) -> dict[Path, Path]:
    """Where the copy has put each folder."""
    return {key_of(row.source_path): row.target_path for row in rows if row.target_path is not None}


def key_of(path: Path) -> Path:
    """A path as it is compared: without case, INBOX in every language the same."""
    first = INBOX if special_use_by_name(path[:1]) is SpecialUse.INBOX else path[:1]
    return tuple(folded(level) for level in (*first, *path[1:]))


def _place(path: Path, places: Mapping[Path, Path]) -> Path:
    """The target's path of a folder of Exchange: as the copy mapped it, else by the names that it prefers."""
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
    by_path = {folder.path: folder for folder in folders}
    done = Put()
    now: dict[Path, dict[str, str]] = {}
    for key in dict.fromkeys((*want.letters, *ours)):
        path, who = key
        folder, old = by_path.get(path), ours.get(key)
        person = old.person if old is not None else want.people[who]
        if folder is None or not folder.selectable:  # it was removed, with all rights in it
            await _note(ledger, Given(owner, person, path, who, ""))
            continue
        if path not in now:
            now[path] = {name.casefold(): rights for name, rights in (await session.acl(folder) or {}).items()}
        mine = Given(owner, person, path, who, old.letters if old else "")
        try:
            seen = await _one(ledger, session, folder, mine, now, want)
            if seen is not None:
                done.seen.setdefault(person, []).append((folder, seen))
        except ItemError as error:
            done.failed |= {one.id: f"{folder.label}: {error.message}" for one in want.of.get(key, [])}
            if key not in want.of:
                done.kept[person] = f"{folder.label}: {error.message}"
    return done


async def _one(
    ledger: LedgerThread,
    session: TargetSession,
    folder: Folder,
    old: Given,
    now: Mapping[Path, Mapping[str, str]],
    want: Wish,
) -> bool | None:
    """One identifier on one folder. `old`: with the letters that are ours. Whether it reads it now; None: as before."""
    wanted = want.letters.get((folder.path, old.identifier), "")
    have = set(now[folder.path].get(old.identifier.casefold(), ""))
    if have & _NEW:
        have -= _OBSOLETE
    others = have - set(old.letters)
    new = set(wanted) - others
    if have != others | new:
        await _note(ledger, old._replace(letters=_joined(old.letters, new)))
        await session.set_acl(folder, {old.identifier: _joined("", others | new)})
    if set(old.letters) != new:
        await _note(ledger, old._replace(letters=_joined("", new)))
    before, after = (letters >= _READS for letters in (have, others | new))
    return None if before == after else after


async def _note(ledger: LedgerThread, row: Given) -> None:
    await ledger.write_durably(lambda db: permissions.give(db, row.owner, [row]))


def _joined(letters: str, more: Iterable[str]) -> str:
    return "".join(sorted({*letters, *more}))
