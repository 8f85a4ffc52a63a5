"""qmail's queue for Mailferry, as root on the qmail host: list it, have it tried now, take probe messages out.

    programs.queue list          one JSON object for each message, in the form of postqueue(1) -j
    programs.queue retry         SIGALRM to qmail-send: everything that waits is tried at once (qmail-send(8))
    programs.queue remove ID…    probe messages, and the marks that parked ones have left

Recipients are named by the primary address of the person, whichever of the addresses the message is for; also on the
way to Exchange or another store. Invariants: only a probe is ever marked as done, with the one byte that qmail-send
itself writes; nothing else in the queue is changed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import lookup

PARKED = "parked [parked-until-the-route-changes]"
"""Why a message waits whose recipient is parked: what the `parked` program says, too."""
WAITS = "it waits for its next try"
PROBE, DELIVERY = "probe-", "delivery-"
"""How the ids begin of marks of parked probes, and of deliveries under way."""
_MARK = re.compile(r"[0-9a-f]{16}")


@dataclass(slots=True)
class Queued:
    """One message of the queue. `local`: as qmail-send has rewritten them, `remote`, `new`: not looked at yet."""

    id: str
    arrived: float
    size: int
    sender: str = ""
    local: list[str] = field(default_factory=list)
    remote: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)


class People:
    """Whom recipients mean, each looked up once."""

    def __init__(self, host: lookup.Host, cdb: lookup.Cdb) -> None:
        self._host, self._cdb = host, cdb
        self._told: dict[Path | None, dict[str, Any]] = {None: {}}

    def of_delivery(self, recipient: str) -> tuple[str, str]:
        """(primary address, route) of a local recipient; the address as it stands and "" if that is nobody."""
        local, _, domain = recipient.rpartition("@")
        plain = f"{local.removeprefix(f'{domain}-')}@{domain}"
        return self._known(lookup.home_of_delivery(self._cdb, recipient), plain)

    def of_address(self, address: str) -> tuple[str, str]:
        """The same of an address as it was before; also one that leads to Exchange or a store."""
        local, _, domain = address.rpartition("@")
        domain = domain.lower()
        if domain in self._host.domains:
            return self._known(lookup.home(self._cdb, f"{local}@{domain}"), address)
        if domain in self._host.stores:
            return self._known(lookup.home(self._cdb, f"{local}@{self._host.open_domain}"), address)
        if domain == self._host.exchange_domain:
            for ours in sorted(self._host.domains):
                home = lookup.home(self._cdb, f"{local}@{ours}")
                if str(self._look(home).get("mail", "")).rpartition("@")[0].lower() == local.lower():
                    return self._known(home, address)
        return address, ""

    def _known(self, home: Path | None, address: str) -> tuple[str, str]:
        found = self._look(home)
        return str(found.get("mail") or address), str(found.get("route") or "")

    def _look(self, home: Path | None) -> dict[str, Any]:
        if home not in self._told:
            assert home is not None
            self._told[home] = lookup.told(home)
        return self._told[home]


def messages(queue: Path) -> Iterator[Queued]:
    """Everything in a queue, as INTERNALS of qmail describes it; what goes away meanwhile is left out."""
    for info in queue.glob("info/*/*"):
        if not info.name.isdigit():
            continue
        try:
            split = info.parent.name
            found = Queued(info.name, info.stat().st_mtime, (queue / "mess" / split / info.name).stat().st_size)
            found.sender = _text(info.read_bytes().split(b"\0")[0][1:])
            found.local = _undone(queue / "local" / split / info.name)
            found.remote = _undone(queue / "remote" / split / info.name)
        except FileNotFoundError:
            continue  # delivered in this moment
        yield found
    for todo in queue.glob("todo/*"):
        if not todo.name.isdigit():
            continue
        try:
            records, at = todo.read_bytes().split(b"\0"), todo.stat().st_mtime
        except FileNotFoundError:
            continue  # it is in info/ now
        found = Queued(todo.name, at, 0)
        for record in records:
            if record[:1] == b"F":
                found.sender = _text(record[1:])
            elif record[:1] == b"T":
                found.new.append(_text(record[1:]))
        yield found


def listing(host: lookup.Host) -> Iterator[dict[str, Any]]:
    """All that waits, is being delivered, or has been met by a parked recipient's `.qmail` (probes)."""
    with closing(lookup.Cdb(host.qmail / "users" / "cdb")) as cdb:
        people = People(host, cdb)
        for number, recipient in deliveries(host.qmail):  # before the queue: what ends meanwhile is counted, still
            yield _object(f"{DELIVERY}{number}", 0.0, 0, "", [(people.of_delivery(recipient)[0], "")])
        for one in messages(host.qmail / "queue"):
            waits = [_local(people.of_delivery(each), probe=host.is_probe(one.sender)) for each in one.local]
            waits += [(people.of_address(each)[0], "") for each in one.remote]
            waits += [_new(host, people, each, probe=host.is_probe(one.sender)) for each in one.new]
            if waits:
                yield _object(one.id, one.arrived, one.size, one.sender, waits)
    for mark in host.probes.glob("*"):
        if _MARK.fullmatch(mark.name):
            try:
                known, at = lookup.told(Path(mark.read_text(encoding="utf-8").strip())), mark.stat().st_mtime
            except FileNotFoundError:
                continue  # just removed
            sender = f"{host.probe[0]}-{mark.name}@{host.probe[1]}"
            yield _object(f"{PROBE}{mark.name}", at, 0, sender, [(str(known.get("mail", "")), PARKED)])


def _local(known: tuple[str, str], *, probe: bool) -> tuple[str, str]:
    address, route = known
    if probe:  # it is on its way until the recipient's `.qmail` has met it
        return address, ""
    return address, PARKED if route == "parked" else WAITS


def _new(host: lookup.Host, people: People, address: str, *, probe: bool) -> tuple[str, str]:
    known = people.of_address(address)
    if address.rpartition("@")[2].lower() in host.domains:
        return _local(known, probe=probe)
    return known[0], ""


def _object(name: str, arrived: float, size: int, sender: str, waits: list[tuple[str, str]]) -> dict[str, Any]:
    return {
        "queue_name": "active",
        "queue_id": name,
        "arrival_time": int(arrived),
        "message_size": size,
        "sender": sender,
        "recipients": [{"address": address, "delay_reason": why} for address, why in waits],
    }


def deliveries(qmail: Path) -> Iterator[tuple[int, str]]:
    """(pid, recipient) of each qmail-local at work: it may have read a `.qmail` that is no longer there."""
    for pid, argv in processes(qmail / "bin" / "qmail-local"):
        # qmail-local -- user home local dash ext domain sender aliasempty (qmail-local(8))
        if len(argv) >= 8:
            yield pid, f"{argv[4]}@{argv[7]}"


def processes(program: Path) -> Iterator[tuple[int, list[str]]]:
    """(pid, arguments) of each process of this program."""
    wanted = os.path.realpath(program)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if os.readlink(entry / "exe") != wanted:
                continue
            argv = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended
        yield int(entry.name), [_text(one) for one in argv]


def retry(host: lookup.Host) -> int:
    """Have everything tried now. 1: qmail-send does not run."""
    found = [pid for pid, _ in processes(host.qmail / "bin" / "qmail-send")]
    for pid in found:
        os.kill(pid, signal.SIGALRM)
    if not found:
        print("queue: qmail-send does not run", file=sys.stderr)
    return 0 if found else 1


def remove(host: lookup.Host, names: list[str]) -> int:
    """Take probes out. What has gone by itself is no error; 1: one is no probe."""
    code = 0
    for name in names:
        if name.startswith(PROBE) and _MARK.fullmatch(name.removeprefix(PROBE)):
            (host.probes / name.removeprefix(PROBE)).unlink(missing_ok=True)
        elif name.isdigit():
            code |= _mark_done(host, name)
        elif not name.startswith(DELIVERY):
            code = 1
            print(f"queue: {name!r} is no message", file=sys.stderr)
    return code


def _mark_done(host: lookup.Host, name: str) -> int:
    """Mark all recipients of a probe as done, as qmail-send does: at its next try nobody is left."""
    for info in (host.qmail / "queue" / "info").glob(f"*/{name}"):
        split = info.parent.name
        try:
            sender = _text(info.read_bytes().split(b"\0")[0][1:])
        except FileNotFoundError:
            continue  # it has gone
        if not host.is_probe(sender):
            print(f"queue: {name} is no probe", file=sys.stderr)
            return 1
        for kind in ("local", "remote"):
            _overwrite(host.qmail / "queue" / kind / split / name)
    return 0


def _overwrite(path: Path) -> None:
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        at = 0
        for record in path.read_bytes().split(b"\0")[:-1]:
            os.pwrite(file, b"D", at)
            at += len(record) + 1
    finally:
        os.close(file)


def _undone(path: Path) -> list[str]:
    """The recipients that a message still has to reach."""
    try:
        records = path.read_bytes().split(b"\0")
    except FileNotFoundError:
        return []
    return [_text(record[1:]) for record in records if record[:1] == b"T"]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def main(argv: list[str], host_file: Path | None = None) -> int:
    """See above. 1: it could not be done, and why on standard error."""
    try:
        host = lookup.read_host(host_file)
        if argv == ["list"]:
            for one in listing(host):
                print(json.dumps(one))
            return 0
        if argv == ["retry"]:
            return retry(host)
        if argv[:1] == ["remove"]:
            return remove(host, argv[1:])
    except (OSError, ValueError, KeyError, struct.error) as error:
        print(f"queue: {error}", file=sys.stderr)
        return 1
    print("queue: list | retry | remove ID…", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
