"""PST: a file of a gigabyte into a Maildir, against readpst and a loop around libpff that writes message files; and the
memory of a file of several gigabytes.

The file is made here (lab/pst_file.py), in the form that Outlook writes. Contenders take turns; each writes files of
its own, new in each round. readpst writes one file for each message (-M) and no RTF; the loop (bench/pst_libpff.py)
takes header, bodies and attachments by value, and puts them together with Python's email package. Invariant: everybody
ends with as many files as there are messages, or the bench ends.
"""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.contenders import environment, mailferry
from bench.measure import BenchError, Usage
from bench.measure import run as timed
from bench.results import LIMIT, Row, comparison, within
from lab.process import binary
from lab.pst_file import BINARY, LONG, STRING, TIME, Attached, Mail, Properties, PstWriter
from mailferry.wire.pst.header import UNICODE, Crypt

MESSAGES, QUICK_MESSAGES = 20_000, 4_000
LARGE, QUICK_LARGE = 3 << 30, 300 << 20
MOST_MB = 150.0
_SENT = 132_000_000_000_000_000
_ZEROS = bytes(8000)
_WORDS = ("minutes", "of our", "meeting", "are attached", "please", "find", "Grüße", "until", "Thursday", "plan\r\n")
_OURS, _READPST, _LIBPFF = "mailferry to Maildir", "readpst", "libpff loop"


def reading(rounds: int, place: Path, when: str, say: Callable[[str], None], *, quick: bool = False) -> list[Row]:
    """Run both cases."""
    count = QUICK_MESSAGES if quick else MESSAGES
    path = place / "bench.pst"
    _make(path, 20)
    _one(_OURS, path, place / "out", place / "log", 20)  # writes the bytecode
    _make(path, count)
    size = path.stat().st_size / 1e6
    say(f"pst: {count:,} messages, {size:,.0f} MB")
    samples: dict[str, list[Usage]] = {_OURS: [], _READPST: [], _LIBPFF: []}
    for number in range(rounds):
        for turn in range(len(samples)):
            name = list(samples)[(number + turn) % len(samples)]
            taken = _one(name, path, place / "out", place / "log", count)
            samples[name].append(taken)
            say(f"pst: {name}: {taken.wall:.1f} s, {count / taken.wall:,.0f} messages/s, {size / taken.wall:.0f} MB/s")
    path.unlink()
    case = f"PST of {size / 1000:.1f} GB, {count:,} messages"
    return [
        comparison(case, "full", _OURS, samples[_OURS], _READPST, samples[_READPST], when, 2.0),
        comparison(case, "full", _OURS, samples[_OURS], _LIBPFF, samples[_LIBPFF], when, 1.0),
        _memory(place, when, say, QUICK_LARGE if quick else LARGE),
    ]


def _one(name: str, path: Path, out: Path, log: Path, count: int) -> Usage:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    commands = {
        _OURS: [mailferry(), "copy", f"pst:{path}", f"maildir:{out}/Maildir", "--ledger", f"{out}/ledger.db"],
        _READPST: [binary("readpst"), "-q", "-j0", "-M", "-b", "-a", ".none", "-o", str(out), str(path)],
        _LIBPFF: [sys.executable, "-m", "bench.pst_libpff", str(path), str(out)],
    }
    taken = timed([commands[name]], log, at_once=1, env=environment(path.parent / "bytecode"))
    found = sum(1 for one in out.rglob("*") if one.is_file() and _is_message(one, name))
    shutil.rmtree(out)
    if found != count:
        raise BenchError(f"{name} wrote {found} messages of {count}")
    return taken


def _is_message(path: Path, name: str) -> bool:
    if name == _OURS:
        return path.parent.name in ("cur", "new")
    return path.suffix == ".eml" if name == _LIBPFF else path.name.isdigit()


def _make(path: Path, count: int) -> None:
    """Messages of 50 kB on average: text and HTML, a third with a file."""
    chance = random.Random(1)
    writer = PstWriter(path)
    folders = [writer.folder("Inbox", inbox=True), *(writer.folder(f"Folder {number}") for number in range(19))]
    noise = chance.randbytes(1 << 22)
    for number in range(count):
        writer.add(chance.choice(folders), _mail(chance, number, noise))
    writer.close()


def _mail(chance: random.Random, number: int, noise: bytes) -> Mail:
    text = " ".join(chance.choices(_WORDS, k=min(int(chance.lognormvariate(6.2, 0.8)), 10_000)))
    properties: dict[int, tuple[int, int | str | bytes]] = {
        0x001A: (STRING, "IPM.Note"),
        0x0037: (STRING, f"Message {number}"),
        0x0039: (TIME, _SENT + number * 10**9),
        0x0E06: (TIME, _SENT + number * 10**9),
        0x0E07: (LONG, 1),
        0x007D: (STRING, _header(number)),
        0x1000: (STRING, text),
        0x3FDE: (LONG, 65001),
    }
    if number % 2:
        properties[0x1013] = (BINARY, f"<html><body><p>{text}</p></body></html>".encode())
    files = []
    if number % 3 == 0:
        size = min(int(chance.lognormvariate(11.0, 1.0)), 3_000_000)
        start = chance.randrange(len(noise) - size)
        more: Properties = {0x3705: (LONG, 1), 0x3707: (STRING, "file.pdf"), 0x370E: (STRING, "application/pdf")}
        files.append(Attached(more, [noise[start : start + size]]))
    person: Properties = {0x0C15: (LONG, 1), 0x3001: (STRING, "Bob"), 0x39FE: (STRING, "bob@acme.example")}
    return Mail(properties, [person], files)


def _header(number: int) -> str:
    return (
        f"Received: from a.example by b.example; Tue, 1 Aug 2023 10:00:00 +0000\r\nFrom: Alice <alice@acme.example>\r\n"
        f"To: Bob <bob@acme.example>\r\nSubject: Message {number}\r\nDate: Tue, 1 Aug 2023 10:00:00 +0000\r\n"
        f"Message-ID: <{number}@acme.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"
    )


# Memory


class _SparseWriter(PstWriter):
    """Leaves holes in the file where there is nothing but zeros."""

    def _write(self, data: bytes) -> None:
        if not data.startswith(_ZEROS):
            super()._write(data)
            return
        self._at += len(_ZEROS)
        super()._write(data[len(_ZEROS) :])


def _memory(place: Path, when: str, say: Callable[[str], None], size: int) -> Row:
    """A valid file of that size whose attachments are zeros, copied whole."""
    path, attachment = place / "large.pst", 100 << 20
    writer = _SparseWriter(path, UNICODE, Crypt.NONE)
    inbox = writer.folder("Inbox", inbox=True)
    for number in range(size // attachment):
        more: Properties = {0x3705: (LONG, 1), 0x3707: (STRING, "zeros.bin")}
        properties: Properties = {0x001A: (STRING, "IPM.Note"), 0x0037: (STRING, f"Large {number}")}
        writer.add(inbox, Mail(properties, (), [Attached(more, _zeros(attachment))]))
    writer.close()
    taken = _one(_OURS, path, place / "out", place / "log", size // attachment)
    whole = path.stat().st_size / 1e9
    say(f"pst: {whole:.1f} GB: {taken.peak_mb:.0f} MB of memory, {taken.wall:.0f} s")
    path.unlink()
    case = f"PST of {whole:.1f} GB, {size // attachment} messages of 100 MB"
    return within(case, "full", _OURS, [taken], LIMIT, taken.peak_mb, MOST_MB, when)


def _zeros(size: int) -> Iterator[bytes]:
    piece = bytes(UNICODE.block)
    for _ in range(size // len(piece)):
        yield piece
