"""Messages that a thread reads one after the other, ahead of who takes them. Knows no kind of store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from functools import partial

from mailferry.model.message import Failed, Message

_MESSAGES = 64
_BYTES = 2 * 1024 * 1024

_Batch = tuple[list[Message | Failed], list[int]]
"""Messages read, and uids still to read."""

Read = Callable[[int], Message | Failed | None]
"""Blocks; None for a message that has gone."""


async def read_ahead(
    start: Callable[[Callable[[], _Batch]], Future[_Batch]], read: Read, uids: Sequence[int]
) -> AsyncIterator[Message | Failed]:
    """The messages with these uids, in order. `start` has work done by the thread. Bodies that nobody takes any more
    are closed."""
    ahead: Future[_Batch] | None = start(partial(_batch, read, list(uids)))
    items: list[Message | Failed] = []
    try:
        while ahead:
            items, rest = await asyncio.wrap_future(ahead)
            ahead = start(partial(_batch, read, rest)) if rest else None
            while items:
                yield items.pop(0)
    finally:
        _close_bodies(items)
        if ahead:
            ahead.add_done_callback(_close_batch)


def _batch(read: Read, uids: list[int]) -> _Batch:
    items: list[Message | Failed] = []
    size = 0
    for index, uid in enumerate(uids):
        if len(items) >= _MESSAGES or size >= _BYTES:
            return items, uids[index:]
        item = read(uid)
        if item is not None:
            items.append(item)
        if isinstance(item, Message):
            size += item.body.size
    return items, []


def _close_bodies(items: Sequence[Message | Failed]) -> None:
    for item in items:
        if isinstance(item, Message):
            item.body.close()


def _close_batch(batch: Future[_Batch]) -> None:
    """Nobody will take these messages any more."""
    if not batch.cancelled() and batch.exception() is None:
        _close_bodies(batch.result()[0])
