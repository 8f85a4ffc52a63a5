"""A directory of iCalendar and vCard files: a directory in it is a collection, a file in that a resource (the vdir
layout of vdirsyncer and khal). Everything here blocks. Knows nothing of what the files say.

Invariants: no name leads out of the directory; a file is there whole or not at all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mailferry.errors import ItemError, Permanent, UserError
from mailferry.net.maildir_disk import error_of

ENDINGS = (".ics", ".vcf")
SHOWN_NAME = "displayname"
MOST = 64 << 20
"""Bytes of a file, which is taken whole."""

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9@._+=,-]{0,199}")
_DEEPEST = 16


class ItemFiles:
    """One such directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    # Reading

    def check(self) -> None:
        """UserError where there is no such directory."""
        if not self.root.is_dir():
            raise UserError("there is no such directory", about=str(self.root))

    def files(self) -> Iterator[Path]:
        """Every iCalendar and vCard file below it, relative to it, in order. Links are not followed."""
        yield from self._below(Path(), 0)

    def _below(self, relative: Path, depth: int) -> Iterator[Path]:
        try:
            entries = sorted(os.scandir(self.root / relative), key=lambda one: one.name)
        except OSError as error:
            raise Permanent(f"cannot be read: {error.strerror}", about=str(self.root / relative)) from error
        for one in entries:
            if one.name.startswith("."):
                continue
            if one.is_dir(follow_symlinks=False):
                if depth < _DEEPEST:
                    yield from self._below(relative / one.name, depth + 1)
            elif one.is_file(follow_symlinks=False) and one.name.lower().endswith(ENDINGS):
                yield relative / one.name

    def read(self, file: Path) -> bytes | None:
        """A file's bytes; None where it has gone. ItemError if it cannot be read, or is too large."""
        try:
            with (self.root / file).open("rb") as opened:
                data = opened.read(MOST + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ItemError(f"cannot be read: {error.strerror}", about=str(file)) from error
        if len(data) > MOST:
            raise ItemError(f"more than {MOST >> 20} MB in one file", about=str(file))
        return data

    def state(self, file: Path) -> str | None:
        """Text that changes whenever the file does; None where there is none."""
        try:
            found = os.stat(self.root / file, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ItemError(f"cannot be read: {error.strerror}", about=str(file)) from error
        return f"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}"

    def shown_name(self, directory: str) -> str:
        """What people call a collection."""
        with suppress(OSError):
            return (self.root / directory / SHOWN_NAME).read_text("utf-8", "replace").strip()[:500]
        return directory

    # Writing

    def directories(self) -> list[str]:
        """The collections that can be written to."""
        try:
            entries = list(os.scandir(self.root)) if self.root.exists() else []
        except OSError as error:
            raise Permanent(f"cannot be read: {error.strerror}", about=str(self.root)) from error
        return sorted(one.name for one in entries if one.is_dir(follow_symlinks=False) and _SAFE.fullmatch(one.name))

    def names(self, directory: str) -> list[str]:
        """The files of a collection. ItemError if it is not there any more."""
        try:
            names = os.listdir(self._directory(directory))
        except OSError as error:
            raise ItemError(f"cannot be read: {error.strerror}", about=directory) from error
        return sorted(name for name in names if name.endswith(ENDINGS) and not name.startswith("."))

    def make(self, directory: str, shown_name: str) -> None:
        """A collection, if it is not there yet."""
        path = self._directory(directory)
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not (path / SHOWN_NAME).exists():
                self._write(path / SHOWN_NAME, shown_name.encode("utf-8", "replace"))
        except OSError as error:
            raise error_of(error, str(path)) from error

    def put(self, file: str, data: bytes) -> None:
        """Write a file, over what is there; durable when done."""
        path = self.place(file)
        try:
            self._write(path, data)
        except OSError as error:
            raise error_of(error, str(path)) from error

    def remove(self, file: str) -> None:
        path = self.place(file)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise error_of(error, str(path)) from error

    def place(self, file: str) -> Path:
        """The path of `directory/name`. ItemError for any other name."""
        directory, _, name = file.partition("/")
        if not _SAFE.fullmatch(name):
            raise ItemError("no name for a file", about=file)
        return self._directory(directory) / name

    def _directory(self, name: str) -> Path:
        if not _SAFE.fullmatch(name):
            raise ItemError("no name for a directory", about=name)
        return self.root / name

    def _write(self, path: Path, data: bytes) -> None:
        draft = path.with_name(f".{path.name}.{os.getpid():x}.new")
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
