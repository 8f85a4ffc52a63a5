"""A person's move in memory: two stores, a directory, an MTA that remembers routes, and mail that comes at every turn.

Everything that the machine does outside itself passes `World.point`, where one fault of a kind may happen. What
tests/integration/test_waves.py does with real servers at some points, this does at every one.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from copy import copy, deepcopy
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, cast

from mailferry.coexist.parking import Listing, Mta, Queue, Released, Waiting
from mailferry.coexist.probe import Probe
from mailferry.coexist.routes import People
from mailferry.config.coexist import Coexist
from mailferry.copy.policy import CopyPolicy
from mailferry.copy.work import Engine
from mailferry.errors import ConfigError, MailferryError, Permanent, Temporary
from mailferry.ledger import open_ledger
from mailferry.ledger import waves as ledger_waves
from mailferry.ledger.rows import Lease
from mailferry.ledger.store import Ledger
from mailferry.ledger.writer import LedgerThread
from mailferry.model.folder import INBOX, SpecialUse
from mailferry.model.wave import Move
from mailferry.net import ldap
from mailferry.net.ldap_errors import Refused, Result
from mailferry.net.memory import MemoryStore
from mailferry.sources.memory import MemorySource, MemorySourceSession
from mailferry.stack.postfix.tables import DEFERRED
from mailferry.targets.failing import Killed
from mailferry.targets.memory import MemoryTarget
from mailferry.waves.advance import CUTOVER, Goal, advance
from mailferry.waves.context import Context, Directory, LedgerDoor
from mailferry.wire.dn import in_filter

T = TypeVar("T")
ADDRESS, ID, DN, STORE = "alice@acme.example", "ad:alice", "uid=alice,ou=people,dc=x", "store1"
SEEDED = 3
"""Messages that are there before anything begins."""


class Fault(Enum):
    """What happens at a point."""

    AWAY = "away"  # it is not done, and may be the next time
    UNHEARD = "unheard"  # it is done, and the answer is lost
    REFUSED = "refused"  # it is not done, and never will be
    STOP = "stop"  # the run is to stop
    KILL = "kill"  # the process dies: nothing more that it does reaches anything


class MortalLedger(LedgerThread):
    """A ledger whose writes are points, too."""

    def __init__(self, world: World) -> None:
        super().__init__(world.place)
        self.world = world

    async def _put(self, work: Callable[[Ledger], T], writes: bool, durable: bool = False) -> T:
        if self.world.dead:
            raise Killed("dead already")
        fault = self.world.point("ledger") if writes else None
        if fault in (Fault.AWAY, Fault.REFUSED):
            raise Temporary("the ledger is locked")
        result = await super()._put(work, writes, durable)
        if fault is Fault.UNHEARD:
            raise Temporary("the connection to the ledger is lost")
        return result


class World:
    """One person, Alice, planned in a wave. `fault` happens at the `number`-th point of a run; 0: nowhere. `fails`:
    what else happens at points of a name, in order; `told`: the move's error as the ledger has it at each of those."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.a, self.b = MemoryStore("a"), MemoryStore("b")
        self.b.folder(INBOX).uidvalidity = 7
        for number in range(SEEDED):
            self.a.add(INBOX, b"Subject: old %d\r\n\r\nold\r\n" % number)
        self.a.add_folder(("Sent",), special_use=SpecialUse.SENT)
        self.a.add(("Sent",), f"From: {ADDRESS}\r\n\r\nsent\r\n".encode())
        self.entry: dict[str, tuple[bytes, ...]] = {
            "mail": (ADDRESS.encode(),),
            "maillocaladdress": (ADDRESS.encode(),),
            "uid": (b"alice",),
            "mailferrysourceid": (ID.encode(),),
            "mailferrykind": (b"mailbox",),
            "mailferryroute": (b"exchange",),
        }
        self.remembered = ""
        self.queue: list[bytes] = []
        self.arrived = 0
        self.points = self.number = 0
        self.fault = Fault.AWAY
        self.dead = False
        self.work: asyncio.Task[Any] | None = None
        self.log: list[str] = []
        self.fails: dict[str, list[MailferryError]] = {}
        self.told: list[str] = []
        ledger = open_ledger(place)
        wave = ledger_waves.create(ledger, "w", {})
        ledger_waves.add(ledger, wave.id, [Move(0, 0, ID, ADDRESS, "alice", "mailbox", ADDRESS, "alice", STORE)])
        ledger.close()

    @property
    def route(self) -> str:
        return self.entry["mailferryroute"][0].decode()

    # Mail

    def arrive(self) -> None:
        """A message comes from outside."""
        self.arrived += 1
        self._deliver(b"Subject: new %d\r\n\r\nnew\r\n" % self.arrived)

    def _deliver(self, message: bytes) -> bool:
        """To where the MTA remembers the route to lead; False: it is parked."""
        self.remembered = self.remembered or self.route
        if self.remembered == "parked":
            self.queue.append(message)
            return False
        (self.a if self.remembered == "exchange" else self.b).add(INBOX, message)
        return True

    def release(self) -> None:
        waiting, self.queue = self.queue, []
        for message in waiting:
            self._deliver(message)

    def inbox(self, store: MemoryStore) -> list[bytes]:
        return sorted(kept.data for kept in store.folder(INBOX).messages.values())

    def everything(self) -> list[bytes]:
        old = [b"Subject: old %d\r\n\r\nold\r\n" % number for number in range(SEEDED)]
        return sorted([*old, *(b"Subject: new %d\r\n\r\nnew\r\n" % (one + 1) for one in range(self.arrived))])

    # Faults

    def point(self, what: str) -> Fault | None:
        """Mail comes, and a fault may. Killed: the process is dead."""
        if self.dead:
            raise Killed("dead already")
        self.arrive()
        self.points += 1
        self.log.append(what)
        if self.points != self.number:
            return None
        if self.fault is Fault.KILL:
            self.dead = True
            raise Killed(f"at {what}")
        if self.fault is Fault.STOP:
            assert self.work is not None
            self.work.get_loop().call_soon_threadsafe(self.work.cancel)
            return None
        return self.fault

    @contextlib.contextmanager
    def passing(self, what: str) -> Iterator[None]:
        """A point around something that is done or not."""
        fault = self.point(what)
        if self.fails.get(what):
            self.told.append(self.move().error)
            raise self.fails[what].pop(0)
        if fault is Fault.AWAY:
            raise Temporary(f"{what} is away")
        if fault is Fault.REFUSED:
            raise Permanent(f"{what} refuses")
        yield
        if fault is Fault.UNHEARD:
            raise Temporary(f"{what} was lost")

    # Runs

    def move(self) -> Move:
        ledger = open_ledger(self.place)
        try:
            return ledger_waves.moves(ledger)[0]
        finally:
            ledger.close()

    def run(self, goal: Goal = CUTOVER, number: int = 0, fault: Fault = Fault.AWAY) -> BaseException | None:
        """One run of a process; what ended it, if not success."""
        self.points, self.number, self.fault, self.dead = 0, number, fault, False
        try:
            asyncio.run(self._run(goal))
        except (Exception, Killed, asyncio.CancelledError) as error:  # noqa: BLE001 - the tests look at it
            return error
        return None

    async def _run(self, goal: Goal) -> None:
        async with MortalLedger(self) as ledger:
            self.work = asyncio.current_task()
            ctx = self.context(ledger)
            source, target = ctx.source(self.move()), ctx.target(self.move())
            door = open_ledger(self.place)
            mailbox = door.mailbox(source.key, target.key)
            lease: Lease = door.acquire(mailbox.id, "h:1:1-x", 0.001)  # a lease that has run out is still current
            door.close()
            await advance(ctx, self.move(), lease, goal)

    def context(self, ledger: LedgerThread) -> Context:
        directory = Directory(
            ldap.Server("ldap://nowhere"),
            lambda connection: People(connection, "dc=x", open_domain="open.acme.example"),
            LedgerDoor(ledger),
        )
        directory._held = cast(ldap.Held, _Held(self))
        policy = CopyPolicy(late_commit_wait=0.0, backoff=0.001, backoff_most=0.002)
        settings = Coexist.model_validate(
            {"source": "imaps://x", "stores": {STORE: {"url": "imaps://y"}}, "longest_park": 5.0, "content": "full"}
        )
        return Context(
            Engine.of(ledger, policy),
            directory,
            [cast(Queue, _Queue(self))],
            settings,
            source=lambda move: _Source(self),
            target=lambda move: MemoryTarget(self.b),
            exchange_mailbox=lambda move: MemoryTarget(self.a),
            store_mailbox=lambda move: MemorySource(self.b),
            probe=Probe("probe@acme.example"),
        )


class _Source(MemorySource):
    """Connecting to Exchange is a point."""

    def __init__(self, world: World) -> None:
        super().__init__(world.a)
        self._world = world

    async def session(self) -> MemorySourceSession:
        with self._world.passing("source"):
            return await super().session()


class _Held:
    """The directory's connection: one entry, found by its id, changed only if it is as was read."""

    def __init__(self, world: World) -> None:
        self._world = world

    @contextlib.contextmanager
    def use(self) -> Iterator[_Held]:
        yield self

    def search(self, base: str, wanted: str, attributes: Sequence[str]) -> Iterator[ldap.Entry]:
        with self._world.passing("search"):
            if wanted == f"(mailferrySourceId={in_filter(ID)})":
                yield ldap.Entry(DN, dict(self._world.entry))

    def read(self, dn: str, attributes: Sequence[str]) -> ldap.Entry:
        return ldap.Entry(dn, dict(self._world.entry))

    def modify(self, dn: str, changes: Sequence[ldap.Change]) -> None:
        with self._world.passing("modify"):
            entry = dict(self._world.entry)
            for how, name, values in changes:
                key = name.lower()
                if how == "delete" and entry.pop(key, ()) != values:
                    raise Refused("no such value", result=Result.NO_SUCH_ATTRIBUTE)
                if how in ("add", "replace"):
                    entry[key] = values
            self._world.entry = entry


class _Queue:
    """The MTA's queue: everything in it waits for Alice's route."""

    mta = Mta(name="mx")

    def __init__(self, world: World) -> None:
        self._world = world

    async def listing(self) -> Listing:
        with self._world.passing("listing"):
            return {ADDRESS: [Waiting(str(number), 0, 1, DEFERRED) for number, _ in enumerate(self._world.queue)]}

    async def waiting(self, address: str) -> list[Waiting]:
        return (await self.listing()).get(address, [])

    async def quiet(self, address: str) -> None:
        await self.listing()

    async def follow(self, address: str) -> None:
        """It asks the directory."""

    async def forget(self, address: str) -> None:
        with self._world.passing("forget"):
            self._world.remembered = ""

    async def forget_or_wait(self, address: str) -> None:
        with contextlib.suppress(Temporary, ConfigError), self._world.passing("reload"):
            pass
        self._world.remembered = ""

    async def check(self) -> None:
        await self.listing()

    async def release(self, address: str, *, anew: bool = False) -> Released:
        with self._world.passing("release"):
            self._world.release()
        return Released((), tuple(await self.waiting(address)))


def copied(world: World, place: Path) -> World:
    """Another one just as it is, with a ledger of its own."""
    shutil.copy(world.place, place)
    other = copy(world)
    other.place, other.a, other.b = place, deepcopy(world.a), deepcopy(world.b)
    other.queue, other.log = list(world.queue), []
    return other
