"""qmail's own lookup rules, as its manual pages give them: what becomes of a recipient on a host of ours. For tests.

Reads the files that Mailferry has written: control/ (qmail-send(8)), users/assign (qmail-users(5)), `.qmail`
(dot-qmail(5)). As a program it is a qmail-newu for a prefix without one: `python tests/qmail_rules.py PREFIX`.
Invariant: shares no code with the product.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What qmail does: `kind` is remote, bounced (nobody) or local, then with the `.qmail`'s instructions."""

    kind: str
    home: Path | None = None
    maildirs: tuple[str, ...] = ()
    forwards: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()

    @property
    def waits(self) -> bool:
        """Whether one of its programs says: not now."""
        return any(one.endswith(("exit 111", "/parked")) for one in self.programs)


def deliver(prefix: Path, recipient: str) -> Outcome:
    """What becomes of a message for this recipient now."""
    local, _, domain = recipient.rpartition("@")
    if domain.lower() in _lines(prefix / "control" / "locals"):
        raise AssertionError("our hosts have no local domain")
    prefixes = dict(line.split(":", 1) for line in _lines(prefix / "control" / "virtualdomains"))
    if domain.lower() not in prefixes:
        return Outcome("remote")
    found = _assigned(prefix, f"{prefixes[domain.lower()]}-{local}")
    if found is None:
        return Outcome("bounced")
    home, dash, ext = found
    file = home / f".qmail{dash}{ext.lower().replace('.', ':')}"
    if not file.exists():
        if dash:
            return Outcome("bounced", home)
        return Outcome("local", home, programs=("echo default; exit 111",))  # what qmail-start was told
    for path in (home, file):
        assert not path.stat().st_mode & 0o022, f"{path} is writable: qmail-local refuses it"
    return _instructions(home, file.read_text())


def _instructions(home: Path, text: str) -> Outcome:
    maildirs: list[str] = []
    forwards: list[str] = []
    programs: list[str] = []
    lines = text.splitlines()
    assert lines, "an empty .qmail means the default delivery"
    assert lines[0].strip(), "qmail-local refuses a blank first line"
    for line in (one.rstrip(" \t") for one in lines):
        if line.startswith("#") or not line:
            continue
        if line[0] in "./":
            assert line.endswith("/"), "an mbox"
            maildirs.append(line)
        elif line[0] == "|":
            programs.append(line[1:])
        else:
            forwards.append(line.removeprefix("&"))
    return Outcome("local", home, tuple(maildirs), tuple(forwards), tuple(programs))


def _assigned(prefix: Path, name: str) -> tuple[Path, str, str] | None:
    """qmail-lspawn: the simple assignment, else the longest wildcard."""
    simple: dict[str, list[str]] = {}
    wild: dict[str, list[str]] = {}
    for line in (prefix / "users" / "assign").read_text().splitlines():
        if line.startswith("."):
            break
        fields = line[1:].split(":")
        (simple if line[0] == "=" else wild).setdefault(fields[0].lower(), fields)
    if name.lower() in simple:
        _, _, _, _, home, dash, ext, *_ = simple[name.lower()]
        return Path(home), dash, ext
    for end in range(len(name), -1, -1):
        if name[:end].lower() in wild:
            _, _, _, _, home, dash, ext, *_ = wild[name[:end].lower()]
            return Path(home), dash, ext + name[end:]
    return None


def _lines(path: Path) -> list[str]:
    return [line.strip().lower() for line in path.read_text().splitlines() if line.strip() and line[0] != "#"]


def newu(prefix: Path) -> None:
    """users/cdb from users/assign, as qmail-newu(8)."""
    records: list[tuple[bytes, bytes]] = []
    ended = False
    for line in (prefix / "users" / "assign").read_bytes().splitlines():
        if line.startswith(b"."):
            ended = True
            break
        name, _, rest = line[1:].partition(b":")
        key = b"!" + name.lower() + (b"\0" if line[:1] == b"=" else b"")
        fields = rest.split(b":")
        assert len(fields) >= 6, line
        records.append((key, b"\0".join(fields[:6])))
    assert ended, "users/assign does not end with a dot"
    _cdb(prefix / "users" / "cdb", [*records, (b"", b"-")])


def _cdb(path: Path, records: list[tuple[bytes, bytes]]) -> None:
    """The format of cdb(3)."""
    body = bytearray(2048)
    tables: list[list[tuple[int, int]]] = [[] for _ in range(256)]
    for key, value in records:
        number = 5381
        for byte in key:
            number = ((number * 33) & 0xFFFFFFFF) ^ byte
        tables[number % 256].append((number, len(body)))
        body += struct.pack("<LL", len(key), len(value)) + key + value
    for index, entries in enumerate(tables):
        slots: list[tuple[int, int]] = [(0, 0)] * (2 * len(entries))
        for number, at in entries:
            slot = (number >> 8) % len(slots)
            while slots[slot][1]:
                slot = (slot + 1) % len(slots)
            slots[slot] = (number, at)
        struct.pack_into("<LL", body, index * 8, len(body), len(slots))
        for one in slots:
            body += struct.pack("<LL", *one)
    scratch = path.with_suffix(".tmp")
    scratch.write_bytes(body)
    scratch.replace(path)


if __name__ == "__main__":
    newu(Path(sys.argv[1]))
