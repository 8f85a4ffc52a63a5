"""Spoils people of the lab's organisation: each kind of dirt that real directories have, once per call.

Pure. Invariant: what is wrong with the entry returned is what the `Dirt` returned says, and nothing else.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import replace

from lab.organisation_data import DOMAINS, ROOT, Dirt, Entry, Trouble, Value
from mailferry.model.recipient import RecipientKind

_Spoiled = tuple[Entry, Dirt]

_MALFORMED = (
    "{local}@@{domain}",
    "{local}@",
    "{local} {domain}",
    "two words@{domain}",
    "@{domain}",
    "{local}@{domain}>",
    "{local}..dots@{domain}",
    "{local}@-{domain}",
    "müller;{local}@{domain}",
)
_TRAPS = (
    "Anna*",
    "Sales (EMEA)",
    "Back\\slash",
    "Müller, Anna",
    "C++ Team + Friends",
    "#1 Fan",
    'The "Boss"',
    "a=b;c<d>",
    "*)(objectClass=*",
    " leading space",
)


def spoilt(trouble: Trouble, fresh: Entry, other: Entry, number: int) -> _Spoiled:
    """A clean person of its own, spoilt; `other` is a clean one to collide with, `number` chooses among variants."""
    return SPOILERS[trouble](fresh, other, number)


def _changed(entry: Entry, **values: tuple[Value, ...]) -> Entry:
    """With other values; an empty tuple takes the attribute away."""
    merged = {**entry.values, **values}
    return replace(entry, values={name: found for name, found in merged.items() if found})


def _text(entry: Entry, attribute: str) -> str:
    return str(entry.values[attribute][0])


def _addressed(entry: Entry, mail: str) -> Entry:
    return _changed(entry, mail=(mail,), proxyAddresses=(f"SMTP:{mail}",))


def _address_missing(fresh: Entry, other: Entry, number: int) -> _Spoiled:
    return _changed(fresh, mail=(), proxyAddresses=()), Dirt(Trouble.ADDRESS_MISSING, fresh.account)


def _address_malformed(fresh: Entry, other: Entry, number: int) -> _Spoiled:
    local, _, domain = fresh.mail.partition("@")
    mail = _MALFORMED[number % len(_MALFORMED)].format(local=local, domain=domain)
    return _addressed(fresh, mail), Dirt(Trouble.ADDRESS_MALFORMED, fresh.account, mail)


def _address_twice(fresh: Entry, other: Entry, number: int) -> _Spoiled:
    entry = _changed(fresh, proxyAddresses=(*fresh.values["proxyAddresses"], f"smtp:{other.mail.upper()}"))
    return entry, Dirt(Trouble.ADDRESS_TWICE, fresh.account, other.mail, other.account)


def _domain_wrong(fresh: Entry, other: Entry, number: int) -> _Spoiled:
    mail = fresh.mail.partition("@")[0] + "@" + ("acme.exmaple", "acme.example.local", "acme")[number % 3]
    return _addressed(fresh, mail), Dirt(Trouble.DOMAIN_WRONG, fresh.account, mail)


def _primary_differs(fresh: Entry, other: Entry, number: int) -> _Spoiled:
    mail = f"{fresh.account}.old@{DOMAINS[0]}"
    return _changed(fresh, mail=(mail,)), Dirt(Trouble.PRIMARY_DIFFERS, fresh.account, mail)


def _primary_twice(fresh: Entry, other: Entry, number: int) -> _Spoiled:
    mail = f"{fresh.account}.second@{DOMAINS[0]}"
    entry = _changed(fresh, proxyAddresses=(*fresh.values["proxyAddresses"], f"SMTP:{mail}"))
    return entry, Dirt(Trouble.PRIMARY_TWICE, fresh.account, mail)


def _duplicate(fresh: Entry, other: Entry, number: int) -> _Spoiled:
    """The same person again with another account, as after a return to the company."""
    same = ("displayName", "givenName", "sn", "telephoneNumber", "employeeNumber", "department", "title")
    entry = _changed(fresh, **{name: other.values[name] for name in same})
    entry = replace(entry, name=f"{other.name} {number + 2}")
    return entry, Dirt(Trouble.DUPLICATE, fresh.account, other.name, other.account)


def _near_duplicate(fresh: Entry, other: Entry, number: int) -> _Spoiled:
    """The same person written a little otherwise: another accent, or a letter twice; same telephone."""
    surname = _text(other, "sn")
    plain = "".join(part for part in unicodedata.normalize("NFD", surname) if not unicodedata.combining(part))
    surname = plain if plain != surname else surname + surname[-1]
    name = f"{_text(other, 'givenName')} {surname}"
    same = ("givenName", "telephoneNumber", "department")
    entry = _changed(fresh, displayName=(name,), sn=(surname,), **{key: other.values[key] for key in same})
    entry = replace(entry, name=f"{name} {number + 2}")
    return entry, Dirt(Trouble.NEAR_DUPLICATE, fresh.account, name, other.account)


def _contact_of_ours(fresh: Entry, other: Entry, number: int) -> _Spoiled:
    same = ("displayName", "givenName", "sn", "mail", "telephoneNumber")
    values = {name: other.values[name] for name in same}
    values["proxyAddresses"] = (f"SMTP:{other.mail}",)
    dirt = Dirt(Trouble.CONTACT_OF_OURS, fresh.account, other.mail, other.account)
    return _as_contact(fresh, other.name, f"SMTP:{other.mail}", values), dirt


def _other_network(fresh: Entry, other: Entry, number: int) -> _Spoiled:
    target = f"NOTES:{fresh.name}/Acme@ACME"
    values = {name: fresh.values[name] for name in ("displayName", "givenName", "sn", "mail", "proxyAddresses")}
    return _as_contact(fresh, fresh.name, target, values), Dirt(Trouble.OTHER_NETWORK, fresh.account, target)


def _as_contact(fresh: Entry, name: str, target: str, values: dict[str, tuple[Value, ...]]) -> Entry:
    kept = {key: fresh.values[key] for key in ("mailNickname", "legacyExchangeDN")}
    values |= kept | {"targetAddress": (target,), "msExchRecipientTypeDetails": ("64",)}
    unit = f"OU=Contacts,{ROOT}"
    return Entry(fresh.account, RecipientKind.CONTACT, "contact", f"{name} ({fresh.account})", unit, values)


def _system_mailbox(fresh: Entry, other: Entry, number: int) -> _Spoiled:
    name = f"SystemMailbox{{{fresh.guid}}}"
    arbitration = str(1 << 23)
    entry = _changed(
        fresh, displayName=("Microsoft Exchange",), sn=(), givenName=(), msExchRecipientTypeDetails=(arbitration,)
    )
    entry = replace(entry, name=name, unit=f"OU=Service,{ROOT}")
    return entry, Dirt(Trouble.SYSTEM_MAILBOX, fresh.account, name)


def _no_surname(fresh: Entry, other: Entry, number: int) -> _Spoiled:
    name = _text(fresh, "givenName") + f" {number + 1}" * bool(number)
    entry = replace(_changed(fresh, sn=(), displayName=(name,)), name=f"{name} ({fresh.account})")
    return entry, Dirt(Trouble.NO_SURNAME, fresh.account, name)


def _control_character(fresh: Entry, other: Entry, number: int) -> _Spoiled:
    sign = ("\x07", "\r\n", "\t", "\x1b[31m", "\u200b", "\u202e")[number % 6]
    name = _text(fresh, "displayName").replace(" ", f" {sign}", 1)
    name = name if sign in name else name + sign + "."
    return _changed(fresh, displayName=(name,)), Dirt(Trouble.CONTROL_CHARACTER, fresh.account, name)


def _trailing_space(fresh: Entry, other: Entry, number: int) -> _Spoiled:
    attribute = ("displayName", "telephoneNumber", "department")[number % 3]
    value = _text(fresh, attribute) + ("  ", "\u00a0")[number % 2]
    return _changed(fresh, **{attribute: (value,)}), Dirt(Trouble.TRAILING_SPACE, fresh.account, value)


def _special_name(fresh: Entry, other: Entry, number: int) -> _Spoiled:
    name = _TRAPS[number % len(_TRAPS)] + f" {number}" * (number >= len(_TRAPS))
    entry = replace(_changed(fresh, displayName=(name,), sn=(name,)), name=name)
    return entry, Dirt(Trouble.SPECIAL_NAME, fresh.account, name)


def _mixed_encoding(fresh: Entry, other: Entry, number: int) -> _Spoiled:
    name = ("Müller", "Łukasz Żółć", "Ольга", "Ève Châtelain")[number % 4].encode().decode("latin-1")
    name = "".join(sign for sign in name if sign.isprintable())
    return _changed(fresh, displayName=(name,), sn=(name,)), Dirt(Trouble.MIXED_ENCODING, fresh.account, name)


def _disabled(fresh: Entry, other: Entry, number: int) -> _Spoiled:
    return _changed(fresh, userAccountControl=("514",)), Dirt(Trouble.DISABLED, fresh.account)


def _expired(fresh: Entry, other: Entry, number: int) -> _Spoiled:
    january_2020 = "132223104000000000"  # FILETIME
    return _changed(fresh, accountExpires=(january_2020,)), Dirt(Trouble.EXPIRED, fresh.account, january_2020)


SPOILERS: dict[Trouble, Callable[[Entry, Entry, int], _Spoiled]] = {
    Trouble.ADDRESS_MISSING: _address_missing,
    Trouble.ADDRESS_MALFORMED: _address_malformed,
    Trouble.ADDRESS_TWICE: _address_twice,
    Trouble.DOMAIN_WRONG: _domain_wrong,
    Trouble.PRIMARY_DIFFERS: _primary_differs,
    Trouble.PRIMARY_TWICE: _primary_twice,
    Trouble.DUPLICATE: _duplicate,
    Trouble.NEAR_DUPLICATE: _near_duplicate,
    Trouble.CONTACT_OF_OURS: _contact_of_ours,
    Trouble.OTHER_NETWORK: _other_network,
    Trouble.SYSTEM_MAILBOX: _system_mailbox,
    Trouble.NO_SURNAME: _no_surname,
    Trouble.CONTROL_CHARACTER: _control_character,
    Trouble.TRAILING_SPACE: _trailing_space,
    Trouble.SPECIAL_NAME: _special_name,
    Trouble.MIXED_ENCODING: _mixed_encoding,
    Trouble.DISABLED: _disabled,
    Trouble.EXPIRED: _expired,
}
