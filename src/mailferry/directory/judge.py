"""Keeps the findings of one cleaning and says what becomes of each: as decided, or by severity. Finds nothing itself.

Without a decision: an error keeps the recipient out, a warning takes its proposal, a note changes nothing.
Invariant: every finding stands in `rows` once, with what came of it; a decision is used or in `stale`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from mailferry.directory.codes import CODES, finding
from mailferry.directory.decisions import ANY, Action, Decision, Decisions, Key
from mailferry.model.recipient import Finding, Severity


class Outcome(Enum):
    """What came of a finding."""

    OUT = "left out"  # the recipient, or the line that would have been one, stays out
    CHANGED = "changed"
    KEPT = "as it is"


@dataclass(frozen=True, slots=True)
class Row:
    """A finding, what came of it, and the decision that said so (None: its severity)."""

    finding: Finding
    outcome: Outcome
    decision: Decision | None = None

    @property
    def is_open(self) -> bool:
        """Whether it waits for a human: an error that nobody has decided."""
        return self.finding.severity is Severity.ERROR and self.outcome is Outcome.OUT and self.decision is None


@dataclass(slots=True)
class Judge:
    """The rulings of one cleaning. `out`: ids of recipients that stay out."""

    decisions: Decisions = field(default_factory=Decisions)
    rows: list[Row] = field(default_factory=list)
    out: set[str] = field(default_factory=set)
    used: set[Key] = field(default_factory=set)

    def rule(self, found: Finding, *, harmless: bool = False) -> str:
        """The value that holds from now on: the old one, the proposal or the decided one ("": none at all).

        `harmless`: an error that others' decisions have already settled; it keeps nobody out.
        """
        decision = self.decision(found)
        new, out = found.value, False
        if decision is None:
            if found.severity is Severity.WARNING and found.proposal is not None:
                new = found.proposal
            out = found.severity is Severity.ERROR and not harmless
        elif decision.action is Action.ACCEPT:
            new = found.value if found.proposal is None else found.proposal
        elif decision.action is Action.REPLACE:
            new = decision.new
        elif decision.action is Action.LEAVE_OUT or (
            decision.action is Action.REJECT and found.severity is Severity.ERROR
        ):
            out = True
        self.record(found, Outcome.OUT if out else Outcome.CHANGED if new != found.value else Outcome.KEPT, decision)
        return new

    def record(self, found: Finding, outcome: Outcome, decision: Decision | None = None) -> None:
        """Keep a finding whose outcome the caller knows."""
        self.rows.append(Row(found, outcome, decision))
        if outcome is Outcome.OUT and found.about:
            self.out.add(found.about)

    def decision(self, found: Finding) -> Decision | None:
        """What is decided about a finding; counts as used, but for a merge, which is carried out or not."""
        decision = self.decisions.about(found)
        if decision is not None and decision.action is not Action.MERGE:
            self.used.add(decision.key)
        return decision

    def of_recipients(self, action: Action) -> Iterator[Decision]:
        """Decisions about one recipient as a whole (its id given), whatever the finding."""
        for decision in self.decisions:
            if decision.action is action and decision.id not in ("", ANY):
                yield decision

    def stale(self) -> None:
        """Record the decisions that fitted nothing, and those whose code means nothing."""
        for decision in self.decisions:
            where = f"{self.decisions.path}:{decision.line}"
            if decision.code not in CODES and decision.code != ANY:
                known = finding("decision-unknown", where, f"no finding is called {decision.code}", about=decision.id)
                self.record(known, Outcome.KEPT)
            elif decision.key not in self.used:
                text = f"{decision.action.value} for {decision.code} fits no finding of this run"
                self.record(finding("decision-stale", where, text, about=decision.id), Outcome.KEPT)
