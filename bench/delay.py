"""A process of its own that adds a round trip before a port: `python -m bench.delay PORT MILLISECONDS`.

Prints its own port and forwards until its standard input ends. It is apart so that it takes no time from the bench.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lab.proxy import TcpProxy


@contextmanager
def delayed(port: int, round_trip_ms: float) -> Iterator[int]:
    """A port on which the given one is reached `round_trip_ms` later; its process ends with the context."""
    child = subprocess.Popen(
        [sys.executable, "-m", "bench.delay", str(port), str(round_trip_ms)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None and child.stdout is not None
    try:
        yield int(child.stdout.readline())
    finally:
        child.stdin.close()
        child.wait(10)
        child.stdout.close()


def main() -> None:
    with TcpProxy(int(sys.argv[1]), round_trip_ms=float(sys.argv[2])) as proxy:
        print(proxy.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
