"""The ledger on SQLite and on PostgreSQL: one suite, real databases, several processes."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from lab.postgres import Postgres
from mailferry.errors import (
    Busy,
    Fenced,
    IntegrityError,
    LocalProtocolError,
    MailferryError,
    SafetyStop,
    Temporary,
    UserError,
)
from mailferry.ledger import migrate, open_ledger, schema
from mailferry.ledger import place as places
from mailferry.ledger.hooks import VARIABLE
from mailferry.ledger.migrate import SCRIPTS, upgrade
from mailferry.ledger.owner import owner_text
from mailferry.ledger.rows import Adopted, Control, FolderRow, Kind, Lease, MessageRow
from mailferry.ledger.store import Ledger
from mailferry.ledger.writer import LedgerThread
from mailferry.model.folder import SpecialUse
from mailferry.model.message import Reason
from mailferry.model.state import State
from tests.integration import ledger_child
from tests.integration.ledger_child import DIGEST, intents

ME = owner_text()
PASS = 7


@pytest.fixture(scope="module")
def cluster() -> Iterator[Postgres]:
    with Postgres(settings="fsync = off") as server:  # here only clients are killed, never the server
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The place of a ledger that does not exist yet."""
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db")
    server: Postgres = request.getfixturevalue("cluster")
    return server.create_database(f"ledger_{uuid.uuid4().hex}")


@pytest.fixture
def ledger(where: str) -> Iterator[Ledger]:
    with closing(open_ledger(where)) as opened:
        yield opened


@pytest.fixture
def lease(ledger: Ledger) -> Lease:
    return ledger.acquire(ledger.mailbox("imap://a@old", "imap://a@new").id, ME, 60)


@pytest.fixture
def inbox(ledger: Ledger, lease: Lease) -> int:
    return ledger.put_folder(lease, FolderRow(source_path=("INBOX",), source_name="INBOX"))


def start(work: str, *args: object) -> subprocess.Popen[bytes]:
    """A new process that does this work of `ledger_child`."""
    # a session of its own: the crash hook kills the whole group
    return subprocess.Popen([sys.executable, ledger_child.__file__, work, json.dumps(args)], start_new_session=True)


def in_child(work: str, *args: object) -> int:
    """Its exit code (negative: the signal that ended it)."""
    return start(work, *args).wait(60)


def in_children(*work: tuple[object, ...]) -> None:
    """All at once; all must end well."""
    children = [start(str(name), *args) for name, *args in work]
    assert [child.wait(120) for child in children] == [0] * len(work)


# Opening


def test_opens_again_with_what_was_written(where: str) -> None:
    with closing(open_ledger(where)) as first:
        made = first.mailbox("a", "b")
    with closing(open_ledger(where)) as second:
        assert second.mailboxes() == [made]


def test_newer_schema_is_refused(where: str) -> None:
    with closing(open_ledger(where)) as ledger, ledger._write() as connection:
        connection.execute(sa.text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(UserError, match="newer Mailferry"):
        open_ledger(where)


def test_file_is_nobody_elses_business(tmp_path: Path) -> None:
    with closing(open_ledger(tmp_path / "l")) as ledger:
        ledger.mailbox("a", "b")
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
        with ledger._read() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_only_what_must_not_be_done_twice_waits_for_the_disk(where: str) -> None:
    sqlite = "://" not in where
    question = "PRAGMA synchronous" if sqlite else "SHOW synchronous_commit"
    levels = []

    def level(ledger: Ledger) -> None:
        with ledger._write() as connection:
            levels.append(connection.exec_driver_sql(question).scalar())

    async def write() -> None:
        async with LedgerThread(where) as thread:
            await thread.write(level)
            await thread.write_durably(level)
            await asyncio.gather(thread.write(level), thread.write_durably(level))
            await thread.write(level)

    asyncio.run(write())
    off, on = (1, 2) if sqlite else ("off", "on")
    assert [levels[0], levels[1], levels[-1]] == [off, on, off]
    assert on in levels[2:4]


def test_many_processes_create_one_ledger(where: str) -> None:
    in_children(*(("open_and_bind", where, number) for number in range(4)))
    with closing(open_ledger(where)) as ledger:
        assert len(ledger.mailboxes()) == 4


def described(where: str) -> list[tuple[Any, ...]]:
    """Everything that the database itself says about the schema."""
    engine = places._engine(where).engine
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            rows = connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name")
        else:
            rows = connection.exec_driver_sql(
                "SELECT 'c', table_name, ordinal_position::text, column_name || ' ' || data_type || ' ' || is_nullable"
                " || ' ' || coalesce(column_default, '') FROM information_schema.columns WHERE table_schema = 'public'"
                " UNION ALL SELECT 'i', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
                " UNION ALL SELECT 'k', conrelid::regclass::text, conname, pg_get_constraintdef(oid)"
                " FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2, 3"
            )
        found = [(*row[:-1], *canonical(row[-1] or "")) for row in rows]
    engine.dispose()
    return found


def canonical(statement: str) -> tuple[str, ...]:
    """A CREATE TABLE as its columns, and its constraints sorted: their order means nothing."""
    text, without_rowid, _ = re.sub(r"[\s()]+", " ", statement).partition("WITHOUT ROWID")
    columns, *constraints = text.split(", CONSTRAINT ")
    return (columns.strip(), *sorted(constraint.strip() for constraint in constraints), without_rowid)


def test_migrations_build_what_the_metadata_says(where: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    open_ledger(where).close()
    other = str(tmp_path / "migrated.db")
    if "://" in where:
        server: Postgres = request.getfixturevalue("cluster")
        other = server.create_database(f"migrated_{uuid.uuid4().hex}")
    engine = places._engine(other).engine
    with engine.begin() as connection:
        upgrade(connection, None, other)
        context = MigrationContext.configure(
            connection,
            opts={"compare_type": True, "compare_server_default": True, "version_table": schema.VERSION_TABLE},
        )
        assert compare_metadata(context, schema.metadata) == []
    engine.dispose()
    assert described(other) == described(where)
    assert len(described(where)) > 20
    open_ledger(other).close()


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    assert ScriptDirectory.from_config(config).get_current_head() == schema.HEAD


NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "%s"


def upgrade() -> None:
    op.add_column("wave", sa.Column("later", sa.Text()))
    op.execute("INSERT INTO wave (name, state, created) VALUES ('made by next', 'x', 0)")
"""


@pytest.mark.parametrize("breaks", [False, True])
def test_an_older_ledger_is_upgraded_whole_or_not_at_all(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks: bool
) -> None:
    """With a made-up next version of the schema; `breaks`: it fails half way."""
    with closing(open_ledger(where)) as ledger:
        ledger.mailbox("a", "b")
    before = described(where)
    scripts = shutil.copytree(SCRIPTS, tmp_path / "scripts")
    (scripts / "versions" / "v_next.py").write_text(
        NEXT % schema.HEAD + ("    op.drop_table('nowhere')\n" if breaks else "")
    )
    monkeypatch.setattr(migrate, "SCRIPTS", scripts)
    with monkeypatch.context() as newer:
        newer.setattr(schema, "HEAD", "next")
        if breaks:
            with pytest.raises(MailferryError):
                open_ledger(where)
        else:
            with closing(open_ledger(where)) as ledger, ledger._read() as connection:
                assert len(ledger.mailboxes()) == 1
                assert connection.execute(sa.text("SELECT name, later FROM wave")).all() == [("made by next", None)]
    if breaks:
        assert described(where) == before
        open_ledger(where).close()  # by the old program, still


# Mailboxes and leases


def test_a_pair_is_made_once(ledger: Ledger) -> None:
    first = ledger.mailbox("imap://DOMAIN\\admin\\a@old", "maildir:/x")
    assert ledger.mailbox("imap://DOMAIN\\admin\\a@old", "maildir:/x") == first
    assert first.source_key == "imap://DOMAIN\\admin\\a@old"
    assert (first.identity, first.state, first.lease_owner) == (None, "new", None)


def test_nobody_elses_target(ledger: Ledger) -> None:
    ledger.mailbox("imap://a@old", "imap://a@new")
    with pytest.raises(SafetyStop, match="already receives imap://a@old"):
        ledger.mailbox("imap://b@old", "imap://a@new")
    with pytest.raises(SafetyStop, match="already copied to imap://a@new"):
        ledger.mailbox("imap://a@old", "imap://b@new")
    assert len(ledger.mailboxes()) == 1
    ledger.mailbox("imap://b@old", "imap://a@new", allow_shared=True)
    ledger.mailbox("imap://a@old", "imap://b@new", allow_shared=True)
    ledger.mailbox("imap://a@new", "imap://a@old")  # the way back
    assert len(ledger.mailboxes()) == 4


def test_identity_is_bound_once(ledger: Ledger, lease: Lease) -> None:
    ledger.bind_identity(lease, "uidvalidity 7")
    ledger.bind_identity(lease, "uidvalidity 7")
    with pytest.raises(SafetyStop, match=r"uidvalidity 8.*uidvalidity 7"):
        ledger.bind_identity(lease, "uidvalidity 8")
    assert ledger.mailbox_by_id(lease.mailbox_id).identity == "uidvalidity 7"
    ledger.bind_identity(lease, "uidvalidity 8", anew=True)
    assert ledger.mailbox_by_id(lease.mailbox_id).identity == "uidvalidity 8"


def test_busy_names_the_holder(ledger: Ledger, lease: Lease) -> None:
    with pytest.raises(Busy, match=rf"process {os.getpid()} on .* since 20.* until 20") as caught:
        ledger.acquire(lease.mailbox_id, ME, 60)
    assert caught.value.about == "imap://a@old"


def test_released_and_expired_leases_are_free(ledger: Ledger, lease: Lease) -> None:
    ledger.release(lease)
    short = ledger.acquire(lease.mailbox_id, ME, -1)
    longer = ledger.acquire(lease.mailbox_id, ME, 60)
    assert lease.epoch < short.epoch < longer.epoch
    for gone in (lease, short):
        with pytest.raises(Fenced):
            ledger.renew(gone)
        with pytest.raises(Fenced):
            ledger.release(gone)
    before = ledger.mailboxes()[0].lease_until
    ledger.renew(dataclasses.replace(longer, ttl=600))
    after = ledger.mailboxes()[0].lease_until
    assert before is not None and after is not None
    assert 530 < after - before < 600


def test_a_dead_holder_here_is_taken_over_at_once(ledger: Ledger, where: str) -> None:
    mailbox_id = ledger.mailbox("a", "b").id
    assert in_child("acquire_and_die", where, mailbox_id) == -signal.SIGKILL
    assert ledger.mailboxes()[0].lease_owner is not None
    assert ledger.acquire(mailbox_id, ME, 60).epoch == 2


def test_a_holder_elsewhere_is_waited_for(ledger: Ledger) -> None:
    mailbox_id = ledger.mailbox("a", "b").id
    ledger.acquire(mailbox_id, "elsewhere:1:1-00000000-1", 3600)
    with pytest.raises(Busy, match="process 1 on elsewhere"):
        ledger.acquire(mailbox_id, ME, 60)


def pending(ledger: Ledger, folder_id: int) -> list[MessageRow]:
    return [row for row in ledger.messages(folder_id) if row.state == State.PENDING]


MUTATIONS: dict[str, Callable[[Ledger, Lease, int], object]] = {
    "bind_identity": lambda ledger, lease, _: ledger.bind_identity(lease, "x"),
    "put_folder": lambda ledger, lease, _: ledger.put_folder(lease, FolderRow(source_path=("x",), source_name="x")),
    "update_folder": lambda ledger, lease, folder: ledger.update_folder(lease, folder, listed=1),
    "intend": lambda ledger, lease, folder: ledger.intend(lease, folder, PASS, intents(8, 9, ("x",)), 1),
    "confirm": lambda ledger, lease, folder: ledger.confirm(lease, folder, [(1, 1)]),
    "adopt": lambda ledger, lease, folder: ledger.adopt(
        lease, folder, PASS, [Adopted(8, 8, State.ADOPTED, 0, (), None, None)]
    ),
    "unsent": lambda ledger, lease, folder: ledger.unsent(lease, folder, [2]),
    "set_flags": lambda ledger, lease, folder: ledger.set_flags(lease, folder, [(1, 31, ())]),
    "set_state": lambda ledger, lease, folder: ledger.set_state(lease, folder, [1], State.GONE),
    "forget": lambda ledger, lease, folder: ledger.forget(lease, folder, [1]),
    "fail": lambda ledger, lease, folder: ledger.fail(lease, folder, 1, Reason.REFUSED, "x"),
    "resolve": lambda ledger, lease, folder: ledger.resolve(lease, folder, [1]),
    "begin_pass": lambda ledger, lease, _: ledger.begin_pass(lease, "x"),
    "progress": lambda ledger, lease, _: ledger.progress(lease, 1, {}, 1),
    "end_pass": lambda ledger, lease, _: ledger.end_pass(lease, 1, "x", {}, 1),
}


def whole(ledger: Ledger, mailbox_id: int, folder_id: int) -> list[object]:
    return [
        ledger.mailboxes(),
        ledger.folders(mailbox_id),
        ledger.messages(folder_id),
        ledger.failures(resolved=True),
        ledger.passes(kind=None),
    ]


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_fenced_process_changes_nothing(ledger: Ledger, name: str) -> None:
    """The same call succeeds, and changes something, under the lease that is current."""
    mailbox_id = ledger.mailbox("a", "b").id
    old = ledger.acquire(mailbox_id, ME, -1)
    folder = ledger.put_folder(old, FolderRow(source_path=("INBOX",), source_name="INBOX"))
    ledger.begin_pass(old, "seed")
    ledger.intend(old, folder, PASS, intents(1, 2), 1)
    ledger.intend(old, folder, PASS, intents(2, 2), 1)
    ledger.fail(old, folder, 1, Reason.QUOTA, "full")
    new = ledger.acquire(mailbox_id, ME, 60)
    before = whole(ledger, mailbox_id, folder)
    with pytest.raises(Fenced):
        MUTATIONS[name](ledger, old, folder)
    assert whole(ledger, mailbox_id, folder) == before
    MUTATIONS[name](ledger, new, folder)
    assert whole(ledger, mailbox_id, folder) != before


@pytest.mark.parametrize("name", ["intend", "confirm", "set_state", "forget", "update_folder", "fail"])
def test_a_lease_is_for_its_own_mailbox_only(ledger: Ledger, lease: Lease, inbox: int, name: str) -> None:
    other = ledger.acquire(ledger.mailbox("c", "d").id, ME, 60)
    with pytest.raises(LocalProtocolError, match="has no folder"):
        MUTATIONS[name](ledger, other, inbox)


# Folders


@pytest.mark.parametrize(
    "path",
    [
        ("INBOX",),
        ("Входящие", "日本"),
        ('quo"te', "back\\slash", "a/b", " "),
        ("nul\0", "lone\udcff"),
        tuple("x" * 300 for _ in range(30)),
    ],
)
def test_folder_names_of_every_kind(ledger: Ledger, lease: Lease, path: tuple[str, ...]) -> None:
    row = FolderRow(
        source_path=path,
        source_name="/".join(path),
        target_path=path[::-1],
        target_name=path[0],
        special_use=SpecialUse.SENT,
        source_uidvalidity=2**32 - 1,
        source_modseq=2**63 - 1,
        excluded='rule "x"',
        watch_until=1.5,
    )
    number = ledger.put_folder(lease, row)
    assert ledger.folders(lease.mailbox_id) == [dataclasses.replace(row, id=number, mailbox_id=lease.mailbox_id)]
    with pytest.raises(LocalProtocolError, match="already"):
        ledger.put_folder(lease, row)


def test_update_folder_changes_only_what_is_named(ledger: Ledger, lease: Lease, inbox: int) -> None:
    ledger.update_folder(lease, inbox, target_path=("INBOX", "a"), source_uidnext=5, special_use=SpecialUse.INBOX)
    ledger.update_folder(lease, inbox, source_uidnext=None, listed=3)
    (row,) = ledger.folders(lease.mailbox_id)
    assert (row.target_path, row.source_uidnext, row.listed) == (("INBOX", "a"), None, 3)
    assert row.special_use is SpecialUse.INBOX
    assert row.source_path == ("INBOX",)


# Messages


def test_the_life_of_a_message(ledger: Ledger, lease: Lease, inbox: int) -> None:
    ledger.intend(lease, inbox, PASS, intents(1, 3, ("$Forwarded", "Été")), 100)
    ledger.intend(lease, inbox, PASS, intents(3, 4), 200)
    assert ledger.folders(lease.mailbox_id)[0].pending_base == 100
    rows = {row.source_uid: row for row in pending(ledger, inbox)}
    assert [row.attempts for row in rows.values()] == [1, 1, 2, 1]
    assert rows[1] == MessageRow(
        1, None, State.PENDING, 1, ("$Forwarded", "Été"), 1_700_000_001, 12_000, DIGEST, 7, 1, PASS
    )
    assert rows[3].keywords == ()

    ledger.confirm(lease, inbox, [(1, 101), (2, None)])
    assert [(row.source_uid, row.target_uid) for row in ledger.messages(inbox)][:2] == [(1, 101), (2, None)]
    assert [row.source_uid for row in pending(ledger, inbox)] == [3, 4]

    ledger.set_flags(lease, inbox, [(1, 31, ("Été",)), (2, 0, ())])
    assert [(row.flags, row.keywords) for row in ledger.messages(inbox)][:2] == [(31, ("Été",)), (0, ())]

    ledger.set_state(lease, inbox, [1], State.REMOVED)
    ledger.set_state(lease, inbox, [2**32 - 1], State.GONE)
    ledger.adopt(lease, inbox, PASS, [Adopted(5, 105, State.PROVEN, 1, ("new",), 9, 8, None, -5)])
    assert ledger.counts(lease.mailbox_id) == {
        inbox: {State.REMOVED: 1, State.COPIED: 1, State.PENDING: 2, State.PROVEN: 1, State.GONE: 1}
    }
    ledger.forget(lease, inbox, [1, 2, 3, 2**32 - 1, 77])
    assert ledger.messages(inbox) == [
        MessageRow(4, None, State.PENDING, 1, (), 1_700_000_004, 12_000, DIGEST, 28, 1, PASS),
        MessageRow(5, 105, State.PROVEN, 1, ("new",), 9, 8, None, -5, 0, PASS),
    ]


def test_sendings_that_left_nothing_are_taken_off(ledger: Ledger, lease: Lease, inbox: int) -> None:
    for _ in range(3):
        ledger.intend(lease, inbox, PASS, intents(1, 2), 1)
    ledger.confirm(lease, inbox, [(1, 50)])
    ledger.confirm(lease, inbox, [(2, 51)], State.ADOPTED)
    ledger.unsent(lease, inbox, [1, 1])
    assert [(row.state, row.attempts) for row in ledger.messages(inbox)] == [(State.COPIED, 1), (State.ADOPTED, 3)]


def test_an_adopted_message_keeps_its_attempts(ledger: Ledger, lease: Lease, inbox: int) -> None:
    """Recovery: sent, killed, found by its digest."""
    ledger.intend(lease, inbox, PASS, intents(1, 1), 1)
    ledger.adopt(lease, inbox, PASS, [Adopted(1, 50, State.COPIED, 1, (), 9, 8, DIGEST, 7)])
    assert ledger.messages(inbox) == [MessageRow(1, 50, State.COPIED, 1, (), 9, 8, DIGEST, 7, 1, PASS)]


def test_sending_again_forgets_the_old_target_uid(ledger: Ledger, lease: Lease, inbox: int) -> None:
    ledger.intend(lease, inbox, PASS, intents(1, 1), 1)
    ledger.confirm(lease, inbox, [(1, 50)])
    ledger.intend(lease, inbox, PASS, intents(1, 1), 1)
    assert pending(ledger, inbox)[0][:3] == (1, None, State.PENDING)


def test_only_what_was_intended_is_confirmed(ledger: Ledger, lease: Lease, inbox: int) -> None:
    ledger.intend(lease, inbox, PASS, intents(1, 2), 1)
    with pytest.raises(IntegrityError, match="never intended"):
        ledger.confirm(lease, inbox, [(1, 1), (9, 9)])
    assert [row.state for row in ledger.messages(inbox)] == [State.PENDING, State.PENDING]


def test_arrivals_are_what_a_pass_and_later_ones_brought_to_this_mailbox(
    ledger: Ledger, lease: Lease, inbox: int
) -> None:
    sent = ledger.put_folder(lease, FolderRow(source_path=("Sent",), source_name="Sent"))
    other = ledger.acquire(ledger.mailbox("c", "d").id, ME, 60)
    theirs = ledger.put_folder(other, FolderRow(source_path=("INBOX",), source_name="INBOX"))
    for holder, folder in ((lease, inbox), (lease, sent), (other, theirs)):
        ledger.intend(holder, folder, 1, intents(1, 1), 1)
        ledger.intend(holder, folder, 2, intents(2, 3, ("x",)), 1)  # of these, 3 stays pending
        ledger.confirm(holder, folder, [(1, 11), (2, 12)])
    found = ledger.arrivals(lease.mailbox_id, 2)
    assert [(folder, row.source_uid, row.target_uid, row.keywords, row.pass_id) for folder, row in found] == [
        (inbox, 2, 12, ("x",), 2),
        (sent, 2, 12, ("x",), 2),
    ]
    assert len(ledger.arrivals(lease.mailbox_id, 0)) == 4
    assert ledger.arrivals(lease.mailbox_id, 3) == []


def test_keywords_survive_a_rollback(ledger: Ledger, lease: Lease, inbox: int) -> None:
    """What was rolled back must not be taken for stored; long sets and odd ones are stored too."""
    many = tuple(f"keyword-{number:04}-{'ы' * 20}" for number in range(300))
    with pytest.raises(ZeroDivisionError), ledger.transaction():
        ledger.intend(lease, inbox, PASS, intents(1, 1, many), 1)
        _ = 1 // 0
    assert ledger.messages(inbox) == []
    ledger.intend(lease, inbox, PASS, [*intents(1, 1, ("other",)), *intents(2, 2, many)], 1)
    assert [row.keywords for row in ledger.messages(inbox)] == [("other",), many]


def test_keywords_written_by_another_process_are_read(ledger: Ledger, lease: Lease, inbox: int, where: str) -> None:
    with closing(open_ledger(where)) as other:
        other.intend(lease, inbox, PASS, intents(1, 1, ("theirs",)), 1)
    assert ledger.messages(inbox)[0].keywords == ("theirs",)


# Failures, passes, runs, audit


def test_a_failure_is_one_row_until_it_is_resolved(ledger: Ledger, lease: Lease, inbox: int) -> None:
    first = ledger.begin_pass(lease, "seed")
    ledger.fail(lease, inbox, 5, Reason.QUOTA, "no room\0 at all")
    ledger.fail(lease, inbox, None, Reason.FOLDER, "cannot be opened")
    ledger.fail(lease, None, None, Reason.ACL, "rights", Kind.DIFFERENCE)
    ledger.end_pass(lease, first, "failures", {"failed": 1}, 0)
    second = ledger.begin_pass(lease, "delta")
    ledger.fail(lease, inbox, 5, Reason.QUOTA, "still no room")
    rows = ledger.failures(lease.mailbox_id)
    assert [(row.folder_id, row.source_uid, row.kind, row.reason, row.text) for row in rows] == [
        (inbox, 5, Kind.FAILED, Reason.QUOTA, "still no room"),
        (inbox, None, Kind.FAILED, Reason.FOLDER, "cannot be opened"),
        (None, None, Kind.DIFFERENCE, Reason.ACL, "rights"),
    ]
    assert [(row.first_pass, row.last_pass) for row in rows] == [(first, second), (first, first), (first, first)]
    assert ledger.counts(lease.mailbox_id) == {inbox: {State.FAILED: 1}}

    ledger.resolve(lease, inbox)
    ledger.intend(lease, inbox, PASS, intents(5, 5), 1)
    ledger.confirm(lease, inbox, [(5, 1)])
    ledger.end_pass(lease, second, "done", {"copied": 1}, 12_000)
    assert [row.reason for row in ledger.failures()] == [Reason.ACL]
    assert len(ledger.failures(resolved=True)) == 3


def test_a_failure_does_not_undo_a_copy(ledger: Ledger, lease: Lease, inbox: int) -> None:
    """A copied message marked failed would be sent again: a twin."""
    ledger.intend(lease, inbox, PASS, intents(1, 2), 1)
    ledger.confirm(lease, inbox, [(1, 1)])
    ledger.fail(lease, inbox, 1, Reason.UNREADABLE, "x")
    ledger.fail(lease, inbox, 2, Reason.REFUSED, "x")
    ledger.fail(lease, inbox, 3, Reason.KEYWORDS, "x", Kind.DIFFERENCE)
    assert [(row.source_uid, row.state) for row in ledger.messages(inbox)] == [(1, State.COPIED), (2, State.FAILED)]


def test_passes(ledger: Ledger, lease: Lease) -> None:
    killed = ledger.begin_pass(lease, "seed", ledger.begin_run("copy"))
    ledger.progress(lease, killed, {"copied": 5}, 2**40)
    ended = ledger.begin_pass(lease, "delta")
    ledger.end_pass(lease, ended, "done", {"copied": 7}, 1)
    one, two = ledger.passes(lease.mailbox_id, kind=None)
    assert (one.outcome, one.ended, one.counts, one.bytes) == ("interrupted", None, {"copied": 5}, 2**40)
    assert (two.outcome, two.counts) == ("done", {"copied": 7})
    assert two.ended is not None and two.ended >= two.started


def test_a_run_is_steered_from_another_terminal(ledger: Ledger, where: str) -> None:
    number = ledger.begin_run("mailferry copy")
    assert ledger.heartbeat(number, {"copied": 1}) is Control.RUN
    with closing(open_ledger(where)) as terminal:
        (seen,) = terminal.runs(ended=False)
        assert (seen.pid, seen.summary) == (os.getpid(), {"copied": 1})
        assert terminal.control_run(number, Control.PAUSE)
    assert ledger.heartbeat(number, {}) is Control.PAUSE
    ledger.end_run(number, {"copied": 2})
    assert not ledger.control_run(number, Control.STOP)
    assert ledger.runs(ended=False) == []
    assert ledger.runs()[0].summary == {"copied": 2}


def test_audit_and_verification(ledger: Ledger, lease: Lease, inbox: int) -> None:
    ledger.audit("late twin removed", mailbox_id=lease.mailbox_id, uid=7, name="\0é")
    ledger.audit("opened", who="anna@desk")
    first, second = ledger.events()
    assert (first.what, first.data, first.mailbox_id) == ("late twin removed", {"uid": 7, "name": "\0é"}, 1)
    assert "@" in first.who
    assert ledger.events(after=first.id) == [second]
    assert ledger.events(lease.mailbox_id) == [first]
    ledger.put_verification(lease.mailbox_id, "Good", {"differences": [1]}, folder_id=inbox)
    (row,) = ledger.verifications(lease.mailbox_id)
    assert (row.score, row.result, row.folder_id, row.pass_id) == ("Good", {"differences": [1]}, inbox, None)


# Crashes and other processes


def test_hooks_stand_around_the_commit(
    ledger: Ledger, lease: Lease, inbox: int, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []
    with closing(open_ledger(where)) as other:
        monkeypatch.setattr(Ledger, "hook", lambda point: seen.append((point, len(pending(other, inbox)))))
        ledger.intend(lease, inbox, PASS, intents(1, 2), 1)
        ledger.confirm(lease, inbox, [(1, 1)])
    named = [one for one in seen if not one[0].startswith("commit")]
    assert named == [("intend:before", 0), ("intend:after", 2), ("confirm:before", 2), ("confirm:after", 1)]
    assert [one for one in seen if one not in named] == [(f"commit:{one[0].split(':')[1]}", one[1]) for one in named]


@pytest.mark.parametrize(
    ("point", "pending", "copied"),
    [("intend:before", 0, 20), ("intend:after", 10, 20), ("confirm:before", 10, 20), ("confirm:after", 0, 30)],
)
def test_killed_at_a_named_point(
    ledger: Ledger,
    lease: Lease,
    inbox: int,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    pending: int,
    copied: int,
) -> None:
    monkeypatch.setenv(VARIABLE, f"{point}:3")
    assert in_child("copy_chunks", where, lease.mailbox_id, lease.epoch, inbox, 5) == -signal.SIGKILL
    states = [row.state for row in ledger.messages(inbox)]
    assert (states.count(State.PENDING), states.count(State.COPIED)) == (pending, copied)


def test_many_processes_write_at_once(where: str) -> None:
    in_children(*(("write_own_mailbox", where, number, 50) for number in range(4)))
    with closing(open_ledger(where)) as ledger:
        for mailbox in ledger.mailboxes():
            (folder,) = ledger.folders(mailbox.id)
            rows = ledger.messages(folder.id)
            assert [row.source_uid for row in rows] == list(range(1, 501))
            assert {row.state for row in rows} == {State.COPIED}
            assert [row.keywords for row in rows[::10]] == [(f"set-{chunk % 7}",) for chunk in range(50)]


def test_two_processes_race_for_one_mailbox(where: str) -> None:
    """Whoever gets the lease works; nobody else ever holds it at the same time."""
    with closing(open_ledger(where)) as ledger:
        mailbox_id = ledger.mailbox("a", "b").id
    in_children(*(("increment", where, mailbox_id, 20) for _ in range(3)))
    with closing(open_ledger(where)) as ledger:
        assert ledger.mailboxes()[0].identity == "60"


def test_a_write_inside_a_read_is_our_bug(ledger: Ledger, lease: Lease) -> None:
    with pytest.raises(LocalProtocolError), ledger._read():
        ledger.begin_pass(lease, "seed")


# Trouble


def test_disk_full(tmp_path: Path) -> None:
    assert in_child("fill_the_disk", str(tmp_path / "l"), str(tmp_path / "report")) == 0
    report = json.loads((tmp_path / "report").read_text())
    assert 100 < report["written"] < 1_000_000
    assert report["said"].startswith(str(tmp_path / "l"))
    assert "nothing of this step was recorded" in report["said"]
    assert report["there"] == report["written"]
    assert report["after"] == report["written"] + 100


def test_locked_by_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(places._SQLITE_ARGUMENTS, "timeout", 0.1)
    with closing(open_ledger(tmp_path / "l")) as ledger, closing(sqlite3.connect(tmp_path / "l")) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(Temporary, match="locked"):
            ledger.mailbox("a", "b")
        assert ledger.mailboxes() == []  # reading goes on
        holder.rollback()
        ledger.mailbox("a", "b")


def test_connection_lost(cluster: Postgres) -> None:
    url = cluster.create_database(f"lost_{uuid.uuid4().hex}")
    with closing(open_ledger(url)) as ledger:
        with psycopg.connect(cluster.url.replace("+psycopg", ""), autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'lost%'")
        with pytest.raises(Temporary):
            ledger.mailbox("a", "b")
        ledger.mailbox("a", "b")
        assert len(ledger.mailboxes()) == 1


def test_unusable_databases(cluster: Postgres) -> None:
    with pytest.raises(UserError, match="does not exist"):
        open_ledger(cluster.database_url("nowhere"))
    with psycopg.connect(cluster.url.replace("+psycopg", ""), autocommit=True) as other:
        other.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(UserError, match="LATIN1"):
        open_ledger(cluster.database_url("latin"))


# The thread


async def prepared(thread: LedgerThread, number: int = 1) -> tuple[Lease, int]:
    mailbox = await thread.write(Ledger.mailbox, f"source {number}", f"target {number}")
    lease = await thread.write(Ledger.acquire, mailbox.id, ME, 60)
    row = FolderRow(source_path=("INBOX",), source_name="INBOX")
    return lease, await thread.write(Ledger.put_folder, lease, row)


def test_waiting_writes_are_committed_together(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    points: list[str] = []

    async def scenario() -> None:
        async with LedgerThread(where) as thread:
            lease, folder = await prepared(thread)
            monkeypatch.setattr(Ledger, "hook", points.append)
            chunks = [intents(first, first + 9) for first in range(1, 1000, 10)]
            await asyncio.gather(*(thread.write(Ledger.intend, lease, folder, PASS, chunk, 1) for chunk in chunks))
            assert len(await thread.call(Ledger.messages, folder)) == 1000

    asyncio.run(scenario())
    assert points.count("intend:before") == points.count("intend:after") == 100
    assert 1 <= points.count("commit:after") <= 10


def test_one_failing_write_takes_no_other_with_it(where: str) -> None:
    async def scenario() -> None:
        async with LedgerThread(where) as thread:
            lease, folder = await prepared(thread)
            gone = dataclasses.replace(lease, epoch=lease.epoch - 1)
            results = await asyncio.gather(
                *(
                    thread.write(Ledger.intend, gone if uid % 5 == 0 else lease, folder, PASS, intents(uid, uid), 1)
                    for uid in range(1, 21)
                ),
                return_exceptions=True,
            )
            assert [isinstance(result, Fenced) for result in results] == [uid % 5 == 0 for uid in range(1, 21)]
            rows = await thread.call(Ledger.messages, folder)
            assert [row.source_uid for row in rows] == [uid for uid in range(1, 21) if uid % 5]
            assert {row.attempts for row in rows} == {1}

    asyncio.run(scenario())


def test_a_cancelled_caller_disturbs_nobody(where: str) -> None:
    async def scenario() -> None:
        async with LedgerThread(where) as thread:
            lease, folder = await prepared(thread)
            tasks = [
                asyncio.create_task(thread.write(Ledger.intend, lease, folder, PASS, intents(uid, uid), 1))
                for uid in range(1, 11)
            ]
            await asyncio.sleep(0)
            tasks[3].cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(result) for result in results].count(asyncio.CancelledError) == 1
            there = {row.source_uid for row in await thread.call(Ledger.messages, folder)}
            assert there >= {1, 2, 3, 5, 6, 7, 8, 9, 10}

    asyncio.run(scenario())


def test_a_locked_ledger_is_waited_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty waiting writes meet a lock together: they must not wait for it one after the other."""
    monkeypatch.setitem(places._SQLITE_ARGUMENTS, "timeout", 0.3)

    async def scenario() -> None:
        async with LedgerThread(tmp_path / "l") as thread:
            lease, folder = await prepared(thread)
            with closing(sqlite3.connect(tmp_path / "l")) as holder:
                holder.execute("BEGIN IMMEDIATE")
                started = asyncio.get_running_loop().time()
                writes = (
                    thread.write(Ledger.intend, lease, folder, PASS, intents(uid, uid), 1) for uid in range(1, 21)
                )
                results = await asyncio.gather(*writes, return_exceptions=True)
                assert {type(result) for result in results} == {Temporary}
                assert asyncio.get_running_loop().time() - started < 3
                holder.rollback()
            await thread.write(Ledger.intend, lease, folder, PASS, intents(1, 1), 1)

    asyncio.run(scenario())


def test_opening_fails_to_whoever_opens(tmp_path: Path) -> None:
    async def scenario() -> None:
        with pytest.raises(UserError):
            async with LedgerThread(tmp_path / "missing" / "l"):
                raise AssertionError("it opened")

    asyncio.run(scenario())


def test_a_closed_thread_says_so(where: str) -> None:
    async def scenario() -> None:
        async with LedgerThread(where) as thread:
            pending = asyncio.create_task(thread.write(Ledger.mailbox, "a", "b"))
            await asyncio.sleep(0)
        assert (await pending).source_key == "a"  # what was queued was done first
        with pytest.raises(LocalProtocolError, match="not open"):
            await thread.call(Ledger.mailboxes)

    asyncio.run(scenario())
