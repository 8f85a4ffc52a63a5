"""A lane: one connection to either side of a mailbox. Opens and closes them; reads and writes nothing itself."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from mailferry.model.folder import Folder
from mailferry.sources.base import Source, SourceSession
from mailferry.targets.base import Target, TargetSession
from mailferry.tasks import both


@dataclass(frozen=True, slots=True)
class Lane:
    """What a lane brings or compares, it does one folder at a time, so that the order in a folder is kept."""

    source: SourceSession
    target: TargetSession


@dataclass(frozen=True, slots=True)
class Opened:
    """Both sides connected and listed. `stack` closes the lane, and further lanes that are opened onto it."""

    stack: AsyncExitStack
    lane: Lane
    source_folders: Sequence[Folder]
    target_folders: Sequence[Folder]


async def open_lane(stack: AsyncExitStack, source: Source, target: Target) -> Lane:
    """Connect both sides at once; `stack` closes what was opened, also when the other side failed."""

    async def reading() -> SourceSession:
        session = await source.session()
        stack.push_async_callback(session.close)
        return session

    async def writing() -> TargetSession:
        session = await target.session()
        stack.push_async_callback(session.close)
        return session

    return Lane(*await both(reading(), writing()))


async def open_mailbox(source: Source, target: Target) -> Opened:
    """Connect both sides and list their folders, in as few round trips as the stores allow."""
    async with AsyncExitStack() as stack:
        lane = await open_lane(stack, source, target)
        source_folders, target_folders = await both(lane.source.folders(), lane.target.folders())
        return Opened(stack.pop_all(), lane, source_folders, target_folders)
