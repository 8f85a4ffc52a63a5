"""Opens the database that holds a ledger, creates or upgrades its schema. Knows no table's meaning.

Invariant: an engine given out by `connect()` has our schema at `HEAD`, commits durably, and waits at most 30 s for
others' locks.
"""

from __future__ import annotations

import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from mailferry.errors import MailferryError, Temporary, UserError
from mailferry.ledger import schema
from mailferry.ledger.faults import translate
from mailferry.ledger.owner import owner_text, session_name

LOCK_SECONDS = 30
STALLED_SECONDS = 5
"""A process that stops in mid-transaction holds others up for no longer, where PostgreSQL can see it."""
_CREATION_LOCK = 0x6D66_6C67  # PostgreSQL advisory lock: one process makes or upgrades the schema at a time


@dataclass(frozen=True, slots=True)
class Place:
    """Where a ledger is. `name` is for people: without password or query."""

    engine: sa.Engine
    name: str
    sqlite: bool


def connect(place: str | Path) -> Place:
    """An engine on the ledger, created and brought up to date. `place`: a file path or a URL.

    A new ledger is made from the metadata at once; only an older one goes through Alembic, whose import is slow.
    """
    found = _engine(place)
    try:
        if found.sqlite:
            _write_ahead(found)
        with found.engine.connect() as connection:
            version = _version(connection)
        if version != schema.HEAD:
            _bring_to_head(found)
    except exc.SQLAlchemyError as error:
        found.engine.dispose()
        raise translate(error, found.name) from error
    except BaseException:
        found.engine.dispose()
        raise
    return found


def version_of(place: str | Path) -> str | None:
    """The schema's version as it is, None for an empty database; changes nothing."""
    found = _engine(place)
    try:
        with found.engine.connect() as connection:
            return _version(connection)
    except exc.SQLAlchemyError as error:
        raise translate(error, found.name) from error
    finally:
        found.engine.dispose()


def _engine(place: str | Path) -> Place:
    text = str(place)
    if "://" not in text:
        return _sqlite(Path(text))
    try:
        url = sa.make_url(text)
    except (exc.ArgumentError, ValueError) as error:
        # not `from error`, and not its text: that holds the URL, which may hold a password
        raise UserError(f"not a database URL ({type(error).__name__})", about="the ledger") from None
    if url.drivername == "sqlite" and url.database:
        return _sqlite(Path(url.database))
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return _postgres(url.set(drivername="postgresql+psycopg"))
    raise UserError(
        f"a ledger cannot be kept in {url.drivername!r}",
        about="the ledger",
        advice="give a file path, sqlite:///PATH or postgresql://USER@HOST/DATABASE",
    )


def _sqlite(path: Path) -> Place:
    name = str(path)
    try:
        # mode 600: account and folder names are nobody else's business; SQLite gives -wal and -shm the same mode
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise UserError(f"the ledger cannot be opened for writing: {error.strerror}", about=name) from error
    url = sa.URL.create("sqlite", database=name)
    engine = sa.create_engine(
        url, hide_parameters=True, pool_size=1, max_overflow=0, poolclass=sa.QueuePool, connect_args=_SQLITE_ARGUMENTS
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA cache_size=-8000")  # kB

    return Place(engine, name, True)


_SQLITE_ARGUMENTS: dict[str, Any] = {
    "timeout": LOCK_SECONDS,
    "check_same_thread": False,
    "isolation_level": None,  # transactions begin where we say, not where the module guesses
}


def _postgres(url: sa.URL) -> Place:
    name = url.set(query={}, password=None).render_as_string().replace("+psycopg", "", 1)
    arguments = {**_POSTGRES_ARGUMENTS, "application_name": session_name(owner_text())}
    try:
        engine = sa.create_engine(url, hide_parameters=True, pool_size=1, max_overflow=0, connect_args=arguments)
    except ImportError as error:
        advice = "pip install 'mailferry[postgres]'"
        raise UserError("the PostgreSQL driver is not installed", about=name, advice=advice) from error

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        connection.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
        connection.execute("SET synchronous_commit = on")
        connection.execute(f"SET idle_in_transaction_session_timeout = '{STALLED_SECONDS}s'")
        connection.commit()

    return Place(engine, name, False)


_POSTGRES_ARGUMENTS: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}


def _write_ahead(place: Place) -> None:
    """Make the file WAL. Changing the mode does not wait for locks as other statements do, so we wait here."""
    until = time.monotonic() + LOCK_SECONDS
    with place.engine.connect() as connection:
        while True:
            try:
                mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
                if mode != "wal":
                    mode = connection.exec_driver_sql("PRAGMA journal_mode=WAL").scalar()
            except exc.OperationalError as error:
                fault: MailferryError = translate(error, place.name)
                if not isinstance(fault, Temporary) or time.monotonic() > until:
                    raise
                time.sleep(0.02)
                continue
            if mode == "wal":
                return
            raise UserError(
                f"the ledger's file system cannot hold it (journal mode {mode})",
                about=place.name,
                advice="keep the ledger on a local disk, or in PostgreSQL",
            )


def _version(connection: sa.Connection) -> str | None:
    """The schema's version; None for an empty database."""
    if sa.inspect(connection).has_table(schema.VERSION_TABLE):
        version: str | None = connection.exec_driver_sql(f"SELECT version_num FROM {schema.VERSION_TABLE}").scalar()
        return version
    return None


def _bring_to_head(place: Place) -> None:
    """Create or upgrade, in one transaction, one process at a time."""
    with place.engine.connect() as connection, connection.begin():
        if place.sqlite:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CREATION_LOCK)))
        version = _version(connection)  # again: another process may have been faster
        if version is None:
            _create(connection, place)
        elif version != schema.HEAD:
            from mailferry.ledger.migrate import upgrade

            upgrade(connection, version, place.name)


def _create(connection: sa.Connection, place: Place) -> None:
    there = set(sa.inspect(connection).get_table_names())
    foreign = there if place.sqlite else there & set(schema.metadata.tables)
    if foreign:
        raise UserError(
            f"this database is not a ledger: it holds tables of something else ({', '.join(sorted(foreign)[:3])})",
            about=place.name,
        )
    if not place.sqlite:
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
        if encoding != "UTF8":
            raise UserError(f"the database's encoding is {encoding}; a ledger needs UTF8", about=place.name)
    schema.metadata.create_all(connection, checkfirst=False)
    version = sa.Table(schema.VERSION_TABLE, sa.MetaData(), sa.Column("version_num", sa.String(32), nullable=False))
    # as Alembic would have made it
    version.append_constraint(sa.PrimaryKeyConstraint("version_num", name=f"{schema.VERSION_TABLE}_pkc"))
    version.create(connection)
    connection.execute(version.insert().values(version_num=schema.HEAD))
