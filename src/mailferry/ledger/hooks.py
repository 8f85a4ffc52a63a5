"""Named points around the ledger's commits where a crash test ends the run. Does nothing in normal use.

`MAILFERRY_CRASH_AT=confirm:before:3` kills (SIGKILL) the whole process group when one of its processes reaches
`confirm:before` for its third time: the supervisor would rightly replace a single worker. Start the command in a
session of its own. Points: `intend`, `confirm`, `commit` (every commit of a write), and of a move in a wave
`intend STATE` and `enter STATE`; each `before` and `after`.
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
                os.killpg(0, signal.SIGKILL)

    return crash
