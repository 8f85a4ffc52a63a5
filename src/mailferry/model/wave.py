"""Waves, and the states that a person's move goes through: docs/design.md §8 as data. Decides and does nothing.

Invariant: `NEXT` is the whole state machine; the ledger refuses every other arrow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any


class MoveState(Enum):
    """Where one person's move stands. The value is what ledger, JSON and people see."""

    PLANNED = "planned"
    SEEDING = "seeding"
    SEEDED = "seeded"  # a complete pass was made; the mailbox is on Exchange
    PARKED = "parked"  # the route says so; mail waits, or still goes to Exchange where the route is remembered
    SETTLED = "settled"  # every MTA has forgotten the old route: nothing more comes into the old mailbox
    CAUGHT_UP = "caught up"
    VERIFIED = "verified"
    SWITCHED = "switched"  # the route says `local`; the mailbox is the open side's
    RELEASED = "released"  # what was parked is delivered
    SWEPT = "swept"  # stragglers of the old mailbox were brought after the switch
    DONE = "done"
    UNPARKING = "un-parking"  # something failed before the switch: back to SEEDED, mail to Exchange
    RETURNING = "returning"  # rollback after the switch: parked, then copied back, then the route says `exchange`
    ROLLED_BACK = "rolled back"
    CANCELLED = "cancelled"


_ = MoveState
NEXT: Mapping[MoveState, frozenset[MoveState]] = MappingProxyType(
    {
        _.PLANNED: frozenset({_.SEEDING, _.CANCELLED}),
        _.SEEDING: frozenset({_.SEEDED, _.CANCELLED}),
        _.SEEDED: frozenset({_.SEEDING, _.PARKED, _.CANCELLED}),
        _.PARKED: frozenset({_.SETTLED, _.UNPARKING}),
        _.SETTLED: frozenset({_.CAUGHT_UP, _.UNPARKING}),
        _.CAUGHT_UP: frozenset({_.VERIFIED, _.UNPARKING}),
        _.VERIFIED: frozenset({_.SWITCHED, _.UNPARKING}),
        _.UNPARKING: frozenset({_.SEEDED}),
        _.SWITCHED: frozenset({_.RELEASED, _.RETURNING}),
        _.RELEASED: frozenset({_.SWEPT, _.RETURNING}),
        _.SWEPT: frozenset({_.SWEPT, _.DONE, _.RETURNING}),
        _.RETURNING: frozenset({_.ROLLED_BACK}),
        _.ROLLED_BACK: frozenset({_.SEEDING, _.CANCELLED}),
        _.DONE: frozenset(),
        _.CANCELLED: frozenset({_.PLANNED}),
    }
)
WAITING_FOR_MAIL = frozenset({_.PARKED, _.SETTLED, _.CAUGHT_UP, _.VERIFIED, _.UNPARKING, _.SWITCHED, _.RETURNING})
"""States in which mail for the person may be parked: nobody is to be left in one."""
ON_EXCHANGE = frozenset({_.PLANNED, _.SEEDING, _.SEEDED, _.ROLLED_BACK, _.CANCELLED})
"""States in which the mailbox on Exchange is the one that counts, and mail goes there."""
MOVED = frozenset({_.SWITCHED, _.RELEASED, _.SWEPT, _.DONE})
"""States in which the mailbox on the open side is the one that counts."""


class WaveState(Enum):
    """What an administrator wants of a wave; how far it is, its moves say."""

    OPEN = "open"
    PAUSED = "paused"  # nobody new is parked; whoever is parked goes on
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Wave:
    """People moved together. `settings`: start, complete, blackout and caps, as `plan.waves` reads them."""

    id: int
    name: str
    state: WaveState
    created: float
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Move:
    """One person's move in one wave.

    `source_id`: the `Recipient.id` (ad:GUID), which never changes; `mail`, `uid`, `kind`: as the open directory had it
    when planned. `source_user`, `target_user`: whom both stores know. `store`: the mailHost it goes to. `mailbox_id`:
    the ledger's mailbox, once seeded. `entered`: when `state` was entered; `parked`, `released`: the latest times (all
    in seconds since the epoch). `error`: why the last attempt failed, "" if it did not. `evidence`: the right-person
    check's result. `approvals`: who approved what (`who`, `at`, `what`, `why`). `forecast`: messages, bytes, seconds.
    """

    id: int
    wave_id: int
    source_id: str
    mail: str
    uid: str
    kind: str
    source_user: str
    target_user: str
    store: str
    mailbox_id: int | None = None
    state: MoveState = MoveState.PLANNED
    entered: float = 0.0
    parked: float | None = None
    released: float | None = None
    error: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    approvals: tuple[Mapping[str, Any], ...] = ()
    forecast: Mapping[str, Any] = field(default_factory=dict)
