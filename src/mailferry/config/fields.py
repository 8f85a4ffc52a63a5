"""What the tables of `mailferry.toml` share: a table that takes no unknown key, and kinds of text. Reads nothing."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Domain = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$", to_lower=True)]
Server = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}$")]
Listener = Annotated[str, StringConstraints(pattern=r"^(([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):)?[0-9]{1,5}$")]
Network = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f.:\[\]/]+$")]
Url = Annotated[str, StringConstraints(pattern=r"^ldaps?://\S+$")]
Reference = Annotated[str, StringConstraints(pattern=r"^(env|file|command|keyring):.+")]


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
