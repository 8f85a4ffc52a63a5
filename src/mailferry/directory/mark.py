"""How both sides were when they were last found in step, so that a run without any change costs next to nothing.

A run may then leave it at that, if the source tells no change since its cookie and lists the same ids, the target has
not been written (its contextCSN, RFC 4533 and slapo-syncprov(5), is the same), the settings, exceptions and decisions
are the same, and that was less than a day ago. Whatever cannot be told counts as changed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mailferry import __version__
from mailferry.config.settings import DirectorySettings
from mailferry.directory.readers import ChangeReader
from mailferry.ledger.rows import Directory
from mailferry.net import ldap

LONGEST_SECONDS = 86_400.0


def digest(texts: Iterable[str]) -> str:
    """One text for a set of texts."""
    found = hashlib.sha256()
    for text in sorted(texts):
        found.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return found.hexdigest()


def rules(settings: DirectorySettings) -> str:
    """All that decides how a source becomes a target."""
    files = (settings.mapping.exceptions, settings.decisions)
    return digest([f"version {__version__}", settings.model_dump_json(), *map(_content, files)])


def _content(path: Path | None) -> str:
    return f"{path}: {path.read_bytes().hex()}" if path is not None and path.exists() else ""


def target(connection: ldap.Connection, suffix: str) -> tuple[str, ...]:
    """The target's contextCSN; none if it does not tell."""
    found = connection.read(suffix, ("contextCSN",))
    return () if found is None else found.texts("contextCSN")


def make(settings: DirectorySettings, ids: str, csn: Sequence[str], figures: Mapping[str, Any]) -> dict[str, Any]:
    """The mark of a run that found nothing to change. `ids`: digest of whom the source listed, `csn`: the target's
    contextCSN, both from before they were read. `figures`: what the run told, to be told again."""
    return {"rules": rules(settings), "ids": ids, "target": list(csn), "figures": dict(figures)}


def holds(settings: DirectorySettings, directory: Directory, reader: ChangeReader, connection: ldap.Connection) -> bool:
    """Whether nothing has changed since the mark."""
    mark = directory.mark
    if mark is None or not directory.cookie or time.time() - (directory.reconciled or 0) > LONGEST_SECONDS:
        return False
    if mark["rules"] != rules(settings) or mark["target"] != list(target(connection, settings.target.suffix)):
        return False
    if mark["ids"] != digest(reader.ids()):
        return False
    changes = reader.changes(directory.cookie)
    return not (changes.full_read or changes.changed or changes.gone)
