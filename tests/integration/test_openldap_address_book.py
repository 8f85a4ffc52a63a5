"""The address book as Outlook, Thunderbird and macOS ask it; the same at 40,000 people is in `make bench`."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import ldap
import pytest
from ldap.controls import SimplePagedResultsControl

from lab.address_book import FILTERS, ask, measure
from lab.ldap_people import Text, as_ldif, person
from lab.openldap import OpenLdap
from mailferry.stack.openldap.settings import Readers

PEOPLE: dict[str, dict[str, Text]] = {
    "abel": {"cn": "Anna Abel", "givenName": "Anna", "sn": "Abel", "jpegPhoto": "not really"},
    "adler": {"cn": "Bernd Adler", "givenName": "Bernd", "sn": "Adler", "telephoneNumber": "+49 30 12"},
    "maier": {"cn": "Anna Maria Maier", "givenName": "Anna Maria", "sn": "Maier"},
    "muell": {"cn": "Jörg Müller", "givenName": "Jörg", "sn": "Müller"},
    "petrov": {"cn": "Пётр Петров", "givenName": "Пётр", "sn": "Петров"},
    "zorro": {"cn": "Anna Zorro", "givenName": "Anna", "sn": "Zorro", "mailferryHidden": "TRUE"},
    "star": {"cn": "A* (Star)", "givenName": "A*", "sn": "(Star)"},
}


@pytest.fixture(scope="module")
def book() -> Iterator[OpenLdap]:
    """Those people, and 300 of one surname."""
    with OpenLdap(readers=Readers.ANONYMOUS) as server:
        server.halt()
        server.configure(rows=(100, 200))
        many = (person(server.suffix, f"many{n}", sn="Crowd", cn=f"Crowd Member {n}") for n in range(300))
        some = (person(server.suffix, uid, **more) for uid, more in PEOPLE.items())
        server.load(as_ldif(one) for one in (*some, *many))
        yield server.start()


def uids(book: OpenLdap, program: str, typed: str) -> set[str]:
    answer = ask(book.connect(""), book.suffix, program, typed)
    assert not answer.more
    return {dn.split(",")[0].removeprefix("uid=") for dn in answer.entries}


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("ab", {"abel"}),
        ("ad", {"adler"}),
        ("AB", {"abel"}),
        ("anna", {"abel", "maier"}),
        ("mül", {"muell"}),
        ("MÜL", {"muell"}),
        ("пет", {"petrov"}),
        ("maier@ac", {"maier"}),
        ("zor", set()),  # hidden
        ("a*", {"star"}),  # a star is a star, not everything
        ("(st", {"star"}),
        ("nobody", set()),
    ],
)
@pytest.mark.parametrize("program", FILTERS)
def test_what_is_typed_finds_people(book: OpenLdap, program: str, typed: str, expected: set[str]) -> None:
    assert uids(book, program, typed) == expected


def test_programs_differ(book: OpenLdap) -> None:
    assert uids(book, "Thunderbird", "anna mai") == {"maier"}  # two words, each a beginning
    assert uids(book, "Outlook", "anna mai") == set()
    assert uids(book, "Outlook", "jö") == uids(book, "macOS", "jö") == {"muell"}


def test_twenty_rows_come_quickly_and_no_more(book: OpenLdap) -> None:
    answers = measure(book.connect(""), book.suffix, ["cr", "crowd", "many1"] * 5)
    assert {len(answer.entries) for answer in answers} == {20}
    assert all(answer.more for answer in answers)
    assert statistics.median(answer.seconds for answer in answers) < 0.02


def test_nobody_takes_the_whole_book(book: OpenLdap) -> None:
    """Who names no limit gets the soft one, who names a high one no more than the hard one; by pages neither."""
    nobody = book.connect("")
    rows = {rows: len(ask(nobody, book.suffix, "Outlook", "c", rows).entries) for rows in (0, 150, 201)}
    assert rows == {0: 100, 150: 150, 201: 200}
    page, taken = SimplePagedResultsControl(True, size=50, cookie=b""), 0
    with pytest.raises(ldap.SIZELIMIT_EXCEEDED):
        while taken <= 200:
            number = nobody.search_ext(book.suffix, ldap.SCOPE_SUBTREE, "(sn=Crowd)", serverctrls=[page])
            _, found, _, answers = nobody.result3(number)
            taken += len(found)
            page.cookie = answers[0].cookie
    assert taken == 200
