"""A private Courier on loopback from our own renderer (src/mailferry/stack/courier): IMAP, POP3, authdaemond, authldap.

Its people are those of an OpenLDAP (lab/openldap.py). Debian's binaries are unpacked under `.lab/courier` (see
lab.install); the directories compiled into them are replaced by one of the same length, in copies. Needs root.
Invariant: nothing outside `root` and that one directory below /tmp is written.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from lab import process
from lab.install import CACHE
from lab.openldap import OpenLdap
from lab.postfix import directory_of
from lab.server import Server
from mailferry.stack.courier.render import files
from mailferry.stack.courier.settings import Ports, Settings

OWNER = "mail"
_COMPILED_IN = (b"/etc/courier/", b"/run/courier/")
_PATCHED = (
    "lib/courier/courier-authlib/authdaemond",
    "lib/courier-authlib/libauthldap.so.0.0.0",
    "lib/libcourierauth.so.0.0.0",
)


class OpenCourier(Server):
    """One instance: the store that `mailHost` calls `store`, over `mail_dir`. `port`: IMAP; `pop3_port`."""

    name = "open-courier"

    def __init__(self, openldap: OpenLdap, store: str, mail_dir: Path, *, login: str = "uid") -> None:
        if os.geteuid() != 0:
            raise process.LabError("a rendered Courier needs root")
        super().__init__(None)
        self._short = Path(f"/tmp/{secrets.token_hex(4)[:7]}")  # with its slash as long as what is compiled in
        self.port, self.pop3_port = process.free_port(), process.free_port()
        self.settings = Settings(
            hostname="localhost",
            store=store,
            directory=directory_of(openldap),
            login=login,
            mail_dir=mail_dir,
            owner=OWNER,
            ports=Ports(self.port, 0, self.pop3_port, 0),
            address="127.0.0.1",
            config_dir=self._short,
        )
        self._more: list[subprocess.Popen[bytes]] = []

    def _start(self) -> None:
        base = CACHE / "courier"
        self._short.mkdir(mode=0o755)
        (self._short / "authdaemon").mkdir()
        for file in files(self.settings):
            (self._short / file.name).write_bytes(file.content)
        libraries = self._patched(base)
        env = {
            "PATH": "/usr/bin:/bin",
            "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
            "GAM_CLIENT_ID": f"lab-{os.getpid()}-{self.port}",  # two must not share a file monitor
        }
        monitor = [str(next(base.glob("usr/lib*/**/gam_server"))), "--notimeout", env["GAM_CLIENT_ID"]]
        owner = process.mail_owner()
        self._more = [process.spawn(monitor, log=self.log_file, env=env, cwd=self.root, user=owner)]
        daemon = self.root / "lib" / "authdaemond"
        self._more.append(process.spawn([str(daemon)], log=self.log_file, env=env, cwd=self.root))
        socket = self._short / "authdaemon" / "socket"
        process.wait_ready(socket.exists, self._more[-1], self.log_file)
        courier = base / "usr/lib/courier/courier"
        self._more.append(self._listener("pop3d", base, env, courier / "courierpop3login", courier / "courierpop3d"))
        self._process = self._listener("imapd", base, env, courier / "imaplogin", base / "usr/bin/imapd")
        for port, running in ((self.pop3_port, self._more[-1]), (self.port, self._process)):
            process.wait_ready(lambda: process.greets(port), running, self.log_file)

    def _listener(
        self, name: str, base: Path, env: dict[str, str], login: Path, daemon: Path
    ) -> subprocess.Popen[bytes]:
        """As /usr/sbin/imapd and pop3d start it: with the settings of the rendered files."""
        here = self._short
        script = (
            f"set -a; . {here}/{name}; . {here}/{name}-ssl; IMAP_STARTTLS=$IMAPDSTARTTLS; AUTHMODULES=authdaemon; "
            f'exec {base}/usr/sbin/couriertcpd -address="$ADDRESS" -maxprocs="$MAXDAEMONS" -maxperip="$MAXPERIP" '
            f'$TCPDOPTS "$PORT" {login} {daemon} "$MAILDIRPATH"'
        )
        return process.spawn(["/bin/sh", "-c", script], log=self.log_file, env=env, cwd=self.root)

    def _patched(self, base: Path) -> list[Path]:
        """Copies that look into our directory, and where libraries are."""
        folder = self.root / "lib"
        folder.mkdir(exist_ok=True)
        place = f"{self._short}/".encode()
        for name in _PATCHED:
            content = (base / "usr" / name).read_bytes()
            for path in _COMPILED_IN:
                assert len(path) == len(place)
                content = content.replace(path, place)
            copy = folder / Path(name).name.removesuffix(".0.0")
            copy.write_bytes(content)
            copy.chmod(0o755)
        shutil.copy(folder / "libauthldap.so.0", folder / "libauthldap.so")
        return [
            folder,
            base / "usr/lib/courier-authlib",
            base / "usr/lib",
            *base.glob("usr/lib/*-linux-gnu"),
            *base.glob("lib/*-linux-gnu"),
        ]

    def halt(self) -> None:
        super().halt()
        for one in reversed(self._more):
            process.stop(one, grace=0.3)
        self._more.clear()
        shutil.rmtree(self._short, ignore_errors=True)

    def configure(self, **changes: object) -> None:
        """Other settings, from the next start on."""
        self.settings = replace(self.settings, **changes)  # type: ignore[arg-type]
