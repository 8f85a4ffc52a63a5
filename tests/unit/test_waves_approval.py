"""What a second person has to approve, by whom, and when an approval is void."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mailferry.errors import UserError
from mailferry.ledger.rows import Verification
from mailferry.model.wave import Move, Wave, WaveState
from mailferry.waves.approval import What, approval, doubts, findings, lacking, latest, parties, refuse_party

UNSURE = {"verdict": "no-evidence", "checked": 0, "matching": 0, "others": [], "how": "Sent is empty"}
MOVE = Move(1, 1, "ad:1", "alice@acme.example", "alice", "mailbox", "alice@acme.example", "alice", "store1")
WAVE = Wave(1, "one", WaveState.OPEN, 0.0, {"planned_by": ["root@adm1"]})


def verified(score: str, *found: dict[str, Any], number: int = 1) -> list[Verification]:
    inbox = {"source": ["INBOX"], "findings": list(found)}
    return [
        Verification(number, 1, None, 7, 0.0, score, inbox),
        Verification(number + 1, 1, None, None, 0.0, score, {"findings": [], "unknown_folders": []}),
    ]


def failed(uid: int) -> dict[str, Any]:
    return {"kind": "failed", "score": "Investigate", "text": "refused", "uid": uid, "reason": "refused"}


def given(move: Move, who: str, rows: list[Verification]) -> Move:
    return replace(move, approvals=tuple(approval(one, who, who, 1.0, "seen") for one in doubts(move, rows)))


def test_only_doubts_wait_for_an_approval() -> None:
    assert doubts(MOVE, []) == []
    assert doubts(replace(MOVE, evidence={**UNSURE, "verdict": "confirmed"}), verified("Good", failed(1))) == []
    assert doubts(replace(MOVE, evidence={**UNSURE, "verdict": "contradicted"}), verified("Poor", failed(1))) == []
    found = doubts(replace(MOVE, evidence=UNSURE), verified("Investigate", failed(3)))
    assert [(one.what, one.text) for one in found] == [
        (What.EVIDENCE, "Sent is empty"),
        (What.VERIFICATION, "1 differences to look at: failed"),
    ]


def test_another_person_approves_what_was_seen() -> None:
    rows = verified("Investigate", failed(3))
    move = replace(MOVE, evidence=UNSURE)
    among = parties(WAVE, "dave@adm2")
    assert lacking(given(move, "carol@adm1", rows), rows, among) == []
    for who in ("root@adm1", "ROOT@elsewhere", "dave@adm1", "dave"):
        assert len(lacking(given(move, who, rows), rows, among)) == 2
        with pytest.raises(UserError, match="somebody else has to approve"):
            refuse_party(who, among)
    refuse_party("carol@adm1", among)


def test_an_approval_is_void_when_what_was_seen_changes() -> None:
    rows = verified("Investigate", failed(3))
    move = given(replace(MOVE, evidence=UNSURE), "carol", rows)
    again = [*rows, *verified("Investigate", {**failed(3), "text": "said otherwise"}, number=3)]
    assert lacking(move, again, ()) == []
    worse = [*rows, *verified("Investigate", failed(3), failed(4), number=3)]
    assert [one.what for one in lacking(move, worse, ())] == [What.VERIFICATION]
    changed = replace(move, evidence={**UNSURE, "others": ["bob@acme.example"]})
    assert [one.what for one in lacking(changed, rows, ())] == [What.EVIDENCE]
    for other in (replace(move, store="store2"), replace(move, target_user="bob"), replace(move, source_id="ad:2")):
        assert len(lacking(other, rows, ())) == 2


def test_the_latest_verification_counts_with_its_folders() -> None:
    rows = [*verified("Investigate", failed(3)), *verified("Good", number=3)]
    assert [row.id for row in latest(rows)] == [3, 4]
    assert doubts(MOVE, rows) == []
    unknown = {"findings": [], "unknown_folders": [{"source": ["A", "B"], "findings": [failed(1)]}]}
    rows.append(Verification(5, 1, None, None, 0.0, "Investigate", unknown))
    assert [folder for folder, _ in findings(latest(rows))] == ["A/B"]
    assert latest([]) == ()
