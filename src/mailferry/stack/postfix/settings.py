"""What one Postfix of ours is to be: frozen data, the only input of the renderer.

Renders and runs nothing. Invariant: two hosts with equal settings get the same files, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from mailferry.errors import ConfigError
from mailferry.secret import Secret
from mailferry.stack.words import OPENLDAP, Words


class Route(Enum):
    """mailferryRoute: where new mail for a recipient goes."""

    EXCHANGE = "exchange"
    LOCAL = "local"
    PARKED = "parked"


_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9a-fA-F:]+")
_PLAIN = re.compile(r"[^\s$,{}]+")
_LOOPBACK = ("127.", "[::1]:", "localhost:")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host (name or address) and a TCP port."""

    host: str
    port: int

    def __post_init__(self) -> None:
        if not _HOST.fullmatch(self.host) or not 0 < self.port < 65536:
            raise ConfigError("neither a host name nor an address with a port", about=f"{self.host}:{self.port}")


@dataclass(frozen=True, slots=True)
class Directory:
    """Where routes, addresses and groups are read: `urls` of the provider or its replicas, tried in turn.

    `bind`, `password`: cn=lookup, or an account of Active Directory. `words`: how it says things. `ca_file`: who
    vouches for the servers; None: the connection is not encrypted, for loopback and ldapi only.
    """

    urls: tuple[str, ...]
    suffix: str
    bind: str
    password: Secret
    words: Words = OPENLDAP
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """Where people hand in mail, logged in. `listen`: ADDRESS:PORT (or PORT) with STARTTLS, `listen_tls` with TLS from
    the first byte. `sasl`: where Dovecot is asked: a socket's path or HOST:PORT. `gates`: how many recipients may say
    who may send to them."""

    sasl: str
    listen: str = "587"
    listen_tls: str = "465"
    gates: int = 50


@dataclass(frozen=True, slots=True)
class Milter:
    """Who looks at mail from outside and from people: HOST:PORT of rspamd. `when_away`: accept or tempfail."""

    at: str
    when_away: str = "accept"


@dataclass(frozen=True, slots=True)
class Settings:
    """One host.

    `domains`: those that both sides share, the main one first. `open_domain`, `exchange_domain`: the private routing
    domains. `exchange`: the relay that takes mail for Exchange. `stores`: mailHost → LMTP server.
    `listen`: ADDRESS:PORT (or PORT) of the listener for everybody; `listen_exchange` of the one that only the networks
    `exchange_networks` may use. `own_networks`: whose mail is relayed anywhere.
    `queue_days`: how long mail waits at most; `expansion`: recipients that one message to a group may become.
    `config_dir`, `queue_dir`, `data_dir`: absolute. `log_file`: None: syslog. `dns`: False takes names from
    /etc/hosts alone, with no MX (the lab). `certificate` holds chain and key. `instances`: the configuration
    directories of further instances on the host (relay.py).
    """

    hostname: str
    domains: tuple[str, ...]
    open_domain: str
    exchange_domain: str
    exchange: Endpoint
    stores: Mapping[str, Endpoint]
    directory: Directory
    listen: str = "25"
    listen_exchange: str = "2525"
    exchange_networks: tuple[str, ...] = ()
    own_networks: tuple[str, ...] = ("127.0.0.0/8", "[::1]/128")
    queue_days: int = 14
    expansion: int = 50_000
    message_size: int = 150 << 20
    config_dir: Path = Path("/etc/postfix")
    queue_dir: Path = Path("/var/spool/postfix")
    data_dir: Path = Path("/var/lib/postfix")
    log_file: Path | None = None
    logrotate_dir: Path = Path("/etc/logrotate.d")
    certificate: Path | None = None
    dns: bool = True
    instances: tuple[Path, ...] = ()
    submission: Submission | None = None
    milter: Milter | None = None

    def __post_init__(self) -> None:
        if not self.domains:
            raise ConfigError(
                "it accepts mail for no domain", about=self.hostname, advice="name the domains, main first"
            )
        routing = (self.open_domain, self.exchange_domain)
        if len({*self.domains, *routing}) != len(self.domains) + 2:
            raise ConfigError(
                "the routing domains have to differ from each other and from the domains of the organisation",
                about=", ".join(routing),
                advice=f"for example open.{self.domains[0]} and exchange.{self.domains[0]}",
            )
        for name in (*self.domains, *routing, self.hostname, *self.stores):
            if not _HOST.fullmatch(name):
                raise ConfigError("not a host or domain name", about=name)
            if name in self.stores and name.lower() in {one.value for one in Route}:
                raise ConfigError("a store cannot be called like a route", about=name)
        places = (self.config_dir, self.queue_dir, self.data_dir, self.log_file, self.certificate, *self.instances)
        texts = (*self.exchange_networks, *self.own_networks, self.listen, self.listen_exchange)
        for text in (*map(str, filter(None, places)), *texts):
            if not _PLAIN.fullmatch(text):
                raise ConfigError("Postfix takes no value with blanks, commas, braces or $ here", about=text)
        if self.milter is not None and not _PLAIN.fullmatch(self.milter.at):
            raise ConfigError("no HOST:PORT", about=self.milter.at)
        if self.submission is not None:
            self._check(self.submission)
        for value in (
            *self.directory.urls,
            self.directory.suffix,
            self.directory.bind,
            self.directory.password.reveal(),
        ):
            if any(not one.isprintable() for one in value) or value != value.strip():
                raise ConfigError("a value for ldap: tables is one printable line", about=self.directory.bind)

    def _check(self, submission: Submission) -> None:
        for text in (submission.sasl, submission.listen, submission.listen_tls):
            if not _PLAIN.fullmatch(text):
                raise ConfigError("Postfix takes no value with blanks, commas, braces or $ here", about=text)
        local = all(one.startswith(_LOOPBACK) for one in (submission.listen, submission.listen_tls))
        if self.certificate is None and not local:
            raise ConfigError(
                "passwords would travel in clear where people hand in mail",
                about=self.hostname,
                advice="give stack.postfix.certificate",
            )
