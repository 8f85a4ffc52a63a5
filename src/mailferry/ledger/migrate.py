"""Brings an older ledger's schema up to date with Alembic. Imported only when there is something to do.

Invariant: runs inside the caller's transaction, so an interrupted upgrade leaves the old schema whole.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from mailferry.errors import UserError

SCRIPTS = Path(__file__).with_name("migrations")


def upgrade(connection: sa.Connection, version: str | None, name: str) -> None:
    """From `version` (None: an empty database) to the newest. UserError if `version` is newer than this program."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise UserError(
            f"the ledger was written by a newer Mailferry (schema {version})",
            about=name,
            advice="upgrade Mailferry on this machine",
        )
    command.upgrade(config, "head")
