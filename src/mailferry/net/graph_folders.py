"""The mail folders of one mailbox at Graph, as a tree of paths with special uses. Reads no items.

Graph shows folders of mail alone: calendars, contacts and tasks have doors of their own, the online archive and public
folders have none (`mailferry check` says so).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mailferry.errors import Permanent
from mailferry.model.folder import INBOX, Path, SpecialUse
from mailferry.net.graph import Graph, Refused
from mailferry.wire.ews.ids import mailbox_guid
from mailferry.wire.graph.mail import FOLDER_QUERY, FoundFolder, folder
from mailferry.wire.graph.values import text
from mailferry.wire.mapi.classes import special_use

WELL_KNOWN: Mapping[str, SpecialUse] = {
    "inbox": SpecialUse.INBOX,
    "drafts": SpecialUse.DRAFTS,
    "sentitems": SpecialUse.SENT,
    "deleteditems": SpecialUse.TRASH,
    "junkemail": SpecialUse.JUNK,
    "archive": SpecialUse.ARCHIVE,
    "outbox": SpecialUse.OUTBOX,
    "syncissues": SpecialUse.SYNC_ISSUES,
    "conflicts": SpecialUse.CONFLICTS,
    "localfailures": SpecialUse.LOCAL_FAILURES,
    "serverfailures": SpecialUse.SERVER_FAILURES,
    "conversationhistory": SpecialUse.CONVERSATION_HISTORY,
    "clutter": SpecialUse.CLUTTER,
}
"""Graph's names of well-known folders (resource type mailFolder)."""
_PAGE = 250
_DEEPEST = 300


@dataclass(frozen=True, slots=True)
class GraphFolder:
    """One folder of mail."""

    id: str
    path: Path
    use: SpecialUse | None
    messages: int
    hidden: bool


@dataclass(frozen=True, slots=True)
class Tree:
    """Every folder, INBOX first, parents before children; `guid`: the mailbox's own, "" where it cannot be told."""

    folders: tuple[GraphFolder, ...]
    guid: str


async def tree(client: Graph) -> Tree:
    """AuthError, Permanent: the mailbox cannot be opened."""
    base = f"{client.user}/mailFolders"
    named = await well_known(client)
    level = [folder(one) for one in await client.all(f"{base}?includeHiddenFolders=true&$top={_PAGE}&{FOLDER_QUERY}")]
    if not level:
        raise Permanent("Graph shows no folder at all", about=client.account.key)
    guid = next((found for one in level if (found := mailbox_guid(one.entry_id))), "")
    placed: list[GraphFolder] = []
    paths: dict[str, Path] = {}
    taken: set[Path] = set()
    for _ in range(_DEEPEST):
        placed += [_placed(one, paths, taken, named) for one in level]
        parents = [one.id for one in level if one.children]
        if not parents:
            break
        query = f"childFolders?includeHiddenFolders=true&$top={_PAGE}&{FOLDER_QUERY}"
        level = []
        for answer in await client.batch([f"{base}/{parent}/{query}" for parent in parents]):
            if isinstance(answer, Refused):
                if answer.gone:
                    continue
                raise answer.error(client.account.key)
            level += [folder(one) for one in answer.get("value", ())]
            if link := text(answer.get("@odata.nextLink")):
                level += [folder(one) for one in await client.all(link)]
    return Tree(tuple(sorted(placed, key=lambda one: one.path[:1] != INBOX)), guid)


async def well_known(client: Graph) -> dict[str, str]:
    """Which folder ids the well-known names stand for; those that the mailbox lacks are left out."""
    asked = [f"{client.user}/mailFolders/{name}?$select=id" for name in WELL_KNOWN]
    found = {}
    for name, answer in zip(WELL_KNOWN, await client.batch(asked), strict=True):
        if not isinstance(answer, Refused):
            found[text(answer.get("id"))] = name
        elif not answer.gone and answer.status == 403:
            raise answer.error(client.account.key)
    return found


def _placed(one: FoundFolder, paths: dict[str, Path], taken: set[Path], named: Mapping[str, str]) -> GraphFolder:
    """With its path, which no other folder has."""
    known = named.get(one.id)
    name = one.name or "(without a name)"
    above = paths.get(one.parent, ())
    if known == "inbox":
        path = INBOX
    else:
        if not above and name.casefold() == INBOX[0].casefold():
            name = f"{name} (2)"
        path, number = (*above, name), 1
        while path in taken:
            number += 1
            path = (*above, f"{name} ({number})")
    paths[one.id] = path
    taken.add(path)
    use = WELL_KNOWN[known] if known else special_use(one.folder_class, one.hidden)
    return GraphFolder(one.id, path, use, one.messages, one.hidden)
