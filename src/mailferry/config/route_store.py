"""`[coexist.ad]` and `[coexist.second]` of `mailferry.toml`: routes in directories that are not ours. Opens nothing.

Invariant: without `write` nothing is ever written there; passwords stand in it by reference only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from mailferry.config.fields import Reference, Table, Text

Attribute = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9-]*$")]
Perhaps = Annotated[str, StringConstraints(pattern=r"^([A-Za-z][A-Za-z0-9-]*)?$")]


class RoutesInAd(Table):
    """Active Directory as the only directory (docs/route-store.md): which of its attributes are Mailferry's. The
    defaults are those of the schema extension that `mailferry directory ad-schema` gives; without it, name spare ones
    (`extensionAttribute10`) that nobody else uses. It is written to with the account of `[coexist.exchange]`."""

    write: bool = Field(
        default=False, description="Whether Mailferry may write these attributes. Without it nobody can be moved."
    )
    route: Attribute = Field(default="mailferryRoute", description="Where new mail goes: `local` or `parked`.")
    store: Attribute = Field(default="mailferryMailHost", description="Which store, where it is `local`.")
    fresh: Attribute = Field(
        default="mailferryRouteFreshUntil", description="Until when a changed route is fresh (docs/stack-postfix.md)."
    )
    outside: Attribute = Field(
        default="mailferrySendOutside", description="`FALSE`: may not send outside; of a group: none of its members."
    )
    gate: Perhaps = Field(
        default="mailferryGate",
        description='The number of the gate that checks who may send to somebody. `""`: there is none, and nobody '
        "checks which people may send to whom; mail from outside is kept from them all the same.",
    )
    accept: Attribute = Field(
        default="mailferryAcceptUid", description="With gates: the accounts that may send to somebody; many values."
    )
    reject: Attribute = Field(default="mailferryRejectUid", description="With gates: those that may not; many values.")
    send_as: Perhaps = Field(
        default="mailferrySendAs",
        description="The accounts that may send as somebody, beside themselves (`mailferry sharing`); many values. "
        '`""`: nobody else may.',
    )


class Second(Table):
    """The old system's own LDAP server, where that says which server a person's mail is on: the switch sets the
    attribute there, too, and a way back gives back what was there (docs/route-store.md)."""

    url: Text = Field(description="`ldaps://HOST` or `ldap://HOST` (StartTLS) of the server that is written to.")
    base: Text = Field(description="Below which entry people stand.")
    bind: Text = Field(description="The DN to log in as; it has to be allowed to write `attribute`.")
    password: Reference = Field(description="Where its password is.")
    attribute: Attribute = Field(default="mailHost", description="What names the server that somebody's mail is on.")
    match: Attribute = Field(
        default="entryUUID",
        description="What finds a person's entry: `entryUUID` by the id that was read (`directory.source.kind` is then "
        "`ldap`, of the same server), or an attribute with their address, such as `mail`.",
    )
    values: dict[str, Text] = Field(
        default={},
        description="For each store: what `attribute` is to be for who is on it. Default: the store's own name.",
    )
    write: bool = Field(default=False, description="Whether Mailferry may write that attribute there.")
    ca_file: Path | None = Field(default=None, description="The CA certificates to trust instead of the system's.")
    tls: Literal["verify", "insecure", "none"] = Field(default="verify", description="As for the source.")
