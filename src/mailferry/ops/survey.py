"""Survey an organisation before its move: the use case behind `mailferry survey`. Shows nothing, changes nothing.

Invariant: neither the directory nor a mailbox is changed, and no ledger is needed; a mailbox that cannot be opened is a
row with the reason.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mailferry.config.settings import directory_settings
from mailferry.directory.clean import Policy, clean
from mailferry.directory.decisions import Decisions, read_decisions
from mailferry.directory.moving import Size
from mailferry.directory.sharing import MOVERS
from mailferry.directory.survey import Survey
from mailferry.directory.survey import survey as count
from mailferry.directory.sync import Progress
from mailferry.errors import AuthError, MailferryError, UserError
from mailferry.model.account import EwsAccount, ImapAccount
from mailferry.model.recipient import Finding, Recipient
from mailferry.ops.directory import reader_of, source_key
from mailferry.tasks import together

REFUSED_AT_ONCE = 20
"""So many refused log-ins, and none that worked: the administrator's password is wrong, and locking accounts helps
nobody."""

Opened = ImapAccount | EwsAccount
Address = Callable[[Recipient], Opened | None]
"""A recipient → how to open its mailbox; None: it has no name to open it by. UserError: its name makes no address."""


@dataclass(frozen=True, slots=True)
class Surveyed:
    """`source`: what was read; `seconds`: how long it took."""

    survey: Survey
    source: str
    seconds: float


def survey(
    config: Path,
    progress: Progress,
    *,
    address: Address | None = None,
    connections: int = 8,
    wave_size: int | None = None,
) -> Surveyed:
    """Read, clean, measure where `address` tells how to open mailboxes, and count. Errors as reading raises."""
    began = time.monotonic()
    _, settings = directory_settings(config)
    policy = Policy(time.time(), frozenset(settings.mapping.domains))
    known = settings.decisions is not None and settings.decisions.exists()
    decisions = read_decisions(settings.decisions) if known and settings.decisions else Decisions()
    read: dict[str, tuple[str, str, str]] = {}
    with reader_of(settings.source) as reader:
        cleaned = clean(_noted(reader.read(), read, progress), policy, decisions)
    sizes: dict[str, Size] = {}
    if address is not None:
        wanted: dict[str, Opened | None] = {}
        for one in cleaned.recipients:
            if one.kind in MOVERS:
                try:
                    wanted[one.id] = address(one)
                except UserError as error:
                    sizes[one.id] = Size(failure=f"{error.about}: {error.message}")
        sizes |= asyncio.run(measured(wanted, connections, progress))
    progress("counting", 0, 0)
    found = count(read, cleaned, policy.accepted_domains, sizes, policy.now, wave_size)
    return Surveyed(found, source_key(settings.source), time.monotonic() - began)


def _noted(
    read: Iterable[Recipient | Finding], into: dict[str, tuple[str, str, str]], progress: Progress
) -> Iterator[Recipient | Finding]:
    for number, one in enumerate(read, 1):
        if isinstance(one, Recipient):
            into[one.id] = (one.kind.value, one.name, one.where)
        if number % 500 == 0:
            progress("reading", number, 0)
        yield one


async def measured(wanted: Mapping[str, Opened | None], connections: int, progress: Progress) -> dict[str, Size]:
    """The sizes of these mailboxes, `connections` at a time. AuthError if the first REFUSED_AT_ONCE are all refused."""
    sizes: dict[str, Size] = {}
    refused: list[AuthError] = []
    worked = False
    waiting = iter(wanted.items())

    async def work() -> None:
        nonlocal worked
        for who, account in waiting:
            if account is None:
                sizes[who] = Size(failure="it has no name to open it by")
                continue
            try:
                sizes[who] = await _size(account)
                worked = True
            except MailferryError as error:
                sizes[who] = Size(failure=error.message)
                if isinstance(error, AuthError):
                    refused.append(error)
            progress("measuring", len(sizes), len(wanted))
            if len(refused) >= REFUSED_AT_ONCE and not worked:
                return

    if wanted:
        await together(*(work() for _ in range(min(connections, len(wanted)))))
    if len(refused) >= REFUSED_AT_ONCE and not worked:
        raise refused[0]
    return sizes


async def _size(account: Opened) -> Size:
    if isinstance(account, EwsAccount):
        from mailferry.net.ews_probe import probe

        seen = await probe(account)
        return Size(seen.bytes, seen.messages, seen.folders, uses=seen.uses, left_behind=seen.left_behind)
    from mailferry.net.imap.measure import measure

    found = await measure(account)
    return Size(found.bytes, found.messages, found.folders)


def users(survey: Survey) -> dict[str, int]:
    """How many people use what, of the mailboxes that were looked into over EWS; the most used first."""
    counted = Counter(name for size in survey.sizes.values() for name in size.uses)
    return dict(sorted(counted.items(), key=lambda one: (-one[1], one[0])))


def totals(survey: Survey) -> dict[str, int]:
    """Sums over the measured mailboxes."""
    known: Sequence[Size] = [size for size in survey.sizes.values() if not size.failure]
    return {
        "opened": len(known),
        "failed": len(survey.sizes) - len(known),
        "bytes": sum(size.bytes or 0 for size in known),
        "without_bytes": sum(size.bytes is None for size in known),
        "messages": sum(size.messages or 0 for size in known),
        "folders": sum(size.folders or 0 for size in known),
    }
