"""Whom an export names, looked up in the open directory: by address, X.500 name or shown name. Changes nothing.

Invariant: a name that two have is nobody's; an address that nobody here has is somebody outside, as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mailferry.coexist.people import People, Routed, of_entry, read, search
from mailferry.model.recipient import RecipientKind
from mailferry.wire import dn as names

MOST_MEMBERS = 500
"""A group with more people is not written out."""
_ADDRESS = re.compile(r"[^\s@<>\"]+@[^\s@<>\"]+")
_GROUPS = frozenset({RecipientKind.GROUP.value, RecipientKind.DYNAMIC_GROUP.value})


@dataclass(frozen=True, slots=True)
class Named:
    """`address`: reaches them all. `members`: a group's addresses, one person's own alone; None: too many, or they are
    not told."""

    address: str
    members: tuple[str, ...] | None


def resolved(people: People, texts: Iterable[str]) -> dict[str, Named]:
    """Text → who that is; without those whom nobody knows."""
    found = {}
    for text in dict.fromkeys(texts):
        one = _resolved(people, text)
        if one is not None:
            found[text] = one
    return found


def _resolved(people: People, text: str) -> Named | None:
    value = names.in_filter(text)
    is_address = _ADDRESS.fullmatch(text) is not None
    if is_address:
        key = f"(|(mail={value}){people.words.address(value)})"
    elif text.lower().startswith("/o="):
        key = (
            f"(|(legacyExchangeDN={value})(proxyAddresses=x500:{value}))"
            if people.words.ad
            else f"(mailferryX500={value})"
        )
    else:
        key = f"(|(cn={value})(displayName={value})({people.words.uid}={value}))"
    found = [of_entry(people, entry) for entry in search(people, key) if entry.text("mail")]
    if len(found) != 1:
        return Named(text, (text,)) if is_address and not found else None
    (one,) = found
    if one.kind in _GROUPS:
        return Named(one.mail, _members(people, one))
    address = text if is_address else one.mail
    return Named(address, (address,))


def _members(people: People, group: Routed) -> tuple[str, ...] | None:
    """Everybody in it and in the groups in it, by their main addresses."""
    found: dict[str, None] = {}
    seen = {group.dn.lower()}
    waiting = [group]
    while waiting:
        one = waiting.pop()
        found |= dict.fromkeys(one.outside_members)
        for dn in one.members:
            entry = None if dn.lower() in seen else read(people, dn)
            seen.add(dn.lower())
            if entry is None or not entry.text("mail"):
                continue
            member = of_entry(people, entry)
            if member.kind in _GROUPS:
                waiting.append(member)
            else:
                found[member.mail] = None
        if len(found) > MOST_MEMBERS:
            return None
    return tuple(sorted(found)) or None
