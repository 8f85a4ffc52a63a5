"""Cleaned recipients → an address book for any LDAP server: inetOrgPerson under one branch, lists as groupOfNames.

Pure. Uses standard schema only (core, cosine, inetorgperson). Entries are those that `entries` makes, without what only
our own schema has. Invariant: every entry has cn and sn, a DN of its own, and values that LDAP's syntaxes take.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mailferry.directory.codes import finding
from mailferry.directory.entries import Around, Entry, make_entry
from mailferry.directory.letters import one_line
from mailferry.directory.mapping import Placed
from mailferry.model.recipient import Finding, Recipient, RecipientKind
from mailferry.wire import dn as names

_GROUPS = (RecipientKind.GROUP, RecipientKind.DYNAMIC_GROUP)
_PERSON = ("top", "person", "organizationalPerson", "inetOrgPerson")
_FOREIGN = ("mailferry", "maillocal", "mailalternate", "mailhost", "mailforwarding", "objectclass", "uid")
_COUNTRY = ("co", "c")


@dataclass(frozen=True, slots=True)
class Book:
    """The entries, the branch's own first, and what they cannot hold."""

    entries: tuple[Entry, ...]
    findings: tuple[Finding, ...]


def make_book(recipients: Iterable[Recipient], base: str) -> Book:
    """An address book under `base` (`ou=addressbook,dc=acme,dc=example`). Hidden recipients stay out."""
    shown = [one for one in recipients if not one.hidden]
    places = _places(shown, base)
    around = Around(places.get, {one.id: one.mail for one in shown}.get, base)
    made: list[Entry] = [_branch(base)]
    found: list[Finding] = []
    for one in shown:
        entry, wrong = make_entry(Placed(one, one.mail or one.id, places[one.id]), around)
        made.append(Entry(entry.dn, _standard(one, entry)))
        found += wrong
        outside = [member for member in one.members if member.startswith("smtp:")]
        if outside:
            message = f"{len(outside)} members are no entries of this book; groupOfNames cannot hold their addresses"
            found.append(finding("reference-lost", one.where, message, about=one.id, value=outside[0]))
    return Book(tuple(made), tuple(found))


def _places(recipients: Iterable[Recipient], base: str) -> dict[str, str]:
    """A DN for each: `cn=…`; where that is taken, with the address (`cn=…+mail=…`), or with a number."""
    places: dict[str, str] = {}
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    for one in recipients:
        name = names.short(one_line(one.name) or one.mail or one.id)
        rdn = f"cn={names.escape(name)}"
        if rdn.casefold() in taken and one.mail is not None and one.mail.isascii() and one.kind not in _GROUPS:
            rdn = f"{rdn}+mail={names.escape(one.mail)}"
        while rdn.casefold() in taken:
            number = numbers[name.casefold()] = numbers.get(name.casefold(), 1) + 1
            rdn = f"cn={names.escape(f'{name} ({number})')}"
        taken.add(rdn.casefold())
        places[one.id] = f"{rdn},{base}"
    return places


def _branch(base: str) -> Entry:
    """The entry that the book stands under. UserError for what is no DN."""
    kind, value = names.parse(base)[0][0]
    classes = {"ou": "organizationalUnit", "o": "organization", "dc": "domain"}
    own = classes.get(kind.lower(), "organizationalUnit")
    return Entry(base, {"objectClass": (b"top", own.encode()), kind: (value.encode(),)})


def _standard(one: Recipient, entry: Entry) -> Mapping[str, tuple[bytes, ...]]:
    """The entry's standard attributes, in a steady order."""
    group = one.kind in _GROUPS
    kept = {name: values for name, values in entry.attributes.items() if not name.lower().startswith(_FOREIGN)}
    classes = ("top", "groupOfNames") if group else _PERSON
    found: dict[str, tuple[bytes, ...]] = {"objectClass": tuple(name.encode() for name in classes)}
    if group:
        allowed = ("cn", "description", "o", "ou", "member", "owner")
        return found | {name: kept[name] for name in allowed if name in kept}
    mail = dict.fromkeys(address for address in (one.mail, *one.aliases) if address and address.isascii())
    found |= {"cn": kept.pop("cn"), "sn": kept.pop("sn")}
    if mail:
        found["mail"] = tuple(address.encode() for address in mail)
    for name in ("mail", *_COUNTRY):  # the country stands in the postal address
        kept.pop(name, None)
    postal = _postal(one)
    if postal:
        found["postalAddress"] = (postal.encode(),)
    return found | kept


def _postal(one: Recipient) -> str:
    """The whole address in one value (RFC 4517 §3.3.28), since inetOrgPerson has no attribute for the country."""
    street = [row for value in one.details.get("street", ()) for row in value.split("\n")]
    town = " ".join(value for name in ("postalCode", "l") for value in one.details.get(name, ())[:1])
    rest = [*one.details.get("st", ())[:1], *(value for name in _COUNTRY for value in one.details.get(name, ()))]
    rows = [row.strip() for row in (*street, town, *rest) if row.strip()]
    return "$".join(row.replace("\\", "\\5C").replace("$", "\\24") for row in rows)
