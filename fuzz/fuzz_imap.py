"""Fuzzes `wire/imap` with atheris: whatever a server sends, out come events or RemoteProtocolError, and the same ones
however the bytes are cut. Runs for a bounded time: `python fuzz/fuzz_imap.py SECONDS [CORPUS_DIR]`.

Ends with 0 when the time is up, with atheris' own code and the input in a file when something else came out.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports():
    from mailferry.errors import RemoteProtocolError
    from mailferry.wire.imap import utf7
    from mailferry.wire.imap.events import Event, LiteralChunk
    from mailferry.wire.imap.parser import Parser

RUN = "--run"
GREETING = b"* OK ready\r\n"
SEEDS = (
    b'* 1 FETCH (UID 3 FLAGS (\\Seen) INTERNALDATE "17-Jul-1996 02:44:25 -0700" BODY[] {3}\r\nabc)\r\n',
    b'* LIST (\\Noselect) "/" {3}\r\na b\r\n* STATUS x (MESSAGES 1)\r\na OK [APPENDUID 1 2:3] done\r\n',
    b'* ESEARCH (TAG "a") UID ALL 1:3\r\n* NAMESPACE (("" "/")) NIL NIL\r\n* VANISHED (EARLIER) 1:4\r\n',
    b'* QUOTA x (STORAGE 1 2)\r\n* ACL x a lr\r\n* METADATA x (/a {2}\r\nab)\r\n* ID ("a" "b")\r\n+ go\r\n* BYE x\r\n',
)


def outcome(raw: bytes, step: int) -> tuple[list[Event], bool]:
    """The events but chunks (which follow the cuts), and whether it ended in a protocol error."""
    parser = Parser(inline=32)
    found: list[Event] = []
    try:
        for start in range(0, len(raw), step):
            parser.feed(raw[start : start + step])
            for event in parser.events():
                if not isinstance(event, LiteralChunk):
                    found.append(event)
    except RemoteProtocolError:
        return found, True
    return found, False


def one_input(data: bytes) -> None:
    if not data:
        return
    step = data[0] % 17 + 1
    raw = GREETING + data[1:] if data[0] < 240 else data[1:]
    if outcome(raw, len(raw) or 1) != outcome(raw, step):
        raise AssertionError("the events depend on how the bytes were cut")
    text = utf7.decode(data)
    if utf7.decode(utf7.encode(text)) != text:
        raise AssertionError("modified UTF-7 does not round-trip")


def main() -> int:
    """Start the fuzzer as a process of its own, since it ends by exit() and would leave its seeds behind."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory(prefix="mailferry-fuzz-") as seeds:
        for number, seed in enumerate(SEEDS):
            Path(seeds, str(number)).write_bytes(bytes([number]) + seed)
        limits = [f"-max_total_time={seconds}", "-max_len=2048", "-rss_limit_mb=1024"]
        corpus = sys.argv[2:3] or [seeds]
        return subprocess.run([sys.executable, __file__, RUN, *limits, *corpus, seeds], check=False).returncode


def fuzz() -> None:
    atheris.Setup([sys.argv[0], *sys.argv[2:]], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == [RUN]:
        fuzz()
    else:
        sys.exit(main())
