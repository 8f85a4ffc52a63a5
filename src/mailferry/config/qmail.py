"""`[stack.qmail]` and `[stack.courier]` of `mailferry.toml`, as pydantic models.

Invariant: passwords stand in it by reference only. Every field has a description, of which docs/settings.md is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from mailferry.config.fields import Domain, Listener, Network, Server, Table, Text, Url


class Qmail(Table):
    """The qmail that takes the organisation's mail (docs/stack-qmail.md). Only where `stack.flavour` is `qmail`."""

    hostname: Domain = Field(description="The name of the host, which it greets with.")
    prefix: Path = Field(default=Path("/var/qmail"), description="Where qmail is; it is compiled into its programs.")
    exchange: Server = Field(description="HOST:PORT of the server that takes mail for mailboxes on Exchange.")
    exchange_domain: Domain = Field(
        description="Exchange's private routing domain, such as `exchange.acme.example`: what is for somebody there is "
        "forwarded to LOCALPART@ it, so Exchange has to know everybody under this address, too."
    )
    exchange_networks: tuple[Network, ...] = Field(
        min_length=1, description="From where Exchange's servers hand in mail: IPv4 addresses or networks."
    )
    stores: dict[Domain, Server] = Field(
        min_length=1, description="For each value of `mailHost`: HOST:PORT of the SMTP server of that host's qmail."
    )
    relay: Server | None = Field(
        default=None, description="HOST:PORT that takes mail for the rest of the world. Default: as the DNS says."
    )
    listen: Listener = Field(default="25", description="PORT or ADDRESS:PORT of the listener for everybody.")
    listen_exchange: Listener = Field(default="2525", description="The one for mail from Exchange.")
    own_networks: tuple[Network, ...] = Field(
        default=("127.0.0.0/8",), description="Whose mail it passes on to anywhere: IPv4 addresses or networks."
    )
    directory: tuple[Url, ...] = Field(
        default=(),
        description="The OpenLDAP servers that `mailferry stack apply` reads, tried in turn. A replica that is behind "
        "would write an old route. Default: the provider.",
    )
    mail_dir: Path = Field(default=Path("/srv/mail"), description="Where mailboxes are on a store: UID/Maildir.")
    state_dir: Path = Field(
        default=Path("/var/lib/mailferry/qmail"), description="Where everybody's `.qmail` is, as the directory says."
    )
    owner: Text = Field(default="vmail", description="The user and group of all mail; install.sh makes it.")
    queue_days: int = Field(
        default=14, ge=2, le=100, description="Days that mail waits at most. Longer than anybody is ever parked."
    )
    message_mb: int = Field(default=150, ge=1, le=2047, description="Size of a message at most, in MiB.")
    deliveries: int = Field(default=20, ge=1, le=120, description="Deliveries on this host at once.")
    handovers: int = Field(default=40, ge=1, le=120, description="Messages that are handed to other hosts at once.")
    sessions: int = Field(default=100, ge=1, description="Clients of each listener at once.")
    fresh_hours: float = Field(
        default=24.0,
        ge=0,
        description="Hours after a change of somebody's route in which mail that Exchange sends back is put off (451) "
        "instead of refused (550).",
    )
    stale_minutes: float = Field(
        default=15.0,
        gt=0,
        description="Minutes after the last `mailferry stack apply` from which on nobody is refused as unknown (451 "
        "instead of 550): somebody may be new since.",
    )
    apply: Text = Field(
        default="mailferry stack apply",
        description="The command that writes routes on that host, as root: `ssh root@mx1 mailferry stack apply`.",
    )
    queue: Text = Field(
        default="/usr/local/lib/mailferry-qmail/queue",
        description="The command that reaches its queue, as root: `ssh root@mx1 /usr/local/lib/mailferry-qmail/queue`.",
    )


class Courier(Table):
    """Courier IMAP and POP3 over the Maildirs of a store, whose people are OpenLDAP's."""

    hostname: Domain = Field(description="The name that clients use; the certificate is for it.")
    login: Text = Field(
        default="uid", pattern=r"^(uid|mail)$", description="What people log in with: their `uid`, or their `mail`."
    )
    certificate: Path | None = Field(
        default=None, description="Its certificate with chain and key, in one file. Without it there is no TLS."
    )
    directory: tuple[Url, ...] = Field(
        default=(), description="The OpenLDAP servers that it asks, tried in turn. Default: the provider."
    )
    listen: Text = Field(default="0", description="The address it listens at; `0`: all.")
    imap: int = Field(default=143, ge=0, le=65535, description="TCP port of IMAP, with STARTTLS; 0: not offered.")
    imaps: int = Field(default=993, ge=0, le=65535, description="Of IMAP over TLS.")
    pop3: int = Field(default=110, ge=0, le=65535, description="Of POP3, with STARTTLS.")
    pop3s: int = Field(default=995, ge=0, le=65535, description="Of POP3 over TLS.")
    sessions: int = Field(default=1000, ge=10, description="Connections of clients at once, for each protocol.")

    @model_validator(mode="after")
    def _something_is_offered(self) -> Self:
        if not any((self.imap, self.imaps, self.pop3, self.pop3s)):
            raise ValueError("it offers nothing: all ports are 0")
        return self
