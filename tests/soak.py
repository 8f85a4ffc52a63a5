"""Kills copies at random moments, hundreds of times, and compares both sides: `python -m tests.soak --kills 200`.

Four combinations, (IMAP, Maildir) × (SQLite, PostgreSQL), each with its own source, which changes between runs. Not
collected by pytest. Prints lines of progress and ends with `soak: K kills, M messages, 0 lost, 0 twice, 0 wrong flags`
and exit code 0, or 1 if a number is not 0 or a run failed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from lab.corpus import CorpusFolder, CorpusMessage
from lab.dovecot import Dovecot
from lab.postgres import Postgres
from lab.proxy import Hold, TcpProxy
from tests.e2e import moves
from tests.e2e.moves import Contents, Done, Move, Running

COMBINATIONS = tuple((target, ledger) for target in ("imap", "maildir") for ledger in ("sqlite", "postgres"))
MOST_KILLS_OF_ONE = 6
CHANGES = 12


@dataclass(slots=True)
class Figures:
    """What was done and found, over all combinations."""

    kills: int = 0
    moves: int = 0
    messages: int = 0
    lost: int = 0
    twice: int = 0
    wrong: int = 0
    twins: int = 0
    failed_runs: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def bad(self) -> bool:
        return bool(self.lost or self.twice or self.wrong or self.failed_runs)


@dataclass(frozen=True, slots=True)
class Servers:
    source: Dovecot
    target: Dovecot
    postgres: Postgres
    directory: Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="for each combination (default: 200)")
    parser.add_argument("--minutes", type=float, default=120, help="end after so long (default: 120)")
    parser.add_argument("--messages", type=int, default=600, help="in each source (default: 600)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30), help="of the random moments")
    options = parser.parse_args()
    until = time.monotonic() + options.minutes * 60
    figures = Figures()
    say(f"seed {options.seed}, {options.kills} kills for each of {len(COMBINATIONS)} combinations")
    with (
        Dovecot(flavour="exchange") as source,
        Dovecot(flavour="open") as target,
        Postgres() as postgres,
        tempfile.TemporaryDirectory(prefix="mailferry-soak-") as directory,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        servers = Servers(source, target, postgres, Path(directory))

        def one(number: int) -> None:
            soak(servers, *COMBINATIONS[number], options, random.Random(options.seed + number), until, figures)

        for done in [pool.submit(one, number) for number in range(len(COMBINATIONS))]:
            done.result()
    say(
        f"{figures.moves} moves compared, {figures.twins} twins removed, {len(figures.failed_runs)} runs failed",
        *figures.failed_runs,
    )
    say(
        f"soak: {figures.kills} kills, {figures.messages} messages, "
        f"{figures.lost} lost, {figures.twice} twice, {figures.wrong} wrong flags"
    )
    return 1 if figures.bad else 0


def soak(
    servers: Servers,
    target: str,
    ledger: str,
    options: argparse.Namespace,
    chance: random.Random,
    until: float,
    figures: Figures,
) -> None:
    """One combination: moves to fresh targets, each killed a few times, until there were enough kills."""
    name = f"{target}-{ledger}"
    moves.fill_source(servers.source, name, _folders(options.messages, chance))
    kills = number = 0
    usual = 4.0  # seconds that an undisturbed copy takes; measured as we go
    while kills < options.kills and time.monotonic() < until:
        number += 1
        user = f"{name}-{number}"
        proxy = TcpProxy(servers.target.port).start()
        move, read = _move(servers, proxy.port, target, ledger, name, user)
        failed: list[str] = []
        for _ in range(min(chance.randint(1, MOST_KILLS_OF_ONE), options.kills - kills)):
            began = time.monotonic()
            if target == "imap" and chance.random() < 0.5:
                done = _killed_with_bytes_under_way(move, proxy, chance)
            else:
                done = _killed_after(move, chance.uniform(0.2, usual))
            if done.code == -signal.SIGKILL:
                kills += 1
                with figures.lock:
                    figures.kills += 1
            elif done.code == 0:
                usual = (usual + time.monotonic() - began) / 2
            else:
                failed.append(f"{user}: {done}")
            _change(servers.source.port, name, chance)
        done = move.run(seconds=300)
        ours, theirs = moves.contents(servers.source.port, name, "/"), read()
        tallies = moves.compare(ours, theirs).values()
        with figures.lock:
            if done.code:
                failed.append(f"{user}: {done}")
            else:
                figures.twins += done.counts["twins"]
            figures.failed_runs += failed
            figures.moves += 1
            figures.messages += sum(map(len, ours.values()))
            figures.lost += sum(tally.lost for tally in tallies)
            figures.twice += sum(tally.twice for tally in tallies)
            figures.wrong += sum(tally.wrong for tally in tallies)
        proxy.stop()
        said = moves.differences(ours, theirs) + failed
        say(f"{name}: {kills} kills, move {number}: {'; '.join(said) or 'equal'}")


def _folders(messages: int, chance: random.Random) -> Iterator[CorpusFolder]:
    """Names that every target takes as they are, so that both sides can be compared by name."""
    share = {"INBOX": 35, "Projects": 25, "Projects/Müller & Söhne": 20, "Archive 2019/Q1/deep": 12, "日本語": 8}
    for name, percent in share.items():
        count = messages * percent // 100
        yield CorpusFolder(tuple(name.split("/")), count, seed=chance.randrange(1 << 30), scale=0.4)
    yield CorpusFolder(("Odd messages",), odd=True)
    yield CorpusFolder(("Empty",))


def _move(
    servers: Servers, port: int, target: str, ledger: str, source: str, user: str
) -> tuple[Move, Callable[[], Contents]]:
    """A copy to a fresh user, with a fresh ledger, and how to read what it brought."""
    server = servers.target
    place = str(servers.directory / f"{user}.db")
    if ledger == "postgres":
        place = servers.postgres.create_database(user)
    address = f"imap://{user}@127.0.0.1:{port}?tls=none"
    if target == "maildir":
        address = f"maildir:{server.maildir(user)}?owner={server.owner[0]}"
    move = Move(
        f"imap://{source}@127.0.0.1:{servers.source.port}?tls=none",
        address,
        place,
        environment={"XDG_STATE_HOME": str(servers.directory)},
    )
    return move, lambda: moves.contents(server.port, user, ".")


def _killed_after(move: Move, seconds: float) -> Done:
    """Run it for so long at most."""
    running = move.start()
    try:
        running.process.wait(seconds)
    except subprocess.TimeoutExpired:
        running.kill()
    return running.end()


def _killed_with_bytes_under_way(move: Move, proxy: TcpProxy, chance: random.Random) -> Done:
    """Killed when so many bytes have gone out; what it had sent beyond arrives up to 4 s later."""
    started = threading.Event()
    running: list[Running] = []

    def kill() -> None:
        started.wait(10)
        running[0].kill()

    rule = proxy.after("to_server", chance.randint(1_000, 4_000_000), Hold(chance.uniform(0.2, 4), kill))
    running.append(move.start())
    started.set()
    done = running[0].end()
    if rule in proxy.rules:
        proxy.rules.remove(rule)
    return done


def _change(port: int, user: str, chance: random.Random) -> None:
    """What people do meanwhile: set and clear flags and keywords, and get new messages."""
    with moves.mailbox(port, user) as session:
        session.select("INBOX")
        last = int(session.uid("SEARCH", "ALL")[1][0].split()[-1])
        for _ in range(CHANGES):
            uid, sign = str(chance.randint(1, last)), chance.choice("+-")
            session.uid(
                "STORE", uid, f"{sign}FLAGS.SILENT", chance.choice(["\\Seen", "\\Flagged", "Work", "\\Answered"])
            )
        for _ in range(chance.randint(0, 3)):
            body = b"Subject: new\r\n\r\n%d\r\n" % chance.randint(1, 3)  # some of them identical
            moves.append(session, "INBOX", CorpusMessage(body, internal_date=chance.randint(10**9, 2 * 10**9)))


def say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
