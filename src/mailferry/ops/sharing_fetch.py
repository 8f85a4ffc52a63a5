"""Permissions of mailboxes at EWS, into files that `mailferry sharing convert` and `plan` read: `sharing fetch`.

Invariant: each file is written whole, and is called as the mailbox's address; a mailbox that cannot be opened stops no
other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from mailferry.config.accounts import parse_address
from mailferry.errors import MailferryError, UserError, explain
from mailferry.model.account import EwsAccount
from mailferry.model.permission import Access, Everybody, Permission
from mailferry.net.ews_sharing import Told, read_sharing
from mailferry.ops.files import safe_name, write
from mailferry.plan.wellknown import special_use_by_name
from mailferry.secret import Secret
from mailferry.sharing import ews
from mailferry.tasks import together

AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Fetched:
    """One mailbox: its file, or why there is none; `refused`: what Exchange did not tell of it."""

    mail: str
    file: Path | None = None
    refused: tuple[str, ...] = ()
    error: str = ""


async def fetch(
    source: str, secret: Secret | None, people: Sequence[str], output: Path, said: Callable[[Fetched], None]
) -> list[Fetched]:
    """Ask Exchange (`source`: an `ews://` address without a user) about each address, and write into `output`."""
    done: list[Fetched] = []
    waiting = iter(list(dict.fromkeys(people)))

    async def lane() -> None:
        for mail in waiting:
            try:
                account = parse_address(source, user=mail, secret=secret)
                if not isinstance(account, EwsAccount):
                    raise UserError("not an ews:// address", about=source, advice="docs/addresses.md")
                told = await read_sharing(account)
                file = output / safe_name(mail, ".sharing.json")
                write(file, json.dumps(rows(permissions(mail, told)), indent=1, ensure_ascii=False).encode(), 0o600)
                one = Fetched(mail, file, told.refused)
            except MailferryError as error:
                one = Fetched(mail, error=explain(error))
            done.append(one)
            said(one)

    await together(*(lane() for _ in range(AT_ONCE)))
    return sorted(done, key=lambda one: one.mail)


def permissions(mail: str, told: Told) -> list[Permission]:
    """All entries of a mailbox. What only GetDelegate tells of a folder (private items, meeting requests) goes to the
    same person's entry there."""
    delegates = ews.delegates(mail, ElementTree.fromstring(told.delegates)) if told.delegates else []
    found = [one for one in delegates if one.access is Access.ON_BEHALF]
    extra = {(one.user, special_use_by_name((one.folder,))): one for one in delegates if one.access is Access.FOLDER}
    for path, element in told.folders:
        for one in ews.folder(mail, "\\".join(path), ElementTree.fromstring(element)):
            use = special_use_by_name(path)
            more = extra.get((one.user, use)) if use is not None else None
            found.append(one if more is None else replace(one, delegate=more.delegate, private=more.private))
    return found


def rows(entries: Iterable[Permission]) -> list[dict[str, Any]]:
    """As docs/sharing.md exports them from PowerShell."""
    found: list[dict[str, Any]] = []
    for one in entries:
        user = one.user.value if isinstance(one.user, Everybody) else one.user
        if one.access is Access.ON_BEHALF:
            found.append({"Mailbox": one.mailbox, "GrantSendOnBehalfTo": [user]})
            continue
        flags = [name for name, yes in (("Delegate", one.delegate), ("CanViewPrivateItems", one.private)) if yes]
        found.append(
            {
                "Mailbox": one.mailbox,
                "FolderPath": f"\\{one.folder}",
                "User": user,
                "AccessRights": list(one.rights),
                "SharingPermissionFlags": ", ".join(flags) or None,
            }
        )
    return found
