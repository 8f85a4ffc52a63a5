"""What there is to see of a wave before and while it moves, and who approves what. Opens no mailbox.

Invariant: an approval is written for exactly what is shown here, and only by somebody who did not plan the wave.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mailferry.directory.sharing import clusters, ties
from mailferry.errors import UserError
from mailferry.ledger import waves as ledger_waves
from mailferry.ledger.owner import person
from mailferry.ledger.store import Ledger
from mailferry.model.wave import ON_EXCHANGE, Move, MoveState, Wave
from mailferry.net import ldap
from mailferry.ops.wave import Site, chosen, opened
from mailferry.ops.wave_people import in_waves
from mailferry.ops.wave_plan import Tied, separated
from mailferry.plan.waves import park_from, times
from mailferry.waves import approval
from mailferry.waves.approval import Doubt
from mailferry.waves.people import read_everybody


@dataclass(frozen=True, slots=True)
class Shown:
    """A wave. `clusters`: addresses of those in it who share, each cluster; `separated`: ties to others on Exchange.
    `open`: move id → what waits for an approval. `park_from`: when the next one may be parked; infinity: never."""

    wave: Wave
    moves: tuple[Move, ...]
    clusters: tuple[tuple[str, ...], ...]
    separated: tuple[Tied, ...]
    open: Mapping[int, Sequence[Doubt]]
    park_from: float


def show(site: Site, name: str) -> Shown:
    """Everything about a wave. UserError: there is none of this name."""
    with opened(site) as ledger:
        wave = ledger_waves.named(ledger, name)
        every = ledger_waves.moves(ledger)
        names = {one.id: one.name for one in ledger_waves.waves(ledger)}
        moves = tuple(one for one in every if one.wave_id == wave.id)
        waiting = {one.id: doubts for one in moves if (doubts := open_doubts(ledger, wave, one))}
    with ldap.Connection(site.directory) as connection:
        everybody = read_everybody(site.routes.people(connection))
    inside = {one.source_id: one.mail for one in moves if one.state is not MoveState.CANCELLED}
    strong = ties(everybody.recipients).strong
    within = [edge for edge in strong if edge.one in inside and edge.other in inside]
    shared = [one for one in clusters(inside, within) if len(one.members) > 1]
    staying = {one.source_id for one in moves if one.state in ON_EXCHANGE and one.state is not MoveState.CANCELLED}
    now = time.time()
    return Shown(
        wave,
        moves,
        tuple(tuple(inside[who] for who in one.members) for one in shared),
        tuple(separated(everybody, strong, staying, in_waves(every, names))),
        waiting,
        park_from(now, times(wave.settings, site.coexist.blackout)),
    )


def open_doubts(ledger: Ledger, wave: Wave, move: Move) -> list[Doubt]:
    """What of a move waits for somebody's approval."""
    barred = approval.parties(wave, "")
    return [one for one in _doubts(ledger, move) if not approval.approved(move, one, barred)]


def _doubts(ledger: Ledger, move: Move) -> list[Doubt]:
    """What of a move needs one."""
    if move.state not in ON_EXCHANGE or move.state is MoveState.CANCELLED:
        return []
    return approval.doubts(move, ledger.verifications(move.mailbox_id) if move.mailbox_id is not None else [])


def waiting(site: Site, name: str) -> list[tuple[Move, list[Doubt]]]:
    """Who of a wave waits for an approval, and of what."""
    with opened(site) as ledger:
        wave = ledger_waves.named(ledger, name)
        found = [(one, open_doubts(ledger, wave, one)) for one in ledger_waves.moves(ledger, wave.id)]
        return [(move, doubts) for move, doubts in found if doubts]


def approve(
    site: Site, name: str, people: Sequence[str], why: str, who: str | None, *, dry_run: bool
) -> list[tuple[Move, list[Doubt]]]:
    """Approve all that waits of these people. `who`: as the approver names themselves, None: the user of this process.
    UserError: they planned the wave, or nothing of somebody needs it; nothing is then approved."""
    user = person()
    giver = who or user
    if not why.strip():
        raise UserError("an approval needs a reason", about=name, advice="--why 'asked her: she never sent anything'")
    with opened(site) as ledger, ledger.transaction():
        wave = ledger_waves.named(ledger, name)
        approval.refuse_party(giver, approval.parties(wave, ""))
        found = []
        for move in chosen(ledger_waves.moves(ledger, wave.id), people, name):
            given_before = {one["seen"] for one in move.approvals if one["who"] == giver}
            doubts = [one for one in _doubts(ledger, move) if one.seen not in given_before]
            if not doubts:
                raise UserError("nothing waits for an approval", about=move.mail, advice=f"mailferry wave show {name}")
            found.append((move, doubts))
        for move, doubts in found if not dry_run else ():
            given = [approval.approval(one, giver, user, time.time(), why.strip()) for one in doubts]
            ledger_waves.note(ledger, move, approvals=[*map(dict, move.approvals), *given])
            for one in given:
                told = {"by": one["who"], "what": one["what"], "why": one["why"], "seen": one["seen"]}
                ledger.audit("move approved", mailbox_id=move.mailbox_id, move=move.id, mail=move.mail, approval=told)
    return found


def document(one: Shown) -> dict[str, Any]:
    """As JSON values (docs/json.md)."""
    return {
        "schema": 1,
        "name": one.wave.name,
        "state": one.wave.state.value,
        "created": one.wave.created,
        "settings": dict(one.wave.settings),
        "park_from": None if math.isinf(one.park_from) else one.park_from,
        "clusters": [list(each) for each in one.clusters],
        "separated": [tied_document(each) for each in one.separated],
        "people": [
            {
                "mail": move.mail,
                "id": move.source_id,
                "uid": move.uid,
                "kind": move.kind,
                "source_user": move.source_user,
                "target_user": move.target_user,
                "store": move.store,
                "state": move.state.value,
                "forecast": dict(move.forecast),
                "evidence": dict(move.evidence) or None,
                "approvals": list(map(dict, move.approvals)),
                "to_approve": [{"what": each.what.value, "text": each.text} for each in one.open.get(move.id, ())],
                "error": move.error,
            }
            for move in one.moves
        ],
    }


def tied_document(one: Tied) -> dict[str, str]:
    return {"who": one.one, "shares_with": one.other, "why": one.why, "where": one.where}
