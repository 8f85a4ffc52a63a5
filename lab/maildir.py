"""Writes a corpus straight into a Maildir as Dovecot would have stored it, thousands of messages in seconds.

For seeding sources only; the product's own Maildir target is elsewhere and shares nothing with this. Invariant: the
files are what Dovecot itself writes: LF line ends, `S=` and `W=` in the name, the internal date as mtime; Dovecot gives
UIDs in the order of writing.
"""

from __future__ import annotations

import base64
import os
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lab.corpus import CorpusFolder, CorpusMessage
from lab.dovecot import Dovecot

_LETTERS = {"\\Draft": "D", "\\Flagged": "F", "\\Answered": "R", "\\Seen": "S", "\\Deleted": "T"}


@dataclass(slots=True)
class Written:
    """What went in: folders, messages, and bytes as IMAP counts them."""

    folders: int = 0
    messages: int = 0
    bytes: int = 0


def seed(server: Dovecot, user: str, folders: Iterable[CorpusFolder]) -> Written:
    """Write folders into that user's Maildir on a Dovecot of the lab, which may be running.

    The folders must be new to the user: nothing there is looked at.
    """
    home = server.root / "mail" / user
    home.mkdir(exist_ok=True, mode=0o700)
    os.chown(home, *server.owner)
    return write_maildir(server.maildir(user), folders, layout=server.layout, owner=server.owner)


def write_maildir(
    root: Path, folders: Iterable[CorpusFolder], *, layout: Literal["maildir++", "fs"], owner: tuple[int, int]
) -> Written:
    """Write folders below the Maildir `root`. Raises ValueError for a name that the layout cannot hold."""
    done = Written()
    made: list[Path] = []
    subscribed: list[str] = []
    for folder in folders:
        place = folder_path(root, folder.path, layout)
        _make(place, root)
        made.append(place)
        if place != root and layout == "maildir++":
            (place / "maildirfolder").touch()
        if folder.subscribed:
            subscribed.append("\t".join(encode_utf7(level) for level in folder.path))
        keywords: dict[str, int] = {}
        for number, message in enumerate(folder.messages()):
            done.bytes += _write(place, number, message, keywords)
            done.messages += 1
        if keywords:
            (place / "dovecot-keywords").write_text("".join(f"{n} {word}\n" for word, n in keywords.items()))
        done.folders += 1
    _make(root, root)
    (root / "subscriptions").write_text("V\t2\n\n" + "".join(f"{line}\n" for line in subscribed))
    for path in (root, *root.rglob("*")):
        os.chown(path, *owner)
    return done


def folder_path(root: Path, path: tuple[str, ...], layout: Literal["maildir++", "fs"]) -> Path:
    """The directory of a folder. Raises ValueError for a name that the layout cannot hold."""
    levels = [encode_utf7(level) for level in path]
    if path == ("INBOX",):
        return root
    for level in path:
        if "/" in level or "\0" in level or level in ("", ".", "..") or (layout == "maildir++" and "." in level):
            raise ValueError(f"{layout} cannot hold a folder named {level!r}")
    return root / ("." + ".".join(levels)) if layout == "maildir++" else root.joinpath(*levels)


def encode_utf7(name: str) -> str:
    """Modified UTF-7 of RFC 3501 section 5.1.3."""

    def shift(match: re.Match[str]) -> str:
        if match[0] == "&":
            return "&-"
        packed = base64.b64encode(match[0].encode("utf-16-be")).rstrip(b"=").replace(b"/", b",")
        return f"&{packed.decode()}-"

    return re.sub(r"&|[^\x20-\x7e]+", shift, name)


def _make(place: Path, root: Path) -> None:
    for part in ("cur", "new", "tmp"):
        (place / part).mkdir(parents=True, exist_ok=True, mode=0o700)
    for step in (place, *place.parents):
        if step == root.parent:
            break
        step.chmod(0o700)


def _write(place: Path, number: int, message: CorpusMessage, keywords: dict[str, int]) -> int:
    """Write one message; returns its size as IMAP counts it (every line end CRLF)."""
    stored = message.body.replace(b"\r\n", b"\n")
    size = len(stored) + stored.count(b"\n")
    letters = sorted(_LETTERS[flag] for flag in message.flags)
    marks = sorted(chr(97 + keywords.setdefault(word, len(keywords))) for word in sorted(message.keywords))
    if len(keywords) > 26:
        raise ValueError("a Maildir folder holds 26 keywords")
    # Dovecot numbers new files in the order of the leading seconds, then of the rest of the name.
    name = f"{1_600_000_000 + number}.M{number}P1.{socket.gethostname()},S={len(stored)},W={size}"
    path = place / "cur" / f"{name}:2,{''.join(letters + marks)}"
    path.write_bytes(stored)
    path.chmod(0o600)
    os.utime(path, (message.internal_date, message.internal_date))
    return size
