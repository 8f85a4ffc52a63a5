"""A private Radicale on loopback, without TLS: everybody who was let in with `add` has their own collections, and
`ADMIN` everybody's.

Invariant: nothing outside `root` is written.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from lab import process
from lab.process import PASSWORD
from lab.server import Server

ADMIN = "mailferry"
MOST_BYTES = 1_000_000
"""What one item may have."""

_CONFIG = """
[server]
hosts = 127.0.0.1:{port}
max_connections = 30
delay_on_error = 0
max_resource_size = {most}
[auth]
type = htpasswd
htpasswd_filename = {root}/users
htpasswd_encryption = plain
delay = 0
[rights]
type = from_file
file = {root}/rights
[storage]
filesystem_folder = {root}/collections
use_mtime_and_size_for_item_cache = True
[web]
type = none
[logging]
level = warning
"""
_RIGHTS = """
[admin]
user = mailferry
collection = .*
permissions = RrWw
[root]
user = .+
collection =
permissions = R
[own]
user = .+
collection = {user}(/[^/]+)?
permissions = RrWw
"""


class Radicale(Server):
    """One Radicale at `port`. Who was let in logs in with PASSWORD."""

    name = "radicale"
    grace = 2

    def __init__(self, root: Path | str | None = None) -> None:
        super().__init__(root)
        self.port = 0
        self.add(ADMIN)

    def add(self, user: str) -> str:
        """Let somebody in."""
        with (self.root / "users").open("a", encoding="utf-8") as file:
            file.write(f"{user}:{PASSWORD}\n")
        return user

    @property
    def collections(self) -> Path:
        """Where the people's directories are; a collection's items are files there."""
        return self.root / "collections" / "collection-root"

    def items(self, user: str) -> dict[str, bytes]:
        """Path below the person's directory → content of each item, as Radicale stores it."""
        home = self.collections / user
        files = (
            one for one in home.rglob("*") if one.suffix in (".ics", ".vcf") and ".Radicale.cache" not in one.parts
        )
        return {str(one.relative_to(home)): one.read_bytes() for one in files}

    def _start(self) -> None:
        self.port = self.port or process.free_port()
        (self.root / "config").write_text(_CONFIG.format(port=self.port, root=self.root, most=MOST_BYTES))
        (self.root / "rights").write_text(_RIGHTS)
        self._process = process.spawn(
            [sys.executable, "-m", "radicale", "--config", str(self.root / "config")], log=self.log_file, cwd=self.root
        )
        process.wait_ready(self._answers, self._process, self.log_file)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True
