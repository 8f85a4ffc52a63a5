"""`[trace]` of `mailferry.toml`: where `mailferry trace` looks. Opens nothing."""

from __future__ import annotations

from pydantic import Field

from mailferry.config.fields import Table, Text


class Trace(Table):
    """Where `mailferry trace` looks for messages, beside queues, ledger and stores."""

    logs: tuple[Text, ...] = Field(
        default=("/var/log/mail.log*",),
        description="The logs of every Postfix and Dovecot. What begins with `/` is a file or a pattern of files, "
        "compressed ones too; all else is a command that prints some: `ssh mx1 zcat -f /var/log/mail.log*`.",
    )
    hours: float = Field(default=72.0, gt=0, description="How far back it looks without `--since`.")
