"""Reads log files, rotated and compressed ones too, and the output of commands, as a stream of lines.

Understands no line. Invariants: memory is bounded whatever a file holds; what cannot be read is told, and keeps nothing
else from being read.
"""

from __future__ import annotations

import bz2
import glob
import gzip
import lzma
import os
import select
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from zlib import error as zlib_error

CHUNK = 1 << 18
MOST = 1 << 14
"""Bytes of a line that are kept; the rest is passed over."""
SILENCE_SECONDS = 60.0
"""How long a command may say nothing."""


@dataclass(slots=True)
class Looked:
    """Where was looked: a file, or a command. `problem`: why not all of it could be read; "" if it could."""

    what: str
    lines: int = 0
    problem: str = ""


def read(entry: str, since: float, looked: list[Looked]) -> Iterator[str]:
    """The lines of an entry of `trace.logs`: what begins with `/` is a file or a pattern of files (rotated ones come
    first), all else a command. A file that was last written before `since` is left out."""
    if not entry.startswith("/"):
        yield from _command(entry, looked)
        return
    paths = [Path(one) for one in glob.glob(entry)]
    if not paths:
        looked.append(Looked(entry, problem="there is no such file"))
    for at, path in sorted((_written(path), path) for path in paths):
        if at >= since:
            yield from _file(path, looked)


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # rotated away this moment, or not ours to see: opening it tells
        return float("inf")


def _file(path: Path, looked: list[Looked]) -> Iterator[str]:
    seen = Looked(str(path))
    looked.append(seen)
    try:
        with _open(path) as file:
            yield from _lines(lambda: file.read(CHUNK), seen)
    except (OSError, EOFError, lzma.LZMAError, zlib_error) as error:
        seen.problem = getattr(error, "strerror", None) or str(error) or type(error).__name__


def _open(path: Path) -> IO[bytes]:
    """The bytes of a file as they were before it was compressed."""
    match path.suffix:
        case ".gz":
            return gzip.open(path)  # type: ignore[return-value]  # it reads as one
        case ".bz2":
            return bz2.open(path)
        case ".xz":
            return lzma.open(path)
    return path.open("rb")


def _command(entry: str, looked: list[Looked]) -> Iterator[str]:
    seen = Looked(entry)
    looked.append(seen)
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                shlex.split(entry), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
            )
        except (OSError, ValueError) as error:
            seen.problem = str(error)
            return
        assert process.stdout is not None
        out = process.stdout.fileno()

        def chunk() -> bytes:
            ready, _, _ = select.select([out], [], [], SILENCE_SECONDS)
            if not ready:
                seen.problem = f"it said nothing for {SILENCE_SECONDS:.0f} s"
                return b""
            return os.read(out, CHUNK)

        try:
            yield from _lines(chunk, seen)
        finally:
            process.stdout.close()
            if seen.problem:
                process.kill()
            code = process.wait()
        if code and not seen.problem:
            errors.seek(0)
            said = errors.read(500).decode(errors="replace").strip()
            seen.problem = f"it ended with {code}{': ' + said if said else ''}"


def _lines(chunk: Callable[[], bytes], seen: Looked) -> Iterator[str]:
    held = b""
    cut = False
    while data := chunk():
        *whole, rest = data.split(b"\n")
        for line in whole:
            seen.lines += 1
            text = held if cut else held + line
            held, cut = b"", False
            yield text[:MOST].decode(errors="replace")
        if not cut:
            held += rest
            if len(held) > MOST:
                held, cut = held[:MOST], True
    if held:
        seen.lines += 1
        yield held.decode(errors="replace")
