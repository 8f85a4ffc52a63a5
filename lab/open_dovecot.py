"""A private Dovecot on loopback from our own renderer (src/mailferry/stack/dovecot): a store, or a proxy.

Its people are those of an OpenLDAP (lab/openldap.py) or of the directory given, so a log-in needs a route to this store
and a password there; MASTER_PASSWORD is that of the user `mailferry`, who may open every mailbox. Needs root.
Invariant: nothing outside `root` is written; no Dovecot of the system is touched.
"""

from __future__ import annotations

import grp
import os
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab import process
from lab.dovecot import Dovecot
from lab.openldap import OpenLdap
from lab.postfix import directory_of
from lab.server import Server
from mailferry.secret import Secret
from mailferry.stack.dovecot.render import files
from mailferry.stack.dovecot.settings import EXCHANGE, Backend, Ports, Proxy, Settings, Store
from mailferry.stack.postfix.settings import Directory, Endpoint

MASTER, MASTER_PASSWORD = "mailferry", "ferry-master"
_QUICK = """
# Only in the lab: no waiting after wrong passwords.
auth_failure_delay = 0
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
"""


class OpenDovecot(Server):
    """One instance: the store that `mailHost` calls `store`. `changes`: of what is particular to a store.

    As `lab.dovecot.Dovecot` it has `port` (IMAP), `tls_port`, `pop3_port`, `lmtp_port`, `ca_file`, `maildir`.
    """

    name = "open-dovecot"
    grace = 0.3

    def __init__(
        self,
        openldap: OpenLdap | Directory,
        store: str = "store1",
        root: Path | str | None = None,
        **changes: Any,
    ) -> None:
        if os.geteuid() != 0:
            raise process.LabError("a rendered Dovecot needs root")
        super().__init__(root)
        self.config_file = self.root / "etc" / "dovecot.conf"
        self.ca_file = self.root / "tls" / "cert.pem"
        self.mail_dir = self.root / "mail"
        uid, gid = process.mail_owner()
        names = ("imap", "imaps", "pop3", "pop3s", "sieve", "lmtp")
        self.settings = Settings(
            hostname="localhost",
            directory=openldap if isinstance(openldap, Directory) else directory_of(openldap),
            store=replace(
                Store(
                    store,
                    Endpoint("127.0.0.1", 9),
                    self.mail_dir,
                    (str(uid), str(gid)),
                    master=Secret(MASTER_PASSWORD),
                ),
                **changes,
            ),
            ports=Ports(**{name: process.free_port() for name in names}),
            addresses=("127.0.0.1",),
            certificate=self.ca_file,
            key=self.root / "tls" / "key.pem",
            config_dir=self.root / "etc",
            base_dir=self.root / "run",
            state_dir=self.root / "state",
            log_file=self.log_file,
        )

    @property
    def port(self) -> int:
        return self.settings.ports.imap

    @property
    def tls_port(self) -> int:
        return self.settings.ports.imaps

    @property
    def pop3_port(self) -> int:
        return self.settings.ports.pop3

    @property
    def sieve_port(self) -> int:
        return self.settings.ports.sieve

    @property
    def lmtp_port(self) -> int:
        return self.settings.ports.lmtp

    def _start(self) -> None:
        if not self.ca_file.exists():
            process.make_certificate(self.root / "tls")
        self.mail_dir.mkdir(exist_ok=True)
        os.chown(self.mail_dir, *process.mail_owner())
        self.configure()
        self._process = process.spawn(
            [process.binary("dovecot", "/usr/sbin/dovecot"), "-F", "-c", str(self.config_file)],
            log=self.root / "dovecot.out",
            env={"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin"), "HOME": str(self.root)},
        )
        process.wait_ready(lambda: process.greets(self.port), self._process, self.root / "dovecot.out")

    def change_store(self, **changes: Any) -> None:
        """Change what is particular to a store: in force from the next start on."""
        assert self.settings.store is not None
        self.settings = replace(self.settings, store=replace(self.settings.store, **changes))

    def configure(self) -> None:
        """Write the configuration; a running Dovecot wants a restart."""
        group = grp.getgrnam("dovecot").gr_gid
        for file in files(self.settings):
            assert file.place is not None
            file.place.parent.mkdir(parents=True, exist_ok=True)
            quick = _QUICK.encode() if file.place == self.config_file else b""
            file.place.write_bytes(file.content + quick)
            file.place.chmod(file.mode)
            os.chown(file.place, 0, group)

    def maildir(self, user: str) -> Path:
        """The root of that user's Maildir (it need not exist); `user`: a uid, or an address with the uid in it."""
        return self.mail_dir / user.partition("@")[0] / "Maildir"

    def doveadm(self, *args: str, check: bool = True) -> str:
        """Run doveadm on this instance and return its standard output."""
        command = [process.binary("doveadm"), "-c", str(self.config_file), *args]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if check and done.returncode:
            raise process.LabError(f"doveadm {' '.join(args)}: {done.stderr.strip()}{self.log()[-2000:]}")
        return done.stdout


def open_proxy(
    openldap: OpenLdap | Directory, stores: Mapping[str, OpenDovecot], exchange: Dovecot, root: Path | str | None = None
) -> OpenDovecot:
    """A proxy before these running stores and this Exchange, all over TLS."""
    made = OpenDovecot(openldap, root=root)
    authorities = made.root / "authorities.pem"
    own = (exchange.ca_file, *(one.ca_file for one in stores.values()))
    authorities.write_bytes(b"".join(file.read_bytes() for file in own))
    places = {EXCHANGE: Backend("localhost", "127.0.0.1", exchange.tls_port, 0)}
    for name, one in stores.items():
        ports = one.settings.ports
        places[name] = Backend("localhost", "127.0.0.1", ports.imaps, ports.pop3s, ports.sieve)
    made.settings = replace(
        made.settings,
        store=None,
        proxy=Proxy(places, exchange_user="{mail}", ca_file=authorities),
        ports=replace(made.settings.ports, lmtp=0),
    )
    return made
