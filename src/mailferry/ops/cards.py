"""The open directory as an address book on the CardDAV server: the use case behind `mailferry directory cards`.

Everybody may read it and nobody but this write it (`stack/radicale`). Invariant: only what changed is read and sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mailferry.config.settings import read_settings
from mailferry.copy.items import ItemsDone, copy_items
from mailferry.copy.items_preview import CollectionPreview, preview_items
from mailferry.copy.lease import leased
from mailferry.directory import cards
from mailferry.errors import ConfigError
from mailferry.ledger.writer import LedgerThread
from mailferry.model.groupware import Collection, Contents, Item, Kind, NotCarried, Ref
from mailferry.net import ldap
from mailferry.ops.directory import server_of
from mailferry.ops.stack_radicale import account_of, radicale_settings
from mailferry.plan.items import ItemPolicy
from mailferry.plan.messages import Deletions
from mailferry.stack.radicale.settings import ORGANISATION
from mailferry.targets.carddav import CardDavTarget

LEASE_SECONDS = 60.0
AT_ONCE = 100
"""Entries that one search asks for, photos and all."""


@dataclass(slots=True)
class DirectoryCards:
    """An `ItemSource`, and its own session: one address book that holds everybody who shows. `name`: for people."""

    server: ldap.Server
    suffix: str
    name: str
    key: str = field(init=False)

    def __post_init__(self) -> None:
        self.key = f"{self.server.url}/{self.suffix}"

    async def items_session(self) -> DirectoryCards:
        return self

    async def collections(self) -> list[Collection]:
        return [Collection("directory", (self.name,), Kind.CONTACT, default=True)]

    async def contents(self, collection: Collection) -> Contents:
        found = await asyncio.to_thread(self._search, cards.FILTER, (cards.ID, cards.VERSION))
        return Contents(tuple(Ref(one.text(cards.ID) or "", one.text(cards.VERSION) or "") for one in found))

    async def items(self, collection: Collection, ids: Sequence[str]) -> AsyncIterator[tuple[str, Item | NotCarried]]:
        for start in range(0, len(ids), AT_ONCE):
            wanted = "".join(f"({cards.ID}={one})" for one in ids[start : start + AT_ONCE])
            search = partial(self._search, f"(&{cards.FILTER}(|{wanted}))", (cards.ID, *cards.ATTRIBUTES))
            for entry in await asyncio.to_thread(search):
                made = cards.contact(entry)
                yield made.uid, made

    def _search(self, filter: str, attributes: Sequence[str]) -> list[ldap.Entry]:
        with ldap.Connection(self.server) as connection:
            return list(connection.search(self.suffix, filter, attributes))

    async def close(self) -> None:
        pass


def bring(
    config: Path, ledger: str, *, dry_run: bool, many_deletions: bool = False
) -> ItemsDone | list[CollectionPreview]:
    """Bring the address book in step with the directory; with `dry_run` tell what would be done."""
    settings = read_settings(config)
    server = radicale_settings(settings)
    if settings.directory is None or settings.stack is None:
        raise ConfigError("it needs [directory] and [stack.radicale]", about=str(config))
    target = settings.directory.target
    domains = settings.directory.mapping.domains
    source = DirectoryCards(server_of(target), target.suffix, domains[0] if domains else server.hostname)
    book = CardDavTarget(account_of(settings, "carddav", ORGANISATION, f"/{ORGANISATION}/"))
    policy = ItemPolicy(deletions=Deletions.MIRROR, many_deletions=many_deletions)

    async def run() -> ItemsDone | list[CollectionPreview]:
        async with LedgerThread(ledger) as thread:
            if dry_run:
                return await preview_items(source, [book], thread, (source.key, book.key), policy)
            async with leased(thread, source.key, book.key, LEASE_SECONDS) as lease:
                return await copy_items(thread, source, [book], lease, policy)

    return asyncio.run(run())
