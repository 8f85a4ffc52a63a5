"""What a mailbox at Graph does by itself: its rules and its out-of-office. Reads only, and understands neither
(rules/graph.py does)."""

from __future__ import annotations

from typing import Any

from mailferry.model.account import GraphAccount
from mailferry.net.graph import Graph
from mailferry.net.graph_folders import tree

_TO_A_FOLDER = ("moveToFolder", "copyToFolder")


async def read_behaviour(account: GraphAccount) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The messageRules, with the paths of folders in place of their ids, and the mailboxSettings. AuthError, Permanent:
    the mailbox, or its rules, cannot be opened; Temporary, RemoteProtocolError."""
    client = Graph(account)
    try:
        paths = {one.id: "\\".join(one.path) for one in (await tree(client)).folders}
        rules = [dict(one) for one in await client.all(f"{client.user}/mailFolders/inbox/messageRules")]
        settings = dict(await client.get(f"{client.user}/mailboxSettings"))
    finally:
        await client.close()
    for rule in rules:
        actions = rule.get("actions")
        if isinstance(actions, dict):
            rule["actions"] = {
                key: paths.get(value, value) if key in _TO_A_FOLDER else value for key, value in actions.items()
            }
    return rules, settings
