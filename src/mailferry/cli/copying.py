"""`mailferry copy`."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path

import click

from mailferry.cli import options


@click.command("copy")
@options.sides
@click.option("--folder", "include", multiple=True, metavar="GLOB", help="Only these folders (may be repeated).")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave these folders out (may be repeated).")
@click.option("--prefix", metavar="FOLDER", help="Put everything below this folder of the target.")
@click.option("--map", "overrides", multiple=True, metavar="OLD=NEW", help="Bring folder OLD to NEW (repeatable).")
@click.option(
    "--deletions",
    type=click.Choice(["keep", "mirror"]),
    default="keep",
    show_default=True,
    help="What happens in the target when a message vanishes at the source.",
)
@click.option("--sweep", is_flag=True, help="People use the target already: bring new messages only.")
@click.option("--no-adopt", is_flag=True, help="Do not look for messages that another tool brought earlier.")
@click.option("--same-names", is_flag=True, help="Rights on folders also go to those not in the account list, by name.")
@click.option("--repair", is_flag=True, help="Bring what the target refuses in a repaired form, each listed.")
@click.option(
    "--accept",
    multiple=True,
    type=click.Choice(["identity", "uidvalidity", "emptied", "deletions", "same"]),
    help="Answer to a safety stop, after you looked (may be repeated).",
)
@click.option("--patience", type=click.IntRange(1), default=6, show_default=True, help="Attempts without progress.")
@click.option(
    "--backup-of",
    metavar="ADDRESS",
    help="SOURCE is a backup of ADDRESS (a Maildir tree, a restored server): later copies from ADDRESS continue it.",
)
@options.groupware
@click.option(
    "--attachments-since",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="Leave out what is attached to events that ended before.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done; write nothing anywhere.")
@click.option("--detach", is_flag=True, help="Go on in the background; see `mailferry status` and `mailferry log`.")
@click.option("--report", type=click.Path(path_type=Path), metavar="DIR", help="Write the report there at the end.")
@options.as_json
def copy_command(
    sides: options.Sides,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    prefix: str | None,
    overrides: tuple[str, ...],
    deletions: str,
    sweep: bool,
    no_adopt: bool,
    same_names: bool,
    repair: bool,
    accept: tuple[str, ...],
    patience: int,
    backup_of: str | None,
    groupware: tuple[str, ...],
    groupware_password: str | None,
    attachments_since: datetime | None,
    dry_run: bool,
    detach: bool,
    report: Path | None,
    as_json: bool,
) -> int:
    """Copy the mailbox SOURCE to TARGET, or bring an earlier copy in step.

    Run it as often as you like: what is done is not done again, what was interrupted continues.

    \b
    Addresses: imaps://user@host[:port], imap://user@host (STARTTLS), ews://mailbox@host, maildir:PATH, pst:FILE;
    for calendars and contacts alone also ics:DIR, davs://user@host
    With --accounts FILE.csv, SOURCE and TARGET hold {user} or no user at all.
    """
    from mailferry.copy.policy import Accept, CopyPolicy
    from mailferry.ops import copying
    from mailferry.plan.folders import FolderPolicy
    from mailferry.plan.messages import Deletions

    pairs = sides.pairs(backup_of, groupware, groupware_password)
    policy = CopyPolicy(
        people=dict(pair.people for pair in pairs if pair.people is not None),
        same_names=same_names,
        folders=FolderPolicy(
            include=include,
            exclude=exclude,
            prefix=prefix or "",
            overrides=options.overrides(overrides),
        ),
        deletions=Deletions(deletions),
        source_wins=not sweep,
        adopt=not no_adopt,
        repair=repair,
        attached_since=attachments_since.date() if attachments_since else None,
        accept=frozenset(Accept(one) for one in accept),
        patience=patience,
    )
    limits = sides.limits()
    if dry_run:
        from mailferry.cli import preview

        return preview.show(pairs, sides.ledger, policy, as_json)
    return options.run_fleet(
        lambda observe: copying.copy_fleet(pairs, sides.ledger, policy, limits, sys.argv, observe),
        sides.ledger,
        as_json=as_json,
        detach=detach,
        report=report,
        started=time.monotonic(),
    )
