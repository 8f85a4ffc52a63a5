"""The directory case: 40,000 people out of Active Directory (Samba) into an empty OpenLDAP, and kept in step there.

Peers do parts of the work: ldapsearch reads the same attributes of the same entries, `slapadd -q` loads what came of
it. Invariant: after each full run the target holds everybody whom the lab's organisation calls clean, with their
primary address, but for those whose address somebody else claims, too; a target that does not ends the bench.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import ldap

from bench import measure
from bench.contenders import environment, mailferry
from bench.measure import BenchError, Usage
from bench.results import CPU_LIMIT, LIMIT, TIME_LIMIT, Row, comparison, within
from lab import address_book, process
from lab.openldap import ADMIN_PASSWORD, SUFFIX, OpenLdap
from lab.organisation import organisation
from lab.organisation_data import DOMAINS, Entry
from lab.organisation_ldif import distinguished_names, organisation_snapshot
from lab.process import PASSWORD
from lab.samba import Samba
from mailferry.directory.readers.ad import Scope
from mailferry.directory.readers.ad_entry import ATTRIBUTES
from mailferry.stack.openldap.settings import Readers

SIZE, QUICK_SIZE = 40_000, 50
CHANGES = 40
"""Changes made one after the other while `--follow` runs."""

TIMES_SLAPADD, CPU_SECONDS, CHANGE_SECONDS, MEGABYTES, SEARCH_SECONDS = 3.0, 5.0, 2.0, 500.0, 0.02
"""The goals: a full run in so many times slapadd's time, and ldapsearch's once; a run that finds nothing to do, be it
the first after a full one, which compares everything, or a later one, which sees that nothing happened; p95 of one
change; memory of any process, slapadd's among them; p95 of an address book search of 20 rows."""

_OURS, _SEARCH, _SLAPADD = "mailferry directory sync", "ldapsearch", "slapadd -q"
_FLOOR = f"{TIMES_SLAPADD:g} x {_SLAPADD}, and {_SEARCH}"


@dataclass(slots=True)
class _Running:
    """The source, which all rounds share, its clean people, where everybody stands, and what has been measured."""

    samba: Samba
    people: Sequence[Entry]
    places: Mapping[str, str]
    place: Path
    env: Mapping[str, str]
    say: Callable[[str], None]
    full: list[Usage] = field(default_factory=list)
    compared: list[Usage] = field(default_factory=list)
    nothing: list[Usage] = field(default_factory=list)
    read: list[Usage] = field(default_factory=list)
    search: list[Usage] = field(default_factory=list)
    slapadd: list[Usage] = field(default_factory=list)
    searches: list[float] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)
    follower_mb: float = 0.0


def run(rounds: int, size: int, place: Path, bytecode: Path, when: str, say: Callable[[str], None]) -> list[Row]:
    """Run the case with that many people. `place` is an empty directory that other users can enter, `bytecode` as for
    `environment`; `say` gets a line about each thing done."""
    say(f"directory: Active Directory with {size} people (made once; 40,000 take some 8 minutes)")
    content = organisation_snapshot(size)
    acme = organisation(size)
    contested = {dirt.other for dirt in acme.dirt}
    people = [person for person in acme.people if person.account not in contested]
    with Samba(place / "samba", content=content) as samba:
        running = _Running(samba, people, distinguished_names(acme), place, environment(bytecode), say)
        for number in range(rounds):
            _round(running, number, last=number == rounds - 1)
        return _rows(running, f"directory, {size:,} people", when)


def _round(running: _Running, number: int, *, last: bool) -> None:
    place = running.place / f"round-{number}"
    place.mkdir()
    with _target(place / "openldap") as target:
        config = _configure(place, running.samba, target)
        (place / "search.sh").write_text(_search_script(running.samba))
        reading = [sys.executable, "-m", "bench.directory_read", str(config)]
        search = ["sh", str(place / "search.sh")]
        sync = _sync(place, config)
        for _ in range(1 if number else 2):  # the first time warms up server and bytecode
            read = _run(running, place, "reading", _SEARCH, search), _run(running, place, "reading", _OURS, reading)
        running.search.append(read[0])
        running.read.append(read[1])
        running.full.append(_run(running, place, "full", _OURS, sync))
        _check(running, target)
        running.compared.append(_run(running, place, "everything compared", _OURS, sync))
        for _ in range(2):
            running.nothing.append(_run(running, place, "nothing to do", _OURS, sync))
        if (place / "log").read_text().count(" entries; nothing ") != 3:
            raise BenchError("a run after the full one found something to change")
        running.slapadd.append(_slapadd(running, place, target))
        if last:
            _address_book(running, target)
            _follow(running, place, config, target)


def _run(running: _Running, place: Path, what: str, who: str, command: list[str]) -> Usage:
    usage = measure.run([command], place / "log", at_once=1, env=running.env)
    running.say(f"directory, {what}: {who} {usage.wall:.2f} s, CPU {usage.cpu:.2f} s, {usage.peak_mb:.0f} MB")
    return usage


def _sync(place: Path, config: Path, *options: str) -> list[str]:
    """The command as a user gives it; exit code 1 says that somebody was left out, which Acme's dirt makes certain."""
    command = f'"$0" directory sync --config {config} --ledger {place}/ledger.db "$@"; [ $? -le 1 ]'
    return ["sh", "-c", command, mailferry(), *options]


def _configure(place: Path, samba: Samba, target: OpenLdap) -> Path:
    """mailferry.toml for this pair, with the bulk load."""
    (place / "source-password").write_text(PASSWORD)
    (place / "target-password").write_text(ADMIN_PASSWORD)
    domains = ", ".join(f'"{domain}"' for domain in DOMAINS)
    config = place / "mailferry.toml"
    config.write_text(f"""\
[directory.source]
kind = "ad"
url = "{samba.tls_url}"
bind = "{samba.reader_dn}"
password = "file:{place}/source-password"
ca_file = "{samba.ca_file}"
base = "OU=Acme,{samba.base}"

[directory.target]
url = "{target.url}"
suffix = "{target.suffix}"
bind = "{target.admin_dn}"
password = "file:{place}/target-password"
ca_file = "{target.ca_file}"
bulk = "{target.settings.config_dir}"
bulk_stop = "sh {target.root}/stop.sh"
bulk_start = "sh {target.root}/start.sh"

[directory.mapping]
domains = [{domains}]

[directory.brake]
entries = {10 * CHANGES}
""")
    return config


@contextmanager
def _target(root: Path) -> Iterator[OpenLdap]:
    """An empty OpenLDAP that two scripts in its root start and stop, as systemd does for a real one."""
    target = OpenLdap(root, readers=Readers.ANONYMOUS)
    target.start()
    target.halt()
    slapd = f"slapd -h '{target.url} {target.ldapi}' -F {target.settings.config_dir}"
    uid, gid = target.owner
    (root / "start.sh").write_text(
        f"PATH=$PATH:/usr/sbin\nsetpriv --reuid={uid} --regid={gid} --clear-groups {slapd}\n"
    )
    pid_file = target.settings.run_dir / "slapd.pid"
    stop = "kill $pid\nwhile test -d /proc/$pid; do sleep 0.02; done\n"
    (root / "stop.sh").write_text(f"test -e {pid_file} || exit 0\npid=$(cat {pid_file})\n{stop}")
    subprocess.run(["sh", str(root / "start.sh")], check=True)
    try:
        yield target
    finally:
        subprocess.run(["sh", str(root / "stop.sh")], check=True)


def _search_script(samba: Samba) -> str:
    """ldapsearch of what our reader asks for, page by page, thrown away."""
    options = ["-LLL", "-x", "-o", "ldif-wrap=no", "-E", "pr=1000/noprompt", "-H", samba.tls_url, "-D", samba.reader_dn]
    search = ["ldapsearch", *options, "-w", PASSWORD, "-b", f"OU=Acme,{samba.base}", Scope().search, *ATTRIBUTES]
    return f"export LDAPTLS_CACERT={samba.ca_file}\n{shlex.join(search)} > /dev/null\n"


def _check(running: _Running, target: OpenLdap) -> None:
    """Raise BenchError unless everybody clean stands in the target with their address."""
    link = target.connect()
    found = link.search_s(SUFFIX, ldap.SCOPE_SUBTREE, "(objectClass=inetOrgPerson)", ["mail"])
    link.unbind_s()
    have = {value.decode() for _, values in found for value in values.get("mail", [])}
    missing = [person.mail for person in running.people if person.mail not in have]
    if missing:
        raise BenchError(f"{len(missing)} people are missing in the target, {missing[0]} among them")


def _slapadd(running: _Running, place: Path, target: OpenLdap) -> Usage:
    """`slapadd -q` of all that now is in the target, into an empty database of the same configuration."""
    data = place / "all.ldif"
    dump = ["slapcat", "-F", str(target.settings.config_dir), "-n", "1", "-l", str(data)]
    subprocess.run([process.binary("slapcat", "/usr/sbin/slapcat"), *dump[1:]], check=True, capture_output=True)
    other = OpenLdap(place / "slapadd")
    other.configure()
    load = [process.binary("slapadd", "/usr/sbin/slapadd"), "-q", "-n", "1", "-F", str(other.settings.config_dir)]
    return _run(running, place, "load", _SLAPADD, [*load, "-l", str(data)])


def _address_book(running: _Running, target: OpenLdap) -> None:
    """What Outlook, Thunderbird and macOS ask while the first letters of 40 people's surnames are typed, by a stranger
    whom the access rules let see the address book."""
    shown = [one for one in running.people if "sn" in one.values and "msExchHideFromAddressLists" not in one.values]
    names = [str(person.values["sn"][0]) for person in shown[:: max(1, len(shown) // 40)]]
    beginnings = sorted({name[:length].strip() for name in names for length in (1, 2, 4, 7)})
    link = target.connect("")
    answers = address_book.measure(link, SUFFIX, beginnings)
    link.unbind_s()
    nobody = [f"{answer.program} for {answer.typed}" for answer in answers if not answer.entries]
    if nobody:
        raise BenchError(f"the address book answers with nobody: {', '.join(nobody)}")
    running.searches += [answer.seconds for answer in answers]
    running.say(
        f"directory, address book: {len(answers)} searches, median {1000 * median(running.searches):.1f} ms, "
        f"longest {1000 * max(running.searches):.1f} ms"
    )


def _follow(running: _Running, place: Path, config: Path, target: OpenLdap) -> None:
    """Make changes at the source one by one, and time how long each takes to show in the target."""
    log = place / "follow.log"
    command = [mailferry(), "directory", "sync", "--config", str(config), "--ledger", str(place / "ledger.db")]
    with log.open("wb") as out:
        child = subprocess.Popen([*command, "--follow"], stdout=out, stderr=out, env=running.env)
    link = target.connect()
    try:
        warm = running.people[-1]
        _await(running, link, log, warm, "warm", seconds=300)
        for number in range(CHANGES):
            person = running.people[number * len(running.people) // CHANGES]
            running.changes.append(_await(running, link, log, person, f"Title {number}", seconds=30))
        if child.poll() is not None:
            raise BenchError(f"sync --follow ended with {child.returncode}:\n{log.read_text()[-2000:]}")
        for line in Path(f"/proc/{child.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                running.follower_mb = int(line.split()[1]) * 1024 / 1e6
    finally:
        child.terminate()
        child.wait()
        link.unbind_s()
    running.say(
        f"directory, changes: median {median(running.changes):.2f} s, longest {max(running.changes):.2f} s, "
        f"follower {running.follower_mb:.0f} MB"
    )


def _await(
    running: _Running,
    link: ldap.ldapobject.LDAPObject,
    log: Path,
    person: Entry,
    title: str,
    *,
    seconds: float,
) -> float:
    """Give somebody a title at the source; seconds until the target has it. Raises BenchError when it never comes."""
    running.samba.modify(running.places[person.account], replace={"title": title})
    began = time.perf_counter()
    while not link.search_s(SUFFIX, ldap.SCOPE_SUBTREE, f"(&(mail={person.mail})(title={title}))", ["title"]):
        if time.perf_counter() - began > seconds:
            said = log.read_text(errors="replace")[-2000:]
            raise BenchError(f"a change of {person.mail} is not in the target after {seconds:.0f} s:\n{said}")
        time.sleep(0.005)
    return time.perf_counter() - began


def _rows(running: _Running, case: str, when: str) -> list[Row]:
    floor = [
        Usage(TIMES_SLAPADD * one.wall + other.wall, one.cpu + other.cpu, max(one.peak_mb, other.peak_mb))
        for one, other in zip(running.slapadd, running.search, strict=True)
    ]
    every = [*running.full, *running.compared, *running.nothing, Usage(0, 0, running.follower_mb)]
    peak = max(one.peak_mb for one in every)
    p95, search_p95 = (sorted(some)[int(len(some) * 0.95)] for some in (running.changes, running.searches))
    whole, idle = (median(one.cpu for one in some) for some in (running.compared, running.nothing))
    return [
        comparison(case, "full", _OURS, running.full, _FLOOR, floor, when, times=1.0),
        comparison(case, "full", _OURS, running.full, _SLAPADD, running.slapadd, when),
        comparison(case, "reading", _OURS, running.read, _SEARCH, running.search, when),
        within(case, "everything compared", _OURS, running.compared, CPU_LIMIT, whole, CPU_SECONDS, when),
        within(case, "nothing to do", _OURS, running.nothing, CPU_LIMIT, idle, CPU_SECONDS, when),
        within(
            case,
            "one change, p95",
            _OURS,
            [Usage(s, 0, 0) for s in running.changes],
            TIME_LIMIT,
            p95,
            CHANGE_SECONDS,
            when,
        ),
        within(
            case,
            "address book, 20 rows, p95",
            _OURS,
            [Usage(s, 0, 0) for s in running.searches],
            TIME_LIMIT,
            search_p95,
            SEARCH_SECONDS,
            when,
        ),
        within(case, "all phases", _OURS, every, LIMIT, peak, MEGABYTES, when),
    ]
