"""Reading a folder over IMAP: open it, list it, fetch messages ahead of the consumer. Changes nothing.

`fetch` keeps several FETCH commands in flight (`Quirks.depth`); what a batch did not bring is looked for singly, so
that one bad message costs one message. Invariant: one item per uid asked for, in ascending order, but for uids that
have gone from the folder.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from mailferry.errors import RemoteProtocolError
from mailferry.model.folder import Folder, FolderStatus, Selected
from mailferry.model.message import (
    ALL_FLAGS,
    NO_DATE,
    Body,
    Failed,
    Headers,
    Listed,
    Listing,
    MemoryBody,
    Message,
    Reason,
)
from mailferry.net.imap.connection import Connection, Pending
from mailferry.wire.imap import commands, events, flags, quirks, sets
from mailferry.wire.imap.events import Acl, Event, Exists, Fetch, Metadata, Notice, Streamed, Vanished

_MESSAGE_ITEMS = b"(UID FLAGS INTERNALDATE BODY.PEEK[])"
_HEADER_ITEMS = b"(UID INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER])"


async def select(connection: Connection, folder: Folder, *, write: bool) -> Selected:
    """SELECT or EXAMINE. ItemError if the folder cannot be opened."""
    name = commands.mailbox(folder.name.encode("latin-1"))
    condstore = b" (CONDSTORE)" if "CONDSTORE" in connection.capabilities else b""
    command = (b"SELECT " if write else b"EXAMINE ") + name + condstore
    connection.exists = 0
    pending = await connection.send(command, f"open the folder {folder.label}")
    answers = await connection.finish(pending)
    tagged = pending.done.result()
    count = 0
    uidvalidity = uidnext = modseq = None
    bits, keywords, new_keywords = ALL_FLAGS, frozenset[str](), False
    for event in answers:
        if isinstance(event, Exists):
            count = event.count
        elif isinstance(event, events.Flags):
            keywords = frozenset(event.keywords)
        elif isinstance(event, Notice) and event.code is not None:
            code = event.code
            if code.name == "UIDVALIDITY":
                uidvalidity = code.number
            elif code.name == "UIDNEXT":
                uidnext = code.number
            elif code.name == "HIGHESTMODSEQ":
                modseq = code.number
            elif code.name == "PERMANENTFLAGS":
                new_keywords = "\\*" in code.atoms
                bits, named = flags.parse(" ".join(code.atoms).encode("latin-1"))
                if write:
                    keywords = frozenset(named)
    if uidvalidity is None:
        raise RemoteProtocolError("the server gives no UIDVALIDITY", about=connection.about)
    if uidnext is None:
        uidnext = await _uidnext(connection, count)
    read_only = tagged.code is not None and tagged.code.name == "READ-ONLY"
    return Selected(FolderStatus(uidvalidity, uidnext, count, modseq or None), bits, new_keywords, keywords, read_only)


async def _uidnext(connection: Connection, count: int) -> int:
    """The least that uidnext can be, for servers that do not tell (RFC 3501 lets them)."""
    if not count:
        return 1
    highest = 0

    def take(event: Event, bodies: Sequence[Body]) -> bool:
        nonlocal highest
        if isinstance(event, Fetch) and event.uid is not None:
            highest = max(highest, event.uid)
            return True
        return False

    await connection.finish(await connection.send(b"UID FETCH * (UID)", "tell its last uid", take))
    return highest + 1


async def listing(connection: Connection, status: FolderStatus, changed_since: int | None) -> Listing:
    """Uids and flags of the open folder; only changes where the server has QRESYNC and `changed_since` is given.

    `status`: what opening it told, or is about to tell.
    """
    if changed_since is not None and "QRESYNC" in connection.capabilities and status.highestmodseq is not None:
        changes = await _changes(connection, changed_since)
        if changes is not None:
            return changes
    if not status.messages and not connection.exists:
        return Listing([])
    found, _ = await _flags(connection, b"UID FETCH 1:* (UID FLAGS)")
    return Listing(found)


async def _changes(connection: Connection, since: int) -> Listing | None:
    """RFC 7162 §3.2.6. None: so much has vanished that a complete listing is cheaper."""
    if since < 1:
        return None
    command = b"UID FETCH 1:* (UID FLAGS) (CHANGEDSINCE %d VANISHED)" % since
    found, gone = await _flags(connection, command)
    if sum(map(sets.count, gone)) > sets.MAX_EXPANDED:
        return None
    vanished = sorted({uid for ranges in gone for uid in sets.expand(ranges)})
    return Listing(found, complete=False, vanished=tuple(vanished))


async def _flags(connection: Connection, command: bytes) -> tuple[list[Listed], list[sets.Ranges]]:
    found: dict[int, Listed] = {}
    gone: list[sets.Ranges] = []

    def take(event: Event, bodies: Sequence[Body]) -> bool:
        if isinstance(event, Fetch):
            uid = event.uid
            if uid is None or event.flags is None:
                return False
            found[uid] = Listed(uid, event.flags, event.keywords)
            return True
        if isinstance(event, Vanished):
            gone.append(event.ranges)
            return True
        return False

    await connection.finish(await connection.send(command, "list the folder", take))
    return [found[uid] for uid in sorted(found)], gone


class _Batch:
    """One FETCH in flight: what has come and may be taken, in the order of the uids asked for."""

    def __init__(self, connection: Connection, uids: Sequence[int]) -> None:
        self.uids = deque(uids)  # not yet handed out, ascending
        self.ready: deque[tuple[Fetch, Body]] = deque()
        self.early: dict[int, tuple[Fetch, Body]] = {}  # came before a smaller uid that may yet come
        self.pending: Pending | None = None
        self._wanted = set(uids)
        self._connection = connection
        self._news: asyncio.Future[None] | None = None

    def take(self, event: Event, bodies: Sequence[Body]) -> bool:
        """The sink: keeps a message that was asked for, once."""
        if not isinstance(event, Fetch) or event.uid not in self._wanted:
            return False
        content = event.body if event.body is not None else event.header
        if content is None:
            return False
        body = bodies[content.number] if isinstance(content, Streamed) else MemoryBody(content)
        uid = event.uid
        self._wanted.discard(uid)
        if self.uids and self.uids[0] == uid:
            self.uids.popleft()
            self._offer(event, body)
            while self.uids and self.uids[0] in self.early:
                self._offer(*self.early.pop(self.uids.popleft()))
        else:
            self.early[uid] = (event, body)
        return True

    def _offer(self, event: Fetch, body: Body) -> None:
        self.ready.append((event, body))
        self._connection.hold(body.size)
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def news(self) -> bool:
        """Wait for something to be ready or for the command's end; False at the end."""
        assert self.pending is not None
        if self.ready:
            return True
        if self.pending.done.done():
            return False
        self._news = asyncio.get_running_loop().create_future()
        waits: set[asyncio.Future[Any]] = {self._news, self.pending.done}
        with self._connection.waiting():  # Dovecot works on several FETCHes at once: later batches may fill the budget
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return bool(self.ready)

    def drop(self) -> None:
        """Nobody wants the rest: give back what came, and let what comes be dropped."""
        self._wanted.clear()
        for _, body in self.ready:
            self._connection.release(body.size)
        for _, body in (*self.ready, *self.early.values()):
            body.close()
        self.ready.clear()
        self.early.clear()


async def fetch(connection: Connection, uids: Sequence[int]) -> AsyncIterator[Message | Failed]:
    """Whole messages; see the contract in `sources/base.py`."""
    async for uid, found in _fetch(connection, uids, _MESSAGE_ITEMS):
        if isinstance(found, Failed):
            yield found
            continue
        event, body = found
        if connection.quirks.fakes and body.size < 65536 and quirks.is_fake(b"".join(body.chunks())):
            body.close()
            yield Failed(uid, Reason.FAKE, "the server could not render this message and gave a stand-in")
            continue
        yield Message(uid, event.flags or 0, event.keywords, event.internal_date or NO_DATE, body)


async def headers(connection: Connection, uids: Sequence[int]) -> AsyncIterator[Headers]:
    """Header blocks. `size` is RFC822.SIZE, which on Exchange is an estimate (`Quirks.trust_size`)."""
    async for uid, found in _fetch(connection, uids, _HEADER_ITEMS):
        if isinstance(found, Failed):
            continue
        event, body = found
        block = b"".join(body.chunks())
        body.close()
        yield Headers(uid, event.internal_date or NO_DATE, event.size or 0, block)


async def _fetch(
    connection: Connection, uids: Sequence[int], items: bytes
) -> AsyncIterator[tuple[int, tuple[Fetch, Body] | Failed]]:
    how = connection.quirks
    groups = sets.split(sorted(set(uids)), how.batch, how.max_command - 100)
    running: deque[_Batch] = deque()
    exhausted = False
    try:
        while True:
            while not exhausted and len(running) < how.depth:
                group = next(groups, None)
                if group is None:
                    exhausted = True
                else:
                    running.append(await _start(connection, group, items))
            if not running:
                return
            batch = running[0]
            async for uid, message in _drain(connection, batch):
                yield uid, message
            assert batch.pending is not None
            await connection.wait(batch.pending)
            if batch.uids:
                async for found in _missing(connection, batch, items):
                    yield found
            running.popleft()
    finally:
        for batch in running:
            batch.drop()
        connection.resume()


async def _start(connection: Connection, uids: Sequence[int], items: bytes) -> _Batch:
    batch = _Batch(connection, uids)
    batch.pending = await connection.send(b"UID FETCH " + sets.format(uids) + b" " + items, "read messages", batch.take)
    return batch


async def _drain(connection: Connection, batch: _Batch) -> AsyncIterator[tuple[int, tuple[Fetch, Body]]]:
    ready = batch.ready
    while await batch.news():
        while ready:
            event, body = ready.popleft()
            connection.release(body.size)
            yield event.uid or 0, (event, body)


async def _missing(
    connection: Connection, batch: _Batch, items: bytes
) -> AsyncIterator[tuple[int, tuple[Fetch, Body] | Failed]]:
    """The uids that the batch left open, in order: gone (left out), there but early, or read once more alone."""
    asked = [uid for uid in batch.uids if uid not in batch.early]
    present = await _present(connection, asked)
    singles: dict[int, _Batch] = {}
    left = deque(uid for uid in asked if uid in present)
    try:
        while batch.uids:
            while left and len(singles) < connection.quirks.depth:
                uid = left.popleft()
                singles[uid] = await _start(connection, [uid], items)
            uid = batch.uids.popleft()
            if uid in batch.early:
                yield uid, batch.early.pop(uid)
            elif uid in singles:
                single = singles.pop(uid)
                async for _, message in _drain(connection, single):
                    yield uid, message
                assert single.pending is not None
                tagged = await connection.wait(single.pending)
                if single.uids:
                    words = tagged.text if tagged.status != "OK" else "the server lists it but gives no content"
                    yield uid, Failed(uid, Reason.UNREADABLE, words or "the server gave no reason")
    finally:
        for single in singles.values():
            single.drop()


async def _present(connection: Connection, uids: Sequence[int]) -> set[int]:
    """Which of these uids are still in the folder."""
    found: set[int] = set()

    def take(event: Event, bodies: Sequence[Body]) -> bool:
        if isinstance(event, Fetch) and event.uid is not None and event.body is None:
            found.add(event.uid)
            return True
        return False

    for group in sets.split(uids, len(uids), connection.quirks.max_command - 100):
        await connection.finish(
            await connection.send(b"UID FETCH " + sets.format(group) + b" (UID)", "look for messages", take)
        )
    return found


async def acl(connection: Connection, folder: Folder, owner: str) -> Mapping[str, str] | None:
    """RFC 4314 GETACL without the owner's own rights; None where there is no ACL or we may not see it.

    Courier shows its defaults for `owner` and `administrators` on every folder.
    """
    if "ACL" not in connection.capabilities:
        return None
    pending = await connection.send(b"GETACL " + commands.mailbox(folder.name.encode("latin-1")), "tell the rights")
    tagged = await connection.wait(pending)
    for event in pending.events:
        if tagged.status == "OK" and isinstance(event, Acl):
            own = {owner.casefold(), f"user={owner}".casefold(), "owner"}
            if connection.quirks is quirks.COURIER:
                own.add("administrators")
            return {who: rights for who, rights in event.rights.items() if who.casefold() not in own}
    return None


async def metadata(connection: Connection, folder: Folder) -> Mapping[str, bytes] | None:
    """RFC 5464 GETMETADATA of all entries of the folder; None where the server has none."""
    if "METADATA" not in connection.capabilities:
        return None
    name = commands.mailbox(folder.name.encode("latin-1"))
    pending = await connection.send(
        b"GETMETADATA (DEPTH infinity) " + name + b" (/private /shared)", "tell the annotations"
    )
    tagged = await connection.wait(pending)
    if tagged.status != "OK":
        return None
    entries: dict[str, bytes] = {}
    for event in pending.events:
        if isinstance(event, Metadata):
            entries.update((key, value) for key, value in event.entries.items() if value is not None)
    return entries or None
