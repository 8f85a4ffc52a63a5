"""What the databases say becomes the right error of ours, without secrets. Real sqlite3 errors, psycopg's classes."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import exc

from mailferry.errors import IntegrityError, LocalProtocolError, MailferryError, Permanent, Temporary, UserError
from mailferry.ledger import open_ledger
from mailferry.ledger.faults import from_sqlite, translate
from mailferry.ledger.owner import dead, host_and_pid, owner_text


def provoke(path: Path, statements: list[str]) -> sqlite3.Error:
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        for statement in statements:
            connection.execute(statement)
    except sqlite3.Error as error:
        return error
    finally:
        connection.close()
    raise AssertionError("nothing was raised")


def test_full(tmp_path: Path) -> None:
    rows = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n LIMIT 999) INSERT INTO t SELECT x FROM n"
    error = provoke(tmp_path / "l", ["CREATE TABLE t(x)", "PRAGMA max_page_count=2", rows])
    fault = from_sqlite(error, "/var/ledger")
    assert isinstance(fault, Permanent)
    assert "full" in str(fault)
    assert fault.about == "/var/ledger"


def test_locked(tmp_path: Path) -> None:
    holder = sqlite3.connect(tmp_path / "l", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    assert isinstance(from_sqlite(provoke(tmp_path / "l", ["BEGIN IMMEDIATE"]), ""), Temporary)
    holder.close()


def test_not_a_database(tmp_path: Path) -> None:
    (tmp_path / "l").write_bytes(b"From: somebody\r\n" * 100)
    assert isinstance(from_sqlite(provoke(tmp_path / "l", ["SELECT * FROM sqlite_master"]), ""), IntegrityError)


def test_constraint_is_our_bug(tmp_path: Path) -> None:
    error = provoke(tmp_path / "l", ["CREATE TABLE t(x NOT NULL)", "INSERT INTO t VALUES (NULL)"])
    assert isinstance(from_sqlite(error, ""), LocalProtocolError)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (psycopg.errors.DiskFull("could not extend file"), Permanent),
        (psycopg.errors.DeadlockDetected("deadlock"), Temporary),
        (psycopg.errors.SerializationFailure("again"), Temporary),
        (psycopg.errors.LockNotAvailable("lock timeout"), Temporary),
        (psycopg.errors.AdminShutdown("terminating"), Temporary),
        (psycopg.errors.TooManyConnections("too many"), Temporary),
        (psycopg.OperationalError("the connection is closed"), Temporary),
        (psycopg.OperationalError('FATAL: password authentication failed for user "x"'), UserError),
        (psycopg.errors.InsufficientPrivilege("permission denied"), UserError),
        (psycopg.errors.ReadOnlySqlTransaction("read-only"), UserError),
        (psycopg.errors.DataCorrupted("invalid page"), IntegrityError),
        (psycopg.errors.NotNullViolation("null"), LocalProtocolError),
    ],
)
def test_postgres(raised: psycopg.Error, expected: type[MailferryError]) -> None:
    wrapper = exc.OperationalError if isinstance(raised, psycopg.OperationalError) else exc.ProgrammingError
    fault = translate(wrapper("SELECT secret", {"secret": "hunter2"}, raised), "postgresql://h/d")
    assert type(fault) is expected
    assert "secret" not in str(fault)
    assert "hunter2" not in str(fault)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@127.0.0.1:1/d",
        "postgresql://u@127.0.0.1:1/d?password=hunter2",
        "postgresql://u:hunter2@[::1/d",
        "postgresql://u:hunter2@h:port/d",
        "mysql://u:hunter2@h/d",
    ],
)
def test_no_password_in_any_error(url: str) -> None:
    with pytest.raises((Temporary, UserError)) as caught:
        open_ledger(url)
    fault = caught.value
    assert "hunter2" not in f"{fault} {fault.about} {fault.advice} {fault.__cause__}"


@pytest.mark.parametrize("place", ["missing/ledger", "."])
def test_unusable_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        open_ledger(place)
    assert caught.value.about == place


def test_another_programs_database(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "places.sqlite")
    other.execute("CREATE TABLE moz_bookmarks(x)")
    other.close()
    with pytest.raises(UserError, match="moz_bookmarks"):
        open_ledger(tmp_path / "places.sqlite")


def test_garbage_and_damage(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"not a database at all\n" * 500)
    with pytest.raises(IntegrityError) as caught:
        open_ledger(tmp_path / "text")
    assert caught.value.about == str(tmp_path / "text")

    path = tmp_path / "ledger"
    open_ledger(path).close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    with pytest.raises(IntegrityError):
        open_ledger(path).mailboxes()


def test_owner_is_alive_then_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = owner_text(child.pid)
    assert host_and_pid(owner)[1] == child.pid
    assert not dead(owner)
    child.kill()
    child.wait()
    assert dead(owner)
    if child.stdin is not None:
        child.stdin.close()


def test_zombie_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = owner_text(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, but still in the process table
    assert dead(owner)
    child.wait()
    if child.stdin is not None:
        child.stdin.close()


def test_reused_pid_is_dead_but_another_machine_is_unknown() -> None:
    host, pid, start = owner_text().rsplit(":", 2)
    ticks, _, place = start.partition("-")
    assert not dead(f"{host}:{pid}:{ticks}-{place}")
    assert dead(f"{host}:{pid}:{int(ticks) - 1}-{place}")
    assert not dead(f"{host}:{pid}:{int(ticks) - 1}-00000000-1")


def test_importing_the_package_costs_nothing() -> None:
    code = "import sys, mailferry.ledger.rows, mailferry.ledger.writer; print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_opening_does_not_import_alembic(tmp_path: Path) -> None:
    code = (
        "import sys; from mailferry.ledger import open_ledger\n"
        "for _ in range(2): open_ledger(sys.argv[1]).close()\n"
        "print('alembic' in sys.modules, 'sqlalchemy.orm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "l")], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"
