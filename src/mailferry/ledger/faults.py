"""Turns what SQLite, PostgreSQL and SQLAlchemy raise into our errors. Does not retry.

Invariant: the text names the ledger without password or query, and holds no SQL and no parameter.
"""

from __future__ import annotations

import sqlite3

from sqlalchemy import exc

from mailferry.errors import IntegrityError, LocalProtocolError, MailferryError, Permanent, Temporary, UserError

_FULL = "the disk that holds the ledger is full; nothing of this step was recorded"
_MAKE_ROOM = "make room, then run the same command again: it continues where it stopped"


def translate(error: exc.SQLAlchemyError, about: str) -> MailferryError:
    """The error of ours for one of SQLAlchemy's; `about` names the ledger."""
    if isinstance(error, exc.TimeoutError):
        return Temporary("the ledger's connection is in use by another thread", about=about)
    if not isinstance(error, exc.DBAPIError) or error.orig is None:
        return LocalProtocolError(f"{type(error).__name__} in the ledger", about=about)
    if isinstance(error.orig, sqlite3.Error):
        return from_sqlite(error.orig, about)
    return _from_postgres(error, about)


def from_sqlite(error: sqlite3.Error, about: str) -> MailferryError:
    """By SQLite's result code (https://sqlite.org/rescode.html; the low byte is the primary one)."""
    code = getattr(error, "sqlite_errorcode", 0)
    primary = code & 0xFF
    if primary == sqlite3.SQLITE_FULL:
        return Permanent(_FULL, about=about, advice=_MAKE_ROOM)
    if primary == sqlite3.SQLITE_IOERR:
        name = getattr(error, "sqlite_errorname", "SQLITE_IOERR")
        text = f"the disk that holds the ledger refuses to work: {error} ({name}); nothing of this step was recorded"
        return Permanent(text, about=about, advice="look at free space, quota and file size limit, and the disk itself")
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return Temporary("the ledger is locked by another process", about=about)
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        advice = (
            "restore the file (with its -wal) from a backup, or start a new ledger: what the target holds is adopted"
        )
        return IntegrityError(f"the ledger is damaged or not a ledger: {error}", about=about, advice=advice)
    if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return UserError(f"the ledger cannot be opened for writing: {error}", about=about)
    if primary == sqlite3.SQLITE_CONSTRAINT:
        return LocalProtocolError(f"the ledger refused a row: {error}", about=about)
    return LocalProtocolError(f"the ledger failed: {type(error).__name__}: {error}", about=about)


def _from_postgres(error: exc.DBAPIError, about: str) -> MailferryError:
    """By SQLSTATE (PostgreSQL manual, appendix A); none where no server answered."""
    state = getattr(error.orig, "sqlstate", None) or ""
    lines = str(error.orig).splitlines()
    text = lines[0] if lines else type(error.orig).__name__
    if state == "53100":
        return Permanent(_FULL, about=about, advice=_MAKE_ROOM)
    if state[:2] in ("40", "53", "57", "08") or state == "55P03":  # rollback, resources, shut down, connection, lock
        return Temporary(f"the ledger's server could not do it now: {text}", about=about)
    if state[:2] in ("28", "3D", "42") or state == "25006":  # log-in, no such database, no right, read-only
        return UserError(f"the ledger cannot be used: {text}", about=about)
    if state[:2] in ("58", "XX"):
        return IntegrityError(f"the ledger's server reports damage: {text}", about=about)
    if state:
        return LocalProtocolError(f"the ledger failed: {state} {text}", about=about)
    if error.connection_invalidated or isinstance(error, exc.OperationalError):
        if "authentication failed" in text or "does not exist" in text:  # libpq gives no SQLSTATE while connecting
            return UserError(f"the ledger cannot be used: {text}", about=about)
        return Temporary(f"no connection to the ledger's server: {text}", about=about)
    return LocalProtocolError(f"the ledger failed: {text}", about=about)
