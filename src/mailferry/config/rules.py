"""`[coexist.rules]` of `mailferry.toml`: where people's rules are read, and what a switch does without them.

Opens nothing. Invariant: without this table nothing is read or uploaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from mailferry.config.fields import Reference, Table, Text


class RulesSettings(Table):
    """Rules, out-of-office and junk lists, which go with a mailbox (docs/rules-upload.md)."""

    source: Literal["exports", "ews", "ldap"] = Field(
        default="exports",
        description="`exports`: files that Exchange's PowerShell, Graph or EWS gave; `ews`: Exchange itself, anew with "
        "each pass; `ldap`: the attributes of `[directory.source]` (mailForwardingAddress, mailReplyText, deliveryMode "
        "and their like).",
    )
    ews: Text | None = Field(
        default=None,
        description="Exchange's EWS address without a user, such as `ews://ex1.acme.example?admin=svc`. Default: "
        "`coexist.source`, where that is one.",
    )
    ews_password: Reference | None = Field(
        default=None, description="Where the password for it is. Default: `coexist.source_password`."
    )
    folder: Path | None = Field(
        default=None,
        description="The folder of the exports. A file that is called as somebody's address is theirs "
        "(`ann@acme.example.json`, `ann@acme.example.away.json`).",
    )
    owners: Path | None = Field(
        default=None, description="A CSV file `owner,addresses`: whom an export means that calls people otherwise."
    )
    when_away: Literal["wait", "go-on"] = Field(
        default="wait",
        description="A store whose ManageSieve does not answer at the switch: `wait` for it (up to `longest_park`, "
        "then back to Exchange), or `go-on` without rules, which `wave status` tells, each `wave sweep` retries.",
    )

    @model_validator(mode="after")
    def _folder_of_exports(self) -> Self:
        if self.source == "exports" and self.folder is None:
            raise ValueError("exports are in a folder")
        return self
