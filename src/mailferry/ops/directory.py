"""Keep a directory in step: the use cases behind `mailferry directory`. Shows nothing.

Invariant: one process at a time works on a pair of source and target; each run that writes is in the ledger.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mailferry.config.settings import DirectorySettings, Source, Target, directory_settings
from mailferry.directory import mark as marks
from mailferry.directory import sync as syncing
from mailferry.directory.clean import Cleaned, clean
from mailferry.directory.decisions import Decisions, add_open, read_decisions
from mailferry.directory.diff import Change
from mailferry.directory.entries import SPELLING
from mailferry.directory.exceptions import read_exceptions
from mailferry.directory.follow import Follower
from mailferry.directory.mapping import check_rules, register_of
from mailferry.directory.readers import ChangeReader, Reader
from mailferry.directory.sync import Progress, Stepped, World
from mailferry.directory.undo import Undone, undo
from mailferry.directory.writer import Bulk
from mailferry.errors import ConfigError, MailferryError, Permanent, Temporary, UserError, explain
from mailferry.ledger import directory as records
from mailferry.ledger import open_ledger
from mailferry.ledger.rows import ChangeState, Directory, Run
from mailferry.ledger.store import Ledger
from mailferry.model.recipient import RecipientKind
from mailferry.net import ldap
from mailferry.secret import Secret

START_SECONDS = 30.0
"""How long a slapd may take to answer after its start."""

FILES = ("csv", "ldif", "vcard")


@dataclass(frozen=True, slots=True)
class Place:
    """Everything that one use case needs: settings, an open ledger, the pair's row in it."""

    settings: DirectorySettings
    ledger: Ledger
    directory: Directory


@contextmanager
def opened(config: Path, ledger: str | None, default_ledger: Callable[[], str]) -> Iterator[Place]:
    """Read the settings and open the ledger: the one given, else the file's, else the default."""
    whole, settings = directory_settings(config)
    check_rules(settings.mapping)
    unknown = [one for one in settings.authority.target if one.lower() not in SPELLING]
    if unknown:
        raise ConfigError(
            f"Mailferry does not write {unknown[0]}, so nobody has to keep it from doing so",
            about="directory.authority.target",
            advice="check the spelling, or take it out",
        )
    place = ledger or whole.ledger or default_ledger()
    with closing(open_ledger(place)) as db:
        yield Place(settings, db, records.bind(db, source_key(settings.source), settings.target.url))


def source_key(source: Source) -> str:
    """The source's name in the ledger."""
    return f"{source.kind} {source.url} {'; '.join(source.base)}".strip()


def world_of(place: Place) -> World:
    settings = place.settings
    decisions = Decisions()
    if settings.decisions is not None and settings.decisions.exists():
        decisions = read_decisions(settings.decisions)
    register = register_of(records.accounts(place.ledger, place.directory.id))
    return World(settings, read_exceptions(settings.mapping.exceptions), decisions, register)


@contextmanager
def reader_of(source: Source) -> Iterator[Reader]:
    """The reader that the settings ask for. ConfigError, or what connecting raises."""
    if source.kind == "csv":
        from mailferry.directory.readers.csv_file import CsvFile

        yield CsvFile(Path(source.url))
    elif source.kind == "ldif":
        from mailferry.directory.readers.ldif_file import LdifFile

        yield LdifFile(Path(source.url))
    elif source.kind == "vcard":
        from mailferry.directory.readers.vcard_file import VcardFile

        yield VcardFile(Path(source.url))
    elif source.kind == "ad":
        from mailferry.directory.readers.ad import ActiveDirectory, Scope

        with ActiveDirectory(server_of(source), Scope(source.base, source.filter or "")) as reader:
            yield reader
    else:
        from mailferry.directory.readers.ldap import LdapDirectory
        from mailferry.directory.readers.ldap_map import names

        wanted = names(source.names)
        with LdapDirectory(server_of(source), source.base, source.filter or "", wanted) as directory:
            yield directory


def server_of(side: Source | Target) -> ldap.Server:
    """How to connect. ConfigError for a bind name without password."""
    external = side.url.startswith("ldapi:") and side.bind is None
    kerberos = isinstance(side, Source) and side.kerberos
    bind = ldap.Bind.SIMPLE if side.bind else ldap.Bind.ANONYMOUS
    if kerberos:
        bind = ldap.Bind.KERBEROS
    elif external:
        bind = ldap.Bind.EXTERNAL
    if bind is ldap.Bind.SIMPLE and side.password is None:
        raise ConfigError("its password is not configured", about=side.bind or "", advice='password = "file:PATH"')
    return ldap.Server(
        side.url,
        bind,
        user=side.bind or "",
        secret=Secret.from_reference(side.password) if side.password else None,
        plain=side.tls == "none",
        verify=side.tls == "verify",
        ca_file=str(side.ca_file) if side.ca_file else None,
    )


def connected(target: Target) -> ldap.Connection:
    """A connection to the target; a slapd that a killed bulk load left stopped is started first."""
    server = server_of(target)
    try:
        return ldap.Connection(server)
    except Temporary:
        if target.bulk_start is None:
            raise
    command(target.bulk_start)
    return _answering(server)


def bulk_of(target: Target) -> Bulk | None:
    """The bulk load that the settings ask for."""
    if target.bulk is None or target.bulk_stop is None or target.bulk_start is None:
        return None
    folder, stop, start = target.bulk, target.bulk_stop, target.bulk_start
    server = server_of(target)

    def load(entries: Iterable[bytes]) -> None:
        from mailferry.stack.openldap import run

        command(stop)
        try:
            run.load(folder, entries)
        finally:
            command(start)
            _answering(server).close()

    return Bulk(load, lambda: ldap.Connection(server))


def command(line: str) -> None:
    """Run a command of the settings. Permanent if it fails."""
    with tempfile.TemporaryFile() as said:  # a pipe would wait for the server that it starts
        done = subprocess.run(["/bin/sh", "-c", line], stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False)
        if done.returncode != 0:
            said.seek(0)
            words = said.read().decode(errors="replace").strip()[-500:]
            raise Permanent(f"the command ended with code {done.returncode}: {words}", about=line)


def _answering(server: ldap.Server) -> ldap.Connection:
    """A connection to a server that is being started."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            return ldap.Connection(server)
        except Temporary:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def diff(place: Place, progress: Progress) -> tuple[World, Stepped]:
    """What a sync would change. Writes nothing anywhere."""
    world = world_of(place)
    with reader_of(place.settings.source) as reader, ldap.Connection(server_of(place.settings.target)) as target:
        step = syncing.full_step(world, place.ledger, place.directory, None, reader, target, progress)
    return world, step


def sync(
    place: Place, argv: Sequence[str], progress: Progress, *, allowed: int | None = None, full: bool = False
) -> tuple[int, World, Stepped]:
    """Put the target in step, once; also gives the run's id. `full`: compare even if nothing seems to have changed."""
    with running(place, argv) as run_id:
        world = world_of(place)
        with reader_of(place.settings.source) as reader, connected(place.settings.target) as target:
            told = cast(ChangeReader, reader) if place.settings.source.kind not in FILES else None
            if told is not None and not full and marks.holds(place.settings, place.directory, told, target):
                step = syncing.same_as_before(place.directory)
            else:
                step = syncing.full_step(
                    world,
                    place.ledger,
                    place.directory,
                    run_id,
                    reader,
                    target,
                    progress,
                    allowed=allowed,
                    bulk=bulk_of(place.settings.target),
                    told=told,
                )
        place.ledger.heartbeat(run_id, summary(step))
    return run_id, world, step


def follow(
    place: Place,
    argv: Sequence[str],
    progress: Progress,
    on_step: Callable[[int, Stepped, float], None],
    *,
    allowed: int | None = None,
) -> int:
    """Keep the target in step until told to stop; returns the run's id. UserError for a source that is a file."""
    if place.settings.source.kind in FILES:
        raise UserError(
            "a file cannot be followed", about=place.settings.source.url, advice="run sync without --follow"
        )
    with running(place, argv) as run_id:
        world = world_of(place)
        server = server_of(place.settings.target)
        connected(place.settings.target).close()  # starts a slapd that a killed bulk load left stopped
        with reader_of(place.settings.source) as reader:
            follower = Follower(
                world,
                place.ledger,
                place.directory,
                run_id,
                cast(ChangeReader, reader),
                lambda: ldap.Connection(server),
                progress,
                lambda step, seconds: on_step(run_id, step, seconds),
                allowed=allowed,
                bulk=bulk_of(place.settings.target),
            )
            with closing(follower):
                follower.run()
    return run_id


@contextmanager
def running(place: Place, argv: Sequence[str]) -> Iterator[int]:
    """A run of the ledger that holds the directory. It ends in the ledger, with what stopped it, unless the process is
    killed."""
    with records.held(place.ledger, place.directory.id):
        run_id = place.ledger.begin_run(shlex.join(argv))
        trouble: dict[str, Any] = {}
        try:
            yield run_id
        except MailferryError as error:
            trouble = {"trouble": explain(error).partition("\n")[0]}
            raise
        finally:
            known = {"directory": "sync"} if trouble else {}
            place.ledger.end_run(run_id, known | _last_summary(place.ledger, run_id) | trouble)


def _last_summary(ledger: Ledger, run_id: int) -> dict[str, Any]:
    return next((dict(run.summary) for run in ledger.runs() if run.id == run_id), {})


def summary(step: Stepped) -> dict[str, Any]:
    """Figures of a step, for the ledger and for JSON."""
    return {"directory": "sync", **syncing.figures(step)}


def take_back(
    place: Place, argv: Sequence[str], of_run: int, progress: Progress, *, since: float = 0.0, dry_run: bool = False
) -> tuple[Undone, list[Change]]:
    """Undo what a run changed, from `since` on (seconds since the epoch). UserError if it changed nothing."""
    rows = [one for one in records.changes(place.ledger, place.directory.id, of_run) if one.at >= since]
    states = {one.state for one in rows}
    if not states & {ChangeState.DONE, ChangeState.INTENDED}:
        what = "it is taken back already" if ChangeState.UNDONE in states else "it changed no entry"
        advice = "`mailferry directory status` shows what each run changed"
        raise UserError(what, about=f"run {of_run}", advice=advice)
    server = server_of(place.settings.target)
    if dry_run:
        with ldap.Connection(server) as target:
            return undo(target, place.ledger, place.directory.id, 0, rows, lambda *_: None, dry_run=True)
    with running(place, argv) as run_id, ldap.Connection(server) as target:
        place.ledger.audit("directory undo", run=of_run, by=run_id)
        return undo(
            target, place.ledger, place.directory.id, run_id, rows, lambda done, of: progress("undoing", done, of)
        )


def status(ledger: Ledger) -> tuple[list[Directory], list[tuple[Run, dict[str, dict[str, int]]]]]:
    """The directories of a ledger, and the runs that changed entries, with operation → state → count."""
    counts = records.change_counts(ledger)
    runs = [(run, counts.get(run.id, {})) for run in ledger.runs() if run.id in counts or "directory" in run.summary]
    return records.directories(ledger), runs


def report(place: Place, progress: Progress) -> Cleaned:
    """Read and clean, and enter open findings into the decisions file, where there is one."""
    world = world_of(place)
    with reader_of(place.settings.source) as reader:
        cleaned = clean(reader.read(), world.policy, world.decisions)
    if place.settings.decisions is not None:
        add_open(place.settings.decisions, cleaned.open)
    return cleaned


def accounts(place: Place) -> list[tuple[str, str]]:
    """(log-in name at the source, uid in the target) of everybody with a mailbox who is in the target."""
    mailboxes = (RecipientKind.MAILBOX.value, RecipientKind.SHARED.value)
    rows = records.accounts(place.ledger, place.directory.id)
    return [(one.account, one.uid) for one in rows if one.account and one.kind in mailboxes and one.gone is None]
