"""What tests of PST files share: a file read by our reader, and the same file read by libpff."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pypff

from mailferry.wire.mapi import tags
from mailferry.wire.mapi.fields import Making
from mailferry.wire.mapi.rebuild import rebuilt
from mailferry.wire.pst.store import PstItem, PstStore


@dataclass(frozen=True, slots=True)
class Seen:
    """One item as a reader sees it; `attachments`: size and digest of each one by value, in order."""

    subject: str
    headers: str
    text: str
    attachments: tuple[tuple[int, str], ...]


def reader(data: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, size: data[offset : offset + size]


def store(data: bytes) -> PstStore:
    return PstStore(reader(data), len(data))


def mime(item: PstItem, making: Making | None = None) -> bytes:
    return b"".join(rebuilt(item, making or Making()))


def ours(path: Path) -> dict[tuple[str, ...], list[Seen]]:
    """Every folder with its items in order of their ids."""
    with path.open("rb") as file:

        def read(offset: int, size: int) -> bytes:
            file.seek(offset)
            return file.read(size)

        box = PstStore(read, path.stat().st_size)
        return {folder.path: [_ours(box.item(nid)) for nid in box.items(folder.nid)] for folder in box.folders()}


def _ours(item: PstItem) -> Seen:
    bag = item.properties

    def text(tag: int) -> str:
        value = bag.get(tag)
        return value if isinstance(value, str) else ""

    found = []
    for one in item.attachments():
        if one.properties.get(tags.ATTACH_METHOD) == 1:
            found.append(_digest(one.properties.chunks(tags.ATTACH_DATA)))
    subject = text(tags.SUBJECT)
    if subject.startswith("\x01"):
        subject = subject[2:]
    return Seen(subject, text(tags.TRANSPORT_MESSAGE_HEADERS), text(tags.BODY), tuple(found))


def _digest(pieces: Iterator[bytes]) -> tuple[int, str]:
    state, size = hashlib.sha256(), 0
    for piece in pieces:
        state.update(piece)
        size += len(piece)
    return size, state.hexdigest()


def theirs(path: Path) -> dict[tuple[str, ...], list[Seen | None]]:
    """The same as libpff sees it; None for an item that it gives up on, or does not take for a message.

    Only folders below the person's top.
    """
    file = pypff.file()
    file.open(str(path))
    found: dict[tuple[str, ...], list[Seen | None]] = {}
    top = _top(file.get_root_folder())
    for folder in top.sub_folders:
        _walk(folder, (), found)
    return found


def _top(root: Any) -> Any:
    for one in root.sub_folders:
        if str(one.name).startswith("Top of"):
            return one
        for child in one.sub_folders:
            if child.name == "IPM_SUBTREE" and one.name == "Root - Mailbox":
                return child
    return root


def _walk(folder: Any, above: tuple[str, ...], found: dict[tuple[str, ...], list[Seen | None]]) -> None:
    path = (*above, folder.name)
    numbers = range(folder.number_of_sub_messages)
    messages = sorted((folder.get_sub_message(number) for number in numbers), key=lambda one: int(one.identifier))
    found[path] = [_theirs(one) for one in messages]
    for child in folder.sub_folders:
        _walk(child, path, found)


def _theirs(message: Any) -> Seen | None:
    if not isinstance(message, pypff.message):
        return None
    try:
        attachments = []
        for number in range(message.number_of_attachments):
            one = message.get_attachment(number)
            data = one.read_buffer(one.get_size()) if one.get_size() else b""
            attachments.append((len(data), hashlib.sha256(data).hexdigest()))
        text = message.plain_text_body or b""
        return Seen(
            message.subject or "",
            (message.transport_headers or "").rstrip("\0"),
            text.decode("utf-8", "replace") if isinstance(text, bytes) else text,
            tuple(attachments),
        )
    except OSError:
        return None
