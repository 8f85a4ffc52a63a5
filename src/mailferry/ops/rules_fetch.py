"""What mailboxes on Exchange do by themselves, into files that `mailferry rules convert` reads: `rules fetch`.

Invariant: each file is written whole, and is called as the mailbox's address; a mailbox that cannot be opened stops no
other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from mailferry.config.accounts import parse_address
from mailferry.errors import MailferryError, UserError, explain
from mailferry.model.account import EwsAccount, GraphAccount
from mailferry.net import graph_behaviour
from mailferry.net.ews_behaviour import Told, read_behaviour
from mailferry.ops.files import safe_name, write
from mailferry.secret import Secret
from mailferry.tasks import together

AT_ONCE = 4
Answers = Sequence[tuple[str, bytes]]
"""Endings of files, with what goes into each."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """One mailbox: its files, or why there are none."""

    mail: str
    files: tuple[Path, ...] = ()
    error: str = ""


async def fetch(
    source: str,
    secret: Secret | None,
    people: Sequence[str],
    out: Path,
    said: Callable[[Fetched], None] = lambda one: None,
) -> list[Fetched]:
    """Ask Exchange (`source`: an `ews://` or `graph:` address without a user) about each address, and write into
    `out`."""
    done: list[Fetched] = []
    waiting = iter(list(dict.fromkeys(people)))

    async def lane() -> None:
        for mail in waiting:
            try:
                account = parse_address(source, user=mail, secret=secret)
                if isinstance(account, GraphAccount):
                    rules, settings = await graph_behaviour.read_behaviour(account)
                    told: Answers = ((".rules.json", _json(rules)), (".away.json", _json(settings)))
                elif isinstance(account, EwsAccount):
                    told = _by_path(await read_behaviour(account))
                else:
                    raise UserError("not an ews:// or graph: address", about=source, advice="docs/addresses.md")
                one = Fetched(mail, _written(out, mail, told))
            except MailferryError as error:
                one = Fetched(mail, error=explain(error))
            done.append(one)
            said(one)

    await together(*(lane() for _ in range(AT_ONCE)))
    return sorted(done, key=lambda one: one.mail)


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def _by_path(told: Told) -> Answers:
    """Both answers, folders by their paths in place of ids, which say nothing elsewhere."""
    rules = ElementTree.fromstring(told.rules)
    for element in rules.iter():
        path = told.folders.get(element.get("Id", "")) if str(element.tag).endswith("}FolderId") else None
        if path is not None:
            element.set("Id", "\\".join(path))
    return (".rules.xml", ElementTree.tostring(rules)), (".away.xml", told.away)


def _written(out: Path, mail: str, told: Answers) -> tuple[Path, ...]:
    files = []
    for ending, content in told:
        files.append(out / safe_name(mail, ending))
        write(files[-1], content, 0o600)
    return tuple(files)
