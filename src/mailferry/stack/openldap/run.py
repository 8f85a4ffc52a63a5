"""One OpenLDAP on this machine: makes its configuration and starts its life with entries, through slapadd.

Does not start slapd (systemd does, or the lab). Invariant: a database is either what it was before, or complete: the
load goes into a folder of its own, is flushed to the disk, and takes its place by one rename. A load that was killed
leaves that folder, which the next load removes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from mailferry.errors import ConfigError, Permanent, SafetyStop
from mailferry.stack.openldap import render
from mailferry.stack.openldap.settings import Settings

Owner = tuple[int, int]


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


def is_empty(settings: Settings) -> bool:
    """Whether no database has been begun in the data directory."""
    return not (settings.data_dir / "data.mdb").exists()


def load(settings: Settings, entries: Iterable[bytes], owner: Owner | None = None) -> None:
    """Fill the database with the first entries and these (LDIF, parents first), with slapd stopped.

    slapadd gives each entry its entryUUID and entryCSN, and the suffix the contextCSN that replicas ask for.
    SafetyStop: slapd runs, or there is a database. Permanent: slapadd refused an entry. Whatever is raised, here or by
    `entries`, nothing has changed.
    """
    if running(settings):
        raise SafetyStop("slapd is running", about=str(settings.data_dir), advice="stop it, or load over LDAP")
    if not is_empty(settings):
        raise SafetyStop("there is a database already", about=str(settings.data_dir), advice="load over LDAP")
    _make(settings.data_dir, owner)
    loading = settings.data_dir / "loading"
    shutil.rmtree(loading, ignore_errors=True)
    try:
        with tempfile.TemporaryDirectory(prefix="mailferry-slapadd-") as scratch:
            aside = replace(settings, config_dir=Path(scratch) / "slapd.d", data_dir=loading)
            if owner is not None:
                os.chown(scratch, *owner)
            configure(aside, owner)
            arguments = ["-q", "-w", "-S", str(settings.server_id), "-b", settings.suffix, "-F", str(aside.config_dir)]
            _slapadd(arguments, _all_entries(settings, entries), owner)
        _flush(loading / "data.mdb")
        (loading / "data.mdb").rename(settings.data_dir / "data.mdb")
        _flush(settings.data_dir)
    finally:
        shutil.rmtree(loading, ignore_errors=True)


def running(settings: Settings) -> bool:
    """Whether the slapd of these settings is alive, by its pid file."""
    try:
        pid = int((settings.run_dir / "slapd.pid").read_text())
        return Path(f"/proc/{pid}/comm").read_text().strip() == "slapd"
    except (FileNotFoundError, ValueError):
        return False


def program(name: str) -> str:
    """The path of one of slapd's programs. ConfigError when it is not installed."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise ConfigError("not installed", about=name, advice="apt-get install slapd")
    return found


def _all_entries(settings: Settings, entries: Iterable[bytes]) -> Iterable[bytes]:
    yield render.first_entries(settings)
    yield from entries


def _slapadd(arguments: list[str], ldif: Iterable[bytes], owner: Owner | None) -> None:
    """Run slapadd with LDIF on its standard input. Permanent with its words when it fails; it is killed, and has ended
    when this returns, if `ldif` raises."""
    uid, gid = owner if owner is not None and os.geteuid() == 0 else (None, None)
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [program("slapadd"), *arguments],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            user=uid,
            group=gid,
            extra_groups=None if gid is None else [],
        )
        assert process.stdin is not None
        try:
            try:
                for part in ldif:
                    process.stdin.write(part)
                process.stdin.close()
            except BrokenPipeError:
                pass  # it ended early, and says why
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if code:
            said.seek(0)
            words = said.read().decode(errors="replace").strip()
            raise Permanent(f"slapadd ended with {code}: {words[-1000:]}", about=" ".join(arguments))


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
