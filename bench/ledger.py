"""The case of a large ledger: what a mailbox and a message cost in it, and how much disk 100 million messages take.

On SQLite and PostgreSQL, as the copy engine writes (chunks of 100: intended on disk, then confirmed), first into an
empty ledger, then into one of 10 million messages, which the database makes itself by the ledger's own schema.
Invariant: every figure comes from rows that are there; 100 million are ten times what 10 million took.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from bench.measure import Usage
from bench.results import DISK_LIMIT, TIME_LIMIT, Row, within
from lab.postgres import Postgres
from mailferry.ledger import open_ledger
from mailferry.ledger.rows import FolderRow, Intent
from mailferry.ledger.store import Ledger

ROWS, QUICK_ROWS = 10_000_000, 200_000
MAILBOXES, QUICK_MAILBOXES = 100, 30
FOLDERS, MESSAGES = 10, 10_000
CHUNK, IN_FOLDER = 100, 100
MAILBOX_MS, MESSAGE_US, DISK_GB = 40.0, 150.0, 20.0

_SERIES = {
    "sqlite": "WITH RECURSIVE series(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM series WHERE n + 1 < {rows})",
    "postgresql": "WITH series AS (SELECT generate_series(0, {rows} - 1) AS n)",
}
_DIGEST = {"sqlite": "randomblob(20)", "postgresql": "decode(md5(n::text) || '00112233', 'hex')"}
_ROWS = """
INSERT INTO message (folder_id, keywords, pass_id, state, flags, source_uid, target_uid, internal_date, size,
                     fingerprint, attempts, digest)
{series} SELECT 1000000 + n / {folder}, NULL, 1, 2, 1, n % {folder} + 1, n % {folder} + 1, 1600000000 + n,
                15000 + n % 9999, 4611686018427387904 + n, 1, {digest} FROM series
"""


def run(rounds: int, place: Path, when: str, say: Callable[[str], None], *, quick: bool = False) -> list[Row]:
    """Both databases; a round is a round of writing, the ten million are made once."""
    rows = QUICK_ROWS if quick else ROWS
    mailboxes = QUICK_MAILBOXES if quick else MAILBOXES
    found = _case("SQLite", str(place / "ledger.db"), rounds, rows, mailboxes, when, say)
    (place / "ledger.db").unlink()
    with Postgres(place / "postgres") as server:
        found += _case("PostgreSQL", server.create_database("ledger"), rounds, rows, mailboxes, when, say)
    return found


def _case(
    name: str, url: str, rounds: int, rows: int, mailboxes: int, when: str, say: Callable[[str], None]
) -> list[Row]:
    case, ours = f"ledger, {name}", "mailferry's ledger"
    with closing(open_ledger(url)) as ledger:
        empty = [_write(ledger, f"empty {number}", mailboxes) for number in range(rounds)]
        before = _size(ledger)
        began = time.perf_counter()
        _load(ledger, rows)
        say(f"{case}: {rows:,} rows made in {time.perf_counter() - began:.0f} s")
        disk = (_size(ledger) - before) / rows
        full = [_write(ledger, f"full {number}", mailboxes) for number in range(rounds)]
    found = []
    for what, taken in (("empty", empty), (f"{rows:,} messages in it", full)):
        one, each = ([Usage(pair[which], 0, 0) for pair in taken] for which in (0, 1))
        mailbox, message = (sorted(use.wall for use in some)[len(some) // 2] for some in (one, each))
        say(f"{case}, {what}: {mailbox * 1e3:.1f} ms a mailbox of {FOLDERS} folders, {message * 1e6:.0f} µs a message")
        thousand = [Usage(use.wall * 1000, use.cpu, use.peak_mb) for use in one]
        million = [Usage(use.wall * 1e6, use.cpu, use.peak_mb) for use in each]
        found += [
            within(case, f"{what}: 1,000 mailboxes", ours, thousand, TIME_LIMIT, mailbox * 1e3, MAILBOX_MS, when),
            within(case, f"{what}: 1,000,000 messages", ours, million, TIME_LIMIT, message * 1e6, MESSAGE_US, when),
        ]
    gigabytes = disk * 100e6 / 1e9
    say(f"{case}: {disk:.0f} bytes a message, {gigabytes:.1f} GB for 100 million")
    size = [Usage(0.001, 0, 0)]
    return [*found, within(case, "100 million messages", ours, size, DISK_LIMIT, gigabytes, DISK_GB, when)]


def _write(ledger: Ledger, name: str, mailboxes: int) -> tuple[float, float]:
    """Seconds for a mailbox without its messages, and for a message."""
    began = time.perf_counter()
    leases = []
    for number in range(mailboxes):
        with ledger.transaction(durable=False):
            row = ledger.mailbox(f"imap://{name}.{number}@old", f"imap://{name}.{number}@new")
        with ledger.transaction(durable=False):
            lease = ledger.acquire(row.id, "bench:1:1-bench", 3600)
            pass_id = ledger.begin_pass(lease, "copy")
        folders = []
        for folder in range(FOLDERS):
            with ledger.transaction(durable=False):
                path = (f"Folder {folder}",)
                folders.append(
                    ledger.put_folder(lease, FolderRow(path, path[0], target_path=path, target_name=path[0]))
                )
            with ledger.transaction(durable=False):
                ledger.finish_folder(lease, folders[-1], source_uidnext=1, source_messages=0, adopted=True)
        with ledger.transaction(durable=False):
            ledger.end_pass(lease, pass_id, "done", {"listed": 0}, 0)
        leases.append((lease, pass_id, folders[0]))
    mailbox = (time.perf_counter() - began) / mailboxes
    began = time.perf_counter()
    chunks = MESSAGES // CHUNK
    for number in range(chunks):
        lease, pass_id, folder_id = leases[number % mailboxes]
        first = number // mailboxes * CHUNK + 1
        uids = range(first, first + CHUNK)
        intents = [Intent(uid, 1, (), 1_600_000_000 + uid, 15_000, uid.to_bytes(20, "big"), 1 << 62) for uid in uids]
        with ledger.transaction():
            ledger.intend(lease, folder_id, pass_id, intents, 1)
        with ledger.transaction(durable=False):
            ledger.confirm(lease, folder_id, [(uid, uid) for uid in uids])
    message = (time.perf_counter() - began) / (chunks * CHUNK)
    for lease, _, _ in leases:
        ledger.release(lease)
    return mailbox, message


def _load(ledger: Ledger, rows: int) -> None:
    with ledger.transaction(durable=False), ledger._write() as connection:
        kind = connection.dialect.name
        series = _SERIES[kind].format(rows=rows)
        connection.execute(sa.text(_ROWS.format(series=series, folder=IN_FOLDER, digest=_DIGEST[kind])))


def _size(ledger: Ledger) -> int:
    """Bytes of the message table, with its index."""
    with ledger._read() as connection:
        if connection.dialect.name == "postgresql":
            return int(connection.exec_driver_sql("SELECT pg_total_relation_size('message')").scalar_one())
        pages, each = (connection.execute(sa.text(f"PRAGMA page_{what}")).scalar_one() for what in ("count", "size"))
        return int(pages * each)
