"""Sums over the whole ledger for the report of the organisation. Reads only.

Everything is added up by the database, in either dialect; what comes out is a line for each wave, state, kind or span
of time, and of people only what a list of them shows. Times are seconds since the epoch. Raises what `Ledger` raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from mailferry.ledger.schema import (
    directory_account,
    failure,
    folder,
    item_collection,
    item_note,
    mailbox,
    move,
    pass_,
    verification,
    wave,
)
from mailferry.model.wave import WAITING_FOR_MAIL, MoveState

if TYPE_CHECKING:
    from mailferry.ledger.store import Ledger

_CANCELLED = MoveState.CANCELLED.value


class Standing(NamedTuple):
    """How many of a wave are in a state, and what their forecasts say of them. `wave_id` None: of all waves, each
    person once, as their latest one has them."""

    wave_id: int | None
    state: MoveState
    people: int
    messages: int
    bytes: int
    seconds: float


class Span(NamedTuple):
    """What ended in the span `number` (from `number` · width on): passes, and what they brought."""

    number: int
    passes: int
    messages: int
    bytes: int


class Loss(NamedTuple):
    """What did not come or came with a difference: kind and reason, how many, in how many mailboxes. `of`: `messages`,
    or `events`, `contacts`, `tasks`, `notes`."""

    of: str
    kind: str
    reason: str
    items: int
    mailboxes: int


class Excluded(NamedTuple):
    """Folders that a rule leaves out."""

    rule: str
    folders: int
    messages: int


class Someone(NamedTuple):
    """One person in one wave, for a list."""

    wave: str
    mail: str
    state: MoveState
    entered: float
    parked: float | None
    released: float | None
    store: str
    error: str
    score: str | None
    forecast: Any


def standings(ledger: Ledger) -> list[Standing]:
    """Of each wave, and of all."""
    columns = [sa.func.count(), *(_total(ledger, move.c.forecast, name) for name in ("messages", "bytes", "seconds"))]
    by_wave = sa.select(move.c.wave_id, move.c.state, *columns).group_by(move.c.wave_id, move.c.state)
    latest = _latest()
    all_ = (
        sa.select(sa.null(), move.c.state, *columns).where(move.c.id.in_(sa.select(latest.c.id))).group_by(move.c.state)
    )
    with ledger._read() as connection:
        rows = [*connection.execute(by_wave), *connection.execute(all_)]
    return [
        Standing(of, MoveState(state), people, int(messages or 0), int(size or 0), float(seconds or 0))
        for of, state, people, messages, size, seconds in rows
    ]


def unplanned(ledger: Ledger, kinds: Sequence[str]) -> int:
    """Recipients of these kinds that are in no wave."""
    planned = sa.select(move.c.source_id).where(move.c.state != _CANCELLED)
    mine = (directory_account.c.gone.is_(None), directory_account.c.kind.in_(kinds))
    query = sa.select(sa.func.count(sa.distinct(directory_account.c.source_id))).where(
        *mine, directory_account.c.source_id.not_in(planned)
    )
    with ledger._read() as connection:
        return int(connection.execute(query).scalar_one())


def parks(ledger: Ledger) -> list[tuple[int, float]]:
    """(wave, seconds) of each park that somebody came through."""
    query = sa.select(move.c.wave_id, move.c.released - move.c.parked).where(move.c.released > move.c.parked)
    with ledger._read() as connection:
        return [(of, float(seconds)) for of, seconds in connection.execute(query)]


def first_and_last(ledger: Ledger) -> tuple[float, float] | None:
    """When the first pass began, and the last pass or release was; None: there was none."""
    passes = sa.select(sa.func.min(pass_.c.started), sa.func.max(pass_.c.ended))
    with ledger._read() as connection:
        first, last = connection.execute(passes).one()
        released = connection.execute(sa.select(sa.func.max(move.c.released))).scalar()
    return None if first is None else (first, max(last or first, released or first))


def copied(ledger: Ledger, width: float) -> list[Span]:
    """What was brought, by spans of `width` seconds, in order; a pass counts where it ended."""
    number = _span(ledger, pass_.c.ended, width)
    query = (
        sa.select(number, sa.func.count(), _total(ledger, pass_.c.counts, "copied"), sa.func.sum(pass_.c.bytes))
        .where(pass_.c.ended.is_not(None))
        .group_by(number)
        .order_by(number)
    )
    with ledger._read() as connection:
        return [
            Span(int(at), passes, int(some or 0), int(size or 0))
            for at, passes, some, size in connection.execute(query)
        ]


def released(ledger: Ledger, width: float) -> list[tuple[int, int]]:
    """(span, people) of releases of those who are on the open side now, each once, in order."""
    number = _span(ledger, move.c.released, width)
    moved = [one.value for one in (MoveState.SWITCHED, MoveState.RELEASED, MoveState.SWEPT, MoveState.DONE)]
    query = (
        sa.select(number, sa.func.count())
        .where(move.c.released.is_not(None), move.c.state.in_(moved))
        .group_by(number)
        .order_by(number)
    )
    with ledger._read() as connection:
        return [(int(at), people) for at, people in connection.execute(query)]


def losses(ledger: Ledger) -> list[Loss]:
    """Failures that stand, and what is noted of events and contacts; most first."""
    columns = (failure.c.kind, failure.c.reason)
    of_messages = (
        sa.select(sa.literal("messages"), *columns, sa.func.count(), sa.func.count(sa.distinct(failure.c.mailbox_id)))
        .where(sa.not_(failure.c.resolved))
        .group_by(*columns)
    )
    noted = (item_collection.c.kind, item_note.c.kind, item_note.c.reason)
    of_items = (
        sa.select(*noted, sa.func.count(), sa.func.count(sa.distinct(item_collection.c.mailbox_id)))
        .join(item_collection, item_collection.c.id == item_note.c.collection_id)
        .group_by(*noted)
    )
    with ledger._read() as connection:
        found = [Loss(*row) for query in (of_messages, of_items) for row in connection.execute(query)]
    return sorted(found, key=lambda one: (-one.items, one))


def excluded(ledger: Ledger) -> list[Excluded]:
    """By rule, most messages first."""
    messages = sa.func.sum(sa.func.coalesce(folder.c.source_messages, 0))
    query = (
        sa.select(folder.c.excluded, sa.func.count(), messages)
        .where(folder.c.excluded.is_not(None))
        .group_by(folder.c.excluded)
        .order_by(messages.desc(), folder.c.excluded)
    )
    with ledger._read() as connection:
        return [Excluded(rule, folders, int(some or 0)) for rule, folders, some in connection.execute(query)]


def scores(ledger: Ledger) -> list[tuple[str, int]]:
    """(score, mailboxes) by each mailbox's latest verification."""
    latest = _verified().subquery()
    query = sa.select(verification.c.score, sa.func.count()).join(latest, latest.c.id == verification.c.id)
    with ledger._read() as connection:
        return [(score, number) for score, number in connection.execute(query.group_by(verification.c.score))]


def differences(ledger: Ledger, best: str) -> Iterator[dict[str, int]]:
    """Of each mailbox whose latest verification's score is not `best`: kind of difference → how many."""
    latest = _verified().subquery()
    query = sa.select(verification.c.result).join(latest, latest.c.id == verification.c.id)
    with ledger._read() as connection:
        for (result,) in connection.execute(query.where(verification.c.score != best)):
            yield dict(result.get("tally") or {})


def mailboxes(ledger: Ledger) -> int:
    """How many the ledger has."""
    with ledger._read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(mailbox)).scalar_one())


def people(ledger: Ledger, *, waiting: bool = False) -> Iterator[Someone]:
    """Everybody in every wave, by wave; or only those who wait for something: parked now, or with an error."""
    columns = (move.c[name] for name in ("mail", "state", "entered", "parked", "released", "store", "error"))
    query = (
        sa.select(wave.c.name, *columns, move.c.mailbox_id, move.c.forecast)
        .join(wave, wave.c.id == move.c.wave_id)
        .order_by(move.c.wave_id, move.c.id)
    )
    if waiting:
        parked = move.c.state.in_([one.value for one in WAITING_FOR_MAIL])
        query = query.where(move.c.state != _CANCELLED, sa.or_(parked, move.c.error != ""))
    latest = _verified().subquery()
    scored = sa.select(verification.c.mailbox_id, verification.c.score).join(latest, latest.c.id == verification.c.id)
    with ledger._read() as connection:
        score = {row.mailbox_id: row.score for row in connection.execute(scored)}  # a join would be quadratic
        for row in connection.execute(query):
            state, words = MoveState(row.state), score.get(row.mailbox_id)
            times = (row.entered, row.parked, row.released)
            yield Someone(row.name, row.mail, state, *times, row.store, row.error, words, row.forecast)


def _latest() -> Any:
    """The latest move of everybody who is not cancelled."""
    query = sa.select(sa.func.max(move.c.id).label("id")).where(move.c.state != _CANCELLED)
    return query.group_by(move.c.source_id).subquery()


def _verified() -> Any:
    """The latest verification of each whole mailbox."""
    query = sa.select(sa.func.max(verification.c.id).label("id")).where(verification.c.folder_id.is_(None))
    return query.group_by(verification.c.mailbox_id)


def _span(ledger: Ledger, column: sa.Column[Any], width: float) -> Any:
    """The number of the span that a time is in. Times are positive, so cutting off is rounding down."""
    share = column / sa.literal(width, sa.Double)
    if ledger._engine.dialect.name == "postgresql":  # where a cast rounds to the nearest
        return sa.cast(sa.func.floor(share), sa.BigInteger)
    return sa.cast(share, sa.Integer)


def _total(ledger: Ledger, column: sa.Column[Any], name: str) -> Any:
    """The sum of a number in JSON texts; one that is not there, or null, counts nothing."""
    text = sa.type_coerce(column, sa.Text)
    if ledger._engine.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import JSONB

        return sa.func.sum(sa.cast(sa.cast(text, JSONB)[name].astext, sa.Double))
    return sa.func.sum(sa.func.json_extract(text, f"$.{name}"))
