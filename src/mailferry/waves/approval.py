"""What a second person has to approve before a mailbox is opened to its owner, and whether one has. Pure.

Two doubts can be approved: a right-person check without evidence, and the score Investigate. A contradicted check and
the score Poor cannot. Invariants: an approval holds for what its giver was shown (`Doubt.seen`, a digest) and for this
mapping, and is void once either changes; none holds that was given by somebody who planned the wave or starts the
cutover. Who somebody is, the operating system says, or they themselves do (`--as`): whoever may act as several users
of this machine is not stopped by this, only recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from mailferry.errors import UserError
from mailferry.ledger.rows import Verification
from mailferry.ledger.schema import to_json
from mailferry.model.wave import Move, Wave
from mailferry.verify.gather import of_companion
from mailferry.verify.score import Score
from mailferry.waves.evidence import Verdict, from_data

PLANNED_BY = "planned_by"
"""In `Wave.settings`: everybody who put people into the wave."""


class What(Enum):
    """What may be approved. The value is what ledger, JSON and people see."""

    EVIDENCE = "evidence"
    VERIFICATION = "verification"


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something that waits for an approval. `seen`: the digest of what there is to see; `text`: that, for people."""

    what: What
    seen: str
    text: str


def doubts(move: Move, verified: Sequence[Verification]) -> list[Doubt]:
    """Those of a move. `verified`: all verifications of its mailbox, oldest first; the latest counts."""
    return [*_of_evidence(move), *_of_verification(move, latest(verified))]


def lacking(move: Move, verified: Sequence[Verification], parties: Collection[str]) -> list[Doubt]:
    """The doubts that nobody but `parties` (see `parties`) has approved."""
    return [one for one in doubts(move, verified) if not approved(move, one, parties)]


def parties(wave: Wave, starting: str) -> frozenset[str]:
    """Who may not approve: those who planned the wave, and who starts the cutover (`ledger.owner.person()`)."""
    return frozenset({*wave.settings.get(PLANNED_BY, ()), starting})


def approval(doubt: Doubt, who: str, user: str, at: float, why: str) -> dict[str, Any]:
    """A row for `Move.approvals`. `who`: the person as they name themselves, `user`: as the operating system does."""
    return {"who": who, "user": user, "at": at, "what": doubt.what.value, "why": why, "seen": doubt.seen}


def refuse_party(who: str, among: Collection[str]) -> None:
    """UserError if this person has planned the wave or starts the cutover."""
    if _name(who) in {_name(one) for one in among}:
        advice = "ask a second person, who looks at `mailferry wave show`; on a shared account they add --as NAME"
        raise UserError("planned this wave, so somebody else has to approve", about=who, advice=advice)


def latest(verified: Sequence[Verification]) -> Sequence[Verification]:
    """The rows of the latest verification: its companions', its folders', then the mailbox's."""
    whole = [number for number, row in enumerate(verified) if row.folder_id is None and not of_companion(row)]
    if not whole:
        return ()
    return verified[whole[-2] + 1 if len(whole) > 1 else 0 : whole[-1] + 1]


def worst(rows: Sequence[Verification]) -> Score:
    """The score of one verification as a whole."""
    return max((Score.of(one.score) for one in rows), default=Score.PERFECT)


def findings(rows: Sequence[Verification]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(folder, finding) of one verification, as docs/verify.md has them; the mailbox's own last, with folder ""."""
    for row in rows:
        result = row.result
        for one in result.get("findings", ()):
            yield "/".join(result.get("source", ())), one
        for folder in result.get("unknown_folders", ()):
            for one in folder["findings"]:
                yield "/".join(folder["source"]), one


def _of_evidence(move: Move) -> Iterator[Doubt]:
    found = from_data(move.evidence)
    if found is not None and found.verdict is Verdict.NO_EVIDENCE:
        others = sorted(found.others)
        text = f"{found.how}; others: {', '.join(others)}" if others else found.how
        yield Doubt(What.EVIDENCE, _digest(move, found.matching > 0, others), text)


def _of_verification(move: Move, rows: Sequence[Verification]) -> Iterator[Doubt]:
    if worst(rows) is not Score.INVESTIGATE:
        return
    grave = [(folder, one) for folder, one in findings(rows) if Score.of(one.get("score", "Poor")) is Score.INVESTIGATE]
    told = sorted([folder, one["kind"], one.get("uid") or 0, one.get("reason") or ""] for folder, one in grave)
    kinds = ", ".join(sorted({str(one["kind"]) for _, one in grave}))
    yield Doubt(What.VERIFICATION, _digest(move, told), f"{len(grave)} differences to look at: {kinds}")


def _digest(move: Move, *seen: object) -> str:
    mapping = [move.source_id, move.source_user, move.target_user, move.store]
    return hashlib.sha256(to_json([mapping, *seen]).encode()).hexdigest()[:32]


def approved(move: Move, doubt: Doubt, among: Collection[str]) -> bool:
    """Whether somebody else than these people has approved what there is to see."""
    barred = {_name(one) for one in among}
    return any(one.get("seen") == doubt.seen and not barred & {_name(one["who"])} for one in move.approvals)


def _name(who: str) -> str:
    """The person of `user@host`: the same name on two machines is one person."""
    return who.partition("@")[0].casefold()
