"""What would happen if a wave were cut over now: the use case behind `mailferry wave rehearse`.

Changes no route and parks nobody; the copy and the comparison before it are the fleet's (`ops.wave.fleet`, verb
`rehearse`). Invariant: whatever is known to stop the cutover of anybody stands in `Rehearsal.problems`, and every
difference that both sides would have in `Person.losses`, or is counted in `lost`; of a message only folder, date and
size are named.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mailferry.ledger import waves as ledger_waves
from mailferry.ledger.store import Ledger
from mailferry.model.wave import ON_EXCHANGE, Move, MoveState, Wave, WaveState
from mailferry.ops import wave_rules
from mailferry.ops.stores import server_of
from mailferry.ops.wave import Site, at_once, chosen, opened
from mailferry.ops.wave_checks import Check, Room, checks, rooms
from mailferry.ops.wave_forecast import parked_of, rates_of
from mailferry.ops.wave_plan import Tied
from mailferry.ops.wave_show import Shown, open_doubts, show, tied_document
from mailferry.plan.forecast import DOCUMENTED
from mailferry.verify.compare import Difference
from mailferry.verify.report import size_text
from mailferry.verify.score import Score
from mailferry.waves.approval import What, findings, latest
from mailferry.waves.approval import worst as worst_of
from mailferry.waves.evidence import Verdict, from_data

SCHEMA = 1
KEPT = 50
"""Losses of one person that are named one by one; all are counted."""
FULL = 0.95
"""A mailbox that is fuller than this when it is opened gets no mail soon after."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What will be different on the open side. `score`: what it leaves of the score."""

    folder: str
    score: str
    text: str
    date: int | None
    size: int | None


@dataclass(frozen=True, slots=True)
class Person:
    """One move that is still to come. `score`: "" if both sides were never compared. `parked`: seconds predicted.
    `lost`: how many losses there are. `problems`: what would stop it."""

    mail: str
    store: str
    state: str
    messages: int
    bytes: int
    score: str
    verdict: str
    evidence: str
    approved_by: tuple[str, ...]
    parked: float
    room: Room
    losses: tuple[Loss, ...]
    lost: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """`moved`: how many of the wave have moved already. `seconds`: the whole cutover, `together` people at a time.
    `park_from`: when it may begin; infinity: never. `rates`: where the forecast comes from."""

    name: str
    at: float
    by: str
    people: tuple[Person, ...]
    moved: int
    checks: tuple[Check, ...]
    separated: tuple[Tied, ...]
    parked: float
    seconds: float
    together: int
    park_from: float
    rates: str
    problems: tuple[str, ...]

    @property
    def ready(self) -> bool:
        """Whether nothing is known that would stop the cutover of anybody."""
        return not self.problems


def rehearsed(site: Site, name: str, only: Sequence[str], errors: Mapping[str, str], by: str) -> Rehearsal:
    """Put together what is known now. `errors`: address → what stopped its copy just now; `by`: who rehearses."""
    shown = show(site, name)
    moves = [one for one in chosen(shown.moves, only, name) if one.state is not MoveState.CANCELLED]
    coming = [one for one in moves if one.state in ON_EXCHANGE]
    looked, room = asyncio.run(_looked(site, coming))
    together = at_once(site.coexist, shown.wave)
    with opened(site) as ledger:
        rate = rates_of(ledger, server_of(site.source(coming[0]))) if coming else DOCUMENTED
        parked = parked_of(site, rate, ledger_waves.moves(ledger))
        people = [
            _person(ledger, shown.wave, one, parked, room[one.id], errors.get(one.mail, ""), _rules(site, ledger, one))
            for one in coming
        ]
        found = Rehearsal(
            name=name,
            at=time.time(),
            by=by,
            people=tuple(people),
            moved=len(moves) - len(coming),
            checks=tuple(looked),
            separated=shown.separated,
            parked=parked,
            seconds=math.ceil(len(coming) / together) * parked,
            together=together,
            park_from=shown.park_from,
            rates=rate.how,
            problems=(),
        )
        found = replace(found, problems=tuple(_problems(found, shown)))
        ledger.audit("wave rehearsed", wave=name, ready=found.ready, people=len(people), problems=len(found.problems))
    return found


async def _looked(site: Site, moves: Sequence[Move]) -> tuple[list[Check], dict[int, Room]]:
    return await checks(site, moves), await rooms(site, moves)


def _rules(site: Site, ledger: Ledger, move: Move) -> list[Loss]:
    """What of somebody's rules does not come over as it was."""
    found = wave_rules.upload_of(site, ledger, move)
    if found is None:
        return []
    told = [
        f"{part['name']} ({part['rating'] if part['active'] else 'not active'}): {'; '.join(part['notes'])}"
        for part in found.parts
        if part["notes"]
    ]
    return [Loss("rules", Score.GOOD.word, text, None, None) for text in (*filter(None, [found.put_off]), *told)]


def _person(
    ledger: Ledger, wave: Wave, move: Move, parked: float, room: Room, error: str, rules: Sequence[Loss]
) -> Person:
    verified = ledger.verifications(move.mailbox_id) if move.mailbox_id is not None else []
    rows = latest(verified)
    score = worst_of(rows).word if rows else ""
    # What came during the rehearsal is no difference: in a cutover nothing comes any more.
    still = [(folder, one) for folder, one in findings(rows) if one.get("kind") != Difference.ARRIVED_SINCE.value]
    told = [(folder, one) for folder, one in still if one.get("score") != Score.PERFECT.word]
    told.sort(key=lambda one: -Score.of(one[1].get("score", "Poor")))
    counts = rows[-1].result.get("counts", {}) if rows else {}
    passes = ledger.passes(move.mailbox_id) if move.mailbox_id is not None else []
    evidence = from_data(move.evidence)
    open_ = open_doubts(ledger, wave, move)
    worst = max((Score.of(one.get("score", "Poor")) for _, one in told), default=Score.PERFECT)
    if score == Score.INVESTIGATE.word and worst < Score.INVESTIGATE:
        score, open_ = worst.word, [each for each in open_ if each.what is not What.VERIFICATION]
    others = f"; others: {', '.join(evidence.others)}" if evidence and evidence.others else ""
    one = Person(
        mail=move.mail,
        store=move.store,
        state=move.state.value,
        messages=counts.get("listed", move.forecast.get("messages") or 0),
        bytes=sum(each.bytes for each in passes) or move.forecast.get("bytes") or 0,
        score=score,
        verdict=evidence.verdict.value if evidence else "",
        evidence=evidence.how + others if evidence else "not looked at yet",
        approved_by=tuple(f"{each['who']}: {each['why']} ({each['what']})" for each in move.approvals),
        parked=parked,
        room=room,
        losses=(*(_loss(folder, each) for folder, each in told[:KEPT]), *rules[:KEPT]),
        lost=len(told) + len(rules),
        problems=(),
    )
    waits = [f"waits for an approval: {each.text}" for each in open_]
    return replace(one, problems=(*_stops(one, move, error or move.error), *waits))


def _loss(folder: str, finding: Mapping[str, Any]) -> Loss:
    kind = str(finding.get("kind", ""))
    return Loss(
        folder,
        str(finding.get("score", "Poor")),
        f"{kind}: {finding.get('text', '')}",
        finding.get("date"),
        finding.get("size"),
    )


def _stops(one: Person, move: Move, error: str) -> Iterator[str]:
    """Why the cutover of somebody would end with them on Exchange."""
    if error:
        yield error
    if move.state is not MoveState.SEEDED:
        yield f"is {one.state}: no complete copy was made yet"
    if one.verdict == Verdict.CONTRADICTED.value:
        yield f"seems to be another person's mailbox: {one.evidence}"
    if one.score == Score.POOR.word:
        yield "the score is Poor: something is missing without a reason"
    if one.room.error:
        yield f"the open mailbox does not open: {one.room.error}"
    if one.room.limit and (one.room.used or 0) > FULL * one.room.limit:
        yield f"the open mailbox is full: {size_text(one.room.used)} of {size_text(one.room.limit)}"


def _problems(found: Rehearsal, shown: Shown) -> Iterator[str]:
    if not found.people:
        yield "nobody of it is still to be moved"
    if shown.wave.state is not WaveState.OPEN:
        yield f"the wave is {shown.wave.state.value}"
    if math.isinf(found.park_from):
        yield "nobody can ever be parked: the blackout hours have no end"
    for check in found.checks:
        if not check.ok:
            yield f"{check.name}: {check.text}"
    for one in found.people:
        for text in one.problems:
            yield f"{one.mail}: {text}"


def document(found: Rehearsal) -> dict[str, Any]:
    """As JSON values (docs/json.md)."""
    return {
        "schema": SCHEMA,
        "wave": found.name,
        "at": found.at,
        "by": found.by,
        "ready": found.ready,
        "problems": list(found.problems),
        "parked_seconds": round(found.parked, 1),
        "cutover_seconds": round(found.seconds, 1),
        "together": found.together,
        "park_from": None if math.isinf(found.park_from) else found.park_from,
        "rates": found.rates,
        "moved_already": found.moved,
        "checks": [{"name": one.name, "ok": one.ok, "text": one.text} for one in found.checks],
        "separated": [tied_document(one) for one in found.separated],
        "people": [
            {
                "mail": one.mail,
                "store": one.store,
                "state": one.state,
                "messages": one.messages,
                "bytes": one.bytes,
                "score": one.score or None,
                "evidence": {"verdict": one.verdict or None, "how": one.evidence},
                "approved_by": list(one.approved_by),
                "parked_seconds": round(one.parked, 1),
                "quota": {"used": one.room.used, "limit": one.room.limit},
                "differences": one.lost,
                "losses": [
                    {
                        "folder": loss.folder,
                        "score": loss.score,
                        "text": loss.text,
                        "date": loss.date,
                        "size": loss.size,
                    }
                    for loss in one.losses
                ],
                "problems": list(one.problems),
            }
            for one in found.people
        ],
    }
