"""What one qmail host of ours is to be: frozen data, the only input of the renderer.

Renders and runs nothing. Invariant: two hosts with equal settings get the same files, byte for byte.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mailferry.errors import ConfigError
from mailferry.stack.postfix.settings import Endpoint

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_PLAIN = re.compile(r"/[A-Za-z0-9._/+@-]*")


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are on the host. `prefix`: qmail's own directory, which is compiled into it. `programs`: what the
    kit brings. `state`: people's homes, which follow the directory. `mail_dir`: mailboxes (UID/Maildir). `units`:
    systemd's directory."""

    prefix: Path = Path("/var/qmail")
    programs: Path = Path("/usr/local/lib/mailferry-qmail")
    state: Path = Path("/var/lib/mailferry/qmail")
    mail_dir: Path = Path("/srv/mail")
    units: Path = Path("/etc/systemd/system")

    def __post_init__(self) -> None:
        for path in (self.prefix, self.programs, self.state, self.mail_dir, self.units):
            if not _PLAIN.fullmatch(str(path)):
                raise ConfigError("a path of letters, digits and ._/+@- is wanted here", about=str(path))


@dataclass(frozen=True, slots=True)
class Settings:
    """One host.

    `domains`: those that both sides share, the main one first. `open_domain`, `exchange_domain`: the private routing
    domains. `exchange`: what takes mail for Exchange. `stores`: mailHost → the SMTP server of its host; `store`: the
    one that this host is. `relay`: who takes mail for the rest of the world; None: the DNS says. `listen`: ADDRESS:PORT
    of the listener for everybody, `listen_exchange` of the one that only `exchange_networks` may use. `own_networks`:
    whose mail is passed on to anywhere. `concurrency`: deliveries here and to others at once. `owner`: user (and group)
    that all mail belongs to. `probe_from`: LOCAL@DOMAIN, of the senders of probe messages. `stale_seconds`: age of the
    last comparison with the directory from which on nobody is refused as unknown.
    """

    hostname: str
    domains: tuple[str, ...]
    open_domain: str
    exchange_domain: str
    exchange: Endpoint
    stores: Mapping[str, Endpoint]
    store: str
    places: Places = field(default_factory=Places)
    owner: str = "vmail"
    relay: Endpoint | None = None
    listen: str = "0.0.0.0:25"
    listen_exchange: str = "0.0.0.0:2525"
    exchange_networks: tuple[str, ...] = ()
    own_networks: tuple[str, ...] = ("127.0.0.0/8",)
    queue_days: int = 14
    message_size: int = 150 << 20
    concurrency: tuple[int, int] = (20, 40)
    sessions: int = 100
    probe_from: str = ""
    stale_seconds: float = 900.0

    def __post_init__(self) -> None:
        if not self.domains:
            raise ConfigError(
                "it accepts mail for no domain", about=self.hostname, advice="name the domains, main first"
            )
        names = (*self.domains, self.open_domain, self.exchange_domain, *self.stores)
        if len(set(names)) != len(names):
            raise ConfigError(
                "domains, routing domains and stores have to differ from each other",
                about=", ".join(names),
                advice=f"for example open.{self.domains[0]} and exchange.{self.domains[0]}",
            )
        for name in (*names, self.hostname):
            if not _HOST.fullmatch(name):
                raise ConfigError("not a host or domain name", about=name)
        if self.store not in self.stores:
            raise ConfigError(f"the store {self.store} is none of the stores", about="stack.qmail.stores")
        if not re.fullmatch(r"[a-z_][a-z0-9_-]*", self.owner):
            raise ConfigError("the name of a user is wanted", about=self.owner)
        for network in (*self.exchange_networks, *self.own_networks):
            tcprule(network)
        for listener in (self.listen, self.listen_exchange):
            place(listener)

    @property
    def local_domains(self) -> tuple[str, ...]:
        """Those whose mail this host itself decides about: the shared ones, the open side's, and its own as a store."""
        return (*self.domains, self.open_domain, self.store)


def place(listener: str) -> tuple[str, int]:
    """(address, port) of PORT or ADDRESS:PORT. ConfigError: tcpserver would not take it."""
    address, _, port = listener.rpartition(":")
    try:
        return str(ipaddress.IPv4Address(address or "0.0.0.0")), int(port)
    except ValueError as error:
        advice = "tcpserver of Debian's ucspi-tcp knows IPv4 addresses alone"
        raise ConfigError("not PORT or ADDRESS:PORT", about=listener, advice=advice) from error


def tcprule(network: str) -> str:
    """A network as the address of a rule of tcprules(1): `10.1.`, or `10.16-31.`. ConfigError: it is none of IPv4."""
    try:
        found = ipaddress.IPv4Network(network)
    except ValueError as error:
        advice = "an address or network such as 10.1.0.0/16; tcpserver of Debian's ucspi-tcp knows IPv4 alone"
        raise ConfigError("not an IPv4 network", about=network, advice=advice) from error
    whole, rest = divmod(found.prefixlen, 8)
    octets = str(found.network_address).split(".")
    text = "".join(f"{one}." for one in octets[:whole])
    if rest:
        first = int(octets[whole])
        text += f"{first}-{first + (1 << (8 - rest)) - 1}" + ("." if whole < 3 else "")
    return text.removesuffix(".") if whole == 4 else text
