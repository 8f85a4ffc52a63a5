"""A private rspamd on loopback, with the files of our own renderer (src/mailferry/stack/rspamd) and Debian's rules.

Asks no name server: its questions go to a port that refuses at once. Needs root.
Invariant: nothing outside `root` is written, and no rspamd of the system is touched.
"""

from __future__ import annotations

import os
import pwd
import socket

from lab import process
from lab.server import Server
from mailferry.stack.rspamd import Settings, files


class Rspamd(Server):
    """One instance. `port`: where Postfix asks it (milter)."""

    name = "rspamd"
    grace = 3.0

    def __init__(self) -> None:
        super().__init__(None)
        self.port = process.free_port()
        self.settings = Settings(
            milter=f"127.0.0.1:{self.port}",
            controller=f"127.0.0.1:{process.free_port()}",
            reject=15.0,
            mark=6.0,
            own_networks=("192.0.2.0/24",),
            config_dir=self.root / "etc",
        )

    def _start(self) -> None:
        account = pwd.getpwnam("_rspamd")
        (self.root / "etc" / "local.d").mkdir(parents=True, exist_ok=True)
        for file in files(self.settings):
            assert file.place is not None
            file.place.write_bytes(file.content)
        options = self.root / "etc/local.d/options.inc"
        refused = f'["127.0.0.1:{process.free_port()}:1"]'
        quick = f"dns {{\n  nameserver = {refused};\n  timeout = 0.1s;\n  retransmits = 1;\n}}\n"
        options.write_text(options.read_text() + quick + f'control_socket = "{self.root}/db/control mode=0600";\n')
        for folder in ("db", "run", "log"):
            (self.root / folder).mkdir(exist_ok=True)
            os.chown(self.root / folder, account.pw_uid, account.pw_gid)
        places = {"LOCAL_CONFDIR": "etc", "DBDIR": "db", "RUNDIR": "run", "LOGDIR": "log"}
        variables = [f"--var={name}={self.root / folder}" for name, folder in places.items()]
        self._process = process.spawn(
            [process.binary("rspamd"), "-f", "-c", "/etc/rspamd/rspamd.conf", *variables],
            log=self.log_file,
            user=(account.pw_uid, account.pw_gid),
        )
        process.wait_ready(self._answers, self._process, self.log_file, seconds=60)

    def log(self) -> str:
        written = self.root / "log" / "rspamd.log"
        return super().log() + (written.read_text(errors="replace") if written.exists() else "")

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True
