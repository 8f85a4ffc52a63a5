"""The score's formula is whole, ordered and public."""

from __future__ import annotations

from pathlib import Path

from mailferry.model.message import Reason
from mailferry.verify.compare import Comparison, Difference, Finding, FolderCounts
from mailferry.verify.score import WEIGHT, Score, score, score_of, weigh
from mailferry.verify.sentences import DIFFERENCES, REASONS, VERDICTS

DOCUMENT = Path(__file__).parents[2] / "docs" / "verify.md"


def test_every_difference_has_a_weight_and_words() -> None:
    assert set(WEIGHT) == set(DIFFERENCES) == set(Difference)
    assert set(REASONS) == set(Reason)
    assert set(VERDICTS) == set(Score)


def test_the_document_states_every_weight() -> None:
    lines = [line.split("|") for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    stated = {cells[1].strip().strip("`"): cells[2].strip() for cells in lines if len(cells) >= 4}
    assert {kind.value: weight.word for kind, weight in WEIGHT.items()}.items() <= stated.items()


def test_the_worst_wins() -> None:
    assert max(Score) is Score.POOR
    assert score([]) is Score.PERFECT
    findings = [Finding(Difference.NAMED, ""), Finding(Difference.FAILED, ""), Finding(Difference.EXTRA, "")]
    assert score(findings) is Score.INVESTIGATE
    assert [Score.of(one.word) for one in Score] == list(Score)


def test_what_the_target_cannot_hold_is_good_and_a_defect_never() -> None:
    assert weigh(Finding(Difference.FLAGS, "", explained=True)) is Score.GOOD
    assert weigh(Finding(Difference.CONTENT, "")) is Score.POOR
    assert weigh(Finding(Difference.NAMED, "", reason=Reason.ACL)) is Score.GOOD
    assert weigh(Finding(Difference.NAMED, "", reason=Reason.DUPLICATE)) is Score.INVESTIGATE


def test_numbers_that_do_not_add_up_are_poor() -> None:
    assert score_of(Comparison(FolderCounts(listed=3, copied=2))) is Score.POOR
    assert score_of(Comparison(FolderCounts(listed=3, copied=1, there=1, since=1))) is Score.PERFECT
