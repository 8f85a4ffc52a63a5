"""What one OpenLDAP server of ours is to be: frozen data, the only input of the renderer.

Renders and runs nothing. Invariant: two servers with equal settings get the same configuration, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from mailferry.errors import ConfigError
from mailferry.secret import Secret

PEOPLE, SHARED, RESOURCES = "people", "shared", "resources"
CONTACTS, GROUPS = "contacts", "groups"
BRANCHES = (PEOPLE, SHARED, RESOURCES, CONTACTS, GROUPS)
"""The `ou`s below the suffix that hold recipients; together they are the address book."""
SERVICES, POLICIES = "services", "policies"
DAV_ACCOUNT = "mailferry-dav"
"""The uid of the account that fills people's calendars; Radicale knows accounts by uid alone."""

ADDRESS_BOOK = (
    *("objectClass", "cn", "sn", "givenName", "initials", "displayName", "mail", "telephoneNumber", "mobile"),
    *("facsimileTelephoneNumber", "homePhone", "pager", "title", "departmentNumber", "ou", "o", "street", "l", "st"),
    *("postalCode", "postalAddress", "c", "co", "roomNumber", "physicalDeliveryOfficeName", "employeeType"),
    *("description", "labeledURI", "jpegPhoto", "manager", "secretary", "owner", "member", "preferredLanguage"),
)
"""What people who look each other up may see and search."""


class Role(Enum):
    PROVIDER = "provider"
    REPLICA = "replica"


class MailSchema(Enum):
    """`directory.schema`: which classic object class people carry beside ours."""

    INET = "inet"
    QMAIL = "qmail"


class Readers(Enum):
    """Who may read the address book: anybody who connects, or whoever has logged in."""

    ANONYMOUS = "anonymous"
    BOUND = "bound"


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of the server's own certificate, and of the authority that it trusts. slapd has to be able to read them."""

    certificate: Path
    key: Path
    authority: Path


@dataclass(frozen=True, slots=True)
class BindThrough:
    """The directory that knows the passwords of people who have none here yet (slapo-remoteauth).

    `domains`: for each name that mailferryBindDomain may hold, the URLs of its controllers, tried in turn. `default`:
    the one for entries without that attribute. `authority`: the CA of their certificates; None: the connection is not
    encrypted, for loopback only. `start_tls` is for ldap:// URLs; ldaps:// ones need none.
    """

    domains: Mapping[str, tuple[str, ...]]
    default: str
    authority: Path | None
    start_tls: bool = True


@dataclass(frozen=True, slots=True)
class Settings:
    """One server.

    `suffix`: its root DN. `config_dir`, `data_dir`, `run_dir`: cn=config, mdb, and pid file and socket. `modules`:
    Debian's module directory. `schemas`: where OpenLDAP's own schema files (core.ldif ...) are.
    `admin`, `writer`, `replicator`, `lookup`: passwords of cn=admin (everything), cn=mailferry (writes people),
    cn=replicator (reads all), cn=lookup (Postfix and Dovecot: reads all but passwords). `dav`: of cn=mailferry-dav,
    which may only log in at Radicale; None: there is none.
    `max_size`: bytes that the database may grow to. `durable`: each write waits for the disk; without it, a
    crash of the machine can cost the database (the lab).
    `require_tls`: passwords are taken only over TLS or the local socket. `rows`: how many entries an address book
    search gives by default, and at most. `managers`: (uid, gid) that may change cn=config over the local socket.
    `server_id`: of a provider, 1..4095. `replica_id`: of a replica, 1..999, and `provider` its provider's URL.
    """

    suffix: str
    config_dir: Path
    data_dir: Path
    run_dir: Path
    admin: Secret
    writer: Secret
    replicator: Secret
    lookup: Secret
    dav: Secret | None = None
    role: Role = Role.PROVIDER
    mail_schema: MailSchema = MailSchema.INET
    readers: Readers = Readers.BOUND
    tls: Tls | None = None
    require_tls: bool = True
    bind_through: BindThrough | None = None
    server_id: int = 1
    replica_id: int = 1
    provider: str = ""
    max_size: int = 16 << 30
    durable: bool = True
    rows: tuple[int, int] = (100, 1000)
    failures: int = 10
    managers: tuple[tuple[int, int], ...] = ((0, 0),)
    modules: Path = Path("/usr/lib/ldap")
    schemas: Path = Path("/etc/ldap/schema")
    address_book: tuple[str, ...] = ADDRESS_BOOK

    def __post_init__(self) -> None:
        if not self.suffix.lower().startswith("dc="):
            raise ConfigError("not a suffix of dc= parts", about=self.suffix, advice="for example dc=acme,dc=example")
        if self.role is Role.REPLICA and not self.provider:
            raise ConfigError("a replica needs the URL of its provider", about=self.suffix)
        for path in (self.config_dir, self.data_dir, self.run_dir):
            if any(one.isspace() or one in '"\\' for one in str(path)):
                raise ConfigError("slapd takes no path with blanks, quotes or backslashes", about=str(path))
        if any(one in '"\\' or not one.isprintable() for one in self.replicator.reveal()):
            raise ConfigError(
                "slapd's configuration cannot hold a password with quotes or backslashes",
                about=self.replicator_dn,
                advice="choose another; only replicas use it",
            )

    @property
    def admin_dn(self) -> str:
        return f"cn=admin,{self.suffix}"

    @property
    def writer_dn(self) -> str:
        return self.service_dn("mailferry")

    @property
    def replicator_dn(self) -> str:
        return self.service_dn("replicator")

    @property
    def lookup_dn(self) -> str:
        return self.service_dn("lookup")

    @property
    def dav_dn(self) -> str:
        return self.service_dn(DAV_ACCOUNT)

    @property
    def nobody_dn(self) -> str:
        """The member that a group without members has; an entry without mail."""
        return self.service_dn("nobody")

    def branch(self, name: str) -> str:
        """DN of a branch: one of BRANCHES, SERVICES or POLICIES."""
        return f"ou={name},{self.suffix}"

    def service_dn(self, name: str) -> str:
        return f"cn={name},{self.branch(SERVICES)}"

    @property
    def ldapi(self) -> str:
        """URL of the local socket."""
        return f"ldapi://{str(self.run_dir / 'ldapi').replace('%', '%25').replace('/', '%2F')}"
