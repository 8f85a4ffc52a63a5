"""Whom an address means on this host, as qmail itself decides it: users/cdb, then what stands on top of `.qmail`.

Looks, changes nothing. Invariant: no list of our own is asked, so that what is accepted and what is delivered agree.
"""

from __future__ import annotations

import json
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = "# mailferry "
"""How the first line of each `.qmail` of ours begins; a JSON object follows."""
APPLIED = "applied"
"""The file whose time says when all was last compared with the directory."""


@dataclass(frozen=True, slots=True)
class Host:
    """host.json. `qmail`: where qmail is. `state`: the directory with people's homes. `domains`: those that are
    delivered here, each its own prefix in users/cdb. `open_domain`: where the local part is a uid. `exchange_domain`,
    `stores`: domains that people's mail is handed on to. `probe`: (begin of the local part, domain) of the senders of
    probe messages. `stale_seconds`: age of the last comparison from which on nobody is unknown."""

    qmail: Path
    state: Path
    domains: frozenset[str]
    open_domain: str
    exchange_domain: str
    stores: frozenset[str]
    probe: tuple[str, str]
    stale_seconds: float

    @property
    def probes(self) -> Path:
        """Where the parked probes leave their marks."""
        return self.state / "probes"

    def is_probe(self, sender: str) -> bool:
        local, _, domain = sender.partition("@")
        return local.startswith(f"{self.probe[0]}-") and domain == self.probe[1]

    def is_stale(self) -> bool:
        """Whether it is too long ago that everybody was compared with the directory: somebody may be new since."""
        try:
            return time.time() - (self.state / APPLIED).stat().st_mtime > self.stale_seconds
        except OSError:
            return True


def read_host(path: Path | None = None) -> Host:
    """The settings that the kit has put beside these programs. OSError, ValueError, KeyError: it is not there or not
    whole."""
    raw = json.loads((path or Path(__file__).parent.parent / "host.json").read_text(encoding="utf-8"))
    return Host(
        qmail=Path(raw["qmail"]),
        state=Path(raw["state"]),
        domains=frozenset(raw["domains"]),
        open_domain=raw["open_domain"],
        exchange_domain=raw["exchange_domain"],
        stores=frozenset(raw["stores"]),
        probe=(raw["probe"][0], raw["probe"][1]),
        stale_seconds=float(raw["stale_seconds"]),
    )


class Cdb:
    """A constant database (cdb(3)), open for reading: a replacement by rename does not disturb it."""

    def __init__(self, path: Path) -> None:
        """OSError: it is not there."""
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._file)

    def get(self, key: bytes) -> bytes | None:
        """The first value. OSError, struct.error: the file is cut short."""
        number = _hash(key)
        table, slots = struct.unpack("<LL", os.pread(self._file, 8, (number & 255) * 8))
        for step in range(slots):
            slot = table + ((number >> 8) + step) % slots * 8
            found, at = struct.unpack("<LL", os.pread(self._file, 8, slot))
            if at == 0:
                return None
            if found == number:
                sizes = struct.unpack("<LL", os.pread(self._file, 8, at))
                record = os.pread(self._file, sum(sizes), at + 8)
                if record[: sizes[0]] == key:
                    return record[sizes[0] :]
        return None


def _hash(key: bytes) -> int:
    number = 5381
    for byte in key:
        number = (((number << 5) + number) & 0xFFFFFFFF) ^ byte
    return number


def home(cdb: Cdb, address: str) -> Path | None:
    """The directory whose `.qmail` says what becomes of mail for an address of a domain of this host; None: nobody.
    As qmail-lspawn(8) looks, with the prefix that control/virtualdomains puts before it; wildcards are not followed,
    for ours lead to nobody."""
    local, _, domain = address.rpartition("@")
    return _assigned(cdb, f"{domain}-{local}")


def home_of_delivery(cdb: Cdb, recipient: str) -> Path | None:
    """The same for a recipient as qmail-send has rewritten it (DOMAIN-LOCAL@DOMAIN)."""
    return _assigned(cdb, recipient.rpartition("@")[0])


def _assigned(cdb: Cdb, name: str) -> Path | None:
    found = cdb.get(b"!" + _lower(name.encode("utf-8", "surrogateescape")) + b"\0")
    if found is None:
        return None
    fields = found.split(b"\0")  # user, uid, gid, home, dash, ext (qmail-users(5))
    return Path(os.fsdecode(fields[3])) if len(fields) > 3 else None


def _lower(text: bytes) -> bytes:
    """Of ASCII letters alone, as qmail has it."""
    return text.lower()


def told(home: Path) -> dict[str, Any]:
    """What stands on top of the `.qmail` there: mail, route, fresh (seconds since the epoch), inside. {}: nothing, or
    it is not ours."""
    try:
        with (home / ".qmail").open(encoding="utf-8", errors="replace") as file:
            line = file.readline()
    except OSError:
        return {}
    if not line.startswith(MARK):
        return {}
    try:
        found = json.loads(line.removeprefix(MARK))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
