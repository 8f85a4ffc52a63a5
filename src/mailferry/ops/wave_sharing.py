"""The companion of moves that brings rights between people, over this site's stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailferry.ledger.writer import LedgerThread
from mailferry.ops.stores import target_of
from mailferry.waves.context import Directory
from mailferry.waves.sharing import Sharing

if TYPE_CHECKING:
    from mailferry.ops.wave import Site


def companion(site: Site, ledger: LedgerThread, directory: Directory) -> Sharing:
    """Does nothing for who has no grants in the ledger (`mailferry sharing plan`)."""
    return Sharing(
        ledger, directory, site.coexist, lambda store, user, mail: target_of(site.on_store(store, user, mail), 1)
    )
