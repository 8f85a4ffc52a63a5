"""The companion that has the old system's own directory say where somebody's mail is (coexist/second.py): from the
switch on the store, on the way back what it said before."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from mailferry.coexist.second import SecondDirectory
from mailferry.ledger.rows import Lease
from mailferry.model.wave import Move
from mailferry.tasks import finished
from mailferry.waves.companion import Companion


class SecondSide(Companion):
    """`values`: what it is to say, by store; by default the store's own name."""

    name = "the second directory"

    def __init__(self, port: SecondDirectory, values: Mapping[str, str]) -> None:
        self._port, self._values = port, values

    async def activate(self, move: Move, lease: Lease) -> None:
        value = self._values.get(move.store, move.store)
        work = asyncio.to_thread(self._port.switch, move.source_id, move.mail, value)
        await finished(asyncio.ensure_future(work))

    async def withdraw(self, move: Move, lease: Lease) -> None:
        work = asyncio.to_thread(self._port.give_back, move.source_id, move.mail)
        await finished(asyncio.ensure_future(work))
