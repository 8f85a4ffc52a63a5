"""What one Dovecot of ours is to be: frozen data, the only input of the renderer.

Renders and runs nothing. Invariant: two hosts with equal settings get the same files, byte for byte.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from mailferry.errors import ConfigError
from mailferry.secret import Secret
from mailferry.stack.postfix.settings import Directory, Endpoint

MASTER = "mailferry"
"""The user who may open every mailbox of a store: `alice*mailferry`, or SASL PLAIN with alice as authzid."""
EXCHANGE = "exchange"
"""What a proxy's table calls the other side; stores are called by their mailHost."""
FIELDS = {"uid": "<uid>", "mail": "mail", "principal": "<principal>"}
"""What Exchange's name for a person can be made of → the attribute, or the directory's word for it."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PLAIN = re.compile(r"[^\s$#{}\"'\\%]+")


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports; 0: not offered."""

    imap: int = 143
    imaps: int = 993
    pop3: int = 110
    pop3s: int = 995
    sieve: int = 4190
    lmtp: int = 24


@dataclass(frozen=True, slots=True)
class Rspamd:
    """Who learns from what people move into and out of Junk: the controller, and the name of its header."""

    controller: Endpoint
    folder: str = "Junk"


@dataclass(frozen=True, slots=True)
class Store:
    """A host with mailboxes, below `mail_dir`/UID/Maildir.

    `name`: its mailHost. `owner`: user and group of all mail (names or numbers). `master`: the password of MASTER;
    None: there is no such user. `master_networks`: from where alone it may log in. `trusted`: proxies, which tell
    where their clients come from. `relay`: takes what Sieve sends. `defer_over_quota`: mail for a full mailbox waits
    at Postfix (4xx) instead of going back to its sender (5xx). `metrics`: where figures can be read (OpenMetrics).
    `before`: a Sieve script for all mail, which runs before a person's own and may change headers; "": none.
    """

    name: str
    relay: Endpoint
    mail_dir: Path = Path("/srv/mail")
    owner: tuple[str, str] = ("vmail", "vmail")
    master: Secret | None = None
    master_networks: tuple[str, ...] = ("127.0.0.0/8", "::1")
    trusted: tuple[str, ...] = ()
    defer_over_quota: bool = True
    rspamd: Rspamd | None = None
    metrics: Endpoint | None = None
    before: str = ""


@dataclass(frozen=True, slots=True)
class Backend:
    """A server that log-ins are passed on to. `host`: the name in its certificate; `address`: where it is, if the name
    does not say so. A port of 0: that protocol is not there. `tls`: False is for loopback alone."""

    host: str
    address: str = ""
    imap: int = 993
    pop3: int = 995
    sieve: int = 0
    tls: bool = True


@dataclass(frozen=True, slots=True)
class Proxy:
    """Passes a log-in on to where the person's mailbox is. `places`: mailHost (or EXCHANGE) → server.

    `exchange_user`: Exchange's name for a person, of `{uid}`, `{mail}`, `{principal}`. `ca_file`: who vouches for the
    servers; None: the system's authorities.
    """

    places: Mapping[str, Backend]
    exchange_user: str = "{principal}"
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """One instance: a store, a proxy, or a store that passes on everybody whose mailbox is elsewhere.

    `addresses`: where it listens, `*` and `::`: everywhere. `certificate`, `key`: without them there is no TLS, for
    loopback alone. `sessions`: connections of clients at once. `sasl`: where Postfix asks who may hand in mail: a
    socket on this host, or a port. `config_dir`, `base_dir`, `state_dir`: absolute. `log_file`: None: syslog.
    """

    hostname: str
    directory: Directory
    store: Store | None = None
    proxy: Proxy | None = None
    ports: Ports = Ports()
    addresses: tuple[str, ...] = ("*", "::")
    certificate: Path | None = None
    key: Path | None = None
    sessions: int = 5000
    sasl: Path | Endpoint | None = None
    config_dir: Path = Path("/etc/dovecot")
    base_dir: Path = Path("/run/dovecot")
    state_dir: Path = Path("/var/lib/dovecot")
    log_file: Path | None = None

    def __post_init__(self) -> None:
        if self.store is None and self.proxy is None:
            raise ConfigError("it is neither a store nor a proxy", about=self.hostname)
        if (self.certificate is None) != (self.key is None):
            raise ConfigError("certificate and key belong together", about=self.hostname)
        socket = self.sasl if isinstance(self.sasl, Path) else None
        paths = (self.certificate, self.key, socket, self.config_dir, self.base_dir, self.state_dir, self.log_file)
        texts = [self.hostname, *self.addresses, *(str(path) for path in paths if path)]
        if self.store is not None:
            texts += [str(self.store.mail_dir)]
            for name in (self.store.name, *self.store.owner):
                if not _NAME.fullmatch(name):
                    raise ConfigError("a name here is of letters, digits, dots and hyphens", about=name)
            if self.store.rspamd is not None:
                texts.append(self.store.rspamd.folder)
            _check_networks(*self.store.master_networks, *self.store.trusted)
        if self.proxy is not None:
            texts += [*self.proxy.places, *(one.host for one in self.proxy.places.values())]
            texts += [str(self.proxy.ca_file)] if self.proxy.ca_file else []
            _check_proxy(self.proxy)
        for text in texts:
            if not _PLAIN.fullmatch(text):
                raise ConfigError("Dovecot takes no blanks, quotes, braces, $, # or % here", about=text)
        for port in fields(self.ports):
            if not 0 <= getattr(self.ports, port.name) < 65536:
                raise ConfigError("not a port", about=port.name)
        directory = self.directory
        for value in (*directory.urls, directory.suffix, directory.bind, directory.password.reveal()):
            if any(not one.isprintable() or one in '"\\' for one in value) or value != value.strip():
                raise ConfigError(
                    "a value for the directory is one printable line without quotes or backslashes",
                    about=directory.bind,
                )


def written(server: Endpoint) -> str:
    """HOST:PORT."""
    return f"[{server.host}]:{server.port}" if ":" in server.host else f"{server.host}:{server.port}"


def _check_networks(*networks: str) -> None:
    for network in networks:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError as error:
            raise ConfigError("not an address or a network", about=network, advice="such as 10.1.0.0/16") from error


def _check_proxy(proxy: Proxy) -> None:
    unknown = set(re.findall(r"{(.*?)}", proxy.exchange_user)) - FIELDS.keys()
    rest = re.sub(r"{.*?}", "", proxy.exchange_user)
    if unknown or (rest and not re.fullmatch(r"[A-Za-z0-9@._\\-]+", rest)):
        raise ConfigError(
            "Exchange's names cannot be made of this",
            about=proxy.exchange_user,
            advice=f"use {', '.join(f'{{{name}}}' for name in FIELDS)}",
        )
    for name, place in proxy.places.items():
        if ":" in name or name != name.lower():
            raise ConfigError("a mailHost is a host name in small letters", about=name)
        if place.address:
            _check_networks(place.address)
