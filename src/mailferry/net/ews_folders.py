"""The folders of one mailbox at EWS, as trees of paths with special uses. Reads no items.

Besides the mailbox itself, where the account asks for it: the archive mailbox as `Archive/…`, what was deleted and is
kept for recovery as `Recoverable Items/…`, public folders as `Public Folders/…`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mailferry.errors import Permanent, RemoteProtocolError
from mailferry.model.folder import INBOX, Path, SpecialUse
from mailferry.net.ews import Ews
from mailferry.wire.ews import answers, requests
from mailferry.wire.ews.ids import mailbox_guid
from mailferry.wire.ews.mail import FOLDER_FIELDS, FoundFolder, folders
from mailferry.wire.ews.requests import Place
from mailferry.wire.mapi.classes import special_use

WELL_KNOWN: Mapping[str, SpecialUse] = {
    "inbox": SpecialUse.INBOX,
    "drafts": SpecialUse.DRAFTS,
    "sentitems": SpecialUse.SENT,
    "deleteditems": SpecialUse.TRASH,
    "junkemail": SpecialUse.JUNK,
    "outbox": SpecialUse.OUTBOX,
    "calendar": SpecialUse.CALENDAR,
    "contacts": SpecialUse.CONTACTS,
    "tasks": SpecialUse.TASKS,
    "notes": SpecialUse.NOTES,
    "journal": SpecialUse.JOURNAL,
    "syncissues": SpecialUse.SYNC_ISSUES,
    "conflicts": SpecialUse.CONFLICTS,
    "localfailures": SpecialUse.LOCAL_FAILURES,
    "serverfailures": SpecialUse.SERVER_FAILURES,
    "conversationhistory": SpecialUse.CONVERSATION_HISTORY,
}
"""Distinguished folder ids ([MS-OXWSFOLD]); those of 2013."""

ARCHIVE, RECOVERABLE, PUBLIC = "Archive", "Recoverable Items", "Public Folders"
_NONE = answers.GONE | {
    "ErrorArchiveMailboxNotEnabled",
    "ErrorNoPublicFolderReplicaAvailable",
    "ErrorNoPublicFolderServerAvailable",
}
"""Codes that say that a mailbox has no such tree."""

_PAGE = 1000
_DEEPEST = 300


@dataclass(frozen=True, slots=True)
class EwsFolder:
    """One folder. `id` is "" for the top of a further tree, which holds nothing itself. `size`: bytes of its items,
    None where the server does not tell. `archive`: it lies in the archive mailbox. `default`: it is the mailbox's own
    calendar, contacts, … (a distinguished one)."""

    id: str
    path: Path
    use: SpecialUse | None
    folder_class: str
    messages: int
    size: int | None = None
    hidden: bool = False
    archive: bool = False
    default: bool = False


@dataclass(frozen=True, slots=True)
class Tree:
    """Every folder, INBOX first, parents before children; `guid`: the mailbox's own, "" where it cannot be told."""

    folders: tuple[EwsFolder, ...]
    guid: str


async def tree(client: Ews) -> Tree:
    """AuthError, Permanent: the mailbox cannot be opened."""
    account = client.account
    root = await _opened(client, client.place("msgfolderroot"))
    named = await _distinguished(client)
    found = _placed(await _below(client, root), root.id, (), named)
    beside: list[EwsFolder] = []
    if account.archive:
        beside += await further(client, client.place("archivemsgfolderroot"), ARCHIVE, archive=True)
    if account.recoverable:
        beside += await further(client, client.place("recoverableitemsroot"), RECOVERABLE)
    if account.public:
        beside += await further(client, Place(distinguished="publicfoldersroot"), PUBLIC, deep=False)
    taken = {one.path for one in found}
    unique = [one for one in beside if one.id or one.path not in taken]
    inbox_first = sorted(_apart([*found, *unique]), key=lambda one: one.path[:1] != INBOX)
    return Tree(tuple(inbox_first), mailbox_guid(root.entry_id))


async def _opened(client: Ews, place: Place) -> FoundFolder:
    message = await client.one(requests.get_folders([place], FOLDER_FIELDS))
    found, _ = folders(message)
    if not found:
        raise Permanent("Exchange shows no folder at all", about=client.account.key)
    return found[0]


async def _distinguished(client: Ews) -> dict[str, str]:
    """Which folder ids the distinguished names stand for; those that the mailbox lacks are left out."""
    answer = await client.call(requests.get_folders([client.place(one) for one in WELL_KNOWN]))
    if len(answer.messages) != len(WELL_KNOWN):
        raise RemoteProtocolError(f"{len(WELL_KNOWN)} folders asked for, {len(answer.messages)} answers came")
    found = {}
    for name, message in zip(WELL_KNOWN, answer.messages, strict=True):
        refused = answers.refusal(message)
        if refused is None:
            found[folders(message)[0][0].id] = name
        elif refused.code not in answers.GONE:
            raise refused.error(client.account.key)
    return found


async def further(client: Ews, place: Place, name: str, *, archive: bool = False, deep: bool = True) -> list[EwsFolder]:
    """A tree beside the mailbox's own; nothing where there is none. Raises what keeps it from being seen."""
    answer = await client.call(requests.get_folders([place], FOLDER_FIELDS))
    refused = next((one for one in map(answers.refusal, answer.messages) if one is not None), None)
    if refused is not None:
        if refused.code in _NONE:
            return []
        raise refused.error(client.account.key)
    root = folders(answer.messages[0])[0][0]
    top = EwsFolder("", (name,), None, "", 0, 0, archive=archive)
    return [top, *_placed(await _below(client, root, deep), root.id, top.path, {}, archive)]


async def _below(client: Ews, root: FoundFolder, deep: bool = True) -> list[FoundFolder]:
    found: list[FoundFolder] = []
    waiting = [root.id]
    while waiting:
        place, offset = Place(id=waiting.pop()), 0
        while True:
            asked = requests.find_folders(place, FOLDER_FIELDS, deep=deep, offset=offset, most=_PAGE)
            page, after = folders(await client.one(asked))
            found += page
            if not deep:
                waiting += [one.id for one in page]
            if after is None or after <= offset:
                break
            offset = after
    return found


def _placed(
    found: Sequence[FoundFolder], root: str, top: Path, named: Mapping[str, str], archive: bool = False
) -> list[EwsFolder]:
    """With paths, parents before children; a folder whose parents are not shown stands at the top."""
    by_id = {one.id: one for one in found}
    placed = []
    for one in found:
        levels: list[str] = []
        at: FoundFolder | None = one
        while at is not None and len(levels) < _DEEPEST:
            levels.insert(0, at.name or "(without a name)")
            if named.get(at.id) == "inbox":
                levels[0] = INBOX[0]
                break
            at = by_id.get(at.parent) if at.parent != root else None
        known = named.get(one.id)
        use = WELL_KNOWN[known] if known else special_use(one.folder_class, one.hidden)
        path = (*top, *levels)
        placed.append(
            EwsFolder(
                one.id, path, use, one.folder_class, one.messages, one.size, one.hidden, archive, known is not None
            )
        )
    return sorted(placed, key=lambda one: (len(one.path), one.path))


def _apart(found: Sequence[EwsFolder]) -> list[EwsFolder]:
    """No two folders with one path: who comes later gets a number, as does what is only called like the inbox."""
    taken: set[Path] = set()
    apart = []
    for one in found:
        path = one.path
        if len(path) == 1 and path[0].casefold() == INBOX[0].casefold() and one.use is not SpecialUse.INBOX:
            path = (f"{path[0]} (2)",)
        number = 1
        while path in taken:
            number += 1
            path = (*one.path[:-1], f"{one.path[-1]} ({number})")
        taken.add(path)
        apart.append(one if path == one.path else replace(one, path=path))
    return apart
