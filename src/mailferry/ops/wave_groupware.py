"""What a wave needs to take people's events and contacts along: the accounts that `[coexist.groupware]` names.

Connects to nothing. Invariant: both sides are named by the same move, so that nobody's calendar goes to another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailferry.config.accounts import parse_address
from mailferry.ledger.writer import LedgerThread
from mailferry.model.wave import Move
from mailferry.ops.stores import item_source_of, item_targets_of
from mailferry.plan.items import ItemPolicy
from mailferry.plan.messages import Deletions
from mailferry.secret import Secret
from mailferry.waves.calendars import Calendars
from mailferry.waves.companion import Companion

if TYPE_CHECKING:
    from mailferry.ops.wave import Site


def companions(site: Site, ledger: LedgerThread) -> list[Companion]:
    """The companion that brings items; none where `[coexist.groupware]` is not set."""
    settings = site.coexist.groupware
    if settings is None:
        return []
    reference = settings.source_password or site.coexist.source_password
    source_secret = Secret.from_reference(reference) if reference else None
    target_secret = Secret.from_reference(settings.target_password) if settings.target_password else None

    def named(text: str, move: Move) -> str:
        fields = {"mail": move.mail, "uid": move.uid}
        return text.format(**fields, source_user=move.source_user, target_user=move.target_user)

    return [
        Calendars(
            ledger,
            lambda move: item_source_of(
                parse_address(settings.source, user=named(settings.source_user, move), secret=source_secret)
            ),
            lambda move: item_targets_of(
                [parse_address(settings.target, user=named(settings.target_user, move), secret=target_secret)]
            ),
            ItemPolicy(deletions=Deletions(settings.deletions), attached_since=settings.attachments_since),
            settings.share,
            settings.returned,
        )
    ]
