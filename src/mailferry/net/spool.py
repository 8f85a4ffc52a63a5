"""A body that arrives in pieces: kept in memory while small, in a nameless file once large. Knows no protocol.

Invariant: the file has no name in any directory, so nothing is left behind, whatever kills us.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO

from mailferry.model.message import Body, MemoryBody

MEMORY_LIMIT = 1024 * 1024
CHUNK = 256 * 1024


class FileBody:
    """A body in an unlinked file."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._size = size

    @property
    def size(self) -> int:
        return self._size

    def chunks(self) -> Iterator[bytes]:
        """Each iteration keeps its own place, so that two may run at once."""
        position = 0
        while position < self._size:
            self._file.seek(position)
            chunk = self._file.read(CHUNK)
            if not chunk:
                raise OSError("the spool file is shorter than what was written to it")
            position += len(chunk)
            yield chunk

    def close(self) -> None:
        self._file.close()


class Spool:
    """Takes pieces, gives a `Body`. `size`: what is expected where that is known, so that it goes where it belongs from
    the first piece on."""

    def __init__(self, size: int = 0) -> None:
        self._pieces: list[bytes] = []
        self.size = 0
        self._file: IO[bytes] | None = None
        if size > MEMORY_LIMIT:
            self._open()

    def _open(self) -> IO[bytes]:
        self._file = tempfile.TemporaryFile(prefix="mailferry-", buffering=0)  # noqa: SIM115 (the body closes it)
        return self._file

    def write(self, data: bytes) -> None:
        """OSError when the disk is full."""
        self.size += len(data)
        if self._file is not None:
            _write(self._file, data)
            return
        self._pieces.append(data)
        if self.size > MEMORY_LIMIT:
            file = self._open()
            for piece in self._pieces:
                _write(file, piece)
            self._pieces.clear()

    def body(self) -> Body:
        """What was written so far; the spool is used up."""
        if self._file is not None:
            return FileBody(self._file, self.size)
        return MemoryBody(b"".join(self._pieces))

    def close(self) -> None:
        """Drop what was written."""
        self._pieces.clear()
        if self._file is not None:
            self._file.close()


def _write(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
