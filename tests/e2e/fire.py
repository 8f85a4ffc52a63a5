"""What the cutovers under fire share: an organisation, mail that never stops, waves driven by the command line.

Reads how far a wave is from the ledger's file, so that looking costs nothing. Invariant: commands started here have
ended, with all their processes, when the block ends.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from lab.acme import Acme, Person, acme
from lab.deliveries import Verdict, judge
from lab.load import Load
from lab.process import workspace
from mailferry.model.wave import MoveState
from tests.e2e.moves import HANGS_UP, Done, Running

PACE = 20 / 24
"""How much of the load's rate has to come in throughout."""
LOOK_SECONDS = 0.02


@dataclass(slots=True)
class Fire:
    """`moving`: whom waves are made of; `staying`: people that no wave has, whom mail comes to as well."""

    acme: Acme
    load: Load
    moving: tuple[Person, ...]
    staying: tuple[Person, ...]
    started: float
    running: list[Running] = field(default_factory=list)

    def log(self) -> str:
        """For tests/conftest.py, when a test has failed."""
        return self.acme.log()

    def plan(self, name: str, people: Sequence[Person]) -> None:
        """A wave of these people, spread over the stores."""
        listed = self.acme.root / f"{name}.csv"
        listed.write_text("\n".join(["mail", *(one.mail for one in people)]) + "\n", encoding="utf-8")
        self.wave("plan", name, "--csv", str(listed), "--split")

    def wave(self, verb: str, *arguments: str, codes: Collection[int] = (0,), seconds: float = 120) -> Any:
        """`mailferry wave …` to its end; what it prints as JSON."""
        done = self.start(verb, *arguments).end(seconds)
        assert done.code in codes, (verb, arguments, done.code, done.err[-3000:], self.errors(arguments[0]))
        return json.loads(done.out) if done.out else None

    def start(self, verb: str, *arguments: str) -> Running:
        """`mailferry wave …` in a session of its own."""
        argv = [*HANGS_UP, *self.acme.command("wave", verb, *arguments, "--json")]
        running = Running(
            subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        self.running.append(running)
        return running

    def states(self, name: str) -> dict[str, MoveState]:
        """mail → how far, of everybody in the wave."""
        query = "SELECT move.mail, move.state FROM move JOIN wave ON wave.id = move.wave_id WHERE wave.name = ?"
        return {mail: MoveState(state) for mail, state in self._ask(query, name)}

    def until(self, name: str, state: MoveState, running: Running | None = None, seconds: float = 60) -> None:
        """Wait until somebody of the wave is in this state; or, given a command, until that has ended."""
        deadline = time.monotonic() + seconds
        while state not in self.states(name).values():
            if running is not None and running.process.poll() is not None:
                return
            assert time.monotonic() < deadline, (name, state, self.states(name))
            time.sleep(LOOK_SECONDS)

    def store(self, mail: str) -> str:
        """The mailHost that somebody goes to."""
        return str(self._ask("SELECT store FROM move WHERE mail = ? ORDER BY id DESC", mail)[0][0])

    def parked_seconds(self) -> dict[str, float]:
        """mail → for how long the latest park was, of all who were released."""
        return dict(self._ask("SELECT mail, released - parked FROM move WHERE released IS NOT NULL"))

    def errors(self, name: str) -> dict[str, str]:
        """mail → why the latest attempt failed."""
        query = "SELECT move.mail, move.error FROM move JOIN wave ON wave.id = move.wave_id WHERE wave.name = ?"
        return {mail: error for mail, error in self._ask(query, name) if error}

    def judged(self) -> Verdict:
        """Stop the load, let everything arrive, and look into every mailbox."""
        until = time.time()
        self.load.stop()
        self.acme.drained()
        assert self.load.pace(self.started, until) >= self.load.rate * PACE, "the fire was too low"
        return judge(self.acme, self.load.sent)

    def _ask(self, query: str, *values: str) -> list[Any]:
        with closing(sqlite3.connect(f"file:{self.acme.ledger}?mode=ro", uri=True, timeout=10)) as connection:
            return connection.execute(query, values).fetchall()


@contextmanager
def fire(
    staying: int = 6,
    *,
    more: str = "",
    messages: int = 20,
    rate: float = 24.0,
    only_ad: bool = False,
    qmail: bool = False,
) -> Iterator[Fire]:
    """Acme with filled mailboxes, under fire from now on. `rate`: messages a second. `only_ad`: Active Directory is its
    only directory. `qmail`: that takes its mail."""
    root = workspace("fire")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, root)
        here = stack.enter_context(acme(root, more=more, only_ad=only_ad, qmail=qmail))
        plain = [one for one in here.people if one.plain]
        still = tuple(plain[:staying])
        moving = tuple(one for one in here.people if one not in still)
        here.seed(here.people, messages)
        with Load(here, plain, rate=rate) as load:
            burning = Fire(here, load, moving, still, time.time())
            try:
                yield burning
            finally:
                for running in burning.running:
                    running.kill()


def kill(running: Running) -> Done:
    """As a power cut."""
    running.kill()
    return running.end()


def interrupt(running: Running, seconds: float = 60) -> Done:
    """As Ctrl-C in its terminal."""
    os.killpg(running.process.pid, signal.SIGINT)
    return running.end(seconds)
