"""Who holds a lease: text that names one process so exactly that its death and the reuse of its pid are noticed.

Form `host:pid:start`, where start is the process's start time with the machine's boot and the pid namespace. Reads
/proc, changes nothing. Invariant: `dead()` is True only for what certainly ran here and certainly has ended.
"""

from __future__ import annotations

import os
import pwd
import socket
from functools import cache
from pathlib import Path


def owner_text(pid: int | None = None) -> str:
    """The owner text of a process of this machine (default: this one)."""
    pid = os.getpid() if pid is None else pid
    return f"{socket.gethostname()}:{pid}:{_started(pid)}-{_place()}"


@cache
def person() -> str:
    """`user@host` of whoever started this process, for the audit."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's uid without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def host_and_pid(owner: str) -> tuple[str, int]:
    """The parts of an owner text that people can use."""
    host, pid, _ = owner.rsplit(":", 2)
    return host, int(pid)


def session_name(owner: str) -> str:
    """As its sessions are called in PostgreSQL (`application_name`, 63 bytes at most)."""
    host, pid = host_and_pid(owner)
    return f"mailferry {pid}@{host}"[:63]


def dead(owner: str) -> bool:
    """Whether this owner ran on this boot of this machine, in our pid namespace, and has ended."""
    _, pid, start = owner.rsplit(":", 2)
    ticks, _, place = start.partition("-")
    return place == _place() and _started(int(pid)) != ticks


def _place() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
    return f"{boot}-{os.stat('/proc/self/ns/pid').st_ino}"


def _started(pid: int) -> str:
    """Start time in clock ticks since boot (proc(5), stat field 22); empty for a process that is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]
