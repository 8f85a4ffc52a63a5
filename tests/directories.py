"""A source (Samba, in an OU of the test's own) and a target (OpenLDAP) with the settings that bind them, for tests."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import ldap

from lab.openldap import WRITER_PASSWORD, OpenLdap
from lab.process import PASSWORD
from lab.samba import Samba
from mailferry.directory.sync import Stepped
from mailferry.directory.undo import Undone
from mailferry.ledger.rows import Control
from mailferry.ops import directory

SOURCE_VARIABLE, TARGET_VARIABLE = "MAILFERRY_TEST_SOURCE", "MAILFERRY_TEST_TARGET"

Values = dict[str, set[bytes]]


def _nothing(*_: object) -> None:
    """Progress that nobody looks at."""


@dataclass
class Pair:
    """`ou`: where the test's people stand at the source. `extra`: more lines for the settings."""

    ad: Samba
    target: OpenLdap
    ou: str
    folder: Path
    extra: str = ""
    steps: list[Stepped] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        os.environ[SOURCE_VARIABLE], os.environ[TARGET_VARIABLE] = PASSWORD, WRITER_PASSWORD
        self.configure(self.extra)

    @property
    def config(self) -> Path:
        return self.folder / "mailferry.toml"

    def configure(self, extra: str = "") -> None:
        """Write the settings; `extra` begins within `[directory.mapping]`."""
        self.config.write_text(
            f"""
            ledger = "{self.folder / "ledger.db"}"
            [directory.source]
            url = "{self.ad.tls_url}"
            bind = "{self.ad.reader_principal}"
            password = "env:{SOURCE_VARIABLE}"
            base = "{self.ou}"
            ca_file = "{self.ad.ca_file}"
            [directory.target]
            url = "{self.target.url}"
            suffix = "{self.target.suffix}"
            bind = "{self.target.settings.writer_dn}"
            password = "env:{TARGET_VARIABLE}"
            ca_file = "{self.target.ca_file}"
            [directory.follow]
            poll_seconds = 0.1
            [directory.mapping]
            domains = ["acme.example"]
            {extra}
            """
        )

    @contextmanager
    def place(self) -> Iterator[directory.Place]:
        with directory.opened(self.config, None, lambda: "") as place:
            yield place

    def sync(self, allowed: int | None = None, *, full: bool = False) -> tuple[int, Stepped]:
        with self.place() as place:
            run_id, _, step = directory.sync(place, ["test"], _nothing, allowed=allowed, full=full)
        return run_id, step

    def diff(self) -> Stepped:
        with self.place() as place:
            return directory.diff(place, _nothing)[1]

    def undo(self, run_id: int, *, dry_run: bool = False) -> Undone:
        with self.place() as place:
            return directory.take_back(place, ["undo"], run_id, _nothing, dry_run=dry_run)[0]

    @contextmanager
    def following(self) -> Iterator[None]:
        """Follow in a thread, from when the first comparison is done; steps are kept in `steps`."""
        started, runs, errors = threading.Event(), list[int](), list[BaseException]()

        def tell(run_id: int, step: Stepped, seconds: float) -> None:
            runs.append(run_id)
            self.steps.append(step)
            self.spent.append(seconds)
            started.set()

        def work() -> None:
            try:
                with self.place() as place:
                    directory.follow(place, ["follow"], _nothing, tell)
            except BaseException as error:  # noqa: BLE001 - raised again by the test
                errors.append(error)
                started.set()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            assert started.wait(60)
            yield
        finally:
            with self.place() as place:
                for run_id in set(runs):
                    place.ledger.control_run(run_id, Control.STOP)
            thread.join(60)
        if errors:
            raise errors[0]

    def cli(self, *arguments: str, crash: str = "") -> subprocess.CompletedProcess[str]:
        """The program itself, in a session of its own; `crash`: the point of the ledger where it is killed."""
        environment = {**os.environ, "MAILFERRY_CONFIG": str(self.config)}
        if crash:
            environment["MAILFERRY_CRASH_AT"] = crash
        return subprocess.run(
            [sys.executable, "-c", "from mailferry.cli.main import main; main()", "directory", *arguments],
            capture_output=True,
            text=True,
            env=environment,
            start_new_session=True,
            timeout=120,
            check=False,
        )

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """The program itself, at work; killed at the end if it still is."""
        with (self.folder / "output").open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-c", "from mailferry.cli.main import main; main()", "directory", *arguments],
                env={**os.environ, "MAILFERRY_CONFIG": str(self.config)},
                stdout=out,
                stderr=out,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def entries(self, where: str = "(mailferrySourceId=*)", server: OpenLdap | None = None) -> dict[str, Values]:
        """What stands in the target, by DN, as the administrator sees it."""
        link = (server or self.target).connect()
        try:
            found = link.search_s(self.target.suffix, ldap.SCOPE_SUBTREE, where)
        except ldap.NO_SUCH_OBJECT:  # a replica that has not begun
            found = []
        finally:
            link.unbind_s()
        return {dn: {name: set(values) for name, values in attributes.items()} for dn, attributes in found}

    def entry(self, rdn: str) -> Values:
        return self.entries()[f"{rdn},{self.target.suffix}"]


def until(ready: Callable[[], bool], seconds: float = 20) -> float:
    """Wait for it; returns how long that took. AssertionError when time is up."""
    began = time.monotonic()
    while not ready():
        assert time.monotonic() - began < seconds, "it never came"
        time.sleep(0.02)
    return time.monotonic() - began


def ou_of(ad: Samba, name: str) -> str:
    """A new OU for one test."""
    dn = f"OU={name},{ad.base}"
    ad.add(dn, {"objectClass": "organizationalUnit"})
    return dn


def group_of(ad: Samba, ou: str, name: str, members: Sequence[str] = (), **more: str) -> str:
    """A distribution group with an address."""
    dn = f"CN={name},{ou}"
    mail = f"{name.lower().replace(' ', '.')}@acme.example"
    values: dict[str, str | Sequence[str]] = {
        "objectClass": "group",
        "sAMAccountName": name,
        "groupType": "8",
        "displayName": name,
        "mail": mail,
        "proxyAddresses": f"SMTP:{mail}",
        "mailNickname": name.replace(" ", "."),
        **more,
    }
    if members:
        values["member"] = members
    ad.add(dn, values)
    return dn
