"""A PST or OST file on this machine as folders of messages. Everything here blocks; nothing writes.

Uids are node ids, uidvalidity comes of the store's own key: both stay the same as long as the file is the same mailbox,
wherever it lies. What is not a message is told apart by its class. Invariant: memory does not depend on the file.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mailferry.errors import ItemError, Permanent, UserError
from mailferry.model.account import PstAccount
from mailferry.model.folder import INBOX, Folder, FolderStatus, Path, SpecialUse
from mailferry.model.message import (
    NO_DATE,
    Body,
    Date,
    Failed,
    Flag,
    Headers,
    LeftOut,
    Listed,
    Listing,
    Message,
    Reason,
)
from mailferry.net.maildir_disk import error_of
from mailferry.net.spool import Spool
from mailferry.wire.mapi import tags
from mailferry.wire.mapi.classes import keyword, left_out, special_use
from mailferry.wire.mapi.fields import Invite, Making, Resolve, header_fields
from mailferry.wire.mapi.rebuild import rebuilt
from mailferry.wire.mapi.values import epoch
from mailferry.wire.pst.store import PstItem, PstStore

MOST = 4 << 30
"""Bytes of a rebuilt message: more than any mail server takes."""

_READ, _UNSENT = 0x01, 0x08
_REPLIED, _REPLIED_ALL, _FORWARDED = 102, 103, 104
_FLAGGED = 2


@dataclass(frozen=True, slots=True)
class OpenFolder:
    """A folder with the node ids of its items, ascending."""

    nid: int
    status: FolderStatus
    items: Sequence[int]


class PstMailbox:
    """One open file."""

    def __init__(self, account: PstAccount, resolve: Resolve = lambda name: None, invite: Invite | None = None) -> None:
        """`resolve`, `invite`: as `Making` has them. UserError, Permanent: no such file, none of this kind, or one that
        cannot be read."""
        self.account = account
        self._resolve = resolve
        self._invite = invite
        try:
            self._file = os.open(account.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise UserError(f"it cannot be opened: {error.strerror}", about=account.key) from error
        try:
            self.store = PstStore(self._read, os.fstat(self._file).st_size, account.key)
        except BaseException:
            self.close()
            raise
        mark = hashlib.sha256(b"uidvalidity" + self.store.key).digest()
        self.uidvalidity = int.from_bytes(mark[:4], "big") & 0x7FFFFFFF or 1

    @property
    def identity(self) -> str:
        """The store's record key; empty where the file is too damaged to tell."""
        return self.store.key.hex()

    @property
    def format(self) -> str:
        """For people: which of the formats the file has."""
        header = self.store.db.header
        width = "Unicode" if header.layout.wide else "ANSI"
        return f"{width}, version {header.version}, {header.crypt.name.lower()}"

    @property
    def damage(self) -> list[str]:
        """What kinds of damage were met and read over so far."""
        return [f"{count} × {kind}" for kind, count in sorted(self.store.db.findings.counts.items())]

    def close(self) -> None:
        """May be called twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _read(self, offset: int, size: int) -> bytes:
        try:
            return os.pread(self._file, size, offset)
        except (OSError, OverflowError) as error:
            if isinstance(error, OverflowError) or error.errno == errno.EINVAL:
                return b""  # beyond what a file can have
            raise Permanent(f"it cannot be read: {error.strerror}", about=self.account.key) from error

    # Folders

    def folders(self) -> list[Folder]:
        """INBOX first, parents before children."""
        store = self.store
        announced = {
            nid: use
            for tag, use in (
                (tags.IPM_WASTEBASKET_ENTRY_ID, SpecialUse.TRASH),
                (tags.IPM_SENT_MAIL_ENTRY_ID, SpecialUse.SENT),
                (tags.IPM_OUTBOX_ENTRY_ID, SpecialUse.OUTBOX),
            )
            if (nid := store.entry(tag)) is not None
        }
        found = store.folders()
        if not found and self.damage:
            raise Permanent(
                f"it is too damaged to find any folder in it: {', '.join(self.damage)}",
                about=self.account.key,
                advice="let Outlook's scanpst.exe repair a copy of the file, and copy from that",
            )
        inbox = store.inbox()
        top: Path | None = next((one.path for one in found if one.nid == inbox and len(one.path) == 1), None)
        below = self.account.below
        shown = []
        for one in found:
            path, use = one.path, special_use(one.container, one.hidden)
            if below:
                path = (below, *path)
            elif top is not None and path[:1] == top:
                path = (*INBOX, *path[1:])
            elif top is not None and path[0].casefold() == INBOX[0].casefold():
                path = (f"{path[0]} (2)", *path[1:])
            if not below:
                use = SpecialUse.INBOX if path == INBOX else announced.get(one.nid) or use
            name = f"{one.nid:x}"
            status = self.open(name).status
            shown.append(Folder(path, name, use, subscribed=not one.hidden, status=status))
        return sorted(shown, key=lambda one: one.path[:1] != INBOX)

    def open(self, name: str) -> OpenFolder:
        """A folder by the name that `folders` gave it: its node id. ItemError where there is none."""
        try:
            nid = int(name, 16)
        except ValueError:
            nid = 0
        if not self.store.has_folder(nid):
            raise ItemError("there is no such folder in the file", about=name)
        items = self.store.items(nid)
        return OpenFolder(nid, FolderStatus(self.uidvalidity, items[-1] + 1 if items else 1, len(items)), items)

    def listing(self, folder: OpenFolder) -> Listing:
        """Messages with their marks, and what is none. An item that cannot be read is listed, so that it fails by
        name."""
        messages, left_out = [], []
        for uid in folder.items:
            try:
                item = self.store.item(uid)
                out = not_a_message(uid, item)
                if out is None:
                    messages.append(Listed(uid, *marks(item)))
                else:
                    left_out.append(out)
            except ItemError:
                messages.append(Listed(uid, 0))
        return Listing(messages, left_out=tuple(left_out), lost=self._lost(folder))

    def _lost(self, folder: OpenFolder) -> tuple[str, ...]:
        """What may be missing from a folder of a damaged file: its lists may be older ones than the last."""
        if not self.store.db.findings.structural:
            return ()
        expected, found = self.store.expected(folder.nid), len(folder.items)
        had = (
            f"of {expected} items that it had" if expected is not None and expected > found else "it may have had more:"
        )
        return (f"the file is damaged; {had} {found} were found",)

    # Messages

    def making(self) -> Making:
        """What one item is rebuilt with."""
        making = Making(self._resolve, invite=self._invite)
        return replace(making, domain=self.account.domain) if self.account.domain else making

    def message(self, uid: int) -> Message | Failed:
        """The message as MIME. What is wrong with it only in part stands in its `losses`."""
        findings = self.store.db.findings
        before = findings.counts.copy()
        making = self.making()
        try:
            item = self.store.item(uid)
            flags, keywords = marks(item)
            when = internal_date(item)
            body = spooled(rebuilt(item, making), self.account.key)
        except TooLarge:
            return Failed(uid, Reason.TOO_LARGE, f"it would have more than {MOST >> 30} GB")
        except ItemError as error:
            return Failed(uid, Reason.UNREADABLE, f"it is damaged in the file: {error.message}")
        losses = [*making.differences, *(f"it was read in spite of {kind}" for kind in findings.since(before))]
        return Message(uid, flags, keywords, when, body, tuple(losses))

    def headers(self, uid: int) -> Headers | None:
        """The header block; None where it cannot be read."""
        try:
            item = self.store.item(uid)
            block = b"".join(header_fields(self.making(), item))
            size = item.properties.get(tags.MESSAGE_SIZE)
            return Headers(uid, internal_date(item), size if isinstance(size, int) else len(block), block)
        except ItemError:
            return None


def not_a_message(uid: int, item: PstItem) -> LeftOut | None:
    """The rule that keeps an item out, None for a message."""
    value = item.properties.get(tags.MESSAGE_CLASS)
    sent = (tags.TRANSPORT_MESSAGE_HEADERS, tags.INTERNET_MESSAGE_ID)
    return left_out(uid, value if isinstance(value, str) else "", lambda: any(map(item.properties.get, sent)))


def marks(item: PstItem) -> tuple[int, tuple[str, ...]]:
    """Flags and keywords. Categories become keywords with `_` for what IMAP does not take in one."""
    bag = item.properties
    status, verb = (_number(item, tag) for tag in (tags.MESSAGE_FLAGS, tags.LAST_VERB_EXECUTED))
    flags = Flag.SEEN if status & _READ else Flag(0)
    if status & _UNSENT:
        flags |= Flag.DRAFT
    if verb in (_REPLIED, _REPLIED_ALL):
        flags |= Flag.ANSWERED
    if bag.get(tags.FLAG_STATUS) == _FLAGGED:
        flags |= Flag.FLAGGED
    words = {keyword(text) for text in item.categories}
    if verb == _FORWARDED:
        words.add("$Forwarded")
    return int(flags), tuple(sorted(words))


def _number(item: PstItem, tag: int) -> int:
    value = item.properties.get(tag)
    return value if isinstance(value, int) else 0


def internal_date(item: PstItem) -> Date:
    """When it arrived, else when it was sent, else when it was made."""
    for tag in (tags.MESSAGE_DELIVERY_TIME, tags.CLIENT_SUBMIT_TIME, tags.CREATION_TIME):
        if (value := _number(item, tag)) > 0:
            return Date(epoch(value))
    return NO_DATE


class TooLarge(Exception):
    """A message beyond `MOST`."""


def spooled(pieces: Iterable[bytes], about: str) -> Body:
    """A body from pieces of unknown number: in memory while small, then in a nameless file."""
    spool = Spool()
    try:
        for piece in pieces:
            if spool.size + len(piece) > MOST:
                raise TooLarge
            spool.write(piece)
    except BaseException as error:
        spool.close()
        if isinstance(error, OSError):
            raise error_of(error, about) from error
        raise
    return spool.body()
