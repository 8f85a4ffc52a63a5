"""What belongs to a folder beside its messages: subscription, access rights, annotations. Carried at first sight only,
so that what people change in the target afterwards stays."""

from __future__ import annotations

from mailferry.copy.work import FolderWork
from mailferry.errors import ItemError
from mailferry.model.message import Reason


async def carry_extras(work: FolderWork) -> None:
    """Bring them over; what the target cannot hold is named as a difference."""
    source, target = work.source_folder, work.target_folder
    if source.subscribed and not target.subscribed:
        try:
            await work.target.subscribe(target)
        except ItemError as error:
            await work.different(None, Reason.SUBSCRIPTION, error.message)
    rights = await work.source.acl(source)
    if rights:
        try:
            await work.target.set_acl(target, rights)
        except ItemError as error:
            await work.different(None, Reason.ACL, f"{error.message} (rights of {', '.join(sorted(rights))})")
    entries = await work.source.metadata(source)
    if entries:
        try:
            await work.target.set_metadata(target, entries)
        except ItemError as error:
            await work.different(None, Reason.METADATA, f"{error.message} ({', '.join(sorted(entries))})")
