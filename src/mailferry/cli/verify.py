"""`mailferry verify`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from mailferry.cli import options


@click.command("verify")
@options.sides
@click.option(
    "--content",
    type=click.Choice(["full", "sample", "none"]),
    default="full",
    show_default=True,
    help="Compare the bytes of every message, of a sample, or of none.",
)
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.05,
    show_default=True,
    help="How much of each folder a sample takes.",
)
@options.groupware
@click.option("--report", type=click.Path(path_type=Path), metavar="DIR", help="Write the report there at the end.")
@options.as_json
def verify_command(
    sides: options.Sides,
    content: str,
    share: float,
    groupware: tuple[str, ...],
    groupware_password: str | None,
    report: Path | None,
    as_json: bool,
) -> int:
    """Compare SOURCE and TARGET message by message after a copy: counts, flags, keywords, dates, bytes; events and
    contacts by what they say.

    Scores each mailbox Perfect, Good, Investigate or Poor (docs/verify.md). Changes neither side. Exit code 1 from
    Investigate on.
    """
    from mailferry.ops import copying
    from mailferry.verify.reading import Content

    pairs = sides.pairs(None, groupware, groupware_password)
    limits = sides.limits()
    return options.run_fleet(
        lambda observe: copying.verify_fleet(pairs, sides.ledger, limits, sys.argv, observe, Content(content), share),
        sides.ledger,
        as_json=as_json,
        detach=False,
        report=report,
        started=time.monotonic(),
    )
