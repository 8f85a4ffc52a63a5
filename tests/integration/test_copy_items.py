"""Events and contacts into a real Radicale: what the engine of items promises."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from lab.process import PASSWORD
from lab.radicale import Radicale
from mailferry.copy.items import ItemsDone, copy_items
from mailferry.copy.lease import leased
from mailferry.ledger.writer import LedgerThread
from mailferry.model.account import DavAccount, Tls
from mailferry.plan.items import ItemPolicy
from mailferry.secret import Secret
from mailferry.sources.items import ItemSource
from mailferry.targets.caldav import CalDavTarget
from mailferry.targets.carddav import CardDavTarget
from mailferry.targets.items import ItemTarget
from tests.items import CALENDAR, CONTACTS, TEAM, MemoryItems, contact, event


def account(server: Radicale, service: str, user: str, **more: Any) -> DavAccount:
    return DavAccount(
        service, "127.0.0.1", server.port, user, Secret(PASSWORD), **{"tls": Tls.NONE, "timeout": 10.0, **more}
    )


def targets(server: Radicale, user: str, **more: Any) -> list[ItemTarget]:
    return [
        CalDavTarget(account(server, "caldav", user, **more)),
        CardDavTarget(account(server, "carddav", user, **more)),
    ]


def copy(
    place: Path, source: ItemSource, to: Sequence[ItemTarget], policy: ItemPolicy | None = None, **more: Any
) -> ItemsDone:
    async def run() -> ItemsDone:
        async with LedgerThread(place) as ledger, leased(ledger, source.key, to[0].key, 60.0) as lease:
            return await copy_items(ledger, source, to, lease, policy or ItemPolicy(), **more)

    return asyncio.run(run())


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def person(radicale: Radicale, new_user: Callable[[], str]) -> str:
    return radicale.add(new_user())


def test_everything_comes_once(radicale: Radicale, person: str, ledger: Path) -> None:
    source = MemoryItems()
    for number in range(70):
        source.put(CALENDAR, event(f"e{number}@acme.example", day=1 + number % 28))
    source.put(TEAM, event("040000008200E00074C5B7101A82E008", "Holiday"))
    source.put(CONTACTS, contact("c/1 with a slash"))
    first = copy(ledger, source, targets(radicale, person)).total()
    assert (first.copied, first.listed, first.failed, first.balanced) == (72, 72, 0, True)
    there = radicale.items(person)
    assert len(there) == 72
    assert b"UID:040000008200E00074C5B7101A82E008" in next(
        data for path, data in there.items() if path.endswith("/040000008200E00074C5B7101A82E008.ics")
    )
    again = copy(ledger, source, targets(radicale, person)).total()
    assert (again.copied, again.there, again.balanced) == (0, 72, True)
    assert source.reads == 72
    assert radicale.items(person) == there
