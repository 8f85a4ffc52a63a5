"""Who may do what in a mailbox at EWS: the permissions of its folders, and its delegates, as the server's XML.

Reads only, and understands none of it (sharing/ews.py does).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lxml import etree

from mailferry.errors import MailferryError, Permanent
from mailferry.model.account import EwsAccount
from mailferry.model.folder import Path
from mailferry.net.ews import Ews
from mailferry.net.ews_discover import located
from mailferry.net.ews_folders import EwsFolder, tree
from mailferry.wire.ews import answers, requests
from mailferry.wire.ews.requests import Place

_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Told:
    """`folders`: path → its element. `delegates`: the answer to GetDelegate, b"" where it was refused. `refused`: what
    the server did not tell, and why."""

    folders: Sequence[tuple[Path, bytes]]
    delegates: bytes
    refused: tuple[str, ...]


async def read_sharing(account: EwsAccount) -> Told:
    """AuthError, Permanent: the mailbox cannot be opened; Temporary, RemoteProtocolError."""
    client = Ews(await located(account))
    refused: list[str] = []
    found: list[tuple[Path, bytes]] = []
    try:
        shown = await tree(client)
        own = [one for one in shown.folders if one.id and not one.hidden and not one.archive]
        for start in range(0, len(own), _AT_ONCE):
            found += await _some(client, own[start : start + _AT_ONCE], refused)
        try:
            delegates = etree.tostring(await client.one(requests.delegates(account.user)))
        except Permanent as error:
            delegates = b""
            refused.append(f"delegates: {error.message}")
    finally:
        await client.close()
    return Told(found, delegates, tuple(refused))


async def _some(client: Ews, folders: Sequence[EwsFolder], refused: list[str]) -> list[tuple[Path, bytes]]:
    places = [Place(id=one.id) for one in folders]
    answer = await client.call(requests.get_folders(places, ("folder:PermissionSet",)))
    answer.close()
    found = []
    for folder, message in zip(folders, answer.messages, strict=True):
        no = answers.refusal(message)
        if no is None:
            found.append((folder.path, etree.tostring(message)))
        else:
            error: MailferryError = no.error(client.account.key)
            refused.append(f"{'/'.join(folder.path)}: {error.message}")
    return found
