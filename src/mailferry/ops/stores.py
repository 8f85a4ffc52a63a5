"""From an account to the source or target that opens it. The only place that knows every kind of store."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from mailferry.errors import UserError
from mailferry.model.account import Account, ImapAccount, PstAccount
from mailferry.model.recipient import Recipient
from mailferry.sources.base import Source
from mailferry.targets.base import Target


def source_of(account: Account, lanes: int) -> Source:
    """The source for an account; nothing is connected yet."""
    if isinstance(account, ImapAccount):
        from mailferry.sources.imap import ImapSource

        return ImapSource(account, lanes)
    if isinstance(account, PstAccount):
        from mailferry.sources.pst import PstSource

        return PstSource(account, addresses_of(account.people).get if account.people else lambda name: None)
    from mailferry.sources.maildir import MaildirSource

    return MaildirSource(account)


def target_of(account: Account, lanes: int) -> Target:
    """The target for an account; nothing is connected yet."""
    if isinstance(account, ImapAccount):
        from mailferry.targets.imap import ImapTarget

        return ImapTarget(account, lanes)
    if isinstance(account, PstAccount):
        raise UserError("a PST file can be read only", about=account.key, advice="give a maildir: or imaps:// target")
    from mailferry.targets.maildir import MaildirTarget

    return MaildirTarget(account)


@cache
def addresses_of(people: str) -> dict[str, str]:
    """X.500 name, without case, to primary address of everybody in a file of people. UserError, Permanent: see its
    reader."""
    from mailferry.ops.address_book import reader

    found: dict[str, str] = {}
    for one in reader(Path(people)).read():
        if isinstance(one, Recipient) and one.mail:
            found |= dict.fromkeys((name.casefold() for name in one.x500), one.mail)
    return found


def server_of(account: Account) -> str:
    """The server whose connections are counted; a Maildir's is this machine's disk, which has none."""
    return f"{account.host}:{account.port}" if isinstance(account, ImapAccount) else ""
