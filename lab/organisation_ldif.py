"""Writes an organisation of the lab as LDIF (RFC 2849): change records for Samba, or a file as ldifde exports one.

Invariant: in change records a reference is only written where its target stands already; the rest follow as
modifications at the end.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

from ldap.dn import escape_dn_chars

from lab.organisation import organisation
from lab.organisation_data import ROOT, Entry, Organisation, Reference, Value
from lab.process import PASSWORD
from lab.samba_snapshot import password_value, snapshot
from mailferry.model.recipient import RecipientKind

PASSWORDS = 100
"""How many people can log in, with PASSWORD: the first ones. Samba needs 28 ms to make the keys of one."""

_PLAIN = re.compile(r"[!-9;=-~][ -~]*(?<! )|")
_LOG_IN = frozenset({RecipientKind.MAILBOX, RecipientKind.MAIL_USER, RecipientKind.ACCOUNT})


def organisation_snapshot(size: int, seed: int = 1) -> Path:
    """The files of a controller that holds `organisation(size, seed)`, made and kept at first use."""
    sources = (*Path(__file__).parent.glob("organisation*.py"), Path(__file__).parent / "names.py")
    made_of = "".join(source.read_text() for source in sorted(sources))
    return snapshot(f"acme-{size}-{seed}", lambda: "\n".join(change_records(organisation(size, seed))), made_of)


def distinguished_names(content: Organisation) -> dict[str, str]:
    """The DN of every account."""
    return {entry.account: f"CN={escape_dn_chars(entry.name)},{entry.unit}" for entry in content.entries}


def change_records(content: Organisation) -> Iterator[str]:
    """Everything as LDIF change records: units, entries, and last the references that point forwards."""
    places = distinguished_names(content)
    secret = f"unicodePwd:: {password_value(PASSWORD)}\n"
    for unit in _units(content):
        yield f"{_line('dn', unit)}changetype: add\nobjectClass: organizationalUnit\n"
    there: set[str] = set()
    late = []
    passwords = 0
    for entry in content.entries:
        logs_in = entry.kind in _LOG_IN and entry.values["userAccountControl"] != ("514",) and passwords < PASSWORDS
        passwords += logs_in
        lines = [_line("dn", places[entry.account]), "changetype: add\n", secret if logs_in else ""]
        for name, value in _values(entry):
            if isinstance(value, Reference) and value.account not in there:
                late.append((entry.account, name, value))
            else:
                lines.append(_line(name, value, places))
        yield "".join(lines)
        there.add(entry.account)
    for account, name, value in late:
        add = f"add: {name}\n{_line(name, value, places)}-\n"
        yield f"{_line('dn', places[account])}changetype: modify\n{add}"


def write_ldif(content: Organisation, path: Path) -> None:
    """Everything as `ldifde -f` writes it: `changetype: add`, objectGUID in base64, CRLF line ends."""
    places = distinguished_names(content)
    with path.open("w", encoding="utf-8", newline="\r\n") as file:
        for entry in content.entries:
            lines = [_line("dn", places[entry.account]), "changetype: add\n", _line("objectGUID", entry.guid.bytes_le)]
            lines += [_line(name, value, places) for name, value in _values(entry)]
            file.write("".join(lines) + "\n")


def _values(entry: Entry) -> Iterator[tuple[str, Value]]:
    yield "objectClass", entry.object_class
    if entry.object_class in ("user", "group"):
        yield "sAMAccountName", entry.account
    for name, values in entry.values.items():
        for value in values:
            yield name, value


def _units(content: Organisation) -> list[str]:
    """The units that entries stand under, each after the one above it."""
    units = {ROOT, f"OU=People,{ROOT}", *(entry.unit for entry in content.entries)}
    return sorted(units, key=lambda unit: (unit.count(","), unit))


def _line(name: str, value: Value, places: dict[str, str] | None = None) -> str:
    if isinstance(value, Reference):
        assert places is not None
        value = places[value.account]
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return f"{name}: {value}\n"
    octets = value.encode() if isinstance(value, str) else value
    return f"{name}:: {base64.b64encode(octets).decode()}\n"
