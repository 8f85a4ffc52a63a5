"""Looks at a server before a move: connects, logs in, counts, warns. Reads only; opens no folder.

`probe` is for the `check` command: whatever goes wrong on the way raises as any session would.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailferry.model.account import ImapAccount, Tls
from mailferry.net.imap import login, storing
from mailferry.net.imap.connection import Connection
from mailferry.net.imap.folders import list_folders
from mailferry.wire.imap.events import Quota


@dataclass(frozen=True, slots=True)
class Probe:
    """`quirks`: the server's name in `wire/imap/quirks.py`. `tls`: protocol version or None. `quota`: (used, limit) in
    bytes of the storage quota. `append_limit`: bytes. `warnings`: one sentence each."""

    greeting: str
    identity: dict[str, str]
    quirks: str
    tls: str | None
    capabilities: tuple[str, ...]
    prefix: str
    separator: str | None
    folders: int
    messages: int
    uncounted: tuple[str, ...]
    quota: tuple[int, int] | None
    append_limit: int | None
    warnings: tuple[str, ...]


async def probe(account: ImapAccount) -> Probe:
    """Connect, log in, look. Raises AuthError, Temporary, Permanent, RemoteProtocolError, ConfigError."""
    connection = await login.connect(account)
    try:
        names, folders = await list_folders(connection)
        quota = await storage_quota(connection)
        counted = [folder for folder in folders if folder.status is not None]
        uncounted = tuple(folder.label for folder in folders if folder.selectable and folder.status is None)
        greeting = connection.greeting.text if connection.greeting is not None else ""
        return Probe(
            greeting=greeting,
            identity=dict(connection.identity),
            quirks=connection.quirks.name,
            tls=connection.stream.tls_version,
            capabilities=tuple(sorted(connection.capabilities)),
            prefix=names.prefix.decode("latin-1"),
            separator=names.separator,
            folders=len(folders),
            messages=sum(folder.status.messages for folder in counted if folder.status is not None),
            uncounted=uncounted,
            quota=quota,
            append_limit=storing.append_limit(connection.capabilities),
            warnings=tuple(_warnings(connection, uncounted, quota)),
        )
    finally:
        await connection.close()


async def storage_quota(connection: Connection) -> tuple[int, int] | None:
    """The storage quota of INBOX (RFC 9208), in bytes."""
    if "QUOTA" not in connection.capabilities:
        return None
    pending = await connection.send(b"GETQUOTAROOT INBOX", "tell the quota")
    await connection.wait(pending)
    for event in pending.events:
        if isinstance(event, Quota) and "STORAGE" in event.resources:
            used, limit = event.resources["STORAGE"]
            return used * 1024, limit * 1024
    return None


def _warnings(connection: Connection, uncounted: tuple[str, ...], quota: tuple[int, int] | None) -> list[str]:
    offered, account = connection.capabilities, connection.account
    found = []
    if account.tls is Tls.NONE:
        found.append("The connection is not encrypted: the password and all mail can be read on the way.")
    elif not account.verify:
        found.append("The server's certificate is not verified: another server could pose as this one.")
    if not offered & {"UIDPLUS", "IMAP4REV2"}:
        found.append("No UIDPLUS: as a target it does not tell what it stored, and nothing can be removed safely.")
    if not offered & {"CONDSTORE", "QRESYNC"}:
        found.append("No CONDSTORE: each later pass reads the flags of every changed folder again.")
    if not offered & {"LITERAL+", "LITERAL-", "IMAP4REV2"}:
        found.append("No LITERAL+: as a target it costs one more round trip for each message.")
    if connection.quirks.fakes:
        found.append("Exchange: sizes are estimates, and messages it cannot render are listed as failed.")
    if quota is not None and quota[1] and quota[0] >= quota[1] * 0.9:
        found.append(f"The quota is {quota[0] * 100 // quota[1]} % used.")
    if uncounted:
        found.append(f"{len(uncounted)} folders do not let themselves be opened: {', '.join(uncounted[:5])}.")
    return found
