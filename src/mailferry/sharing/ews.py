"""What EWS says of a folder's permissions and of a mailbox's delegates → permissions. Pure: XML in, permissions out.

Answers: GetFolder with `folder:PermissionSet` (of a calendar `CalendarPermissions`), and GetDelegate with permissions.
Sources: [MS-OXWSFOLD] §2.2.4.15, [MS-OXWSCDATA] §2.2.4.54, [MS-OXWSDLGM] §3.1.4.3. Invariant: an element that is not
known becomes a right of that name, which nobody takes for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

from mailferry.model.permission import Access, Everybody, Permission

_T = "{http://schemas.microsoft.com/exchange/services/2006/types}"
_SINGLE = {
    "CanCreateItems": "CreateItems",
    "CanCreateSubFolders": "CreateSubfolders",
    "IsFolderOwner": "FolderOwner",
    "IsFolderVisible": "FolderVisible",
    "IsFolderContact": "FolderContact",
}
_EXTENT = {"EditItems": "Edit", "DeleteItems": "Delete"}
_READ = {"FullDetails": "ReadItems", "TimeAndSubjectAndLocation": "LimitedDetails", "TimeOnly": "AvailabilityOnly"}
_DELEGATE = {
    "CalendarFolderPermissionLevel": "Calendar",
    "TasksFolderPermissionLevel": "Tasks",
    "InboxFolderPermissionLevel": "Inbox",
    "ContactsFolderPermissionLevel": "Contacts",
    "NotesFolderPermissionLevel": "Notes",
    "JournalFolderPermissionLevel": "Journal",
}


def folder(mailbox: str, path: str, answer: ElementTree.Element) -> list[Permission]:
    """The permissions of one folder. `path`: where it is, parts joined by `\\`; `answer`: the folder's element, or what
    is around it."""
    found = []
    for kind in ("Permission", "CalendarPermission"):
        for number, one in enumerate(answer.iter(f"{_T}{kind}"), start=1):
            user = _user(one.find(f"{_T}UserId"))
            rights = tuple(_rights(one))
            found.append(Permission(mailbox, user, Access.FOLDER, f"EWS {path}:{number}", path, rights))
    return found


def delegates(mailbox: str, answer: ElementTree.Element) -> list[Permission]:
    """What GetDelegate tells: rights on well-known folders (under Exchange's English names), and sending on behalf,
    which every delegate may."""
    found = []
    for number, one in enumerate(answer.iterfind(".//{*}DelegateUser"), start=1):
        user, origin = _user(one.find(f"{_T}UserId")), f"EWS delegate {number}"
        found.append(Permission(mailbox, user, Access.ON_BEHALF, origin))
        copies = _text(one, "ReceiveCopiesOfMeetingMessages") == "true"
        private = _text(one, "ViewPrivateItems") == "true"
        levels = one.find(f"{_T}DelegatePermissions")
        for level in levels if levels is not None else ():
            path = _DELEGATE.get(_name(level), _name(level))
            rights = ((level.text or "").strip(),)
            meetings = copies and path == "Calendar"
            found.append(
                Permission(mailbox, user, Access.FOLDER, origin, path, rights, delegate=meetings, private=private)
            )
    return found


def _rights(one: ElementTree.Element) -> Iterator[str]:
    """The level's name, or, where it is Custom, its single rights."""
    level = _text(one, "PermissionLevel") or _text(one, "CalendarPermissionLevel")
    if level != "Custom":
        yield {"FreeBusyTimeOnly": "AvailabilityOnly", "FreeBusyTimeAndSubjectAndLocation": "LimitedDetails"}.get(
            level, level
        )
        return
    for name, right in _SINGLE.items():
        if _text(one, name) == "true":
            yield right
    for name, verb in _EXTENT.items():
        extent = _text(one, name)
        if extent in ("Owned", "All"):
            yield f"{verb}OwnedItems"
        if extent == "All":
            yield f"{verb}AllItems"
        elif extent not in ("", "None", "Owned"):
            yield extent
    read = _text(one, "ReadItems")
    if read not in ("", "None"):
        yield _READ.get(read, read)


def _user(element: ElementTree.Element | None) -> str | Everybody:
    if element is None:
        return ""
    known = _text(element, "DistinguishedUser")
    if known:
        return next((one for one in Everybody if one.value == known), known)
    return next(filter(None, (_text(element, name) for name in ("PrimarySmtpAddress", "SID", "DisplayName"))), "")


def _text(element: ElementTree.Element, name: str) -> str:
    return (element.findtext(f"{_T}{name}") or "").strip()


def _name(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]
