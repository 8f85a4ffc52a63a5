"""Named points around the ledger's commits where a crash test ends the process. Does nothing in normal use.

`MAILFERRY_CRASH_AT=confirm:before:3` kills the process (SIGKILL) when it reaches `confirm:before` for the third time.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

VARIABLE = "MAILFERRY_CRASH_AT"


def from_environment() -> Callable[[str], None] | None:
    """The hook that the environment asks for, or None."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return None
    point, _, times = wanted.rpartition(":")
    left = int(times)

    def crash(name: str) -> None:
        nonlocal left
        if name == point:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return crash
