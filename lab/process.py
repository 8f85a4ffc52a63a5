"""Starts and ends the lab's server processes, and finds free ports and directories for them.

Knows nothing of any server. Invariant: a process started here ends with stop(), or with the death of the process
that started it (PR_SET_PDEATHSIG through setpriv), and nothing of its session outlives stop().
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PASSWORD = "ferry-lab"
"""The password of every lab user on every lab server, unless told otherwise."""

MAIL_UID = 10001
"""Owner of lab mail when the lab runs as root; otherwise the caller's own uid is used."""

# The kernel ties PDEATHSIG to the *thread* that forked, so all forks are made by one that lives until exit.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lab-spawner")


class LabError(RuntimeError):
    """A lab server did not start, or did not end; the text holds the end of its log."""


def mail_owner() -> tuple[int, int]:
    """The (uid, gid) that lab servers store mail as."""
    return (MAIL_UID, MAIL_UID) if os.geteuid() == 0 else (os.geteuid(), os.getegid())


def named_owner() -> tuple[int, int]:
    """The (uid, gid) for servers that need one with a name in the user database: `nobody`, or the caller's own."""
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    return account.pw_uid, account.pw_gid


def workspace(name: str) -> Path:
    """A new directory that every uid may pass through (mkdtemp and pytest's tmp_path are 0700)."""
    path = Path(tempfile.mkdtemp(prefix=f"mailferry-{name}-"))
    path.chmod(0o755)
    return path


def prepare_root(root: Path | str | None, name: str) -> Path:
    """The root of a server: the one given (made, and checked to be reachable by other uids) or a new workspace."""
    if root is None:
        return workspace(name)
    path = Path(root).resolve()
    path.mkdir(parents=True, exist_ok=True, mode=0o755)
    if os.geteuid() == 0:
        for step in (path, *path.parents):
            if not step.stat().st_mode & 0o001:
                raise LabError(f"{step} is closed to other users; use lab.process.workspace() for {name}")
    return path


def free_port() -> int:
    """A TCP port on 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def binary(*candidates: str) -> str:
    """The first of the programs (names or paths) that exists."""
    for candidate in candidates:
        found = shutil.which(candidate)
        if found:
            return found
    raise LabError(f"{candidates[0]} is not installed: run `python -m lab.install`")


def spawn(
    argv: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user: tuple[int, int] | None = None,
) -> subprocess.Popen[bytes]:
    """Start argv in its own session, output to log; `user` is the (uid, gid) to become. Dies with this process."""
    wrap = [binary("setpriv"), "--pdeathsig", "TERM"]
    if user is not None and os.geteuid() == 0:
        wrap += [f"--reuid={user[0]}", f"--regid={user[1]}", "--clear-groups"]

    def fork() -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            return subprocess.Popen(
                [*wrap, "--", *argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=dict(env) if env is not None else None,
                cwd=cwd,
                start_new_session=True,
            )

    return _spawner.submit(fork).result()


def session_pids(session: int) -> list[int]:
    """The live (not zombie) processes of a session, read from /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we were looking
        fields = stat.rpartition(")")[2].split()
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(entry.name))
    return found


def stop(process: subprocess.Popen[bytes], first: signal.Signals = signal.SIGTERM, grace: float = 5.0) -> None:
    """End a spawned process and all of its session: `first` to the leader, `grace` seconds later SIGKILL to the rest.

    Raises LabError when something survives even that for five seconds.
    """
    began = time.monotonic()
    if process.poll() is None:
        process.send_signal(first)
    while (left := session_pids(process.pid)) or process.poll() is None:
        waited = time.monotonic() - began
        if waited > grace + 5:
            raise LabError(f"processes {left} survive SIGKILL")
        if waited > grace or process.poll() is not None:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue  # ended by itself
        time.sleep(0.01)


def greets(port: int) -> bool:
    """Whether something on the port says a first line within a second."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
            return bool(probe.recv(1))
    except OSError:
        return False


def wait_ready(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, seconds: float = 20) -> None:
    """Poll `ready` until it is true. Raises LabError with the log's end if the process ends or time is up."""
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            state = f"ended with {process.returncode}" if process.poll() is not None else "did not answer"
            tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            stop(process)
            raise LabError(f"server {state}:\n{tail}")
        time.sleep(0.01)


def make_certificate(folder: Path, names: str = "DNS:localhost,IP:127.0.0.1") -> tuple[Path, Path]:
    """A new self-signed certificate for those names: (certificate, key), usable as its own CA file, alone or with
    others: each has a subject of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *(binary("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *(
                "-nodes",
                "-days",
                "30",
                "-subj",
                f"/O={folder.parent.name[-60:]}/CN=localhost",
                "-keyout",
                str(key),
                "-out",
                str(cert),
            ),
            *("-addext", f"subjectAltName={names}"),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key
