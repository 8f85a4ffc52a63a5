"""Who may do what in whose mailbox, as a source says it, and as the open side is to have it. Plain data.

Invariant: nothing is dropped by reading: a right that a reader does not know stands in `rights` under its own name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Access(Enum):
    """What a permission is about. The value is what ledger, JSON and reports show."""

    FOLDER = "folder"
    FULL = "full access"
    SEND_AS = "send as"
    ON_BEHALF = "send on behalf"


SENDING = frozenset((Access.SEND_AS, Access.ON_BEHALF))


class Everybody(Enum):
    """Exchange's two entries of each folder that name nobody."""

    DEFAULT = "Default"  # everybody of the organisation
    ANONYMOUS = "Anonymous"


@dataclass(frozen=True, slots=True)
class Permission:
    """One entry. `mailbox`, `user`: as the source calls them: an address, a name, DOMAIN\\account, a SID.
    `folder`: its path, parts joined by `\\`; "" for the whole mailbox. `rights`: Exchange's words, roles or single
    rights. `denied`: it takes away. `inherited`: not given to the mailbox itself. `delegate`, `private`: gets the
    meeting requests, and sees private items. `origin`: `FILE:NUMBER`, or the directory."""

    mailbox: str
    user: str | Everybody
    access: Access
    origin: str
    folder: str = ""
    rights: tuple[str, ...] = ()
    denied: bool = False
    inherited: bool = False
    delegate: bool = False
    private: bool = False


class GrantState(Enum):
    """How far a grant is. The value is what the ledger and people see."""

    WANTED = "wanted"
    WAITING = "waiting"  # for somebody who is still on Exchange; `why` names them
    APPLIED = "applied"
    WITHDRAWN = "withdrawn"  # taken back: somebody went back to Exchange, or it is not wanted any more


@dataclass(frozen=True, slots=True)
class Grant:
    """One right that one person is to have in one mailbox of the open side.

    `owner`, `person`: `Recipient.id`. `folder`: the path in Exchange, parts joined by `\\`; "" for all folders.
    `rights`: RFC 4314 letters; "" for sending. `wanted`: False once a later plan does not name it. `why`: what it waits
    for, or why it failed.
    """

    owner: str
    person: str
    access: Access
    folder: str
    rights: str
    note: str
    origin: str
    wanted: bool = True
    state: GrantState = GrantState.WANTED
    why: str = ""
    id: int = 0

    @property
    def key(self) -> tuple[str, str, Access, str]:
        """There is one grant of each."""
        return self.owner, self.person, self.access, self.folder
