"""The consistency score: what each difference does to it. Pure. The formula is public: `docs/verify.md`.

Invariant: the score of many is the worst of them; an unknown or unweighed difference cannot exist (a test compares).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum

from mailferry.verify.compare import Comparison, Difference, Finding


class Score(IntEnum):
    """Ordered: the worst of many is `max()`."""

    PERFECT = 0  # no difference
    GOOD = 1  # only differences that the target cannot hold otherwise, or adopted by headers only
    INVESTIGATE = 2  # something did not come, or differs, and a named person has to approve it
    POOR = 3  # anything missing without a reason, content that differs, duplicates of ours: refused

    @property
    def word(self) -> str:
        return self.name.capitalize()

    @classmethod
    def of(cls, word: str) -> Score:
        """The score of a word, as the ledger keeps it."""
        return cls[word.upper()]


WEIGHT: Mapping[Difference, Score] = {
    Difference.MISSING: Score.POOR,
    Difference.UNRECORDED: Score.POOR,
    Difference.UNSETTLED: Score.POOR,
    Difference.DUPLICATE: Score.POOR,
    Difference.CONTENT: Score.POOR,
    Difference.UNREADABLE: Score.POOR,
    Difference.FOLDER_MISSING: Score.POOR,
    Difference.FOLDER_UNKNOWN: Score.POOR,
    Difference.FOLDER_UNREADABLE: Score.POOR,
    Difference.RENUMBERED: Score.POOR,
    Difference.FAILED: Score.INVESTIGATE,
    Difference.FOLDER_FAILED: Score.INVESTIGATE,
    Difference.ARRIVED_SINCE: Score.INVESTIGATE,
    Difference.ADOPTED_DIFFERS: Score.INVESTIGATE,
    Difference.FLAGS: Score.INVESTIGATE,
    Difference.KEYWORDS: Score.INVESTIGATE,
    Difference.DATE: Score.INVESTIGATE,
    Difference.SUBSCRIPTION: Score.INVESTIGATE,
    Difference.SPECIAL_USE: Score.INVESTIGATE,
    Difference.NAMED: Score.GOOD,
    Difference.ALTERED: Score.GOOD,
    Difference.ADOPTED_BY_HEADERS: Score.GOOD,
    Difference.EXTRA: Score.PERFECT,
    Difference.ZONE: Score.PERFECT,
    Difference.KEPT: Score.PERFECT,
}
"""The score that one difference of each kind leaves at best. PERFECT: for information, no loss."""


def weigh(finding: Finding) -> Score:
    """What one finding leaves. One that the target cannot hold otherwise leaves Good; a twin that stayed in the target
    because it cannot remove single messages, what was lost where it was kept, and a safety stop, do not."""
    weight = WEIGHT[finding.kind]
    if finding.explained and weight is Score.INVESTIGATE:
        return Score.GOOD
    if finding.kind is Difference.NAMED and finding.reason is not None and finding.reason.value in _NOT_HARMLESS:
        return Score.INVESTIGATE
    return weight


_NOT_HARMLESS = frozenset({"duplicate", "safety-stop", "part", "damage"})


def score(findings: Iterable[Finding]) -> Score:
    """The worst of all; PERFECT for none."""
    return max(map(weigh, findings), default=Score.PERFECT)


def score_of(comparison: Comparison) -> Score:
    """A folder's score: its findings, and Poor where its numbers do not add up."""
    return max(score(comparison.findings), Score.PERFECT if comparison.counts.balanced else Score.POOR)
