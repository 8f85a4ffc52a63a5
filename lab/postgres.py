"""A private PostgreSQL cluster on loopback TCP, without passwords, with fsync on.

Made by initdb as the system user `postgres` (as the caller when not root). Invariant: nothing outside `root` is
written, and no cluster of the system is touched.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from pathlib import Path

from lab import process
from lab.server import Server


class Postgres(Server):
    """One PostgreSQL server; `url` is its database `postgres`, as an SQLAlchemy URL for psycopg 3."""

    name = "postgres"
    first_signal = signal.SIGINT  # fast shutdown: sessions are ended
    grace = 10

    def __init__(self, root: Path | str | None = None, *, settings: str = "") -> None:
        super().__init__(root)
        self.settings = settings
        self.port = 0
        self._account = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the database `postgres`."""
        return self.database_url("postgres")

    def database_url(self, name: str) -> str:
        """SQLAlchemy URL of a database of this server."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"

    def create_database(self, name: str) -> str:
        """Make an empty database and return its URL. Raises LabError when it exists."""
        self._psql(f'CREATE DATABASE "{name}" TEMPLATE template0')
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        """Remove a database and end the sessions in it; nothing happens when there is none."""
        self._psql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _start(self) -> None:
        data = self.root / "data"
        user = (self._account.pw_uid, self._account.pw_gid)
        if not data.exists():
            data.mkdir(mode=0o700)
            os.chown(data, *user)
            made = process.spawn(
                [
                    *(_program("initdb"), "-D", str(data), "-U", "postgres", "-A", "trust"),
                    *("-E", "UTF8", "--locale=C", "--no-sync"),
                ],
                log=self.log_file,
                cwd=self.root,
                user=user,
            )
            if made.wait(60):
                raise process.LabError("initdb failed")
        self.port = self.port or process.free_port()
        (data / "postgresql.auto.conf").write_text(
            f"listen_addresses = '127.0.0.1'\nport = {self.port}\nunix_socket_directories = ''\n"
            f"fsync = on\nmax_connections = 200\nshared_buffers = 64MB\n{self.settings}\n"
        )
        self._process = process.spawn(
            [_program("postgres"), "-D", str(data)], log=self.log_file, cwd=self.root, user=user
        )
        process.wait_ready(self._accepts, self._process, self.log_file)

    def _accepts(self) -> bool:
        probe = [_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(probe, check=False).returncode == 0

    def _psql(self, statement: str) -> None:
        command = [_program("psql"), "-X", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"]
        done = subprocess.run(
            [*command, "-v", "ON_ERROR_STOP=1", "-c", statement, "postgres"],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise process.LabError(done.stderr.strip())


def _program(name: str) -> str:
    """The path of a PostgreSQL program of the newest installed version."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return process.binary(*(str(path) for path in reversed(found)), name)
