"""The raw floor: FETCH of all bodies feeding MULTIAPPEND(50), one connection each side, everything pipelined.

`python -m bench.floor PORT USER PORT USER PASSWORD` (source, target): copies folders, bodies, flags and internal
dates, and nothing else: no ledger, no target uids, no resume, no check of what is there. It knows only what Dovecot
answers to its own commands. It says what could be reached at best with one connection pair, not what is safe.
"""

from __future__ import annotations

import queue
import re
import socket
import sys
import threading

CHUNK = 50
AHEAD = 8
"""Chunks read ahead of what is sent."""

_LIST = re.compile(rb'\* LIST \(([^)]*)\) "?([^" ]*)"? (.+)\r\n')
_FLAGS = re.compile(rb"FLAGS \(([^)]*)\)")
_DATE = re.compile(rb'INTERNALDATE ("[^"]*")')
_LITERAL = re.compile(rb"\{(\d+)\}\r\n$")

Parts = list[bytes | bytearray]
"""One command to send, in pieces."""


class Wire:
    """A connection with a receive buffer; literals are received straight into their own memory."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.socket.sendall(f'a LOGIN "{user}" "{password}"\r\n'.encode())

    def line(self) -> bytes:
        while (end := self.buffer.find(b"\n")) < 0:
            piece = self.socket.recv(1 << 16)
            if not piece:
                raise SystemExit("the server ended the connection")
            self.buffer += piece
        line = bytes(self.buffer[: end + 1])
        del self.buffer[: end + 1]
        return line

    def literal(self, size: int) -> bytearray:
        body = self.buffer[:size]
        del self.buffer[:size]
        have = len(body)
        if have < size:
            body.extend(bytes(size - have))
            with memoryview(body) as view:
                while have < size:
                    count = self.socket.recv_into(view[have:])
                    if not count:
                        raise SystemExit("the server ended the connection")
                    have += count
        return body

    def until(self, tag: bytes) -> list[bytes]:
        lines = []
        while not (line := self.line()).startswith(tag + b" "):
            lines.append(line)
        if not line.startswith(tag + b" OK"):
            raise SystemExit(f"the server says {line!r}")
        return lines


def main() -> None:
    source_port, source_user, target_port, target_user, password = sys.argv[1:]
    source = Wire(int(source_port), source_user, password)
    target = Wire(int(target_port), target_user, password)
    source.socket.sendall(b'l LIST "" *\r\n')
    folders = [match for line in source.until(b"l") if (match := _LIST.match(line))]
    names = [match[3] for match in folders if b"\\Noselect" not in match[1]]
    separator = folders[0][2]
    chunks: queue.Queue[Parts | None] = queue.Queue(AHEAD)
    reader = threading.Thread(target=_read, args=(source, names, separator, chunks), daemon=True)
    reader.start()
    expected: queue.Queue[bytes | None] = queue.Queue()
    failures: list[bytes] = []
    answers = threading.Thread(target=_answers, args=(target, expected, failures), daemon=True)
    answers.start()
    for number, name in enumerate(names):
        if name.upper().strip(b'"') != b"INBOX":
            tag = b"c%d" % number
            target.socket.sendall(b"%s CREATE %s\r\n" % (tag, name.replace(separator, b".")))
            expected.put(tag)
    number = 0
    while (chunk := chunks.get()) is not None:
        tag = b"p%d" % number
        number += 1
        chunk[0] = tag + b" " + bytes(chunk[0])
        _send(target.socket, chunk)
        expected.put(tag)
    expected.put(None)
    answers.join()
    if failures:
        raise SystemExit(f"the target says {failures[0]!r}")


def _send(sock: socket.socket, parts: Parts) -> None:
    """All parts, without joining them."""
    views = [memoryview(part) for part in parts]
    while views:
        sent = sock.sendmsg(views[:1000])
        while views and sent >= len(views[0]):
            sent -= len(views.pop(0))
        if sent:
            views[0] = views[0][sent:]


def _answers(target: Wire, expected: queue.Queue[bytes | None], failures: list[bytes]) -> None:
    """Read the target's answers, in order; `failures` gets those that are not OK."""
    target.until(b"a")
    while (tag := expected.get()) is not None:
        while not (line := target.line()).startswith(tag + b" "):
            pass
        if not line.startswith(tag + b" OK"):
            failures.append(line)


def _read(source: Wire, names: list[bytes], separator: bytes, chunks: queue.Queue[Parts | None]) -> None:
    """Ask for every folder at once, and put MULTIAPPEND commands (without their tag) into the queue."""
    asked = b"".join(
        b"e%d EXAMINE %s\r\nf%d UID FETCH 1:* (FLAGS INTERNALDATE BODY.PEEK[])\r\n" % (number, name, number)
        for number, name in enumerate(names)
    )
    source.socket.sendall(asked)
    for number, name in enumerate(names):
        source.until(b"e%d" % number)
        done = b"f%d " % number
        chunk: Parts = []
        held = 0
        while not (line := source.line()).startswith(done):
            if (literal := _LITERAL.search(line)) is None:
                continue
            body = source.literal(int(literal[1]))
            flags, date = _FLAGS.search(line), _DATE.search(line)
            source.line()
            assert flags is not None and date is not None
            kept = b" ".join(flag for flag in flags[1].split() if flag != b"\\Recent")
            head = b" (%s) %s {%d+}\r\n" % (kept, date[1], len(body))
            if not chunk:
                head = b"APPEND " + name.replace(separator, b".") + head
            chunk += [head, body]
            held += 1
            if held == CHUNK:
                chunks.put([*chunk, b"\r\n"])
                chunk, held = [], 0
        if chunk:
            chunks.put([*chunk, b"\r\n"])
    chunks.put(None)


if __name__ == "__main__":
    main()
