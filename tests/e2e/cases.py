"""One move through proxies, and what may happen to it on the wire. Starts no server.

Invariant: a case's target and ledger are its own; the source is shared and only read.
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lab.proxy import Action, Call, Direction, Rule, TcpProxy
from tests.e2e import moves
from tests.e2e.moves import Contents, Move, Running

AT_ONCE = 4

MESSAGE = rb'"[^"\r\n]{26}" \{(\d+)\+?\}\r\n'
"""The head of one message in an APPEND of one or many."""

BODY = rb"BODY\[\] \{(\d+)\}\r\n"


@dataclass(frozen=True, slots=True)
class Point:
    """Where the wire is at when something happens; `side`: at which proxy."""

    name: str
    side: Literal["source", "target"]
    direction: Direction
    pattern: bytes
    where: Literal["start", "end"] = "start"
    skip: int = 0
    extra: int | Callable[[re.Match[bytes]], int] = 0

    def arm(self, case: Case, action: Action, times: int | None = 1) -> Rule:
        """Put it in force for this case."""
        proxy = case.from_source if self.side == "source" else case.to_target
        return proxy.at(
            self.direction, self.pattern, action, where=self.where, skip=self.skip, extra=self.extra, times=times
        )


def literal(more: int = 0) -> Callable[[re.Match[bytes]], int]:
    return lambda match: int(match[1]) + more


def half(match: re.Match[bytes]) -> int:
    return int(match[1]) // 2


@dataclass(slots=True)
class Case:
    """A move through proxies on both sides. `to_target` is there also for a Maildir, which nothing reaches over it."""

    name: str
    move: Move
    from_source: TcpProxy
    to_target: TcpProxy
    source: Contents
    read_target: Callable[[], Contents]
    target_path: Path
    logs: Path

    def log(self) -> str:
        """Everything that this case's runs logged."""
        return "".join(path.read_text() for path in sorted(self.logs.glob("*.log")))

    def finish(self) -> dict[str, int]:
        return moves.finish(self.move, self.source, self.read_target, self.name)


NewCase = Callable[..., AbstractContextManager[Case]]
"""`new_case(target, ledger, *, source_user, options)`: target is imap, plain or maildir; ledger sqlite or postgres."""


def everywhere(
    new_case: NewCase, where: tuple[tuple[str, str], ...], scenario: Callable[[Case], None], *, options: str = ""
) -> None:
    """The same scenario for several targets and ledgers at once, since each of them waits most of its time."""

    def one(target: str, ledger: str) -> None:
        with new_case(target, ledger, options=options) as case:
            scenario(case)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(one, target, ledger) for target, ledger in where]:
            done.result()


def killed_at(case: Case, point: Point, action: Callable[[Callable[[], None]], Action] = Call) -> None:
    """Start the copy and kill it at this point, or do what `action` says with the killing."""
    running: list[Running] = []
    started = threading.Event()

    def kill() -> None:
        assert started.wait(10)
        running[0].kill()

    point.arm(case, action(kill))
    running.append(case.move.start())
    started.set()
    done = running[0].end()
    assert done.code == -signal.SIGKILL, (case.name, done)
