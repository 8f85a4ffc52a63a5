"""A target that fails where it is told to, around another target: for tests that must see every crash point.

It stores nothing itself. A `Script` holds the faults still to come; each takes effect at the next call of its
operation, on whichever session that is. `Killed` plays the death of our process: it is a `BaseException`, so no
handler of ours may swallow it; the test throws the engine away and starts a new one on the same ledger and stores.

Invariant: a message reaches the inner target only by a fault's own rule or unchanged; a session that has raised is dead
and says so (`LocalProtocolError`) when it is used again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TypeVar

from mailferry.errors import ItemError, LocalProtocolError, Permanent, Temporary
from mailferry.model.folder import Folder, Path, Selected, SpecialUse
from mailferry.model.message import Failed, Headers, Listed, Listing, MemoryBody, Message, Reason
from mailferry.targets.base import FolderLimits, Stored, Target, TargetSession

T = TypeVar("T")


class Killed(BaseException):
    """Our process dies here."""


class Ending(Enum):
    """How the caller learns of a fault."""

    TEMPORARY = "temporary"  # the connection is lost
    KILLED = "killed"  # our process is
    PERMANENT = "permanent"  # the whole target says no
    ITEM = "item"  # this folder says no; the session lives


class Operation(Enum):
    """Calls that can fail."""

    SESSION = "session"
    FOLDERS = "folders"
    SELECT = "select"
    LISTING = "listing"
    FETCH = "fetch"
    HEADERS = "headers"
    CREATE = "create"
    SUBSCRIBE = "subscribe"
    APPEND = "append"
    SET_FLAGS = "set_flags"
    REMOVE = "remove"
    SET_ACL = "set_acl"
    SET_METADATA = "set_metadata"
    FINISH = "finish"


@dataclass(frozen=True, slots=True)
class Fault:
    """One failure of the next call of `operation`.

    `done`: how many of the call's items (messages, flag changes, uids) are done before it ends; None for all, that is
    the reply is lost. For calls without items 0 is before and None after. `late` (append only): what is done shows in
    the target only after so many further operations on it. `skip`: so many calls of the operation pass first.
    """

    operation: Operation
    ending: Ending = Ending.TEMPORARY
    done: int | None = 0
    late: int = 0
    skip: int = 0


@dataclass(slots=True)
class Script:
    """What is still to go wrong. `refuse`: source uids whose messages the target refuses, always."""

    faults: list[Fault] = field(default_factory=list)
    refuse: dict[int, tuple[Reason, str]] = field(default_factory=dict)
    operations: int = 0
    """Calls so far."""

    def take(self, operation: Operation) -> Fault | None:
        """The fault for this call, if one is due."""
        for index, fault in enumerate(self.faults):
            if fault.operation is operation:
                if fault.skip:
                    self.faults[index] = replace(fault, skip=fault.skip - 1)
                    return None
                return self.faults.pop(index)
        return None


@dataclass(slots=True)
class _Late:
    """Bytes of a dead sender, still on their way."""

    due: int
    folder: Folder
    messages: list[Message]


class FailingTarget:
    """A `Target` around `inner` that fails by `script`."""

    def __init__(self, inner: Target, script: Script | None = None) -> None:
        self.inner = inner
        self.script = script or Script()
        self.key = inner.key
        self.lanes = inner.lanes
        self._late: list[_Late] = []

    async def session(self) -> FailingTargetSession:
        fault = await self.step(Operation.SESSION)
        if fault:
            raise_for(fault)
        return FailingTargetSession(self, await self.inner.session())

    async def step(self, operation: Operation) -> Fault | None:
        """Count one operation, let late bytes arrive that are due, and take this call's fault."""
        self.script.operations += 1
        await self._arrive([late for late in self._late if late.due <= self.script.operations])
        return self.script.take(operation)

    async def settle(self) -> None:
        """Let all late bytes arrive now."""
        await self._arrive(list(self._late))

    def delay(self, fault: Fault, folder: Folder, messages: Sequence[Message]) -> None:
        """Keep these messages back until `fault.late` operations from now."""
        copies = [replace(m, body=MemoryBody(b"".join(m.body.chunks()))) for m in messages]
        self._late.append(_Late(self.script.operations + fault.late, folder, copies))

    async def _arrive(self, due: Sequence[_Late]) -> None:
        for late in due:
            self._late.remove(late)
            session = await self.inner.session()
            await session.select(late.folder)
            await session.append(late.messages)
            await session.close()


def raise_for(fault: Fault) -> None:
    """Raise as the fault's ending says."""
    where = f"scripted at {fault.operation.value}"
    match fault.ending:
        case Ending.TEMPORARY:
            raise Temporary(f"connection lost ({where})")
        case Ending.PERMANENT:
            raise Permanent(f"the target is full ({where})")
        case Ending.ITEM:
            raise ItemError(f"refused ({where})")
        case Ending.KILLED:
            raise Killed(where)


class FailingTargetSession:
    """One session of a `FailingTarget`."""

    def __init__(self, target: FailingTarget, inner: TargetSession) -> None:
        self._target = target
        self._inner = inner
        self._folder: Folder | None = None
        self._dead = False

    async def folders(self) -> list[Folder]:
        fault = await self._enter(Operation.FOLDERS)
        result = await self._inner.folders()
        return self._leave(fault, result)

    async def select(self, folder: Folder) -> Selected:
        fault = await self._enter(Operation.SELECT)
        result = await self._inner.select(folder)
        self._folder = folder
        return self._leave(fault, result)

    async def listing(self, changed_since: int | None = None) -> Listing:
        fault = await self._enter(Operation.LISTING)
        result = await self._inner.listing(changed_since)
        return self._leave(fault, result)

    async def fetch(self, uids: Sequence[int]) -> AsyncIterator[Message | Failed]:
        fault = await self._enter(Operation.FETCH, items=True)
        left = len(uids) if fault is None or fault.done is None else fault.done
        async for item in self._inner.fetch(uids):
            if left <= 0:
                if isinstance(item, Message):
                    item.body.close()
                break
            left -= 1
            yield item
        self._leave(fault, None)

    async def headers(self, uids: Sequence[int]) -> AsyncIterator[Headers]:
        fault = await self._enter(Operation.HEADERS, items=True)
        left = len(uids) if fault is None or fault.done is None else fault.done
        async for item in self._inner.headers(uids):
            if left <= 0:
                break
            left -= 1
            yield item
        self._leave(fault, None)

    async def acl(self, folder: Folder) -> Mapping[str, str] | None:
        return await self._inner.acl(folder)

    async def metadata(self, folder: Folder) -> Mapping[str, bytes] | None:
        return await self._inner.metadata(folder)

    def limits(self) -> FolderLimits:
        return self._inner.limits()

    async def create(
        self, path: Path, special_use: SpecialUse | None, uidvalidity: int | None, uidnext: int | None
    ) -> Folder:
        fault = await self._enter(Operation.CREATE)
        result = await self._inner.create(path, special_use, uidvalidity, uidnext)
        return self._leave(fault, result)

    async def subscribe(self, folder: Folder) -> None:
        fault = await self._enter(Operation.SUBSCRIBE)
        await self._inner.subscribe(folder)
        self._leave(fault, None)

    async def append(self, messages: Sequence[Message]) -> list[Stored | Failed]:
        fault = await self._enter(Operation.APPEND, items=True)
        done = messages if fault is None or fault.done is None else messages[: fault.done]
        refuse = self._target.script.refuse
        wanted = [m for m in done if m.uid not in refuse]
        if fault and fault.late:
            if self._folder is None:
                raise LocalProtocolError("no folder is selected")
            self._target.delay(fault, self._folder, wanted)
            stored: list[Stored | Failed] = []
        else:
            stored = await self._inner.append(wanted)
        self._leave(fault, None)
        results = iter(stored)
        return [Failed(m.uid, *refuse[m.uid]) if m.uid in refuse else next(results) for m in done]

    async def set_flags(self, changes: Sequence[Listed]) -> None:
        fault = await self._enter(Operation.SET_FLAGS, items=True)
        await self._inner.set_flags(changes if fault is None or fault.done is None else changes[: fault.done])
        self._leave(fault, None)

    async def remove(self, uids: Sequence[int]) -> list[int]:
        fault = await self._enter(Operation.REMOVE, items=True)
        result = await self._inner.remove(uids if fault is None or fault.done is None else uids[: fault.done])
        return self._leave(fault, result)

    async def set_acl(self, folder: Folder, rights: Mapping[str, str]) -> None:
        fault = await self._enter(Operation.SET_ACL)
        await self._inner.set_acl(folder, rights)
        self._leave(fault, None)

    async def set_metadata(self, folder: Folder, entries: Mapping[str, bytes]) -> None:
        fault = await self._enter(Operation.SET_METADATA)
        await self._inner.set_metadata(folder, entries)
        self._leave(fault, None)

    async def finish(self) -> None:
        fault = await self._enter(Operation.FINISH)
        await self._inner.finish()
        self._leave(fault, None)

    async def close(self) -> None:
        self._dead = True
        await self._inner.close()

    async def _enter(self, operation: Operation, *, items: bool = False) -> Fault | None:
        """Begin a call: a fault before it is raised here, one during or after it is returned for `_leave`."""
        if self._dead:
            raise LocalProtocolError("this session has ended; it must not be used again")
        fault = await self._target.step(operation)
        if fault and not items and fault.done == 0:
            self._fail(fault)
        return fault

    def _leave(self, fault: Fault | None, result: T) -> T:
        if fault:
            self._fail(fault)
        return result

    def _fail(self, fault: Fault) -> None:
        self._dead = fault.ending is not Ending.ITEM
        raise_for(fault)
