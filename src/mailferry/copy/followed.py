"""A run whose jobs the workers of all hosts do: asks for them, and follows in the ledger how they go. Does none itself.

Invariant: nothing of the run depends on this process; where it is killed, the workers go on.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any

from mailferry.copy.fleet import Job, JobState, Run
from mailferry.copy.progress import Counts
from mailferry.errors import Temporary
from mailferry.ledger import open_ledger
from mailferry.ledger.owner import person
from mailferry.ledger.rows import Control

if TYPE_CHECKING:
    from mailferry.ledger.store import Ledger

LOOK_SECONDS = 0.5
OVERLAP_SECONDS = 5.0
"""What was written earlier may be committed later: so far back is looked again."""
SILENT_SECONDS = 30.0
"""A worker that was not heard of for so long does not count."""
NOBODY = "no worker is there: start `mailferry worker run` on some host"


@dataclass(slots=True)
class Followed:
    """One run, as a `Fleet` is one. `moves`: the ledger's, one for each of `jobs`; `priorities`: theirs, 0 for what may
    wait behind everything else."""

    jobs: Sequence[Job]
    ledger: str
    verb: str
    moves: Sequence[int]
    priorities: Sequence[int]
    command: str
    observe: Callable[[Run], None] = lambda run: None
    on_run: Callable[[int], None] | None = None
    done_word: str = "copied"
    facts: dict[str, Any] = field(default_factory=dict)
    states: list[JobState] = field(default_factory=list)
    run_id: int | None = None
    paused: bool = False
    failure: dict[str, Any] | None = None
    _asked: int = 0
    _wake: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Ask, and follow until every job has ended, or it was asked to stop twice."""
        self.states = [JobState() for _ in self.jobs]
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with closing(open_ledger(self.ledger)) as ledger:
                ids = self._ask(ledger)
                self._follow(ledger, {number: index for index, number in enumerate(ids)})
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._asked += 1
        self._wake.set()

    def _ask(self, ledger: Ledger) -> list[int]:
        from mailferry.ledger import jobs, queue

        queue.prepare(ledger)
        with ledger.transaction():
            self.run_id = jobs.open_run(ledger, self.command, self.facts)
            ids = jobs.ask(ledger, self.run_id, self.verb, person(), self.moves)
            for priority in sorted({*self.priorities} - {0}, reverse=True):
                these = [number for number, one in zip(ids, self.priorities, strict=True) if one == priority]
                queue.put(ledger, these, priority)
            queue.fill(ledger)
        if self.on_run is not None:
            self.on_run(self.run_id)
        return ids

    def _follow(self, ledger: Ledger, index: dict[int, int]) -> None:
        from mailferry.ledger import jobs

        assert self.run_id is not None
        heard, stopped = 0.0, False
        while self._asked < 2:
            try:
                if self._asked and not stopped:
                    ledger.control_run(self.run_id, Control.STOP)
                    stopped = True
                if stopped:
                    jobs.end_waiting(ledger, self.run_id)
                for one in jobs.of_run(ledger, self.run_id, heard - OVERLAP_SECONDS):
                    heard = max(heard, one.heard)
                    state = self.states[index[one.id]]
                    state.counts, state.expected, state.waits = Counts(**one.counts), one.expected, one.doing
                    state.started, state.ended = one.started, one.ended
                    state.deaths, state.error = one.deaths, dict(one.error) if one.error else None
                self.paused = jobs.control(ledger, self.run_id) is Control.PAUSE
                left = [state for state in self.states if state.ended is None]
                if not left:
                    jobs.close_runs(ledger)
                    self.observe(self)
                    return
                if not jobs.workers(ledger, silent=SILENT_SECONDS):
                    left[0].waits = NOBODY
                elif left[0].waits == NOBODY:
                    left[0].waits = ""
            except Temporary as error:
                next(state for state in self.states if state.ended is None).waits = error.message
            self.observe(self)
            self._wake.wait(LOOK_SECONDS)
            self._wake.clear()
