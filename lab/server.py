"""What all servers of the lab share: a directory of their own, one main process, a log. Starts nothing by itself.

Invariant: `stop` ends what `start` began; the data stays, unless the directory was made by the object itself.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path
from typing import Self

from lab import process


class Server:
    """One server; `with` starts and stops it. `name`: for its directory, its log and errors."""

    name = "server"
    first_signal = signal.SIGTERM
    grace = 0.3
    """Seconds that it gets to end by itself."""

    def __init__(self, root: Path | str | None) -> None:
        self._own_root = root is None
        self.root = process.prepare_root(root, self.name)
        self.host = "127.0.0.1"
        self.log_file = self.root / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self if self._process else self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The main process, whose session all others are of. Raises LabError when not running."""
        if self._process is None:
            raise process.LabError(f"this {self.name} is not running")
        return self._process.pid

    def start(self) -> Self:
        """Start, and return when it answers; ports and data stay the same over a stop and a start."""
        if self._process is not None:
            raise process.LabError(f"this {self.name} is running already")
        try:
            self._start()
        except process.LabError as error:
            said = self.log()[-2000:]
            self.stop()
            raise process.LabError(f"{error}\n{said}") from error
        return self

    def _start(self) -> None:
        """Set `_process`, and wait until it answers."""
        raise NotImplementedError

    def halt(self) -> None:
        """End all its processes, and keep everything, to be started again."""
        if self._process is not None:
            process.stop(self._process, first=self.first_signal, grace=self.grace)
            self._process = None

    def stop(self) -> None:
        """`halt`; the data stays, unless the root was made by this object."""
        self.halt()
        if self._own_root:
            shutil.rmtree(self.root, ignore_errors=True)

    def log(self) -> str:
        """All that it logged so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""
