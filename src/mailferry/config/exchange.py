"""`[coexist.exchange]` of `mailferry.toml`: the directory behind Exchange, where waves change external addresses.

Opens nothing. Invariant: the password stands in it by reference only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from mailferry.config.fields import Reference, Table, Text


class ExchangeAccess(Table):
    """Active Directory as waves use it. What is left out is that of `[directory.source]`, whose account mostly may only
    read: name one here that may write `targetAddress`."""

    url: Text | None = Field(
        default=None, description="`ldaps://DC` or `ldap://DC` (StartTLS): the controller that is written to."
    )
    bind: str | None = Field(default=None, description="Who to log in as: a DN, `user@domain` or `DOMAIN\\user`.")
    password: Reference | None = Field(default=None, description="Where its password is.")
    ca_file: Path | None = Field(default=None, description="The CA certificates to trust instead of the system's.")
    tls: Literal["verify", "insecure", "none"] | None = Field(default=None, description="As for the source.")
    controllers: tuple[Text, ...] = Field(
        default=(),
        description="URLs of all domain controllers that Exchange's servers ask. Nobody counts as parked before each "
        "of them shows the external address.",
    )
