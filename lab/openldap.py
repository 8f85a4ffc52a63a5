"""A private OpenLDAP on loopback, provider or replica, from our own renderer (src/mailferry/stack/openldap).

Invariant: nothing outside `root` is written, and no slapd of the system is touched.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import ldap

from lab import process
from lab.server import Server
from mailferry.secret import Secret
from mailferry.stack.openldap import render, run
from mailferry.stack.openldap.settings import BindThrough, MailSchema, Readers, Role, Settings, Tls

SUFFIX = "dc=acme,dc=example"
ADMIN_PASSWORD, WRITER_PASSWORD = "ferry-admin", "ferry-writer"
DAV_PASSWORD = "ferry-dav"
REPLICATOR_PASSWORD, LOOKUP_PASSWORD = "ferry #{0} replicätor", "ferry-lookup"


class OpenLdap(Server):
    """One slapd. `admin_dn` with ADMIN_PASSWORD may do everything; `settings` names the other accounts.

    `provider`: the one that this is a replica of. `entries`: LDIF for the bulk load of the first start. Plain LDAP on
    `url` and the socket `ldapi`; both can StartTLS, which `ca_file` vouches for.
    """

    name = "openldap"
    grace = 10

    def __init__(
        self,
        root: Path | str | None = None,
        *,
        provider: OpenLdap | None = None,
        mail_schema: MailSchema = MailSchema.INET,
        readers: Readers = Readers.BOUND,
        bind_through: BindThrough | None = None,
        require_tls: bool = False,
        durable: bool = False,
        entries: Iterable[bytes] = (),
    ) -> None:
        super().__init__(root)
        self.owner = process.mail_owner()
        self.entries = entries
        self.port = 0
        certificate, key = process.make_certificate(self.root / "tls")
        os.chown(key, *self.owner)
        self.ca_file = certificate
        self.settings = Settings(
            suffix=SUFFIX,
            config_dir=self.root / "slapd.d",
            data_dir=self.root / "data",
            run_dir=self.root / "run",
            admin=Secret(ADMIN_PASSWORD),
            writer=Secret(WRITER_PASSWORD),
            replicator=Secret(REPLICATOR_PASSWORD),
            lookup=Secret(LOOKUP_PASSWORD),
            dav=Secret(DAV_PASSWORD),
            role=Role.REPLICA if provider else Role.PROVIDER,
            provider=provider.url if provider else "",
            mail_schema=mail_schema,
            readers=readers,
            bind_through=bind_through,
            require_tls=require_tls,
            durable=durable,
            tls=Tls(certificate=certificate, key=key, authority=provider.ca_file if provider else certificate),
            max_size=1 << 30,
            managers=((os.geteuid(), os.getegid()), self.owner),
        )

    @property
    def suffix(self) -> str:
        return self.settings.suffix

    @property
    def admin_dn(self) -> str:
        return self.settings.admin_dn

    @property
    def url(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def ldapi(self) -> str:
        return self.settings.ldapi

    def _start(self) -> None:
        self.configure()
        if self.settings.role is Role.PROVIDER and run.place(self.settings.config_dir).is_empty:
            self.load(itertools.chain([render.first_entries(self.settings)], self.entries))
        self.port = self.port or process.free_port()
        self._process = process.spawn(
            [run.program("slapd"), "-d", "0", "-h", f"{self.url} {self.ldapi}", "-F", str(self.settings.config_dir)],
            log=self.log_file,
            env=run.ENVIRONMENT,
            cwd=self.root,
            user=self.owner,
        )
        process.wait_ready(self._answers, self._process, self.log_file)

    def configure(self, **changes: object) -> None:
        """Write the configuration, with some settings changed; a running slapd does not notice."""
        self.settings = replace(self.settings, **changes)  # type: ignore[arg-type]
        run.configure(self.settings, self.owner)

    def load(self, entries: Iterable[bytes]) -> None:
        """Add LDIF in bulk; slapd has to be stopped."""
        run.load(self.settings.config_dir, entries)

    def connect(self, dn: str | None = None, password: str = ADMIN_PASSWORD) -> ldap.ldapobject.LDAPObject:
        """A connection of python-ldap, bound as `dn`, the administrator by default; "" for nobody."""
        connection = ldap.initialize(self.url)
        connection.simple_bind_s(self.admin_dn if dn is None else dn, "" if dn == "" else password)
        return connection

    def add(self, entry: tuple[str, Mapping[str, list[bytes]]]) -> str:
        """Add an entry (as lab.ldap_people makes them) as the administrator; its DN."""
        self.connect().add_s(entry[0], list(entry[1].items()))
        return entry[0]

    def _answers(self) -> bool:
        probe = ldap.initialize(self.url)
        try:
            probe.search_s("", ldap.SCOPE_BASE, attrlist=["namingContexts"])
        except ldap.SERVER_DOWN:
            return False
        return True
