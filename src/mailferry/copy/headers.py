"""Reads header blocks of a source folder for the stages before the copy. Decides nothing by them.

Invariant: a message at which the connection breaks each time is left out in the end, as in `stream`, so that it never
stops its mailbox (law 2).
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence

from mailferry.copy.work import MailboxWork
from mailferry.errors import Temporary
from mailferry.model.message import Headers
from mailferry.sources.base import SourceSession


async def source_headers(
    work: MailboxWork, folder_id: int, session: SourceSession, uids: Sequence[int]
) -> AsyncIterator[Headers]:
    """Those of these uids, ascending, but for what has gone and for the condemned. `folder_id`: whose suspects."""
    condemned = work.suspects.condemned(folder_id)
    left = deque(uid for uid in sorted(uids) if uid not in condemned)
    try:
        async for item in session.headers(list(left)):
            while left and left[0] <= item.uid:
                left.popleft()
            yield item
    except Temporary as error:
        if left and error.retry_after is None:
            work.suspects.blame(folder_id, left[0])
        raise
