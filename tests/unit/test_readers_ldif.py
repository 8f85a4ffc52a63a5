"""People from LDIF: Netscape, Mozilla, OpenLDAP, ldifde; ids, references, and what is no recipient."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.address_files import PEOPLE, netscape
from lab.organisation import organisation
from lab.organisation_ldif import write_ldif
from mailferry.directory.readers.ldif_file import LdifFile
from mailferry.errors import MailferryError, Permanent, UserError
from mailferry.model.recipient import Finding, Recipient, RecipientKind


def read(path: Path, data: bytes | str) -> tuple[list[Recipient], list[Finding]]:
    place = path / "book.ldif"
    place.write_bytes(data.encode() if isinstance(data, str) else data)
    found = list(LdifFile(place).read())
    return [one for one in found if isinstance(one, Recipient)], [one for one in found if isinstance(one, Finding)]


def codes(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(one.code, one.where.rpartition(":")[2]) for one in findings]


def test_netscape_form(tmp_path: Path) -> None:
    recipients, findings = read(tmp_path, netscape(PEOPLE))
    first, _, third = recipients
    assert (first.id, first.kind, first.where) == (
        "ldif:joerg.mueller@partner.example",
        RecipientKind.CONTACT,
        f"{tmp_path / 'book.ldif'}:1",
    )
    assert (first.name, first.mail, first.aliases) == ("Jörg Müller", PEOPLE[0].mail, (PEOPLE[0].second,))
    assert dict(first.details) == {
        "givenName": ("Jörg",),
        "sn": ("Müller",),
        "title": ("Leiter",),
        "o": ("Partner & Söhne GmbH",),
        "ou": ("Einkauf",),
        "telephoneNumber": ("+49 30 1234567",),
        "mobile": ("+49 170 7654321",),
        "street": ("Hauptstraße 1, Hinterhaus",),
        "l": ("Köln",),
        "postalCode": ("50667",),
        "c": ("DE",),
        "description": (PEOPLE[0].notes,),
    }
    assert first.preferences["nickname"] == ("joe",)
    assert third.name == "Ann O'Neill, Jr."
    assert codes(findings) == [("encoding-mixed", "1"), ("encoding-mixed", "22")]


def test_the_same_book_in_utf_8_has_the_same_ids_and_no_findings(tmp_path: Path) -> None:
    latin, _ = read(tmp_path, netscape(PEOPLE))
    utf, findings = read(tmp_path, netscape(tuple(reversed(PEOPLE)), "utf-8"))
    assert [one.id for one in latin] == [one.id for one in reversed(utf)]
    assert findings == []


def test_mozilla_home_address_and_list(tmp_path: Path) -> None:
    text = (
        "dn: cn=Ann,mail=ann@a.example\nobjectclass: mozillaAbPersonAlpha\ncn: Ann\nmail: ann@a.example\n"
        "mozillaHomeStreet: Elm 1\nmozillaHomeLocalityName: Bonn\nmozillaHomeUrl: http://ann.example\n\n"
        "dn: cn=Friends\nobjectclass: top\nobjectclass: groupOfNames\ncn: Friends\n"
        "member: CN=Ann, mail=ann@a.example\nmember: cn=Bob,mail=bob@b.example\nmember: cn=Nobody\n"
    )
    (ann, friends), findings = read(tmp_path, text)
    assert (ann.details["street"], ann.details["l"]) == (("Elm 1",), ("Bonn",))
    assert (friends.kind, friends.members) == (RecipientKind.GROUP, (ann.id, "smtp:bob@b.example", "cn=Nobody"))
    assert findings == []


def test_openldap_accounts_structure_and_photo(tmp_path: Path) -> None:
    text = (
        "version: 1\n\ndn: dc=a,dc=example\nobjectClass: dcObject\nobjectClass: organization\no: A\ndc: a\n\n"
        "dn: uid=max,dc=a,dc=example\nobjectClass: inetOrgPerson\nobjectClass: inetLocalMailRecipient\nuid: max\n"
        "cn: Max\ncn;lang-de: Maxl\nmail: max@a.example\nmailLocalAddress: m@a.example\nmailHost: mx.a.example\n"
        "entryUUID: 0A0B0C0D-0000-0000-0000-000000000001\njpegPhoto:: /9j/4AAA\nmanager: uid=eve,dc=a,dc=example\n\n"
        "dn: uid=eve,dc=a,dc=example\nobjectClass: person\ncn: Eve\nmail: eve@a.example\n"
    )
    (maximilian, eve), findings = read(tmp_path, text)
    assert (maximilian.id, maximilian.kind) == ("ldap:0a0b0c0d-0000-0000-0000-000000000001", RecipientKind.MAILBOX)
    assert (maximilian.mail, maximilian.aliases, maximilian.mail_host) == (
        "max@a.example",
        ("m@a.example",),
        "mx.a.example",
    )
    assert (maximilian.name, maximilian.photo, maximilian.manager) == ("Max", b"\xff\xd8\xff\xe0\x00\x00", eve.id)
    assert codes(findings) == [("entry-not-recipient", "3")]


def test_ldifde_of_an_organisation(tmp_path: Path) -> None:
    """What ldifde writes is read as the directory itself would be: the same ids, kinds, references."""
    content = organisation(60)
    write_ldif(content, tmp_path / "acme.ldif")
    found = list(LdifFile(tmp_path / "acme.ldif").read())
    recipients = {one.id: one for one in found if isinstance(one, Recipient)}
    entries = {f"ad:{entry.guid}": entry for entry in content.entries}
    assert len(recipients) > 60 and recipients.keys() <= entries.keys()
    assert all(one.kind is entries[who].kind for who, one in recipients.items())
    ids = recipients.keys()
    members = [who for one in recipients.values() for who in one.members]
    assert len(members) > 50 and all(who in ids or who.startswith("smtp:") for who in members)


def test_active_directory_without_guids(tmp_path: Path) -> None:
    text = "dn: CN=Max,DC=a,DC=example\nobjectClass: user\nsAMAccountName: max\nproxyAddresses: SMTP:max@a.example\n"
    (recipient,), findings = read(tmp_path, text)
    assert (recipient.id, recipient.mail) == ("ldif:cn=max,dc=a,dc=example", "max@a.example")
    assert findings == []


def test_bad_records_are_listed_with_their_lines(tmp_path: Path) -> None:
    text = (
        "dn: cn=A\ncn: A\nmail: a@a.example\nsn:: *bad*\n\n"  # 4
        "cn: no name\nsn: x\n\n"  # 6
        "dn: cn=B,\ncn: B\nmail: b@a.example\ndn: cn=C\ncn: C\n\n"  # 9, 12
        "dn: cn=D\nchangetype: delete\n\n"  # 15
        "dn: cn=E\nphoto:< file:///etc/passwd\ncn: E\n"  # 19
    )
    recipients, findings = read(tmp_path, text)
    assert [one.name for one in recipients] == ["A", "B", "C", "E"]
    assert codes(findings) == [
        ("ldif-value", "4"),
        ("ldif-record", "6"),
        ("dn-invalid", "9"),
        ("ldif-form", "12"),
        ("ldif-change", "15"),
        ("ldif-value", "19"),
    ]


@pytest.mark.parametrize("data", [b"", b"<html>no</html>\n", b"Name;Mail\nA;b@c.example\n"])
def test_what_is_no_ldif(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, data)
    assert caught.value.about == f"{tmp_path / 'book.ldif'}:1"


def test_a_file_that_begins_with_a_bad_record_is_read(tmp_path: Path) -> None:
    recipients, findings = read(tmp_path, "dn:: Z\ncn: lost\n\ndn: cn=A\ncn: A\nmail: a@a.example\n")
    assert [one.name for one in recipients] == ["A"]
    assert codes(findings) == [("ldif-record", "1")]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="No such file"):
        list(LdifFile(tmp_path / "none.ldif").read())


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(
            st.sampled_from(
                ["dn: cn=a", "dn:: /w==", "dn: x,", "cn: b", "mail: a@b", "objectGUID: x", "member: cn=a", " y", "",
                 "-", "objectClass: group", "changetype: add", "sAMAccountName: s", "entryUUID: z", "\0",
                 "proxyAddresses: SMTP:"]
            )
        ).map(lambda lines: "\n".join(lines).encode()),
    )
)  # fmt: skip
def test_junk_raises_nothing_but_our_errors(tmp_path: Path, data: bytes) -> None:
    try:
        recipients, _ = read(tmp_path, data)
    except MailferryError as error:
        assert error.about.startswith(str(tmp_path))
    else:
        assert len({one.id for one in recipients}) == len(recipients)
