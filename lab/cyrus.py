"""A private Cyrus IMAP on loopback, from Debian's binaries unpacked under `.lab/cyrus` (see lab.install).

Plain text only (no TLS). Passwords are checked by this object, which answers as saslauthd does.
Invariant: nothing outside `root` is written; a user's INBOX is made at the first login.
"""

from __future__ import annotations

import os
import pwd
import socketserver
import struct
import threading
from collections.abc import Mapping
from pathlib import Path

from lab import process
from lab.install import CACHE
from lab.process import PASSWORD
from lab.server import Server

ADMIN = "cyrusadmin"


class Cyrus(Server):
    """One Cyrus IMAP. Any user name logs in with PASSWORD, but those in `passwords`, who have their own.

    `unixhierarchysep` chooses the separator `/` (names may then hold dots) instead of `.`; `altnamespace` puts folders
    beside INBOX instead of below it. `settings` is added to imapd.conf as it is. ADMIN is the administrator.
    """

    name = "cyrus"
    grace = 1

    def __init__(
        self,
        root: Path | str | None = None,
        *,
        passwords: Mapping[str, str] | None = None,
        unixhierarchysep: bool = False,
        altnamespace: bool = False,
        settings: str = "",
    ) -> None:
        super().__init__(root)
        self.passwords = dict(passwords or {})
        self.unixhierarchysep = unixhierarchysep
        self.altnamespace = altnamespace
        self.settings = settings
        self.port = 0
        self.owner = process.named_owner()
        self._lookups: socketserver.ThreadingUnixStreamServer | None = None

    def _start(self) -> None:
        base = CACHE / "cyrus"
        if not (base / ".complete").exists():
            raise process.LabError("Cyrus is not unpacked: run `python -m lab.install`")
        self._answer_lookups()
        self.port = self.port or process.free_port()
        self._configure(base)
        libraries = [*base.glob("usr/lib/*-linux-gnu"), *base.glob("lib/*-linux-gnu")]
        plugins = [folder / "sasl2" for folder in base.glob("usr/lib/*-linux-gnu")]
        self._process = process.spawn(
            [
                str(base / "usr/lib/cyrus/bin/master"),
                *("-D", "-C", str(self.root / "imapd.conf"), "-M", str(self.root / "cyrus.conf")),
                *("-p", str(self.root / "master.pid")),
            ],
            log=self.log_file,
            env={
                "PATH": f"{base}/usr/lib/cyrus/bin:/usr/bin:/bin",
                "LD_LIBRARY_PATH": ":".join(str(folder) for folder in libraries),
                "SASL_PATH": ":".join(str(folder) for folder in plugins),
            },
            cwd=self.root,
            user=self.owner,
        )
        process.wait_ready(lambda: process.greets(self.port), self._process, self.log_file)

    def halt(self) -> None:
        super().halt()
        if self._lookups is not None:
            self._lookups.shutdown()
            self._lookups.server_close()
            self._lookups = None

    def _configure(self, base: Path) -> None:
        for name in ("config", "config/proc", "config/lock", "config/socket", "config/log", "spool", "sieve"):
            (self.root / name).mkdir(exist_ok=True)
            os.chown(self.root / name, *self.owner)
        os.chown(self.root, *self.owner)
        (self.root / "imapd.conf").write_text(
            f"""\
configdirectory: {self.root}/config
defaultpartition: default
partition-default: {self.root}/spool
sievedir: {self.root}/sieve
cyrus_user: {pwd.getpwuid(self.owner[0]).pw_name}
admins: {ADMIN}
allowplaintext: yes
sasl_mech_list: PLAIN LOGIN
sasl_pwcheck_method: saslauthd
sasl_saslauthd_path: {self.root}/saslauthd.socket
autocreate_quota: 0
autocreate_post: 0
altnamespace: {"yes" if self.altnamespace else "no"}
unixhierarchysep: {"yes" if self.unixhierarchysep else "no"}
specialusealways: yes
hashimapspool: yes
maxlogins_per_host: 0
maxlogins_per_user: 0
maxmessagesize: 0
failedloginpause: 0
{self.settings}
"""
        )
        bin_, conf = base / "usr/lib/cyrus/bin", self.root / "imapd.conf"
        (self.root / "cyrus.conf").write_text(
            f"""\
START {{
  recover cmd="{bin_}/ctl_cyrusdb -C {conf} -r"
}}
SERVICES {{
  imap cmd="{bin_}/imapd -C {conf} -U 30" listen="127.0.0.1:{self.port}" prefork=1 maxchild=1000
}}
EVENTS {{
}}
"""
        )

    def _answer_lookups(self) -> None:
        passwords = self.passwords

        class Lookup(socketserver.StreamRequestHandler):
            """One request as to saslauthd: user, password, service, realm, each behind a 16-bit length."""

            def handle(self) -> None:
                user, password, _service, _realm = (self._counted() for _ in range(4))
                known = password.decode() == passwords.get(user.decode(), PASSWORD)
                answer = b"OK" if known else b"NO"
                self.wfile.write(struct.pack("!H", len(answer)) + answer)

            def _counted(self) -> bytes:
                (length,) = struct.unpack("!H", self.rfile.read(2))
                return self.rfile.read(length)

        path = self.root / "saslauthd.socket"
        path.unlink(missing_ok=True)
        self._lookups = socketserver.ThreadingUnixStreamServer(str(path), Lookup)
        path.chmod(0o777)
        threading.Thread(target=self._lookups.serve_forever, args=(0.02,), daemon=True, name="lab-cyrus").start()
