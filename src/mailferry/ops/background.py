"""Runs without a terminal: a log file of JSON lines, and a process that goes on when the terminal is closed."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mailferry.errors import UserError


class _JsonLines(logging.Formatter):
    """One JSON object per record: time, level, logger, text, and the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(record.created)),
            "level": record.levelname.lower(),
            "from": record.name,
            "pid": record.process,
            "text": record.getMessage(),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def log_to(file: Path) -> None:
    """Send everything that Mailferry logs to this file; made with its directory, readable by its owner only."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.touch(mode=0o600)
        handler = logging.FileHandler(file, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write the log: {error}", about=str(file)) from error
    handler.setFormatter(_JsonLines())
    logger = logging.getLogger("mailferry")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False


def detached(work: Callable[[Callable[[str], None]], int], log_file: Path) -> int:
    """Do `work` in a process of its own session, which outlives this terminal. Returns 0 once it has told that it runs.

    `work` is given a function that prints one text on the terminal it leaves behind and lets that go.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork() != 0:
        os.close(writing)
        # one read, not to the end: the workers hold the other end of the pipe for as long as they live
        text = os.read(reading, 65536).decode()
        os.close(reading)
        sys.stdout.write(text or f"it ended before it began; see {log_file}\n")
        return 0 if text else 70
    os.close(reading)
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(log_file, os.O_WRONLY | os.O_APPEND)
    for number, replacement in ((0, null), (1, log), (2, log)):
        os.dup2(replacement, number)
    told = False

    def tell(text: str) -> None:
        nonlocal told
        if not told:
            told = True
            os.write(writing, text.encode() + b"\n")
            os.close(writing)

    code = 70
    try:
        code = work(tell)
    except Exception:
        logging.getLogger("mailferry").exception("the run ended")
    finally:
        logging.shutdown()
        os._exit(code)
