"""`Ledger`: every reading and writing of what has been done. Synchronous; used by one thread. Decides nothing.

Invariant: a method that takes a lease checks its epoch in the transaction that writes, so a process whose mailbox was
taken over changes nothing. Bulk methods take sequences and write them in one transaction. Each method is its own
transaction unless called within `transaction()`. Raised by any of them: Fenced, Temporary (locked, connection lost),
Permanent (disk full), IntegrityError (damaged). Longer than most modules, because it is one API of small statements.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Unpack

import sqlalchemy as sa
from sqlalchemy import exc

from mailferry.errors import Busy, Fenced, IntegrityError, LocalProtocolError, SafetyStop
from mailferry.ledger import hooks, place, statements
from mailferry.ledger.faults import translate
from mailferry.ledger.owner import dead, host_and_pid, owner_text, person
from mailferry.ledger.rows import (
    Adopted,
    Control,
    Event,
    Failure,
    FolderChanges,
    FolderRow,
    Intent,
    Kind,
    Lease,
    Mailbox,
    MessageRow,
    Pass,
    Run,
    Verification,
)
from mailferry.ledger.schema import (
    event,
    failure,
    folder,
    keyword_set,
    mailbox,
    message,
    pass_,
    run,
    to_json,
    verification,
)
from mailferry.model.folder import SpecialUse
from mailferry.model.message import Reason
from mailferry.model.state import HELD, State

NEW = "new"
"""The state of a mailbox that nothing was done with."""

_BINDING_LOCK = 0x6D66_6C68  # PostgreSQL advisory lock: one process binds mailboxes at a time


class Ledger:
    """An open ledger. `name` is its place for people, without secrets.

    `hook` is called around commits of writes with `commit:before` and `commit:after`, of those that intend or confirm
    messages also with `intend:before` and so on.
    """

    hook: ClassVar[Callable[[str], None] | None] = hooks.from_environment()

    def __init__(self, where: str | Path) -> None:
        found = place.connect(where)
        self.name = found.name
        self._engine = found.engine
        self._sqlite = found.sqlite
        self._upserts = statements.build(found.engine.dialect.name)
        self._durable = True  # how SQLite syncs now (`place` opens it so)
        self._open: sa.Connection | None = None  # the transaction under way
        self._writing = False
        self._points: list[str] = []  # what the transaction under way tells the hook
        self._words: dict[int | None, tuple[str, ...]] = {None: ()}
        self._numbers: dict[tuple[str, ...], int | None] = {(): None}

    def close(self) -> None:
        self._engine.dispose()

    # Transactions

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[None]:
        """Everything written inside is committed together at the end, or not at all if anything is raised.

        Not `durable`: it survives a killed process at once, a power cut only with the next durable transaction.
        """
        with self._begin(writing=True, durable=durable):
            yield

    @contextmanager
    def _begin(self, writing: bool, durable: bool = True) -> Iterator[sa.Connection]:
        """A transaction, or the one that is under way."""
        if self._open is not None:
            if writing and not self._writing:
                raise LocalProtocolError("a write inside a read of the ledger")
            yield self._open
            return
        try:
            with self._engine.connect() as connection, connection.begin():
                if self._sqlite:
                    if writing and durable != self._durable:
                        connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                        self._durable = durable
                    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
                elif writing and not durable:
                    connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
                self._open, self._writing = connection, writing
                if writing:
                    self._points.append("commit")
                yield connection
                self._reach("before")
            self._reach("after")
        except BaseException as error:
            self._words, self._numbers = {None: ()}, {(): None}  # they may name rows that were rolled back
            if isinstance(error, exc.SQLAlchemyError):
                raise translate(error, self.name) from error
            raise
        finally:
            self._open = None
            self._points.clear()

    def _write(self) -> AbstractContextManager[sa.Connection]:
        return self._begin(writing=True)

    def _read(self) -> AbstractContextManager[sa.Connection]:
        return self._begin(writing=False)

    def _reach(self, when: str) -> None:
        if Ledger.hook is not None:
            for point in self._points:
                Ledger.hook(f"{point}:{when}")

    def _now(self, connection: sa.Connection) -> float:
        """Seconds since the epoch by the one clock that all users of this ledger share."""
        if self._sqlite:
            return time.time()
        now: float = connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp())::float8")).scalar_one()
        return now

    def _guard(self, connection: sa.Connection, lease: Lease, folder_id: int | None = None) -> None:
        """Fenced unless the lease is current; LocalProtocolError if the folder is another mailbox's."""
        if folder_id is None:
            epoch = connection.execute(statements.epoch, {"of_mailbox": lease.mailbox_id}).scalar()
        else:
            keys = {"of_mailbox": lease.mailbox_id, "of_folder": folder_id}
            epoch = connection.execute(statements.folder_epoch, keys).scalar()
        if epoch is None:
            raise LocalProtocolError(f"mailbox {lease.mailbox_id} has no folder {folder_id}", about=self.name)
        if epoch != lease.epoch:
            raise Fenced(f"mailbox {lease.mailbox_id} was taken over by another process", about=self.name)

    # Mailboxes and leases

    def mailbox(self, source_key: str, target_key: str, *, allow_shared: bool = False) -> Mailbox:
        """The pair's row, made where it is new. SafetyStop if either side is bound to another partner already, unless
        `allow_shared`."""
        mine = sa.and_(mailbox.c.source_key == source_key, mailbox.c.target_key == target_key)
        with self._read() as connection:
            row = connection.execute(sa.select(*_MAILBOX).where(mine)).one_or_none()
        if row is None:
            with self._write() as connection:
                if not self._sqlite:
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_BINDING_LOCK)))
                row = connection.execute(sa.select(*_MAILBOX).where(mine)).one_or_none()
                if row is None:
                    if not allow_shared:
                        self._refuse_shared(connection, source_key, target_key)
                    new = mailbox.insert().values(
                        source_key=source_key, target_key=target_key, state=NEW, lease_epoch=0
                    )
                    connection.execute(new)
                    row = connection.execute(sa.select(*_MAILBOX).where(mine)).one()
        return Mailbox(*row)

    def _refuse_shared(self, connection: sa.Connection, source_key: str, target_key: str) -> None:
        pairs = sa.select(mailbox.c.source_key, mailbox.c.target_key)
        other = connection.execute(pairs.where(mailbox.c.target_key == target_key)).first()
        if other is not None:
            raise SafetyStop(
                f"this target already receives {other.source_key}, not {source_key}",
                about=target_key,
                advice="check both names; to merge two mailboxes into one, say so explicitly",
            )
        other = connection.execute(pairs.where(mailbox.c.source_key == source_key)).first()
        if other is not None:
            raise SafetyStop(
                f"this source is already copied to {other.target_key}, not to {target_key}",
                about=source_key,
                advice="check both names; to copy one mailbox to two places, say so explicitly",
            )

    def mailboxes(self) -> list[Mailbox]:
        with self._read() as connection:
            return [Mailbox(*row) for row in connection.execute(sa.select(*_MAILBOX).order_by(mailbox.c.id))]

    def mailbox_by_id(self, mailbox_id: int) -> Mailbox:
        with self._read() as connection:
            return Mailbox(*connection.execute(sa.select(*_MAILBOX).where(mailbox.c.id == mailbox_id)).one())

    def bind_identity(self, lease: Lease, identity: str, *, anew: bool = False) -> None:
        """Store who the source is, the first time or `anew`; else SafetyStop if it is somebody else."""
        with self._write() as connection:
            self._guard(connection, lease)
            here = mailbox.c.id == lease.mailbox_id
            row = connection.execute(sa.select(mailbox.c.identity, mailbox.c.source_key).where(here)).one()
            if row.identity is None or anew:
                connection.execute(mailbox.update().where(here).values(identity=identity))
            elif row.identity != identity:
                raise SafetyStop(
                    f"the source is not the mailbox it was: it is {identity}, the ledger knows {row.identity}",
                    about=row.source_key,
                    advice="if the mailbox was rebuilt or moved on purpose, start a new ledger for it",
                )

    def acquire(self, mailbox_id: int, owner: str, ttl_seconds: float) -> Lease:
        """The right to work on a mailbox. Busy while another holds it, also another task of the same process.

        A lease is free when released, when it has run out, or when its holder ran on this machine and is dead.
        """
        here = mailbox.c.id == mailbox_id
        held = sa.select(mailbox.c.lease_owner, mailbox.c.lease_epoch, mailbox.c.lease_since, mailbox.c.lease_until)
        with self._write() as connection:
            row = connection.execute(held.add_columns(mailbox.c.source_key).where(here).with_for_update()).one()
            now = self._now(connection)
            if row.lease_owner is not None and row.lease_until > now and not dead(row.lease_owner):
                host, pid = host_and_pid(row.lease_owner)
                raise Busy(
                    f"process {pid} on {host} has been working on this mailbox since {_clock(row.lease_since)} "
                    f"and holds it until {_clock(row.lease_until)} unless it renews",
                    about=row.source_key,
                    advice="wait for it, or stop it: see `mailferry status`",
                )
            lease = Lease(mailbox_id, row.lease_epoch + 1, owner, ttl_seconds)
            values = {"lease_owner": owner, "lease_epoch": lease.epoch, "lease_since": now}
            connection.execute(mailbox.update().where(here).values(**values, lease_until=now + ttl_seconds))
        return lease

    def renew(self, lease: Lease) -> None:
        """Hold it for another `ttl` seconds from now."""
        with self._write() as connection:
            until = self._now(connection) + lease.ttl
            self._change_lease(connection, lease, statements.renew, {"to_until": until})

    def release(self, lease: Lease) -> None:
        """Give it back; afterwards it is void."""
        with self._write() as connection:
            self._change_lease(connection, lease, statements.release, {})

    def _change_lease(
        self, connection: sa.Connection, lease: Lease, change: sa.Update, values: Mapping[str, float]
    ) -> None:
        current = {"of_mailbox": lease.mailbox_id, "of_epoch": lease.epoch}
        if connection.execute(change, {**current, **values}).rowcount != 1:
            raise Fenced(f"mailbox {lease.mailbox_id} was taken over by another process", about=self.name)

    # Folders

    def folders(self, mailbox_id: int) -> list[FolderRow]:
        """Every folder ever seen in this mailbox, in the order it was first seen."""
        with self._read() as connection:
            return [_folder_row(row) for row in connection.execute(_FOLDERS, {"of_mailbox": mailbox_id})]

    def put_folder(self, lease: Lease, new: FolderRow) -> int:
        """Add a folder (its `id` and `mailbox_id` are ignored); returns its id."""
        values = {name: getattr(new, name) for name in FolderChanges.__annotations__}
        with self._write() as connection:
            self._guard(connection, lease)
            same = sa.and_(folder.c.mailbox_id == lease.mailbox_id, folder.c.source_path == list(new.source_path))
            if connection.execute(sa.select(folder.c.id).where(same)).first() is not None:
                raise LocalProtocolError("the folder is in the ledger already", about="/".join(new.source_path))
            done = connection.execute(folder.insert().values(mailbox_id=lease.mailbox_id, **_folder_values(values)))
            return _new_id(done)

    def update_folder(self, lease: Lease, folder_id: int, **changes: Unpack[FolderChanges]) -> None:
        """Set the columns named."""
        with self._write() as connection:
            self._guard(connection, lease, folder_id)
            values = _folder_values(changes)
            connection.execute(folder.update().where(folder.c.id == folder_id).values(**values))

    def finish_folder(self, lease: Lease, folder_id: int, **changes: Unpack[FolderChanges]) -> None:
        """Set the columns named; the failures of the folder itself are over."""
        with self._write():
            self.resolve(lease, folder_id)
            self.update_folder(lease, folder_id, **changes)

    # Messages

    def messages(self, folder_id: int) -> list[MessageRow]:
        """Every message ever seen in this folder, by source uid."""
        with self._read() as connection:
            rows = _plain(connection.execute(statements.messages, {"of_folder": folder_id}))
            words = self._words_of(connection, {row[4] for row in rows})
            return [
                MessageRow(uid, to, state, flags, words[number], date, size, digest, fingerprint, attempts, brought)
                for uid, to, state, flags, number, date, size, digest, fingerprint, attempts, brought in rows
            ]

    def intend(self, lease: Lease, folder_id: int, pass_id: int, rows: Sequence[Intent], base: int | None) -> None:
        """These messages are about to be sent: PENDING, no target uid, attempts one more. On disk when this returns.

        `base`: the target's uidnext now; kept as the folder's `pending_base` if none is. Hooks: `intend`.
        """
        with self._write() as connection:
            self._points.append("intend")
            self._guard(connection, lease, folder_id)
            if base is not None:
                connection.execute(statements.begin_pending, {"of_folder": folder_id, "to_base": base})
            numbers = self._numbers_of(connection, rows)
            values = [
                {
                    "folder_id": folder_id,
                    "source_uid": row.source_uid,
                    "target_uid": None,
                    "state": State.PENDING.value,
                    "flags": row.flags,
                    "keywords": numbers[row.keywords],
                    "internal_date": row.internal_date,
                    "size": row.size,
                    "digest": row.digest,
                    "fingerprint": row.fingerprint,
                    "attempts": 1,
                    "pass_id": pass_id,
                }
                for row in rows
            ]
            if values:
                connection.execute(self._upserts.intend, values)

    def confirm(
        self,
        lease: Lease,
        folder_id: int,
        settled: Sequence[tuple[int, int | None]],
        state: State = State.COPIED,
    ) -> None:
        """(source uid, target uid or None) of messages that are durably in the target. Hooks: `confirm`.

        IntegrityError if one of them was never intended; nothing is then written.
        """
        with self._write() as connection:
            self._points.append("confirm")
            self._guard(connection, lease, folder_id)
            values = [
                {"of_folder": folder_id, "of_uid": uid, "to_uid": target, "to_state": int(state)}
                for uid, target in settled
            ]
            if values and connection.execute(statements.confirm, values).rowcount != len(values):
                raise IntegrityError(
                    f"folder {folder_id}: messages were confirmed that were never intended", about=self.name
                )

    def unsent(self, lease: Lease, folder_id: int, uids: Sequence[int]) -> None:
        """One sending of each of these messages is known to have left nothing in the target: it was refused, or its
        twin is removed. A uid may stand here several times."""
        with self._write() as connection:
            self._guard(connection, lease, folder_id)
            if uids:
                connection.execute(statements.unsent, [{"of_folder": folder_id, "of_uid": uid} for uid in uids])

    def adopt(self, lease: Lease, folder_id: int, pass_id: int, rows: Sequence[Adopted]) -> None:
        """These messages are in the target already."""
        with self._write() as connection:
            self._guard(connection, lease, folder_id)
            numbers = self._numbers_of(connection, rows)
            values = [
                {
                    **row._asdict(),
                    "folder_id": folder_id,
                    "state": int(row.state),
                    "keywords": numbers[row.keywords],
                    "attempts": 0,
                    "pass_id": pass_id,
                }
                for row in rows
            ]
            if values:
                connection.execute(self._upserts.adopt, values)

    def set_flags(self, lease: Lease, folder_id: int, changes: Sequence[tuple[int, int, tuple[str, ...]]]) -> None:
        """(source uid, flags, keywords) as the target now has them."""
        with self._write() as connection:
            self._guard(connection, lease, folder_id)
            numbers = self._keyword_numbers(connection, {words for _, _, words in changes})
            values = [
                {"of_folder": folder_id, "of_uid": uid, "to_flags": flags, "to_keywords": numbers[words]}
                for uid, flags, words in changes
            ]
            if values:
                connection.execute(statements.set_flags, values)

    def set_state(self, lease: Lease, folder_id: int, uids: Sequence[int], state: State) -> None:
        """Put these messages into a state; those without a row get one."""
        with self._write() as connection:
            self._guard(connection, lease, folder_id)
            if uids:
                connection.execute(self._upserts.set_state, [_bare(folder_id, uid, state) for uid in uids])

    def forget(self, lease: Lease, folder_id: int, uids: Sequence[int]) -> None:
        """Remove the rows of these messages, as if never seen."""
        with self._write() as connection:
            self._guard(connection, lease, folder_id)
            if uids:
                connection.execute(statements.forget, [{"of_folder": folder_id, "of_uid": uid} for uid in uids])

    def arrivals(self, mailbox_id: int, since_pass: int) -> list[tuple[int, MessageRow]]:
        """(folder id, row) of what was brought from pass `since_pass` on and is held: where a moved message may be."""
        return self._found(mailbox_id, message.c.state.in_(sorted(HELD)), message.c.pass_id >= since_pass)

    def kept(self, mailbox_id: int) -> list[tuple[int, MessageRow]]:
        """(folder id, row) of what vanished at the source and is kept in the target."""
        return self._found(mailbox_id, message.c.state == int(State.GONE), message.c.target_uid.is_not(None))

    def _found(self, mailbox_id: int, *conditions: sa.ColumnElement[bool]) -> list[tuple[int, MessageRow]]:
        found = (
            sa.select(message.c.folder_id, *statements.MESSAGE)
            .join_from(message, folder, message.c.folder_id == folder.c.id)
            .where(folder.c.mailbox_id == mailbox_id, *conditions)
            .order_by(message.c.folder_id, message.c.source_uid)
        )
        with self._read() as connection:
            rows = _plain(connection.execute(found))
            words = self._words_of(connection, {row[5] for row in rows})
            return [(row[0], MessageRow._make((*row[1:5], words[row[5]], *row[6:]))) for row in rows]

    def counts(self, mailbox_id: int) -> dict[int, dict[State, int]]:
        """Messages by folder id and state; states and folders without any are left out."""
        result: dict[int, dict[State, int]] = {}
        with self._read() as connection:
            for folder_id, state, number in connection.execute(statements.counts, {"of_mailbox": mailbox_id}):
                result.setdefault(folder_id, {})[State(state)] = number
        return result

    # Keywords: a set of them is stored once and known by its number

    def _numbers_of(
        self, connection: sa.Connection, rows: Sequence[Intent] | Sequence[Adopted]
    ) -> Mapping[tuple[str, ...], int | None]:
        return self._keyword_numbers(connection, {row.keywords for row in rows})

    def _keyword_numbers(
        self, connection: sa.Connection, sets: set[tuple[str, ...]]
    ) -> Mapping[tuple[str, ...], int | None]:
        new = sorted(to_json(words) for words in sets - self._numbers.keys())
        if new:
            values = [{"digest": hashlib.sha256(words.encode()).digest()[:20], "words": words} for words in new]
            connection.execute(self._upserts.keyword_set, values)
            self._load_words(connection)
        return self._numbers

    def _words_of(self, connection: sa.Connection, numbers: set[int | None]) -> Mapping[int | None, tuple[str, ...]]:
        if not numbers <= self._words.keys():
            self._load_words(connection)
        return self._words

    def _load_words(self, connection: sa.Connection) -> None:
        for number, words in connection.execute(sa.select(keyword_set.c.id, keyword_set.c.words)):
            self._words[number] = tuple(json.loads(words))
        self._numbers = {words: number for number, words in self._words.items()}

    # Failures and differences

    def fail(
        self,
        lease: Lease,
        folder_id: int | None,
        source_uid: int | None,
        reason: Reason,
        text: str,
        kind: Kind = Kind.FAILED,
    ) -> None:
        """Record why a message, folder (no uid) or mailbox (no folder) did not come, or came with a difference.

        The same failure again only renews the row's text and last pass. FAILED also sets the message's state, unless
        both sides hold it.
        """
        with self._write() as connection:
            self._guard(connection, lease, folder_id)
            if kind is Kind.FAILED and folder_id is not None and source_uid is not None:
                connection.execute(self._upserts.fail, _bare(folder_id, source_uid, State.FAILED))
            current = connection.execute(statements.current_pass, {"of_mailbox": lease.mailbox_id}).scalar_one()
            connection.execute(
                self._upserts.failure,
                {
                    "mailbox_id": lease.mailbox_id,
                    "folder_id": folder_id or 0,
                    "source_uid": source_uid or 0,
                    "kind": kind.value,
                    "reason": reason.value,
                    "text": text,
                    "first_pass": current,
                    "last_pass": current,
                    "resolved": False,
                },
            )

    def resolve(self, lease: Lease, folder_id: int | None, uids: Sequence[int] | None = None) -> None:
        """The failures and differences of these messages are over; without uids, the failures of the folder or mailbox
        itself: its differences are seen at its first pass only, and stay.

        Failures of messages that came are resolved by `end_pass` without asking.
        """
        with self._write() as connection:
            self._guard(connection, lease, folder_id)
            here = sa.and_(
                failure.c.mailbox_id == lease.mailbox_id,
                failure.c.folder_id == (folder_id or 0),
                failure.c.source_uid == sa.bindparam("of_uid"),
            )
            if uids is None:
                here = sa.and_(here, failure.c.kind == Kind.FAILED.value)
            values = [{"of_uid": uid} for uid in ([0] if uids is None else uids)]
            if values:
                connection.execute(failure.update().where(here).values(resolved=True), values)

    def failures(self, mailbox_id: int | None = None, *, resolved: bool = False) -> list[Failure]:
        """Open failures and differences of one mailbox or all; with `resolved`, also those that are over."""
        rows = sa.select(*_FAILURE).order_by(failure.c.id)
        if mailbox_id is not None:
            rows = rows.where(failure.c.mailbox_id == mailbox_id)
        if not resolved:
            rows = rows.where(sa.not_(failure.c.resolved))
        with self._read() as connection:
            return [_failure_row(row) for row in connection.execute(rows)]

    # Passes

    def begin_pass(self, lease: Lease, kind: str, run_id: int | None = None) -> int:
        """A pass begins; one that never ended is marked `interrupted`. Returns its id."""
        open_ = sa.and_(pass_.c.mailbox_id == lease.mailbox_id, pass_.c.ended.is_(None), pass_.c.outcome.is_(None))
        new = {"mailbox_id": lease.mailbox_id, "run_id": run_id, "kind": kind, "started": time.time()}
        with self._write() as connection:
            self._guard(connection, lease)
            connection.execute(pass_.update().where(open_).values(outcome="interrupted"))
            return _new_id(connection.execute(pass_.insert().values(**new, counts={}, bytes=0)))

    def progress(self, lease: Lease, pass_id: int, counts: Mapping[str, int], sent: int) -> None:
        """Totals of the pass so far; `sent` in bytes."""
        self._update_pass(lease, pass_id, {"counts": dict(counts), "bytes": sent})

    def end_pass(self, lease: Lease, pass_id: int, outcome: str, counts: Mapping[str, int], sent: int) -> None:
        """The pass is over; failures of messages that have come meanwhile are resolved."""
        with self._write() as connection:
            values = {"ended": time.time(), "outcome": outcome, "counts": dict(counts), "bytes": sent}
            self._update_pass(lease, pass_id, values)
            connection.execute(statements.settled_failures, {"of_mailbox": lease.mailbox_id})

    def _update_pass(self, lease: Lease, pass_id: int, values: Mapping[str, Any]) -> None:
        here = sa.and_(pass_.c.id == pass_id, pass_.c.mailbox_id == lease.mailbox_id)
        with self._write() as connection:
            self._guard(connection, lease)
            connection.execute(pass_.update().where(here).values(**values))

    def passes(self, mailbox_id: int | None = None, *, kind: str | None = "copy") -> list[Pass]:
        """Oldest first; those over messages, or of another `kind` (`items`), or all."""
        rows = sa.select(*_PASS).order_by(pass_.c.id)
        if kind is not None:
            rows = rows.where(pass_.c.kind == kind)
        if mailbox_id is not None:
            rows = rows.where(pass_.c.mailbox_id == mailbox_id)
        with self._read() as connection:
            return [Pass(*row) for row in connection.execute(rows)]

    # Runs: how one terminal sees and steers what another started

    def begin_run(self, command: str) -> int:
        """This process starts a command (its text without secrets); returns the run's id."""
        now = time.time()
        new = {"command": command, "owner": owner_text(), "started": now, "heartbeat": now}
        with self._write() as connection:
            return _new_id(connection.execute(run.insert().values(**new, control=Control.RUN.value, summary={})))

    def heartbeat(self, run_id: int, summary: Mapping[str, Any]) -> Control:
        """The run is alive, and how far it is; returns what another terminal asks of it."""
        with self._write() as connection:
            values = {"heartbeat": time.time(), "summary": dict(summary)}
            connection.execute(run.update().where(run.c.id == run_id).values(**values))
            return Control(connection.execute(sa.select(run.c.control).where(run.c.id == run_id)).scalar_one())

    def control_run(self, run_id: int, control: Control) -> bool:
        """Ask a run to pause, go on or stop; False if it has ended."""
        here = sa.and_(run.c.id == run_id, run.c.ended.is_(None))
        with self._write() as connection:
            return connection.execute(run.update().where(here).values(control=control.value)).rowcount == 1

    def end_run(self, run_id: int, summary: Mapping[str, Any]) -> None:
        now = time.time()
        values = {"ended": now, "heartbeat": now, "summary": dict(summary)}
        with self._write() as connection:
            connection.execute(run.update().where(run.c.id == run_id).values(**values))

    def runs(self, *, ended: bool = True) -> list[Run]:
        """Oldest first; without `ended` only those that did not end (whether they live, `owner.dead` tells)."""
        rows = sa.select(*_RUN).order_by(run.c.id)
        if not ended:
            rows = rows.where(run.c.ended.is_(None))
        with self._read() as connection:
            return [_run_row(row) for row in connection.execute(rows)]

    # Audit and verification

    def audit(self, what: str, *, mailbox_id: int | None = None, who: str | None = None, **data: Any) -> None:
        """Append one line to the audit. `who`: default this process's user. `data`: JSON, no secrets, no content."""
        new = {"at": time.time(), "who": who or person(), "what": what, "mailbox_id": mailbox_id, "data": data}
        with self._write() as connection:
            connection.execute(statements.audit, new)

    def events(self, mailbox_id: int | None = None, *, after: int = 0) -> list[Event]:
        """The audit after event id `after`, oldest first."""
        rows = sa.select(*_EVENT).where(event.c.id > after).order_by(event.c.id)
        if mailbox_id is not None:
            rows = rows.where(event.c.mailbox_id == mailbox_id)
        with self._read() as connection:
            return [Event(*row) for row in connection.execute(rows)]

    def put_verification(
        self,
        mailbox_id: int,
        score: str,
        result: Mapping[str, Any],
        *,
        pass_id: int | None = None,
        folder_id: int | None = None,
    ) -> None:
        """Record what a comparison of both sides found. Needs no lease: it changes nothing that a copy relies on."""
        new = {"mailbox_id": mailbox_id, "score": score, "result": dict(result), "at": time.time()}
        with self._write() as connection:
            connection.execute(verification.insert().values(**new, pass_id=pass_id, folder_id=folder_id))

    def verifications(self, mailbox_id: int) -> list[Verification]:
        """Oldest first."""
        rows = sa.select(*_VERIFICATION).where(verification.c.mailbox_id == mailbox_id).order_by(verification.c.id)
        with self._read() as connection:
            return [Verification(*row) for row in connection.execute(rows)]


_MAILBOX = tuple(mailbox.c[name] for name in Mailbox.__slots__)
_FOLDER = tuple(folder.c[name] for name in FolderRow.__slots__)
_FOLDERS = sa.select(*_FOLDER).where(folder.c.mailbox_id == sa.bindparam("of_mailbox")).order_by(folder.c.id)
_FAILURE = tuple(failure.c[name] for name in Failure.__slots__)
_PASS = tuple(pass_.c[name] for name in Pass.__slots__)
_RUN = tuple(run.c[name] for name in Run.__slots__ if name not in ("host", "pid"))
_EVENT = tuple(event.c[name] for name in Event.__slots__)
_VERIFICATION = tuple(verification.c[name] for name in Verification.__slots__)


def _plain(result: sa.CursorResult[Any]) -> list[tuple[Any, ...]]:
    """The driver's own tuples: for the message table's integers and bytes, SQLAlchemy's rows would add nothing but half
    of the loading time."""
    if result.cursor is None:
        raise LocalProtocolError("a query gave no rows")
    rows: list[tuple[Any, ...]] = list(result.cursor.fetchall())
    return rows


def _new_id(done: sa.CursorResult[Any]) -> int:
    key = done.inserted_primary_key
    if key is None:
        raise LocalProtocolError("an insert gave no id")
    number: int = key[0]
    return number


def _bare(folder_id: int, uid: int, state: State) -> dict[str, int]:
    """A message of which nothing but its state is known."""
    return {"folder_id": folder_id, "source_uid": uid, "state": int(state), "flags": 0, "attempts": 0, "pass_id": 0}


def _folder_values(changes: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(changes)
    if isinstance(values.get("special_use"), SpecialUse):
        values["special_use"] = values["special_use"].value
    return values


def _folder_row(row: sa.Row[Any]) -> FolderRow:
    values = row._asdict()
    values["source_path"] = tuple(values["source_path"])
    if values["target_path"] is not None:
        values["target_path"] = tuple(values["target_path"])
    if values["special_use"] is not None:
        values["special_use"] = SpecialUse(values["special_use"])
    return FolderRow(**values)


def _failure_row(row: sa.Row[Any]) -> Failure:
    values = row._asdict()
    values |= {"folder_id": row.folder_id or None, "source_uid": row.source_uid or None}
    return Failure(**values | {"kind": Kind(row.kind), "reason": Reason(row.reason)})


def _run_row(row: sa.Row[Any]) -> Run:
    values = row._asdict()
    host, pid = host_and_pid(row.owner)
    return Run(**values | {"host": host, "pid": pid, "control": Control(row.control)})


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
