"""Runs commands as a user would and measures them: wall time, CPU, and the peak memory of each process.

Knows nothing of mail. Invariant: wall time is from just before the first command starts until the last one has ended;
CPU is that of the commands and all their descendants; memory is the largest VmHWM that any one process reached.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.02


class BenchError(RuntimeError):
    """A command failed, or did not do the work it was timed for."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a run took: seconds of wall clock, seconds of CPU, peak MB (10^6 bytes) of the largest process."""

    wall: float
    cpu: float
    peak_mb: float


def run(commands: Sequence[Sequence[str]], log: Path, *, at_once: int, env: Mapping[str, str]) -> Usage:
    """Run the commands, `at_once` of them at a time, output to `log`, in just that environment. Raises BenchError if
    one fails."""
    os.sync()  # what the run before left in the cache is not this one's burden
    children: set[int] = set()
    peaks: dict[int, int] = {}
    with ThreadPoolExecutor(at_once) as pool:
        began = time.perf_counter()
        work = [pool.submit(_one, command, log, env, children) for command in commands]
        while wait(work, timeout=SAMPLE_SECONDS).not_done:
            _sample(children, peaks)
        ended = [one.result() for one in work]
    return Usage(
        max(end for end, _ in ended) - began, sum(cpu for _, cpu in ended), max(peaks.values(), default=0) / 1e6
    )


def _one(command: Sequence[str], log: Path, env: Mapping[str, str], children: set[int]) -> tuple[float, float]:
    """Run one command; when it ended, and the CPU of its whole tree (every parent waits for its children)."""
    with log.open("ab") as out:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env)
        children.add(child.pid)
        _, status, usage = os.wait4(child.pid, 0)
        ended = time.perf_counter()
    children.discard(child.pid)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        tail = log.read_text(errors="replace")[-3000:]
        raise BenchError(f"{' '.join(command)} ended with {child.returncode}:\n{tail}")
    return ended, usage.ru_utime + usage.ru_stime


def _sample(children: set[int], peaks: dict[int, int]) -> None:
    """Note the high water mark of every live process below these. ru_maxrss would also count the parent's memory."""
    queue = list(children)
    while queue:
        pid = queue.pop()
        try:
            status = Path(f"/proc/{pid}/status").read_text()
            for task in os.listdir(f"/proc/{pid}/task"):
                queue += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we were looking
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                peaks[pid] = max(peaks.get(pid, 0), int(line.split()[1]) * 1024)


def startup(commands: Mapping[str, Sequence[str]], times: int, env: Mapping[str, str]) -> dict[str, float]:
    """The median wall time, in seconds, of each of these short commands, taken in turn."""
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(times):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=env)
            taken[name].append(time.perf_counter() - began)
    return {name: sorted(values)[len(values) // 2] for name, values in taken.items()}
