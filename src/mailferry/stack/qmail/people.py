"""What each recipient of the directory becomes on a qmail host: a home with a `.qmail`, and lines of users/assign.

Pure. One home for each recipient, however many addresses lead there, so that a route is one file (dot-qmail(5)); its
first line says in JSON what the programs beside qmail need. Invariants: mail for a recipient that makes no sense waits
(exit 111), and never bounces; no text of the directory gets into a shell's command.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import quote

from mailferry.stack.postfix.settings import Route
from mailferry.stack.postfix.tables import NO_ROUTE, NO_STORE
from mailferry.stack.qmail.programs.lookup import MARK
from mailferry.stack.qmail.settings import Settings

PEOPLE, OTHERS, TWICE = "people", "others", "others/two-have-this-address"
NOBODY = "nobody"
"""A home without a `.qmail`: whoever comes there does not exist."""
GROUPS = ("group", "dynamic-group")
_ADDRESS = re.compile(r"[!-~]+@[A-Za-z0-9.-]+")
_NAME = re.compile(r"[A-Za-z0-9_@=+-][A-Za-z0-9._@=+-]*")
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """A recipient as the directory has it. `key`: the folded DN; `members`: folded DNs. `fresh_until`: seconds since
    the epoch. `inside`: takes no mail from outside. `answer`: the text of a notice of absence that is in force."""

    key: str
    mail: str
    kind: str
    uid: str = ""
    addresses: tuple[str, ...] = ()
    route: str = ""
    store: str = ""
    fresh_until: float | None = None
    forward_to: tuple[str, ...] = ()
    keep_copy: bool = False
    external: str = ""
    members: tuple[str, ...] = ()
    outside_members: tuple[str, ...] = ()
    inside: bool = False
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Home:
    """A directory below `state`: its `.qmail`, and the text of the responder ("": none). `maildir`: the uid of a
    mailbox that has to be there, "" for none."""

    name: str
    text: str
    answer: str = ""
    maildir: str = ""


@dataclass(slots=True)
class Plan:
    """What is to stand on a host. `homes` by name; `addresses`: address in small letters → home; `odd`: what could not
    be carried, in words."""

    homes: dict[str, Home] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)


def plan(entries: Iterable[Entry], settings: Settings) -> Plan:
    """Everybody."""
    by_key = {one.key: one for one in entries}
    made = Plan()
    for one in by_key.values():
        home = home_of(one, by_key, settings)
        made.homes[home.name] = home
        if one.kind in GROUPS:
            lost = [address for address in members(one, by_key) if not _ADDRESS.fullmatch(address)]
            made.odd += [f"{one.mail}: its member {address} has an address that makes no sense" for address in lost]
        for address in _addresses(one, settings):
            local, _, domain = address.rpartition("@")
            if domain not in settings.local_domains:
                continue
            if not local or ":" in local or any(not "!" <= letter <= "~" for letter in local):
                made.odd.append(f"{one.mail}: the address {address} cannot stand in users/assign")
            elif made.addresses.setdefault(address, home.name) != home.name:
                made.odd.append(f"{address} belongs to two: {one.mail} is one of them; its mail waits")
                made.addresses[address] = TWICE
                made.homes[TWICE] = Home(TWICE, _text({"mail": "", "route": ""}, [_waits("two have this address")]))
    return made


def home_of(one: Entry, everybody: Mapping[str, Entry], settings: Settings) -> Home:
    """What becomes of mail for a recipient. `everybody`: whom groups may name."""
    person = bool(one.uid) and _NAME.fullmatch(one.uid) is not None
    name = f"{PEOPLE}/{one.uid}" if person else f"{OTHERS}/{_file(one.mail)}"
    maildir = one.uid if person and one.route == Route.LOCAL.value and one.store.lower() == settings.store else ""
    top = {
        "mail": one.mail,
        "route": one.route,
        "fresh": one.fresh_until if one.route == Route.EXCHANGE.value else None,
        "inside": one.inside or None,
        "addresses": list(one.addresses) if one.answer else None,
    }
    lines = list(_lines(one, everybody, settings, person=person))
    answer = one.answer if any(line == _program(settings, "answer") for line in lines) else ""
    return Home(name, _text(top, lines), answer, maildir)


def assign(made: Plan, settings: Settings, owner: tuple[int, int], before: str = "") -> str:
    """users/assign (qmail-users(5)). `owner`: uid and gid of all mail; `before`: lines of others, which come first."""
    state, (uid, gid) = settings.places.state, owner

    def line(kind: str, name: str, home: str, dash: str) -> str:
        return f"{kind}{name}:{settings.owner}:{uid}:{gid}:{state}/{home}:{dash}::"

    lines = []
    for address, home in made.addresses.items():
        local, _, domain = address.rpartition("@")
        lines.append(line("=", f"{domain}-{local}", home, ""))
    lines += [line("+", f"{domain}-", NOBODY, "-") for domain in settings.local_domains]
    kept = before if not before or before.endswith("\n") else f"{before}\n"
    return kept + "\n".join(sorted(lines)) + "\n.\n"


def _lines(one: Entry, everybody: Mapping[str, Entry], settings: Settings, *, person: bool) -> Iterator[str]:
    """The instructions of a `.qmail`; none at all: mail for it is dropped, as for a group without members."""
    route = one.route
    if one.kind in GROUPS:
        yield from (f"&{address}" for address in members(one, everybody) if _ADDRESS.fullmatch(address))
    elif one.forward_to and not one.keep_copy and route in (Route.LOCAL.value, Route.PARKED.value):
        yield from _forwards(one.forward_to)
    elif route == Route.PARKED.value:
        yield _program(settings, "parked")
    elif route == Route.EXCHANGE.value or (not route and one.kind == "public-folder"):
        yield from _forwards([f"{one.mail.rpartition('@')[0]}@{settings.exchange_domain}"])
    elif route == Route.LOCAL.value and one.uid and not person:
        yield _waits("its uid cannot be the name of a directory")
    elif route == Route.LOCAL.value and one.store.lower() == settings.store and person:
        yield f"{settings.places.mail_dir}/{one.uid}/Maildir/"
        yield from _forwards(one.forward_to)
        if one.answer:
            yield _program(settings, "answer")
    elif route == Route.LOCAL.value and one.store.lower() in settings.stores and person:
        yield from _forwards([f"{one.uid}@{one.store.lower()}"])
    elif route == Route.LOCAL.value:
        yield _waits(NO_STORE)
    elif one.external and not route:
        yield from _forwards([one.external])
    else:
        yield _waits(NO_ROUTE)


def members(group: Entry, everybody: Mapping[str, Entry]) -> list[str]:
    """The primary addresses of all members of a group, groups in groups included, each once."""
    found: dict[str, None] = {}
    seen = {group.key}
    waiting = [group]
    while waiting:
        one = waiting.pop()
        found |= dict.fromkeys(address.lower() for address in one.outside_members)
        for key in one.members:
            member = everybody.get(key)
            if member is None or key in seen:
                continue
            seen.add(key)
            if member.kind in GROUPS:
                waiting.append(member)
            elif member.mail:
                found[member.mail.lower()] = None
    return sorted(found)


def _forwards(addresses: Iterable[str]) -> Iterator[str]:
    for address in addresses:
        if _ADDRESS.fullmatch(address):
            yield f"&{address}"
        else:
            yield _waits("an address to forward to makes no sense")


def _addresses(one: Entry, settings: Settings) -> Iterator[str]:
    """All that lead to it, in small letters."""
    yield from dict.fromkeys(address.lower() for address in (one.mail, *one.addresses) if "@" in address)
    if one.uid and one.route:
        yield f"{one.uid}@{settings.open_domain}".lower()
        yield f"{one.uid}@{settings.store}".lower()


def _program(settings: Settings, name: str) -> str:
    return f"|{settings.places.programs}/{name}"


def _waits(why: str) -> str:
    """Mail waits; `why` is ours, and stands in the log. In brackets, as Postfix shows such places."""
    return f'|echo "[{why}]"; exit 111'


def _text(top: Mapping[str, object], lines: Iterable[str]) -> str:
    head = json.dumps({name: value for name, value in top.items() if value is not None}, ensure_ascii=True)
    return "".join(f"{line}\n" for line in (f"{MARK}{head}", *lines))


def _file(mail: str) -> str:
    """A name for a directory, of an address."""
    name = quote(mail.lower(), safe="@+=")
    if len(name) > _LONGEST:
        return f"{name[:_LONGEST]}~{sha256(mail.lower().encode()).hexdigest()[:16]}"
    return f"%2E{name[1:]}" if name.startswith(".") else name
