"""A private Courier IMAP on loopback, from Debian's binaries unpacked under `.lab/courier` (see lab.install).

Plain text only (no TLS). Courier looks its users up in an authentication daemon at a compiled-in system path; the
instance uses a copy of that one library with a path of its own, and answers the lookups itself.
Invariant: nothing outside `root` is written, but for that socket in a short temporary directory.
A user's Maildir is made at the first login.
"""

from __future__ import annotations

import os
import re
import shutil
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from lab import process
from lab.install import CACHE
from lab.process import PASSWORD
from lab.server import Server

CAPABILITY = "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE THREAD=ORDEREDSUBJECT THREAD=REFERENCES SORT QUOTA IDLE"
"""Debian's default in /etc/courier/imapd; imapd itself adds ACL, ACL2=UNION and its own extensions."""

_COMPILED_IN = re.compile(rb"/(?:var/)?run/courier/autt?hdaemon/socket\0")


class Courier(Server):
    """One Courier IMAP. Any user name logs in with PASSWORD, but those in `passwords`, who have their own.

    `quota` maps users to a Maildir++ quota such as `1000000S` (bytes) or `100C` (messages).
    """

    name = "courier"

    def __init__(
        self,
        root: Path | str | None = None,
        *,
        passwords: Mapping[str, str] | None = None,
        quota: Mapping[str, str] | None = None,
        capability: str = CAPABILITY,
        owner: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(root)
        self.passwords = dict(passwords or {})
        self.quota = dict(quota or {})
        self.capability = capability
        self.owner = owner or process.named_owner()
        self.port = 0
        self._monitor: subprocess.Popen[bytes] | None = None
        self._short = Path("/")  # set while running
        self._lookups: socketserver.ThreadingUnixStreamServer | None = None

    def _start(self) -> None:
        base = CACHE / "courier"
        if not (base / ".complete").exists():
            raise process.LabError("Courier is not unpacked: run `python -m lab.install`")
        (self.root / "mail").mkdir(exist_ok=True)
        self._patch_library(base)
        self._answer_lookups()
        self.port = self.port or process.free_port()
        monitor = f"lab-{os.getpid()}-{self.port}"  # two servers must not share one: it ends with either
        libraries = [
            self.root / "lib",
            base / "usr/lib",
            *base.glob("usr/lib/*-linux-gnu"),
            *base.glob("lib/*-linux-gnu"),
        ]
        env = {
            "PATH": "/usr/bin:/bin",
            "LD_LIBRARY_PATH": ":".join(str(folder) for folder in libraries),
            "IMAP_CAPABILITY": self.capability,
            "IMAP_CAPABILITY_TLS": self.capability,
            "IMAP_KEYWORDS": "1",
            "IMAP_ACL": "1",
            "IMAP_IDLE_TIMEOUT": "60",
            "IMAP_MAILBOX_SANITY_CHECK": "1",
            "IMAP_UMASK": "022",
            "IMAP_USELOCKS": "1",
            "IMAP_TRASHFOLDERNAME": "Trash",
            "IMAP_EMPTYTRASH": "",  # Debian's default deletes what is older than seven days from Trash at login
            "IMAP_TLS_REQUIRED": "0",
            "AUTHMODULES": "authdaemon",
            "TCPLOCALHOST": "localhost",
            "GAM_CLIENT_ID": monitor,
        }
        # Courier's locks wait on a file monitor, and for 1.2 seconds at each lock when there is none.
        self._monitor = process.spawn(
            [str(next(base.glob("usr/lib*/**/gam_server"))), "--notimeout", monitor],
            log=self.log_file,
            env=env,
            cwd=self.root,
            user=self.owner,
        )
        self._process = process.spawn(
            [
                str(base / "usr/sbin/couriertcpd"),
                *("-address=127.0.0.1", "-maxprocs=1000", "-maxperip=1000", "-nodnslookup", "-noidentlookup"),
                *(str(self.port), str(base / "usr/lib/courier/courier/imaplogin")),
                *(str(base / "usr/bin/imapd"), "Maildir"),
            ],
            log=self.log_file,
            env=env,
            cwd=self.root,
        )
        process.wait_ready(lambda: process.greets(self.port), self._process, self.log_file)

    def halt(self) -> None:
        super().halt()
        if self._monitor is not None:
            process.stop(self._monitor, grace=0.3)
            self._monitor = None
        if self._lookups is not None:
            self._lookups.shutdown()
            self._lookups.server_close()
            self._lookups = None
            shutil.rmtree(self._short)

    def maildir(self, user: str) -> Path:
        """The root of that user's Maildir (it need not exist)."""
        return self.root / "mail" / user / "Maildir"

    def lookup(self, user: str, password: str) -> dict[str, str] | None:
        """What the authentication daemon answers: the account, made if need be, or None for a wrong password."""
        if "/" in user or user.startswith(".") or password != self.passwords.get(user, PASSWORD):
            return None
        home = self.root / "mail" / user
        if not (home / "Maildir" / "tmp").is_dir():
            for folder in (home, home / "Maildir", *(home / "Maildir" / part for part in ("cur", "new", "tmp"))):
                folder.mkdir(exist_ok=True, mode=0o700)
                os.chown(folder, *self.owner)
        account = {
            "UID": str(self.owner[0]),
            "GID": str(self.owner[1]),
            "HOME": str(home),
            "ADDRESS": user,
            "MAILDIR": str(home / "Maildir"),
        }
        if user in self.quota:
            account["QUOTA"] = self.quota[user]
        return account

    def _patch_library(self, base: Path) -> None:
        # The path must not be longer than the one compiled in, 30 bytes, whatever the length of root.
        self._short = Path(tempfile.mkdtemp(prefix="courier-", dir="/tmp"))
        self._short.chmod(0o755)
        folder = self.root / "lib"
        folder.mkdir(exist_ok=True)
        original = next((base / "usr/lib").rglob("libcourierauth.so.0.0.0")).read_bytes()

        def own(match: re.Match[bytes]) -> bytes:
            new = os.fsencode(self._short / "s").ljust(31, b"\0")
            # Where the compiler copies by two overlapping loads of 16 bytes, the 16th byte stands there twice.
            return new[:16] + new[15:] if b"autth" in match[0] else new.ljust(len(match[0]), b"\0")

        patched, count = _COMPILED_IN.subn(own, original)
        if count != 1:
            raise process.LabError("this build of libcourierauth holds no known path of the authentication daemon")
        (folder / "libcourierauth.so.0").write_bytes(patched)

    def _answer_lookups(self) -> None:
        courier = self

        class Lookup(socketserver.StreamRequestHandler):
            """One request of Courier's authdaemon protocol: `AUTH length`, then service, type, user, password."""

            def handle(self) -> None:
                while (line := self.rfile.readline()).startswith(b"TCPREMOTEIP="):
                    continue
                words = line.split()
                if len(words) != 2 or words[0] != b"AUTH":
                    self.wfile.write(b"FAIL\n")
                    return
                fields = self.rfile.read(int(words[1])).decode().split("\n")
                account = courier.lookup(fields[2], fields[3]) if fields[1:2] == ["login"] else None
                if account is None:
                    self.wfile.write(b"FAIL\n")
                else:
                    self.wfile.write("".join(f"{key}={value}\n" for key, value in account.items()).encode() + b".\n")

        path = self._short / "s"
        self._lookups = socketserver.ThreadingUnixStreamServer(str(path), Lookup)
        path.chmod(0o777)
        threading.Thread(target=self._lookups.serve_forever, args=(0.02,), daemon=True, name="lab-courier").start()
