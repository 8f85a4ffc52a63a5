"""From an account to the source or target that opens it. The only place that knows every kind of store."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from mailferry.errors import UserError
from mailferry.model.account import (
    ITEM_STORES,
    Account,
    DavAccount,
    EwsAccount,
    GraphAccount,
    IcsAccount,
    ImapAccount,
    PstAccount,
)
from mailferry.model.recipient import Recipient
from mailferry.sources.base import Source
from mailferry.sources.items import ItemSource
from mailferry.targets.base import Target
from mailferry.targets.items import ItemTarget


def source_of(account: Account, lanes: int) -> Source:
    """The source for an account; nothing is connected yet."""
    if isinstance(account, ImapAccount):
        from mailferry.sources.imap import ImapSource

        return ImapSource(account, lanes)
    if isinstance(account, PstAccount):
        from mailferry.sources.pst import PstSource

        return PstSource(account, addresses_of(account.people).get if account.people else lambda name: None)
    if isinstance(account, EwsAccount):
        from mailferry.sources.ews import EwsSource

        return EwsSource(account, lanes)
    if isinstance(account, GraphAccount):
        from mailferry.sources.graph import GraphSource

        return GraphSource(account, lanes)
    if isinstance(account, ITEM_STORES):
        raise UserError("it holds no messages", about=account.key, advice="it goes with a target of the same kind")
    from mailferry.sources.maildir import MaildirSource

    return MaildirSource(account)


def target_of(account: Account, lanes: int) -> Target:
    """The target for an account; nothing is connected yet."""
    if isinstance(account, ImapAccount):
        from mailferry.targets.imap import ImapTarget

        return ImapTarget(account, lanes)
    if isinstance(account, PstAccount | EwsAccount | GraphAccount):
        what = "a PST file" if isinstance(account, PstAccount) else "a mailbox at EWS or Graph"
        raise UserError(f"{what} can be read only", about=account.key, advice="give a maildir: or imaps:// target")
    if isinstance(account, ITEM_STORES):
        raise UserError("it holds no messages", about=account.key, advice="give a maildir: or imaps:// target")
    from mailferry.targets.maildir import MaildirTarget

    return MaildirTarget(account)


def item_source_of(account: Account) -> ItemSource:
    """The source of events, contacts, tasks and notes for an account; nothing is connected yet. UserError: it has
    none."""
    if isinstance(account, PstAccount):
        from mailferry.sources.pst_items import PstItemSource

        return PstItemSource(account, addresses_of(account.people).get if account.people else lambda name: None)
    if isinstance(account, GraphAccount):
        from mailferry.sources.graph_items import GraphItemSource

        return GraphItemSource(account)
    if isinstance(account, EwsAccount):
        from mailferry.sources.ews_items import EwsItemSource

        return EwsItemSource(account)
    if isinstance(account, IcsAccount):
        from mailferry.sources.ics import IcsItemSource

        return IcsItemSource(account)
    raise UserError(
        "it shows no events and contacts", about=account.key, advice="ews://mailbox@host, pst:FILE or ics:DIRECTORY"
    )


def item_targets_of(accounts: Sequence[Account]) -> list[ItemTarget]:
    """The targets of events, contacts, tasks and notes for accounts. UserError: one can hold none."""
    targets: list[ItemTarget] = []
    for account in accounts:
        if isinstance(account, IcsAccount):
            from mailferry.targets.ics import IcsTarget

            targets.append(IcsTarget(account))
            continue
        if not isinstance(account, DavAccount):
            advice = "davs://user@host or ics:DIRECTORY"
            raise UserError("it holds no events and contacts", about=account.key, advice=advice)
        if account.service in ("dav", "caldav"):
            from mailferry.targets.caldav import CalDavTarget

            targets.append(CalDavTarget(account))
        if account.service in ("dav", "carddav"):
            from mailferry.targets.carddav import CardDavTarget

            targets.append(CardDavTarget(account))
    return targets


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
    served = ImapAccount | EwsAccount | DavAccount | GraphAccount
    return f"{account.host}:{account.port}" if isinstance(account, served) else ""
