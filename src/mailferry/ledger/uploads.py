"""What was uploaded of people's rules: one row for each person and server.

Functions over an open `Ledger`. Invariant: a row is written before anything is put on a server, so that what stands
there and has no row is not ours; with a lease, a worker whose mailbox was taken over changes nothing.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mailferry.ledger.rows import Lease
from mailferry.ledger.schema import sieve_upload
from mailferry.model.rule import Upload, UploadState

if TYPE_CHECKING:
    from mailferry.ledger.store import Ledger

_COLUMNS = tuple(sieve_upload.c[name] for name in Upload.__slots__)


def upload_of(ledger: Ledger, key: str) -> Upload | None:
    """What is known of the scripts with this key; None: nothing was ever put there."""
    with ledger._read() as connection:
        row = connection.execute(sa.select(*_COLUMNS).where(sieve_upload.c.key == key)).one_or_none()
    return None if row is None else _upload(row)


def uploads(ledger: Ledger) -> list[Upload]:
    """All of them, by address."""
    with ledger._read() as connection:
        return [_upload(row) for row in connection.execute(sa.select(*_COLUMNS).order_by(sieve_upload.c.mail))]


def keep(ledger: Ledger, upload: Upload, lease: Lease | None = None) -> Upload:
    """Write the row as it is to be; as written. A change of its state gets a line in the audit. Hooks: `rules STATE`.
    Fenced: the lease is over."""
    now = replace(upload, at=time.time())
    values = {name: getattr(now, name) for name in Upload.__slots__} | {"state": now.state.value}
    values["ours"] = {name: list(digests) for name, digests in now.ours.items()}
    with ledger.transaction(), ledger._write() as connection:
        if lease is not None:
            ledger._guard(connection, lease)
        before = upload_of(ledger, upload.key)
        if before is None:
            connection.execute(sieve_upload.insert().values(**values))
        else:
            connection.execute(sieve_upload.update().where(sieve_upload.c.key == upload.key).values(**values))
        ledger._points.append(f"rules {now.state.value}")
        if before is None or (before.state, before.put_off) != (now.state, now.put_off):
            told = {"key": now.key, "mail": now.mail, "state": now.state.value, "put_off": now.put_off}
            ledger.audit("rules kept", mailbox_id=lease.mailbox_id if lease else None, **told)
    return now


def _upload(row: sa.Row[Any]) -> Upload:
    values = row._asdict()
    ours = {name: tuple(digests) for name, digests in row.ours.items()}
    return Upload(**values | {"state": UploadState(row.state), "ours": ours, "parts": tuple(row.parts)})
