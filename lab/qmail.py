"""A qmail of our own renderer (src/mailferry/stack/qmail), on a notqmail that somebody has built for tests.

qmail's own directory is compiled into it and is not in Debian: PREFIX (the variable QMAIL) says where one is. Needs
root. Invariants: a qmail that runs, or whose queue is not empty, is somebody's and is not touched; everything else is
below `root`; the queue is empty afterwards.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lab import process
from mailferry.config.settings import read_settings
from mailferry.ops import stack, stack_qmail
from mailferry.stack.qmail.programs.queue import processes
from mailferry.stack.qmail.render import SERVICES

VARIABLE = "QMAIL"
HOW = """\
there is no notqmail for tests. notqmail is not in Debian; build one for tests alone, not where mail is handled:
  1. users and groups as its INSTALL.ids.md says: groups nofiles and qmail; users alias qmaild qmaill qmailp (nofiles)
     and qmailq qmailr qmails (qmail);
  2. in its source: echo /opt/qmail-test > conf-qmail && make it && make setup check
  3. make test-qmail QMAIL=/opt/qmail-test"""
OWNER = "mail"
_OURS = "of-mailferrys-tests"
RETRY_SECONDS = 1.0


def prefix() -> Path:
    """Where the notqmail for tests is. LabError: nowhere, and how to get one."""
    text = os.environ.get(VARIABLE, "")
    if not text or not (Path(text) / "bin" / "qmail-send").exists():
        raise process.LabError(HOW + (f"\n({VARIABLE} is {text!r})" if text else ""))
    return Path(text)


class Qmail:
    """One host, from the settings in `config`; `with` starts and stops it. `port` takes mail from everybody,
    `exchange_port` mail from Exchange. Its store is `mail_dir`."""

    def __init__(self, root: Path, config: Path, store: str) -> None:
        if os.geteuid() != 0:
            raise process.LabError("qmail needs root")
        self.root, self.config, self.store = root, config, store
        self.prefix = prefix()
        self.host = root / "host"
        self.mail_dir = self.host / "srv" / "mail"
        self.port, self.exchange_port = process.free_port(), process.free_port()
        self.log_file = root / "qmail.log"
        self._running: list[subprocess.Popen[bytes]] = []
        self._retried = 0.0

    @property
    def programs(self) -> Path:
        return self.host / "usr/local/lib/mailferry-qmail"

    def __enter__(self) -> Qmail:
        _clear(self.prefix)
        self.install()
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.halt()
        _clear(self.prefix)
        (self.prefix / _OURS).unlink()

    def install(self) -> None:
        """The kit that the settings give, by its own script."""
        kit = stack_qmail.kit(read_settings(self.config), self.store, self.host)
        folder = self.root / "kit"
        stack.render(kit, folder)
        done = subprocess.run([folder / "install.sh"], check=False, capture_output=True, text=True)
        if done.returncode:
            raise process.LabError(f"install.sh: {done.stdout}{done.stderr}")

    def start(self) -> Qmail:
        """Start, and return when both listeners answer."""
        for name in SERVICES:
            self._running.append(process.spawn([str(self.programs / f"run-{name}")], log=self.log_file))
        for port, running in zip((self.port, self.exchange_port), self._running[1:], strict=True):
            process.wait_ready(partial(process.greets, port), running, self.log_file)
        return self

    def halt(self) -> None:
        """End all its processes, and keep everything, to be started again."""
        for running in reversed(self._running):
            process.stop(running, grace=1.0)
        self._running.clear()

    def queue(self) -> list[dict[str, Any]]:
        """What waits, in the form of `postqueue -j`, oldest first; has it tried again now and then."""
        if time.monotonic() > self._retried + RETRY_SECONDS:
            self.run("retry")
            self._retried = time.monotonic()
        found = [json.loads(line) for line in self.run("list").splitlines()]
        return sorted(found, key=lambda one: float(one["arrival_time"]))

    def run(self, *arguments: str) -> str:
        """The kit's program for the queue; its standard output."""
        done = subprocess.run([self.programs / "queue", *arguments], check=False, capture_output=True, text=True)
        if done.returncode:
            raise process.LabError(f"queue {' '.join(arguments)}: {done.stderr}{self.log()[-2000:]}")
        return done.stdout

    def maildir(self, user: str) -> Path:
        """The root of that user's Maildir; `user`: a uid, or an address with the uid in it."""
        return self.mail_dir / user.partition("@")[0] / "Maildir"

    def log(self) -> str:
        """All that it logged so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""


def settings(here: Qmail, exchange: tuple[str, int], exchange_domain: str) -> str:
    """The tables of mailferry.toml for it; `[stack.openldap]` has to stand beside them."""
    host, port = exchange
    return f"""\
[stack]
flavour = "qmail"
[stack.qmail]
hostname = "mx.acme.example"
prefix = "{here.prefix}"
exchange = "{host}:{port}"
exchange_domain = "{exchange_domain}"
exchange_networks = ["127.0.0.0/8"]
own_networks = ["127.0.0.1/32"]
listen = "127.0.0.1:{here.port}"
listen_exchange = "127.0.0.1:{here.exchange_port}"
owner = "{OWNER}"
[stack.qmail.stores]
"{here.store}" = "127.0.0.1:{here.port}"
"""


def queue_settings(here: Qmail, mailferry: str) -> str:
    """Its entry of `[[coexist.queues]]`. `mailferry`: the command line's path."""
    return f"""\
[[coexist.queues]]
name = "mx"
queue = "{here.programs}/queue"
apply = "{mailferry} stack apply --config {here.config} --root {here.host}"
smtp = "127.0.0.1:{here.port}"
"""


def _clear(prefix: Path) -> None:
    """Empty the queue of an instance that is ours; make it ours if its queue is empty."""
    if any(True for _ in processes(prefix / "bin" / "qmail-send")):
        raise process.LabError(f"a qmail-send of {prefix} runs: give tests a qmail of their own\n{HOW}")
    queued = list(_files(prefix / "queue"))
    if queued and not (prefix / _OURS).exists():
        raise process.LabError(f"the queue of {prefix} is not empty: give tests a qmail of their own\n{HOW}")
    for path in queued:
        path.unlink()
    for path in (*prefix.glob("control/*"), *prefix.glob("users/*")):
        if path.is_file():
            path.unlink()
    (prefix / _OURS).touch()


def _files(queue: Path) -> Iterator[Path]:
    for name in ("mess", "info", "local", "remote", "todo", "intd", "bounce", "pid"):
        yield from (path for path in (queue / name).rglob("*") if path.is_file())


if __name__ == "__main__":
    try:
        print(f"qmail: {prefix()}")
    except process.LabError as error:
        raise SystemExit(str(error)) from None
