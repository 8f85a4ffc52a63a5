"""Signatures as files: the use case behind `mailferry rules signatures`. Needs no settings and no server.

Reads what Get-MailboxMessageConfiguration exports. Writes what is there, as it is: HTML of its owner's. Invariant:
files are written whole, only below the output directory, and nobody's take the place of another's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mailferry.errors import UserError
from mailferry.ops.files import read_export, safe_name, write
from mailferry.wire import exports

_ADVICE = "for example: Get-Mailbox | Get-MailboxMessageConfiguration | ConvertTo-Json > signatures.json"
_WHOLE = frozenset(("signaturehtml", "signaturetext"))
_OWNER = ("mailboxownerid", "mailbox", "primarysmtpaddress", "identity")
_BLANK = ("", "<div></div>", "<html><body></body></html>")


@dataclass(frozen=True, slots=True)
class Signed:
    """Somebody's signature. `files`: what was, or would be, written. `new`, `replies`: whether Exchange added it by
    itself to new messages, and to replies."""

    owner: str
    files: tuple[Path, ...]
    new: bool
    replies: bool


def export(files: Sequence[Path], output: Path | None) -> list[Signed]:
    """Who has a signature, each in a folder of their own; None: nothing is written. UserError names what is no such
    export, or two people whose folder would be the same."""
    done: list[Signed] = []
    names: dict[str, str] = {}
    for path in files:
        for number, row in enumerate(exports.rows(str(path), read_export(path), _ADVICE, _WHOLE), start=1):
            given = {name.lower(): value for name, value in row.items()}
            if "signaturehtml" not in given and "signaturetext" not in given:
                raise UserError("it has no signature", about=f"{path}:{number}", advice=_ADVICE)
            owner = next(filter(None, (_text(given, name) for name in _OWNER)), path.stem)
            folder = safe_name(owner, "")
            if names.setdefault(folder.lower(), owner) != owner:
                raise UserError(f"its folder would be that of {names[folder.lower()]}, {folder}", about=owner)
            done += _one(owner, folder, given, output)
    return done


def _one(owner: str, folder: str, given: Mapping[str, Any], output: Path | None) -> list[Signed]:
    texts = {"signature.html": _text(given, "signaturehtml"), "signature.txt": _text(given, "signaturetext")}
    kept = {name: text for name, text in texts.items() if text not in _BLANK}
    if not kept:
        return []
    places = tuple((output or Path()) / folder / name for name in kept)
    if output is not None:
        for place, text in zip(places, kept.values(), strict=True):
            write(place, text.encode("utf-8", "replace"))
    new, replies = (_text(given, name).lower() == "true" for name in ("autoaddsignature", "autoaddsignatureonreply"))
    return [Signed(owner, places, new, replies)]


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if isinstance(value, Mapping):
        value = next((part for key, part in value.items() if str(key).lower() in ("address", "name")), None)
    return "" if value is None else str(value).strip()
