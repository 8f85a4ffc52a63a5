"""What one Courier of ours is to be: frozen data, the only input of the renderer.

Renders and runs nothing. Invariant: two hosts with equal settings get the same files, byte for byte.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mailferry.errors import ConfigError
from mailferry.stack.postfix.settings import Directory

_PLAIN = re.compile(r"[A-Za-z0-9._/:@*-]+")


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports; 0: not offered."""

    imap: int = 143
    imaps: int = 993
    pop3: int = 110
    pop3s: int = 995


@dataclass(frozen=True, slots=True)
class Settings:
    """One store. `store`: its mailHost. `login`: the attribute that people log in with. `mail_dir`: UID/Maildir below
    it. `owner`: the user (and group) of all mail. `certificate`: with chain and key; None: no TLS."""

    hostname: str
    store: str
    directory: Directory
    login: str = "uid"
    mail_dir: Path = Path("/srv/mail")
    owner: str = "vmail"
    ports: Ports = Ports()
    address: str = "0"
    certificate: Path | None = None
    sessions: int = 1000
    config_dir: Path = Path("/etc/courier")

    def __post_init__(self) -> None:
        for text in (*map(str, filter(None, (self.mail_dir, self.certificate))), self.address, self.owner):
            if not _PLAIN.fullmatch(text):
                raise ConfigError("Courier's files take letters, digits and ._/:@*- here", about=text)
        directory = self.directory
        for value in (*directory.urls, directory.suffix, directory.bind, directory.password.reveal()):
            if any(not one.isprintable() for one in value) or value != value.strip():
                raise ConfigError("a value for authldaprc is one printable line", about=directory.bind)
