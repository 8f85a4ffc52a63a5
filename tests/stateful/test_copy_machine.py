"""A Hypothesis state machine over plan, copy and ledger: people change both sides, passes run, die, and go on.

After every complete pass each message of the source is in the target exactly once per copy, in its folder, with its
flags; nothing that people put into the target is touched; the ledger agrees with both. Deletions are kept, so the
target may hold more: at most what was deleted at the source.

What is told apart by bytes only cannot be followed by a model when equal copies are deleted and moved at the same time,
so the model counts deletions by bytes, over all folders.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path as FilePath

from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from mailferry.copy.progress import Counts
from mailferry.errors import Temporary
from mailferry.model.folder import Path
from mailferry.model.message import Date
from mailferry.model.state import HELD, State
from mailferry.net.memory import MemoryOptions
from tests.stateful.world import INBOX, Ending, Fault, Killed, Operation, World, kept, text

FOLDERS: tuple[Path, ...] = (INBOX, ("Work",), ("Work", "Deep"), ("Übung",))
SHM = FilePath("/dev/shm")
"""Where there is one, the ledger's syncs cost nothing; they are tested elsewhere."""

EXAMPLES = int(os.environ.get("MAILFERRY_EXAMPLES", "40"))

marks = st.tuples(st.integers(0, 31), st.sampled_from([(), ("a",), ("a", "b"), ("$Forwarded",)]))
places = st.sampled_from(FOLDERS)
picks = st.integers(0, 1000)
faulty = st.sampled_from(Operation)


class CopyMachine(RuleBasedStateMachine):
    """`deleted` at the source by bytes; `removed` from the target; `theirs`: what people put into the target;
    `touched`: (folder, target uid) whose marks people changed there."""

    @initialize(
        source_modseq=st.booleans(), uidplus=st.sampled_from([True, True, False]), chunk=st.sampled_from([1, 2, 5])
    )
    def begin(self, source_modseq: bool, uidplus: bool, chunk: int) -> None:
        self.directory = tempfile.mkdtemp(dir=SHM if SHM.is_dir() else None)
        self.uidplus = uidplus
        self.w = World(
            FilePath(self.directory) / "ledger.db",
            source=MemoryOptions(modseq=source_modseq),
            target=MemoryOptions(uidplus=uidplus),
        )
        self.chunk = chunk
        self.number = 0
        self.deleted: Counter[bytes] = Counter()
        self.removed: Counter[tuple[Path, bytes]] = Counter()
        self.theirs: dict[tuple[Path, int], tuple[bytes, int, tuple[str, ...]]] = {}
        self.touched: set[tuple[Path, int]] = set()
        self.spoiled: set[bytes] = set()
        self.renamed = 0
        self.complete = False

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            shutil.rmtree(self.directory)

    # People at the source

    @rule(path=places, mark=marks, kind=st.sampled_from(["plain", "plain", "no id", "empty"]))
    def add(self, path: Path, mark: tuple[int, tuple[str, ...]], kind: str) -> None:
        self.number += 1
        data = b"" if kind == "empty" else text(self.number, message_id=kind == "plain")
        path = self._place(path)
        self.w.a.add_folder(path)
        self.w.a.add(path, data, flags=mark[0], keywords=mark[1], date=Date(1_600_000_000 + self.number, 60))
        self.complete = False

    @rule(count=st.integers(2, 8), path=places)
    def add_several(self, count: int, path: Path) -> None:
        for _ in range(count):
            self.add(path, (1, ()), "plain")

    @rule(pick=picks, to=places)
    def duplicate(self, pick: int, to: Path) -> None:
        path, uid = self._pick(pick)
        to = self._place(to)
        self.w.a.add_folder(to)
        message = self.w.a.folder(path).messages[uid]
        self.w.a.add(to, message.data, flags=message.flags, keywords=message.keywords, date=message.internal_date)
        self.complete = False

    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        path, uid = self._pick(pick)
        self.deleted[self.w.a.folder(path).messages[uid].data] += 1
        self.w.a.remove(path, uid)
        self.complete = False

    @rule(pick=picks, to=places)
    def move(self, pick: int, to: Path) -> None:
        path, uid = self._pick(pick)
        to = self._place(to)
        self.w.a.add_folder(to)
        self.w.a.move(path, uid, to)
        self.complete = False

    @rule(pick=picks, mark=marks)
    def flag(self, pick: int, mark: tuple[int, tuple[str, ...]]) -> None:
        path, uid = self._pick(pick)
        self.w.a.set_flags(path, uid, *mark)
        self.complete = False

    @rule(pick=picks)
    def spoil(self, pick: int) -> None:
        path, uid = self._pick(pick)
        self.spoiled.add(self.w.a.folder(path).messages[uid].data)
        self.w.a.spoil(path, uid)
        self.complete = False

    @rule()
    def mend(self) -> None:
        for path in self.w.a.paths():
            for message in kept(self.w.a, path):
                message.unreadable = None
        self.complete = False

    @rule(pick=picks)
    def rename(self, pick: int) -> None:
        paths = [path for path in self.w.a.paths() if path != INBOX]
        assume(paths)
        self.renamed += 1
        self.w.a.rename(paths[pick % len(paths)], (f"Renamed {self.renamed}",))
        self.complete = False

    # People in the target

    @rule(path=places, mark=marks)
    def deliver(self, path: Path, mark: tuple[int, tuple[str, ...]]) -> None:
        """A message that nobody else has."""
        self.number += 1
        data = text(f"theirs {self.number}")
        self.w.b.add_folder(path)
        uid = self.w.b.add(path, data, flags=mark[0], keywords=mark[1])
        self.theirs[path, uid] = (data, mark[0], mark[1])

    @rule(pick=picks, mark=marks)
    def flag_in_target(self, pick: int, mark: tuple[int, tuple[str, ...]]) -> None:
        path, uid = self._pick_ours(pick)
        self.w.b.set_flags(path, uid, *mark)
        self.touched.add((path, uid))

    @precondition(lambda self: self.complete)
    @rule(pick=picks)
    def remove_from_target(self, pick: int) -> None:
        """Between passes only: while some are pending, nobody could tell this from a message that never came."""
        path, uid = self._pick_ours(pick)
        self.removed[path, self.w.b.folder(path).messages[uid].data] += 1
        self.w.b.remove(path, uid)

    # Passes

    @rule()
    def run_pass(self) -> None:
        self._finish()

    @rule(operation=faulty, done=st.sampled_from([0, 1, 2, None]), skip=st.integers(0, 4), late=st.integers(0, 30))
    def run_with_a_lost_connection(self, operation: Operation, done: int | None, skip: int, late: int) -> None:
        late = late if operation is Operation.APPEND and self.uidplus else 0
        try:
            self._run(Fault(operation, Ending.TEMPORARY, done, late, skip))
        except Temporary:
            raise AssertionError("one lost connection ended a pass") from None
        self._finish()

    @rule(operation=faulty, done=st.sampled_from([0, 1, 2, None]), skip=st.integers(0, 4), late=st.integers(0, 30))
    def run_and_die_at_the_target(self, operation: Operation, done: int | None, skip: int, late: int) -> None:
        late = late if operation is Operation.APPEND and self.uidplus else 0
        try:
            self._run(Fault(operation, Ending.KILLED, done, late, skip))
        except Killed:
            self.complete = False

    @rule(write=st.integers(3, 40), after=st.booleans())
    def run_and_die_at_the_ledger(self, write: int, after: bool) -> None:
        try:
            self._run(dies_at=write, after=after)
        except Killed:
            self.complete = False

    @rule(faults=st.lists(st.tuples(faulty, st.sampled_from([0, 1, None]), st.integers(0, 3)), max_size=4))
    def run_with_many_lost_connections(self, faults: list[tuple[Operation, int | None, int]]) -> None:
        self._run(*(Fault(operation, Ending.TEMPORARY, done, 0, skip) for operation, done, skip in faults))
        self._finish()

    def _run(self, *faults: Fault, dies_at: int | None = None, after: bool = False) -> Counts:
        return self.w.run(*faults, dies_at=dies_at, after=after, chunk_messages=self.chunk, patience=9)

    def _finish(self) -> None:
        """Complete passes, until all late bytes have come and been seen."""
        counts = self._run()
        while self.w.late():
            self.w.settle_late()
            counts = self._run()
        assert counts.stops == counts.broken == 0, self.w.failures()
        assert counts.listed == sum(len(kept(self.w.a, path)) for path in self.w.a.paths())
        unreadable = [(path, m.uid) for path in self.w.a.paths() for m in kept(self.w.a, path) if m.unreadable]
        if unreadable:
            known = self.w.known()
            unreadable = [(path, uid) for path, uid in unreadable if known[path][uid].state not in HELD]
        assert counts.failed == len(unreadable)
        self.complete = True
        self._check()
        again = self._run()
        assert (again.copied, again.flags, again.moved, again.removed, again.twins) == (0, 0, 0, 0, 0), again
        self._check()

    # What must hold after a complete pass

    def _check(self) -> None:
        rows = self.w.known()
        claimed: set[tuple[Path, int]] = set()
        for path in self.w.a.paths():
            for message in kept(self.w.a, path):
                row = rows[path].get(message.uid)
                assert row is not None, (path, message.uid, "is not in the ledger")
                if row.state == State.FAILED:
                    assert message.unreadable
                    continue
                assert row.state in HELD, (path, row)
                if row.target_uid is None:
                    continue
                claimed.add((path, row.target_uid))
                there = self.w.b.folder(path).messages.get(row.target_uid)
                if there is None:
                    assert self.removed[path, message.data] > 0, (path, row, "was lost")
                    continue
                assert there.data == message.data
                assert there.internal_date == message.internal_date
                assert (row.flags, row.keywords) == (message.flags, message.keywords)
                if (path, there.uid) not in self.touched:
                    assert (there.flags, there.keywords) == (message.flags, message.keywords), (path, row)
        self._nothing_else(claimed)
        for (path, uid), (data, flags, keywords) in self.theirs.items():
            there = self.w.b.folder(path).messages.get(uid)
            assert there is not None, "a message that people put there is gone"
            if (path, uid) not in self.touched:
                assert (there.data, there.flags, there.keywords) == (data, flags, keywords)
        for path, known in rows.items():
            uids = [row.target_uid for row in known.values() if row.target_uid and row.state in HELD]
            assert len(set(uids)) == len(uids), (path, "two messages, one place")
            assert State.PENDING not in {row.state for row in known.values()}

    def _nothing_else(self, claimed: set[tuple[Path, int]]) -> None:
        """What else is in the target people put there, or was deleted at the source (kept), or could not be removed."""
        extra: Counter[bytes] = Counter()
        for path in self.w.b.paths():
            for message in kept(self.w.b, path):
                if message.data in self.spoiled:
                    continue  # one that moved and could not be read in its new place stays in the old one, as deleted
                if (path, message.uid) not in claimed and (path, message.uid) not in self.theirs:
                    extra[message.data] += 1
        if not self.uidplus:
            return
        assert extra <= self.deleted, extra - self.deleted

    # Picking

    def _place(self, path: Path) -> Path:
        """A name that no renamed folder had: one made anew in its place is a safety stop, not a case for a model."""
        if path == INBOX or not self.renamed:
            return path
        return (f"{path[0]} {self.renamed}", *path[1:])

    def _pick(self, pick: int) -> tuple[Path, int]:
        there = [(path, message.uid) for path in self.w.a.paths() for message in kept(self.w.a, path)]
        assume(there)
        return there[pick % len(there)]

    def _pick_ours(self, pick: int) -> tuple[Path, int]:
        there = [
            (path, message.uid)
            for path in self.w.b.paths()
            for message in kept(self.w.b, path)
            if (path, message.uid) not in self.theirs
        ]
        assume(there)
        return there[pick % len(there)]


CopyMachine.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=25,
    deadline=None,
    database=None,  # replaying all that ever failed takes minutes; a failure prints how to repeat it
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
TestCopyMachine = CopyMachine.TestCase
