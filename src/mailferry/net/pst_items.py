"""The events, contacts, tasks and notes of a PST or OST file. Everything here blocks; nothing writes.

Collections are the folders whose class says so; single items in other folders are left out by the mail's listing.
Invariant: every item of a collection is in its contents, as an item or as one that is not carried, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from mailferry.errors import ItemError
from mailferry.model.folder import SpecialUse
from mailferry.model.groupware import Collection, Contents, Item, Kind, NotCarried, Ref
from mailferry.model.message import Body
from mailferry.net.pst import PstMailbox, TooLarge, spooled
from mailferry.wire.mapi import tags
from mailferry.wire.mapi.appointment import event
from mailferry.wire.mapi.classes import special_use
from mailferry.wire.mapi.contact import contact, contact_list
from mailferry.wire.mapi.fields import Making, subject
from mailferry.wire.mapi.named import Properties
from mailferry.wire.mapi.todo import note, task
from mailferry.wire.pst.store import PstFolder, PstItem

_USES = {
    SpecialUse.CALENDAR: Kind.EVENT,
    SpecialUse.CONTACTS: Kind.CONTACT,
    SpecialUse.TASKS: Kind.TASK,
    SpecialUse.NOTES: Kind.NOTE,
}
_CLASSES = {
    Kind.EVENT: ("ipm.appointment",),
    Kind.CONTACT: ("ipm.contact", "ipm.distlist"),
    Kind.TASK: ("ipm.task",),
    Kind.NOTE: ("ipm.stickynote",),
}
_LIST = "ipm.distlist"
_PEOPLE = "ipm.abchperson"
_DEFAULTS = {
    Kind.EVENT: tags.IPM_APPOINTMENT_ENTRY_ID,
    Kind.CONTACT: tags.IPM_CONTACT_ENTRY_ID,
    Kind.NOTE: tags.IPM_NOTE_ENTRY_ID,
    Kind.TASK: tags.IPM_TASK_ENTRY_ID,
}


def collections(mailbox: PstMailbox) -> list[Collection]:
    """The folders that hold items, the default ones first; what lies in the deleted items is none."""
    store = mailbox.store
    folders = store.folders()
    trash = store.entry(tags.IPM_WASTEBASKET_ENTRY_ID)
    deleted = [one.path for one in folders if one.nid == trash]
    found = []
    for one in folders:
        kind = _kind(one)
        if kind is not None and not any(one.path[: len(path)] == path for path in deleted):
            found.append((one, kind))
    defaults = {kind: _default(mailbox, kind, [one for one, its in found if its is kind]) for kind in Kind}
    below = (mailbox.account.below,) if mailbox.account.below else ()
    shown = [
        Collection(f"{one.nid:x}", (*below, *one.path), kind, default=not below and defaults[kind] == one.nid)
        for one, kind in found
    ]
    return sorted(shown, key=lambda one: not one.default)


def _kind(folder: PstFolder) -> Kind | None:
    use = None if folder.hidden else special_use(folder.container, folder.hidden)
    return None if use is None else _USES.get(use)


def _default(mailbox: PstMailbox, kind: Kind, folders: list[PstFolder]) -> int | None:
    """The folder that the inbox names; where it names none, as in exports and offline stores, the topmost one, and of
    several the fullest."""
    named = mailbox.store.inbox_entry(_DEFAULTS[kind])
    if any(one.nid == named for one in folders):
        return named
    if not folders:
        return None
    return min(folders, key=lambda one: (len(one.path), -len(mailbox.store.items(one.nid)), one.nid)).nid


def contents(mailbox: PstMailbox, collection: Collection) -> Contents:
    """Everything in a collection. ItemError where there is no such folder."""
    folder = mailbox.open(collection.id)
    items, left = [], []
    for nid in folder.items:
        try:
            item = mailbox.store.item(nid)
            kind = _class(item)
            if not _fits(kind, collection.kind):
                left.append(_not_carried(item, nid, _why(kind)))
                continue
            changed = item.properties.get(tags.LAST_MODIFICATION_TIME)
            items.append(Ref(f"{nid:x}", f"{changed:x}" if isinstance(changed, int) else "0"))
        except ItemError as error:
            left.append(NotCarried(f"{nid:x}", "", f"it is damaged in the file: {error.message}"))
    return Contents(tuple(items), tuple(left))


def _class(item: PstItem) -> str:
    value = item.properties.get(tags.MESSAGE_CLASS)
    return value if isinstance(value, str) else ""


def _fits(shown: str, kind: Kind) -> bool:
    low = shown.casefold()
    return any(low == prefix or low.startswith(f"{prefix}.") for prefix in _CLASSES[kind])


def _why(shown: str) -> str:
    if shown.casefold().startswith(_PEOPLE):
        return "a copy of a contact that Outlook.com keeps for itself"
    return f"an item of the class {shown or '(none)'} in a folder of another kind"


def _not_carried(item: PstItem, nid: int, reason: str) -> NotCarried:
    bag = Properties(Making(), item)
    when: datetime | None = bag.instant(tags.CREATION_TIME)
    return NotCarried(f"{nid:x}", _class(item), reason, subject(Making(), item.properties), when)


def read(mailbox: PstMailbox, kind: Kind, nid: int) -> Item | NotCarried:
    """One item of a collection of this kind."""
    try:
        item = mailbox.store.item(nid)
    except ItemError as error:
        return NotCarried(f"{nid:x}", "", f"it is damaged in the file: {error.message}")
    try:
        return _read(mailbox, item, kind)
    except ItemError as error:
        return _not_carried(item, nid, error.message)


def _read(mailbox: PstMailbox, item: PstItem, kind: Kind) -> Item:
    making = mailbox.making()

    def keep(pieces: Iterator[bytes]) -> Body:
        try:
            return spooled(pieces, mailbox.account.key)
        except TooLarge:
            raise ItemError("it is too large") from None

    match kind:
        case Kind.EVENT:
            return event(item, making, keep)
        case Kind.TASK:
            return task(item, making, keep)
        case Kind.NOTE:
            return note(item, making)
        case Kind.CONTACT:
            listed = _class(item).casefold().startswith(_LIST)
            return contact_list(item, making) if listed else contact(item, making, keep)
