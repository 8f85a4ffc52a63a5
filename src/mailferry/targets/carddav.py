"""CardDAV (RFC 6352) as a target of contacts and personal lists. What it shares with CalDAV is in `dav`."""

from __future__ import annotations

from mailferry.model.account import DavAccount
from mailferry.model.groupware import Kind
from mailferry.net.dav import DavConnection
from mailferry.targets.dav import DavSession, Service, open_session
from mailferry.wire import dav

SERVICE = Service(
    "carddav",
    dav.ADDRESS_BOOK_HOME,
    dav.ADDRESS_BOOK,
    dav.ADDRESS_DATA,
    "vcf",
    "text/vcard; charset=utf-8",
    {Kind.CONTACT: ""},
)


class CardDavTarget:
    """One person's address books."""

    def __init__(self, account: DavAccount) -> None:
        self.key = account.key
        self.kinds = frozenset(SERVICE.components)
        self._account = account

    async def items_session(self) -> DavSession:
        return await open_session(SERVICE, DavConnection(self._account))
