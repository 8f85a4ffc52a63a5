"""What the fake Exchange holds: mailboxes, folders, items, and who may open them. No XML but the items' own elements.

A FAKE, in memory: nothing here is Exchange. Ids are made as Exchange's are seen from outside (opaque, case-sensitive,
new after a move between folders); entry ids as [MS-OXCDATA] §2.2.4 lays them out.
"""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from xml.sax.saxutils import escape

RECEIVED = datetime(2024, 5, 1, 10, tzinfo=UTC)
WELL_KNOWN = {
    "calendar": ("Calendar", "IPF.Appointment"),
    "contacts": ("Contacts", "IPF.Contact"),
    "deleteditems": ("Deleted Items", "IPF.Note"),
    "drafts": ("Drafts", "IPF.Note"),
    "inbox": ("Inbox", "IPF.Note"),
    "junkemail": ("Junk Email", "IPF.Note"),
    "notes": ("Notes", "IPF.StickyNote"),
    "outbox": ("Outbox", "IPF.Note"),
    "sentitems": ("Sent Items", "IPF.Note"),
    "tasks": ("Tasks", "IPF.Task"),
}


_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def element(name: str, value: object, **attributes: str) -> str:
    """`<t:Name>value</t:Name>`, escaped; what XML cannot hold is left out, as Exchange mostly does."""
    shown = _NOT_XML.sub("", str(value).lower() if isinstance(value, bool) else str(value))
    extra = "".join(f' {key}="{escape(text)}"' for key, text in attributes.items())
    return f"<t:{name}{extra}>{escape(shown)}</t:{name}>"


def stamp(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True)
class Attachment:
    """A file of an item."""

    name: str
    content: bytes
    content_type: str = "application/octet-stream"
    photo: bool = False
    id: str = ""


@dataclass(slots=True)
class FakeItem:
    """`kind`: its element (`Message`, `CalendarItem`, `Contact`, …). `fields`: elements by FieldURI, as XML.
    `extended`: by property tag: (type, value). `refuses`: the code that GetItem answers."""

    kind: str
    fields: dict[str, str] = field(default_factory=dict)
    extended: dict[str, tuple[str, str]] = field(default_factory=dict)
    mime: bytes = b""
    attachments: list[Attachment] = field(default_factory=list)
    refuses: str = ""
    id: str = ""
    change_key: str = ""
    modified: list[tuple[FakeItem, str]] = field(default_factory=list)
    """Of a series: changed occurrences, each with its original start."""


@dataclass(slots=True)
class FakeFolder:
    """`log`: ids of items in the order in which something happened to them, with what; SyncFolderItems reads it.
    `permissions`: XML within PermissionSet."""

    id: str
    entry_id: bytes
    parent: str
    name: str
    folder_class: str
    distinguished: str = ""
    hidden: bool = False
    permissions: str = ""
    items: dict[str, FakeItem] = field(default_factory=dict)
    log: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class FakeMailbox:
    """One mailbox. `full_access`: logins that may open it beside the owner; `rules`, `delegates`, `away`: XML that the
    operations of these names answer with."""

    address: str
    guid: uuid.UUID = field(default_factory=uuid.uuid4)
    folders: dict[str, FakeFolder] = field(default_factory=dict)
    archive: FakeMailbox | None = None
    full_access: set[str] = field(default_factory=set)
    rules: str = ""
    delegates: str = ""
    away: str = "Disabled"
    counter: int = 1000
    by_id: dict[str, FakeItem] = field(default_factory=dict)
    """Every item, exceptions of series too."""

    def __post_init__(self) -> None:
        self.replica = uuid.uuid5(self.guid, "replica")
        root = self.add_folder("Root", "", distinguished="root", parent=None)
        top = self.add_folder("Top of Information Store", "", distinguished="msgfolderroot", parent=root)
        for name, (shown, kind) in WELL_KNOWN.items():
            self.add_folder(shown, kind, distinguished=name, parent=top)

    def _next(self) -> int:
        self.counter += 1
        return self.counter

    def _gid(self, number: int) -> bytes:
        return self.replica.bytes_le + number.to_bytes(6, "big") + b"\0\0"

    def add_folder(
        self, name: str, kind: str = "IPF.Note", *, distinguished: str = "", parent: FakeFolder | None = None
    ) -> FakeFolder:
        """Below `parent`, else at the top."""
        gid = self._gid(self._next())
        entry = b"\0\0\0\0" + self.guid.bytes_le + b"\x01\0" + gid
        made = FakeFolder(_id(b"F", entry), entry, "", name, kind, distinguished)
        if distinguished != "root":
            made.parent = (parent or self.known("msgfolderroot")).id
        self.folders[made.id] = made
        return made

    def known(self, distinguished: str) -> FakeFolder:
        return next(one for one in self.folders.values() if one.distinguished == distinguished)

    def open_archive(self) -> FakeMailbox:
        """The archive mailbox, made at the first call."""
        if self.archive is None:
            self.archive = FakeMailbox(self.address, uuid.uuid5(self.guid, "archive"), full_access=self.full_access)
        return self.archive

    def add(self, folder: FakeFolder, item: FakeItem) -> FakeItem:
        """The item, with ids."""
        gid = self._gid(self._next())
        entry = b"\0\0\0\0" + self.guid.bytes_le + b"\x07\0" + self._gid(1) + gid
        item.id, item.change_key = _id(b"M", entry), _change_key(self.counter)
        item.extended["0x0fff"] = ("Binary", base64.b64encode(entry).decode())
        self.by_id[item.id] = item
        for number, one in enumerate(item.attachments):
            one.id = f"{item.id}-{number}"
        for exception, _ in item.modified:
            exception.id, exception.change_key = f"{item.id}O{self._next()}", item.change_key
            self.by_id[exception.id] = exception
            for number, one in enumerate(exception.attachments):
                one.id = f"{exception.id}-{number}"
        folder.items[item.id] = item
        folder.log.append(("there", item.id))
        return item

    def touch(self, folder: FakeFolder, item: FakeItem, what: str = "there") -> None:
        """Something of it changed; `read`: its read state alone."""
        item.change_key = _change_key(self._next())
        folder.log.append((what, item.id))

    def remove(self, folder: FakeFolder, item: FakeItem) -> None:
        """With its exceptions."""
        del folder.items[item.id]
        for one in (item, *(exception for exception, _ in item.modified)):
            del self.by_id[one.id]
        folder.log.append(("gone", item.id))

    def move(self, item: FakeItem, source: FakeFolder, target: FakeFolder) -> FakeItem:
        self.remove(source, item)
        return self.add(target, item)


def _id(kind: bytes, entry: bytes) -> str:
    return base64.b64encode(b"FAKE" + kind + entry).decode()


def _change_key(number: int) -> str:
    return base64.b64encode(b"CQ" + number.to_bytes(6, "big")).decode()


def entry_of(item_id: str) -> bytes:
    """The entry id in an item's id, also of one that is gone."""
    data = base64.b64decode(item_id)
    return data[5:] if data.startswith(b"FAKE") else b""


def message(
    mime: bytes,
    *,
    received: datetime = RECEIVED,
    read: bool = False,
    draft: bool = False,
    flagged: bool = False,
    verb: int = 0,
    categories: Sequence[str] = (),
    item_class: str = "IPM.Note",
    kind: str = "Message",
) -> FakeItem:
    """A message as Exchange would show it, from its bytes (line ends CRLF)."""
    header = mime.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
    lines = {
        name.strip().lower(): text.strip() for name, _, text in (line.partition(":") for line in header.split("\r\n"))
    }
    fields = {
        "item:ItemClass": element("ItemClass", item_class),
        "item:Subject": element("Subject", lines.get("subject", "")),
        "item:DateTimeReceived": element("DateTimeReceived", stamp(received)),
        "item:Size": element("Size", len(mime)),
        "item:IsDraft": element("IsDraft", draft),
        "item:DateTimeSent": element("DateTimeSent", stamp(received)),
        "item:DateTimeCreated": element("DateTimeCreated", stamp(received)),
        "item:HasAttachments": element("HasAttachments", False),
        "message:IsRead": element("IsRead", read),
    }
    if "message-id" in lines:
        fields["message:InternetMessageId"] = element("InternetMessageId", lines["message-id"])
    if categories:
        fields["item:Categories"] = _strings("Categories", categories)
    extended = {"0x0e06": ("SystemTime", stamp(received))}
    if verb:
        extended["0x1081"] = ("Integer", str(verb))
    if flagged:
        extended["0x1090"] = ("Integer", "2")
    if not draft and "message-id" in lines:
        extended["0x007d"] = ("String", _NOT_XML.sub("", header) + "\r\n\r\n")
    return FakeItem(kind, fields, extended, mime)


def _strings(name: str, values: Sequence[str]) -> str:
    return f"<t:{name}>" + "".join(element("String", one) for one in values) + f"</t:{name}>"


def set_field(item: FakeItem, uri: str, value: object) -> None:
    """Change one simple field."""
    item.fields[uri] = element(uri.partition(":")[2], value)


@dataclass
class FakeExchange:
    """Everybody. `passwords`: by login. `tokens`: access tokens that are good, by the login they stand for.
    `impersonators`: logins with the role ApplicationImpersonation."""

    mailboxes: dict[str, FakeMailbox] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    impersonators: set[str] = field(default_factory=set)
    public: FakeMailbox | None = None
    version: tuple[int, int, int, int] = (15, 2, 1544, 9)

    def add(self, address: str, password: str) -> FakeMailbox:
        """A person whose login is the address."""
        self.passwords[address] = password
        self.mailboxes[address] = FakeMailbox(address, uuid.uuid5(uuid.NAMESPACE_DNS, address))
        return self.mailboxes[address]

    def everywhere(self) -> list[FakeMailbox]:
        found = list(self.mailboxes.values())
        found += [one.archive for one in found if one.archive is not None]
        return [*found, self.public] if self.public is not None else found
