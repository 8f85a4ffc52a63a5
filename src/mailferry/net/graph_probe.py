"""What a mailbox at Graph shows, and which permissions its application lacks. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from mailferry.model.account import GraphAccount
from mailferry.net.graph import Graph, Refused
from mailferry.net.graph_folders import tree

DOORS = (
    ("mail", "/mailFolders/inbox", "Mail.Read"),
    ("calendars", "/calendars?$top=1", "Calendars.Read"),
    ("contacts", "/contacts?$top=1", "Contacts.Read"),
    ("tasks", "/todo/lists?$top=1", "Tasks.Read.All"),
    ("rules", "/mailFolders/inbox/messageRules", "MailboxSettings.Read"),
    ("out of office", "/mailboxSettings", "MailboxSettings.Read"),
)
"""What is looked for, by what request, and the application permission that it needs."""

_UNREACHABLE = (
    "Graph reaches neither an online archive nor public folders, notes and personal distribution lists: whoever has "
    "such things needs EWS for them, which Exchange Online ends on 1 April 2027."
)


@dataclass(frozen=True, slots=True)
class Probed:
    """`doors`: what can be read. `missing`: application permissions to be given."""

    folders: int
    messages: int
    doors: tuple[str, ...]
    missing: tuple[str, ...]
    warnings: tuple[str, ...]


async def probe(account: GraphAccount) -> Probed:
    """AuthError, ConfigError: no token. Permanent: the mailbox does not exist."""
    client = Graph(account)
    try:
        doors, missing, warnings = [], [], [_UNREACHABLE]
        for (name, _, needs), answer in zip(
            DOORS, await client.batch([client.user + path for _, path, _ in DOORS]), strict=True
        ):
            if not isinstance(answer, Refused):
                doors.append(name)
            elif answer.status == 403:
                missing.append(needs)
                warnings.append(
                    f"The application may not read {name}: give it {needs}, with an administrator's consent."
                )
            elif name == "mail":
                raise answer.error(account.key)
            else:
                warnings.append(f"Graph does not show {name} (HTTP {answer.status}, {answer.code}).")
        shown = (await tree(client)).folders if "mail" in doors else ()
        messages = sum(one.messages for one in shown)
        return Probed(len(shown), messages, tuple(doors), tuple(dict.fromkeys(missing)), tuple(warnings))
    finally:
        await client.close()
