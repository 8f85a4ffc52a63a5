"""Files that several use cases read and write: exports of Exchange, tables for people.

Invariant: a file is written whole or not at all, and its name is never a path, whatever somebody is called.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from mailferry.errors import Permanent, UserError

MOST_BYTES = 64 << 20
"""A file larger than that is no export."""
_PLAIN = re.compile(r"[^A-Za-z0-9@._+-]+")


def read_export(path: Path) -> bytes:
    """UserError: it cannot be read, or is too large."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"larger than {MOST_BYTES >> 20} MiB", about=str(path), advice="no export is")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", about=str(path)) from error


def safe_name(owner: str, ending: str) -> str:
    """A file name for somebody: never a path, never hidden."""
    return (_PLAIN.sub("_", owner).strip("._") or "mailbox")[:200] + ending


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """A CSV file that spreadsheets show as it is meant."""
    return "".join(",".join(map(_cell, line)) + "\r\n" for line in (head, *rows)).encode("utf-8-sig", "replace")


def _cell(text: str) -> str:
    """A CSV cell that no spreadsheet takes for a formula."""
    safe = f"'{text}" if text[:1] in "=+-@\t\r" else text
    return '"' + safe.replace('"', '""') + '"'


def write(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Whole or not at all. Permanent: the disk says no."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=".")
        try:
            with open(handle, "wb") as stream:
                stream.write(content)
                os.fchmod(handle, mode)
            os.replace(scratch, path)
        except OSError:
            Path(scratch).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise Permanent(f"cannot write: {error.strerror}", about=str(path)) from error
