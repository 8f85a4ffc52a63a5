"""How large a mailbox is, as far as its server tells. Reads only; opens no folder, reads no message.

The size is the sum over its folders where the server has STATUS=SIZE (RFC 8438), else what its quota counts (RFC 9208),
else not known; messages and folders are always counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailferry.model.account import ImapAccount
from mailferry.net.imap import login
from mailferry.net.imap.connection import Connection, Pending
from mailferry.net.imap.folders import list_folders
from mailferry.net.imap.probe import storage_quota
from mailferry.wire.imap import commands
from mailferry.wire.imap.events import Status


@dataclass(frozen=True, slots=True)
class Measured:
    """`bytes`: None where the server does not tell."""

    bytes: int | None
    messages: int
    folders: int


async def measure(account: ImapAccount) -> Measured:
    """Connect, log in, count. Raises AuthError, Temporary, Permanent, RemoteProtocolError, ConfigError."""
    connection = await login.connect(account)
    try:
        _, folders = await list_folders(connection)
        messages = sum(folder.status.messages for folder in folders if folder.status is not None)
        if "STATUS=SIZE" in connection.capabilities:
            names = [folder.name.encode("latin-1") for folder in folders if folder.selectable]
            size: int | None = await _sum(connection, names)
        else:
            used = await storage_quota(connection)
            size = None if used is None else used[0]
        return Measured(size, messages, len(folders))
    finally:
        await connection.close()


async def _sum(connection: Connection, names: list[bytes]) -> int:
    """All folders are asked before any answer is waited for; those refused count nothing."""
    window = connection.quirks.depth * 8
    pending: list[Pending] = []
    for number, name in enumerate(names):
        if number >= window:
            await connection.wait(pending[number - window])
        pending.append(
            await connection.send(b"STATUS " + commands.mailbox(name) + b" (SIZE)", "tell the size of the folder")
        )
    total = 0
    for one in pending:
        await connection.wait(one)
        total += sum(event.values.get("SIZE", 0) for event in one.events if isinstance(event, Status))
    return total
