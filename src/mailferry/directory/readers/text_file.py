"""Text files of unknown encoding, line by line. Knows nothing of what is in them.

An encoding is decided over the whole file, and said: by its byte order mark, as UTF-8 where that fits, else as the code
page that the caller's words or the look of the letters point to. Invariant: every line of the file comes out, whatever
its bytes; those of another encoding than the file's are marked.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mailferry.errors import Permanent, UserError

ENCODINGS = {
    "utf-8": "UTF-8",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16 (big endian)",
    "cp1252": "Windows-1252",
    "cp1251": "Windows-1251",
}
_PIECE = 1 << 20
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_RUN = re.compile(rb"[\x80-\xff]+")


@dataclass(frozen=True, slots=True)
class Line:
    """A line with its end. `mixed`: its bytes did not fit the file's encoding and were read as Windows-1252."""

    number: int
    text: str
    mixed: bool = False


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a file is read, and why."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"{ENCODINGS.get(self.name, self.name)} ({self.why})"


def find_encoding(path: Path, told: str | None, is_cyrillic: Callable[[str], bool]) -> Encoding:
    """The encoding of a file. `told`: what the caller knows. `is_cyrillic`: whether the first line, read as
    Windows-1251, has words of the format in it. Permanent if the file cannot be read, UserError for an encoding that
    does not exist."""
    if told is not None:
        try:
            return Encoding(codecs.lookup(told).name, "as told")
        except LookupError as error:
            raise UserError(f"there is no encoding {told}", about=str(path)) from error
    fits = misfits = beside = alone = 0
    head = first = b""
    for piece in _pieces(path):
        head = head or piece[:400]
        first = first or piece
        if piece.isascii():
            continue
        try:
            piece.decode("utf-8")
            fits += 1
        except UnicodeDecodeError:
            misfits += 1
            for run in _RUN.findall(piece):
                if len(run) > 1:
                    beside += len(run)
                else:
                    alone += 1
    for mark, name in _MARKS:
        if head.startswith(mark):
            return Encoding(name, "byte order mark")
    zeros = (head[0::2].count(0), head[1::2].count(0))
    if max(zeros) * 20 > len(head) and min(zeros) * 8 < max(zeros):
        return Encoding("utf-16-be" if zeros[0] > zeros[1] else "utf-16-le", "zeros at every other byte")
    if not misfits:
        return Encoding("utf-8", "everything fits" if fits else "nothing but ASCII")
    if fits >= misfits:  # bytes of a code page look like UTF-8 hardly ever
        return Encoding("utf-8", f"fits {fits} of {fits + misfits} lines")
    if is_cyrillic(first.decode("cp1251", "replace")):
        return Encoding("cp1251", "not UTF-8; Russian column names")
    if beside > alone:
        return Encoding("cp1251", "not UTF-8; whole words beyond ASCII")
    return Encoding("cp1252", "not UTF-8; single letters beyond ASCII")


def lines(path: Path, encoding: Encoding) -> Iterator[Line]:
    """The file's lines from 1 on, ends kept. Permanent if it cannot be read."""
    if encoding.name.startswith("utf-16"):
        yield from _wide_lines(path, encoding.name)
        return
    for number, piece in enumerate(_pieces(path), 1):
        if number == 1:
            piece = piece.removeprefix(codecs.BOM_UTF8)
        try:
            yield Line(number, piece.decode(encoding.name))
        except UnicodeDecodeError:
            right = decode_mixed(piece) if encoding.name == "utf-8" else piece.decode(encoding.name, "replace")
            yield Line(number, right, mixed=True)


def decode_mixed(data: bytes) -> str:
    """UTF-8 with bytes of Windows-1252 in it: what is UTF-8 is read as that, each other byte by itself."""
    return data.decode("utf-8", _AS_1252)


def _as_1252(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


_AS_1252 = "mailferry.cp1252"
codecs.register_error(_AS_1252, _as_1252)


def _wide_lines(path: Path, name: str) -> Iterator[Line]:
    try:
        with path.open(encoding=name, errors="replace", newline="\n") as file:
            for number, text in enumerate(file, 1):
                yield Line(number, text.removeprefix("\ufeff") if number == 1 else text, mixed="\ufffd" in text)
    except OSError as error:
        raise Permanent(f"cannot be read: {error.strerror}", about=str(path)) from error


def _pieces(path: Path) -> Iterator[bytes]:
    """Lines as bytes; an endless one in pieces."""
    try:
        with path.open("rb") as file:
            while piece := file.readline(_PIECE):
                yield piece
    except OSError as error:
        raise Permanent(f"cannot be read: {error.strerror}", about=str(path)) from error
