"""Folders and messages in EWS answers, as the model knows them. Asks for nothing.

Source: [MS-OXWSFOLD], [MS-OXWSSYNC], [MS-OXWSMSG]; flags by MAPI properties, as `wire/mapi` has them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from mailferry.errors import RemoteProtocolError
from mailferry.model.message import NO_DATE, Date, Flag, LeftOut
from mailferry.wire.ews.answers import Element, M, T, extended, text, yes
from mailferry.wire.mapi.classes import keyword, left_out

FOLDER_FIELDS = (
    "folder:DisplayName",
    "folder:ParentFolderId",
    "folder:FolderClass",
    "folder:TotalCount",
    "0x0e08",
    "0x10f4",
    "0x0fff",
)
MARK_FIELDS = (
    "item:Size",
    "item:Categories",
    "item:IsDraft",
    "item:DateTimeReceived",
    "message:IsRead",
    "0x0e06",
    "0x1081",
    "0x1090",
)
LIST_FIELDS = (*MARK_FIELDS, "item:ItemClass", "message:InternetMessageId", "0x0fff")

_ANSWERED = {"102", "103"}  # [MS-OXOMSG] PidTagLastVerbExecuted
_FORWARDED = "104"
_FLAGGED = "2"  # [MS-OXOFLAG] PidTagFlagStatus


@dataclass(frozen=True, slots=True)
class FoundFolder:
    """A folder as EWS shows it. `entry_id`: b"", `size` None where the server does not tell."""

    id: str
    parent: str
    name: str
    folder_class: str
    messages: int
    size: int | None
    hidden: bool
    entry_id: bytes


def folders(message: Element) -> tuple[list[FoundFolder], int | None]:
    """The folders in one response message of GetFolder or FindFolder, and the offset of the next page, if any. Search
    folders are left out: they hold nothing themselves."""
    root = message.find(f"{M}RootFolder")
    if root is None:
        return [_folder(one) for one in message.iterfind(f"{M}Folders/*")], None
    found = [_folder(one) for one in root.iterfind(f"{T}Folders/*") if one.tag != f"{T}SearchFolder"]
    return found, next_page(root)


def next_page(root: Element) -> int | None:
    """The offset where a paged answer goes on; None at its end."""
    if root.get("IncludesLastItemInRange") != "false":
        return None
    offset = root.get("IndexedPagingOffset", "")
    return int(offset) if offset.isdigit() else None


def _folder(element: Element) -> FoundFolder:
    more = extended(element)
    return FoundFolder(
        id=_id(element, "FolderId"),
        parent=_id(element, "ParentFolderId"),
        name=text(element, "DisplayName"),
        folder_class=text(element, "FolderClass"),
        messages=int(text(element, "TotalCount") or 0),
        size=int(size) if (size := more.get("0x0e08", "")).isdigit() else None,
        hidden=more.get("0x10f4") == "true",
        entry_id=_bytes(more.get("0x0fff", "")),
    )


def _id(element: Element, name: str) -> str:
    found = element.find(f"{T}{name}")
    return "" if found is None else found.get("Id", "")


def _bytes(value: str) -> bytes:
    try:
        return base64.b64decode(value)
    except binascii.Error as error:
        raise RemoteProtocolError("a property of the answer is no base64") from error


@dataclass(frozen=True, slots=True)
class FoundItem:
    """One item of a listing."""

    id: str
    change_key: str
    entry_id: bytes
    item_class: str
    size: int
    flags: int
    keywords: tuple[str, ...]
    was_sent: bool

    def left_out(self, uid: int) -> LeftOut | None:
        """The rule by which it is no message."""
        return left_out(uid, self.item_class, lambda: self.was_sent)


@dataclass(frozen=True, slots=True)
class Changes:
    """One page of SyncFolderItems. `read`: ids whose read state alone changed."""

    state: str
    last: bool
    there: list[FoundItem]
    read: list[str]
    gone: list[str]


def changes(message: Element) -> Changes:
    """RemoteProtocolError where the page does not say where it ends."""
    state = message.findtext(f"{M}SyncState")
    if not state:
        raise RemoteProtocolError("an answer to SyncFolderItems has no SyncState")
    page = Changes(state, message.findtext(f"{M}IncludesLastItemInRange") != "false", [], [], [])
    for change in message.iterfind(f"{M}Changes/*"):
        if change.tag == f"{T}Delete":
            page.gone.append(_id(change, "ItemId"))
        elif change.tag == f"{T}ReadFlagChange":
            page.read.append(_id(change, "ItemId"))
        else:
            page.there.extend(map(item, change))
    if not page.last and not (page.there or page.read or page.gone):
        raise RemoteProtocolError("an answer to SyncFolderItems is empty and says there is more")
    return page


def items(message: Element) -> Iterator[Element]:
    """The items in one response message of GetItem."""
    return message.iterfind(f"{M}Items/*")


def item(element: Element) -> FoundItem:
    """An item asked for with `LIST_FIELDS`."""
    more = extended(element)
    flags, words = marks(element, more)
    named = element.find(f"{T}ItemId")
    return FoundItem(
        id=_id(element, "ItemId"),
        change_key="" if named is None else named.get("ChangeKey", ""),
        entry_id=_bytes(more.get("0x0fff", "")),
        item_class=text(element, "ItemClass"),
        size=int(text(element, "Size") or 0),
        flags=flags,
        keywords=words,
        was_sent=bool(text(element, "InternetMessageId")),
    )


def marks(element: Element, more: Mapping[str, str]) -> tuple[int, tuple[str, ...]]:
    """Flags and keywords of an item asked for with `MARK_FIELDS`; `more`: its extended properties."""
    flags = Flag(0)
    if yes(element, "IsRead"):
        flags |= Flag.SEEN
    if yes(element, "IsDraft"):
        flags |= Flag.DRAFT
    verb = more.get("0x1081")
    if verb in _ANSWERED:
        flags |= Flag.ANSWERED
    if more.get("0x1090") == _FLAGGED:
        flags |= Flag.FLAGGED
    words = {keyword(one.text or "") for one in element.iterfind(f"{T}Categories/{T}String")} - {""}
    if verb == _FORWARDED:
        words.add("$Forwarded")
    return int(flags), tuple(sorted(words))


def internal_date(element: Element, more: Mapping[str, str]) -> Date:
    """When it arrived, as the store has it."""
    found = instant(more.get("0x0e06", "") or text(element, "DateTimeReceived"))
    return NO_DATE if found is None else Date(int(found.timestamp()))


def instant(value: str) -> datetime | None:
    """An xs:dateTime with its offset, in UTC; None for what is no date, or has none."""
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)


def converted(message: Element) -> bytes:
    """The entry id in one response message of ConvertId; b"" where there is none."""
    found = message.find(f"{M}AlternateId")
    try:
        return bytes.fromhex(found.get("Id", "") if found is not None else "")
    except ValueError:
        return b""
