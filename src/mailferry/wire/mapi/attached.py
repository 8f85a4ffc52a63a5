"""What is attached to an event, contact or task: files, links, items as messages. Changed occurrences are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mailferry.errors import ItemError
from mailferry.model.groupware import Attached
from mailferry.model.message import Body, MemoryBody
from mailferry.wire.mapi import tags
from mailferry.wire.mapi.fields import Making
from mailferry.wire.mapi.item import Attachment, Item
from mailferry.wire.mapi.rebuild import rebuilt

Keep = Callable[[Iterator[bytes]], Body]
"""Holds the bytes that come in pieces, in memory or in a file. ItemError where there are too many."""

_BY_VALUE, _EMBEDDED, _OLE = 1, 5, 6


def attached(item: Item, making: Making, keep: Keep) -> Iterator[Attached]:
    """The attachments in order; one that cannot be read is named in `making`."""
    try:
        for number, one in enumerate(item.attachments(), 1):
            try:
                bag = one.properties
                if (
                    bag.get(tags.EXCEPTION_START_TIME) is not None
                    and making.number(bag, tags.ATTACH_METHOD) == _EMBEDDED
                ):
                    continue
                if bag.get(tags.ATTACHMENT_HIDDEN) is True or bag.get(tags.ATTACHMENT_CONTACT_PHOTO) is True:
                    continue
                yield _one(one, making, keep)
            except ItemError as error:
                making.lost(f"attachment {number} could not be read: {error.message}")
    except ItemError as error:
        making.lost(f"the list of attachments could not be read: {error.message}")


def _one(one: Attachment, making: Making, keep: Keep) -> Attached:
    bag = one.properties
    name = making.text(bag, tags.ATTACH_LONG_FILENAME, tags.ATTACH_FILENAME, tags.DISPLAY_NAME)
    name = name.replace("\\", "/").rpartition("/")[2].strip(" \0")
    kind = making.text(bag, tags.ATTACH_MIME_TAG).strip().casefold() or "application/octet-stream"
    method = making.number(bag, tags.ATTACH_METHOD)
    if method == _EMBEDDED:
        message = one.message()
        if message is None:
            raise ItemError("the attached item is missing")
        return Attached(f"{name or 'message'}.eml", "message/rfc822", keep(rebuilt(message, making, 1)))
    if method in (None, _BY_VALUE):
        return Attached(name, kind, keep(bag.chunks(tags.ATTACH_DATA)))
    if method == _OLE:
        return Attached(name, kind, keep(one.object_chunks()))
    path = making.text(bag, tags.ATTACH_LONG_PATHNAME, tags.ATTACH_PATHNAME)
    if not path:
        raise ItemError("it is neither a file nor a link")
    return Attached(name, kind, MemoryBody(b""), reference=_url(path))


def _url(path: str) -> str:
    """A path of Windows as URL; what is one already stays."""
    if "://" in path:
        return path
    return "file:" + ("" if path.startswith("\\\\") else "///") + path.replace("\\", "/").replace(" ", "%20")
