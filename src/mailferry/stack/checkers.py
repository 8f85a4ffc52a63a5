"""What the daemons' own checkers say of rendered files, in a directory of nobody's: nothing is installed or started.

Invariant: whether a file is right is decided by the daemon's program alone; one that is not on this machine is told as
not looked at, never as well.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mailferry.errors import Permanent
from mailferry.stack.diff import redacted, slapd_config
from mailferry.stack.dovecot.files import check_command
from mailferry.stack.file import Kit
from mailferry.stack.radicale.files import CHECK as RADICALE
from mailferry.stack.radicale.settings import VENV

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that was looked at. `well` None: it could not be looked at from here. `said`: what was found."""

    server: str
    what: str
    well: bool | None
    said: str = ""


def check(kit: Kit) -> Iterator[Told]:
    """The checks of a kit's files, one after the other."""
    with tempfile.TemporaryDirectory(prefix="mailferry-check-") as name:
        scratch = Path(name)
        if kit.server == "openldap":
            yield _slapd(kit, scratch)
            return
        lay_out(kit, scratch)
        for what, command in _COMMANDS.get(kit.server, ()):
            # rspamadm warns of name servers that do not answer here; Radicale tells what it reads
            silent = kit.server not in ("rspamd", "radicale")
            yield _run(kit.server, what, [part.replace("SCRATCH", str(scratch)) for part in command], silent=silent)


_POSTFIX = (
    ("main.cf (postconf -n)", ("postconf", "-c", "SCRATCH", "-n")),
    ("master.cf (postconf -M)", ("postconf", "-c", "SCRATCH", "-M")),
    ("services (postconf -P)", ("postconf", "-c", "SCRATCH", "-P")),
)
_COMMANDS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "postfix": _POSTFIX,
    "relay": _POSTFIX,
    "rspamd": (("local.d (rspamadm configtest)", ("rspamadm", "--var=LOCAL_CONFDIR=SCRATCH", "configtest", "-q")),),
    "dovecot": (("dovecot.conf (doveconf -n)", check_command(Path("SCRATCH"))),),
    "qmail": tuple(
        (f"{name} (sh -n)", ("sh", "-n", f"SCRATCH/{name}")) for name in ("run-qmail", "run-smtpd", "front", "parked")
    ),
    "courier": tuple(
        (f"{name} (sh -n)", ("sh", "-n", f"SCRATCH/{name}"))
        for name in ("authdaemonrc", "imapd", "imapd-ssl", "pop3d", "pop3d-ssl")
    ),
    "radicale": (("config, rights (Radicale itself)", (str(VENV / "bin" / "python"), "-c", RADICALE)),),
}
"""For each server: what is looked at, and the program that looks. `SCRATCH`: where the files are."""


def lay_out(kit: Kit, scratch: Path) -> None:
    """Write the files that are to be installed below `scratch`, with paths that lead there."""
    placed = [file for file in kit.files if file.place is not None]
    homes = {str(file.place).removesuffix(f"/{file.name}") for file in placed if str(file.place).endswith(file.name)}
    for file in placed:
        path = scratch / file.name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        content = file.content
        for home in sorted(homes, key=len, reverse=True):
            content = content.replace(f"{home}/".encode(), f"{scratch}/".encode())
        path.write_bytes(content)
        path.chmod(file.mode)


def _run(server: str, what: str, command: list[str], *, silent: bool = True) -> Told:
    """A program is content when it ends with 0 and, where it is one of the `silent` ones, warns of nothing."""
    program = shutil.which(command[0], path=_PATH)
    if program is None:
        return Told(server, what, None, f"{command[0]} is not on this machine")
    try:
        done = subprocess.run(
            [program, *command[1:]],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            env={"PATH": _PATH},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Told(server, what, None, f"{command[0]} did not run: {error}")
    said = redacted(done.stderr).strip()[-1000:]
    well = done.returncode == 0 and not (silent and said)
    return Told(server, what, well, "" if well else said or f"it ended with {done.returncode}")


def _slapd(kit: Kit, scratch: Path) -> Told:
    what = "cn=config (slapadd, slaptest)"
    if shutil.which("slapadd", path=_PATH) is None:
        return Told(kit.server, what, None, "slapadd is not on this machine")
    try:
        # slaptest would write the pid file, of which the directory need not exist here
        slapd_config(re.sub(rb"(?m)^olc(PidFile|ArgsFile): .*\n", b"", kit.file("config.ldif").content), scratch)
    except Permanent as error:
        return Told(kit.server, what, False, str(error))
    return _run(kit.server, what, ["slaptest", "-u", "-F", str(scratch / "slapd.d")], silent=False)
