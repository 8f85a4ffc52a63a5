"""Finds one person twice, and one address, mailbox or identity with two owners. Changes no text.

Everything goes by keys (address, name and telephone number), so the work grows with the number of recipients and not
with its square. Invariant: what comes back has each id once, and each address and X.500 address of recipients that are
not left out once, unless a decision keeps it with several contacts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from types import MappingProxyType

from mailferry.directory.addresses import key
from mailferry.directory.clean_values import distinct
from mailferry.directory.codes import finding
from mailferry.directory.decisions import ANY, Action
from mailferry.directory.judge import Judge, Outcome, Row
from mailferry.directory.names import name_key
from mailferry.model.recipient import Finding, Recipient, RecipientKind

Everyone = dict[str, Recipient]
"""Recipients by id, in their order."""


def by_id(recipients: Iterable[Recipient], judge: Judge) -> Everyone:
    """Each identity once: of two recipients with one id, the first."""
    everyone: Everyone = {}
    for recipient in recipients:
        first = everyone.setdefault(recipient.id, recipient)
        if first is not recipient:
            message = f"the same identity as {first.where}; only that one is taken"
            twice = finding("id-twice", recipient.where, message, about=recipient.id, value=recipient.name)
            judge.rows.append(Row(twice, Outcome.OUT, judge.decision(twice)))  # the first one is not left out for it
    return everyone


def merge_decided(everyone: Everyone, judge: Judge) -> dict[str, str]:
    """Carry out the decisions that name two recipients one. Returns who became whom, by id."""
    became: dict[str, str] = {}
    for decision in judge.of_recipients(Action.MERGE):
        gone, into = everyone.get(decision.id), everyone.get(_last(decision.new.strip(), became))
        if gone is None or into is None or gone.id == into.id:
            continue
        judge.used.add(decision.key)
        code = "duplicate-near" if decision.code == ANY else decision.code
        found = finding(code, gone.where, f"is {into.name} ({into.where})", about=gone.id, value=gone.name)
        judge.record(found, Outcome.CHANGED, decision)
        _merge(everyone, gone, into, became)
    return became


def merge_duplicates(everyone: Everyone, judge: Judge, became: dict[str, str]) -> None:
    """Merge contacts that are somebody else here by address and name; tell of those who share name and telephone."""
    ordered = sorted(everyone.values(), key=lambda one: one.kind is RecipientKind.CONTACT)
    for recipient, into in _pairs(ordered, lambda one: map(key, _addresses(one)), everyone):
        if recipient.kind is RecipientKind.CONTACT:
            message = f"has name and address of {into.name} ({into.where})"
            _suggest("duplicate", message, recipient, into, everyone, judge, became)
    for recipient, into in _pairs(list(everyone.values()), _numbers, everyone):
        message = f"has name and telephone number of {into.name} ({into.where})"
        _suggest("duplicate-near", message, recipient, into, everyone, judge, became)


def _pairs(
    recipients: Iterable[Recipient], keys: Callable[[Recipient], Iterable[str]], everyone: Everyone
) -> Iterator[tuple[Recipient, Recipient]]:
    """Those who share a key, and by their names seem to be one: each with the first such one. Names, which cost more,
    are looked at only where a key is shared."""
    told: set[str] = set()
    for sharing in _sharing(recipients, keys).values():
        first_named: dict[str, str] = {}
        for who in sharing:
            if who not in everyone or who in told:
                continue
            first = first_named.setdefault(name_key(everyone[who].name), who)
            if first != who and first in everyone and everyone[who].name.strip():
                told.add(who)
                yield everyone[who], everyone[first]


def _sharing(
    recipients: Iterable[Recipient], values: Callable[[Recipient], Iterable[str]], same: Callable[[str], str] = str
) -> dict[str, dict[str, str]]:
    """What several recipients have, by key: their ids and how each writes it. `same` makes keys of values."""
    first: dict[str, str] = {}
    found: dict[str, dict[str, str]] = {}
    keyed = [(one.id, value, same(value)) for one in recipients for value in values(one)]
    for who, _, shared in keyed:
        if first.setdefault(shared, who) != who:
            found[shared] = {}
    for who, value, shared in keyed if found else ():
        if shared in found:
            found[shared].setdefault(who, value)
    return found


def _suggest(
    code: str,
    message: str,
    recipient: Recipient,
    into: Recipient,
    everyone: Everyone,
    judge: Judge,
    became: dict[str, str],
) -> None:
    found = finding(code, recipient.where, message, about=recipient.id, value=recipient.name, proposal=into.id)
    if judge.rule(found) == into.id:
        _merge(everyone, recipient, into, became)


def settle_claims(everyone: Everyone, judge: Judge) -> None:
    """Addresses, X.500 addresses and mailboxes of two recipients: errors, until decisions leave one owner."""
    _claims(everyone, judge, "address-claimed-twice", _addresses, key, without_address)
    _claims(everyone, judge, "x500-claimed-twice", lambda one: one.x500, str.casefold, _without_x500)
    _claims(everyone, judge, "mailbox-claimed-twice", _mailboxes, str.lower, _without_mailbox)


def _claims(
    everyone: Everyone,
    judge: Judge,
    code: str,
    values: Callable[[Recipient], Iterable[str]],
    same: Callable[[str], str],
    without: Callable[[Recipient, str], Recipient],
) -> None:
    for held in _sharing(everyone.values(), values, same).values():
        found = {owner: _claim(everyone, code, owner, value, held) for owner, value in held.items()}
        decided = {owner: judge.decisions.about(one) for owner, one in found.items()}
        keepers = [one for one, decision in decided.items() if decision and decision.action is Action.KEEP]
        all_contacts = all(everyone[owner].kind is RecipientKind.CONTACT for owner in held)
        if len(keepers) == 1:
            losers = [owner for owner in held if owner != keepers[0]]
        else:
            losers = [
                owner
                for owner, decision in decided.items()
                if decision and decision.action in (Action.ACCEPT, Action.REPLACE, Action.LEAVE_OUT)
            ]
        settled = len(held) - len(losers) <= 1 or (all_contacts and set(keepers) == set(held) - set(losers))
        for owner, claim in found.items():
            if owner in losers:
                decision = judge.decision(claim)
                leaves = decision is not None and decision.action is Action.LEAVE_OUT
                judge.record(claim, Outcome.OUT if leaves else Outcome.CHANGED, decision)
                everyone[owner] = without(everyone[owner], held[owner])
            elif settled:
                judge.rule(claim, harmless=True)
            else:
                decision = decided[owner]
                rejected = decision is not None and decision.action is Action.REJECT
                judge.record(claim, Outcome.OUT, judge.decision(claim) if rejected else None)


def _claim(everyone: Everyone, code: str, owner: str, value: str, held: dict[str, str]) -> Finding:
    others = [everyone[other] for other in held if other != owner]
    whose = ", ".join(f"{one.name} ({one.where})" for one in others[:3]) + (" …" if len(others) > 3 else "")
    message = f"{value} is also that of {whose}"
    return finding(code, everyone[owner].where, message, about=owner, value=value, proposal="")


def without_address(recipient: Recipient, address: str) -> Recipient:
    """A recipient that no longer has an address; where it was the primary one, the first alias becomes that."""
    left = [one for one in _addresses(recipient) if key(one) != key(address)]
    return dataclasses.replace(recipient, mail=left[0] if left else None, aliases=tuple(left[1:]))


def _without_x500(recipient: Recipient, value: str) -> Recipient:
    return dataclasses.replace(
        recipient, x500=tuple(one for one in recipient.x500 if one.casefold() != value.casefold())
    )


def _without_mailbox(recipient: Recipient, _: str) -> Recipient:
    return dataclasses.replace(recipient, mailbox_guid=None)


def _addresses(recipient: Recipient) -> list[str]:
    return [recipient.mail, *recipient.aliases] if recipient.mail else list(recipient.aliases)


def _mailboxes(recipient: Recipient) -> list[str]:
    return [recipient.mailbox_guid] if recipient.mailbox_guid else []


def _numbers(recipient: Recipient) -> list[str]:
    """The last nine digits of each telephone number: what `+49 30 …` and `030 …` share."""
    values = (value for kind in ("telephoneNumber", "mobile", "homePhone") for value in recipient.details.get(kind, ()))
    digits = ("".join(one for one in value if one.isdigit()) for value in values)
    return [number[-9:] for number in digits if len(number) >= 5]


def _last(who: str, became: dict[str, str]) -> str:
    seen = {who}
    while who in became and became[who] not in seen:
        who = became[who]
        seen.add(who)
    return who


def _merge(everyone: Everyone, gone: Recipient, into: Recipient, became: dict[str, str]) -> None:
    """`gone` becomes `into`, and its X.500 addresses go there, since old messages hold them. The rest comes along only
    between contacts: an address book tells nothing new about a person whom the organisation's own directory knows."""
    del everyone[gone.id]
    became[gone.id] = into.id
    known = {one.casefold() for one in into.x500}
    into = dataclasses.replace(into, x500=(*into.x500, *(one for one in gone.x500 if one.casefold() not in known)))
    everyone[into.id] = into
    if gone.kind is not RecipientKind.CONTACT or into.kind is not RecipientKind.CONTACT:
        return
    addresses = {key(one): one for one in reversed([*_addresses(into), *_addresses(gone)])}
    ordered = list(reversed(addresses.values()))
    details = dict(into.details)
    for name, values in gone.details.items():
        old = details.get(name, ())
        if name in ("givenName", "sn", "initials", "c", "l", "st", "postalCode", "street") and old:
            continue
        details[name] = distinct(name, (*old, *values))
    everyone[into.id] = dataclasses.replace(
        into,
        mail=ordered[0] if ordered else None,
        aliases=tuple(ordered[1:]),
        details=MappingProxyType(details),
        photo=into.photo or gone.photo,
        preferences=MappingProxyType({**gone.preferences, **into.preferences}),
    )
