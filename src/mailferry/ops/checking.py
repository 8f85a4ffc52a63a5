"""Look at mailboxes before a move: the use case behind `mailferry check`. Changes nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mailferry.config.accounts import Pair
from mailferry.copy.worker import error_as_dict
from mailferry.errors import MailferryError, Permanent
from mailferry.model.account import (
    Account,
    DavAccount,
    EwsAccount,
    GraphAccount,
    IcsAccount,
    ImapAccount,
    MaildirAccount,
    PstAccount,
)
from mailferry.ops.stores import item_source_of, item_targets_of, source_of


@dataclass(frozen=True, slots=True)
class Checked:
    """One mailbox looked at. `facts`: what it told, JSON values; `error` as `worker.error_as_dict` gives it."""

    key: str
    facts: dict[str, Any]
    warnings: tuple[str, ...]
    error: dict[str, Any] | None = None


async def check(account: Account) -> Checked:
    """Connect, log in, look; what goes wrong is in the result."""
    try:
        if isinstance(account, ImapAccount):
            from mailferry.net.imap.probe import probe

            facts = asdict(await probe(account))
            return Checked(account.key, facts, tuple(facts.pop("warnings")))
        if isinstance(account, PstAccount):
            return await asyncio.to_thread(_pst, account)
        if isinstance(account, EwsAccount):
            from mailferry.net.ews_probe import probe as probe_ews

            facts = asdict(await probe_ews(account))
            return Checked(account.key, facts, tuple(facts.pop("warnings")))
        if isinstance(account, GraphAccount):
            from mailferry.net.graph_probe import probe as probe_graph

            facts = asdict(await probe_graph(account))
            return Checked(account.key, facts, tuple(facts.pop("warnings")))
        if isinstance(account, DavAccount):
            return await _dav(account)
        if isinstance(account, IcsAccount):
            return await _ics(account)
        return await _maildir(account)
    except MailferryError as error:
        return Checked(account.key, {}, (), error_as_dict(error))


async def _dav(account: DavAccount) -> Checked:
    """What the person has there. Makes nothing."""
    places = []
    for target in item_targets_of([account]):
        session = await target.items_session()
        try:
            places += await session.places()
        finally:
            await session.close()
    shown = {place.id: sorted(kind.value for kind in place.kinds) for place in places}
    return Checked(account.key, {"collections": shown}, ())


async def _ics(account: IcsAccount) -> Checked:
    session = await item_source_of(account).items_session()
    try:
        shown = {}
        for collection in await session.collections():
            contents = await session.contents(collection)
            shown["/".join(collection.path)] = {
                "kind": collection.kind.value,
                "items": len(contents.items),
                "left_out": len(contents.not_carried),
            }
        return Checked(account.key, {"collections": shown}, ())
    finally:
        await session.close()


async def _maildir(account: MaildirAccount) -> Checked:
    parent = account.path
    while not os.path.exists(parent):
        parent = os.path.dirname(parent)
    if not os.access(parent, os.W_OK):
        raise Permanent("this user may not write there", about=parent, advice="run as root, or as the mail's owner")
    session = await source_of(account, 1).session() if os.path.isdir(account.path) else None
    folders = await session.folders() if session is not None else []
    if session is not None:
        await session.close()
    room = shutil.disk_usage(parent)
    facts = {
        "flavour": account.flavour.value,
        "exists": session is not None,
        "folders": len(folders),
        "messages": sum(folder.status.messages for folder in folders if folder.status),
        "free": room.free,
    }
    warnings = []
    if room.free < room.total * 0.05:
        warnings.append("Less than 5 % of the disk is free.")
    if account.owner is None and os.getuid() == 0 and session is None:
        warnings.append("The new Maildir will belong to root: name its owner with ?owner=USER.")
    return Checked(account.key, facts, tuple(warnings))


def _pst(account: PstAccount) -> Checked:
    """Reads every folder and the marks of every item, so that damage shows; no body."""
    from mailferry.net.pst import PstMailbox

    mailbox = PstMailbox(account)
    try:
        folders = mailbox.folders()
        listings = [mailbox.listing(mailbox.open(folder.name)) for folder in folders]
        facts = {
            "format": mailbox.format,
            "size": os.path.getsize(account.path),
            "folders": len(folders),
            "messages": sum(len(one.messages) for one in listings),
            "left_out": sum(len(one.left_out) for one in listings),
        }
        return Checked(account.key, facts, tuple(f"The file is damaged: {one}." for one in mailbox.damage))
    finally:
        mailbox.close()


def accounts_of(pairs: Sequence[Pair]) -> list[Account]:
    """Both sides of all pairs, each account once."""
    return list({one.key: one for pair in pairs for one in (pair.source, pair.target)}.values())
