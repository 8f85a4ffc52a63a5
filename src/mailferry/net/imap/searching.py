"""Finds messages by their Message-ID over IMAP (RFC 3501 §6.4.4). Opens folders for reading only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from mailferry.errors import ItemError
from mailferry.model.folder import Folder
from mailferry.net.imap.connection import Connection
from mailferry.net.imap.reading import select
from mailferry.wire.imap import commands, sets
from mailferry.wire.imap.events import Search

MOST = 100
"""Uids of one folder that are told."""


async def find(
    connection: Connection, folders: Sequence[Folder], message_id: str
) -> AsyncIterator[tuple[Folder, int, list[int] | str]]:
    """(folder, its uidvalidity, uids) of each folder that holds it; instead of uids, why a folder could not be
    searched. The server compares as it likes, commonly any part of the header in any case. A Message-ID that cannot be
    quoted is nowhere."""
    text = message_id.encode(errors="replace")
    if not commands.can_quote(text):
        return
    command = b"UID SEARCH HEADER Message-ID " + commands.quote(text)
    for folder in folders:
        if not folder.selectable or (folder.status is not None and not folder.status.messages):
            continue
        try:
            selected = await select(connection, folder, write=False)
            answers = await connection.run(command, f"search the folder {folder.label}")
        except ItemError as error:
            yield folder, 0, error.message
            continue
        uids = [uid for one in answers if isinstance(one, Search) for uid in sets.expand(one.ranges)]
        if uids:
            yield folder, selected.status.uidvalidity, uids[:MOST]
