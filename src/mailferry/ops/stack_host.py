"""`mailferry stack up|down`: the servers of this host, from rendered files to running, and back.

`up` renders, has the daemons' own checkers look, runs each kit's install.sh (which keeps what it replaces as
`*.before-TIME`), and starts. `down` stops, and puts back on request. Invariants: nothing of the host is touched before
every file of every server has passed its checker; no file is overwritten or removed: what gives way gets another name.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mailferry.errors import Permanent, UserError
from mailferry.ops import stack, stack_check
from mailferry.stack.file import Kit

Say = Callable[[str], None]
KITS = Path("/var/lib/mailferry/stack")
"""Where `up` keeps the kits that it installs."""
SECONDS = 300.0


def up(kits: list[Kit], folder: Path, say: Say) -> None:
    """Install and start all of these; may be repeated. Permanent: a checker or an install.sh refuses; UserError: not
    root."""
    _needs_root()
    refused = [one for one in stack_check.files(kits) if one.well is False]
    if refused:
        first = refused[0]
        advice = "nothing was installed; correct mailferry.toml"
        raise Permanent(f"{first.what}: {first.said}", about=first.server, advice=advice)
    for kit in kits:
        where = folder / kit.server
        changed = sum(one.changed for one in stack.render(kit, where))
        say(f"{kit.server}: rendered into {where}, {changed} files new")
        said = _shell(f"{kit.server}: install.sh", [str(where / "install.sh")])
        say(f"{kit.server}: installed{_indented(said)}")
        _shell(kit.server, ["/bin/sh", "-c", kit.start])
        say(f"{kit.server}: started")


def down(kits: list[Kit], say: Say, *, restore: bool) -> None:
    """Stop all of these, the last first. `restore`: also put back what the latest install.sh replaced."""
    _needs_root()
    for kit in reversed(kits):
        _shell(kit.server, ["/bin/sh", "-c", kit.stop])
        say(f"{kit.server}: stopped")
        for one in backups(kit) if restore else ():
            _put_back(one)
            say(f"{kit.server}: {one.place} is again what it was before {one.stamp}")


@dataclass(frozen=True, slots=True)
class Backup:
    """What stood at `place` before the install.sh that ran at `stamp`."""

    place: Path
    kept: Path
    stamp: str


def backups(kit: Kit) -> list[Backup]:
    """What the latest install.sh of this server replaced."""
    found = [one for file in kit.files if file.place is not None for one in _backups(file.place)]
    latest = max((one.stamp for one in found), default="")
    return [one for one in found if one.stamp == latest]


def _backups(place: Path) -> Iterator[Backup]:
    for kept in place.parent.glob(f"{place.name}.before-*"):
        stamp = kept.name.removeprefix(f"{place.name}.before-")
        if re.fullmatch(r"\d{8}-\d{6}", stamp):
            yield Backup(place, kept, stamp)


def _put_back(one: Backup) -> None:
    try:
        if one.place.exists():
            one.place.rename(one.place.with_name(f"{one.place.name}.undone-{time.strftime('%Y%m%d-%H%M%S')}"))
        one.kept.rename(one.place)
    except OSError as error:
        raise Permanent(f"it cannot be put back: {error.strerror}", about=str(one.place)) from error


def _shell(what: str, command: list[str]) -> str:
    """What a command said on standard output. Permanent with its own words when it fails."""
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, errors="replace", timeout=SECONDS, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Permanent(f"it did not run: {error}", about=what) from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-1000:]
        advice = "without systemd, try --root DIR" if "systemctl" in said else "what it had installed by then stays"
        raise Permanent(f"it ended with {done.returncode}: {said}", about=what, advice=advice)
    return done.stdout


def _indented(said: str) -> str:
    return "".join(f"\n    {line}" for line in said.splitlines())


def _needs_root() -> None:
    if os.geteuid() != 0:
        raise UserError("servers are installed, started and stopped by root alone", about="stack", advice="use sudo")
