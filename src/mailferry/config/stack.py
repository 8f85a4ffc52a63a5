"""`[stack.…]` of `mailferry.toml`: what the servers of the open platform are to be, as pydantic models.

Invariant: passwords stand in it by reference only. Every field has a description, of which docs/settings.md is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from mailferry.config.fields import Domain, Reference, Table, Text

Server = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}$")]
Listener = Annotated[str, StringConstraints(pattern=r"^(([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):)?[0-9]{1,5}$")]
Network = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f.:\[\]/]+$")]
Url = Annotated[str, StringConstraints(pattern=r"^ldaps?://\S+$")]


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


class StackSettings(Table):
    """The servers of the open platform."""

    openldap: OpenLdap | None = Field(default=None, description="See `[stack.openldap]`.")
    postfix: Postfix | None = Field(default=None, description="See `[stack.postfix]`.")
