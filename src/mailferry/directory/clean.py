"""Cleaning: all recipients as read in, those that may come along out, and every finding with what came of it. Pure.

Decisions are applied first, then what severities say: an error keeps its recipient out, a warning takes its proposal, a
note changes nothing. Near-linear in the number of recipients. Invariant: a recipient comes out, or is in `left_out`, or
was merged into another one or had the id of another one, and a row says so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mailferry.directory import addresses
from mailferry.directory.clean_references import drop_left_out, follow
from mailferry.directory.clean_twice import Everyone, by_id, merge_decided, merge_duplicates, settle_claims
from mailferry.directory.clean_values import Policy, check
from mailferry.directory.codes import finding
from mailferry.directory.decisions import Action, Decisions
from mailferry.directory.judge import Judge, Outcome, Row
from mailferry.model.recipient import Finding, Recipient, RecipientKind, Severity

__all__ = ["Cleaned", "Policy", "clean"]

_PHONES = ("telephoneNumber", "mobile", "homePhone", "facsimileTelephoneNumber", "pager")


@dataclass(frozen=True, slots=True)
class Cleaned:
    """`recipients`: who comes along, in the order read. `left_out`: ids of who does not. `merged`: id → whose id it is
    now. `rows`: every finding, the reader's too, in the order found."""

    recipients: tuple[Recipient, ...]
    left_out: tuple[str, ...]
    merged: Mapping[str, str]
    rows: tuple[Row, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(row.finding for row in self.rows)

    @property
    def open(self) -> tuple[Finding, ...]:
        """The errors that wait for a decision."""
        return tuple(row.finding for row in self.rows if row.is_open)


def clean(read: Iterable[Recipient | Finding], policy: Policy, decisions: Decisions | None = None) -> Cleaned:
    """Clean everything that readers gave."""
    judge = Judge(decisions or Decisions())
    recipients: list[Recipient] = []
    for one in read:
        if isinstance(one, Finding):
            lost = one.severity is Severity.ERROR
            decision = judge.decision(one)
            judge.record(one, Outcome.OUT if lost and decision is None else Outcome.KEPT, decision)
        else:
            recipients.append(check(one, policy, judge))
    everyone = by_id(recipients, judge)
    del recipients
    _leave_out(everyone, judge)
    became = merge_decided(everyone, judge)
    merge_duplicates(everyone, judge, became)
    settle_claims(everyone, judge)
    _missing(everyone, policy, judge)
    follow(everyone, judge, became)
    left_out = tuple(who for who in everyone if who in judge.out)
    drop_left_out(everyone, judge)
    judge.stale()
    return Cleaned(tuple(everyone.values()), left_out, became, tuple(judge.rows))


def _leave_out(everyone: Everyone, judge: Judge) -> None:
    """Decisions to leave a recipient out, whatever was found about it (code `*`)."""
    for decision in judge.of_recipients(Action.LEAVE_OUT):
        if decision.code == "*" and decision.id in everyone:
            judge.used.add(decision.key)
            judge.out.add(decision.id)


def _missing(everyone: Everyone, policy: Policy, judge: Judge) -> None:
    """Recipients without an address: an error where their kind lives by one."""
    for who, recipient in everyone.items():
        if recipient.mail or recipient.kind in (RecipientKind.ACCOUNT, RecipientKind.PUBLIC_FOLDER):
            continue
        if recipient.kind in (RecipientKind.GROUP, RecipientKind.DYNAMIC_GROUP):
            code, message, proposal = "group-without-address", "the group has no address: it is for rights only", None
        elif recipient.kind is RecipientKind.CONTACT and any(recipient.details.get(name) for name in _PHONES):
            code, message, proposal = "contact-without-address", "the contact has a telephone number only", None
        else:
            code, message, proposal = "address-missing", "there is no address", _address_for(recipient, policy)
        ruled = judge.rule(finding(code, recipient.where, message, about=who, proposal=proposal))
        if ruled:
            left = tuple(alias for alias in recipient.aliases if addresses.key(alias) != addresses.key(ruled))
            everyone[who] = dataclasses.replace(recipient, mail=ruled, aliases=left)


def _address_for(recipient: Recipient, policy: Policy) -> str | None:
    """An address that could be the primary one: an alias, the principal name, the one outside."""
    for candidate in (*recipient.aliases, recipient.principal, recipient.external_address):
        if candidate and addresses.fault(candidate) is None:
            ours = not policy.accepted_domains or addresses.domain_of(candidate) in policy.accepted_domains
            if ours or recipient.kind in (RecipientKind.CONTACT, RecipientKind.MAIL_USER):
                return candidate
    return None
