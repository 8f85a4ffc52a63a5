"""Where one message stands between source and target, as the ledger stores it. Pure data.

(none) --intend--> PENDING --confirm--> COPIED ---+-- vanished at the source: GONE (kept) or REMOVED (mirrored,
moved)
   |                  ^                           |
   |--adopt--> ADOPTED (by headers), PROVEN (bytes compared)
   '--fail---> FAILED --intend--> PENDING (another attempt)
"""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """The numbers are stored: never reuse one."""

    PENDING = 1  # intent recorded: it may or may not be in the target
    COPIED = 2
    ADOPTED = 3  # was there already: recognised by its headers
    PROVEN = 4  # was there already: bytes compared
    FAILED = 5
    GONE = 6  # vanished at the source, kept in the target
    REMOVED = 7  # removed from the target: it moved, or policy mirrors deletions


HELD = frozenset({State.COPIED, State.ADOPTED, State.PROVEN})
"""The states of a message that both sides hold."""
