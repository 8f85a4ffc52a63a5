"""What Outlook's classes say: which items are messages, by which rule the others are left out, what a folder is for.

Pure. Source: [MS-OXCMSG] §2.2.1.3 and the classes of the protocols that build on it; [MS-OXOSFLD] §2.2.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mailferry.model.folder import SpecialUse
from mailferry.model.message import LeftOut

_CONTAINERS = {
    "ipf.appointment": SpecialUse.CALENDAR,
    "ipf.contact": SpecialUse.CONTACTS,
    "ipf.task": SpecialUse.TASKS,
    "ipf.stickynote": SpecialUse.NOTES,
    "ipf.journal": SpecialUse.JOURNAL,
    "ipf.files": SpecialUse.FILES,
    "ipf.configuration": SpecialUse.FILES,
}
_CLASSES = (
    ("ipm.appointment", "class:appointment", "an appointment"),
    ("ipm.contact", "class:contact", "a contact"),
    ("ipm.abchperson", "class:contact", "a contact"),
    ("ipm.distlist", "class:contact", "a list of contacts"),
    ("ipm.task", "class:task", "a task"),
    ("ipm.stickynote", "class:note", "a note"),
    ("ipm.activity", "class:journal", "an entry of the journal"),
    ("ipm.document", "class:document", "a file that was put into a folder"),
    ("ipm.configuration", "class:other", "a setting of a program"),
)
_MESSAGES = ("ipm.note", "ipm.post", "ipm.schedule.meeting", "ipm.recall", "ipm.sharing", "ipm.taskrequest", "report")
_NOT_ATOM = re.compile(r"[^\x21-\x7e]|[(){%*\"\\\]]")


def left_out(uid: int, message_class: str, was_sent: Callable[[], bool]) -> LeftOut | None:
    """The rule that keeps an item out, None for a message. `was_sent`: asked for a class that nobody knows."""
    kind = message_class.casefold()
    if not kind or within(kind, *_MESSAGES):
        return None
    for prefix, rule, text in _CLASSES:
        if within(kind, prefix):
            return LeftOut(uid, rule, f"{text} ({message_class})")
    if was_sent():
        return None
    return LeftOut(uid, "class:other", f"an item that never was a message ({message_class})")


def within(message_class: str, *prefixes: str) -> bool:
    """Whether a class is one of these (lower case), or derived from one."""
    kind = message_class.casefold()
    return any(kind == prefix or kind.startswith(f"{prefix}.") for prefix in prefixes)


def special_use(folder_class: str, hidden: bool) -> SpecialUse | None:
    """What a folder's class says it is for; a hidden folder without messages is no folder of a person's."""
    container = folder_class.casefold()
    use = next((use for prefix, use in _CONTAINERS.items() if within(container, prefix)), None)
    if use is None and hidden and container and not container.startswith("ipf.note"):
        return SpecialUse.FILES
    return use


def keyword(category: str) -> str:
    """A category as an IMAP keyword: `_` for what an atom cannot hold."""
    return _NOT_ATOM.sub("_", category.strip())
