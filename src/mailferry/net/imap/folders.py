"""The folders of a mailbox over IMAP: listed in one round trip, named as paths. Opens and changes none.

A path is the name without the personal namespace's prefix, split at the separator, decoded. Folders in other people's
and shared namespaces are not this mailbox's and are left out. Sources: RFC 2342, RFC 5258, RFC 5819, RFC 6154.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mailferry.model.folder import INBOX, Folder, FolderStatus, Path, SpecialUse
from mailferry.net.imap.connection import Connection, Pending
from mailferry.wire.imap import commands, utf7
from mailferry.wire.imap.events import Event, Listed, Namespaces, Status

SPECIAL_USES = {use.value.upper(): use for use in SpecialUse if use.value.startswith("\\")} | {
    "\\SPAM": SpecialUse.JUNK,
    "\\ALLMAIL": SpecialUse.ALL,
    "\\STARRED": SpecialUse.FLAGGED,
    "\\INBOX": SpecialUse.INBOX,
}
"""RFC 6154's attributes, and those of XLIST, by their upper-case spelling."""

_UNSELECTABLE = frozenset({"\\NOSELECT", "\\NONEXISTENT"})


@dataclass(frozen=True, slots=True)
class Names:
    """How this server names folders: `prefix` of the personal namespace (wire form), the separator (None: flat), the
    prefixes that are not ours, and that of other people's mailboxes (b"": there is none)."""

    prefix: bytes = b""
    separator: str | None = "/"
    foreign: tuple[bytes, ...] = ()
    others: bytes = b""

    def path(self, name: bytes) -> Path:
        """A wire name as a path; INBOX in any case is `("INBOX",)`."""
        if name.upper() == b"INBOX":
            return INBOX
        rest = name
        if self.prefix and name.upper().startswith(self.prefix.upper()):
            rest = name[len(self.prefix) :]
        levels = rest.split(self.separator.encode("latin-1")) if self.separator else [rest]
        path = tuple(utf7.decode(level) for level in levels if level) or (utf7.decode(name),)
        if not (self.prefix and rest is not name) and path[0].upper() == "INBOX":
            path = (*INBOX, *path[1:])
        return path

    def of_others(self, owner: str, path: Path) -> bytes:
        """The wire name of a folder in somebody else's mailbox."""
        separator = (self.separator or "").encode("latin-1")
        return self.others + separator.join(utf7.encode(level) for level in (owner, *path))

    def name(self, path: Path) -> bytes:
        """A path as a wire name. Levels must not hold the separator."""
        if path == INBOX:
            return b"INBOX"
        separator = (self.separator or "").encode("latin-1")
        return self.prefix + separator.join(utf7.encode(level) for level in path)


async def names(connection: Connection) -> Names:
    """Ask for the namespaces (RFC 2342), or for the separator alone where the server has none."""
    return _names(await connection.finish(await _ask_names(connection)))


async def _ask_names(connection: Connection) -> Pending:
    if "NAMESPACE" in connection.capabilities:
        return await connection.send(b"NAMESPACE", "tell its namespaces")
    return await connection.send(b'LIST "" ""', "tell its separator")


def _names(events: list[Event]) -> Names:
    for event in events:
        if isinstance(event, Namespaces):
            personal = event.personal or ((b"", "/"),)
            prefix, separator = personal[0]
            own = {entry[0] for entry in personal}
            foreign = tuple(entry[0] for entry in (*event.others, *event.shared) if entry[0] and entry[0] not in own)
            others = next((name for name, _ in event.others if name), b"")
            return Names(prefix, separator, foreign, others)
    for event in events:
        if isinstance(event, Listed):
            return Names(b"", event.separator)
    return Names()


async def list_folders(connection: Connection) -> tuple[Names, list[Folder]]:
    """All folders with counters, parents before children, INBOX first: one round trip where LIST-STATUS is offered,
    else two (LIST and LSUB, then STATUS of all at once)."""
    offered = connection.capabilities
    asked = await _ask_names(connection)
    if {"LIST-STATUS", "LIST-EXTENDED"} <= offered or "IMAP4REV2" in offered:
        use = b" SPECIAL-USE" if "SPECIAL-USE" in offered else b""
        listing = await connection.send(
            b'LIST "" "*" RETURN (SUBSCRIBED%s STATUS (%s))' % (use, _items(offered)), "list the folders"
        )
        subscriptions = None
    else:
        listing = await connection.send(b'LIST "" "*"', "list the folders")
        subscriptions = await connection.send(b'LSUB "" "*"', "list the subscriptions")
    how = _names(await connection.finish(asked))
    events = await connection.finish(listing)
    listed = [event for event in events if isinstance(event, Listed) and not event.lsub]
    subscribed = {event.name for event in listed if "\\SUBSCRIBED" in event.attributes}
    statuses = {event.name: event for event in events if isinstance(event, Status)}
    if subscriptions is not None:
        tagged = await connection.wait(subscriptions)
        answers = [*events, *subscriptions.events] if tagged.status == "OK" else events
        subscribed = {event.name for event in answers if isinstance(event, Listed) and event.lsub}
    how = _refine(how, listed)
    folders = _folders(how, listed, subscribed)
    if subscriptions is not None:
        statuses = await _statuses(connection, [folder for folder in folders if folder.selectable])
    return how, [_with_status(folder, statuses) for folder in folders]


def _items(capabilities: frozenset[str]) -> bytes:
    modseq = b" HIGHESTMODSEQ" if capabilities & {"CONDSTORE", "QRESYNC"} else b""
    return b"MESSAGES UIDNEXT UIDVALIDITY" + modseq


def _refine(how: Names, listed: list[Listed]) -> Names:
    """Some servers tell the separator only in LIST."""
    if how.separator is None:
        for entry in listed:
            if entry.separator is not None:
                return replace(how, separator=entry.separator)
    return how


def _folders(how: Names, listed: list[Listed], subscribed: set[bytes]) -> list[Folder]:
    found: dict[Path, Folder] = {}
    for entry in listed:
        if "\\NONEXISTENT" in entry.attributes or any(_inside(entry, prefix) for prefix in how.foreign):
            continue
        path = how.path(entry.name)
        if path in found:  # names that differ only in how they are encoded
            path = (entry.name.decode("latin-1"),)
        if path in found:
            continue
        uses = [SPECIAL_USES[attribute] for attribute in sorted(entry.attributes) if attribute in SPECIAL_USES]
        found[path] = Folder(
            path,
            entry.name.decode("latin-1"),
            special_use=SpecialUse.INBOX if path == INBOX else next(iter(uses), None),
            selectable=not entry.attributes & _UNSELECTABLE,
            subscribed=entry.name in subscribed,
        )
    return sorted(found.values(), key=lambda folder: (folder.path != INBOX, folder.path))


def _inside(entry: Listed, prefix: bytes) -> bool:
    """Whether the name lies under a namespace prefix, or is the prefix without its separator."""
    separator = (entry.separator or "").encode("latin-1")
    return entry.name.startswith(prefix) or (bool(separator) and entry.name + separator == prefix)


async def _statuses(connection: Connection, folders: list[Folder]) -> dict[bytes, Status]:
    """Counters of all these folders, all asked before any answer has come; those refused are left out."""
    items = _items(connection.capabilities)
    window = connection.quirks.depth * 8
    pending: list[Pending] = []
    found: dict[bytes, Status] = {}
    for number, folder in enumerate(folders):
        if number >= window:
            await connection.wait(pending[number - window])
        name = commands.mailbox(folder.name.encode("latin-1"))
        pending.append(await connection.send(b"STATUS " + name + b" (" + items + b")", "count the folder"))
    for one in pending:
        await connection.wait(one)
        found.update((event.name, event) for event in one.events if isinstance(event, Status))
    return found


async def status(connection: Connection, name: bytes) -> FolderStatus | None:
    """Counters of one folder that is not open; None where the server refuses."""
    pending = await connection.send(
        b"STATUS " + commands.mailbox(name) + b" (" + _items(connection.capabilities) + b")", "count the folder"
    )
    await connection.wait(pending)
    for event in pending.events:
        if isinstance(event, Status):
            return _counters(event)
    return None


def _with_status(folder: Folder, statuses: dict[bytes, Status]) -> Folder:
    name = folder.name.encode("latin-1")
    event = statuses.get(name)
    if event is None and folder.path == INBOX:
        event = next((one for key, one in statuses.items() if key.upper() == b"INBOX"), None)
    return folder if event is None else replace(folder, status=_counters(event))


def _counters(event: Status) -> FolderStatus | None:
    values = event.values
    if not {"UIDVALIDITY", "UIDNEXT", "MESSAGES"} <= values.keys():
        return None
    modseq = values.get("HIGHESTMODSEQ")
    return FolderStatus(values["UIDVALIDITY"], values["UIDNEXT"], values["MESSAGES"], modseq or None)
