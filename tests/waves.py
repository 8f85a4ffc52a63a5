"""Waves between real servers, for tests: `tests.mail_flow.Sides` with a mailferry.toml, people in waves, the command.

Invariant: what the tests look at, they read from the stores' files and the queue, not through the product.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.corpus import CorpusFolder, CorpusMessage
from lab.dovecot import Dovecot
from lab.maildir import seed
from lab.openldap import WRITER_PASSWORD
from lab.process import PASSWORD
from mailferry.ledger import open_ledger
from mailferry.ledger import waves as ledger_waves
from mailferry.ledger.hooks import VARIABLE
from mailferry.ledger.store import Ledger
from mailferry.model.wave import Move, MoveState
from tests.e2e.moves import COMMAND, HANGS_UP, Done, Running, append, mailbox
from tests.mail_flow import DOMAIN, OPEN_DOMAIN, STORE, STORE2, Sides

_THEN = 1_600_000_000


@dataclass(slots=True)
class WaveLab:
    """`sides` with a settings file and a ledger of one test. In the lab's stores people are known by their address.
    `database`: a ledger in PostgreSQL instead of a file; then `[workers]` do what waves ask for if `workers` says how.
    """

    sides: Sides
    folder: Path
    database: str = ""
    workers: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        self.settings()

    @property
    def place(self) -> str:
        return self.database or str(self.folder / "ledger.db")

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        with closing(open_ledger(self.place)) as ledger:
            yield ledger

    def settings(self, reload_before: str = "", **coexist: Any) -> None:
        """Write mailferry.toml; `coexist`: further keys of that table. `reload_before`: a command before a reload."""
        sides = self.sides
        own = f"-c {sides.postfix.config_dir}"
        (self.folder / "writer").write_text(WRITER_PASSWORD)
        (self.folder / "password").write_text(PASSWORD)
        more = "\n".join(_lines(coexist))
        table = "" if self.workers is None else "\n".join(("[workers]", *_lines(self.workers)))
        stores = "\n".join(
            f'[coexist.stores."{name}"]\nurl = "imap://127.0.0.1:{store.port}?tls=none&timeout=10"\n'
            f'password = "file:{self.folder}/password"'
            for name, store in ((STORE, sides.store), (STORE2, sides.store2))
        )
        (self.folder / "mailferry.toml").write_text(f"""
ledger = "{self.place}"
[directory.source]
url = "ldap://127.0.0.1:9"
[directory.mapping]
domains = ["{DOMAIN}"]
[directory.exchange]
routing_domain = "{OPEN_DOMAIN}"
[directory.target]
url = "{sides.openldap.url}"
suffix = "{sides.openldap.suffix}"
bind = "{sides.openldap.settings.writer_dn}"
password = "file:{self.folder}/writer"
tls = "none"
[coexist]
source = "imap://127.0.0.1:{sides.exchange_store.port}?tls=none&timeout=10"
source_password = "file:{self.folder}/password"
workers = 1
{more}
{stores}
[[coexist.queues]]
name = "mx"
postqueue = "postqueue {own}"
postsuper = "postsuper {own}"
reload = "sh -c '{reload_before or ":"}; postfix {own} reload'"
smtp = "127.0.0.1:{sides.postfix.port}"
{table}
""")

    def person(self, uid: str, messages: int = 5) -> str:
        """Somebody on Exchange with mail there, who has sent some; their address."""
        address = self.sides.add(uid)
        with mailbox(self.sides.exchange_store.port, address) as session:
            session.create('"Sent Items"')
            for number in range(messages):
                body = f"From: x@y.example\r\nMessage-ID: <{uid}-{number}@t>\r\nSubject: old {number}\r\n\r\nold\r\n"
                append(
                    session, "INBOX", CorpusMessage(body.encode(), frozenset(), internal_date=1_600_000_000 + number)
                )
            sent = f"From: {address}\r\nMessage-ID: <{uid}-sent@t>\r\nSubject: sent\r\n\r\nsent\r\n".encode()
            append(session, '"Sent Items"', CorpusMessage(sent, frozenset({"\\Seen"}), internal_date=_THEN))
        return address

    def wave(self, name: str, addresses: Sequence[str], store: str = STORE) -> None:
        """A wave of these people."""
        with self.ledger() as ledger:
            wave = ledger_waves.create(ledger, name, {"planned_by": ["planner@here"]})
            ledger_waves.add(ledger, wave.id, [self._move(address, store) for address in addresses])

    def _move(self, address: str, store: str) -> Move:
        uid = address.partition("@")[0]
        return Move(0, 0, f"ad:{uid}", address, uid, "mailbox", address, address, store)

    def start(self, *arguments: str, crash_at: str = "") -> Running:
        """`mailferry wave …`, in a session of its own."""
        environment = {**os.environ, "MAILFERRY_CONFIG": str(self.folder / "mailferry.toml")}
        if crash_at:
            environment[VARIABLE] = crash_at
        argv = [*HANGS_UP, *COMMAND, "wave", *arguments]
        return Running(
            subprocess.Popen(
                argv,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )

    def full_person(self, uid: str, messages: int) -> str:
        """Somebody on Exchange with so many messages of a corpus in INBOX, and some that they have sent."""
        address = self.sides.add(uid)
        inbox = CorpusFolder(("INBOX",), messages, seed=len(uid), scale=0.3, big=False)
        sent = CorpusFolder(("Sent Items",), 10, seed=7, scale=0.1, big=False, sender=address)
        seed(self.sides.exchange_store, address, [inbox, sent])
        return address

    @contextmanager
    def worker(self, crash_at: str = "") -> Iterator[subprocess.Popen[str]]:
        """`mailferry worker run`, in a session of its own, gone at the end; its log is `worker.log`."""
        environment = {**os.environ, **({VARIABLE: crash_at} if crash_at else {})}
        argv = [*COMMAND, "worker", "run", "--config", str(self.folder / "mailferry.toml")]
        with (self.folder / "worker.log").open("a") as log:
            started = subprocess.Popen(
                argv,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        try:
            yield started
        finally:
            started.kill()
            started.wait()

    def log(self) -> str:
        """Of the workers, which tests/conftest.py shows when a test has failed."""
        place = self.folder / "worker.log"
        return place.read_text() if place.exists() else ""

    def run(self, *arguments: str, crash_at: str = "", seconds: float = 90) -> Done:
        return self.start(*arguments, crash_at=crash_at).end(seconds)

    def tell(self, command: str) -> None:
        """`pause` or `continue` the run at work."""
        subprocess.run([*COMMAND, command, "--ledger", self.place], check=True, capture_output=True, timeout=60)

    def move(self, address: str) -> Move:
        """As the ledger has it."""
        with self.ledger() as ledger:
            return next(one for one in ledger_waves.moves(ledger) if one.mail == address)

    def wait(self, address: str, state: MoveState, seconds: float = 30.0) -> None:
        """Until its move is in this state."""
        deadline = time.monotonic() + seconds
        while self.move(address).state is not state:
            assert time.monotonic() < deadline, self.move(address)
            time.sleep(0.02)

    def route(self, address: str) -> tuple[str, str]:
        """Token and store of now."""
        directory = self.sides.openldap.connect()
        names = ["mailferryRoute", "mailHost"]
        ((_, entry),) = directory.search_s(self.sides.openldap.suffix, 2, f"(mail={address})", names)
        directory.unbind_s()
        token, store = (entry.get(name, [b""])[0].decode() for name in names)
        return token, store

    def states(self, address: str) -> list[MoveState]:
        """All that it has entered, in their order."""
        with self.ledger() as ledger:
            return [MoveState(state) for _, state, _ in ledger_waves.history(ledger, self.move(address).id)]

    def inbox(self, dovecot: Dovecot, address: str) -> list[str]:
        """The subjects of everything in somebody's INBOX, old and new, sorted."""
        root = dovecot.maildir(address)
        found = [path for name in ("new", "cur") if (root / name).exists() for path in (root / name).iterdir()]
        return sorted(str(re.search(r"^Subject: (.*?)\r?$", path.read_text(), re.MULTILINE)[1]) for path in found)  # type: ignore[index]


def _lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {json.dumps(value)}" for key, value in table.items()]
