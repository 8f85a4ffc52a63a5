"""vCards as telephones, Outlook and Apple write them, and damaged ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.address_files import PEOPLE, vcards
from mailferry.directory.readers.vcard_file import VcardFile
from mailferry.errors import Permanent, UserError
from mailferry.model.recipient import Finding, Recipient, RecipientKind
from mailferry.wire.vcard import Card, Fault, parse


def read(path: Path, data: bytes | str) -> tuple[list[Recipient], list[Finding]]:
    place = path / "book.vcf"
    place.write_bytes(data.encode() if isinstance(data, str) else data)
    found = list(VcardFile(place).read())
    return [one for one in found if isinstance(one, Recipient)], [one for one in found if isinstance(one, Finding)]


@pytest.mark.parametrize("version", ["2.1", "3.0", "4.0"])
def test_every_version(tmp_path: Path, version: str) -> None:
    recipients, findings = read(tmp_path, vcards(PEOPLE, version))
    first, _, third = recipients
    assert (first.name, first.mail, first.kind) == ("Jörg Müller", PEOPLE[0].mail, RecipientKind.CONTACT)
    assert first.aliases == (PEOPLE[0].second,)
    assert dict(first.details) == {
        "sn": ("Müller",),
        "givenName": ("Jörg",),
        "o": ("Partner & Söhne GmbH",),
        "departmentNumber": ("Einkauf",),
        "telephoneNumber": (PEOPLE[0].phone,),
        "mobile": (PEOPLE[0].mobile,),
        "info": (PEOPLE[0].notes,),
    }
    assert first.photo == b"\xff\xd8\xff\xe0" + bytes(120)
    assert (third.details["sn"], third.details["o"][0].startswith("Client")) == (("O'Neill, Jr.",), True)
    assert findings == []


def test_ids_are_uids_or_addresses(tmp_path: Path) -> None:
    with_uid, _ = read(tmp_path, vcards(PEOPLE, "4.0"))
    without, _ = read(tmp_path, vcards(PEOPLE, "2.1"))
    assert with_uid[0].id == without[0].id == "vcard:joerg.mueller@partner.example"


def test_a_list_and_a_photo_elsewhere(tmp_path: Path) -> None:
    text = (
        "BEGIN:VCARD\nVERSION:4.0\nKIND:group\nFN:Friends\nMEMBER:urn:uuid:1\nMEMBER:mailto:b@b.example\n"
        "PHOTO:https://photos.example/1.jpg\nEND:VCARD\n"
        "BEGIN:VCARD\nVERSION:4.0\nUID:urn:uuid:1\nFN:Ann\nEMAIL:mailto:ann@a.example\nTEL;VALUE=uri:tel:+1-5\nEND:VCARD\n"
    )
    (friends, ann), findings = read(tmp_path, text)
    assert (friends.kind, friends.members) == (RecipientKind.GROUP, (ann.id, "smtp:b@b.example"))
    assert (ann.mail, ann.details["telephoneNumber"]) == ("ann@a.example", ("+1-5",))
    assert [(one.code, one.message) for one in findings] == [
        ("value-unreadable", "the photo is somewhere else, which is not read")
    ]


def test_charsets_escapes_and_a_name_without_fn(tmp_path: Path) -> None:
    data = (
        b"begin:vcard\r\nversion:2.1\r\nN;CHARSET=ISO-8859-1:M\xfcller;J\xf6rg;;Dr.\r\nTEL;HOME;FAX:1\r\nTEL;HOME:2\r\n"
        b"ADR;HOME:;;Elm 1\\, back;Bonn;;53111;Germany\r\nORG:A\\;B;Sales\r\nend:vcard\r\n"
    )
    (recipient,), findings = read(tmp_path, data)
    assert recipient.name == "Dr. Jörg Müller"
    assert dict(recipient.details) == {
        "sn": ("Müller",),
        "givenName": ("Jörg",),
        "o": ("A;B",),
        "departmentNumber": ("Sales",),
        "facsimileTelephoneNumber": ("1",),
        "homePhone": ("2",),
        "street": ("Elm 1, back",),
        "l": ("Bonn",),
        "postalCode": ("53111",),
        "co": ("Germany",),
    }
    assert findings == []


@pytest.mark.parametrize("charset", ["unicode_escape", "punycode", "hex", "x\0", "utf-7", "no-such"])
def test_strange_charsets_are_not_tried(tmp_path: Path, charset: str) -> None:
    (recipient,), _ = read(tmp_path, f"BEGIN:VCARD\nFN;CHARSET={charset}:M\\x\u00fcller\nEND:VCARD\n")
    assert recipient.name == "M\\xüller"


def test_utf_16(tmp_path: Path) -> None:
    (recipient,), _ = read(tmp_path, "BEGIN:VCARD\r\nFN:Пётр\r\nEND:VCARD\r\n".encode("utf-16"))
    assert recipient.name == "Пётр"


def test_damage_costs_a_line_or_a_card(tmp_path: Path) -> None:
    text = (
        "junk\nBEGIN:VCARD\nFN:A\nPHOTO;ENCODING=b:*\nno property\nEND:VCARD\n"
        "BEGIN:VCARD\nFN:B\nNOTE:\xff\nBEGIN:VCARD\nFN:C\nEND:VCARD\nBEGIN:VCARD\nFN:D\n"
    )
    recipients, findings = read(tmp_path, text.encode("latin-1"))
    assert [one.name for one in recipients] == ["A", "B", "C", "D"]
    assert [(one.code, one.where.rpartition(":")[2]) for one in findings] == [
        ("card-line", "1"),
        ("card-line", "4"),
        ("card-line", "5"),
        ("card-line", "7"),
        ("encoding-mixed", "9"),
        ("card-line", "13"),
    ]


def test_a_card_in_an_agent_is_no_contact() -> None:
    text = b"BEGIN:VCARD\nFN:A\nAGENT:\nBEGIN:VCARD\nFN:B\nEND:VCARD\nTEL:1\nEND:VCARD\n"
    (card,) = parse(text.splitlines())
    assert isinstance(card, Card)
    assert (card.text("FN"), card.text("TEL")) == ("A", "1")


def test_base64_that_is_not_indented() -> None:
    text = b"BEGIN:VCARD\nPHOTO;BASE64:\n/9j/4AAQ\nSkZJRg==\n\nFN:A\nEND:VCARD\n"
    (card,) = parse(text.splitlines())
    assert isinstance(card, Card)
    assert card.all("PHOTO")[0].data == b"\xff\xd8\xff\xe0\x00\x10JFIF"


def test_an_endless_card_is_a_fault(tmp_path: Path) -> None:
    lines = [b"BEGIN:VCARD", *[b"NOTE:" + b"x" * 1_000_000] * 20, b"BEGIN:VCARD", b"FN:A", b"END:VCARD"]
    fault, card = list(parse(lines))
    assert isinstance(fault, Fault) and (fault.line, fault.lost) == (1, "card")
    assert isinstance(card, Card) and card.text("FN") == "A"


def test_what_is_no_vcard(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no vCard in it"):
        read(tmp_path, "Name,Mail\n")
    with pytest.raises(Permanent, match="No such file"):
        list(VcardFile(tmp_path / "none.vcf").read())


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(
            st.sampled_from(
                ["BEGIN:VCARD", "END:VCARD", "FN:a", "N:;", "EMAIL;PREF=9:a", "ADR:;;", "PHOTO;ENCODING=b:/9j/", "=",
                 " x", "NOTE;ENCODING=QUOTED-PRINTABLE:=C3=", "FN;CHARSET=none:\xff", "AGENT:",
                 "PHOTO:data:;base64,=", "TEL;", ""]
            )
        ).map(lambda lines: "\n".join(lines).encode("latin-1")),
    )
)  # fmt: skip
def test_junk_raises_nothing_but_our_errors(tmp_path: Path, data: bytes) -> None:
    try:
        recipients, _ = read(tmp_path, data)
    except UserError as error:
        assert error.about == str(tmp_path / "book.vcf")
    else:
        assert len({one.id for one in recipients}) == len(recipients) > 0
