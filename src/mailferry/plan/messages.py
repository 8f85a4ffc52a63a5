"""What is to be done in one folder: compares a listing with what the ledger knows. Pure; does nothing itself.

Invariant (law 2): every listed uid is either known as done, or stands in exactly one of `copy` and `excluded`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from mailferry.model.message import Listed, Listing
from mailferry.model.state import HELD, State

OURS = HELD | {State.FAILED, State.PENDING}


class Deletions(Enum):
    """What happens in the target when a message vanishes at the source (before cutover)."""

    KEEP = "keep"
    MIRROR = "mirror"


class Known(NamedTuple):
    """What the ledger knows of one message of a folder, as far as planning needs it."""

    state: int
    flags: int
    keywords: tuple[str, ...]
    target_uid: int | None


@dataclass(frozen=True, slots=True)
class Actions:
    """`copy`: source uids to bring. `flags`: source uid, and the target uid with the marks it must get. `unplaced`:
    source uids whose marks changed, but whose target uid is not known. `gone`: source uids that are no longer there.
    `there`: how many listed messages are done already.
    """

    copy: list[int]
    flags: list[tuple[int, Listed]]
    unplaced: list[int]
    gone: list[int]
    there: int


def compare(listing: Listing, known: Mapping[int, Known]) -> Actions:
    """Source listing against ledger.

    The ledger holds the source's marks as last carried, so marks that people changed in the target since then are left
    alone: only what changed at the source is carried.
    """
    copy: list[int] = []
    flags: list[tuple[int, Listed]] = []
    unplaced: list[int] = []
    there = 0
    for item in listing.messages:
        row = known.get(item.uid)
        if row is None or row.state in (State.PENDING, State.FAILED):
            copy.append(item.uid)
        elif row.state in HELD:
            there += 1
            if row.flags == item.flags and row.keywords == item.keywords:
                continue
            if row.target_uid is None:
                unplaced.append(item.uid)
            else:
                flags.append((item.uid, Listed(row.target_uid, item.flags, item.keywords)))
        else:  # a uid that had gone is never given again (RFC 3501 §2.3.1.1): the store broke its word, so it is new
            copy.append(item.uid)
    if listing.complete:
        listed = {item.uid for item in listing.messages}
        gone = [uid for uid, row in known.items() if uid not in listed and row.state in OURS]
    else:
        gone = [uid for uid in listing.vanished if uid in known and known[uid].state in OURS]
    return Actions(copy, flags, unplaced, sorted(gone), there)


def suddenly_empty(listing: Listing, known: Mapping[int, Known], least: int = 10) -> bool:
    """Law 7: no message is left where at least `least` had been carried, whether a complete listing shows it or a
    partial one."""
    if listing.messages:
        return False
    held = {uid for uid, row in known.items() if row.state in HELD}
    return len(held) >= least and (listing.complete or held.issubset(listing.vanished))


def beyond_brake(removals: int, held: int, share: float = 0.1, least: int = 20) -> bool:
    """Whether mirroring `removals` deletions in a mailbox of `held` carried messages needs a human's word first."""
    return removals > max(least, held * share)


class Bytes(NamedTuple):
    """One message's uid and digest."""

    uid: int
    digest: bytes


def settle(pending: Sequence[Bytes], found: Sequence[Bytes]) -> dict[int, int]:
    """After a crash: which pending messages are in the target. Source uid → target uid, by exact digest.

    Identical copies are told apart by count: the lowest uids are paired first, each found message is used once.
    """
    waiting: defaultdict[bytes, list[int]] = defaultdict(list)
    for item in sorted(found, reverse=True):
        waiting[item.digest].append(item.uid)
    settled: dict[int, int] = {}
    for item in sorted(pending):
        uids = waiting.get(item.digest)
        if uids:
            settled[item.uid] = uids.pop()
    return settled


class Sent(NamedTuple):
    """How often one message (by digest) left for the target, though it is recorded there once."""

    digest: bytes
    attempts: int


def late_twins(sent: Iterable[Sent], unrecorded: Sequence[Bytes]) -> list[int]:
    """Target uids to remove: messages of ours that were committed after we had looked and sent them again.

    `unrecorded`: what stands in the gap and is not recorded in the ledger. Of each digest at most as many are removed
    as were sent beyond the first, so that a copy made by a person in the live target is not taken for a twin of ours.
    """
    extra: Counter[bytes] = Counter()
    for one in sent:
        if one.attempts > 1:
            extra[one.digest] += one.attempts - 1
    twins = []
    for item in sorted(unrecorded):
        if extra[item.digest] > 0:
            extra[item.digest] -= 1
            twins.append(item.uid)
    return twins
