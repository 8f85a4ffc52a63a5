"""What a mailbox at EWS does by itself: its rules, its out-of-office, and which folders the rules' ids stand for.

Reads only, and understands neither rules nor replies (rules/ews.py does).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lxml import etree

from mailferry.model.account import EwsAccount
from mailferry.model.folder import Path
from mailferry.net.ews import Ews
from mailferry.net.ews_discover import located
from mailferry.net.ews_folders import tree
from mailferry.wire.ews import answers, requests


@dataclass(frozen=True, slots=True)
class Told:
    """`rules`, `away`: the answers as XML (GetInboxRules, GetUserOofSettings). `folders`: EWS id → path."""

    rules: bytes
    away: bytes
    folders: Mapping[str, Path]


async def read_behaviour(account: EwsAccount) -> Told:
    """AuthError, Permanent: the mailbox, or its rules, cannot be opened; Temporary, RemoteProtocolError."""
    client = Ews(await located(account))
    try:
        shown = await tree(client)
        rules = await _asked(client, requests.inbox_rules(account.user))
        away = await _asked(client, requests.oof_settings(account.user))
    finally:
        await client.close()
    return Told(rules, away, {one.id: one.path for one in shown.folders if one.id})


async def _asked(client: Ews, body: str) -> bytes:
    answer = await client.call(body)
    answer.close()
    for one in answer.messages:
        refused = answers.refusal(one)
        if refused is not None:
            raise refused.error(client.account.key)
    return etree.tostring(answer.payload)
