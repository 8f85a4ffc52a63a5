"""From an account to the source or target that opens it. The only place that knows every kind of store."""

from __future__ import annotations

from mailferry.errors import UserError
from mailferry.model.account import Account, ImapAccount, PstAccount
from mailferry.sources.base import Source
from mailferry.targets.base import Target


def source_of(account: Account, lanes: int) -> Source:
    """The source for an account; nothing is connected yet."""
    if isinstance(account, ImapAccount):
        from mailferry.sources.imap import ImapSource

        return ImapSource(account, lanes)
    if isinstance(account, PstAccount):
        from mailferry.sources.pst import PstSource

        return PstSource(account)
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


def server_of(account: Account) -> str:
    """The server whose connections are counted; a Maildir's is this machine's disk, which has none."""
    return f"{account.host}:{account.port}" if isinstance(account, ImapAccount) else ""
