"""`[stack.…]` of `mailferry.toml`: what the servers of the open platform are to be, as pydantic models.

Invariant: passwords stand in it by reference only. Every field has a description, of which docs/settings.md is made.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from mailferry.config.fields import Domain, Listener, Network, Reference, Table, Text, Url
from mailferry.config.fields import Server as Server
from mailferry.config.qmail import Courier, Qmail


def _address(text: str) -> str:
    return str(ipaddress.ip_address(text))


SocketOrServer = Annotated[str, StringConstraints(pattern=r"^(/\S+|\S+:[0-9]{1,5})$")]

Address = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f.:]+$"), AfterValidator(_address)]


class Controllers(Table):
    """The domain whose controllers know the passwords of people who have not moved."""

    urls: tuple[Url, ...] = Field(
        min_length=1, description="`ldaps://DC` or `ldap://DC` (StartTLS is then asked for), tried in turn."
    )
    ca_file: Path = Field(description="The CA certificates that vouch for them; slapd reads this file on its host.")


class OpenLdap(Table):
    """The provider, and what its replicas share with it. Paths are those of the host that slapd runs on."""

    provider: Url = Field(description="The provider's URL, as replicas reach it.")
    admin_password: Reference = Field(description="Where the password of `cn=admin` is, who may do everything.")
    replicator_password: Reference = Field(description="Where that of `cn=replicator` is, as whom replicas read.")
    lookup_password: Reference = Field(description="Where that of `cn=lookup` is, as whom Postfix and Dovecot read.")
    sync_password: Reference = Field(description="Where that of `cn=mailferry` is, as whom `directory sync` writes.")
    readers: Literal["bound", "anonymous"] = Field(
        default="bound", description="Who may read the address book: whoever has logged in, or anybody."
    )
    certificate: Path | None = Field(default=None, description="The server's certificate with its chain.")
    key: Path | None = Field(default=None, description="Its key; the group `openldap` has to be able to read it.")
    ca_file: Path | None = Field(default=None, description="The CA certificates that vouch for provider and replicas.")
    controllers: Controllers | None = Field(
        default=None, description="See `[stack.openldap.controllers]`. Without it, passwords are all kept here."
    )
    data_dir: Path = Field(default=Path("/var/lib/ldap/mailferry"), description="Where the database is.")
    max_size_gb: int = Field(default=16, ge=1, description="What the database may grow to; the disk need not be free.")
    rows: int = Field(default=100, ge=1, description="Entries that a search of the address book gives if none is said.")
    most_rows: int = Field(default=1000, ge=1, description="Entries that it gives at most.")
    failures: int = Field(
        default=10, ge=0, description="Wrong passwords within ten minutes that lock an account for a minute; 0: never."
    )

    @model_validator(mode="after")
    def _certificate_is_whole(self) -> Self:
        if len({self.certificate is None, self.key is None, self.ca_file is None}) > 1:
            raise ValueError("certificate, key and ca_file belong together")
        return self


class Postfix(Table):
    """The Postfix that takes the organisation's mail and passes it to both sides, and how to reach its queue."""

    hostname: Domain = Field(description="The name of the host, which it greets with.")
    exchange: Server = Field(description="HOST:PORT of the server that takes mail for mailboxes on Exchange.")
    exchange_domain: Domain = Field(
        description="Exchange's private routing domain, such as `exchange.acme.example`. The open side's is "
        "`directory.exchange.routing_domain`."
    )
    exchange_networks: tuple[Network, ...] = Field(
        min_length=1, description="From where Exchange's servers hand in mail: addresses or networks (`10.1.0.0/16`)."
    )
    stores: dict[Domain, Server] = Field(
        min_length=1, description="For each value of `mailHost`: HOST:PORT of the store's LMTP server."
    )
    listen: Listener = Field(default="25", description="PORT or ADDRESS:PORT of the listener for everybody.")
    listen_exchange: Listener = Field(default="2525", description="The one for mail from Exchange.")
    submission: Listener = Field(
        default="587", description="The listener for people, with STARTTLS. Only where `sasl` is known."
    )
    submissions: Listener = Field(default="465", description="The one with TLS from the first byte.")
    sasl: SocketOrServer | None = Field(
        default=None,
        description="Where Dovecot is asked who may hand in mail: a socket's path, or HOST:PORT. Default: "
        "`stack.dovecot.sasl`.",
    )
    gates: int = Field(
        default=50,
        ge=0,
        le=500,
        description="How many recipients may say which people may send to them (`mailferry restrict gates`).",
    )
    own_networks: tuple[Network, ...] = Field(
        default=("127.0.0.0/8", "[::1]/128"), description="Whose mail it passes on to anywhere."
    )
    directory: tuple[Url, ...] = Field(
        default=(),
        description="The OpenLDAP servers that it reads, tried in turn; replicas are best. Default: the provider.",
    )
    queue_days: int = Field(
        default=14, ge=2, le=100, description="Days that mail waits at most. Longer than anybody is ever parked."
    )
    expansion: int = Field(
        default=50_000, ge=1000, description="Recipients that one message may become: more than the largest group has."
    )
    message_mb: int = Field(default=150, ge=1, description="Size of a message at most, in MiB.")
    certificate: Path | None = Field(default=None, description="Its certificate, chain and key, in one file.")
    log: Path | None = Field(
        default=None, description="A log of its own, rotated by logrotate: `/var/log/postfix.log`. Default: syslog."
    )
    fresh_hours: float = Field(
        default=24.0,
        ge=0,
        description="Hours after a change of somebody's route in which mail that Exchange sends back is put off (451) "
        "instead of refused (550).",
    )
    postqueue: Text = Field(
        default="postqueue", description="The command that reaches the queue, such as `ssh mx1 postqueue`."
    )
    postsuper: Text = Field(
        default="postsuper",
        description="The command that queues a message anew, as root: `ssh root@mx1 postsuper`. For parked mail that "
        "has to be forwarded when it is released.",
    )
    reload: Text | None = Field(
        default=None,
        description="The command that makes Postfix forget routes, such as `ssh mx1 postfix reload`. Without it a "
        "release waits 31 seconds, until it has forgotten by itself.",
    )


class DovecotPorts(Table):
    """TCP ports of a Dovecot; 0: not offered."""

    imap: int = Field(default=143, ge=0, le=65535, description="IMAP, with STARTTLS.")
    imaps: int = Field(default=993, ge=0, le=65535, description="IMAP over TLS.")
    pop3: int = Field(default=110, ge=0, le=65535, description="POP3, with STARTTLS.")
    pop3s: int = Field(default=995, ge=0, le=65535, description="POP3 over TLS.")
    sieve: int = Field(default=4190, ge=0, le=65535, description="ManageSieve.")
    lmtp: int = Field(
        default=24,
        ge=0,
        le=65535,
        description="LMTP, for Postfix alone: a firewall has to keep everybody else away, since LMTP asks for nothing.",
    )


class Dovecot(Table):
    """The stores, and the proxy before both sides. Which stores there are says `stack.postfix.stores`."""

    hostname: Domain = Field(description="The name that clients use; the certificate is for it.")
    certificate: Path | None = Field(default=None, description="The certificate with its chain, on each host.")
    key: Path | None = Field(default=None, description="Its key.")
    directory: tuple[Url, ...] = Field(
        default=(),
        description="The OpenLDAP servers that it reads, tried in turn. The provider has to be the first, since only "
        "there a log-in is captured (docs/decisions/0005-passwords.md). Default: the provider.",
    )
    listen: tuple[Text, ...] = Field(default=("*", "::"), min_length=1, description="The addresses it listens at.")
    ports: DovecotPorts = Field(default=DovecotPorts(), description="See `[stack.dovecot.ports]`.")
    sessions: int = Field(
        default=5000, ge=100, le=15_000, description="Connections of clients at once; each person has several."
    )
    mail_dir: Path = Field(default=Path("/srv/mail"), description="Where mailboxes are on a store: UID/Maildir.")
    owner: Text = Field(
        default="vmail", description="The user and group that all mail belongs to; install.sh makes them."
    )
    master_password: Reference | None = Field(
        default=None,
        description="Where the password of `mailferry` is, who may open every mailbox of a store, to fill it. Without "
        "it there is no such user.",
    )
    master_networks: tuple[Network, ...] = Field(
        default=("127.0.0.0/8", "::1"), description="From where alone `mailferry` may log in: where Mailferry runs."
    )
    proxy_networks: tuple[Network, ...] = Field(
        default=(), description="Where proxies are: a store believes them where a client comes from."
    )
    relay: Server | None = Field(
        default=None,
        description="HOST:PORT of the Postfix that takes what Sieve sends (notices of absence, forwarding); the stores "
        "have to be among its `own_networks`. Default: port 25 of `stack.postfix.hostname`.",
    )
    sasl: SocketOrServer | None = Field(
        default=None,
        description="Where Postfix asks who may hand in mail: a socket on the same host, such as "
        "`/var/spool/postfix/private/auth`, or ADDRESS:PORT (passwords travel there in clear). Who is on Exchange may, "
        "too.",
    )
    over_quota: Literal["defer", "refuse"] = Field(
        default="defer",
        description="Mail for a full mailbox waits at Postfix (`defer`, 452), or goes back to its sender (`refuse`, "
        "552).",
    )
    rspamd: Server | None = Field(
        default=None,
        description="HOST:PORT of rspamd's controller, which then learns from what people move into and out of "
        "`junk_folder`; what it marks goes there.",
    )
    junk_folder: Text = Field(default="Junk", description="The folder of unwanted mail.")
    rules: Path | None = Field(
        default=None,
        description="A Sieve script that runs before everybody's own filter and may change headers, such as the "
        "transport.sieve of `mailferry rules transport`; read here and rendered for each store.",
    )
    metrics: Server | None = Field(default=None, description="ADDRESS:PORT where a store shows figures (OpenMetrics).")
    log: Path | None = Field(default=None, description="The log, rotated by logrotate. Default: syslog.")
    exchange_imap: Server | None = Field(
        default=None, description="HOST:PORT where a proxy finds Exchange's IMAP over TLS. Without it: no Exchange."
    )
    exchange_pop3: Server | None = Field(default=None, description="The same for POP3 over TLS, at the same host.")
    exchange_user: Text = Field(
        default="{principal}",
        description="Whom Exchange knows a person as: of `{principal}` (userPrincipalName), `{mail}` and `{uid}`.",
    )
    proxy_ca_file: Path | None = Field(
        default=None,
        description="The CA certificates that vouch for stores and Exchange, on the proxy. Default: the system's.",
    )
    stores_pass_on: bool = Field(
        default=False,
        description="Whether stores also pass on log-ins of people whose mailbox is elsewhere, as a proxy does: one "
        "host for everything.",
    )

    @model_validator(mode="after")
    def _certificate_is_whole(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together")
        return self


class Relay(Table):
    """A Postfix instance of its own beside the one between both sides, which can hold the mail of whole domains."""

    listen: Listener = Field(description="ADDRESS:PORT of its listener; not the one of `[stack.postfix]`.")
    to: Server = Field(
        default="127.0.0.1:25",
        description="HOST:PORT of the Postfix between both sides, which passes on what is let go. It has to trust this "
        "host (`own_networks`).",
    )
    hostname: Domain | None = Field(
        default=None, description="The name of that address in the DNS. Default: `stack.postfix.hostname`."
    )
    domains: tuple[Domain, ...] = Field(
        default=(), description="The domains whose mail it takes. Default: all of `directory.mapping.domains`."
    )
    per_second: float = Field(default=20.0, gt=0, description="Messages that `relay drain` lets go in a second.")
    min_free_mb: int = Field(
        default=2048,
        ge=1,
        description="Free MiB on its disk below which it takes no more mail (452): twice `message_mb` or more.",
    )
    alarm_free_mb: int = Field(default=10_240, ge=1, description="Free MiB below which `relay status` raises an alarm.")
    alarm_hours: float = Field(default=12.0, gt=0, description="Hours that a message may wait before it does.")
    config_dir: Path = Field(default=Path("/etc/postfix-relay"), description="Where its configuration is.")
    queue_dir: Path = Field(default=Path("/var/spool/postfix-relay"), description="Where held mail is.")
    data_dir: Path = Field(default=Path("/var/lib/postfix-relay"), description="Postfix's own data.")


class Rspamd(Table):
    """Looks at mail from outside and from people for Postfix, while the sender still waits."""

    milter: Listener = Field(default="127.0.0.1:11332", description="ADDRESS:PORT where Postfix asks it.")
    controller: Listener = Field(default="127.0.0.1:11334", description="ADDRESS:PORT of its controller.")
    when_away: Literal["accept", "tempfail"] = Field(
        default="accept",
        description="While it does not answer: mail is taken unseen (`accept`), or senders have to come again "
        "(`tempfail`, 451).",
    )
    reject_score: float = Field(default=15.0, gt=0, description="From this score on mail is refused.")
    mark_score: float = Field(
        default=6.0, gt=0, description="From this score on mail gets `X-Spam: Yes`, and stores put it into Junk."
    )
    clamav: SocketOrServer | None = Field(
        default=None, description="Where clamd answers: HOST:PORT, or a socket's path. Without it: no virus scanner."
    )


class Radicale(Table):
    """The CalDAV and CardDAV server: people's calendars, tasks, notes and contacts, and the directory as an address
    book. Needs `[stack.openldap]`."""

    hostname: Domain = Field(description="The name that clients use; the certificate is for it.")
    admin_password: Reference = Field(
        description="Where the password of `mailferry-dav` is, who may write everybody's collections, to fill them. "
        "`stack up openldap` makes that account in a new directory."
    )
    listen: tuple[Server, ...] = Field(
        default=("0.0.0.0:5232",), min_length=1, description="ADDRESS:PORT where it listens; an IPv6 one in brackets."
    )
    certificate: Path | None = Field(
        default=None, description="The certificate with its chain. Without it: plain HTTP, for a web server before it."
    )
    key: Path | None = Field(default=None, description="Its key; `mailferry-radicale` has to be able to read it.")
    directory: tuple[Url, ...] = Field(
        default=(),
        description="The OpenLDAP servers that it asks, tried in turn; the provider first, where log-ins are captured. "
        "Default: the provider.",
    )
    data_dir: Path = Field(default=Path("/var/lib/mailferry-radicale"), description="Where collections are.")
    item_mb: int = Field(default=40, ge=1, description="Size of one item with what is attached to it, in MiB.")
    python: Path | None = Field(
        default=None, description="A Python that has Radicale 3.5 or later. Default: install.sh makes one in /opt."
    )

    @model_validator(mode="after")
    def _certificate_is_whole(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together")
        return self


class Dns(Table):
    """What `mailferry stack dns` has to know beside the other sections. Everything may be left out."""

    old_mx: tuple[Domain, ...] = Field(default=(), description="The hosts that the MX records name today, in order.")
    external: dict[Domain, tuple[Address, ...]] = Field(
        default={}, description="Hosts and their addresses as the world sees them."
    )
    internal: dict[Domain, tuple[Address, ...]] = Field(
        default={}, description="Hosts and their addresses inside (split horizon)."
    )
    dkim_selector: Domain = Field(default="mail", description="The selector of the DKIM key.")


class StackSettings(Table):
    """The servers of the open platform."""

    flavour: Literal["postfix", "qmail"] = Field(
        default="postfix",
        description="What takes the organisation's mail and keeps its routes: `postfix` (with Dovecot), or `qmail` "
        "(with Courier).",
    )
    openldap: OpenLdap | None = Field(default=None, description="See `[stack.openldap]`.")
    postfix: Postfix | None = Field(default=None, description="See `[stack.postfix]`.")
    relay: Relay | None = Field(default=None, description="See `[stack.relay]`.")
    rspamd: Rspamd | None = Field(default=None, description="See `[stack.rspamd]`.")
    dns: Dns = Field(default=Dns(), description="See `[stack.dns]`.")
    dovecot: Dovecot | None = Field(default=None, description="See `[stack.dovecot]`.")
    radicale: Radicale | None = Field(default=None, description="See `[stack.radicale]`.")
    qmail: Qmail | None = Field(default=None, description="See `[stack.qmail]`.")
    courier: Courier | None = Field(default=None, description="See `[stack.courier]`.")

    @model_validator(mode="after")
    def _one_flavour(self) -> Self:
        other = "postfix" if self.flavour == "qmail" else "qmail"
        if getattr(self, other) is not None:
            raise ValueError(f"stack.flavour is {self.flavour}, so [stack.{other}] has no place")
        return self
