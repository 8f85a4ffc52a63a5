"""The cases of whole moves: how long somebody's mail is parked, and how many people's records one process keeps.

`parked`: mailboxes of 2,000 messages with 20 new ones, cut over one by one on Acme's servers (lab/acme.py), with the
command that makes Postfix forget. `states`: 1,000 mailboxes in memory through the whole state machine, the ledger on
disk, directory and queue answering at once: what is left is our own work. Invariant: everybody ends released.
"""

from __future__ import annotations

import asyncio
import contextlib
import imaplib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import cast

from bench.measure import BenchError, Usage
from bench.results import TIME_LIMIT, Row, within
from lab import corpus
from lab.acme import Person, acme
from lab.process import PASSWORD
from mailferry.coexist.parking import Listing, Mta, Released, Waiting
from mailferry.coexist.routes import People
from mailferry.config.coexist import Coexist
from mailferry.copy.lease import leased
from mailferry.copy.policy import CopyPolicy
from mailferry.copy.work import Engine
from mailferry.ledger import open_ledger
from mailferry.ledger import waves as ledger_waves
from mailferry.ledger.writer import LedgerThread
from mailferry.model.folder import INBOX, SpecialUse
from mailferry.model.wave import Move, MoveState
from mailferry.net import ldap
from mailferry.net.memory import MemoryStore
from mailferry.sources.memory import MemorySource
from mailferry.targets.memory import MemoryTarget
from mailferry.waves.advance import CUTOVER, SEED, Goal, advance
from mailferry.waves.context import Context, Directory, LedgerDoor

PEOPLE, QUICK_PEOPLE = 5, 2
MESSAGES, QUICK_MESSAGES, NEW = 2000, 200, 20
PARKED_SECONDS, COPYING_SECONDS = 10.0, 2.0
MAILBOXES, QUICK_MAILBOXES = 1000, 100
MAILBOXES_A_SECOND = 50.0
TOGETHER = 20
_OURS, _STORE = "mailferry wave cutover", "store1"


def parked(rounds: int, place: Path, when: str, say: Callable[[str], None], *, quick: bool = False) -> list[Row]:
    """Run the case; every person is a sample, and `rounds` times as many make them more."""
    count = QUICK_MESSAGES if quick else MESSAGES
    waits: list[Usage] = []
    copying: list[Usage] = []
    with acme(place) as here:
        people = [one for one in here.people if one.plain][: (QUICK_PEOPLE if quick else PEOPLE) * rounds]
        here.seed(people, count, scale=0.5)
        here.ferry("wave", "plan", "bench", "--split", *(option for one in people for option in ("--people", one.mail)))
        here.ferry("wave", "seed", "bench", seconds=1800)
        for one in people:
            for new in corpus.messages(len(waits), NEW, scale=0.5, big=False):
                _append(here.exchange.store.port, one, new.body)
            here.ferry("wave", "cutover", "bench", "--only", one.mail)
            with closing(open_ledger(str(here.ledger))) as ledger:
                (move,) = ledger_waves.moves(ledger, source_id=one.source_id)
                entered = {state: at for at, state, _ in ledger_waves.history(ledger, move.id)}
            if move.parked is None or move.released is None:
                raise BenchError(f"{one.mail} was not moved: {move.error}")
            waits.append(Usage(move.released - move.parked, 0, 0))
            took = entered[MoveState.CAUGHT_UP.value] - entered[MoveState.SETTLED.value]
            copying.append(Usage(took, 0, 0))
            say(f"parked: {waits[-1].wall:.1f} s, of which copying {took:.2f} s")
    case = f"parked, a mailbox of {count:,} messages, {NEW} new"
    half, half_copying = (median(use.wall for use in some) for some in (waits, copying))
    return [
        within(case, "median", _OURS, waits, TIME_LIMIT, half, PARKED_SECONDS, when),
        within(case, "copying, median", _OURS, copying, TIME_LIMIT, half_copying, COPYING_SECONDS, when),
    ]


def _append(port: int, one: Person, body: bytes) -> None:
    """A message comes into the mailbox on Exchange."""
    with imaplib.IMAP4("127.0.0.1", port) as session:
        session.login(one.mail, PASSWORD)
        status, said = session.append("INBOX", "", "", body)
    if status != "OK":
        raise BenchError(f"{one.mail} does not take a message: {said}")


def states(rounds: int, place: Path, when: str, say: Callable[[str], None], *, quick: bool = False) -> list[Row]:
    """Seconds for all of them, without their first copy."""
    count = QUICK_MAILBOXES if quick else MAILBOXES
    taken = []
    for number in range(rounds):
        seed, cutover = asyncio.run(_through(place / f"{number}.db", count))
        taken.append(Usage(cutover, 0, 0))
        say(f"states: {count / seed:.0f} mailboxes/s seeded, {count / cutover:.0f} mailboxes/s from seeded to released")
    limit = count / MAILBOXES_A_SECOND
    half = median(use.wall for use in taken)
    return [within(f"states, {count:,} mailboxes", "cutover", "one process", taken, TIME_LIMIT, half, limit, when)]


async def _through(ledger_file: Path, count: int) -> tuple[float, float]:
    """Seconds of all first copies, and of all cutovers."""
    world = World(count)
    with closing(open_ledger(str(ledger_file))) as db:
        wave = ledger_waves.create(db, "bench", {})
        ledger_waves.add(db, wave.id, [world.planned(number) for number in range(count)])
        moves = ledger_waves.moves(db, wave.id)
    async with LedgerThread(ledger_file) as ledger:
        ctx = world.context(ledger)
        took = [await _all(ctx, moves, goal) for goal in (SEED, CUTOVER)]
        ended = await ledger.call(lambda db: ledger_waves.moves(db, wave.id))
    if {one.state for one in ended} != {MoveState.RELEASED}:
        raise BenchError(f"not everybody was moved: {next(one.error for one in ended if one.error)}")
    return took[0], took[1]


async def _all(ctx: Context, moves: Sequence[Move], goal: Goal) -> float:
    places = asyncio.Semaphore(TOGETHER)

    async def one(move: Move) -> None:
        async with places, leased(ctx.ledger, ctx.source(move).key, ctx.target(move).key, 60.0) as lease:
            await advance(ctx, await ctx.read(move), lease, goal)

    began = time.perf_counter()
    await asyncio.gather(*(one(move) for move in moves))
    return time.perf_counter() - began


class World:
    """People with a mailbox in memory on either side, a directory that holds them, and a queue without mail."""

    mta = Mta(name="mx")

    def __init__(self, count: int) -> None:
        self.entries: dict[str, dict[str, tuple[bytes, ...]]] = {}
        self.stores: dict[str, tuple[MemoryStore, MemoryStore]] = {}
        for number in range(count):
            self.add(number)

    def add(self, number: int) -> None:
        """One more."""
        move = self.planned(number)
        old, new = MemoryStore(f"a{number}"), MemoryStore(f"b{number}")
        for message in range(20):
            old.add(INBOX, b"Subject: %d\r\nMessage-ID: <%d.%d@x>\r\n\r\nold\r\n" % (message, number, message))
        old.add_folder(("Sent",), special_use=SpecialUse.SENT)
        old.add(("Sent",), f"From: {move.mail}\r\n\r\nsent\r\n".encode())
        self.stores[move.source_id] = old, new
        texts = {"mail": move.mail, "maillocaladdress": move.mail, "uid": move.uid, "mailferryroute": "exchange"}
        texts |= {"mailferrysourceid": move.source_id, "mailferrykind": "mailbox"}
        self.entries[move.source_id] = {name: (text.encode(),) for name, text in texts.items()}

    def drop(self, move: Move) -> None:
        """Forget somebody, to save memory."""
        del self.stores[move.source_id], self.entries[move.source_id]

    def planned(self, number: int) -> Move:
        mail, uid = f"u{number}@acme.example", f"u{number}"
        return Move(0, 0, f"ad:{uid}", mail, uid, "mailbox", mail, uid, _STORE)

    def context(self, ledger: LedgerThread) -> Context:
        directory = Directory(
            ldap.Server("ldap://nowhere"), lambda connection: People(connection, "dc=x"), LedgerDoor(ledger)
        )
        directory._held = cast(ldap.Held, self)
        settings = Coexist.model_validate({"source": "imaps://x", "stores": {_STORE: {"url": "imaps://y"}}})
        return Context(
            Engine.of(ledger, CopyPolicy(late_commit_wait=0.0)),
            directory,
            [self],
            settings,
            source=lambda move: MemorySource(self.stores[move.source_id][0]),
            target=lambda move: MemoryTarget(self.stores[move.source_id][1]),
            exchange_mailbox=lambda move: MemoryTarget(self.stores[move.source_id][0]),
            store_mailbox=lambda move: MemorySource(self.stores[move.source_id][1]),
        )

    # As the directory's connection

    @contextlib.contextmanager
    def use(self) -> Iterator[World]:
        yield self

    def search(self, base: str, wanted: str, attributes: Sequence[str]) -> Iterator[ldap.Entry]:
        source_id = wanted.partition("=")[2].rstrip(")").replace("\\3a", ":")
        yield ldap.Entry(source_id, dict(self.entries[source_id]))

    def read(self, dn: str, attributes: Sequence[str]) -> ldap.Entry:
        return ldap.Entry(dn, dict(self.entries[dn]))

    def modify(self, dn: str, changes: Sequence[ldap.Change]) -> None:
        for how, name, values in changes:
            if how == "delete":
                self.entries[dn].pop(name.lower(), None)
            else:
                self.entries[dn][name.lower()] = values

    # As the queue

    async def listing(self) -> Listing:
        return {}

    async def waiting(self, address: str) -> list[Waiting]:
        return []

    async def check(self) -> None:
        return None

    async def quiet(self, address: str) -> None:
        return None

    async def follow(self, address: str) -> None:
        return None

    async def forget(self, address: str) -> None:
        return None

    async def forget_or_wait(self, address: str) -> None:
        return None

    async def release(self, address: str, *, anew: bool = False) -> Released:
        return Released((), ())

    async def remove(self, ids: Sequence[str]) -> None:
        return None
