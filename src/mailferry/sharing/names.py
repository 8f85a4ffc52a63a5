"""The public mapping: Exchange's roles and rights on a folder, and what RFC 4314 and CalDAV can say of each. Data only.

docs/sharing.md is made from these tables (`python -m lab.sharing_page`). Sources: [MS-OXCPERM] §2.2.7,
Add-MailboxFolderPermission (ExchangePowerShell), RFC 4314 §2.1. Invariant: nobody gets more than they had.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

READ, CREATE, VISIBLE, SUBFOLDERS = "ReadItems", "CreateItems", "FolderVisible", "CreateSubfolders"
EDIT_OWN, DELETE_OWN, EDIT_ALL, DELETE_ALL = "EditOwnedItems", "DeleteOwnedItems", "EditAllItems", "DeleteAllItems"
OWNER, CONTACT = "FolderOwner", "FolderContact"

_AUTHOR = (READ, CREATE, VISIBLE, EDIT_OWN, DELETE_OWN)
_EDITOR = (*_AUTHOR, EDIT_ALL, DELETE_ALL)
ROLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Owner": (*_EDITOR, SUBFOLDERS, OWNER, CONTACT),
        "PublishingEditor": (*_EDITOR, SUBFOLDERS),
        "Editor": _EDITOR,
        "PublishingAuthor": (*_AUTHOR, SUBFOLDERS),
        "Author": _AUTHOR,
        "NonEditingAuthor": (READ, CREATE, VISIBLE, DELETE_OWN),
        "Reviewer": (READ, VISIBLE),
        "Contributor": (CREATE, VISIBLE),
        "None": (),
    }
)
"""A role is just these rights."""

BUSY: Mapping[str, str] = MappingProxyType(
    {
        "AvailabilityOnly": "sees when somebody is busy",
        "LimitedDetails": "sees when somebody is busy, with subject and place",
        "FreeBusyTimeOnly": "sees when somebody is busy",
        "FreeBusyTimeAndSubjectAndLocation": "sees when somebody is busy, with subject and place",
    }
)
"""Of calendars alone; neither IMAP nor Radicale has their like."""


@dataclass(frozen=True, slots=True)
class Right:
    """What one right becomes in a folder of messages. `letters`: of RFC 4314. `loss`: what is lost of it, unless the
    rights in `unless` are there, too."""

    letters: str
    loss: str = ""
    unless: frozenset[str] = frozenset()


RIGHTS: Mapping[str, Right] = MappingProxyType(
    {
        VISIBLE: Right("l"),
        READ: Right("r"),
        CREATE: Right("i"),
        SUBFOLDERS: Right("k"),
        EDIT_OWN: Right(
            "", loss="own items cannot be changed, as IMAP does not know whose they are", unless=frozenset((EDIT_ALL,))
        ),
        DELETE_OWN: Right(
            "",
            loss="own items cannot be deleted, as IMAP does not know whose they are",
            unless=frozenset((DELETE_ALL,)),
        ),
        EDIT_ALL: Right(
            "sw",
            loss="of a message only its marks can be changed, as it could only be replaced",
            unless=frozenset((DELETE_ALL, CREATE)),
        ),
        DELETE_ALL: Right("te"),
        OWNER: Right("ax"),
        CONTACT: Right(""),
    }
)

FULL = "lrwstipekx"
"""What full access becomes on each folder: everything but to change others' rights."""
