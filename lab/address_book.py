"""What mail programs ask an address book in LDAP while a name is typed, and how long the answer takes.

Filters as the programs send them: Outlook's default (PR_AB_PROVIDER_SEARCH_FILTER in its profiles), Thunderbird's
(nsLDAPAutoCompleteSession, `%v1*%v2-*`), and macOS Contacts' (from a network trace). Invariant: each answer is read
whole, and as many entries are counted as came.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import ldap
from ldap.filter import escape_filter_chars

WANTED = (
    *("cn", "mail", "sn", "givenName", "displayName", "telephoneNumber", "mobile", "title", "departmentNumber"),
    *("ou", "o", "l", "street", "postalCode", "jpegPhoto"),
)


def outlook(typed: str) -> str:
    return "(&(mail=*)(|(mail={0}*)(|(cn={0}*)(|(sn={0}*)(givenName={0}*)))))".format(escape_filter_chars(typed))


def thunderbird(typed: str) -> str:
    """The first word, and the rest, each as a beginning."""
    first, _, rest = typed.partition(" ")
    pattern = "*".join([*(escape_filter_chars(part) for part in (first, rest) if part), ""])
    return f"(|(cn={pattern})(mail={pattern})(sn={pattern}))"


def macos(typed: str) -> str:
    return "(|(givenname={0}*)(sn={0}*)(cn={0}*)(mail={0}*))".format(escape_filter_chars(typed))


FILTERS = {"Outlook": outlook, "Thunderbird": thunderbird, "macOS": macos}


@dataclass(frozen=True, slots=True)
class Answer:
    """One search: the program, what was typed, entries given, whether there were more, seconds until the last one."""

    program: str
    typed: str
    entries: tuple[str, ...]
    more: bool
    seconds: float


def ask(connection: ldap.ldapobject.LDAPObject, base: str, program: str, typed: str, rows: int = 20) -> Answer:
    """Search once with that program's filter, for `rows` entries at most."""
    began = time.perf_counter()
    number = connection.search_ext(
        base, ldap.SCOPE_SUBTREE, FILTERS[program](typed), list(WANTED), sizelimit=rows, timeout=30
    )
    entries, more = [], False
    try:
        kind = None
        while kind != ldap.RES_SEARCH_RESULT:
            kind, found = connection.result(number, all=0)
            entries += [dn for dn, _ in found]
    except ldap.SIZELIMIT_EXCEEDED:
        more = True
    return Answer(program, typed, tuple(entries), more, time.perf_counter() - began)


def measure(
    connection: ldap.ldapobject.LDAPObject, base: str, beginnings: Iterable[str], rows: int = 20
) -> list[Answer]:
    """Every program's search for each of the beginnings typed, one after another."""
    return [ask(connection, base, program, typed, rows) for typed in beginnings for program in FILTERS]
