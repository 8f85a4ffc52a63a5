"""`mailferry check`."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailferry.cli import options
from mailferry.cli.show import error_text, size_text

if TYPE_CHECKING:
    from mailferry.ops.checking import Checked

AT_ONCE = 8


@click.command("check")
@click.argument("address")
@click.argument("target", required=False)
@options.accounts
@options.passwords
@options.as_json
def check_command(
    address: str,
    target: str | None,
    accounts: Path | None,
    source_password: str | None,
    target_password: str | None,
    as_json: bool,
) -> int:
    """Connect to ADDRESS (and TARGET), log in, and tell what the server can do and what to expect of it.

    With --accounts FILE.csv every mailbox of the list is tried. Nothing is changed. The password of ADDRESS comes from
    --source-password or MAILFERRY_SOURCE_PASSWORD, else it is asked for.
    """
    from mailferry.ops.checking import accounts_of, check

    both = target is not None
    pairs = options.pairs(address, target or "maildir:/", accounts, source_password, target_password)
    wanted = accounts_of(pairs) if both else [pair.source for pair in pairs]

    async def all_of_them() -> list[Checked]:
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> Checked:
            async with slots:
                return await check(wanted[number])

        return list(await asyncio.gather(*(one(number) for number in range(len(wanted)))))

    found = asyncio.run(all_of_them())
    if as_json:
        click.echo(json.dumps({"schema": 1, "mailboxes": [asdict(one) for one in found]}, indent=2))
    else:
        for one in found:
            _print(one)
    codes = {one.error["exit_code"] for one in found if one.error is not None}
    return 0 if not codes else codes.pop() if len(found) == 1 or len(codes) == 1 else 1


def _print(one: Checked) -> None:
    if one.error is not None:
        click.echo(f"✗ {one.key}\n  {error_text(one.error, one.key)}", err=True)
        return
    facts = one.facts
    click.echo(f"✓ {one.key}")
    if "format" in facts:
        click.echo(
            f"  a file of Outlook ({facts['format']}), {size_text(facts['size'])}; {facts['folders']} folders, "
            f"{facts['messages']} messages, {facts['left_out']} items that are no messages"
        )
    elif "collections" in facts:
        click.echo(f"  {len(facts['collections'])} calendars, address books, task lists and notes")
        for name, what in facts["collections"].items():
            held = ", ".join(what) if isinstance(what, list) else f"{what['items']} × {what['kind']}"
            click.echo(f"  - {name}: {held}")
    elif "left_behind" in facts:
        size = f", {size_text(facts['bytes'])}" if facts["bytes"] is not None else ""
        click.echo(f"  logged in; server: {facts['server']}; mailbox {facts['identity'] or 'without a GUID'}")
        click.echo(f"  {facts['folders']} folders, {facts['messages']} messages{size}")
        if facts["uses"]:
            click.echo(f"  uses: {', '.join(f'{name} ({count})' for name, count in facts['uses'].items())}")
        for sentence in facts["left_behind"]:
            click.echo(f"  - {sentence}")
    elif "capabilities" in facts:
        tls = facts["tls"] or "not encrypted"
        click.echo(f"  logged in, {tls}; server: {facts['quirks']}, “{facts['greeting']}”")
        place = f", below {facts['prefix']!r}" if facts["prefix"] else ""
        click.echo(
            f"  {facts['folders']} folders, {facts['messages']} messages, separator {facts['separator']!r}{place}"
        )
        limits = []
        if facts["append_limit"]:
            limits.append(f"messages up to {size_text(facts['append_limit'])}")
        if facts["quota"]:
            used, limit = facts["quota"]
            limits.append(f"{size_text(used)} of {size_text(limit)} used")
        if limits:
            click.echo(f"  limits: {', '.join(limits)}")
        click.echo(f"  can: {' '.join(facts['capabilities'])}")
    else:
        state = "there" if facts["exists"] else "will be made"
        click.echo(
            f"  a Maildir for {facts['flavour']}, {state}; {facts['folders']} folders, {facts['messages']} messages; "
            f"{size_text(facts['free'])} free on the disk"
        )
    for warning in one.warnings:
        click.echo(f"  ! {warning}")
