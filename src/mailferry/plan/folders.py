"""Decides which folder of the source goes to which folder of the target. Pure and deterministic; makes nothing.

Does not look at messages. Every source folder comes out exactly once, as a pair or as excluded by a named rule.

Invariants: no two source folders share a target folder; no level of a target path holds what the target forbids; a
folder mapped before stays where it is; the order of the listing does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mailferry.errors import UserError
from mailferry.model.folder import INBOX, Folder, FolderLimits, Path, SpecialUse
from mailferry.plan.levels import Levels
from mailferry.plan.wellknown import ONLY_EXCHANGE, special_uses

VIEWS = frozenset({SpecialUse.FLAGGED, SpecialUse.IMPORTANT})
"""Views of messages that are elsewhere too, where the mailbox has a folder of all messages (RFC 6154 §2)."""

PREFERRED: Mapping[SpecialUse, str] = {
    SpecialUse.SENT: "Sent",
    SpecialUse.DRAFTS: "Drafts",
    SpecialUse.TRASH: "Trash",
    SpecialUse.JUNK: "Junk",
    SpecialUse.ARCHIVE: "Archive",
}
"""Names for special folders that the target does not have yet."""

_OWN_DOOR = "carried by its own door"
_SYNC_LOG = "Outlook's own log of synchronisation"
_REASONS: Mapping[SpecialUse, str] = {
    SpecialUse.CALENDAR: _OWN_DOOR,
    SpecialUse.CONTACTS: _OWN_DOOR,
    SpecialUse.TASKS: _OWN_DOOR,
    SpecialUse.NOTES: _OWN_DOOR,
    SpecialUse.JOURNAL: _OWN_DOOR,
    SpecialUse.OUTBOX: "waiting to be sent from there",
    SpecialUse.SYNC_ISSUES: _SYNC_LOG,
    SpecialUse.CONFLICTS: _SYNC_LOG,
    SpecialUse.LOCAL_FAILURES: _SYNC_LOG,
    SpecialUse.SERVER_FAILURES: _SYNC_LOG,
    SpecialUse.FILES: "not a folder of messages",
}


@dataclass(frozen=True, slots=True)
class FolderPolicy:
    """What the administrator wants of the mapping.

    `include`, `exclude`: patterns on the source's label, without case: `*` within a level, `**` across levels, `?` one
    character; a pattern covers the folders below what it matches; `exclude` wins. `prefix`: everything goes below this
    label, under its own name. `overrides`: source label to target label; folders below follow. `special_names`:
    "target" puts special folders into the target's own, "keep" leaves them their names. `exclude_special`: uses that
    are left to their own doors.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    prefix: str = ""
    overrides: Mapping[str, str] = field(default_factory=dict)
    special_names: Literal["target", "keep"] = "target"
    exclude_special: frozenset[SpecialUse] = ONLY_EXCHANGE
    preferred: Mapping[SpecialUse, str] = field(default_factory=lambda: PREFERRED)


@dataclass(frozen=True, slots=True)
class FolderPair:
    """One folder to carry. `create`: the target lacks it. `special_use`: the RFC 6154 use that the target's folder has
    or is to get. A source that is not selectable gives hierarchy only, no messages. `note`: why its place differs."""

    source: Folder
    target_path: Path
    special_use: SpecialUse | None
    create: bool
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Excluded:
    """One folder that is not carried: `rule` names the rule (`special:calendar`, `exclude:PATTERN`, `include`, `view`,
    `container`), `text` says it to people."""

    folder: Folder
    rule: str
    text: str


@dataclass(frozen=True, slots=True)
class FolderPlan:
    """`pairs` and `excluded` in the order of the listing, parents first. `notes`: sentences for the report."""

    pairs: tuple[FolderPair, ...]
    excluded: tuple[Excluded, ...]
    notes: tuple[str, ...]


def map_folders(
    source: Sequence[Folder],
    target: Sequence[Folder],
    limits: FolderLimits,
    policy: FolderPolicy | None = None,
    previous: Mapping[Path, Path] | None = None,
) -> FolderPlan:
    """The plan for one mailbox. `previous`: source path to target path of earlier passes (the ledger's).

    `UserError` for an override or pattern that is empty, or two overrides of one target.
    """
    return _Mapping(source, target, limits, policy or FolderPolicy(), previous or {}).plan()


class _Mapping:
    """The state of one call of `map_folders`."""

    def __init__(
        self,
        source: Sequence[Folder],
        target: Sequence[Folder],
        limits: FolderLimits,
        policy: FolderPolicy,
        previous: Mapping[Path, Path],
    ) -> None:
        self.source = source
        self.policy = policy
        self.previous = previous
        self.levels = Levels(limits)
        self.uses = special_uses(source)
        self.target_uses = _target_uses(target, limits)
        self.target = {self.levels.key(folder.path): folder for folder in target}
        self.inbox = self.uses.path(SpecialUse.INBOX) or INBOX
        self.overrides = _checked_overrides(policy)
        self.prefix = self.levels.path(tuple(level for level in policy.prefix.split("/") if level))
        self.owners: dict[Path, Path] = {}  # key of a target path: the source path that it is for
        for path in sorted(previous):
            self.owners.setdefault(self.levels.key(previous[path]), path)
        if not self.prefix:
            self.owners.setdefault(self.levels.key(INBOX), self.inbox)
        self.placed: dict[Path, Path] = {}
        self.why: dict[Path, str] = {}

    def plan(self) -> FolderPlan:
        excluded = {folder.path: found for folder in self.source if (found := self.excluded(folder))}
        carried = [folder for folder in self.source if folder.path not in excluded]
        for folder in sorted(carried, key=lambda one: (self.rank(one.path), one.path)):
            self.settle(folder.path)
        full = {self.levels.key(self.placed[one.path]) for one in carried if one.selectable}
        for folder in carried:
            if not folder.selectable and not _above(self.levels.key(self.placed[folder.path]), full):
                excluded[folder.path] = Excluded(
                    folder, "container", "holds no messages itself, and nothing that is carried goes below it"
                )
        pairs = tuple(self.pair(folder) for folder in carried if folder.path not in excluded)
        ordered = tuple(excluded[folder.path] for folder in self.source if folder.path in excluded)
        notes = [*self.uses.notes, *(f"{pair.source.label}: {pair.note}" for pair in pairs if pair.note)]
        everything = self.uses.path(SpecialUse.ALL)
        if any(pair.source.path == everything for pair in pairs):
            notes.append(f"{'/'.join(everything or ())}: holds all messages, those of other folders a second time")
        return FolderPlan(pairs, ordered, tuple(notes))

    def excluded(self, folder: Folder) -> Excluded | None:
        """The rule that keeps a folder away, if any: its own or an ancestor's use, then the patterns."""
        for depth in range(len(folder.path), 0, -1):
            use = self.uses.by_path.get(folder.path[:depth])
            if use is None:
                continue
            if use in self.policy.exclude_special:
                text = _REASONS.get(use, "excluded by the policy")
                name = use.name.lower().replace("_", " ")
                place = f"{name} folder" if depth == len(folder.path) else f"below the {name} folder"
                return Excluded(folder, f"special:{use.name.lower()}", f"{place}: {text}")
            if use in VIEWS and self.uses.path(SpecialUse.ALL):
                return Excluded(folder, "view", "a view of messages that the folder of all messages holds")
        for pattern in self.policy.exclude:
            if _covers(pattern, folder.path):
                return Excluded(folder, f"exclude:{pattern}", f"excluded by the pattern {pattern}")
        if self.policy.include and not any(_covers(pattern, folder.path) for pattern in self.policy.include):
            return Excluded(folder, "include", "not among the folders asked for")
        return None

    def rank(self, path: Path) -> int:
        """Who takes a place first: earlier passes, INBOX, overrides, special folders, then all others."""
        override, special = self.overrides.get("/".join(path)), self.special(path)
        rules = (path in self.previous, path == self.inbox, override is not None, special is not None)
        return rules.index(True) if any(rules) else len(rules)

    def settle(self, path: Path) -> None:
        """Give a carried folder its place for good: the one it belongs to, or the same with a number where another
        folder has that one, or has had it in an earlier pass."""
        wanted = place = self.place(path)
        number = 1
        while self.owners.setdefault(self.levels.key(place), path) != path:
            number += 1
            place = (*wanted[:-1], self.levels.numbered(wanted[-1], number, wanted[:-1]))
        if number > 1:
            owner = self.owners[self.levels.key(wanted)]
            self.why[path] = f"goes to {'/'.join(place)}, since {'/'.join(owner)} has that name"
        existing = self.target.get(self.levels.key(place))
        self.placed[path] = place if existing is None else existing.path

    def place(self, path: Path) -> Path:
        """Where a folder belongs by the rules, before collisions; for folders that are not listed too."""
        if path in self.placed:
            return self.placed[path]
        if path in self.previous:
            return self.previous[path]
        if not path:
            return self.prefix
        override = self.overrides.get("/".join(path))
        if override is not None:
            return self.levels.path(override)
        if path == self.inbox and not self.prefix:
            return INBOX
        special = self.special(path)
        if special is not None:
            return special
        parent = self.place(path[:-1])
        place = self.levels.below(parent, path[-1])
        if place[-1] != path[-1]:
            self.why[path] = f"goes to {'/'.join(place)}, since the target cannot hold its name as it is"
        if not self.prefix and len(path) == 1 and self.levels.key(place) == self.levels.key(INBOX):
            place = (self.levels.numbered(place[0], 2, ()),)
            self.why[path] = f"goes to {place[0]}, since INBOX has that name"
        return place

    def special(self, path: Path) -> Path | None:
        """The target's place for a special folder, where policy and target have one."""
        use = self.uses.by_path.get(path)
        if use is None or self.prefix or self.policy.special_names == "keep":
            return None
        if use in VIEWS or use is SpecialUse.ALL:
            return None  # the target makes these itself; nothing can be stored there
        found = self.target_uses.get(use)
        if found is not None or use not in self.policy.preferred:
            return found
        return self.levels.path(tuple(level for level in self.policy.preferred[use].split("/") if level))

    def pair(self, folder: Folder) -> FolderPair:
        place = self.placed[folder.path]
        existing = self.target.get(self.levels.key(place))
        use = self.uses.by_path.get(folder.path)
        if use is None or use not in PREFERRED or self.prefix:
            use = None
        elif self.levels.key(self.target_uses.get(use, place)) != self.levels.key(place):
            use = None  # another folder of the target has that use already
        create = existing is None or (folder.selectable and not existing.selectable)
        return FolderPair(folder, place, use, create, self.why.get(folder.path))


def _target_uses(target: Sequence[Folder], limits: FolderLimits) -> dict[SpecialUse, Path]:
    found = {use: path for path, use in special_uses(target).by_path.items()}
    announced = {folder.special_use: folder.path for folder in target if folder.special_use}
    return found | announced | dict(limits.special_uses or {})


def _checked_overrides(policy: FolderPolicy) -> dict[str, Path]:
    overrides: dict[str, Path] = {}
    for label, place in policy.overrides.items():
        levels = tuple(level for level in place.split("/") if level)
        if not levels:
            raise UserError(f"the folder map sends {label!r} to an empty name", advice="name a target folder")
        if levels in overrides.values():
            raise UserError(f"the folder map sends two folders to {place!r}", advice="give each its own target folder")
        overrides[label] = levels
    for pattern in (*policy.include, *policy.exclude):
        if not pattern.strip("/"):
            raise UserError("an empty folder pattern", advice="`**` stands for all folders")
    return overrides


def _covers(pattern: str, path: Path) -> bool:
    """Does the pattern match this folder or one above it?"""
    wild = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*|\*|\?)", pattern.strip("/"))
    expression = "".join(wild.get(part) or re.escape(part) for part in parts)
    return re.fullmatch(f"{expression}(/.*)?", "/".join(path), re.IGNORECASE | re.DOTALL) is not None


def _above(key: Path, others: set[Path]) -> bool:
    return any(len(other) > len(key) and other[: len(key)] == key for other in others)
