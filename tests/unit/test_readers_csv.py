"""Address books as CSV: every language, encoding and delimiter that Outlook writes, and what breaks in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.address_files import COLLEAGUES, PEOPLE, RUSSIANS, csvde, express, outlook
from mailferry.directory.readers.csv_columns import understand
from mailferry.directory.readers.csv_file import CsvFile
from mailferry.errors import MailferryError, Permanent, UserError
from mailferry.model.recipient import Finding, Recipient, RecipientKind


def read(path: Path, data: bytes | str, encoding: str | None = None) -> tuple[list[Recipient], list[Finding]]:
    place = path / "book.csv"
    place.write_bytes(data.encode() if isinstance(data, str) else data)
    found = list(CsvFile(place, encoding).read())
    return [one for one in found if isinstance(one, Recipient)], [one for one in found if isinstance(one, Finding)]


def codes(findings: list[Finding]) -> list[tuple[str, str]]:
    """Code and line, without the notes that every file has."""
    return [
        (one.code, one.where.rpartition(":")[2])
        for one in findings
        if one.code not in ("file-read-as", "column-unknown")
    ]


@pytest.mark.parametrize("language", ["English", "German", "French"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_outlook_as_it_is_written(tmp_path: Path, language: str, encoding: str, delimiter: str) -> None:
    recipients, findings = read(tmp_path, outlook(PEOPLE, language, delimiter).encode(encoding))
    first, _, third = recipients
    assert (first.name, first.mail, first.aliases, first.kind) == (
        "Jörg Müller",
        "joerg.mueller@partner.example",
        ("jm@home.example",),
        RecipientKind.CONTACT,
    )
    assert dict(first.details) == {
        "givenName": ("Jörg",),
        "sn": ("Müller",),
        "title": ("Leiter",),
        "o": ("Partner & Söhne GmbH",),
        "departmentNumber": ("Einkauf",),
        "telephoneNumber": ("+49 30 1234567",),
        "mobile": ("+49 170 7654321",),
        "street": ("Hauptstraße 1\nHinterhaus",),
        "l": ("Köln",),
        "postalCode": ("50667",),
        "c": ("DE",),
        "info": ('Sagt "Moin", mag Kaffee; und Tee',),
    }
    assert first.where == f"{tmp_path / 'book.csv'}:2"
    assert third.details["sn"] == ("O'Neill, Jr.",)
    (said,) = [one for one in findings if one.code == "file-read-as"]
    assert said.message.startswith(f"{language} column names")
    assert said.value == {"utf-8-sig": "utf-8", "utf-16": "utf-16-le"}.get(encoding, encoding)
    assert codes(findings) == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-be", "cp1251"])
def test_russian_outlook(tmp_path: Path, encoding: str) -> None:
    recipients, findings = read(tmp_path, outlook(RUSSIANS, "Russian", ";").encode(encoding))
    assert [one.name for one in recipients] == ["Юрий Петров", "Анна Щербакова"]
    assert recipients[0].details["o"] == ("ООО Ромашка",)
    (said,) = [one for one in findings if one.code == "file-read-as"]
    assert (said.value, said.message.startswith("Russian")) == (encoding, True)


def test_english_outlook_on_russian_windows_is_told_by_its_letters(tmp_path: Path) -> None:
    recipients, findings = read(tmp_path, outlook(RUSSIANS).encode("cp1251"))
    assert recipients[0].name == "Юрий Петров"
    assert "Windows-1251 (not UTF-8; whole words beyond ASCII)" in findings[0].message


def test_the_encoding_can_be_told(tmp_path: Path) -> None:
    recipients, findings = read(tmp_path, outlook(PEOPLE).encode("cp850"), "cp850")
    assert recipients[0].name == "Jörg Müller"
    assert "cp850 (as told)" in findings[0].message
    with pytest.raises(UserError, match="there is no encoding ebcdic-x"):
        read(tmp_path, "x", "ebcdic-x")


def test_one_damaged_line_does_not_change_the_encoding(tmp_path: Path) -> None:
    text = outlook(PEOPLE).encode().replace("Éditeur".encode(), b"\xc9diteur")
    recipients, findings = read(tmp_path, text)
    assert [one.name for one in recipients] == [one.name for one in PEOPLE]
    assert recipients[1].details["o"] == ("Éditeur",)
    assert codes(findings) == [("encoding-mixed", "3")]


def test_exchange_addresses(tmp_path: Path) -> None:
    (recipient,), _ = read(tmp_path, outlook(COLLEAGUES))
    assert (recipient.mail, recipient.x500) == (None, (COLLEAGUES[0].ex,))
    assert recipient.id == f"csv:{COLLEAGUES[0].ex.casefold()}"


def test_an_exchange_address_whose_smtp_one_stands_in_the_name(tmp_path: Path) -> None:
    text = "Last Name,E-mail Address,E-mail Type,E-mail Display Name\nMaier,/o=A/ou=B/cn=m,EX,Max (max@acme.example)\n"
    (recipient,), _ = read(tmp_path, text)
    assert (recipient.mail, recipient.x500) == ("max@acme.example", ("/o=A/ou=B/cn=m",))


def test_outlook_express(tmp_path: Path) -> None:
    recipients, findings = read(tmp_path, express(PEOPLE))
    assert [one.name for one in recipients] == [one.name for one in PEOPLE]
    assert recipients[0].details["title"] == ("Leiter",)
    assert codes(findings) == []


def test_the_shell_of_exchange(tmp_path: Path) -> None:
    text = (
        "#TYPE Microsoft.Exchange.Data.Directory.Management.ReducedRecipient\n"
        '"DisplayName","Guid","RecipientTypeDetails","EmailAddresses","Title","HiddenFromAddressListsEnabled"\n'
        '"Max Maier","0a0b0c0d-0000-0000-0000-000000000001","SharedMailbox",'
        '"smtp:m@acme.example SMTP:max@acme.example X500:/o=A/ou=B/cn=m SIP:max@acme.example","Chef","True"\n'
    )
    (recipient,), _ = read(tmp_path, text)
    assert recipient.id == "ad:0a0b0c0d-0000-0000-0000-000000000001"
    assert (recipient.kind, recipient.hidden) == (RecipientKind.SHARED, True)
    assert (recipient.mail, recipient.aliases) == ("max@acme.example", ("m@acme.example",))
    assert (recipient.x500, recipient.details["title"]) == (("/o=A/ou=B/cn=m",), ("Chef",))


def test_csvde(tmp_path: Path) -> None:
    recipients, findings = read(tmp_path, csvde(PEOPLE))
    first, _, third = recipients
    assert (first.id, first.kind) == ("ad:00000001-0000-0000-0000-000000000000", RecipientKind.MAILBOX)
    assert (first.name, first.mail, first.aliases) == ("Jörg Müller", PEOPLE[0].mail, (PEOPLE[0].second,))
    assert first.details["info"] == (PEOPLE[0].notes,)
    assert third.name == "Ann O'Neill, Jr."
    assert codes(findings) == []


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('"First Name","E-mail Address"\nA,a@b.example\nB,"b@b.example\nC,c@b.example\n', 3, "opened and never closed"),
        ('First Name,E-mail Address\nA,"a" b\nC,c@b.example\n', 2, "a quotation mark inside a field"),
        ('First Name,E-mail Address\nA,"a\nC,"c@b.example"\n', 2, "not closed on its line"),
    ],
)
def test_a_broken_quotation_mark_costs_one_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    recipients, findings = read(tmp_path, text)
    (broken,) = [one for one in findings if one.code == "row-broken"]
    assert (broken.where, says in broken.message) == (f"{tmp_path / 'book.csv'}:{line}", True)
    assert recipients[-1].mail == "c@b.example"


def test_rows_of_a_wrong_length(tmp_path: Path) -> None:
    text = "First Name,Last Name,E-mail Address\nA,Smith, Jr,a@b.example\nB\nC,D,c@b.example,,\n,,\n0,0,,\n"
    recipients, findings = read(tmp_path, text)
    assert codes(findings) == [("row-long", "2"), ("row-short", "3")]
    assert [one.name for one in recipients] == ["B", "C D", "0 0"]


@pytest.mark.parametrize(
    ("data", "says", "line"),
    [
        (b"", "the file is empty", 1),
        (b"\n\n", "the file is empty", 2),
        (b"a,b,c\n1,2,3\n", "none of the columns is known: a, b, c", 1),
        (b"First Name,Last Name\nA,B\n", "no column holds e-mail addresses", 1),
        (b'"First Name,Last Name\nA,B\n', "opened and never closed", 1),
    ],
)
def test_what_is_no_address_book(tmp_path: Path, data: bytes, says: str, line: int) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, data)
    assert says in str(caught.value)
    assert caught.value.about == f"{tmp_path / 'book.csv'}:{line}"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="No such file"):
        list(CsvFile(tmp_path / "none.csv").read())


def test_ids_stay_from_one_export_to_the_next(tmp_path: Path) -> None:
    before, _ = read(tmp_path, outlook(PEOPLE, "German"))
    after, _ = read(tmp_path, outlook(tuple(reversed(PEOPLE)), "English", ";").encode("utf-16"))
    assert [one.id for one in before] == [one.id for one in reversed(after)]


def test_a_second_row_with_the_same_key_is_told(tmp_path: Path) -> None:
    recipients, findings = read(tmp_path, outlook((PEOPLE[1], PEOPLE[1])))
    assert [one.id for one in recipients] == ["csv:emile.zola@editeur.example", "csv:emile.zola@editeur.example#2"]
    assert codes(findings) == [("id-unsteady", "3")]


def test_a_long_note_and_a_nul_byte_are_read(tmp_path: Path) -> None:
    text = f'Name,E-mail Address,Notes\nA\0B,a@b.example,"{"x" * 1_000_000}"\n'
    (recipient,), _ = read(tmp_path, text)
    assert recipient.name == "A\0B"
    assert len(recipient.details["info"][0]) == 1_000_000


def test_title_is_the_salutation_only_beside_a_job_title() -> None:
    assert understand(["Titre", "Nom", "Titre"]).fields == ("salutation", "surname", "title")
    assert understand(["Title", "Job Title"]).fields == ("salutation", "title")
    assert understand(["Title", "Last Name"]).fields == ("title", "surname")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.text('ab",;\t\n\r\0ü=#', max_size=120).map(lambda junk: f"Last Name,E-mail Address\n{junk}".encode()),
        st.text("X'0;\\,\"\nab", max_size=80).map(lambda junk: f"DN,objectClass,mail\n{junk}".encode()),
    )
)
def test_junk_raises_nothing_but_our_errors(tmp_path: Path, data: bytes) -> None:
    try:
        recipients, findings = read(tmp_path, data)
    except MailferryError as error:
        assert error.about.startswith(str(tmp_path))
    else:
        assert len({one.id for one in recipients}) == len(recipients)
        assert findings
