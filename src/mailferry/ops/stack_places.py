"""Where things are, as the settings of several servers say it: HOST:PORT, paths. Opens nothing."""

from __future__ import annotations

from pathlib import Path

from mailferry.stack.postfix.settings import Endpoint


def endpoint(text: str) -> Endpoint:
    """HOST:PORT, an IPv6 address in brackets."""
    host, _, port = text.rpartition(":")
    return Endpoint(host.strip("[]"), int(port))


def under(root: Path, path: Path) -> Path:
    """The same path below a directory."""
    return root / path.relative_to("/")
