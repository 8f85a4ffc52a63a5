"""One OpenLDAP on this machine: makes its configuration, and gives it many entries at once, through slapadd.

Does not start or stop slapd (systemd does, or the lab). Invariant: a database is either what it was before, or
complete: a load goes into a folder of its own, with what was there first, is flushed to the disk, and takes its place
by one rename. A load that was killed leaves that folder, which the next load removes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mailferry.errors import ConfigError, Permanent, SafetyStop
from mailferry.stack.openldap import render
from mailferry.stack.openldap.settings import Settings
from mailferry.wire import ldif

ENVIRONMENT = {"LDAPNETWORK_TIMEOUT": "3", "LDAPTIMEOUT": "3"}
"""What slapd has to be started with: seconds that a log-in waits for the source's controllers (ldap.conf(5)). Without
it a controller that does not answer holds a thread of slapd for minutes for each log-in."""

Owner = tuple[int, int]
_CHUNK = 1 << 16


def configure(settings: Settings, owner: Owner | None = None) -> None:
    """Write cn=config anew from the settings, and make the directories. `owner`: the (uid, gid) that slapd runs as;
    None: the caller's. Permanent when slapadd refuses the configuration; what was there then stays."""
    for folder in (settings.data_dir, settings.run_dir):
        _make(folder, owner)
    fresh = settings.config_dir.with_name(settings.config_dir.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    _make(fresh, owner)
    _slapadd(["-n", "0", "-F", str(fresh)], [render.config(settings)], owner)
    if settings.config_dir.exists():
        shutil.rmtree(settings.config_dir)
    fresh.rename(settings.config_dir)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a slapd keeps what, read from its configuration. `number`: of the main database."""

    config_dir: Path
    data_dir: Path
    pid_file: Path
    database_file: Path
    number: int
    suffix: str
    server_id: int

    @property
    def is_empty(self) -> bool:
        """Whether no database has been begun."""
        return not (self.data_dir / "data.mdb").exists()

    @property
    def is_running(self) -> bool:
        """Whether its slapd is alive, by its pid file."""
        try:
            pid = int(self.pid_file.read_text())
            return Path(f"/proc/{pid}/comm").read_text().strip() == "slapd"
        except (FileNotFoundError, ValueError):
            return False


def place(config_dir: Path) -> Place:
    """Read a configuration directory (slapd.d). ConfigError: it cannot be read, or it has not just one mdb database."""
    root, folder = config_dir / "cn=config.ldif", config_dir / "cn=config"
    try:
        names = [one for one in os.listdir(folder) if one.startswith("olcDatabase=") and one.endswith("mdb.ldif")]
    except OSError as error:
        raise ConfigError(
            f"no configuration of slapd: {error.strerror}",
            about=str(config_dir),
            advice="give slapd's configuration directory (slapd.d), as root or as slapd's user",
        ) from error
    if len(names) != 1:
        raise ConfigError(f"{len(names)} mdb databases are configured here, not one", about=str(config_dir))
    database = folder / names[0]
    main, top = _values(database), _values(root)
    try:
        return Place(
            config_dir=config_dir,
            data_dir=Path(main["olcdbdirectory"]),
            pid_file=Path(top["olcpidfile"]),
            database_file=database,
            number=int(main["olcdatabase"].partition("}")[0].lstrip("{")),
            suffix=main["olcsuffix"],
            server_id=int(top.get("olcserverid", "0").split()[0]),
        )
    except KeyError as error:
        raise ConfigError(f"it does not say {error.args[0]}", about=str(config_dir)) from error


def load(config_dir: Path, entries: Iterable[bytes]) -> None:
    """Add entries (LDIF, parents first) to what the database holds, with slapd stopped; as root, or as slapd's user.

    slapadd gives each new entry its entryUUID and entryCSN, and the suffix the contextCSN that replicas ask for.
    SafetyStop: slapd runs. Permanent: slapadd refused an entry, or the disk said no. Whatever is raised, here or by
    `entries`, nothing has changed.
    """
    here = place(config_dir)
    if here.is_running:
        raise SafetyStop("slapd is running", about=str(config_dir), advice="stop it, or load over LDAP")
    loading = here.data_dir / "loading"
    try:
        owner = _owner(here.data_dir)
        shutil.rmtree(loading, ignore_errors=True)
        _make(loading, owner)
        aside = _copied(here, loading, owner)
        arguments = ["-q", "-w", "-S", str(here.server_id), "-n", str(here.number), "-F", str(aside)]
        _slapadd(arguments, _all(here, entries, owner), owner)
        _flush(loading / "data.mdb")
        (loading / "data.mdb").rename(here.data_dir / "data.mdb")
        _flush(here.data_dir)
    except OSError as error:
        advice = "" if os.geteuid() == 0 else "run this as root, or as the user that slapd runs as"
        about = str(error.filename or here.data_dir)
        raise Permanent(f"cannot load: {error.strerror}", about=about, advice=advice) from error
    finally:
        shutil.rmtree(loading, ignore_errors=True)


def _owner(folder: Path) -> Owner | None:
    """Whom a folder belongs to, if we can make files for them."""
    state = folder.stat()
    return (state.st_uid, state.st_gid) if os.geteuid() == 0 else None


def program(name: str) -> str:
    """The path of one of slapd's programs. ConfigError when it is not installed."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise ConfigError("not installed", about=name, advice="apt-get install slapd")
    return found


def _values(path: Path) -> dict[str, str]:
    """The attributes of an entry's file below slapd.d, names in lower case, one value each."""
    try:
        records = list(ldif.parse([path.read_bytes()]))
    except OSError as error:
        raise ConfigError(f"no configuration of slapd: {error.strerror}", about=str(path)) from error
    return {
        value.name.lower(): value.data.decode()
        for record in records
        if isinstance(record, ldif.Record)
        for value in record.values
    }


def _copied(here: Place, loading: Path, owner: Owner | None) -> Path:
    """A copy of the configuration, in the folder that its database is then in."""
    aside = loading / "slapd.d"
    shutil.copytree(here.config_dir, aside)
    database = aside / "cn=config" / here.database_file.name
    name = b"olcDbDirectory:"
    lines = database.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith((name, b"# CRC32"))]
    database.write_bytes(b"".join([*kept, name + b" " + os.fsencode(loading) + b"\n"]))
    if owner is not None:
        for path in (aside, *aside.rglob("*")):
            os.chown(path, *owner)
    return aside


def _all(here: Place, entries: Iterable[bytes], owner: Owner | None) -> Iterator[bytes]:
    """What the database holds, operational attributes included, and then the new entries."""
    if not here.is_empty:
        command = [program("slapcat"), "-n", str(here.number), "-F", str(here.config_dir)]
        with _started(command, owner, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            while part := process.stdout.read(_CHUNK):
                yield part
        if process.returncode:
            raise Permanent(f"slapcat ended with {process.returncode}", about=str(here.data_dir))
    yield from entries


def _slapadd(arguments: list[str], parts: Iterable[bytes], owner: Owner | None) -> None:
    """Run slapadd with LDIF on its standard input. Permanent with its words when it fails; it is killed, and has ended
    when this returns, if `parts` raises."""
    with tempfile.TemporaryFile() as said:
        process = _started([program("slapadd"), *arguments], owner, stdin=subprocess.PIPE, stdout=said, stderr=said)
        assert process.stdin is not None
        try:
            for part in parts:
                process.stdin.write(part)
        except BrokenPipeError:
            pass  # it ended early, and says why
        except BaseException:
            process.kill()
            raise
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            code = process.wait()
        if code:
            said.seek(0)
            words = said.read().decode(errors="replace").strip()
            raise Permanent(f"slapadd ended with {code}: {words[-1000:]}", about=" ".join(arguments))


def _started(
    command: list[str],
    owner: Owner | None,
    *,
    stdin: int | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """A program run as slapd's own user, so that every file it makes is slapd's."""
    uid, gid = owner if owner is not None and os.geteuid() == 0 else (None, None)
    groups: list[int] | None = None if gid is None else []
    return subprocess.Popen(
        command, stdin=stdin, stdout=stdout, stderr=stderr, user=uid, group=gid, extra_groups=groups
    )


def _make(folder: Path, owner: Owner | None) -> None:
    """Make a folder that only slapd may read, when it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o750)
    if owner is not None:
        os.chown(folder, *owner)


def _flush(path: Path) -> None:
    """Wait until a file or folder is on the disk: slapadd -q does not."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
