"""Who is to be in a wave: by group, OU, file, addresses, or everybody. Reads both directories, changes nothing.

Invariant: a name that fits nobody, or two, or somebody without a mailbox on Exchange is told, never passed over; what
was asked for by a group or a place passes over who has moved or is planned already, and says so.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mailferry.config.settings import Source
from mailferry.directory import addresses
from mailferry.directory.mapping import dn_key
from mailferry.directory.moving import asleep
from mailferry.directory.readers import csv_rows
from mailferry.directory.readers.text_file import find_encoding, lines
from mailferry.directory.sharing import GROUPS, MOVERS, expanded
from mailferry.errors import UserError
from mailferry.model.recipient import Recipient
from mailferry.model.wave import Move, MoveState
from mailferry.ops.directory import reader_of
from mailferry.stack.postfix.settings import Route
from mailferry.waves.people import Everybody, Known

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line named. `everybody`: all mailboxes on Exchange."""

    people: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    groups: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    everybody: bool = False


@dataclass(slots=True)
class Chosen:
    """`people`: in the order found. `passed_over`: (address or name, why)."""

    people: dict[str, Known] = field(default_factory=dict)
    passed_over: list[tuple[str, str]] = field(default_factory=list)


def choose(wanted: Wanted, everybody: Everybody, source: Source, planned: Mapping[str, str]) -> Chosen:
    """The people meant. `planned`: id → the wave that somebody is in. UserError: nobody was named, an address is
    nobody's or two people's, somebody named has no mailbox to move or is in a wave; a group reaches nobody."""
    if not any((wanted.people, wanted.files, wanted.groups, wanted.places, wanted.everybody)):
        advice = "--people ADDRESS, --group ADDRESS, --ou DN, --csv FILE, or --all"
        raise UserError("nobody is named", about="mailferry wave plan", advice=advice)
    found = Chosen()
    named = [*wanted.people, *itertools.chain.from_iterable(map(addresses_in, wanted.files))]
    _add_named(found, named, everybody, planned)
    now = time.time()
    for group in wanted.groups:
        _add_all(found, _members(group, everybody), everybody, planned, now)
    for place in wanted.places:
        _add_all(found, _below(place, everybody, source), everybody, planned, now)
    if wanted.everybody:
        _add_all(found, everybody.by_id, everybody, planned, now)
    if not found.people:
        raise UserError("that is nobody who could move", advice=_why(found.passed_over))
    return found


def in_waves(moves: Iterable[Move], names: Mapping[int, str]) -> dict[str, str]:
    """Source id → wave, of whoever is in one. `names`: wave id → name."""
    over = (MoveState.CANCELLED, MoveState.ROLLED_BACK)
    return {one.source_id: names[one.wave_id] for one in moves if one.state not in over}


def addresses_in(path: Path) -> Iterator[str]:
    """The addresses in a CSV or text file, one a line, in whatever encoding: the first cell with an @ that is one.
    A first line without any is its header. UserError names the line."""
    source = lines(path, find_encoding(path, None, lambda text: False))
    first = next(source, None)
    if first is None:
        raise UserError("it is empty", about=str(path))
    delimiter = csv_rows.sniff(first.text)
    for number, row in enumerate(csv_rows.rows(itertools.chain([first], source), delimiter)):
        cells = row.cells if isinstance(row, csv_rows.Row) else [row.text]
        if not any(map(str.strip, cells)):
            continue
        address = next((tidy for cell in cells if "@" in cell and (tidy := addresses.tidy(cell)) is not None), None)
        if address is not None:
            yield address
        elif number:
            raise UserError("no address in this line", about=f"{path}:{row.line}", advice="one address a line")


def why_not(one: Known, planned: Mapping[str, str]) -> str:
    """Why somebody cannot be planned; "" if they can."""
    kind = one.recipient.kind
    if kind not in MOVERS:
        return f"a {kind.value} has no mailbox on Exchange"
    if one.recipient.id in planned:
        return f"is in the wave {planned[one.recipient.id]} already"
    if one.route != Route.EXCHANGE.value:
        return f"its route is {one.route or 'missing'}, not exchange"
    if not one.recipient.mail or not one.uid:
        return "has no address in the open directory" if one.uid else "has no uid in the open directory"
    return ""


def _add_named(found: Chosen, named: Sequence[str], everybody: Everybody, planned: Mapping[str, str]) -> None:
    wrong: list[UserError] = []
    for address in named:
        try:
            one = everybody.at(address)
            if one.recipient.kind in GROUPS:
                raise UserError("is a group", about=address, advice=f"--group {address}")
            if reason := why_not(one, planned):
                raise UserError(reason, about=address)
            found.people[one.recipient.id] = one
        except UserError as error:
            wrong.append(error)
    if wrong:
        first = wrong[0]
        more = [f"{one.about}: {one.message}" for one in wrong[1:_SHOWN]]
        if len(wrong) > _SHOWN:
            more.append(f"and {len(wrong) - _SHOWN} more")
        raise UserError("; ".join([first.message, *more]), about=first.about, advice=first.advice)


def _add_all(found: Chosen, ids: Iterable[str], everybody: Everybody, planned: Mapping[str, str], now: float) -> None:
    """Those of a group or a place: who cannot move is passed over, with the reason if it is somebody with a mailbox."""
    for who in ids:
        one = everybody.by_id.get(who)
        if one is None or one.recipient.kind not in MOVERS or who in found.people:
            continue
        reason = why_not(one, planned) or asleep(one.recipient, now)
        if reason:
            found.passed_over.append((one.recipient.mail or one.recipient.name, reason))
        else:
            found.people[who] = one


def _members(address: str, everybody: Everybody) -> list[str]:
    """Whom a group reaches, groups within it opened."""
    one = everybody.at(address).recipient
    if one.kind not in GROUPS:
        raise UserError("is no group", about=address, advice=f"--people {address}")
    found = expanded(one.id, everybody.recipients)
    if not any(_moves(everybody.by_id.get(who)) for who in found):
        raise UserError("reaches nobody with a mailbox", about=address, advice="mailferry survey lists the groups")
    return sorted(found)


def _moves(one: Known | None) -> bool:
    return one is not None and one.recipient.kind in MOVERS


def _below(place: str, everybody: Everybody, source: Source) -> list[str]:
    """Who stands below a DN of the open directory, or else of the source's."""
    wanted = dn_key(place)
    found = [who for who, one in everybody.by_id.items() if dn_key(one.recipient.where).endswith(f",{wanted}")]
    if not found and source.kind in ("ad", "ldap"):
        with reader_of(source.model_copy(update={"base": (place,)})) as reader:
            found = [one.id for one in reader.read() if isinstance(one, Recipient)]
    if not any(_moves(everybody.by_id.get(who)) for who in found):
        raise UserError("nobody with a mailbox stands below it", about=place, advice="give the DN of a branch or an OU")
    return found


def _why(passed_over: Sequence[tuple[str, str]]) -> str:
    some = "; ".join(f"{who} {why}" for who, why in passed_over[:_SHOWN])
    return f"{len(passed_over)} were passed over: {some}" if some else ""
