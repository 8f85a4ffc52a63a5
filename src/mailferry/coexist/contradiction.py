"""What Exchange would do with mail for an address, by Active Directory, and where that contradicts the open directory.

Pure, but for looking up in the open directory whom an external address means. Changes nothing. Invariant: whatever
makes mail go in a circle, to another person, nowhere, or into a mailbox that nobody reads any more has a warning.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailferry.coexist.exchange_side import OnExchange, plain
from mailferry.coexist.routes import People, Routed, find
from mailferry.errors import UserError
from mailferry.stack.postfix.settings import Route


@dataclass(frozen=True, slots=True)
class Side:
    """`inside`: where mail goes that a user of Exchange sends, as a sentence. `known`: whether Active Directory has the
    address; None: it could not be asked, and `inside` says why."""

    inside: str
    known: bool | None
    warnings: tuple[str, ...] = ()


def compare(people: People, there: OnExchange | None, address: str, unlike: tuple[str, ...] = ()) -> Side:
    """`there`: whoever has the address in Active Directory. `unlike`: what other controllers say differently."""
    try:
        here = find(people, address)
    except UserError:
        here = None
    warnings = _warnings(people, there, here)
    warnings += [f"domain controllers do not agree on its targetAddress: {'; '.join(unlike)}"] if unlike else []
    return Side(_inside(people, there), there is not None, tuple(warnings))


def _inside(people: People, there: OnExchange | None) -> str:
    if there is None:
        return "Exchange does not know it, and passes it on to the open side"
    if there.group:
        return "Exchange sends it to the group's members, one by one"
    if there.target:
        to = plain(there.target)
        where = "to the open side" if _is_open(people, to) else "elsewhere"
        return f"{where}: targetAddress is {to}"
    if there.forward_to:
        copy = "with a copy in the mailbox" if there.keep_copy else "without a copy"
        return f"Exchange forwards it to {there.forward_to}, {copy}"
    if there.mailbox:
        return "into the mailbox on Exchange"
    return "nowhere: Exchange has neither a mailbox nor an external address for it"


def _warnings(people: People, there: OnExchange | None, here: Routed | None) -> list[str]:
    if here is None:
        if there is None:
            return []
        return [
            "Active Directory has it, the open directory does not: mail from outside is refused; run directory sync"
        ]
    if there is None:
        back = here.route == Route.EXCHANGE.value
        return ["its route leads to Exchange, which does not know it: its mail is refused"] if back else []
    if here.id.startswith("ad:") and here.id != there.id:
        return [f"the address is that of {there.dn} in Active Directory, and of {here.dn} here, which is somebody else"]
    if there.group or not here.route:
        return []
    return _of_person(people, there, here)


def _of_person(people: People, there: OnExchange, here: Routed) -> list[str]:
    to = plain(there.target) or there.forward_to
    diverted = _is_open(people, to)
    if diverted and (wrong := _whom(people, to, here)):
        return [wrong]
    if here.route == Route.EXCHANGE.value:
        if diverted and (there.target or not there.keep_copy):
            return [
                f"its route leads to Exchange, and Exchange sends its mail back ({to}): it is put off (451) while the "
                "route is fresh, and then refused; give the former targetAddress back"
            ]
        if not there.mailbox and not to:
            return ["its route leads to Exchange, which has no mailbox for it: its mail is refused"]
        return []
    if diverted:
        return []
    if there.target:
        return [f"it is on the open side, and Exchange sends its users' mail elsewhere ({to})"]
    if there.mailbox and (not there.forward_to or there.keep_copy):
        return [
            "it is on the open side, and mail from Exchange's users goes into the old mailbox, where a sweep finds it"
        ]
    return []


def _whom(people: People, address: str, here: Routed) -> str:
    """What is wrong with an address at the open side."""
    try:
        found = find(people, address)
    except UserError:
        return f"Exchange sends its mail to {address}, which is nobody's: it is refused"
    return "" if found.dn == here.dn else f"Exchange sends its mail to {address}, which is somebody else: {found.dn}"


def _is_open(people: People, address: str) -> bool:
    return bool(people.open_domain) and address.rpartition("@")[2].lower() == people.open_domain
