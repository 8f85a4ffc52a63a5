"""`mailferry copy --dry-run`: what would be done, folder by folder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailferry.errors import MailferryError, explain

if TYPE_CHECKING:
    from mailferry.config.accounts import Pair
    from mailferry.copy.items_preview import CollectionPreview
    from mailferry.copy.policy import CopyPolicy
    from mailferry.copy.preview import FolderPreview


def show(pairs: Sequence[Pair], ledger: str, policy: CopyPolicy, as_json: bool) -> int:
    """Print the preview of every mailbox; returns the exit code. Nothing is written anywhere, not even a new ledger."""
    return asyncio.run(_show(pairs, ledger, policy, as_json))


async def _show(pairs: Sequence[Pair], ledger: str, policy: CopyPolicy, as_json: bool) -> int:
    from mailferry.copy.preview import preview_mailbox
    from mailferry.ledger.writer import LedgerThread
    from mailferry.model.account import ITEM_STORES
    from mailferry.ops.copying_items import preview_pair
    from mailferry.ops.stores import source_of, target_of

    code = 0
    documents = []
    async with AsyncExitStack() as stack:
        thread = None
        if "://" in ledger or Path(ledger).exists():
            thread = await stack.enter_async_context(LedgerThread(ledger))
        for pair in pairs:
            try:
                folders = []
                if not isinstance(pair.target, ITEM_STORES):
                    source, target = source_of(pair.source, 1), target_of(pair.target, 1)
                    folders = await preview_mailbox(source, target, thread, policy)
                collections = await preview_pair(pair, thread, policy)
            except MailferryError as error:
                click.echo(f"{pair.source.key}: {explain(error)}", err=True)
                code = error.exit_code if len(pairs) == 1 else 1
                continue
            if as_json:
                sides = {"source": pair.source.key, "target": pair.target.key}
                documents.append({**sides, "folders": _plain(folders), "collections": _plain(collections)})
            else:
                _print(pair, folders, collections)
    if as_json:
        click.echo(json.dumps({"schema": 1, "mailboxes": documents}, indent=2))
    else:
        click.echo("dry run: nothing was written")
    return code


def _plain(shown: Sequence[FolderPreview] | Sequence[CollectionPreview]) -> list[dict[str, object]]:
    return [asdict(one) for one in shown]


def _print(pair: Pair, folders: Sequence[FolderPreview], collections: Sequence[CollectionPreview]) -> None:
    click.echo(f"{pair.source.key} → {pair.target.key}")
    for folder in folders:
        if folder.rule is not None:
            click.echo(f"  {folder.source}: left out, {folder.listed} messages ({folder.rule})")
            continue
        place = f" → {folder.target}" if folder.target != folder.source else ""
        what = [f"{folder.listed} listed", f"{folder.copy} to copy"]
        what += [f"{folder.flags} to re-flag"] if folder.flags else []
        what += [f"{folder.gone} vanished"] if folder.gone else []
        what += ["folder to be made"] if folder.create else []
        note = f" ({folder.note})" if folder.note else ""
        click.echo(f"  {folder.source}{place}: {', '.join(what)}{note}")
    for one in collections:
        what = [f"{one.listed} {one.kind}s listed", f"{one.bring} to bring"]
        what += [f"{one.gone} gone"] if one.gone else []
        what += [f"{one.excluded} left out"] if one.excluded else []
        note = f" ({one.note})" if one.note else ""
        click.echo(f"  {one.path} → {one.place or 'to be made'}: {', '.join(what)}{note}")
    if not folders:
        return
    kept = [folder for folder in folders if folder.rule is None]
    click.echo(
        f"  {len(kept)} folders, {sum(f.listed for f in folders)} messages listed, "
        f"{sum(f.copy for f in kept)} to copy, {sum(f.listed for f in folders if f.rule is not None)} excluded"
    )
