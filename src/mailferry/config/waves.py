"""`[coexist.events]` and `[coexist.letters]` of `mailferry.toml`: who is told of a wave, and how. Opens nothing.

Invariant: both are off until they are set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from mailferry.config.fields import Reference, Table, Text
from mailferry.config.stack import Server

Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s@]+$")]


class Events(Table):
    """Where each change of somebody's move is told, as JSON, by `mailferry wave events`."""

    url: Url | None = Field(default=None, description="A webhook: each event is posted there.")
    token: Reference | None = Field(
        default=None, description="Where the token is that is sent with it (`Authorization: Bearer …`)."
    )
    ca_file: Path | None = Field(default=None, description="The CA certificates to trust instead of the system's.")
    command: Text | None = Field(
        default=None, description="A command that is run for each event instead, with the event on standard input."
    )
    seconds: float = Field(default=10.0, gt=0, le=300, description="How long an event may take to be accepted.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.url is None) == (self.command is None):
            raise ValueError("either url or command")
        if self.token is not None and not (self.url or "").startswith("https://"):
            raise ValueError("a token goes over https only")
        return self


class Letters(Table):
    """Letters to the people who are moved, sent by `mailferry wave letters`."""

    smtp: Server = Field(description="HOST:PORT of the server that takes them: our Postfix, from this host.")
    sender: Text = Field(description="The sender's address, such as `helpdesk@acme.example`.")
    name: str = Field(default="", description="The sender's name.")
    language: Text = Field(default="en", description="The language of who has none in the directory: `en`, `de`, …")
    templates: Path | None = Field(
        default=None,
        description="A directory with templates of your own: `before.LANGUAGE.txt`, `after.LANGUAGE.txt`. Default: "
        "Mailferry's, in English, German and French.",
    )
    per_minute: int = Field(default=300, ge=1, description="Letters a minute at most.")
