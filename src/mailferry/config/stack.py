"""`[stack.…]` of `mailferry.toml`: what the servers of the open platform are to be, as pydantic models.

Invariant: passwords stand in it by reference only. Every field has a description, of which docs/settings.md is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Reference = Annotated[str, StringConstraints(pattern=r"^(env|file|command|keyring):.+")]
Url = Annotated[str, StringConstraints(pattern=r"^ldaps?://\S+$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Controllers(_Table):
    """The domain whose controllers know the passwords of people who have not moved."""

    urls: tuple[Url, ...] = Field(
        min_length=1, description="`ldaps://DC` or `ldap://DC` (StartTLS is then asked for), tried in turn."
    )
    ca_file: Path = Field(description="The CA certificates that vouch for them; slapd reads this file on its host.")


class OpenLdap(_Table):
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


class StackSettings(_Table):
    """The servers of the open platform."""

    openldap: OpenLdap | None = Field(default=None, description="See `[stack.openldap]`.")
