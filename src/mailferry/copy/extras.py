"""What belongs to a folder beside its messages: subscription, access rights, annotations. Carried at first sight only,
so that what people change in the target afterwards stays."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from mailferry.copy.work import FolderWork
from mailferry.errors import ItemError
from mailferry.model.message import Reason
from mailferry.plan.rights import map_rights

V = TypeVar("V")


async def carry_extras(work: FolderWork) -> None:
    """Bring them over; what the target cannot hold is named as a difference."""
    source, target = work.source_folder, work.target_folder
    if source.subscribed and not target.subscribed:
        try:
            await work.target.subscribe(target)
        except ItemError as error:
            await work.different(None, Reason.SUBSCRIPTION, error.message)
    rights = await work.source.acl(source)
    granted, unknown = map_rights(rights or {}, work.policy.people, work.policy.same_names)
    if granted:
        await _carry(work, Reason.ACL, granted, lambda some: work.target.set_acl(target, some))
    if unknown:
        text = f"{', '.join(unknown)}: who that is in the target is not known; --same-names says: whoever is called so"
        await work.different(None, Reason.ACL, text)
    entries = await work.source.metadata(source)
    if entries:
        await _carry(work, Reason.METADATA, entries, lambda some: work.target.set_metadata(target, some))


async def _carry(
    work: FolderWork, reason: Reason, items: Mapping[str, V], put: Callable[[Mapping[str, V]], Awaitable[None]]
) -> None:
    """All at once; where something of it is refused, one by one, so that one costs only itself and is named."""
    try:
        await put(items)
        return
    except ItemError as error:
        if len(items) == 1:
            await work.different(None, reason, f"{next(iter(items))}: {error.message}")
            return
    refused: dict[str, list[str]] = {}
    for name, value in items.items():
        try:
            await put({name: value})
        except ItemError as error:
            refused.setdefault(error.message, []).append(name)
    if refused:
        text = "; ".join(f"{', '.join(names)}: {message}" for message, names in refused.items())
        await work.different(None, reason, text)
