"""Many mailboxes on all cores: forks workers, hands out jobs under the caps, replaces workers that die.

The supervisor opens no ledger and starts no thread, so that it may fork at any time. Knows nothing of what a job does.
Invariant: for no server are more connections allowed at once than its cap, over all workers.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

from mailferry.copy.policy import CopyPolicy
from mailferry.copy.progress import Counts
from mailferry.copy.worker import Task, run_worker

HEARTBEAT_SECONDS = 1.0
MORE_WORKERS_AFTER = 1.0
"""Seconds that the first worker works alone: a run that is over by then is not worth another interpreter."""
LIVES = 2
"""How often a mailbox may outlive the worker that was bringing it."""


@dataclass(frozen=True, slots=True)
class Job:
    """One mailbox to the fleet: its name for people, and how many connections (lanes) it may open at which servers.
    `alone`: of jobs with the same text one runs at a time; "": it is nobody's concern."""

    name: str
    servers: tuple[str, ...]
    lanes: int
    alone: str = ""


@dataclass(slots=True)
class JobState:
    """How one job stands. `waits`: what for, while it does nothing else. `error` as `worker.error_as_dict` gives it;
    `score` where it was verified."""

    counts: Counts = field(default_factory=Counts)
    expected: int = 0
    waits: str = ""
    started: float | None = None
    ended: float | None = None
    error: dict[str, Any] | None = None
    deaths: int = 0
    score: str | None = None


class Run(Protocol):
    """Many jobs under way, as people see them: a `Fleet` here, or what the workers of all hosts do (`Followed`)."""

    jobs: Sequence[Job]
    states: list[JobState]
    run_id: int | None
    paused: bool
    failure: dict[str, Any] | None
    facts: dict[str, Any]
    done_word: str
    on_run: Callable[[int], None] | None

    def run(self) -> None:
        """Until all have ended, or it was asked to stop."""


@dataclass(slots=True)
class Caps:
    """`per_server`: connections to one server at once, all workers together. `mailboxes`: jobs at once altogether."""

    per_server: int
    mailboxes: int
    workers: int


@dataclass(slots=True)
class _Child:
    pid: int
    channel: socket.socket
    buffer: bytes = b""
    jobs: dict[int, int] = field(default_factory=dict)
    """The jobs it does, with the lanes that each was given."""


@dataclass(slots=True)
class Fleet:
    """One run. `observe` is called after every change (at least each 0.2 s) with the fleet itself, to show progress."""

    jobs: Sequence[Job]
    ledger: str
    policy: CopyPolicy
    task: Task
    caps: Caps
    command: str
    done_word: str = "copied"
    """What its jobs do with the bytes they count, for people."""

    observe: Callable[[Run], None] = lambda run: None
    on_run: Callable[[int], None] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    states: list[JobState] = field(default_factory=list)
    run_id: int | None = None
    paused: bool = False
    stopping: bool = False
    failure: dict[str, Any] | None = None
    _children: list[_Child] = field(default_factory=list)
    _waiting: deque[int] = field(default_factory=deque)
    _open: Counter[str] = field(default_factory=Counter)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def run(self) -> None:
        """Do every job; returns when all have ended. Their results are in `states`."""
        self.states = [JobState() for _ in self.jobs]
        self._waiting = deque(range(len(self.jobs)))
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._fork()
            self._loop()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._end()

    def summary(self) -> dict[str, Any]:
        """The run in numbers, for the ledger and `mailferry status`."""
        counts = Counts()
        for state in self.states:
            counts.add(state.counts)
        return {
            **self.facts,
            "mailboxes": len(self.jobs),
            "mailboxes_ended": sum(1 for state in self.states if state.ended is not None),
            "mailboxes_failed": sum(1 for state in self.states if state.error is not None),
            "expected": sum(state.expected for state in self.states),
            "paused": self.paused,
            "counts": counts.as_dict(),
        }

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.stopping:  # asked twice: at once
            for child in self._children:
                os.kill(child.pid, signal.SIGKILL)
        self.stopping = True

    def _fork(self) -> None:
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                signal.signal(
                    signal.SIGINT, signal.SIG_IGN
                )  # the terminal tells the whole group; the supervisor decides
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                ours.close()
                for child in self._children:
                    child.channel.close()
                code = run_worker(theirs, self.ledger, self.policy, self.task)
            except BaseException:  # noqa: BLE001 - the process ends here; the supervisor sees its code
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        theirs.close()
        child = _Child(pid, ours)
        self._children.append(child)
        self._selector.register(ours, selectors.EVENT_READ, child)
        if self.run_id is None:
            self._tell(child, kind="begin", command=self.command)
        else:
            self._tell(child, kind="run", run=self.run_id)

    def _loop(self) -> None:
        began = beat = time.monotonic()
        while any(state.ended is None for state in self.states) and not self.stopping:
            self._hand_out()
            for key, _ in self._selector.select(0.2):
                self._receive(key.data)
            if time.monotonic() - began >= MORE_WORKERS_AFTER and self.run_id is not None:
                self._fork_more()
            self.observe(self)
            if time.monotonic() - beat >= HEARTBEAT_SECONDS:
                beat = time.monotonic()
                if self._children:
                    self._tell(self._children[0], kind="heartbeat", summary=self.summary())

    def _fork_more(self) -> None:
        """As many workers as the caps allow and the waiting jobs keep busy."""
        missing = min(self.caps.workers - len(self._children), len(self._waiting))
        for _ in range(missing):
            self._fork()

    def _receive(self, child: _Child) -> None:
        data = child.channel.recv(1 << 16)
        if not data:
            self._bury(child)
            return
        *lines, child.buffer = (child.buffer + data).split(b"\n")
        for line in lines:
            self._hear(child, json.loads(line))

    def _hear(self, child: _Child, what: dict[str, Any]) -> None:
        kind = what["kind"]
        if kind == "run":
            self.run_id = what["run"]
            if self.on_run is not None:
                self.on_run(what["run"])
        elif kind == "progress":
            state = self.states[what["job"]]
            state.counts, state.expected, state.waits = Counts(**what["counts"]), what["expected"], what["waits"]
        elif kind == "score":
            self.states[what["job"]].score = what["score"]
        elif kind == "control":
            self._obey(what["control"])
        elif kind == "unusable":
            self.failure = what["error"]
        elif kind == "done":
            state = self.states[what["job"]]
            if what["counts"] is not None:
                state.counts = Counts(**what["counts"])
            self._ended(child, what["job"], what["error"])

    def _obey(self, control: str) -> None:
        if control == "stop":
            self.stopping = True
        elif (control == "pause") != self.paused:
            self.paused = control == "pause"
            for child in self._children:
                self._tell(child, kind="gate", open=not self.paused)

    def _ended(self, child: _Child, job: int, error: dict[str, Any] | None) -> None:
        self._open.subtract(dict.fromkeys(self.jobs[job].servers, child.jobs.pop(job)))
        state = self.states[job]
        state.ended, state.error = time.time(), self.failure if error is not None and self.failure else error

    def _bury(self, child: _Child) -> None:
        """A worker is gone: its jobs go back to the queue, and another is forked unless it could never work."""
        self._selector.unregister(child.channel)
        child.channel.close()
        self._children.remove(child)
        _, status = os.waitpid(child.pid, 0)
        for job, lanes in sorted(child.jobs.items()):
            self._open.subtract(dict.fromkeys(self.jobs[job].servers, lanes))
            state = self.states[job]
            state.deaths += 1
            if state.deaths < LIVES:
                self._waiting.appendleft(job)
            else:
                state.ended = time.time()
                state.error = {
                    "type": "Temporary",
                    "message": f"the worker process died ({_end_of(status)})",
                    "about": self.jobs[job].name,
                    "advice": "run the same command again; see `mailferry log`",
                    "exit_code": 75,
                }
        if self.failure is None and self._waiting:
            self._fork()
        elif self.failure is not None and not self._children:
            for job in self._waiting:
                self.states[job].ended, self.states[job].error = time.time(), self.failure
            self._waiting.clear()

    def _hand_out(self) -> None:
        """Give waiting jobs to the least busy workers while the caps allow it."""
        if self.paused:
            return
        share = -(-self.caps.mailboxes // self.caps.workers)
        for _ in range(len(self._waiting)):
            running = sum(len(child.jobs) for child in self._children)
            ready = [child for child in self._children if len(child.jobs) < share]
            if not ready or running >= self.caps.mailboxes:
                return
            each = lanes_each(self.caps.mailboxes, running + len(self._waiting))
            job = self._waiting.popleft()
            wanted = self.jobs[job]
            busy = {self.jobs[one].alone for child in self._children for one in child.jobs}
            if wanted.alone and wanted.alone in busy:
                self._waiting.append(job)
                continue
            lanes = min(wanted.lanes, each)
            free = min((self.caps.per_server - self._open[server] for server in wanted.servers), default=lanes)
            if free < lanes and any(self._open[server] for server in wanted.servers):
                self._waiting.append(job)
                continue
            child = min(ready, key=lambda one: len(one.jobs))
            child.jobs[job] = lanes
            self._open.update(dict.fromkeys(wanted.servers, lanes))
            self.states[job].started = self.states[job].started or time.time()
            self._tell(child, kind="job", job=job, lanes=lanes)

    def _tell(self, child: _Child, **what: Any) -> None:
        try:
            child.channel.sendall(json.dumps(what, separators=(",", ":")).encode() + b"\n")
        except OSError:
            return  # it is dying: `_receive` sees the end of its channel

    def _end(self) -> None:
        """Let every worker drain and go; the first records the end of the run."""
        summary: dict[str, Any] | None = self.summary()
        for child in list(self._children):
            self._tell(child, kind="end", summary=summary)
            summary = None
        while self._children:
            for key, _ in self._selector.select(1.0):
                child = key.data
                data = child.channel.recv(1 << 16)
                if data:
                    *lines, child.buffer = (child.buffer + data).split(b"\n")
                    for line in lines:
                        self._hear(child, json.loads(line))
                else:
                    self._selector.unregister(child.channel)
                    child.channel.close()
                    self._children.remove(child)
                    os.waitpid(child.pid, 0)
        self._selector.close()
        for state in self.states:
            if state.ended is None and state.error is None:
                state.error = {
                    "type": "Stopped",
                    "message": "not started, or stopped before it was done",
                    "about": "",
                    "advice": "run the same command again: it continues where it stopped",
                    "exit_code": 130,
                }


def lanes_each(mailboxes: int, left: int) -> int:
    """How many lanes each of the mailboxes that are left may have. While many wait, each has one: two mailboxes side by
    side cost less than one mailbox on two lanes."""
    return max(1, mailboxes // max(1, left))


def _end_of(status: int) -> str:
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit code {os.WEXITSTATUS(status)}"
