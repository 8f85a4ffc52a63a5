"""Follows the references between recipients: to nobody, in circles, to somebody left out; groups without members.

Invariant: what comes back refers only to recipients that come along, or to `smtp:ADDRESS`; except that a restriction on
who may send, or a forwarding, never becomes none because those it named are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mailferry.directory import addresses
from mailferry.directory.circles import circles
from mailferry.directory.clean_twice import Everyone
from mailferry.directory.codes import finding
from mailferry.directory.judge import Judge, Outcome
from mailferry.model.recipient import Forwarding, Recipient, RecipientKind

_MANY = ("members", "owners", "accept_from", "reject_from", "send_on_behalf", "full_access")
_SMTP = "smtp:"


def follow(everyone: Everyone, judge: Judge, became: Mapping[str, str]) -> None:
    """Put the references of all recipients right, in place. `became`: who was merged into whom."""
    owners = {
        addresses.key(address): recipient.id
        for recipient in everyone.values()
        for address in (*recipient.aliases, *filter(None, (recipient.external_address, recipient.mail)))
    }
    known = _Known(everyone, owners, became)
    for recipient in list(everyone.values()):
        everyone[recipient.id] = _Following(recipient, known, judge).result()
    _loops(everyone, judge)
    for recipient in everyone.values():
        if recipient.kind is RecipientKind.GROUP and not recipient.members and not recipient.member_filter:
            message = "the group has no members; mail to it reaches nobody"
            judge.rule(finding("group-empty", recipient.where, message, about=recipient.id))


def drop_left_out(everyone: Everyone, judge: Judge) -> None:
    """Take away those left out; who refers to them refers to their address from now on, so that mail still goes there.

    A reference to one without address goes, except in `accept_from`: a restriction stays, even with nobody left in it.
    """
    gone = {who: everyone.pop(who) for who in judge.out if who in everyone}
    for recipient in list(everyone.values()):
        changes: dict[str, Any] = {}
        for name in (*_MANY, "manager", "forwarding"):
            value = getattr(recipient, name)
            touched = [one for one in _all(value) if one in gone] if value else ()
            if not touched:
                continue
            instead = {who: _instead(gone[who], keep=name in ("accept_from", "forwarding")) for who in touched}
            for who, new in instead.items():
                message = f"{name.replace('_', ' ')}: {gone[who].name} ({gone[who].where}) is left out"
                found = finding(
                    "reference-left-out", recipient.where, message, about=recipient.id, value=who, proposal=new
                )
                judge.record(found, Outcome.KEPT if new == who else Outcome.CHANGED)
            changes[name] = _replaced(value, instead)
        if changes:
            everyone[recipient.id] = dataclasses.replace(recipient, **changes)


def _instead(recipient: Recipient, *, keep: bool) -> str:
    address = recipient.mail or recipient.external_address
    if address is not None and addresses.fault(address) is None:
        return _SMTP + address
    return recipient.id if keep else ""


def _all(value: object) -> Iterator[str]:
    if isinstance(value, tuple):
        yield from value
    elif isinstance(value, Forwarding):
        yield value.to
    elif isinstance(value, str):
        yield value


def _replaced(value: object, instead: Mapping[str, str]) -> object:
    if isinstance(value, tuple):
        return tuple(dict.fromkeys(new for one in value if (new := instead.get(one, one))))
    if isinstance(value, Forwarding):
        return dataclasses.replace(value, to=instead.get(value.to, value.to))
    return instead.get(str(value)) or None


@dataclass(frozen=True, slots=True)
class _Known:
    everyone: Mapping[str, Recipient]
    owners: Mapping[str, str]
    became: Mapping[str, str]

    def resolve(self, reference: str) -> str | None:
        """The reference as it holds now; None if it means nobody."""
        while reference in self.became:
            reference = self.became[reference]
        if reference in self.everyone:
            return reference
        if not reference.lower().startswith(_SMTP):
            return None
        address = reference[len(_SMTP) :].strip()
        owner = self.owners.get(addresses.key(address))
        if owner is not None:
            return owner
        return _SMTP + address if addresses.fault(address) is None else None


class _Following:
    """The references of one recipient."""

    def __init__(self, recipient: Recipient, known: _Known, judge: Judge) -> None:
        self.recipient = recipient
        self.known = known
        self.judge = judge

    def rule(self, code: str, message: str, value: str, proposal: str | None) -> str:
        recipient = self.recipient
        found = finding(code, recipient.where, message, about=recipient.id, value=value, proposal=proposal)
        return self.judge.rule(found)

    def result(self) -> Recipient:
        recipient = self.recipient
        changes: dict[str, Any] = {}
        for name in _MANY:
            old: tuple[str, ...] = getattr(recipient, name)
            if old:
                new = tuple(dict.fromkeys(one for reference in old if (one := self._one(name, reference))))
                if name == "accept_from" and not new:
                    self.rule("restriction-lost", "those who may send are all gone; now everybody could", old[0], None)
                if new != old:
                    changes[name] = new
        if recipient.manager:
            changes["manager"] = self._one("manager", recipient.manager) or None
        if recipient.forwarding is not None:
            changes["forwarding"] = self._forwarding(recipient.forwarding)
        real = {name: value for name, value in changes.items() if value != getattr(recipient, name)}
        return dataclasses.replace(recipient, **real) if real else recipient

    def _one(self, name: str, reference: str) -> str:
        resolved = self.known.resolve(reference)
        if resolved is None:
            message = f"{name.replace('_', ' ')}: nobody here is {reference}"
            resolved = self.rule("reference-nobody", message, reference, "")
            resolved = self.known.resolve(resolved) or ""
        if resolved == self.recipient.id and name == "members":
            resolved = self.rule("group-in-itself", "the group is its own member", reference, "")
        return resolved

    def _forwarding(self, forwarding: Forwarding) -> Forwarding | None:
        to = self.known.resolve(forwarding.to)
        if to is None:
            ruled = self.rule("forwarding-lost", f"nobody here is {forwarding.to}", forwarding.to, None)
            to = self.known.resolve(ruled) if ruled else None
        return None if to is None else dataclasses.replace(forwarding, to=to)


def _loops(everyone: Everyone, judge: Judge) -> None:
    """One finding for every group in a circle of groups. Nothing is cut here: each would mean other people then."""
    for circle in circles(everyone):
        if len(circle) == 1:
            continue  # found where its references are followed
        for who in circle:
            others = ", ".join(everyone[one].name for one in circle if one != who)
            message = f"the group contains itself through {others}; each is written with the members of all"
            judge.rule(finding("group-loop", everyone[who].where, message, about=who, value=min(circle)))
