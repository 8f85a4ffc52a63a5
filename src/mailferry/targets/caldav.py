"""CalDAV (RFC 4791) as a target of events, tasks and notes. What it shares with CardDAV is in `dav`."""

from __future__ import annotations

from mailferry.model.account import DavAccount
from mailferry.model.groupware import Kind
from mailferry.net.dav import DavConnection
from mailferry.targets.dav import DavSession, Service, open_session
from mailferry.wire import dav

SERVICE = Service(
    "caldav",
    dav.CALENDAR_HOME,
    dav.CALENDAR,
    dav.CALENDAR_DATA,
    "ics",
    "text/calendar; charset=utf-8",
    {Kind.EVENT: "VEVENT", Kind.TASK: "VTODO", Kind.NOTE: "VJOURNAL"},
)


class CalDavTarget:
    """One person's calendars, task lists and notes."""

    def __init__(self, account: DavAccount) -> None:
        self.key = account.key
        self.kinds = frozenset(SERVICE.components)
        self._account = account

    async def items_session(self) -> DavSession:
        return await open_session(SERVICE, DavConnection(self._account))
