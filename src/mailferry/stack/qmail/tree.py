"""Brings the homes and users/assign of this host in step with a plan. Decides nothing; writes only what differs.

Needs root. Invariants: each `.qmail` is replaced by one rename, so a delivery meets the old one or the new; a home is
there before users/cdb leads to it, and stays until it no longer does; two who write wait for each other (`locked`), so
that what was read from the directory later is also written later.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mailferry.errors import ConfigError, Permanent, SafetyStop, Temporary, UserError
from mailferry.stack.qmail import people
from mailferry.stack.qmail.programs.lookup import APPLIED
from mailferry.stack.qmail.settings import Settings

LOCK_SECONDS = 50.0
NEWU_SECONDS = 60.0
MARK_SECONDS = 86400.0
FEW = 50
"""Homes that are made durable one by one; more of them all at once."""


@dataclass(frozen=True, slots=True)
class Brake:
    """How many addresses may vanish in one go: the larger of both."""

    percent: float = 5.0
    entries: int = 20


@dataclass(frozen=True, slots=True)
class Applied:
    """`written`: homes whose `.qmail` or answer was new; `removed`: homes that are gone; `assigned`: whether users/cdb
    is new; `homes`, `addresses`: how many there are; `odd`: what could not be carried."""

    written: tuple[str, ...]
    removed: tuple[str, ...]
    assigned: bool
    homes: int
    addresses: int
    odd: tuple[str, ...] = ()


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """Alone among those who write here. Temporary: somebody else does not end; UserError: not root; Permanent: the kit
    is not installed."""
    if os.geteuid() != 0:
        raise UserError("homes are written by root alone", about=str(settings.places.state), advice="use sudo")
    path = settings.places.state / "lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Permanent(
            f"it cannot be opened: {error.strerror}", about=str(path), advice="mailferry stack up qmail, on this host"
        ) from error
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while not _lock(handle):
            if time.monotonic() > deadline:
                raise Temporary(f"somebody else has been writing here for {LOCK_SECONDS:.0f} s", about=str(path))
            time.sleep(0.02)
        yield
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def apply(settings: Settings, plan: people.Plan, brake: Brake | None, *, dry_run: bool = False) -> Applied:
    """Everything, compared and written. SafetyStop: more addresses would vanish than `brake` allows; Permanent: the
    disk or qmail-newu says no."""
    state, users = settings.places.state, settings.places.prefix / "users"
    text = people.assign(plan, settings, _owner(settings), _read(users / "assign.local"))
    have = _read(users / "assign")
    if brake is not None:
        _stop_if_too_many(have, text, brake)
    homes = plan.homes.values()
    written = [home.name for home in homes if _is_new(settings, home)]
    old = [f"{part}/{path.name}" for part in (people.PEOPLE, people.OTHERS) for path in _folders(state / part)]
    removed = [name for name in old if name not in plan.homes]
    assigned = text != have or not (users / "cdb").exists()
    result = Applied(tuple(written), tuple(removed), assigned, len(plan.homes), len(plan.addresses), tuple(plan.odd))
    if dry_run:
        return result
    try:
        write(settings, (plan.homes[name] for name in written))
        if assigned:
            _replace(users / "assign", text)
            _newu(settings)
        for name in removed:
            _remove(state / name)
        _clear_marks(state / "probes")
        _replace(state / APPLIED, f"{len(plan.addresses)} addresses\n")
    except OSError as error:
        raise Permanent(f"cannot write: {error.strerror}", about=error.filename or str(state)) from error
    return result


def write(settings: Settings, homes: Iterable[people.Home], *, dry_run: bool = False) -> list[str]:
    """The `.qmail` of each, with its Maildir, where it differs; the names of those, which no power cut takes back.
    OSError."""
    owner = _owner(settings)
    done: list[str] = []
    for home in homes:
        if not _is_new(settings, home):
            continue
        done.append(home.name)
        if dry_run:
            continue
        folder = settings.places.state / home.name
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        if home.maildir:
            _maildir(settings.places.mail_dir / home.maildir, owner)
        if home.answer:  # first: the `.qmail` calls for it
            _replace(folder / "answer", home.answer)
        _replace(folder / ".qmail", home.text)
        if not home.answer:
            (folder / "answer").unlink(missing_ok=True)
    if dry_run:
        return done
    if len(done) > FEW:
        os.sync()
    else:
        for name in done:
            _durable(settings.places.state / name)
    return done


def knows(settings: Settings, home: people.Home) -> bool:
    """Whether the home is there: then its `.qmail` alone is the route."""
    return (settings.places.state / home.name / ".qmail").exists()


def _is_new(settings: Settings, home: people.Home) -> bool:
    folder = settings.places.state / home.name
    here = home.maildir and not (settings.places.mail_dir / home.maildir / "Maildir" / "tmp").exists()
    return bool(here) or _read(folder / ".qmail") != home.text or _read(folder / "answer") != home.answer


def _owner(settings: Settings) -> tuple[int, int]:
    try:
        found = pwd.getpwnam(settings.owner)
    except KeyError as error:
        advice = "mailferry stack up qmail, on this host"
        raise ConfigError(
            "there is no such user", about=f"stack.qmail.owner {settings.owner}", advice=advice
        ) from error
    return found.pw_uid, found.pw_gid


def _stop_if_too_many(have: str, text: str, brake: Brake) -> None:
    before = {line.partition(":")[0] for line in have.splitlines() if line.startswith("=")}
    gone = before - {line.partition(":")[0] for line in text.splitlines()}
    most = max(brake.entries, int(len(before) * brake.percent / 100))
    if len(gone) > most:
        raise SafetyStop(
            f"{len(gone)} of {len(before)} addresses would vanish, and more than {most} may not",
            about="users/assign",
            advice="is the directory whole? If it is: mailferry stack apply --without-brake",
        )


def _newu(settings: Settings) -> None:
    program = settings.places.prefix / "bin" / "qmail-newu"
    try:
        done = subprocess.run([program], check=False, capture_output=True, text=True, timeout=NEWU_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Permanent(f"it did not run: {error}", about=str(program), advice="is qmail there?") from error
    if done.returncode:
        raise Permanent(f"it says: {done.stderr.strip()[-300:]}", about=str(program))


def _maildir(home: Path, owner: tuple[int, int]) -> None:
    for folder in (home, home / "Maildir", *(home / "Maildir" / name for name in ("tmp", "new", "cur"))):
        if not folder.exists():
            folder.mkdir(mode=0o700)
            os.chown(folder, *owner, follow_symlinks=False)  # what is above it is the owner's


def _replace(path: Path, text: str) -> None:
    scratch = path.with_name(f"{path.name}.new")
    with scratch.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(text)
        os.fchmod(file.fileno(), 0o644)
    scratch.replace(path)


def _durable(folder: Path) -> None:
    """What is in it and how it is called survives a power cut (fsync(2)); a cut before leaves an empty `.qmail` at
    worst, for which mail waits."""
    for path in (*folder.iterdir(), folder):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove(folder: Path) -> None:
    """A home that nothing leads to any more; what else somebody has put there stays."""
    for name in (".qmail", "answer", ".qmail.new", "answer.new"):
        (folder / name).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _clear_marks(probes: Path) -> None:
    """Marks that a killed run has left."""
    for mark in probes.iterdir():
        if mark.stat().st_mtime < time.time() - MARK_SECONDS:
            mark.unlink(missing_ok=True)


def _folders(path: Path) -> list[Path]:
    return [one for one in path.iterdir() if (one / ".qmail").exists()] if path.exists() else []


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise Permanent(f"it cannot be read: {error.strerror}", about=str(path)) from error
