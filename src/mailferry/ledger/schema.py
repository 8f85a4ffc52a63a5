"""The ledger's tables, as SQLAlchemy Core sees them. Does not create or read them.

Invariant: `migrations/` builds exactly this (a test compares). Change both together, and `HEAD`. No table holds a
secret, a subject or a body.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

HEAD = "0004"
VERSION_TABLE = "ledger_version"

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)


class Words(sa.types.TypeDecorator[str]):
    """Any text, also with NUL or lone surrogates, which PostgreSQL or SQLite refuse: such characters, quotes and
    backslashes are stored escaped as in JSON."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else escape(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        if value is None:
            return None
        text: str = json.loads(f'"{value}"')
        return text


class Json(sa.types.TypeDecorator[Any]):
    """A JSON value as text."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else to_json(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        return None if value is None else json.loads(value)


def to_json(value: Any) -> str:
    """One text for equal values: sorted keys, no spaces, people's letters kept where every database takes them."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return text


def escape(value: str) -> str:
    if value.isascii() and value.isprintable() and '"' not in value and "\\" not in value:  # most of what is stored
        return value
    return to_json(value)[1:-1]


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.Integer, primary_key=True)


def _mailbox_id(nullable: bool = False, index: bool = True) -> sa.Column[int]:
    return sa.Column("mailbox_id", sa.Integer, sa.ForeignKey("mailbox.id"), nullable=nullable, index=index)


endpoint = sa.Table(
    "endpoint",
    metadata,
    _id(),
    sa.Column("key", Words, nullable=False, unique=True),
    sa.Column("seen", sa.Double, nullable=False),
    sa.Column("facts", Json, nullable=False),
)

wave = sa.Table(
    "wave",
    metadata,
    _id(),
    sa.Column("name", Words, nullable=False, unique=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("settings", Json, nullable=False, server_default="{}"),
)

mailbox = sa.Table(
    "mailbox",
    metadata,
    _id(),
    sa.Column("source_key", Words, nullable=False),
    sa.Column("target_key", Words, nullable=False, index=True),
    sa.Column("identity", Words),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("wave_id", sa.Integer, sa.ForeignKey("wave.id")),
    sa.Column("lease_owner", sa.Text),
    sa.Column("lease_epoch", sa.BigInteger, nullable=False),
    sa.Column("lease_since", sa.Double),
    sa.Column("lease_until", sa.Double),
    sa.UniqueConstraint("source_key", "target_key"),
)

folder = sa.Table(
    "folder",
    metadata,
    _id(),
    # path and mailbox are unique by put_folder's own check: a deep path is too long for PostgreSQL's index
    _mailbox_id(),
    sa.Column("source_path", Json, nullable=False),
    sa.Column("source_name", Words, nullable=False),
    sa.Column("target_path", Json),
    sa.Column("target_name", Words),
    sa.Column("special_use", sa.Text),
    sa.Column("source_uidvalidity", sa.BigInteger),
    sa.Column("target_uidvalidity", sa.BigInteger),
    sa.Column("source_uidnext", sa.BigInteger),
    sa.Column("source_messages", sa.BigInteger),
    sa.Column("source_modseq", sa.BigInteger),
    sa.Column("pending_base", sa.BigInteger),
    sa.Column("listed", sa.BigInteger, nullable=False),
    sa.Column("excluded", Words),
    sa.Column("watch_until", sa.Double),
    sa.Column("watch_base", sa.BigInteger),
    sa.Column("adopted", sa.Boolean, nullable=False),
    sa.Column("cursor_pass", sa.Integer),
    sa.Column("source_token", sa.Text),
)

keyword_set = sa.Table(
    "keyword_set",
    metadata,
    _id(),
    sa.Column("digest", sa.LargeBinary(20), nullable=False, unique=True),  # of words, which may be too long to index
    sa.Column("words", sa.Text, nullable=False),  # JSON list
)

# The one big table: fixed columns first in PostgreSQL's alignment order, no foreign key and no second index, which
# would cost more than the row. Rows of one mailbox are found through its folders. keywords NULL: none.
message = sa.Table(
    "message",
    metadata,
    sa.Column("folder_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("keywords", sa.Integer),
    sa.Column("pass_id", sa.Integer, nullable=False),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("flags", sa.SmallInteger, nullable=False),
    sa.Column("source_uid", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("target_uid", sa.BigInteger),
    sa.Column("internal_date", sa.BigInteger),
    sa.Column("size", sa.BigInteger),
    sa.Column("fingerprint", sa.BigInteger),
    sa.Column("attempts", sa.SmallInteger, nullable=False),
    sa.Column("digest", sa.LargeBinary(20)),
    sqlite_with_rowid=False,
)

pass_ = sa.Table(
    "pass",
    metadata,
    _id(),
    _mailbox_id(),
    sa.Column("run_id", sa.Integer, sa.ForeignKey("run.id")),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("started", sa.Double, nullable=False),
    sa.Column("ended", sa.Double),
    sa.Column("outcome", Words),
    sa.Column("counts", Json, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
)

# folder_id 0: the whole mailbox; source_uid 0: the whole folder. Not NULL, so that the unique index tells them apart.
failure = sa.Table(
    "failure",
    metadata,
    _id(),
    _mailbox_id(index=False),
    sa.Column("folder_id", sa.Integer, nullable=False),
    sa.Column("source_uid", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("text", Words, nullable=False),
    sa.Column("first_pass", sa.Integer, nullable=False),
    sa.Column("last_pass", sa.Integer, nullable=False),
    sa.Column("resolved", sa.Boolean, nullable=False),
    sa.UniqueConstraint("mailbox_id", "folder_id", "source_uid", "kind", "reason"),
)

run = sa.Table(
    "run",
    metadata,
    _id(),
    sa.Column("command", Words, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("started", sa.Double, nullable=False),
    sa.Column("ended", sa.Double),
    sa.Column("control", sa.Text, nullable=False),
    sa.Column("heartbeat", sa.Double, nullable=False),
    sa.Column("summary", Json, nullable=False),
)

event = sa.Table(
    "event",
    metadata,
    _id(),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("who", Words, nullable=False),
    sa.Column("what", Words, nullable=False),
    _mailbox_id(nullable=True),
    sa.Column("data", Json, nullable=False),
)

verification = sa.Table(
    "verification",
    metadata,
    _id(),
    _mailbox_id(),
    sa.Column("pass_id", sa.Integer, sa.ForeignKey("pass.id")),
    sa.Column("folder_id", sa.Integer, sa.ForeignKey("folder.id")),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("score", sa.Text, nullable=False),
    sa.Column("result", Json, nullable=False),
)

# One row per pair of source directory and target directory. cookie: where the source's changes were read up to.
directory = sa.Table(
    "directory",
    metadata,
    _id(),
    sa.Column("source_key", Words, nullable=False),
    sa.Column("target_key", Words, nullable=False),
    sa.Column("cookie", sa.LargeBinary),
    sa.Column("cookie_at", sa.Double),
    sa.Column("reconciled", sa.Double),
    sa.Column("mark", Json),
    sa.Column("lease_owner", sa.Text),
    sa.Column("lease_until", sa.Double),
    sa.UniqueConstraint("source_key", "target_key"),
)

# Which entry of the target stands for whom of the source. A row stays when its recipient is gone: a uid once given
# is not given to somebody else.
directory_account = sa.Table(
    "directory_account",
    metadata,
    _id(),
    sa.Column("directory_id", sa.Integer, sa.ForeignKey("directory.id"), nullable=False),
    sa.Column("source_id", Words, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("account", Words),
    sa.Column("mailbox_guid", sa.Text),
    sa.Column("uid", Words, nullable=False),
    sa.Column("dn", Words, nullable=False),
    sa.Column("gone", sa.Double),
    sa.UniqueConstraint("directory_id", "source_id"),
)

directory_change = sa.Table(
    "directory_change",
    metadata,
    _id(),
    sa.Column("run_id", sa.Integer, sa.ForeignKey("run.id"), nullable=False, index=True),
    sa.Column("directory_id", sa.Integer, sa.ForeignKey("directory.id"), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("source_id", Words, nullable=False),
    sa.Column("dn", Words, nullable=False),
    sa.Column("new_dn", Words),
    sa.Column("before", Json, nullable=False),
    sa.Column("after", Json, nullable=False),
    sa.Column("error", Words),
)

# One person's move in one wave. Who works on it holds the lease of its mailbox.
move = sa.Table(
    "move",
    metadata,
    _id(),
    sa.Column("wave_id", sa.Integer, sa.ForeignKey("wave.id"), nullable=False),
    sa.Column("source_id", Words, nullable=False, index=True),
    sa.Column("mail", Words, nullable=False),
    sa.Column("uid", Words, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("source_user", Words, nullable=False),
    sa.Column("target_user", Words, nullable=False),
    sa.Column("store", Words, nullable=False),
    _mailbox_id(nullable=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("entered", sa.Double, nullable=False),
    sa.Column("parked", sa.Double),
    sa.Column("released", sa.Double),
    sa.Column("error", Words, nullable=False),
    sa.Column("evidence", Json, nullable=False),
    sa.Column("approvals", Json, nullable=False),
    sa.Column("forecast", Json, nullable=False),
    sa.UniqueConstraint("wave_id", "source_id"),
)

# A process of `mailferry worker`. heartbeat and the next two tables' times: by the database's clock.
worker = sa.Table(
    "worker",
    metadata,
    _id(),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("places", sa.Integer, nullable=False),
    sa.Column("started", sa.Double, nullable=False),
    sa.Column("heartbeat", sa.Double, nullable=False),
    sa.Column("draining", sa.Boolean, nullable=False),
    sa.Column("ended", sa.Double),
)

# What a run asked of the workers: one move to one goal. worker_id, started, heard: of who does it, or did it last.
job = sa.Table(
    "job",
    metadata,
    _id(),
    sa.Column("run_id", sa.Integer, sa.ForeignKey("run.id"), nullable=False, index=True),
    sa.Column("move_id", sa.Integer, sa.ForeignKey("move.id"), nullable=False, index=True),
    sa.Column("verb", sa.Text, nullable=False),
    sa.Column("who", Words, nullable=False),
    sa.Column("queued", sa.Boolean, nullable=False),
    sa.Column("worker_id", sa.Integer, sa.ForeignKey("worker.id")),
    sa.Column("started", sa.Double),
    sa.Column("heard", sa.Double, nullable=False),
    sa.Column("ended", sa.Double),
    sa.Column("lanes", sa.Integer, nullable=False),
    sa.Column("deaths", sa.Integer, nullable=False),
    sa.Column("doing", Words, nullable=False),
    sa.Column("expected", sa.BigInteger, nullable=False),
    sa.Column("counts", Json, nullable=False),
    sa.Column("error", Json),
    sa.Index("ix_job_open", "run_id", postgresql_where=sa.text("ended IS NULL"), sqlite_where=sa.text("ended IS NULL")),
    sa.Index("ix_job_unqueued", "id", postgresql_where=sa.text("NOT queued"), sqlite_where=sa.text("NOT queued")),
)

# What may be used by so many at once, over all hosts: connections to a server, places in a wave. Free: `until` is past.
slot = sa.Table(
    "slot",
    metadata,
    sa.Column("endpoint_id", sa.Integer, sa.ForeignKey("endpoint.id"), primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("job_id", sa.Integer),
    sa.Column("until", sa.Double, nullable=False),
)

# A folder of events, contacts, tasks or notes and where it goes. mailbox, target_key, source_id and kind together are
# unique by put_collection's own check: an id may be too long for PostgreSQL's index.
item_collection = sa.Table(
    "item_collection",
    metadata,
    _id(),
    _mailbox_id(),
    sa.Column("target_key", Words, nullable=False),
    sa.Column("source_id", Words, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("path", Json, nullable=False),
    sa.Column("place", Words),
    sa.Column("source_token", Words, nullable=False),
    sa.Column("target_token", Words, nullable=False),
    sa.Column("completed", sa.Double),
    sa.Column("score", sa.Text),
    sa.Column("findings", Json),
)

# key: digest of source_id, which may be long. digest: of the bytes sent, NULL where they were not ours.
item = sa.Table(
    "item",
    metadata,
    sa.Column("collection_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("key", sa.LargeBinary(20), primary_key=True),
    sa.Column("source_id", Words, nullable=False),
    sa.Column("version", Words, nullable=False),
    sa.Column("uid", Words, nullable=False),
    sa.Column("href", Words, nullable=False),
    sa.Column("etag", Words, nullable=False),
    sa.Column("digest", sa.LargeBinary(20)),
    sqlite_with_rowid=False,
)

# Why an item did not come, or what is different about it. key empty: the collection itself. happens: the item's date.
item_note = sa.Table(
    "item_note",
    metadata,
    sa.Column("collection_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("key", sa.LargeBinary(20), primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text, primary_key=True),
    sa.Column("text", Words, nullable=False),
    sa.Column("item_class", Words, nullable=False),
    sa.Column("happens", Words, nullable=False),
    sa.Column("seen", sa.Double, nullable=False),
    sqlite_with_rowid=False,
)

# Who is to have which right in whose mailbox: one row per owner, person, access and folder, by put's own check, since a
# path may be too long to index.
permission = sa.Table(
    "permission",
    metadata,
    _id(),
    sa.Column("owner", Words, nullable=False, index=True),
    sa.Column("person", Words, nullable=False, index=True),
    sa.Column("access", sa.Text, nullable=False),
    sa.Column("folder", Words, nullable=False),
    sa.Column("rights", sa.Text, nullable=False),
    sa.Column("note", Words, nullable=False),
    sa.Column("origin", Words, nullable=False),
    sa.Column("wanted", sa.Boolean, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("why", Words, nullable=False),
    sa.Column("changed", sa.Double, nullable=False),
)

# The letters that Mailferry has added to an identifier's rights on a folder of the target, which it alone takes away.
permission_given = sa.Table(
    "permission_given",
    metadata,
    _id(),
    sa.Column("owner", Words, nullable=False, index=True),
    sa.Column("person", Words, nullable=False),
    sa.Column("folder", Json, nullable=False),
    sa.Column("identifier", Words, nullable=False),
    sa.Column("letters", sa.Text, nullable=False),
)

# What was uploaded of somebody's rules, and what their scripts were before.
sieve_upload = sa.Table(
    "sieve_upload",
    metadata,
    _id(),
    sa.Column("key", Words, nullable=False, unique=True),
    sa.Column("mail", Words, nullable=False, index=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("before", Words, nullable=False),
    sa.Column("ours", Json, nullable=False),
    sa.Column("parts", Json, nullable=False),
    sa.Column("put_off", Words, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)
