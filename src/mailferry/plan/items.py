"""What is to be done with the items of one collection: (both listings, ledger, policy) → actions. Pure.

Until the cutover the source wins: what changed there is brought, whatever stands at the target. After it people live
at the target: only what they have not touched is brought in step, and nothing that they removed comes back.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from mailferry.model.groupware import (
    Collection,
    Contact,
    ContactList,
    Contents,
    Event,
    Item,
    Kind,
    Note,
    Task,
)
from mailferry.plan.messages import Deletions

SUDDENLY = 10
"""So many items that are gone all at once are a question (law 7)."""
CLASSES: Mapping[type, str] = {
    Event: "IPM.Appointment",
    Contact: "IPM.Contact",
    ContactList: "IPM.DistList",
    Task: "IPM.Task",
    Note: "IPM.StickyNote",
}
"""What a report names an item by, beside its date."""
DEFAULT_NAMES: Mapping[Kind, str] = {
    Kind.EVENT: "calendar",
    Kind.CONTACT: "contacts",
    Kind.TASK: "tasks",
    Kind.NOTE: "notes",
}


@dataclass(frozen=True, slots=True)
class ItemPolicy:
    """`source_wins`: before the cutover. `deletions`: what happens at the target when an item vanishes at the source;
    only while the source wins. `most_attached`: bytes of attachments that one item may bring. `attached_since`:
    attachments of events that ended before are left out. `emptied`, `many_deletions`: a human has looked at a
    collection that is suddenly empty, at more deletions than the brake allows."""

    source_wins: bool = True
    deletions: Deletions = Deletions.KEEP
    most_attached: int = 20 << 20
    attached_since: date | None = None
    emptied: bool = False
    many_deletions: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger has of an item. `there`: it is at the target by our word. `theirs`: a person took it over."""

    version: str
    href: str
    etag: str
    there: bool = False
    theirs: bool = False


@dataclass(slots=True)
class Actions:
    """Ids at the source. `bring`: to be read, and stored where they differ. `there`: nothing to do. `gone`: carried
    once, no longer at the source. `theirs`: changed at the source, but a person changed or removed them at the target:
    left alone."""

    bring: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    theirs: list[str] = field(default_factory=list)


def compare(
    contents: Contents, known: Mapping[str, Known], target: Mapping[str, str] | None, source_wins: bool
) -> Actions:
    """`target`: href → ETag; None: as the ledger has it."""
    actions = Actions()
    listed = set()
    for ref in contents.items:
        if ref.id in listed:
            continue
        listed.add(ref.id)
        row = known.get(ref.id)
        if row is None or not (row.there or row.theirs):
            actions.bring.append(ref.id)
            continue
        touched = row.theirs or (target is not None and target.get(row.href) != row.etag)
        if source_wins:
            same = row.version == ref.version and not touched
            (actions.there if same else actions.bring).append(ref.id)
        elif row.version == ref.version:
            actions.there.append(ref.id)
        else:
            (actions.theirs if touched else actions.bring).append(ref.id)
    named = listed | {one.id for one in contents.not_carried}
    actions.gone = [id for id, row in known.items() if id not in named and row.there]
    return actions


def suddenly_empty(contents: Contents, known: Mapping[str, Known]) -> bool:
    """Law 7: nothing is left of what had been carried."""
    held = sum(row.there for row in known.values())
    return not contents.items and not contents.not_carried and held >= SUDDENLY


def place_name(collection: Collection) -> str:
    """The last part of the href of a further collection: the same for the same one, told apart from all others, and
    readable where its name is."""
    if collection.default:
        return DEFAULT_NAMES[collection.kind]
    text = unicodedata.normalize("NFKD", " ".join(collection.path)).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-")
    mark = hashlib.sha256(f"{collection.kind.value} {collection.id}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{words or collection.kind.value}-{mark}"


def display_name(collection: Collection) -> str:
    """For people."""
    return " / ".join(collection.path) or DEFAULT_NAMES[collection.kind].capitalize()


def happens(item: Item) -> str:
    """The date that a report names an item by; "" for what has none."""
    if isinstance(item, Event):
        return item.start.local.date().isoformat()
    if isinstance(item, Task):
        day = item.due or item.start
        return day.isoformat() if day else ""
    return item.modified.date().isoformat() if item.modified else ""
