"""Stands between one SMTP client and qmail-smtpd, and answers RCPT TO for recipients that do not exist.

    tcpserver … programs.front /var/qmail/bin/qmail-smtpd

One process for each connection, which ends with it. All else is qmail-smtpd's: commands are passed on one by one, its
answers back. Invariants: 550 is said only while the list of recipients is known to be as the directory has it, else
451; what cannot be looked up is 451; no message is kept, looked into or changed here.
"""

from __future__ import annotations

import os
import select
import struct
import subprocess
import sys
import time
from pathlib import Path

from . import lookup

IDLE_SECONDS = 1200.0
"""As qmail-smtpd has it (control/timeoutsmtpd)."""
LINE_MOST = 8192
"""A command that is longer is no command."""
READ = 65536
END = b"\r\n.\r\n"

UNKNOWN = b"550 5.1.1 sorry, no mailbox here by that name\r\n"
NOT_NOW = b"451 4.3.0 it is not known now whether there is such a mailbox, try again later\r\n"
FRESH = b"451 4.4.6 the route of this mailbox has just changed, try again later\r\n"
BACK = b"550 5.4.6 this mailbox is on Exchange, which should have delivered it\r\n"
INSIDE = b"550 5.7.1 this address takes mail from inside alone\r\n"


class Gone(Exception):
    """One of the two sides has ended, or says nothing any more."""


def address_of(argument: bytes) -> str | None:
    """The address in the argument of MAIL or RCPT, as qmail-smtpd reads it (addrparse); None: too long for it."""
    _, bracket, rest = argument.partition(b"<")
    terminator = b">"
    if not bracket:
        terminator = b" "
        rest = argument.partition(b":")[2].lstrip(b" ")
    if rest.startswith(b"@"):  # a source route
        rest = rest.partition(b":")[2]
    found = bytearray()
    escaped = quoted = False
    for number in rest:
        one = bytes((number,))
        if escaped:
            found += one
            escaped = False
        elif one == terminator and not quoted:
            break
        elif one == b"\\":
            escaped = True
        elif one == b'"':
            quoted = not quoted
        else:
            found += one
    return found.decode("utf-8", "surrogateescape") if len(found) < 900 else None


def judge(host: lookup.Host, address: str, *, exchange: bool, trusted: bool) -> bytes:
    """What a recipient is answered with; b"": qmail-smtpd is to answer. `exchange`: the client is Exchange; `trusted`:
    one of our own networks."""
    domain = address.rpartition("@")[2].lower()
    if domain not in host.domains:
        return b""
    try:
        cdb = lookup.Cdb(host.qmail / "users" / "cdb")
        try:
            home = lookup.home(cdb, f"{address.rpartition('@')[0]}@{domain}")
        finally:
            cdb.close()
    except (OSError, struct.error):
        return NOT_NOW
    if home is None:
        return NOT_NOW if host.is_stale() else UNKNOWN
    known = lookup.told(home)  # nothing: a home of somebody else's, of users/assign.local
    if exchange and known.get("route") == "exchange":
        return FRESH if float(known.get("fresh") or 0) > time.time() else BACK
    if known.get("inside") and not exchange and not trusted:
        return INSIDE
    return b""


class Session:
    """One connection. `client`: (in, out) file descriptors; `server`: those of qmail-smtpd."""

    def __init__(self, host: lookup.Host | None, client: tuple[int, int], server: tuple[int, int]) -> None:
        self._host = host
        self._client, self._server = client, server
        self._from_client, self._from_server = bytearray(), bytearray()
        self._exchange = os.environ.get("MAILFERRY_FROM") == "exchange"
        self._trusted = "RELAYCLIENT" in os.environ

    def run(self) -> None:
        """Until one side ends."""
        self._answer()
        seen_mail = False
        while True:
            line = self._command()
            verb, _, argument = line.rstrip(b"\r\n").partition(b" ")
            verb = verb.lower()
            refusal = self._refusal(argument.lstrip(b" ")) if verb == b"rcpt" and seen_mail else b""
            if refusal:
                _write(self._client[1], refusal)
                continue
            _write(self._server[1], line)
            code = self._answer()
            if verb in (b"mail", b"helo", b"ehlo", b"rset"):
                seen_mail = verb == b"mail" and code == b"250"
            elif verb == b"quit":
                return
            elif verb == b"data" and code == b"354":
                seen_mail = False
                self._content()
                self._answer()

    def flush(self) -> None:
        """Whatever qmail-smtpd said last goes to the client."""
        while True:
            data = bytes(self._from_server) or os.read(self._server[0], READ)
            self._from_server.clear()
            if not data:
                return
            _write(self._client[1], data)

    def _refusal(self, argument: bytes) -> bytes:
        address = address_of(argument)
        if address is None or "@" not in address:
            return b""
        if self._host is None:
            return NOT_NOW
        answer = judge(self._host, address, exchange=self._exchange, trusted=self._trusted)
        if answer:
            shown = address.encode("ascii", "replace").decode().translate(dict.fromkeys(range(32), "?"))
            print(f"front: {answer[:9].decode()} for {shown}", file=sys.stderr, flush=True)
        return answer

    def _command(self) -> bytes:
        while (end := self._from_client.find(b"\n")) < 0:
            if len(self._from_client) > LINE_MOST:
                raise Gone("a command that does not end")
            self._from_client += self._read_client()
        line = bytes(self._from_client[: end + 1])
        del self._from_client[: end + 1]
        return line

    def _answer(self) -> bytes:
        """Pass on one answer of qmail-smtpd, of however many lines; its code."""
        while True:
            while (end := self._from_server.find(b"\n")) < 0:
                data = os.read(self._server[0], READ)
                if not data:
                    raise Gone("qmail-smtpd has ended")
                self._from_server += data
            line = bytes(self._from_server[: end + 1])
            del self._from_server[: end + 1]
            _write(self._client[1], line)
            if line[3:4] != b"-":
                return line[:3]

    def _content(self) -> None:
        """Pass on a message, to its end as qmail-smtpd sees it: it takes no line that does not end with CR LF."""
        before = b"\r\n"  # the answer to DATA begins a line
        while True:
            data = bytes(self._from_client) or self._read_client()
            self._from_client.clear()
            joined = before + data
            end = joined.find(END)
            if end >= 0:
                sent = end + len(END) - len(before)
                self._from_client += data[sent:]
                _write(self._server[1], data[:sent])
                return
            _write(self._server[1], data)
            before = joined[-(len(END) - 1) :]

    def _read_client(self) -> bytes:
        if not select.select([self._client[0]], [], [], IDLE_SECONDS)[0]:
            _write(self._client[1], b"451 timeout (#4.4.2)\r\n")
            raise Gone("the client says nothing")
        data = os.read(self._client[0], READ)
        if not data:
            raise Gone("the client has ended")
        return data


def _write(to: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(to, view) :]


def main(argv: list[str], host_file: Path | None = None) -> int:
    """Run the command of the arguments behind this filter."""
    host = None
    try:
        host = lookup.read_host(host_file)
    except (OSError, ValueError, KeyError) as error:  # then nobody is refused for good
        print(f"front: host.json: {error}", file=sys.stderr, flush=True)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as smtpd:
        assert smtpd.stdin is not None and smtpd.stdout is not None
        session = Session(host, (0, 1), (smtpd.stdout.fileno(), smtpd.stdin.fileno()))
        try:
            session.run()
        except (Gone, ConnectionError):
            smtpd.stdin.close()
            try:
                session.flush()
            except OSError:
                return 1  # nobody listens any more
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
