"""What mailboxes on Exchange do by themselves, into files that `mailferry rules convert` reads: `rules fetch`.

Invariant: each file is written whole, and is called as the mailbox's address; a mailbox that cannot be opened stops no
other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from mailferry.config.accounts import parse_address
from mailferry.errors import MailferryError, UserError, explain
from mailferry.model.account import EwsAccount
from mailferry.net.ews_behaviour import Told, read_behaviour
from mailferry.ops.files import safe_name, write
from mailferry.secret import Secret
from mailferry.tasks import together

AT_ONCE = 4


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
    """Ask Exchange (`source`: an `ews://` address without a user) about each address, and write into `out`."""
    done: list[Fetched] = []
    waiting = iter(list(dict.fromkeys(people)))

    async def lane() -> None:
        for mail in waiting:
            try:
                account = parse_address(source, user=mail, secret=secret)
                if not isinstance(account, EwsAccount):
                    raise UserError("not an ews:// address", about=source, advice="docs/addresses.md")
                one = Fetched(mail, _written(out, mail, await read_behaviour(account)))
            except MailferryError as error:
                one = Fetched(mail, error=explain(error))
            done.append(one)
            said(one)

    await together(*(lane() for _ in range(AT_ONCE)))
    return sorted(done, key=lambda one: one.mail)


def _written(out: Path, mail: str, told: Told) -> tuple[Path, ...]:
    """Both answers, folders by their paths in place of ids, which say nothing elsewhere."""
    rules = ElementTree.fromstring(told.rules)
    for element in rules.iter():
        path = told.folders.get(element.get("Id", "")) if str(element.tag).endswith("}FolderId") else None
        if path is not None:
            element.set("Id", "\\".join(path))
    files = []
    for ending, content in ((".rules.xml", ElementTree.tostring(rules)), (".away.xml", told.away)):
        files.append(out / safe_name(mail, ending))
        write(files[-1], content, 0o600)
    return tuple(files)
