"""Folders and messages in Graph's answers, as the model knows them. Asks for nothing.

Source: the resource types mailFolder and message of Microsoft Graph v1.0, and MAPI properties as
singleValueExtendedProperties.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mailferry.model.message import NO_DATE, Date, Flag, LeftOut
from mailferry.wire.graph.values import instant, listed, number, obj, text, texts
from mailferry.wire.mapi.classes import keyword, left_out

ENTRY_ID, FOLDER_CLASS, MESSAGE_CLASS, SIZE, VERB = 0x0FFF, 0x3613, 0x001A, 0x0E08, 0x1081
_FOLDER_PROPERTIES = ("Binary 0xfff", "String 0x3613")
_MESSAGE_PROPERTIES = ("Binary 0xfff", "String 0x1a", "Integer 0xe08", "Integer 0x1081")
_ANSWERED, _FORWARDED = (102, 103), 104  # [MS-OXOMSG] PidTagLastVerbExecuted


def _expanded(properties: tuple[str, ...]) -> str:
    wanted = " or ".join(f"id eq '{one}'" for one in properties)
    return f"$expand=singleValueExtendedProperties($filter={wanted})"


FOLDER_QUERY = "$select=id,displayName,parentFolderId,childFolderCount,totalItemCount,isHidden&" + _expanded(
    _FOLDER_PROPERTIES
)
MESSAGE_QUERY = "$select=id,isRead,isDraft,flag,categories,receivedDateTime,internetMessageId&" + _expanded(
    _MESSAGE_PROPERTIES
)


@dataclass(frozen=True, slots=True)
class FoundFolder:
    """`entry_id`: b"" where Graph does not tell."""

    id: str
    parent: str
    name: str
    folder_class: str
    children: int
    messages: int
    hidden: bool
    entry_id: bytes


@dataclass(frozen=True, slots=True)
class FoundMessage:
    """One line of a listing."""

    id: str
    entry_id: bytes
    item_class: str
    size: int
    flags: int
    keywords: tuple[str, ...]
    date: Date
    was_sent: bool

    def left_out(self, uid: int) -> LeftOut | None:
        """The rule by which it is no message."""
        return left_out(uid, self.item_class, lambda: self.was_sent)


def folder(data: Mapping[str, Any]) -> FoundFolder:
    """A mailFolder asked for with `FOLDER_QUERY`."""
    more = extended(data)
    return FoundFolder(
        id=text(data.get("id")),
        parent=text(data.get("parentFolderId")),
        name=text(data.get("displayName")),
        folder_class=more.get(FOLDER_CLASS, ""),
        children=number(data.get("childFolderCount")) or 0,
        messages=number(data.get("totalItemCount")) or 0,
        hidden=data.get("isHidden") is True,
        entry_id=binary(more.get(ENTRY_ID, "")),
    )


def message(data: Mapping[str, Any]) -> FoundMessage:
    """A message asked for with `MESSAGE_QUERY`."""
    more = extended(data)
    verb, size = more.get(VERB, ""), more.get(SIZE, "")
    flags = Flag(0)
    if data.get("isRead") is True:
        flags |= Flag.SEEN
    if data.get("isDraft") is True:
        flags |= Flag.DRAFT
    if verb.isdigit() and int(verb) in _ANSWERED:
        flags |= Flag.ANSWERED
    if text(obj(data.get("flag")).get("flagStatus")) == "flagged":
        flags |= Flag.FLAGGED
    words = {keyword(one) for one in texts(data.get("categories"))} - {""}
    if verb == str(_FORWARDED):
        words.add("$Forwarded")
    when = instant(data.get("receivedDateTime"))
    return FoundMessage(
        id=text(data.get("id")),
        entry_id=binary(more.get(ENTRY_ID, "")),
        item_class=more.get(MESSAGE_CLASS, ""),
        size=int(size) if size.isdigit() else 0,
        flags=int(flags),
        keywords=tuple(sorted(words)),
        date=NO_DATE if when is None else Date(int(when.timestamp())),
        was_sent=bool(data.get("internetMessageId")),
    )


def extended(data: Mapping[str, Any]) -> dict[int, str]:
    """The extended properties of a resource by their tag's number."""
    found = {}
    for one in map(obj, listed(data.get("singleValueExtendedProperties"))):
        tag = text(one.get("id")).rpartition("0x")[2]
        try:
            found[int(tag, 16)] = text(one.get("value"))
        except ValueError:
            continue
    return found


def binary(value: str) -> bytes:
    """base64, also its URL form (translateExchangeIds); b"" for anything else."""
    data = value.replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(data + "=" * (-len(data) % 4), validate=True)
    except binascii.Error:
        return b""
