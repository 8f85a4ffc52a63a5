"""Stable numbers for what EWS names by long texts. Pure.

The engine and its ledger know a message by a number that grows in the order of arrival and never names another message
of its folder (an IMAP uid). EWS gives ids as opaque text; but each item has a PidTagEntryId, whose last fields tell
it for ever: the database's GUID and the counter that the store gave the message ([MS-OXCDATA] §2.2.4.2). A message that
moves to another folder gets a new counter, as it gets a new uid over IMAP. So a uid is, from the highest bit down: 0,
14 bits of a hash of that GUID (a mailbox that has been moved between databases holds a few), 48 bits of counter. It
needs no ledger, keeps the order of arrival, fits a signed 64-bit column, and can be had from the id of an item that is
gone (ConvertId). An entry id of another shape becomes 62 bits of its hash, with the highest bit set.
"""

from __future__ import annotations

import hashlib
import uuid

_MESSAGE = 70
_FOLDER = 46


def uid(entry_id: bytes) -> int:
    """The uid of an item: positive, below 2^63."""
    if len(entry_id) == _MESSAGE:
        guid, counter = entry_id[46:62], int.from_bytes(entry_id[62:68], "big")
        if counter:
            return (_hash(guid) >> 50) << 48 | counter
    return 1 << 62 | _hash(entry_id) >> 2


def mailbox_guid(entry_id: bytes) -> str:
    """The GUID of the mailbox that a folder lies in, from the folder's entry id ([MS-OXCDATA] §2.2.4.1: the provider's
    uid of a private mailbox is the MailboxGuid); "" for an entry id of another shape."""
    return str(uuid.UUID(bytes_le=entry_id[4:20])) if len(entry_id) == _FOLDER else ""


def validity(mailbox: str) -> int:
    """The uidvalidity of every folder of a mailbox, from its GUID: 31 bits, never 0."""
    return _hash(mailbox.encode()) >> 33 or 1


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
