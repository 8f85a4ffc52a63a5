"""Recognises well-known folders: by what the store announces, else by name in any language of Outlook. Pure.

Does not map folders (`folders.py`). A name counts only at the root, or directly below INBOX on servers that keep
everything there, or below `[Gmail]`. Calendar, contacts and other things that are not messages count by name only
where at least two kinds of them are found: one folder called Notes on a plain IMAP server is somebody's mail.

Invariant: each special use has at most one folder, but for announced ones that hold no messages: of calendars there
may be many. An announced folder wins over any name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from unicodedata import normalize

from mailferry.model.folder import INBOX, Folder, Path, SpecialUse
from mailferry.plan.names import OTHERS, OUTLOOK

GROUPWARE = frozenset(
    {
        SpecialUse.OUTBOX,
        SpecialUse.CALENDAR,
        SpecialUse.CONTACTS,
        SpecialUse.TASKS,
        SpecialUse.NOTES,
        SpecialUse.JOURNAL,
    }
)
"""Exchange's folders for what is not a message (or not one yet). Any two of them show that a mailbox is Exchange's."""

SYNC_PARTS = frozenset({SpecialUse.CONFLICTS, SpecialUse.LOCAL_FAILURES, SpecialUse.SERVER_FAILURES})
"""Below Sync Issues; these names mean nothing elsewhere."""

ONLY_EXCHANGE = GROUPWARE | SYNC_PARTS | {SpecialUse.SYNC_ISSUES, SpecialUse.FILES}
"""Uses that a name gives only in a mailbox that is seen to be Exchange's."""

_GMAIL = frozenset({"[gmail]", "[google mail]"})


def folded(name: str) -> str:
    """A name as it is compared: NFC, without case (nor Turkish's two kinds of i), invisible marks or blanks at the
    ends."""
    plain = normalize("NFC", name.strip(" \u200e\u200f")).replace("\u0130", "i").replace("\u0131", "i")
    return normalize("NFC", plain.casefold())


def _index() -> dict[str, tuple[SpecialUse, frozenset[str]]]:
    languages: dict[str, set[str]] = {}
    uses: dict[str, SpecialUse] = {}
    for language, names in (*OUTLOOK.items(), ("", OTHERS)):
        for use, alternatives in names.items():
            for name in alternatives:
                uses[folded(name)] = use
                languages.setdefault(folded(name), set()).add(language)
    uses["files"], languages["files"] = SpecialUse.FILES, {"en"}
    uses["clutter"], languages["clutter"] = SpecialUse.CLUTTER, {"en"}
    return {name: (use, frozenset(languages[name])) for name, use in uses.items()}


_INDEX = _index()


@dataclass(frozen=True, slots=True)
class Uses:
    """The special folders of one mailbox. `notes`: sentences on folders that were left ordinary."""

    by_path: dict[Path, SpecialUse]
    notes: tuple[str, ...] = ()

    def path(self, use: SpecialUse) -> Path | None:
        """Where this use lives, if anywhere."""
        return next((path for path, found in self.by_path.items() if found is use), None)


def special_use_by_name(path: Path, *, below_inbox: bool = False) -> SpecialUse | None:
    """What a folder at this path is by its name, in any language; None for ordinary folders.

    `below_inbox`: the server keeps all folders directly below INBOX (Courier, some Cyrus).
    """
    if not path:
        return None
    if len(path) == 1 and path[0].casefold() == "inbox":
        return SpecialUse.INBOX
    if below_inbox and len(path) > 1 and path[0].casefold() == "inbox":
        path = path[1:]
    if len(path) == 2 and folded(path[0]) in _GMAIL:
        path = path[1:]
    use, _ = _INDEX.get(folded(path[-1]), (None, None))
    if len(path) == 2 and use in SYNC_PARTS:
        parent, _ = _INDEX.get(folded(path[0]), (None, None))
        return use if parent is SpecialUse.SYNC_ISSUES else None
    return use if len(path) == 1 and use not in SYNC_PARTS else None


def special_uses(folders: Sequence[Folder]) -> Uses:
    """The special folders among these: announced ones, and for every use that nobody announced, one found by name.

    Of several names for one use the folder with most messages is taken (for `ONLY_EXCHANGE` first the one in the
    mailbox's own language, since being taken keeps it away), then the first; the others stay ordinary.
    """
    by_path: dict[Path, SpecialUse] = {}
    notes: list[str] = []
    for folder in folders:
        use = folder.special_use or (SpecialUse.INBOX if folder.path == INBOX else None)
        if use is None:
            continue
        if use in by_path.values() and use not in ONLY_EXCHANGE:
            notes.append(f"{folder.label}: a second folder announced as {use.name}; carried as an ordinary folder")
        else:
            by_path[folder.path] = use
    named = _named(folders, by_path)
    language = _language(path for path in (*by_path, *(folder.path for found in named.values() for folder in found)))
    exchange = len(GROUPWARE & (named.keys() | set(by_path.values()))) >= 2
    for use, found in named.items():
        if use in by_path.values():
            notes += [f"{one.label}: another folder is announced as {use.name}; carried as ordinary" for one in found]
            continue
        if use in ONLY_EXCHANGE and not exchange:
            notes += [f"{one.label}: named like {use.name}, but not in an Exchange mailbox; ordinary" for one in found]
            continue
        best = min(
            found,
            key=lambda one: (
                use in ONLY_EXCHANGE and language not in _languages(one.path),
                -(one.status.messages if one.status else 0),
            ),
        )
        by_path[best.path] = use
        notes += [f"{one.label}: {best.label} is taken as {use.name}; ordinary" for one in found if one is not best]
    return Uses(by_path, tuple(notes))


def _named(folders: Sequence[Folder], announced: dict[Path, SpecialUse]) -> dict[SpecialUse, list[Folder]]:
    """Folders by the use that their names suggest, those that were announced as anything left out."""
    below_inbox = len(folders) > 1 and all(folder.path[:1] == INBOX for folder in folders)
    named: dict[SpecialUse, list[Folder]] = {}
    for folder in folders:
        use = special_use_by_name(folder.path, below_inbox=below_inbox)
        if use is None or use is SpecialUse.INBOX or folder.special_use or folder.path in announced:
            continue
        if use is SpecialUse.FILES and folder.selectable and folder.status and folder.status.messages:
            continue  # Exchange Online's phantom is empty; one with messages is somebody's
        named.setdefault(use, []).append(folder)
    return named


def _languages(path: Path) -> frozenset[str]:
    _, languages = _INDEX.get(folded(path[-1]), (None, frozenset()))
    return languages


def _language(paths: Iterable[Path]) -> str:
    """The language that most well-known names of a mailbox agree on; English where nothing tells."""
    votes = Counter(language for path in paths for language in _languages(path) if language)
    return min(votes, key=lambda language: (-votes[language], language != "en", language), default="en")
