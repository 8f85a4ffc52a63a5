"""The routing case: Postfix with our ldap: tables against the same Postfix with hash: tables of the same people.

Lookups alone (postmap), and the time from the first command of a message to its arrival at the next server, at 50
messages a second, half of them to Exchange and half to a store. Invariant: both answer every question alike, and every
message arrives once; anything else ends the bench.
"""

from __future__ import annotations

import re
import smtplib
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.measure import BenchError, Usage
from bench.results import Row, comparison
from lab.ldap_people import as_ldif, person
from lab.openldap import SUFFIX, OpenLdap
from lab.postfix import Postfix, settings_of
from mailferry.stack.file import File
from mailferry.stack.postfix.render import files

PEOPLE, QUICK_PEOPLE = 10_000, 500
RATE = 50.0
"""Messages a second."""
SECONDS, QUICK_SECONDS = 20.0, 3.0
STORE = "store1.acme.example"
_LDAP, _HASH = "ldap: tables", "hash: tables"
_SUBJECT = re.compile(rb"^Subject: (\d+)\r?$", re.MULTILINE)


class _Sink(socketserver.ThreadingTCPServer):
    """Takes every message, over SMTP or LMTP, and remembers when it had come; `arrived`: number → perf_counter."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.arrived: dict[int, float] = {}
        self.twice = 0

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def take(self, text: bytes) -> None:
        number = _SUBJECT.search(text)
        if number is None:
            raise BenchError("a message without its number came")
        self.twice += int(number[1]) in self.arrived
        self.arrived[int(number[1])] = time.perf_counter()


class _Session(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self) -> None:
        self._say(b"220 sink")
        recipients, lmtp = 0, False
        for line in self.rfile:
            verb = line[:4].upper()
            lmtp |= verb == b"LHLO"
            recipients = recipients + 1 if verb == b"RCPT" else 0 if verb in (b"MAIL", b"RSET") else recipients
            if verb == b"QUIT":
                self._say(b"221 bye")
                return
            if verb != b"DATA":
                self._say(b"250 ok")
                continue
            self._say(b"354 go on")
            lines = []
            while (line := self.rfile.readline()) not in (b".\r\n", b""):
                lines.append(line)
            assert isinstance(self.server, _Sink)
            self.server.take(b"".join(lines))
            self._say(b"\r\n".join([b"250 taken"] * (recipients if lmtp else 1)))

    def _say(self, line: bytes) -> None:
        self.wfile.write(line + b"\r\n")


@dataclass(frozen=True, slots=True)
class _Person:
    address: str
    local: bool


def run(rounds: int, place: Path, when: str, say: Callable[[str], None], *, quick: bool = False) -> list[Row]:
    """Run the case. `place` is an empty directory that other users can enter; `say` gets a line about each thing."""
    count, seconds = (QUICK_PEOPLE, QUICK_SECONDS) if quick else (PEOPLE, SECONDS)
    people = [_Person(f"u{number}@acme.example", number % 2 == 1) for number in range(count)]
    entries = [
        as_ldif(person(SUFFIX, f"u{number}", **({"mailferryRoute": "local", "mailHost": STORE} if one.local else {})))
        for number, one in enumerate(people)
    ]
    exchange, store = _Sink(), _Sink()
    lookups: dict[str, list[Usage]] = {_LDAP: [], _HASH: []}
    p50: dict[str, list[Usage]] = {_LDAP: [], _HASH: []}
    p95: dict[str, list[Usage]] = {_LDAP: [], _HASH: []}
    with ExitStack() as stack:
        for sink in (exchange, store):
            threading.Thread(target=sink.serve_forever, daemon=True).start()
            stack.callback(sink.shutdown)
        openldap = stack.enter_context(OpenLdap(place / "ldap", entries=entries))
        contenders = {
            who: stack.enter_context(_postfix(who, place, openldap, exchange.port, store.port, people))
            for who in (_LDAP, _HASH)
        }
        for number in range(rounds):
            for who in sorted(contenders, reverse=bool(number % 2)):
                mta = contenders[who]
                lookups[who].append(_lookups(mta, _table(mta, who), people))
                took = sorted(_deliveries(mta, (exchange, store), people, seconds))
                half, most = took[len(took) // 2], took[int(len(took) * 0.95)]
                p50[who].append(Usage(half, 0, 0))
                p95[who].append(Usage(most, 0, 0))
                rate = len(people) / lookups[who][-1].wall
                say(f"routing: {who}: {rate:,.0f} lookups/s; delivered in {half * 1000:.1f} ms, p95 {most * 1000:.1f}")
    case = f"routing, {count:,} people"
    return [
        comparison(case, f"{count:,} lookups", _LDAP, lookups[_LDAP], _HASH, lookups[_HASH], when),
        comparison(case, f"delivery at {RATE:g}/s, p50", _LDAP, p50[_LDAP], _HASH, p50[_HASH], when),
        comparison(case, f"delivery at {RATE:g}/s, p95", _LDAP, p95[_LDAP], _HASH, p95[_HASH], when),
    ]


def _postfix(
    who: str, place: Path, openldap: OpenLdap, exchange: int, store: int, people: Iterable[_Person]
) -> Postfix:
    def render(here: Postfix) -> Iterator[File]:
        rendered = files(settings_of(here, openldap, ("127.0.0.1", exchange), {STORE: ("127.0.0.1", store)}))
        for file in rendered:
            if file.name == "main.cf" and who == _HASH:
                file = File("main.cf", _with_hash(file.content.decode(), here.config_dir).encode())
            yield file
        if who == _HASH:
            for name, text in _tables(exchange, store, people).items():
                yield File(name, text.encode())
                here.run("postmap", f"hash:{here.config_dir / name}")

    return Postfix("postfix", render, place / who.partition(":")[0])


def _with_hash(main: str, etc: Path) -> str:
    """main.cf with hash: tables in place of all that asks the directory."""
    mine = {
        "relay_recipient_maps": f"hash:{etc}/recipients",
        "virtual_alias_maps": f"hash:{etc}/aliases",
        "transport_maps": f"hash:{etc}/routes",
        "smtpd_recipient_restrictions": "reject_unauth_destination, reject_unlisted_recipient",
        "exchange_recipient_restrictions": "reject",
    }
    kept: list[str] = []
    skipping = False
    for line in main.splitlines():
        if line[:1].strip() and not line.startswith("#"):
            skipping = line.partition("=")[0].strip() in mine
        if not skipping or line.startswith("#"):
            kept.append(line)
    return "\n".join([*kept, *(f"{name} = {value}" for name, value in mine.items())]) + "\n"


def _tables(exchange: int, store: int, people: Iterable[_Person]) -> dict[str, str]:
    relays = {False: f"exchange:[127.0.0.1]:{exchange}", True: f"store:inet:127.0.0.1:{store}"}
    return {
        "recipients": "".join(f"{one.address}\tany\n" for one in people),
        "aliases": "".join(f"{one.address}\t{one.address}\n" for one in people),
        "routes": "".join(f"{one.address}\t{relays[one.local]}\n" for one in people),
    }


def _table(mta: Postfix, who: str) -> str:
    etc = mta.config_dir
    ours = f"pipemap:{{ldap:{etc}/ldap-routes.cf,regexp:{etc}/transports.regexp}}"
    return f"hash:{etc}/routes" if who == _HASH else ours


def _lookups(mta: Postfix, table: str, people: Iterable[_Person]) -> Usage:
    """Ask one table about everybody, one after the other."""
    keys = "".join(f"{one.address}\n" for one in people)
    began = time.perf_counter()
    done = subprocess.run(
        ["postmap", "-c", str(mta.config_dir), "-q", "-", table], input=keys, capture_output=True, text=True, check=True
    )
    took = time.perf_counter() - began
    if len(done.stdout.splitlines()) != keys.count("\n"):
        raise BenchError(f"{table} does not know everybody")
    return Usage(took, 0, 0)


def _deliveries(mta: Postfix, sinks: tuple[_Sink, _Sink], people: list[_Person], seconds: float) -> list[float]:
    """Seconds of each message, at RATE, from its first command to its arrival."""
    for sink in sinks:
        sink.arrived.clear()
    _hand_in(mta, people, 0, 50)  # starts Postfix's processes
    began = _hand_in(mta, people, 50, int(RATE * seconds) + 50)
    deadline = time.monotonic() + 30
    arrived: dict[int, float] = {}
    while not began.keys() <= arrived.keys():
        if time.monotonic() > deadline:
            raise BenchError(f"{len(began.keys() - arrived.keys())} messages have not arrived\n{mta.log()[-2000:]}")
        time.sleep(0.05)
        arrived = sinks[0].arrived | sinks[1].arrived
    if any(sink.twice for sink in sinks) or sinks[0].arrived.keys() & sinks[1].arrived.keys():
        raise BenchError("a message arrived twice")
    return [arrived[number] - at for number, at in began.items()]


def _hand_in(mta: Postfix, people: list[_Person], first: int, last: int) -> dict[int, float]:
    """Hand in messages at RATE over one connection; when each began."""
    began = {}
    with smtplib.SMTP("127.0.0.1", mta.port, timeout=30) as client:
        client.ehlo("bench.example")
        due = time.perf_counter()
        for number in range(first, last):
            due += 1 / RATE
            time.sleep(max(0.0, due - time.perf_counter()))
            to = people[number * 7919 % len(people)].address
            began[number] = time.perf_counter()
            text = f"From: a@outside.example\r\nTo: {to}\r\nSubject: {number}\r\n\r\nHello.\r\n"
            client.sendmail("a@outside.example", [to], text)
    return began
