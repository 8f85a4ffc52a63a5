"""Writing files safely: durable groups, dot locks as Dovecot and Courier take them, owner and mode, message files.

Knows nothing of folders and numbering. Invariant: a file that this module shows under its final name is whole.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mailferry.errors import ItemError, LocalProtocolError, MailferryError, Permanent, Temporary
from mailferry.model.account import MaildirAccount
from mailferry.model.message import Body
from mailferry.wire import maildir as wire

LOCK_STALE = 120.0
"""Seconds after which an unchanged lock is taken over, as Dovecot does (MAILDIR_UIDLIST_LOCK_STALE_TIMEOUT)."""
EMPTY_STALE = 2.0
"""The same for a lock whose maker was killed before it could write who it is."""

TMP_AGE = 36 * 3600
"""Seconds after which a file in `tmp` of a process on another host is nobody's any more (the Maildir description)."""

HOST = socket.gethostname()

_libc = ctypes.CDLL(None, use_errno=True)
_has_syncfs = hasattr(_libc, "syncfs")
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose our files become. `mode`: of directories; files have its read and write bits."""

    uid: int
    gid: int
    mode: int

    def take(self, fd: int, *, directory: bool = False) -> None:
        """Give the open file or directory its owner and mode."""
        if (self.uid, self.gid) != (os.geteuid(), os.getegid()):
            os.fchown(fd, self.uid, self.gid)
        os.fchmod(fd, self.mode if directory else self.mode & 0o666)


def owner_of(account: MaildirAccount, root: int) -> Owner:
    """The tree's own owner and mode, or those the account names. `Permanent` where we could not give files to him."""
    found = os.fstat(root)
    uid, gid = account.owner or (found.st_uid, found.st_gid)
    if os.geteuid() not in (0, uid):
        raise Permanent(
            f"the Maildir belongs to uid {uid}, and we run as uid {os.geteuid()}",
            about=account.key,
            advice="run as root or as the owner of the Maildir",
        )
    return Owner(uid, gid, stat.S_IMODE(found.st_mode) | 0o700)


def error_of(error: OSError, about: str) -> MailferryError:
    """What a failed write means for the run."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Permanent(
            f"no room left for mail: {error.strerror}", about=about, advice="make room, then run the same command again"
        )
    if error.errno in (errno.ENOENT, errno.ESTALE):
        return Temporary("somebody removed what we were writing", about=about)
    return Permanent(f"writing failed: {error.strerror}", about=about)


def sync(fd: int) -> None:
    """Make all that was written to this file system durable: syncfs(2)."""
    if not _has_syncfs:
        os.sync()
    elif _libc.syncfs(fd):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def dotlock(directory: int, name: str, about: str, owner: Owner) -> Iterator[None]:
    """Hold a lock file that other programs heed too. `Temporary` when it cannot be had in LOCK_STALE seconds."""
    began = time.monotonic()
    seen: tuple[int, int] | None = None
    since = began
    while True:
        try:
            fd = os.open(name, _CREATE, 0o600, dir_fd=directory)
            break
        except FileExistsError:
            stamp = _lock_stamp(directory, name)
            now = time.monotonic()
            if stamp != seen:
                seen, since = stamp, now
            if stamp is not None and (now - since > LOCK_STALE or _holder_died(directory, name, now - since)):
                _break_lock(directory, name, stamp)
            elif now - began > LOCK_STALE + 2:
                raise Temporary("another program keeps the folder locked", about=about, retry_after=30) from None
            else:
                time.sleep(0.01)
    mine = os.fstat(fd).st_ino
    try:
        try:
            owner.take(fd)
            os.write(fd, f"{os.getpid()}:{HOST}".encode())
        finally:
            os.close(fd)
        yield
    finally:
        found = _lock_stamp(directory, name)
        if found and found[0] == mine:
            os.unlink(name, dir_fd=directory)


def _lock_stamp(directory: int, name: str) -> tuple[int, int] | None:
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _holder_died(directory: int, name: str, age: float) -> bool:
    """Whether the lock's text names a process of this machine that is no more; one without text for EMPTY_STALE seconds
    was left by a process killed before it could write it."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return False
    try:
        text = os.read(fd, 300).decode("ascii", "replace")
    finally:
        os.close(fd)
    if not text:
        return age > EMPTY_STALE
    pid, _, host = text.partition(":")
    return host == HOST and pid.isdigit() and not is_alive(int(pid))


def is_alive(pid: int) -> bool:
    """Whether a process of this number runs here; a zombie, which nobody has waited for yet, does not."""
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except ProcessLookupError:
        return False
    except (PermissionError, FileNotFoundError):  # another user's; or a /proc that does not show it
        return True


def _break_lock(directory: int, name: str, stamp: tuple[int, int]) -> None:
    if _lock_stamp(directory, name) == stamp:
        os.unlink(name, dir_fd=directory)


def replace_file(directory: int, name: str, data: bytes, owner: Owner, *, newer: bool = False) -> None:
    """Write a side file whole and durably, then put it in the place of the old one. `newer`: its time in seconds must
    grow (Dovecot reads dovecot-keywords again only then)."""
    temporary = f"{name}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600, dir_fd=directory)
    try:
        owner.take(fd)
        write_all(fd, data)
        if newer:
            old = _lock_stamp(directory, name)
            seconds = max(int(time.time()), old[1] // 1_000_000_000 + 1 if old else 0)
            os.utime(fd, (seconds, seconds))
        os.fdatasync(fd)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        os.unlink(temporary, dir_fd=directory)
        raise
    finally:
        os.close(fd)


def append_file(directory: int, name: str, data: bytes) -> None:
    """Add to an existing side file; on an error it is as it was."""
    fd = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        size = os.fstat(fd).st_size
        try:
            write_all(fd, data)
        except OSError:
            os.ftruncate(fd, size)
            raise
    finally:
        os.close(fd)


def make_directory(parent: int, name: str, owner: Owner) -> int:
    """The directory, made if it is not there, open."""
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
        made = True
    except FileExistsError:
        made = False
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    if made:
        owner.take(fd, directory=True)
    return fd


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_message(directory: int, name: str, body: Body, size: int, epoch: int, owner: Owner) -> tuple[int, int]:
    """Write a body of `size` bytes as a new file with LF line ends and this time; returns its size as stored and with
    CRLF.

    Line ends are stored as they came where LF would lose a CR: in a body with CR CR LF. On an error no file stays.
    """
    fd = os.open(name, _CREATE, 0o600, dir_fd=directory)
    try:
        owner.take(fd)
        written = _write_lf(fd, body, size)
        if written is None:
            os.lseek(fd, 0, os.SEEK_SET)
            os.ftruncate(fd, 0)
            written = _write_verbatim(fd, body)
        try:
            os.utime(fd, (epoch, epoch))
        except OverflowError:
            raise ItemError(f"the internal date ({epoch}) is beyond what a file can have") from None
        if not _has_syncfs:
            os.fsync(fd)
    except BaseException:
        os.unlink(name, dir_fd=directory)
        raise
    finally:
        os.close(fd)
    return written


def _write_lf(fd: int, body: Body, size: int) -> tuple[int, int] | None:
    """None where LF would lose something."""
    seen = stored = virtual = 0
    held = b""
    for chunk in body.chunks():
        seen += len(chunk)
        data = held + chunk if held else chunk
        held = b""
        if data.endswith(b"\r") and seen < size:
            cut = len(data.rstrip(b"\r"))
            held, data = data[cut:], data[:cut]
        lf = data.replace(b"\r", b"")
        crlf = lf.replace(b"\n", b"\r\n")
        if crlf != data:  # not all line ends are CRLF, or there are bare CRs
            if b"\r\r\n" in data:
                return None
            lf = data.replace(b"\r\n", b"\n")
            crlf = lf.replace(b"\n", b"\r\n")
        write_all(fd, lf)
        stored += len(lf)
        virtual += len(crlf)
    if seen != size:
        raise LocalProtocolError(f"a body of {size} bytes gave {seen}")
    return stored, virtual


def _write_verbatim(fd: int, body: Body) -> tuple[int, int]:
    stored = bare = 0
    last = b""
    for chunk in body.chunks():
        write_all(fd, chunk)
        stored += len(chunk)
        bare += chunk.count(b"\n") - chunk.count(b"\r\n") - (last == b"\r" and chunk.startswith(b"\n"))
        last = chunk[-1:] or last
    return stored, stored + bare


def clear_tmp(tmp: int) -> None:
    """Remove what our dead runs left in `tmp`; files of living processes and of other programs stay."""
    for name in os.listdir(tmp):
        origin = wire.origin(name)
        if origin is None:
            continue
        if origin.host != wire.host_part(HOST):
            found = os.stat(name, dir_fd=tmp, follow_symlinks=False)
            if time.time() - found.st_ctime < TMP_AGE:
                continue
        elif is_alive(origin.pid):
            continue
        unlink(tmp, name)


def unlink(directory: int, name: str) -> None:
    """Remove a file, if it is still there."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return


class Clock:
    """Times for file names: seconds and microseconds, never the same twice in this process."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def tick(self, after: int = 0) -> tuple[int, int]:
        """Now, or just after the last answer or `after` (seconds) where the clock is behind."""
        with self._lock:
            self._last = max(time.time_ns() // 1000, self._last + 1, after * 1_000_000)
            return divmod(self._last, 1_000_000)


CLOCK = Clock()
