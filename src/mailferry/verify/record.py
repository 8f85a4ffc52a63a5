"""What a verification is once it is done: its numbers, its JSON, its rows in the ledger. Compares nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mailferry.model.folder import Path
from mailferry.verify.compare import Comparison, Difference, Finding, FolderCounts
from mailferry.verify.reading import Content
from mailferry.verify.score import Score, score, score_of, weigh

if TYPE_CHECKING:
    from mailferry.ledger.store import Ledger

INFORMATION_KEPT = 100
"""Findings without effect on the score are recorded up to so many per folder; their number is always recorded."""


@dataclass(frozen=True, slots=True)
class FolderVerification:
    """One folder compared. `folder_id` None: the ledger does not know it. `target` None: it has no place there."""

    folder_id: int | None
    source: Path
    target: Path | None
    comparison: Comparison
    excluded: str | None = None

    @property
    def score(self) -> Score:
        return score_of(self.comparison)


@dataclass(frozen=True, slots=True)
class MailboxVerification:
    """One mailbox compared. `findings`: those of the mailbox as a whole. `started`, `ended`: epoch seconds."""

    mailbox_id: int
    content: Content
    share: float
    started: float
    ended: float
    folders: tuple[FolderVerification, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def score(self) -> Score:
        return max([score(self.findings), *(folder.score for folder in self.folders)])

    @property
    def counts(self) -> FolderCounts:
        total = FolderCounts()
        for folder in self.folders:
            total.add(folder.comparison.counts)
        return total

    def tally(self) -> Counter[Difference]:
        """How many differences of each kind."""
        total = Counter(finding.kind for finding in self.findings)
        for folder in self.folders:
            total.update(folder.comparison.tally())
        return total


def record(ledger: Ledger, done: MailboxVerification) -> None:
    """Put the verification into the ledger: one row per folder that it knows, then one for the mailbox."""
    passes = ledger.passes(done.mailbox_id)
    last = passes[-1].id if passes else None
    unknown = []
    for folder in done.folders:
        result = folder_result(folder)
        if folder.folder_id is None:
            unknown.append(result)
        else:
            ledger.put_verification(
                done.mailbox_id, folder.score.word, result, pass_id=last, folder_id=folder.folder_id
            )
    result = {
        "content": done.content.value,
        "share": done.share,
        "started": done.started,
        "ended": done.ended,
        "counts": done.counts.as_dict(),
        "tally": {kind.value: number for kind, number in sorted(done.tally().items(), key=lambda one: one[0].value)},
        "findings": [finding_dict(finding) for finding in done.findings],
        "unknown_folders": unknown,
    }
    ledger.put_verification(done.mailbox_id, done.score.word, result, pass_id=last)


def folder_result(folder: FolderVerification) -> dict[str, Any]:
    """One folder as JSON values: the schema of `docs/verify.md`."""
    findings = folder.comparison.findings
    harmless = [finding for finding in findings if weigh(finding) is Score.PERFECT]
    kept = [finding for finding in findings if weigh(finding) is not Score.PERFECT] + harmless[:INFORMATION_KEPT]
    return {
        "source": list(folder.source),
        "target": list(folder.target) if folder.target is not None else None,
        "excluded": folder.excluded,
        "score": folder.score.word,
        "counts": folder.comparison.counts.as_dict(),
        "tally": {kind.value: number for kind, number in folder.comparison.tally().items()},
        "findings": [finding_dict(finding) for finding in kept],
    }


def finding_dict(finding: Finding) -> dict[str, Any]:
    """One finding as JSON values; what it has not is left out."""
    values = {
        "kind": finding.kind.value,
        "score": weigh(finding).word,
        "text": finding.text,
        "uid": finding.source_uid,
        "target_uid": finding.target_uid,
        "date": finding.date,
        "size": finding.size,
        "reason": finding.reason.value if finding.reason else None,
    }
    return {name: value for name, value in values.items() if value is not None}
