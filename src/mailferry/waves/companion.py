"""What goes with a mailbox besides its messages: calendars, rules, permissions. Knows no kind of them.

A companion is called by the steps of a move, in the order of `Context.companions`. Invariants: each call may be made
again at any time, whatever part of it was done before; nothing that a companion does shows to the owner, or changes
what becomes of mail, before `activate`; after `withdraw` the open side is as if `activate` had never been called.
Errors are those of a step: Temporary is tried again while there is time, anything else leads back.
"""

from __future__ import annotations

from mailferry.ledger.rows import Lease
from mailferry.model.wave import Move
from mailferry.verify.score import Score


class Companion:
    """One kind; a subclass does what its kind needs, and nothing for the rest."""

    name = ""
    """For people: `calendars`, `rules`, `sharing`."""

    async def seed(self, move: Move, lease: Lease) -> None:
        """A pass while mail flows, after that of the messages."""

    async def catch_up(self, move: Move, lease: Lease) -> None:
        """The last pass, while the move is parked."""

    async def verify(self, move: Move, lease: Lease) -> Score:
        """Compare both sides; while parked, or in a rehearsal. Changes nothing."""
        return Score.PERFECT

    async def activate(self, move: Move, lease: Lease) -> None:
        """Parked, immediately before the route says `local`: from now on the open side behaves as the mailbox did."""

    async def complete(self, move: Move, lease: Lease) -> str:
        """After the release, and with each sweep: what `activate` put off. Returns what is still put off, for people;
        "" if nothing is."""
        return ""

    async def bring_back(self, move: Move, lease: Lease) -> None:
        """Rollback: what has changed on the open side since the switch goes back to Exchange; exactly once."""

    async def withdraw(self, move: Move, lease: Lease) -> None:
        """The move goes back to Exchange, before or after the switch: undo `activate`; nothing if there was none."""
