"""Copy events, contacts, tasks and notes: what `ops/copying` does beside the messages of a mailbox. Shows nothing."""

from __future__ import annotations

from collections.abc import Sequence

from mailferry.config.accounts import Pair
from mailferry.copy.items import ItemsDone, copy_items
from mailferry.copy.items_preview import CollectionPreview, preview_items
from mailferry.copy.policy import Accept, CopyPolicy
from mailferry.copy.progress import Counts
from mailferry.copy.worker import Worker
from mailferry.ledger.rows import Lease
from mailferry.ledger.writer import LedgerThread
from mailferry.model.account import ITEM_STORES, Account, PstAccount
from mailferry.model.groupware import Party
from mailferry.ops.stores import item_source_of, item_targets_of
from mailferry.plan.items import ItemPolicy
from mailferry.verify.items import verify_items
from mailferry.verify.score import Score


def item_policy(policy: CopyPolicy) -> ItemPolicy:
    """What is wanted of a copy, as far as items go."""
    return ItemPolicy(
        source_wins=policy.source_wins,
        deletions=policy.deletions,
        attached_since=policy.attached_since,
        emptied=Accept.EMPTIED in policy.accept,
        many_deletions=Accept.DELETIONS in policy.accept,
    )


def owner_of(account: Account) -> Party | None:
    """Whose mailbox it is, by address, where the account says that."""
    if isinstance(account, PstAccount):
        return Party("", account.owner[0]) if account.owner else None
    user = getattr(account, "user", "")
    return Party("", user) if "@" in user else None


async def copy_pair(
    worker: Worker, number: int, pair: Pair, to: Sequence[Account], lease: Lease, policy: CopyPolicy, before: Counts
) -> Counts:
    """The items of a pair go to these accounts; `before`: what was done with its messages. The counts of both."""
    progress = worker.progress(number)

    def with_messages(counts: Counts) -> Counts:
        whole = Counts()
        whole.add(before)
        whole.add(counts)
        return whole

    def tell(counts: Counts, waits: str) -> None:
        whole = with_messages(counts)
        progress(whole, whole.listed, waits)

    done: ItemsDone = await copy_items(
        worker.engine.ledger,
        item_source_of(pair.source),
        item_targets_of(to),
        lease,
        item_policy(policy),
        owner=owner_of(pair.source),
        patience=policy.patience,
        run_id=await worker.run_id,
        gate=worker.engine.gate,
        progress=tell,
    )
    return with_messages(done.total())


async def verify_pair(
    worker: Worker, pair: Pair, to: Sequence[Account], lease: Lease, policy: CopyPolicy, share: float
) -> tuple[Score, Counts]:
    """Both sides of a pair's items are compared; the result is in the ledger, too."""
    done = await verify_items(
        worker.engine.ledger,
        item_source_of(pair.source),
        item_targets_of(to),
        lease,
        item_policy(policy),
        owner=owner_of(pair.source),
        share=share,
    )
    counts = Counts(folders=len(done))
    for one in done:
        failed, out = one.findings["failed"], one.findings["excluded"]
        since = one.findings["arrived-since"]
        counts.add(Counts(listed=one.listed, failed=failed, excluded=out, there=one.listed - failed - out - since))
    return max((one.score for one in done), default=Score.PERFECT), counts


async def preview_pair(pair: Pair, ledger: LedgerThread | None, policy: CopyPolicy) -> list[CollectionPreview]:
    """What `copy_pair` would do; nothing is written."""
    to = (pair.target, *pair.groupware) if isinstance(pair.target, ITEM_STORES) else pair.groupware
    if not to:
        return []
    keys = pair.source_key, pair.target.key
    return await preview_items(item_source_of(pair.source), item_targets_of(to), ledger, keys, item_policy(policy))
