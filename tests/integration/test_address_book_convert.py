"""The address book article: Netscape LDIF, Outlook CSV and vCards in, an address book that a real slapd takes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import ldap
import pytest
from click.testing import CliRunner

from lab.address_files import PEOPLE, RUSSIANS, Person, netscape, outlook, vcards
from lab.openldap import ADMIN_PASSWORD, OpenLdap
from mailferry.cli.main import cli
from mailferry.errors import UserError
from mailferry.ops import address_book as ops

BASE = "ou=addressbook,dc=acme,dc=example"
TRAPS = (
    Person("", 'Mr, O\\\'Brien+Sons; #1 "Best" <x>', "traps@x.example", phone="+1 доб. 5", notes=" two\n\n lines "),
    Person("*)(uid=*", ")", "filter@x.example"),
    Person("MÃ¼", "ller", "mojibake@x.example", company="Caf\u00e9"),
    Person("No", "Address", "", phone="12345"),
    Person("Долгое имя " * 30, "Конец", "long@x.example"),
)


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """Every kind of file with the same people, and some that are hard to write."""
    bad = b"dn: cn=Bad\r\ncn: Bad\r\nmail: bad(at)x.example\r\nsn:: ***\r\n\r\n"
    (tmp_path / "netscape.ldif").write_bytes(netscape(PEOPLE) + b"\r\n" + bad)
    (tmp_path / "outlook.csv").write_bytes(outlook(PEOPLE + TRAPS, "German", ";").encode("utf-16"))
    (tmp_path / "phone.vcf").write_bytes(vcards(RUSSIANS + PEOPLE, "2.1"))
    return tmp_path


def convert(book: Path, *more: str) -> tuple[int, str]:
    files = [str(book / name) for name in ("netscape.ldif", "outlook.csv", "phone.vcf")]
    arguments = ["directory", "convert", *files, "-b", BASE, "-o", str(book / "out.ldif"), *more]
    result = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert result.exception is None, result.exception
    return int(result.return_value), result.output


def test_a_real_slapd_takes_and_finds_them(book: Path, own_openldap: OpenLdap) -> None:
    code, said = convert(book)
    assert code == 1
    assert f"{book / 'netscape.ldif'}:45: no @ in it [address-malformed] → bad@x.example" in said
    assert "10 entries, 6 doubles merged" in said
    own_openldap_admin = ["-D", own_openldap.admin_dn, "-w", ADMIN_PASSWORD, "-H", own_openldap.url]
    command = ["ldapadd", "-x", *own_openldap_admin, "-f", str(book / "out.ldif")]
    added = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (added.returncode, added.stderr) == (0, "")
    server = ldap.initialize(own_openldap.url)
    server.simple_bind_s(own_openldap.admin_dn, ADMIN_PASSWORD)
    entries = server.search_s(BASE, ldap.SCOPE_ONELEVEL, "(&(objectClass=inetOrgPerson)(cn=*)(sn=*))")
    assert len(entries) == 10
    found = {attributes["cn"][0].decode(): attributes for _, attributes in entries}
    assert found["Jörg Müller"]["mail"] == [PEOPLE[0].mail.encode(), PEOPLE[0].second.encode()]
    assert found["Jörg Müller"]["jpegPhoto"][0].startswith(b"\xff\xd8\xff")
    assert found["Mü ller"]["sn"] == [b"ller"]
    traps = found['Mr, O\\\'Brien+Sons; #1 "Best" <x>']
    assert (traps["telephoneNumber"], traps["description"]) == ([b"+1 . 5"], [b"two lines"])
    assert found["*)(uid=* )"]["mail"] == [b"filter@x.example"]
    assert found["Юрий Петров"]["sn"] == ["Петров".encode()]
    server.unbind_s()


def test_decisions_bring_in_what_was_left_out(book: Path) -> None:
    decisions = book / "decisions.csv"
    assert convert(book, "--decisions", str(decisions))[0] == 1
    assert b"bad@x.example" not in (book / "out.ldif").read_bytes()
    rows = decisions.read_text().splitlines()
    assert len(rows) == 2  # the header and the address; lost base64 is only a warning
    decisions.write_text("\n".join([rows[0], *(row.replace(",,,", ",accept,,", 1) for row in rows[1:])]) + "\n")
    code, said = convert(book, "--decisions", str(decisions))
    assert (code, "11 entries" in said) == (0, True)
    assert b"mail: bad@x.example" in (book / "out.ldif").read_bytes()


def test_two_books_with_the_same_people(tmp_path: Path) -> None:
    other = (Person("Joerg", "Mueller", PEOPLE[0].mail, mobile="5551234"), Person("Emile", "Z.", PEOPLE[1].mail))
    (tmp_path / "a.ldif").write_bytes(netscape(PEOPLE[:2]))
    members = f"dn: cn=List\r\nobjectclass: groupOfNames\r\ncn: List\r\nmember: cn=Emile Z.,mail={PEOPLE[1].mail}\r\n"
    (tmp_path / "b.ldif").write_bytes(netscape(other) + b"\r\n" + members.encode())
    (tmp_path / "d.csv").write_text("code,id,value,action\naddress-claimed-twice,*,*,keep\n")
    files = [tmp_path / "a.ldif", tmp_path / "b.ldif"]
    waiting = [(one.code, one.value) for one in ops.convert(files, BASE, None).cleaned.open]
    assert waiting == [("address-claimed-twice", PEOPLE[1].mail)] * 2
    done = ops.convert(files, BASE, None, decisions=tmp_path / "d.csv")
    entries = {entry.dn: entry.attributes for entry in done.book.entries}
    assert [dn.partition(",")[0] for dn in entries] == [
        "ou=addressbook",
        "cn=Jörg Müller",
        "cn=Émile Zola",
        "cn=Emile Z.",
        "cn=List",
    ]
    assert entries[f"cn=Jörg Müller,{BASE}"]["mobile"] == (PEOPLE[0].mobile.encode(), b"5551234")
    assert entries[f"cn=List,{BASE}"]["member"] == (f"cn=Emile Z.,{BASE}".encode(),)


def test_the_same_files_give_the_same_book(book: Path) -> None:
    convert(book)
    first = (book / "out.ldif").read_bytes()
    convert(book)
    assert (book / "out.ldif").read_bytes() == first


def test_an_error_leaves_the_old_output(book: Path) -> None:
    convert(book)
    first = (book / "out.ldif").read_bytes()
    (book / "phone.vcf").write_bytes(b"nothing")
    result = CliRunner().invoke(
        cli, ["directory", "convert", str(book / "phone.vcf"), "-b", BASE, "-o", str(book / "out.ldif")]
    )
    assert "there is no vCard in it" in str(result.exception)
    assert (book / "out.ldif").read_bytes() == first
    assert sorted(one.name for one in book.iterdir()) == ["netscape.ldif", "out.ldif", "outlook.csv", "phone.vcf"]


def test_no_input_is_overwritten(book: Path) -> None:
    file = book / "outlook.csv"
    before = file.read_bytes()
    for option in ("-o", "--decisions", "--report"):
        with pytest.raises(UserError, match="would be overwritten"):
            convert_one(file, option)
    assert file.read_bytes() == before


def convert_one(file: Path, option: str) -> None:
    arguments = ["directory", "convert", str(file), "-b", BASE, option, str(file.parent / "." / file.name)]
    CliRunner().invoke(cli, arguments, standalone_mode=False, catch_exceptions=False)


def test_reports(book: Path) -> None:
    convert(book, "--report", str(book / "r.html"))
    page = (book / "r.html").read_text()
    assert "Address book" in page and "address-malformed" in page
    assert "<x>" not in page  # escaped
    convert(book, "--report", str(book / "r.csv"))
    lines = (book / "r.csv").read_text().splitlines()
    assert lines[0].startswith("severity,code,title,where")
    assert lines[1].startswith("error,address-malformed,Not an address,")
    assert "error" not in "".join(lines[4:]).split(",")[0]
