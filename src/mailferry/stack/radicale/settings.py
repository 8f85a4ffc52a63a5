"""What one Radicale of ours is to be. Data; `[stack.radicale]` of the settings becomes this.

Invariant: nothing in it can break out of the file it is written into.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mailferry.errors import ConfigError
from mailferry.stack.openldap.settings import DAV_ACCOUNT
from mailferry.stack.postfix.settings import Directory

VERSION = "3.9.0"
"""The Radicale that install.sh fetches. Debian 12 and Ubuntu 24.04 have 3.1.8, which cannot ask a directory."""
VENV = Path("/opt/mailferry-radicale")
USER = "mailferry-radicale"
ORGANISATION = "organisation"
"""Whose collections everybody may read, and nobody but Mailferry write: the directory as an address book."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`hostname`: what clients call it. `listen`: HOST:PORT each. `directory`: where people and their passwords are.
    `python`: the one that has Radicale. `data_dir`: where collections are; `config_dir`: its files.
    `owner`: whom it runs as. `most_bytes`: of one item."""

    hostname: str
    listen: tuple[str, ...]
    directory: Directory
    certificate: Path | None = None
    key: Path | None = None
    python: Path = VENV / "bin" / "python"
    config_dir: Path = Path("/etc/mailferry-radicale")
    data_dir: Path = Path("/var/lib/mailferry-radicale")
    owner: str = USER
    most_bytes: int = 40 << 20

    def __post_init__(self) -> None:
        paths = (self.certificate, self.key, self.python, self.config_dir, self.data_dir)
        directory = self.directory
        words = (self.hostname, *self.listen, *directory.urls, *(str(path) for path in paths if path is not None))
        for text in (*words, str(directory.ca_file or "")):
            if any(one.isspace() or one in "\"'\\;%$#" for one in text):
                raise ConfigError("Radicale takes no such value", about=text)
        if any(one in "\r\n%{}" for one in f"{directory.suffix}{directory.bind}"):
            raise ConfigError("Radicale takes no such name", about=directory.suffix)
        if directory.words.ad:
            raise ConfigError(
                "Radicale is rendered for OpenLDAP alone", about="stack.radicale", advice="docs/stack-radicale.md"
            )

    @property
    def secret_file(self) -> Path:
        return self.config_dir / "lookup.secret"

    @property
    def admin(self) -> str:
        """Who may write everybody's collections."""
        return DAV_ACCOUNT
