"""`[coexist.groupware]` of `mailferry.toml`: what goes with a mailbox beside its messages.

Opens nothing.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field

from mailferry.config.fields import Reference, Table, Text


class Groupware(Table):
    """Where people's events, contacts, tasks and notes are read, and where they go. Without it, waves bring none."""

    source: Text = Field(
        description="Where they are read, without a user (docs/addresses.md), such as "
        "`ews://ex1.acme.example?admin=svc`, or a directory with exports: `ics:/srv/exports/{user}`."
    )
    source_password: Reference | None = Field(
        default=None, description="Where the password for it is. Default: `coexist.source_password`."
    )
    source_user: Text = Field(
        default="{mail}", description="Whom it knows a person as: of `{mail}`, `{uid}`, `{source_user}`."
    )
    target: Text = Field(
        description="The CalDAV and CardDAV server, without a user: `davs://dav.acme.example?admin=mailferry`."
    )
    target_password: Reference | None = Field(default=None, description="Where the password for it is.")
    target_user: Text = Field(
        default="{uid}", description="Whom it knows a person as: of `{mail}`, `{uid}`, `{target_user}`."
    )
    deletions: Literal["mirror", "keep"] = Field(
        default="mirror",
        description="What becomes, before the switch, of what was brought and has been deleted on Exchange since: it "
        "is deleted, too, or kept and listed.",
    )
    attachments_since: date | None = Field(
        default=None, description="Attachments of events that ended before this day are left out, and listed."
    )
    share: float = Field(
        default=1.0, ge=0, le=1, description="How much of it is read again and compared by content to verify it."
    )
    returned: Path = Field(
        default=Path("/var/lib/mailferry/returned"),
        description="Where a rollback writes what people made or changed on the open side, as .ics and .vcf files.",
    )
